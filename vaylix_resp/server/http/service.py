"""All connections of `http-port`: how many there may be, and when a page is made.

Promise: pages together take at most one part in PACE of the loop's time, however much is asked for; whoever asks too
much waits, and so do others here, but no client of the server. Units: seconds.
Not here: HTTP (`protocol`), pages (`routes`), sockets (`door`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter  # durations only; the loop's own time stands still within one turn
from typing import Final

from . import routes
from .pages import Site
from .protocol import HttpConnection

CONNECTIONS_MAX: Final = 32
PACE: Final = 10


class HttpService:
    """On one event loop."""

    def __init__(
        self, site: Site, loop: asyncio.AbstractEventLoop, now: Callable[[], float] = perf_counter
    ) -> None:
        self._site, self._loop, self._now = site, loop, now
        self._connections: dict[HttpConnection, None] = {}  # oldest first
        self._asking: deque[HttpConnection] = deque()
        self._free_at = 0.0  # when the next page may be made
        self._turning: asyncio.TimerHandle | None = None

    def connect(self) -> HttpConnection:
        """The protocol of a connection that has come in."""
        return HttpConnection(self)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, callback)

    def enter(self, connection: HttpConnection) -> bool:
        """Whether there is room for it. Who keeps a connection for later makes room."""
        if len(self._connections) >= CONNECTIONS_MAX:
            idle = next((one for one in self._connections if one.idle), None)
            if idle is None:
                return False
            idle.close()
            self.leave(idle)
        self._connections[connection] = None
        return True

    def leave(self, connection: HttpConnection) -> None:
        """Safe to call twice."""
        self._connections.pop(connection, None)

    def ask(self, connection: HttpConnection) -> None:
        """Its request is whole: it is answered in its turn."""
        self._asking.append(connection)
        self._schedule()

    def close(self) -> None:
        for connection in list(self._connections):
            connection.close()
        if self._turning is not None:
            self._turning.cancel()

    def _schedule(self) -> None:
        if self._turning is None and self._asking:
            self._turning = self._loop.call_later(max(0.0, self._free_at - self._now()), self._turn)

    def _turn(self) -> None:
        self._turning = None
        connection = self._asking.popleft()
        if connection.request is not None:
            began = self._now()
            page = routes.answer(self._site, connection.request)
            now = self._now()
            self._free_at = now + (PACE - 1) * (now - began)
            connection.answer(page)
        self._schedule()
