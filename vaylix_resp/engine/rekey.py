"""`vaylix storage rotate-key`: every file's data key under a new key, offline; the old keys and the old master key go.

Order: check that a server would start on it, new key durable, each file replaced by one whose header names it, old keys
destroyed, and only then the keyring put under another master key. Promise: a crash between any two calls leaves a
directory that starts, with the old master key until the last step is through; running it again completes it.
Data keys stay: whoever has one opens its file as before. Not here: rotation on the live server (`keyring`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import EX_DATA
from ..security.keyring import Keyring, Token, keyring_path
from ..security.master_key import KeyringError, MasterKey, Source
from ..storage import unfinished
from ..storage.disk import Disk, join
from ..storage.errors import IoFailed
from ..storage.manifest import NAME as MANIFEST
from ..storage.manifest import read_manifest
from ..storage.recovery import check
from ..storage.store import check_names
from ..storage.upkeep.rewrap import CLEAR_FILE, key_ids, rewrap
from .keys import SealedKeys

Say = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Rotated:
    keyring_id: str
    active_key: int
    destroyed_keys: tuple[int, ...]
    files: int  # whose header has been replaced
    master_key: str  # where the new one is; "" if it is the one from before


def rotate_key(
    disk: Disk, root: str, source: Source, now_ms: int, *, new_master: Callable[[], MasterKey] | None = None,
    say: Say = lambda done, total: None, token: Token = secrets.token_bytes,
) -> Rotated:  # fmt: skip
    """Takes the directory's lock. `new_master` is called when all has been checked; `say(done, total)` in files."""
    if not disk.exists(join(root, MANIFEST)):
        raise KeyringError(f"{root}: no data directory (it has no {MANIFEST}); to continue: name the right one")
    try:
        lock = disk.lock(join(root, "LOCK"))
    except OSError as cause:
        raise IoFailed(root, cause) from cause
    try:
        keyring, master = _open(disk, root, source, token)
        sealed = _sealed(disk, root, keyring)
        _check_whole(disk, root, keyring)
        after = new_master() if new_master is not None else None
        if after is not None and after.key == master.key:
            raise KeyringError(f"{after.source}: this is the master key in use; to continue: name another one")
        active = keyring.rotate(now_ms)
        for done, path in enumerate(sealed):
            say(done, len(sealed))
            rewrap(disk, path, keyring.unwrap, keyring.wrap)
        assert not set(key_ids(disk, root).values()) - {CLEAR_FILE, active}, "a file has been left out"
        destroyed = keyring.retired
        keyring.destroy(destroyed)
        if after is not None:
            keyring.rewrap(after)
        return Rotated(keyring.id, active, destroyed, len(sealed), after.source if after else "")
    finally:
        lock.release()


def _open(disk: Disk, root: str, source: Source, token: Token) -> tuple[Keyring, MasterKey]:
    unfinished.refuse(disk, root)
    manifest, path = read_manifest(disk, root), keyring_path(root)
    assert manifest is not None, root
    if not disk.exists(path) and not manifest.keyring_id:
        raise KeyringError(
            f"{path}: there is no keyring, this data has never been sealed; to continue: start the server with "
            "`encryption yes`"
        )
    master = source.read(disk)
    keyring = Keyring.open(disk, root, master, token=token)
    if manifest.keyring_id not in ("", keyring.id):
        raise KeyringError(
            f"{path}: byte 0: expected keyring {manifest.keyring_id} as in {MANIFEST}, this one is {keyring.id}; "
            "to continue: put the right keyring back", EX_DATA,
        )  # fmt: skip
    return keyring, master


def _sealed(disk: Disk, root: str, keyring: Keyring) -> list[str]:
    """The files that have a key, each of which this keyring opens. Nothing has been changed when one does not."""
    found = key_ids(disk, root)
    known = {entry.id for entry in keyring.entries}
    for path, key_id in found.items():
        if key_id not in known | {CLEAR_FILE}:
            raise KeyringError(
                f"{path}: byte 0: sealed with key {key_id}, which keyring {keyring.path} does not have; nothing has "
                "been changed; to continue: put this file where it came from, or restore from a backup", EX_DATA,
            )  # fmt: skip
    return [path for path, key_id in found.items() if key_id != CLEAR_FILE]


def _check_whole(disk: Disk, root: str, keyring: Keyring) -> None:
    """As at a start: what is not there (on a disk that is not mounted, say) would lose its key for ever."""
    manifest = read_manifest(disk, root)
    assert manifest is not None, root
    check_names(disk, root, manifest)
    check(disk, root, manifest, SealedKeys(keyring), None)
