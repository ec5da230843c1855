"""How far-behind followers get what is no longer in memory: batches read back from the log on disk.

Promise: a read runs on a thread, one at a time; what has been pruned comes back as None.
Not here: what is in memory (`raft.log`), snapshots (`streams`).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from ...raft.types import Entry
from ...storage.store import Store
from .log_view import entry_of


def log_source(store: Store) -> Callable[[int, int], list[Entry] | None]:
    """Batches behind a place, at most so many bytes of them but at least one; None: pruned. For threads."""
    reader, alone = store.log_reader(), Lock()

    def read(after: int, max_bytes: int) -> list[Entry] | None:
        with alone:
            batches = reader.entries(after, max_bytes)
        return None if batches is None else [entry_of(batch) for batch in batches]

    return read
