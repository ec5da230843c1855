"""From committed entries to the state, and to the owners of what in them is our own.

An entry is ours as a whole (we proposed it), has stretches that are ours (forwarded, each behind its marker), or is
all of others. What is ours is applied by its owners, who answer their clients with what comes out; the rest as at boot.
Promises: every operation is applied exactly once and in its place; batches of reads that wait before an own one see the
state before it.
Not here: which batch is whose (`outbox`), when entries may be applied (`raft`), who watches the state (`server`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from ...commands.cluster_operations import FROM
from ...errors import CommandError
from ...raft.types import Entry, EntryKind, InvariantBroken
from ...state.machine import StateMachine
from ...state.succession import take_over
from .. import entries
from ..boot import begin_term
from ..node import Batch, Run
from .outbox import Answer, Outbox

NAME: Final = itemgetter(0)


class Guest:
    """Owner of what another node has forwarded. Nobody is to be answered here."""

    __slots__ = ("_apply", "term")

    def __init__(self, term: int, apply: Callable[[bytes], None]) -> None:
        self.term = term  # in which it was taken: in no other may it be proposed
        self._apply = apply

    def complete(self, run: Run) -> None:
        self._apply(b"".join(run.payload))

    def fail(self, run: Run, refusal: CommandError) -> None:
        """Its origin learns it from the log."""


class Applier:
    """`me`: node id and the number of this process. `complete` has a batch's owners apply it."""

    def __init__(
        self, machine: StateMachine, outbox: Outbox, me: tuple[int, int], answer: Callable[[Sequence[Answer]], None],
        complete: Callable[[Batch, int, int], None], new_members: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._machine, self._outbox, self._me = machine, outbox, me
        self._answer, self._complete, self._new_members = answer, complete, new_members
        self._databases = len(machine.world.databases)  # as many as the configuration allows
        self._term = 0  # of the last entry applied
        self.seen = 0  # own batches that have come back; for whoever waits for progress
        self.on_foreign: Callable[[], None] = _nobody  # what others wrote has been applied

    def apply(self, entry: Entry) -> None:
        machine, outbox = self._machine, self._outbox
        if machine.applied != entry.first - 1:
            raise InvariantBroken(f"{entry} is to be applied behind {machine.applied}")
        if entry.term > self._term:
            self._term = entry.term
            outbox.term_applies(entry.term)
        answers = outbox.own_applies(entry.last, entry.term)
        if answers:
            self._answer(answers[:-1])
            self.seen += 1
            self._complete(answers[-1][0].batch, entry.timestamp_ms, entry.seed)
        else:
            if entry.kind is EntryKind.NOOP:
                begin_term(machine, entry.body, self._databases)
            machine.begin_batch(entry.timestamp_ms, entry.seed)
            self.apply_body(entry.body)
        if machine.applied != entry.last:
            raise InvariantBroken(f"{entry} has left the state at {machine.applied}")
        if entry.kind is EntryKind.MEMBERS:
            self._new_members(entry.last)

    def succeed(self, successor: StateMachine, term: int) -> None:
        """A snapshot's state takes the place of ours."""
        take_over(self._machine, successor)
        self._term = max(self._term, term)
        self.on_foreign()

    def apply_body(self, body: bytes) -> None:
        """Operations of others, of which some may be our own, forwarded."""
        operations = list(entries.decode(body))
        at = 0
        for place in _markers(operations) if FROM in body else ():
            if place < at:
                continue  # inside of what its owners have applied
            self._apply_rows(operations[at : place + 1])
            at = place + 1
            _, origin, boot, term, number, count = operations[place]
            if (int(origin), int(boot)) == self._me:
                answers = self._outbox.marker_applies(int(term), int(number))
                if answers:
                    self._complete_own(answers, int(count))
                    at += int(count)
        self._apply_rows(operations[at:])
        self.on_foreign()

    def _complete_own(self, answers: Sequence[Answer], count: int) -> None:
        self.seen += 1
        machine = self._machine
        self._answer(answers[:-1])
        batch: Batch = answers[-1][0].batch
        if batch.count != count:
            raise InvariantBroken(f"a batch of {batch.count} operations came back as one of {count}")
        self._complete(batch, machine.time_ms, machine.world.seed)

    def _apply_rows(self, operations: Sequence[Sequence[bytes]]) -> None:
        for _, row in groupby(operations, NAME):
            self._machine.apply_unheard([*row])


def _markers(operations: Sequence[Sequence[bytes]]) -> list[int]:
    return [at for at, operation in enumerate(operations) if operation[0] == FROM]


def _nobody() -> None:
    """Nobody is interested yet."""
