"""All connections of `http-port`: how many there may be, and when a page is made.

Promises: whoever comes is let in, at the cost of who is missed least; pages together, with reading what asks for them
and sending them, take at most one part in PACE of the loop's time, however much is asked for, and so do probes, which
do not wait for pages; whoever asks too much waits, and so do others here, but no client of the server. Units: seconds.
Not here: HTTP (`protocol`), pages (`routes`), sockets (`door`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter  # durations only; the loop's own time stands still within one turn
from typing import Final

from . import routes
from .pages import Site
from .protocol import HttpConnection

CONNECTIONS_MAX: Final = 32
PACE: Final = 10


class Lane:
    """Requests that wait for one another. In here: connections whose request is whole, first come first served."""

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        self._site, self._loop, self._now = site, loop, now
        self.asking: dict[HttpConnection, None] = {}
        self.free_at = 0.0  # when the next page may be made
        self._turning: asyncio.TimerHandle | None = None

    def ask(self, connection: HttpConnection) -> None:
        self.asking[connection] = None
        self._schedule()

    def leave(self, connection: HttpConnection) -> None:
        self.asking.pop(connection, None)

    def close(self) -> None:
        if self._turning is not None:
            self._turning.cancel()

    def _schedule(self) -> None:
        if self._turning is None and self.asking:
            self._turning = self._loop.call_later(max(0.0, self.free_at - self._now()), self._turn)

    def _turn(self) -> None:
        self._turning = None
        if not self.asking:  # whoever asked has left
            return
        connection = next(iter(self.asking))
        assert connection.request is not None
        self.leave(connection)
        began = self._now()
        page = routes.answer(self._site, connection.request)
        now = self._now()
        self.free_at = now + (PACE - 1) * (connection.spent_s + now - began)
        connection.spent_s = 0.0
        connection.answer(page)
        self._schedule()


class HttpService:
    """On one event loop."""

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop, now: Callable[[], float] = perf_counter) -> None:
        self._loop, self.now = loop, now
        self._connections: dict[HttpConnection, None] = {}  # oldest first
        self.pages, self.probes = Lane(site, loop, now), Lane(site, loop, now)

    def connect(self) -> HttpConnection:
        """The protocol of a connection that has come in."""
        return HttpConnection(self)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, callback)

    def enter(self, connection: HttpConnection) -> None:
        """It is let in; where there are too many the oldest goes of those that are missed least."""
        if len(self._connections) >= CONNECTIONS_MAX:
            least = min(self._connections, key=lambda one: one.missed)
            least.close()
            self.leave(least)
        self._connections[connection] = None

    def leave(self, connection: HttpConnection) -> None:
        """Safe to call twice."""
        self._connections.pop(connection, None)
        self.pages.leave(connection)
        self.probes.leave(connection)

    def ask(self, connection: HttpConnection) -> None:
        """Its request is whole: it is answered in its turn."""
        assert connection.request is not None
        lane = self.probes if routes.is_probe(connection.request) else self.pages
        lane.ask(connection)

    def close(self) -> None:
        for connection in list(self._connections):
            connection.close()
        self.pages.close()
        self.probes.close()
