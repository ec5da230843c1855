"""The load of `vaylix bench`: connections that each send requests, wait for the replies, and send the next ones.

    done = await load(target, login, Work("SET", clients=50, pipeline=1), seconds)

Closed loop: a slow server is asked less, so what is measured is what so many clients would see, not what they would see
if more of them came. Latency is that of a round trip, of all requests of a pipeline together.
Promise: connections are closed, and none sends more, when the time is over or something goes wrong.
Units: seconds. Not here: which loads there are and what they mean (`bench`).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis

from ..errors import EX_IO, Refused
from .moving.channel import packed
from .reach import Target

PREFIX: Final = b"vaylix-bench:"
KEYS: Final = 10_000
VALUE: Final = bytes(range(65, 91)) * 4  # 104 bytes of text
BATCHES: Final = 1024  # prepared for all connections, of which each begins elsewhere; keys repeat after that
WARM_UP: Final = 0.1  # of the time, not counted


class LoadFailed(Refused):
    exit_code = EX_IO


@dataclass(frozen=True, slots=True)
class Work:
    verb: str  # SET or GET
    clients: int
    pipeline: int

    @property
    def name(self) -> str:
        pipeline = f", {self.pipeline} at a time" if self.pipeline > 1 else ""
        return f"{self.verb}  {self.clients} client{'s' * (self.clients != 1)}{pipeline}"


@dataclass(frozen=True, slots=True)
class Done:
    requests: int
    seconds: float
    latencies: Sequence[float]  # of round trips, rising
    answered: int  # requests, those of the warm-up too
    client_cpu: float  # share of one core that this process used

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    def percentile_us(self, percent: float) -> float:
        at = min(int(len(self.latencies) * percent / 100), len(self.latencies) - 1)
        return 1e6 * self.latencies[at]


def key(number: int) -> bytes:
    return PREFIX + b"%d" % number


def requests(work: Work) -> list[bytes]:
    """What connections send, in turn: in each run the same."""
    chance = random.Random(1)

    def one() -> tuple[bytes, ...]:
        name = key(chance.randrange(KEYS))
        return (b"SET", name, VALUE) if work.verb == "SET" else (b"GET", name)

    return [packed([one() for _ in range(work.pipeline)]) for _ in range(BATCHES)]


class Connection(asyncio.Protocol):
    """One client. `trips` are (when it ended, what it took)."""

    def __init__(self, batches: Iterable[bytes], pipeline: int, login: bytes) -> None:
        self._batches = itertools.cycle(batches)
        self._pipeline = pipeline
        self._reader = hiredis.Reader()
        self._login = login
        self._missing = 0
        self._sent = 0.0
        self._going = False
        self._transport: Any = None
        self.trips: list[tuple[float, float]] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # logged in
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # an exception, or never done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._login:
            self._transport.write(self._login)
        else:
            self.ready.set_result(None)

    def begin(self) -> None:
        self._going = True
        self._next()

    def end(self) -> None:
        self._going = False
        self._transport.abort()

    def _next(self) -> None:
        self._missing = self._pipeline
        self._sent = time.perf_counter()
        self._transport.write(next(self._batches))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                self._fail(LoadFailed(f"the server answers: {reply}"))
                return
            if not self.ready.done():
                self.ready.set_result(None)
                continue
            self._missing -= 1
        if self._going and self._missing == 0:
            now = time.perf_counter()
            self.trips.append((now, now - self._sent))
            self._next()

    def connection_lost(self, failure: Exception | None) -> None:
        if self._going or not self.ready.done():
            self._fail(LoadFailed(f"the server closed the connection{f': {failure}' if failure else ''}"))

    def _fail(self, failure: Exception) -> None:
        self._going = False
        for told in (self.failed, self.ready):
            if not told.done():
                told.set_exception(failure)


async def load(target: Target, login: bytes, work: Work, seconds: float) -> Done:
    """Raises LoadFailed, OSError."""
    batches = requests(work)
    starts = range(0, BATCHES, max(BATCHES // work.clients, 1))
    connections = [
        Connection(batches[start:] + batches[:start], work.pipeline, login) for start in starts[: work.clients]
    ]
    try:
        for one in connections:
            await _open(target, one)
            await one.ready
        began, cpu = time.perf_counter(), time.process_time()
        for one in connections:
            one.begin()
        failed = [one.failed for one in connections]
        broken, _ = await asyncio.wait(failed, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ended, cpu = time.perf_counter(), time.process_time() - cpu
        for told in broken:
            await told
    finally:
        for one in connections:
            if one.ready.done():
                one.end()
            one.failed.cancel()
    return _counted(connections, work, began, ended, cpu)


async def _open(target: Target, connection: Connection) -> None:
    loop = asyncio.get_running_loop()
    if not target.port:
        await loop.create_unix_connection(lambda: connection, target.address)
        return
    name = target.name if target.context is not None else None
    await loop.create_connection(
        lambda: connection, target.address, target.port, ssl=target.context, server_hostname=name
    )


def _counted(connections: Sequence[Connection], work: Work, began: float, ended: float, cpu: float) -> Done:
    """What came after the beginning, in which caches and batches find their size."""
    since = began + WARM_UP * (ended - began)
    latencies = sorted(took for one in connections for at, took in one.trips if at >= since)
    if not latencies:
        raise LoadFailed("not one reply came in the time that was given; give more with --seconds")
    answered = sum(len(one.trips) for one in connections) * work.pipeline
    return Done(len(latencies) * work.pipeline, ended - since, latencies, answered, cpu / (ended - began))
