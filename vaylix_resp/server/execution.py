"""How one session's requests are executed in rows, and in which order they are answered.

A row is some requests of the same command, one behind the other: looked up once, timed and counted together. A row of
reads runs at once against applied state. From a session's first write on, rows become items of a run in the open
batch: writes for the log, reads to be executed behind them; the run is worked off when its batch is committed. A
command that must see earlier writes, and cannot be put into a run, waits in the backlog until none is in flight.

Promises: replies leave in request order; a read of a session sees the session's own earlier writes.
Not here: running them and encoding the replies (`completion`), requests that need a closer look (`dispatch`), bytes
(`connection`), the log (`engine`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from ..commands.operations import in_database
from ..commands.transactions import WORD_BYTES
from ..engine import entries
from ..errors import CommandError
from ..limits import BACKLOG_BYTES_MAX, OUTPUT_PAUSE_BYTES, ROW_BYTES_MAX
from ..resp.reply import Reply
from . import rights
from .completion import Completion
from .dispatch import Argv, Item
from .table import Bound, Route

if TYPE_CHECKING:
    from .shared import Shared

ITEM_REQUESTS_MAX = 64  # writes applied before their replies are looked at, if these are all OK
ITEM_VALUES_MAX = 16  # the same, if each may be as large as a value: a gigabyte at most
NAME = itemgetter(0)


class Execution(Completion):
    """A session that executes. `connection.Connection` adds the socket."""

    __slots__ = ("_backlog", "_held", "_parked")

    closing: bool  # replies that are due are still sent, nothing more is executed

    def __init__(self, shared: Shared, identity: int, addr: str, laddr: str, fd: int) -> None:
        self._backlog: deque[Argv] = deque()  # waits for the flight to land, for a Later, for output or a pause
        self._held = 0  # bytes received since the flight and the backlog were empty, give or take a request
        self._parked = False  # a full batch, a pause or a slow reader holds the backlog up
        super().__init__(shared, identity, addr, laddr, fd)
        self.refresh()

    # What the socket's side provides.

    @abstractmethod
    def output_stalled(self) -> bool:
        """Whether the client reads too slowly for more replies to be made now."""

    @property
    def request_bytes(self) -> int:
        return self._held if self._flight or self._backlog else 0

    # Entry points.

    def execute(self, requests: Sequence[Argv], raw: bytes | None = None) -> None:
        """Execute requests in order; what cannot run yet stays in the backlog. `raw`: their bytes, if known."""
        if self.closing:
            return
        if self._backlog or self.waiting is not None or self._parked or self.barrier:
            self._backlog.extend(requests)
            return
        if not requests:
            return
        self._depth += 1
        try:
            if len(requests) == 1:
                self._row(requests, (), raw)
            else:
                self._rows(requests, raw)
        except Exception as bug:  # half of a reply may be in the output: nothing can follow it
            self.shared.report_bug(self.last_command, bug)
            self.kill()
        finally:
            self._depth -= 1
        if not self._depth:
            self.flush()

    def resume(self) -> None:
        """Whatever held the backlog up may be over."""
        self._parked = False
        if self._backlog and self.waiting is None and not self.barrier:
            if self.output_stalled():
                self._parked = True
                return
            if self.shared.node.crowded:
                self.park()
                return
            backlog, self._backlog = list(self._backlog), deque()
            self.execute(backlog)

    def at_rest(self) -> None:
        if self._backlog or self._held > BACKLOG_BYTES_MAX:
            self.resume()
        else:
            self._held = 0

    def arrived(self, reply: Reply) -> None:
        self.waiting = None
        self.answer(reply)
        if not self._depth:
            self.flush()
            self.resume()

    def park(self) -> None:
        """Leave the backlog alone until `Shared.release_parked`."""
        self._parked = True
        self.shared.parked[self] = None

    # Rows.

    def _rows(self, requests: Sequence[Argv], raw: bytes | None) -> None:
        names = [*map(NAME, requests)]
        if names.count(names[0]) == len(names):
            self._row(requests, (), raw)
            return
        groups = groupby(requests, NAME)
        for _, group in groups:
            row = list(group)
            rest = chain.from_iterable(g for _, g in groups)
            if not self._row(row, rest, raw if len(row) == len(requests) else None):
                return

    def _row(self, row: Sequence[Argv], rest: Iterable[Argv], raw: bytes | None) -> bool:
        """Execute a row; False if it, or what comes behind it, has to wait: all of that is in the backlog then."""
        bound = self.shared.table.by_name.get(row[0][0])
        if bound is None or bound.route is Route.SINGLE or not self.plain or self.shared.observed:
            return self._one_by_one(row, rest)
        shortest = longest = len(row[0])
        if len(row) > 1:
            lengths = {*map(len, row)}
            shortest, longest = min(lengths), max(lengths)
        if shortest < bound.low or longest > bound.high:
            return self._one_by_one(row, rest)
        if self.limited and not rights.covers(self, bound, row):
            return self._one_by_one(row, rest)
        if self.shared.sizes is not None and not self.shared.sizes.covers(bound, row):
            return self._one_by_one(row, rest)
        if bound.route is Route.READ:
            if self.asks_around:
                if self.shared.node.crowded:
                    self.park()
                    return self._wait(chain(row, rest))
                self.open_run().items.append(Item(bound, row, self.shared.machine.world.views[self.db]))
                return True
            if self._flight:
                self._flight[-1].items.append(Item(bound, row, self.shared.machine.world.views[self.db]))
                return True
            view = self.shared.machine.world.views[self.db]
            done = self._reads(bound, view, row)
            if not self._heavy:
                return True
            while not self._must_stop():
                if done == len(row):
                    return True
                row = row[done:]
                done = self._reads(bound, view, row)
            return self._wait(chain(row[done:], rest))
        shared = self.shared
        if (
            self.elsewhere or shared.node.refusal is not None or shared.maintenance.refusal is not None
            or shared.memory.tight or bound.name in shared.memory.stretching
        ):  # fmt: skip
            return self._one_by_one(row, rest)
        if shared.node.crowded:
            self.park()
            return self._wait(chain(row, rest))
        if not self._writes(bound, row, raw, longest):
            return self._one_by_one(row, rest)
        return not self._must_stop() or self._wait(rest)

    def _one_by_one(self, row: Sequence[Argv], rest: Iterable[Argv]) -> bool:
        for at, argv in enumerate(row):
            if not self.single(argv):
                return self._wait(chain(row[at:], rest))
            if self.closing:  # after QUIT nothing more is executed
                return False
            if self._must_stop():
                return self._wait(chain(row[at + 1 :], rest))
        return True

    def _wait(self, requests: Iterable[Argv]) -> bool:
        self._backlog = deque(chain(requests, self._backlog))
        return False

    def _must_stop(self) -> bool:
        """A closed door further on: a reply that comes later, a client that does not read."""
        if self._heavy > OUTPUT_PAUSE_BYTES:
            self.flush()
        if self.output_stalled():
            self._parked = True  # until the client has read enough
            return True
        return self.barrier or self.waiting is not None

    def _writes(self, bound: Bound, row: Sequence[Argv], raw: bytes | None, longest: int) -> bool:
        """Writes into the open batch; those that can be seen to be wrong without the state are answered instead.

        False, and nothing is done, if they are too many bytes for one go.
        """
        batch_bytes = self.shared.node.batch_bytes
        most = batch_bytes if batch_bytes < ROW_BYTES_MAX else ROW_BYTES_MAX
        if bound.check is None or longest <= bound.plain:
            return self._enter(bound, row, raw, most)
        if sum(map(len, row)) * WORD_BYTES + sum(map(len, chain.from_iterable(row))) > most:
            return False
        for right, refused in _checked(bound, row):
            if right:
                entered = self._enter(bound, right, None, 2 * most)
                assert entered, "the estimate above is not that far off"
            if refused is not None:
                self.refuse(bound, refused)
        return True

    def _enter(self, bound: Bound, row: Sequence[Argv], raw: bytes | None, most: int) -> bool:
        if self.db:
            row, raw = [in_database(self.db, argv) for argv in row], None
        if raw is None:
            raw = entries.encode(row)
        if len(raw) > most:
            return False
        run = self.open_run()
        run.add(row, raw)
        count = len(row)
        if count <= ITEM_VALUES_MAX:
            run.items.append(Item(bound, row))
        else:
            plain = bound.row is not None and max(map(len, row)) <= bound.plain
            piece = ITEM_REQUESTS_MAX if plain else ITEM_VALUES_MAX
            run.items += [Item(bound, row[at : at + piece]) for at in range(0, count, piece)]
        return True

    def abandon(self) -> None:
        """The client is gone: its writes in flight go on, their replies go nowhere."""
        self._backlog.clear()
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None


def _checked(bound: Bound, row: Sequence[Argv]) -> Iterator[tuple[Sequence[Argv], CommandError | None]]:
    """Stretches of a row that may be logged, each with the refusal of the request behind it."""
    check, plain = bound.check, bound.plain
    assert check is not None
    start = 0
    for at, argv in enumerate(row):
        if len(argv) > plain:
            try:
                check(argv)
            except CommandError as refused:
                yield row[start:at], refused
                start = at + 1
    yield row[start:], None
