"""Linearizable reads: how far the state machine must be before it may answer.

On the leader, reads that come while a round is on the way gather for the next one. A round is a heartbeat with a
number; when a quorum has answered that number or a later one, this node still led when the round began, so its commit
index of then covers every write that was acknowledged before. On a follower, reads gather likewise for one question
to the leader.
Promise: a read is released only with a commit index of the leader's own term, and after a quorum has been heard from
since the read came. With `lease_reads` the second half is replaced by trust in clocks: no other node can have been
elected within an election timeout after a quorum answered. A stopped process breaks that trust, so the driver calls
`lapse` when a tick comes late, and it is off unless asked for.
Not here: sending the heartbeats (`leader`); waiting until the index is applied (the driver).
Source: Raft (Ongaro, 2014), section 6.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from .messages import ReadIndex, ReadIndexReply
from .ready import Token

RANDOM_BITS = 62  # of the first number of a follower's questions

Read = tuple[int, Token]  # (node that asks, its number or this node's token)


class Rounds:
    """A leader's. `number` counts the heartbeat rounds of its term, whether or not a read waits for one."""

    __slots__ = ("_begun", "_waiting", "doubted", "gathering", "lease_tick", "number")

    def __init__(self) -> None:
        self.number = 0
        self.gathering: list[Read] = []
        self._waiting: deque[tuple[int, int, list[Read]]] = deque()  # (round, commit index when it began, its reads)
        self._begun: deque[tuple[int, int]] = deque()  # (round, tick), of those not answered by a quorum
        self.lease_tick = -1  # when the last round began that a quorum has answered; -1: none
        self.doubted: int | None = None  # only a later round says who leads now; None: there is no doubt

    @property
    def wanted(self) -> bool:
        """Whether reads wait for a round, and none is on the way for others."""
        return bool(self.gathering) and not self._waiting

    def begin(self, committed: int, opened: bool, tick: int) -> int:
        """A heartbeat goes to everybody; its number. `opened`: a batch of this term is committed."""
        self.number += 1
        if opened and self.gathering:
            self._waiting.append((self.number, committed, self.gathering))
            self.gathering = []
        self._begun.append((self.number, tick))
        return self.number

    def answered(self, number: int) -> list[tuple[Read, int]]:
        """A quorum has answered round `number` or later ones; the reads that may be served, and at which index."""
        while self._begun and self._begun[0][0] <= number:
            self.lease_tick = self._begun.popleft()[1]
        if self.doubted is not None and number > self.doubted:
            self.doubted = None
        released = []
        while self._waiting and self._waiting[0][0] <= number:
            _, index, reads = self._waiting.popleft()
            released += [(read, index) for read in reads]
        return released

    def lapse(self, *, stood_still: bool = False) -> None:
        """Whatever a quorum has said so far is too old for a lease; or to say anything about now (`stood_still`)."""
        self.lease_tick = -1
        if stood_still:
            self.doubted = self.number
        self._begun.clear()

    def abandon(self) -> list[Read]:
        """All that wait; this node leads no more."""
        reads = [read for _, _, some in self._waiting for read in some] + self.gathering
        self._waiting.clear()
        self.gathering = []
        return reads


class Questions:
    """A follower's to its leader. One is on the way at a time, and asked again until it is answered."""

    __slots__ = ("_asked", "_gathering", "_number", "_tick")

    def __init__(self, number: int) -> None:
        self._number = number
        self._asked: list[Token] = []
        self._gathering: list[Token] = []
        self._tick = 0  # when it was asked last

    def add(self, token: Token) -> None:
        self._gathering.append(token)

    def ask(self, frm: int, leader: int, term: int, tick: int, again_ticks: int) -> ReadIndex | None:
        """The question that is due now. Asking again with the same number is safe: a later answer is as good."""
        if self._asked:
            if tick - self._tick < again_ticks:
                return None
        elif self._gathering:
            self._number += 1
            self._asked, self._gathering = self._gathering, []
        else:
            return None
        self._tick = tick
        return ReadIndex(frm, leader, term, self._number)

    def answer(self, reply: ReadIndexReply) -> Sequence[Token]:
        """The reads that this answers; none if it is an old answer."""
        if reply.number != self._number:
            return ()
        tokens, self._asked = self._asked, []
        return tokens

    def abandon(self) -> list[Token]:
        tokens = self._asked + self._gathering
        self._asked, self._gathering = [], []
        return tokens
