"""A log in memory with the rules of the one on disk: what was not synced may be gone, or partly there, after a crash.

Stands in for `storage.wal.Wal` where the disk is not what is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from vaylix_resp.raft.types import NOTHING, Entry, EntryId, HardState


class MemoryLog:
    def __init__(self) -> None:
        self.hard_state = HardState()
        self.batches: list[Entry] = []
        self._durable: tuple[HardState, list[Entry]] = (self.hard_state, [])
        self.appended_bytes = 0
        self.committed = 0
        self.syncs = 0

    # storage.wal.Wal

    @property
    def last(self) -> int:
        return self.batches[-1].last if self.batches else 0

    @property
    def term(self) -> int:
        return self.batches[-1].term if self.batches else 0

    start = (0, 0)

    @property
    def timestamp_ms(self) -> int:
        return self.batches[-1].timestamp_ms if self.batches else 0

    def save(self, hard_state: HardState, entries: Sequence[Entry], committed: int) -> None:
        for entry in entries:
            assert entry.first == self.last + 1 and entry.term >= self.term, (str(entry), self.last, self.term)
            assert entry.timestamp_ms >= self.timestamp_ms, (entry.timestamp_ms, self.timestamp_ms)
            self.batches.append(entry)
            self.appended_bytes += len(entry.body)
        assert hard_state.term >= self.hard_state.term, (hard_state, self.hard_state)
        self.hard_state = hard_state
        self.committed = max(self.committed, committed)

    def truncate_after(self, last: int) -> None:
        assert last >= self.committed, (last, self.committed)
        while self.batches and self.batches[-1].last > last:
            self.batches.pop()
        assert self.last == last, (self.last, last)
        self.sync()

    def sync(self) -> None:
        self.syncs += 1
        self._durable = (self.hard_state, list(self.batches))

    # A crash.

    def crash(self, random: Random) -> MemoryLog:
        """What the next life finds: everything synced, and of the rest the first batches, or none."""
        hard_state, batches = self._durable
        after = MemoryLog()
        after.hard_state, after.batches = hard_state, list(batches)
        if random.random() < 0.5:
            after.hard_state = self.hard_state
            if self.batches[: len(batches)] == batches:
                after.batches = self.batches[: random.randint(len(batches), len(self.batches))]
        after.committed = min(after.hard_state.committed, after.last)
        after._durable = (after.hard_state, list(after.batches))
        return after

    # raft.ready.LogView

    def view(self) -> MemoryView:
        return MemoryView(self)


class MemoryView:
    """As the core finds the log at its start; `entries` answers at once or not at all, as the test wants it."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.last = EntryId(log.last, log.term) if log.batches else NOTHING
        self.start = NOTHING
        self.terms: list[tuple[int, int]] = []
        for entry in log.batches:
            if not self.terms or self.terms[-1][1] != entry.term:
                self.terms.append((entry.first, entry.term))

    def entries(self, after: int, max_bytes: int) -> Sequence[Entry] | None:
        return None

    def read(self, after: int, max_bytes: int) -> list[Entry]:
        """What a thread would read."""
        found: list[Entry] = []
        size = 0
        for entry in self._log.batches:
            if entry.last > after:
                size += len(entry.body)
                if found and size > max_bytes:
                    break
                found.append(entry)
        return found
