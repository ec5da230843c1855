"""The leader's side of forwarding: which batches of other nodes it has taken in during its term.

Promises: of each life of a node (`boot`), numbers are taken in the order 1, 2, 3, ... and each once; what was meant
for another term is refused. So a forwarded batch is in the log at most once per term, whatever the network does, and
its number in the log proves that of every smaller number nothing more will come.
Bounds: one number for each life of a node that has forwarded in this term; it is forgotten with the term.
Pure. Not here: the origin's side (`outbox`), what a batch holds.
"""

from __future__ import annotations

from enum import Enum


class Take(Enum):
    TAKE = "take"  # it joins the open batch
    DUPLICATE = "duplicate"  # has been taken (or given up by the origin)
    GAP = "gap"  # an earlier one is missing; the origin sends all of them again
    WRONG_TERM = "wrong term"  # meant for the leader of another term: never to be taken


class Inbox:
    """Of one leadership after the other: `lead` begins each."""

    def __init__(self) -> None:
        self.term = 0  # in which this node leads; 0: it does not
        self._taken: dict[tuple[int, int], int] = {}  # (origin, boot) -> the last number taken

    def lead(self, term: int) -> None:
        """A leadership begins; 0: it has ended."""
        if term != self.term:
            self.term = term
            self._taken.clear()

    def take(self, term: int, origin: int, boot: int, number: int) -> Take:
        """What to do with a batch that has arrived; TAKE counts as done."""
        if not self.term or term != self.term:
            return Take.WRONG_TERM
        taken = self._taken.get((origin, boot), 0)
        if number <= taken:
            return Take.DUPLICATE
        if number > taken + 1:
            return Take.GAP
        self._taken[origin, boot] = number
        return Take.TAKE
