"""A change that is larger than an entry, made atomic: its keys are staged in many entries and published by one.

`Publications.begin()` gives the server's one `Publication`: `await stage(db, rows)` as often as there is something,
then `await publish("merge" | "replace")`, or `await discard()`.
Promises: nothing is visible before `publish` has returned, then everything is; other clients' writes go between the
entries; what is refused on the way (full disk, failed log) raises CommandError and leaves the live keys as they were.
What is left staged (the process died, the disk was full) is thrown away by `tidy`, by entries as well.
Not here: what the entries do (`state.staging`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from ..commands.operations import publish, stage, unstage
from ..commands.ports import Later
from ..errors import CommandError
from ..limits import KIB

Row = tuple[bytes, bytes, int | None, int]  # key, value, expiry in ms since the epoch or None, EX flags
Propose = Callable[[tuple[bytes, ...]], Later]

ENTRY_ROWS_MAX: Final = 500  # applied in about a millisecond
ENTRY_BYTES_MAX: Final = 256 * KIB  # of keys and values; a larger row has an entry of its own
IN_FLIGHT_MAX: Final = 2  # one is synced while the next is made; more would only lengthen others' wait
MODES: Final = ("merge", "replace")
BUSY: Final = "BUSY another restore is under way; try again when it has ended"


def name_of(origin: tuple[int, int], random: bytes) -> bytes:
    """Of a publication. `origin`: the node that makes it, and its process; (0, 0) where there is one node only."""
    return b"%016x-%016x-%b" % (*origin, random)


def abandoned(staged: Iterable[bytes], origin: tuple[int, int], members: Collection[int] | None) -> list[bytes]:
    """What nobody will publish, as far as it is this node's business: of earlier processes of it.

    `members`: of the cluster that this node leads; then also what was left by nodes that are none any more.
    """
    node, boot = origin
    mine, alive = name_of((node, 0), b"")[:17], name_of((node, boot), b"")
    gone = [name for name in staged if name.startswith(mine) and not name.startswith(alive)]
    if members is not None:
        present = {name_of((member, 0), b"")[:17] for member in members}
        gone += [name for name in staged if not name.startswith(mine) and name[:17] not in present]
    return gone


class Publications:
    """One per server. `leftovers`: what recovery found staged; nobody will publish it.

    `abandoned`: where others may be at work, what is left is looked for now and then.
    """

    def __init__(self, propose: Propose, new_id: Callable[[], bytes], leftovers: Iterable[bytes] = ()) -> None:
        self._propose = propose
        self._new_id = new_id
        self._current: Publication | None = None
        self.abandoned: Callable[[], Iterable[bytes]] = tuple
        self._leftovers = deque(leftovers)
        self._tidying = False

    @property
    def busy(self) -> bool:
        return self._current is not None

    def begin(self) -> Publication:
        """Raises CommandError while there is another one."""
        if self._current is not None:
            raise CommandError(BUSY)
        self._current = Publication(self._propose, self._new_id(), self._ended)
        return self._current

    def tidy(self) -> None:
        """Throw away what is left, one at a time. Called now and then, as the log may refuse it for a while."""
        if not self._leftovers:
            self._leftovers.extend(self.abandoned())
        if self._leftovers and not self._tidying:
            self._tidying = True
            self._propose(unstage(self._leftovers[0])).listen(self._tidied)

    def _tidied(self, reply: object) -> None:
        self._tidying = False
        if not isinstance(reply, CommandError):
            self._leftovers.popleft()
            self.tidy()

    def _ended(self, left: bytes | None) -> None:
        self._current = None
        if left is not None:
            self._leftovers.append(left)


class Publication:
    """One change under way; made by `Publications.begin`. After the first error, `publish` or `discard` it is over."""

    def __init__(self, propose: Propose, name: bytes, ended: Callable[[bytes | None], None]) -> None:
        self.name = name
        self._propose = propose
        self._ended = ended
        self._in_flight: deque[asyncio.Future[Any]] = deque()
        self._over = False
        self._staged = False  # something may be in the log

    async def stage(self, db: int, rows: Sequence[Row]) -> None:
        """Put rows aside for database `db`; a key that comes again replaces what came before."""
        assert not self._over, "a publication ends once"
        try:
            for part in _parts(rows):
                while len(self._in_flight) >= IN_FLIGHT_MAX:
                    await self._landed()
                self._staged = True
                self._in_flight.append(_answer(self._propose(stage(self.name, db, part))))
        except BaseException:
            await self.discard()
            raise

    async def publish(self, mode: str) -> int:
        """Make it live in one entry; the number of keys. "merge": others stay; "replace": nothing else is left."""
        assert mode in MODES and not self._over, (mode, self._over)
        try:
            while self._in_flight:
                await self._landed()
            reply = await _answer(self._propose(publish(self.name, mode)))
            if isinstance(reply, CommandError):
                raise reply
        except BaseException:
            await self.discard()
            raise
        self._end(None)
        assert isinstance(reply, int), reply
        return reply

    async def discard(self) -> None:
        """Throw away what is staged. Safe to call at any time, also when it is over."""
        if self._over:
            return
        if not self._staged:
            self._end(None)
            return
        self._over = True
        # Behind all stage entries in the log, whether or not somebody still waits for them.
        answer = _answer(self._propose(unstage(self.name)))
        left: bytes | None = self.name  # also if this wait is cancelled: to be told twice does no harm
        try:
            if not isinstance(await answer, CommandError):
                left = None
        finally:
            self._end(left)

    async def _landed(self) -> None:
        """The oldest entry in flight has been applied, or raises what has become of it."""
        reply = await self._in_flight.popleft()
        if isinstance(reply, CommandError):
            raise reply

    def _end(self, left: bytes | None) -> None:
        self._over = True
        self._ended(left)


def _answer(later: Later) -> asyncio.Future[Any]:
    """A reply to wait for; whoever stops waiting is not told."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answered(reply: object) -> None:
        if not future.done():
            future.set_result(reply)

    later.listen(answered)
    return future


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut to the size of an entry."""
    first = size = 0
    for at, (key, value, _, _) in enumerate(rows):
        more = len(key) + len(value)
        if at > first and (at - first >= ENTRY_ROWS_MAX or size + more > ENTRY_BYTES_MAX):
            yield rows[first:at]
            first, size = at, 0
        size += more
    if first < len(rows):
        yield rows[first:]
