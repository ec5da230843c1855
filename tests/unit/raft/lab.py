"""Short ways to make what the tests of the core's parts need."""

from __future__ import annotations

from collections.abc import Sequence

from vaylix_resp.raft.log import RaftLog
from vaylix_resp.raft.types import NOTHING, Entry, EntryId, EntryKind


class View:
    """A log on disk that has these batches, all at hand."""

    def __init__(self, batches: Sequence[Entry] = (), start: EntryId = NOTHING) -> None:
        self.batches = list(batches)
        self.start = start

    @property
    def last(self) -> EntryId:
        return self.batches[-1].id if self.batches else self.start

    @property
    def terms(self) -> Sequence[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        for entry in self.batches:
            if not runs or runs[-1][1] != entry.term:
                runs.append((entry.first, entry.term))
        return runs

    def entries(self, after: int, max_bytes: int) -> Sequence[Entry] | None:
        return [entry for entry in self.batches if entry.last > after]


def batch(first: int, term: int, count: int = 1, kind: EntryKind = EntryKind.NORMAL, body: bytes = b"x") -> Entry:
    return Entry(kind, first, count, term, 0, 0, body)


def a_log(*batches: Entry, committed: int = 0, applied: int = 0) -> RaftLog:
    """Of these, those behind `applied` are the tail."""
    view = View(batches)
    return RaftLog(view, committed, applied, [entry for entry in batches if entry.last > applied])
