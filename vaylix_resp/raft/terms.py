"""Which term each index of the log belongs to, kept as runs: terms change rarely, so this is small for any log.

Promise: firsts rise by at least one, terms rise strictly; answers for start <= index <= last and for nothing else.
Why runs are enough to compare logs batch by batch: a leader never gives an index to two batches of its term, so two
logs with the same term at an index hold the same batch there, whether or not the index ends it.
Source: Raft (Ongaro, 2014), section 3.5 (log matching) and 5.3 (the conflict hint).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from .types import EntryId, InvariantBroken


class Terms:
    __slots__ = ("_firsts", "_terms", "last", "last_term", "start")

    def __init__(self, start: EntryId, runs: Iterable[tuple[int, int]], last: EntryId) -> None:
        self.start = start  # known, but not part of the log any more
        self.last = last.index
        self.last_term = last.term
        self._firsts: list[int] = []
        self._terms: list[int] = []
        for first, term in runs:
            gap = first <= self._firsts[-1] if self._firsts else first != start.index + 1
            falls = term <= self._terms[-1] if self._terms else term < start.term
            if gap or falls:
                raise InvariantBroken(f"the terms of the log do not fit together: {first}@{term}, start {start}")
            self._firsts.append(first)
            self._terms.append(term)
        fits = self._firsts[-1] <= last.index and self._terms[-1] == last.term if self._firsts else last == start
        if not fits:
            raise InvariantBroken(f"the log ends at {last}, its terms say otherwise: {self.runs()}, start {start}")

    def append(self, last: int, term: int) -> None:
        """A batch of `term` now ends the log at `last`. Hot."""
        if term != self.last_term or not self._terms:
            if term < self.last_term:
                raise InvariantBroken(f"a batch of term {term} behind one of term {self.last_term}")
            self._firsts.append(self.last + 1)
            self._terms.append(term)
            self.last_term = term
        self.last = last

    def at(self, index: int) -> int | None:
        """The term of the batch that holds `index`; None where this log does not know."""
        if index == self.last:
            return self.last_term
        if index > self.last or index < self.start.index:
            return None
        if index == self.start.index:
            return self.start.term
        return self._terms[bisect_right(self._firsts, index) - 1]

    def floor(self, index: int, term: int) -> EntryId | None:
        """The last place at or before `index` with a term of at most `term`; None if it lies before the log.

        What the other log has at `index` is of `term`, so nothing behind this place can be in both logs.
        """
        index = min(index, self.last)
        if index < self.start.index:
            return None
        run = bisect_right(self._firsts, index) - 1
        while run >= 0 and self._terms[run] > term:
            index = self._firsts[run] - 1
            run -= 1
        if run >= 0:
            return EntryId(index, self._terms[run])
        return self.start if self.start.term <= term else None

    def cut(self, after: int, term: int) -> None:
        """`after`, of `term`, now ends the log."""
        while self._firsts and self._firsts[-1] > after:
            self._firsts.pop()
            self._terms.pop()
        self.last = after
        self.last_term = term

    def forget(self, start: EntryId) -> None:
        """The log now begins behind `start`, which is in it."""
        if start.index == self.last:
            self._firsts.clear()
            self._terms.clear()
        else:
            run = bisect_right(self._firsts, start.index + 1) - 1
            del self._firsts[:run], self._terms[:run]
            self._firsts[0] = start.index + 1
        self.start = start

    def runs(self) -> list[tuple[int, int]]:
        return list(zip(self._firsts, self._terms, strict=True))
