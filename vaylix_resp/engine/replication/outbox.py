"""This node's own batches between their sealing and their answer, and what is known of the fate of each.

A batch with writes is *submitted* in one term: proposed to our own core (we lead), or forwarded to the leader under a
number that rises from 1 within that term. A batch of reads only is not logged; it asks for a read index. Whichever
way, batches are answered strictly in the order in which they were sealed.

Promises:
* a batch is submitted a second time only when it is proven that the first can never be committed: something of a later
  term has been applied here, and what a leader of the earlier one took in can only stand before that (Raft, 3.6.3;
  a leader refuses what was meant for another term);
* while an earlier batch may still be in the log of an older term, none behind it is submitted in a newer one, so that a
  session's writes are never exchanged;
* a verdict is definite (DONE, REFUSED) or it is UNKNOWN, and UNKNOWN only for what was submitted.
Units: places are sequences (batch ends); times are monotonic seconds; sizes are bytes.
Pure: no clock, no core, no peers. Not here: who applies and answers (`replica`), the leader's side (`inbox`).
Source: Raft (Ongaro, 2014), 6.3 on exactly-once, which this narrows to one term; go-back-N for the numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

from ...limits import MIB

# In flight at once. While one is on its way the next one gathers, as in the group commit: more at once would make each
# smaller, and every batch has its price on every node. Measured with three nodes on two cores, 50 clients, SET:
# 1: 8.9 k/s, p99 10 ms; 3: 7.0 k/s, 33 ms; 8: 4.1 k/s, 49 ms.
WINDOW_BATCHES: Final = 1
WINDOW_BYTES: Final = 8 * MIB  # of those; one batch may be larger by itself
HELD_BYTES_MAX: Final = 64 * MIB  # of all that is not answered; then clients wait with what they have not sent


class State(Enum):
    WAITING = "waiting"  # not submitted, or proven lost
    PROPOSED = "proposed"  # to our own core, `term` and `place`
    FORWARDED = "forwarded"  # to the leader of `term`, under the number `place`
    ASKED = "asked"  # reads only: a read index has been asked for
    CONFIRMED = "confirmed"  # reads only: may be answered once `place` has been applied


class Verdict(Enum):
    DONE = "done"  # committed; or, of reads, confirmed: the owners complete it now
    REFUSED = "refused"  # it has not happened and never will
    UNKNOWN = "unknown"  # it may have happened, or may happen later


class Own:
    """One batch of ours. `batch` is whatever the caller wants back."""

    __slots__ = ("batch", "deadline", "place", "size", "state", "term", "token", "why", "writes")

    def __init__(self, batch: Any, writes: bool, size: int, deadline: float) -> None:
        self.batch, self.writes, self.size, self.deadline = batch, writes, size, deadline
        self.state = State.WAITING
        self.term = 0  # of the attempt under way
        self.place = 0
        self.token = 0  # of the question under way
        self.why: str | None = None  # it was last refused for

    @property
    def in_flight(self) -> bool:
        return self.state is State.PROPOSED or self.state is State.FORWARDED


Answer = tuple[Own, Verdict]


class Outbox:
    """In the order of sealing. The caller submits what `next_write` and `unasked` name, and answers what it is told."""

    def __init__(self) -> None:
        self._queue: deque[Own] = deque()
        self._waiting = 0  # write batches in WAITING: all of them stand behind all that are in flight
        self.in_flight = 0  # write batches that are submitted
        self._in_flight_bytes = 0
        self.bytes = 0  # of all of them
        self.term = 0  # in which `_sent` was numbered
        self._sent: deque[tuple[int, Own | None]] = deque()  # forwarded in `term`, not seen; None: has been given up
        self._number = 0  # the last one given in `term`
        self._tokens: dict[int, Own] = {}
        self._token = 0
        self.latest = 0.0  # deadline of all that have been added

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[Own]:
        return iter(self._queue)

    @property
    def crowded(self) -> bool:
        """No more should be sealed: what is there already fills the window, or waits for a leader."""
        return self._waiting > 0 or self._full or len(self._queue) >= 2 * WINDOW_BATCHES

    @property
    def overfull(self) -> bool:
        return self.bytes >= HELD_BYTES_MAX

    @property
    def _full(self) -> bool:
        return self.in_flight >= WINDOW_BATCHES or self._in_flight_bytes >= WINDOW_BYTES

    def add(self, batch: Any, *, writes: bool, size: int, deadline: float) -> Own:
        """A batch that has just been sealed."""
        self.latest = max(self.latest, deadline)  # a later one is never given up before an earlier one
        own = Own(batch, writes, size, self.latest)
        self._queue.append(own)
        self.bytes += size
        self._waiting += writes
        return own

    # Submission.

    def next_write(self, term: int) -> Own | None:
        """What to submit next to the leader of `term`, if anything may be."""
        if not self._waiting or self._full:
            return None
        for own in self._queue:
            if own.in_flight and own.term != term:
                return None  # its fate decides what comes before what
            if own.writes and own.state is State.WAITING:
                return own
        raise AssertionError("a batch that waits is in the queue")

    def proposed(self, own: Own, term: int, index: int) -> None:
        """Our core has taken it."""
        self._submitted(own, State.PROPOSED, term, index)

    def forwarded(self, own: Own, term: int) -> int:
        """It goes to the leader of `term`; under which number."""
        if term != self.term:
            assert term > self.term, (term, self.term)
            self.term, self._number = term, 0
            self._sent.clear()
        self._number += 1
        self._sent.append((self._number, own))
        self._submitted(own, State.FORWARDED, term, self._number)
        return self._number

    def unsent(self, own: Own) -> None:
        """What was numbered last has certainly not left this node: it waits again, and its number is free."""
        assert self._sent[-1] == (self._number, own), (self._number, own.place)
        self._sent.pop()
        self._number -= 1
        self._withdraw(own)

    def _submitted(self, own: Own, state: State, term: int, place: int) -> None:
        assert own.writes and own.state is State.WAITING, (own.state, term)
        own.state, own.term, own.place, own.why = state, term, place, None
        self._waiting -= 1
        self.in_flight += 1
        self._in_flight_bytes += own.size

    def without_writes(self, own: Own) -> None:
        """Nothing of it is to be written any more: what is left of it are reads."""
        assert own.writes and own.state is State.WAITING, own.state
        own.writes = False
        self._waiting -= 1

    def unanswered(self, term: int) -> list[tuple[int, Own | None]]:
        """What was forwarded in `term` and has not been seen in the log, to be sent again in this order.

        None stands for what has been given up: its number goes to the leader with nothing in it, or those behind it
        would never be taken. If the leader has not seen the batch itself by then, it never will take it.
        """
        return list(self._sent) if term == self.term else []

    # Fate.

    def own_applies(self, index: int, term: int) -> list[Answer]:
        """The next entry to be applied is at (index, term): if it is a proposal of ours, everything up to and with it.

        Batches of reads in front of it are done as well, at the state before it: it was submitted after they were
        asked for, so whatever was acknowledged by then stands before it in the log.
        """
        for own in self._queue:
            if own.writes:
                mine = own.state is State.PROPOSED and own.place == index and own.term == term
                return self._up_to(own) if mine else []
        return []

    def marker_applies(self, term: int, number: int) -> list[Answer]:
        """The same for a batch that was forwarded; empty if nobody waits for it any more.

        The leader takes numbers in their order. One that is missing has been refused by it, for good.
        """
        found: Own | None = None
        while term == self.term and self._sent and self._sent[0][0] <= number:
            at, own = self._sent.popleft()
            if at == number:
                found = own
        return self._up_to(found) if found is not None else []

    def _up_to(self, last: Own) -> list[Answer]:
        answers: list[Answer] = []
        while True:
            own = self._pop()
            missing = own.writes and own is not last
            assert not missing or own.state is State.FORWARDED, (own.state, own.term, own.place)
            answers.append((own, Verdict.REFUSED if missing else Verdict.DONE))
            if own is last:
                return answers

    def term_applies(self, term: int) -> None:
        """Something of this term is about to be applied: what was submitted in an earlier one and has not been
        applied is lost, and waits again."""
        for own in self._queue:
            if own.in_flight and own.term < term:
                self._withdraw(own)

    def _withdraw(self, own: Own) -> None:
        self.in_flight -= 1
        self._in_flight_bytes -= own.size
        self._waiting += 1
        own.state, own.term, own.place = State.WAITING, 0, 0

    # Reads.

    def unasked(self) -> list[Own]:
        """Batches of reads for which a read index is to be asked now; each with its `token`."""
        found = [own for own in self._queue if not own.writes and own.state is State.WAITING]
        for own in found:
            self._token += 1
            own.token, own.state = self._token, State.ASKED
            self._tokens[own.token] = own
        return found

    def confirmed(self, token: int, index: int) -> None:
        """The answer to a question; of one that nobody waits for any more, nothing."""
        own = self._tokens.pop(token, None)
        if own is not None:
            own.state, own.place = State.CONFIRMED, index

    def unconfirmed(self, token: int | None = None) -> None:
        """A question will not be answered (another term, no leader), or none of them (None): to be asked again."""
        lost = list(self._tokens.values()) if token is None else [self._tokens[token]] if token in self._tokens else []
        for own in lost:
            del self._tokens[own.token]
            own.state, own.token = State.WAITING, 0

    def reads_due(self, applied: int) -> list[Answer]:
        """Batches of reads at the head that may be answered now."""
        answers: list[Answer] = []
        queue = self._queue
        while queue and queue[0].state is State.CONFIRMED and queue[0].place <= applied:
            answers.append((self._pop(), Verdict.DONE))
        return answers

    # The end of patience.

    def expired(self, now: float) -> list[Answer]:
        """What has waited too long, in order."""
        answers: list[Answer] = []
        while self._queue and self._queue[0].deadline <= now:
            answers.append(self.give_up())
        return answers

    def give_up(self) -> Answer:
        """The head is answered whatever its fate."""
        own = self._queue[0]
        unknown = own.in_flight
        if own.state is State.FORWARDED and own.term == self.term:
            self._sent = deque((number, None if sent is own else sent) for number, sent in self._sent)
        return self._pop(), Verdict.UNKNOWN if unknown else Verdict.REFUSED

    def overtaken(self) -> list[Answer]:
        """A snapshot has taken the place of entries that this node has not seen: what was in flight may be in it."""
        answers: list[Answer] = []
        while any(own.in_flight for own in self._queue):
            answers.append(self.give_up())
        return answers

    def hopeless(self) -> list[Answer]:
        """There is no leader and has been none for too long: what is not submitted need not wait for one."""
        answers: list[Answer] = []
        while self._queue and not self._queue[0].in_flight:
            answers.append(self.give_up())
        return answers

    def _pop(self) -> Own:
        own = self._queue.popleft()
        self.bytes -= own.size
        if own.token:
            self._tokens.pop(own.token, None)
        if own.in_flight:
            self.in_flight -= 1
            self._in_flight_bytes -= own.size
        elif own.writes:
            self._waiting -= 1
        return own
