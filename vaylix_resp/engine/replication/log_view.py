"""The log on disk as the Raft core wants to see it: where it begins and ends, its terms, its batches as entries.

Not here: reading behind the server's back (`catch_up`); what the core keeps in memory (`raft.log`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...raft.types import Entry, EntryId, EntryKind
from ...storage.batch import Batch
from ...storage.wal import Wal


def entry_of(batch: Batch) -> Entry:
    return Entry(
        EntryKind(batch.kind), batch.first, batch.count, batch.term, batch.timestamp_ms, batch.seed, batch.body
    )


class WalView:
    """`raft.ready.LogView`. The core asks for start, last and terms once, when it is made."""

    def __init__(self, wal: Wal) -> None:
        self._wal = wal

    @property
    def start(self) -> EntryId:
        return EntryId(*self._wal.start)

    @property
    def last(self) -> EntryId:
        return EntryId(self._wal.last, self._wal.term)

    @property
    def terms(self) -> Sequence[tuple[int, int]]:
        return self._wal.terms

    def entries(self, after: int, max_bytes: int) -> Sequence[Entry] | None:
        """It takes the disk, always."""
        return None
