"""Which term each sequence of the log belongs to. Terms change rarely, so all changes fit into memory.

Promise: known from `start` (a batch end; nothing is known before it) to the end of the log; a term begins where a batch
does. A call sees the log before or after a change that another thread makes.
Not here: the batches; where the log ends.
Source: Raft (Ongaro, 2014), section 3.5: prevLogTerm, and the conflict hint that skips a term at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from threading import Lock

_FIRST = itemgetter(0)


class Terms:
    """`start_term` is that of the batch which ends at `start`."""

    def __init__(self, start: int, start_term: int) -> None:
        self._lock = Lock()  # appending, cutting and pruning come from different threads
        self._known = start, start_term, tuple[tuple[int, int], ...]()  # replaced as a whole, so reading needs no lock

    @property
    def start(self) -> tuple[int, int]:
        """Where it begins, and the term there."""
        return self._known[:2]

    def add(self, first: int, term: int) -> None:
        """A batch of another term than the one before it begins at `first`."""
        with self._lock:
            start, start_term, changes = self._known
            last, last_term = changes[-1] if changes else (start, start_term)
            assert first > last and term > last_term, (first, term, last, last_term)
            self._known = start, start_term, (*changes, (first, term))

    def at(self, sequence: int) -> int | None:
        """None before `start`. Whether the log reaches so far is the caller's to know."""
        start, start_term, changes = self._known
        if sequence < start:
            return None
        place = bisect_right(changes, sequence, key=_FIRST)
        return changes[place - 1][1] if place else start_term

    def runs(self, last: int) -> list[tuple[int, int]]:
        """(first sequence, term) of each run of batches of one term, from behind `start` to `last`."""
        start, start_term, changes = self._known
        if last <= start:
            return []
        if changes and changes[0][0] == start + 1:
            return list(changes)
        return [(start + 1, start_term), *changes]

    def cut(self, last: int) -> None:
        """The log ends at `last` now."""
        with self._lock:
            start, start_term, changes = self._known
            assert last >= start, (last, start)
            self._known = start, start_term, tuple(one for one in changes if one[0] <= last)

    def prune(self, start: int) -> None:
        """The log begins behind `start` now, a batch end."""
        with self._lock:
            term = self.at(start)
            if term is not None:
                changes = self._known[2]
                self._known = start, term, tuple(one for one in changes if one[0] > start)
