"""One node's disk: a log, a hard state and a snapshot, of which one write at a time is on its way.

Cruelty: a crash keeps any prefix of the write that was under way (the cut, then the hard state, then batch by batch),
a snapshot is installed wholly or not at all, and a read of old batches may have to be asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from random import Random

from tests.unit.raft.lab import View
from vaylix_resp.raft.ready import Persist
from vaylix_resp.raft.types import ENTRY_OVERHEAD_BYTES, NOTHING, Entry, EntryId, HardState, Membership, SnapshotMeta

Saved = tuple[SnapshotMeta, dict[bytes, tuple[int, bytes]]]  # (meta, state)


class SimDisk(View):
    """What is durable. `batches` lie behind `start`; `committed` is the highest hint that any write has carried."""

    def __init__(self, founders: Membership) -> None:
        super().__init__()
        self.hard_state = HardState()
        self.committed = 0
        self.snapshot: Saved = (SnapshotMeta("0", NOTHING, founders), {})
        self.writing: Persist | None = None
        self.reads_wait = False  # as a real disk: old batches are not there at once

    # --- the log as the core sees it --------------------------------------------------------------------------------

    def entries(self, after: int, max_bytes: int) -> Sequence[Entry] | None:
        return None if self.reads_wait else self.read(after, max_bytes)

    def read(self, after: int, max_bytes: int) -> Sequence[Entry] | None:
        if after < self.start.index:
            return None
        at = end = bisect_right(self.batches, after, key=lambda entry: entry.last)
        size = 0
        while end < len(self.batches):
            size += len(self.batches[end].body) + ENTRY_OVERHEAD_BYTES
            if size > max_bytes and end > at:
                break
            end += 1
        return self.batches[at:end]

    def holds(self, entry: EntryId) -> bool:
        """As a batch end, or in a snapshot, where nobody can tell any more."""
        if entry.index <= self.start.index:
            return True
        at = bisect_right(self.batches, entry.index - 1, key=lambda batch: batch.last)
        return at < len(self.batches) and self.batches[at].id == entry

    # --- writing ----------------------------------------------------------------------------------------------------

    def begin(self, persist: Persist) -> None:
        assert self.writing is None, "one write at a time is not synced"
        self.writing = persist

    def finish(self, saved: Saved | None) -> None:
        """fsync has returned. `saved`: the snapshot that was being installed."""
        persist, self.writing = self.writing, None
        assert persist is not None
        self._do(persist, len(persist.entries), hard_state=True, cut=True, saved=saved)

    def crash(self, rng: Random, saved: Saved | None) -> None:
        persist, self.writing = self.writing, None
        if persist is None or rng.random() < 0.3:
            return
        steps = rng.randrange(3 + len(persist.entries))
        self._do(persist, max(0, steps - 2), hard_state=steps >= 2, cut=steps >= 1, saved=saved if steps else None)

    def _do(self, persist: Persist, batches: int, *, hard_state: bool, cut: bool, saved: Saved | None) -> None:
        if persist.snapshot is not None:
            if saved is not None:
                self.snapshot = saved
                self.start, self.batches = saved[0].last, []
                self.committed = max(self.committed, saved[0].last.index)
            return
        if cut and persist.truncate_after is not None:
            self.batches = [entry for entry in self.batches if entry.last <= persist.truncate_after]
            assert self.last.index == persist.truncate_after, (self.last, persist.truncate_after)
        if hard_state:
            self.hard_state = persist.hard_state
        for entry in persist.entries[:batches]:
            assert entry.first == self.last.index + 1, (entry.first, self.last)
            self.batches.append(entry)
        if hard_state:
            self.committed = max(self.committed, min(persist.hard_state.committed, self.last.index))

    # --- snapshots and pruning --------------------------------------------------------------------------------------

    def save(self, saved: Saved) -> None:
        self.snapshot = saved

    def prune(self, upto: EntryId) -> None:
        assert upto.index <= self.snapshot[0].last.index
        self.batches = [entry for entry in self.batches if entry.last > upto.index]
        self.start = upto
