"""The heads of audits that a data directory's log has committed, read without building a state.

Promise: the source is only read, whether a server runs on it or not.
Not here: finding and checking the files (`storage.history`), the state (`state.audit_heads`).
"""

from __future__ import annotations

from ...commands.audit_operations import AUDIT
from ...security.audit import Head
from ...state import image
from ...state.audit_heads import AuditHeads
from ...storage.history import TRIES, History, Vanished
from .. import entries


def committed_in(history: History) -> Head | None:
    """For the audit of the directory itself; None when nothing has been committed. Raises Corrupt."""
    for number in range(1, TRIES + 1):
        try:
            heads = _heads(history)
        except Vanished:  # a running server has pruned what we were reading
            if number == TRIES:
                raise
        else:
            head = heads.nodes.get(history.manifest().store_id.encode())
            return Head(head.sequence, head.hash.decode()) if head is not None else None
    raise AssertionError("the last try raises or returns")


def _heads(history: History) -> AuditHeads:
    heads = AuditHeads()
    base = history.base_for()
    if base is not None:
        reader = history.reader(base)
        try:
            for kind, obj in reader:
                if kind == image.AUDIT_HEADS:
                    assert isinstance(obj, list)
                    heads.load(obj)
        finally:
            reader.close()
    for batch in history.batches(base):
        if AUDIT not in batch.body:
            continue
        for words in entries.decode(batch.body):
            if words[0] == AUDIT:
                heads.note(bytes(words[2]), int(words[3]), bytes(words[4]), batch.timestamp_ms)
    return heads
