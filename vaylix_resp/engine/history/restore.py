"""The state at a point in the past: the nearest snapshot before it, then the log up to it; and that as a new directory.

Promises: the same `apply` over the same entries as live traffic, so the state is the one that was; the source is only
read. It is no member of the cluster that it came from. A new directory gets an id and a key of its own and its manifest
last, and what has been written is read back and compared before anybody is told that it is there.
Not here: finding and checking the files (`storage.history`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ...commands.points import Point, iso
from ...errors import EX_USAGE, Refused
from ...state.machine import StateMachine
from ...storage.batch import Batch
from ...storage.history import TRIES, History, Range, Vanished
from ...storage.listing import NEVER
from .. import entries
from ..boot import TooFewDatabases, load_snapshot, new_machine, replay

DATABASES_MAX: Final = 65536  # as the directive allows; the data says how many it really has


class OutOfRange(Refused):
    """A point that the files cannot lead to. The text names what they can."""

    exit_code = EX_USAGE


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """`sequence` and `timestamp_ms` are those of the last entry applied; 0 for the empty state."""

    machine: StateMachine
    term: int

    @property
    def sequence(self) -> int:
        return self.machine.applied

    @property
    def timestamp_ms(self) -> int:
        return self.machine.time_ms

    @property
    def keys(self) -> int:
        return sum(len(db.items) for db in self.machine.world.databases)


def rebuild(
    history: History, point: Point, now_ms: int, say: Callable[[int, int], None] | None = None, last: int | None = None
) -> Rebuilt:
    """The state at the point. `say(done, total)` in entries, total 0 when nobody knows it.

    `now_ms`: up to when the history reaches, if nothing has been written since; `last`: how far the log is to be read.
    Raises OutOfRange, Corrupt.
    """
    reach = history.range() if last is None else history.range(last)
    check(history.root, reach, point, now_ms)
    databases, tries = 1, 0
    while True:
        try:
            return _rebuild(history, point, databases, say, last)
        except TooFewDatabases as short:  # a snapshot has to be loaded into as many as it was made from
            assert databases < short.needed <= DATABASES_MAX, (databases, short.needed)
            databases = short.needed
        except Vanished:  # a running server has pruned what we were reading; what is in range has another base now
            tries += 1
            if tries >= TRIES:
                raise
            check(history.root, history.range() if last is None else history.range(last), point, now_ms)


def check(root: str, reach: Range, point: Point, now_ms: int) -> None:
    """OutOfRange unless the files lead to the point."""
    if point.timestamp_ms is not None:
        inside = reach.first_ms <= point.timestamp_ms <= max(reach.last_ms, now_ms)
    else:
        assert point.sequence is not None
        inside = reach.first <= point.sequence <= reach.last
    if not inside:
        raise OutOfRange(
            f"{root}: {point} cannot be restored, only sequence {reach.first} ({iso(reach.first_ms)}) to "
            f"{reach.last} ({iso(reach.last_ms)}); to continue: choose a point in between, or another source"
        )


def _rebuild(
    history: History, point: Point, databases: int, say: Callable[[int, int], None] | None, last: int | None
) -> Rebuilt:
    machine = new_machine(databases)
    end = NEVER if point.sequence is None else point.sequence
    end_ms = NEVER if point.timestamp_ms is None else point.timestamp_ms
    base = history.base_for(end, end_ms)
    term = 0
    if base is not None:
        load_snapshot(machine, history.reader(base))
        term = base.term
    began = machine.applied
    total = end - began if point.sequence is not None else 0
    # Whoever gives `last` knows it to be committed; of a member's log, the files alone may know less.
    for batch in history.batches(base, end if last is None else min(end, last), last or 0):
        if batch.timestamp_ms > end_ms:
            break
        replay(machine, _cut(batch, end), DATABASES_MAX)
        term = batch.term
        if say:
            say(machine.applied - began, total)
    if point.sequence is not None and machine.applied != point.sequence:
        raise OutOfRange(f"{history.root}: the log ends at sequence {machine.applied}, {point} was asked for")
    machine.world.nodes.forget()
    return Rebuilt(machine, term)


def _cut(batch: Batch, end: int) -> Batch:
    """The entries of a batch up to `end`; a batch is what one fsync covered, not one change."""
    if batch.last <= end:
        return batch
    count = end - batch.first + 1
    body = entries.encode(islice(entries.decode(batch.body), count))
    return Batch(batch.first, count, batch.term, batch.timestamp_ms, batch.committed, batch.seed, body, batch.tag)
