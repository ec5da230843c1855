"""The audit at the start of a server: checked against the data's log, and what a start has to say is in it first.

Promise: nothing of the audit is changed before it has been found whole, or `audit-on-break alarm` allows it.
Not here: what is checked (`recovery`), what comes later (`log`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ...clock import Clock
from ...config import Settings
from ...observability.logs import get_log
from ...security.audit import Head
from ...security.audit_signing import BadSigningKey, Signer
from ...state.machine import World
from ...storage.copies.data_copy import NOTE
from ...storage.disk import Disk, join
from .log import AuditLog
from .recovery import Opening

log = get_log("audit")


def open_log(
    settings: Settings, disk: Disk, root: str, store_id: str, world: World, clock: Clock, deliver: Callable[..., object]
) -> AuditLog:
    """Raises Broken, Unreadable, IoFailed, BadSigningKey. The thread is not started yet."""
    signer = signer_of(settings.audit_signing_key_file)
    committed = committed_head(world, store_id)
    opening = Opening(disk, root, store_id, clock, committed, copied=disk.exists(join(root, NOTE)))
    opened = opening.open(alarm=settings.audit_on_break == "alarm", follows=_others(world, store_id))
    for warning in opened.warnings:
        log.warning(warning)
    if opened.alarm:
        log.warning(
            f"THE AUDIT IS BROKEN, and audit-on-break is alarm: {opened.alarm}; keep a copy of its files, and find out "
            "who changed them (`vaylix audit verify` names the first record)"
        )
    audit = AuditLog(opened.files, clock, deliver, signer=signer, committed=committed, alarm=opened.alarm)
    for fields in opened.owed:
        audit.add(fields, wait=False)
    return audit


def committed_head(world: World, store_id: str) -> Head | None:
    """What the log has committed for the audit of this directory."""
    head = world.audit_heads.nodes.get(store_id.encode())
    return Head(head.sequence, head.hash.decode()) if head is not None else None


def _others(world: World, store_id: str) -> dict[str, Any] | None:
    """Of a restored directory: the head of the one that it came from."""
    others = [(node, head) for node, head in world.audit_heads.nodes.items() if node != store_id.encode()]
    if not others:
        return None
    node, head = others[-1]
    return {"node": node.decode(), "sequence": head.sequence, "hash": head.hash.decode()}


def signer_of(path: str) -> Signer | None:
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            pem = file.read(64 * 1024)
        mode = os.stat(path).st_mode & 0o777
    except OSError as problem:
        raise BadSigningKey(f"{path}: {problem.strerror or problem}; see audit-signing-key-file") from problem
    if mode & 0o077:
        log.warning(
            f"{path}: the key of the audit can be read by others than its owner (mode {mode:04o}); do: chmod 600"
        )
    return Signer(pem, path)
