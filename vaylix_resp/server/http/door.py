"""The sockets of `http-port`, from the start of the process to its end.

Before there is a server a thread with a loop of its own answers, because recovery leaves the main loop no turn: probes
learn that the process lives and is not ready. Then the main loop takes the same sockets over; who connects in between
waits in the kernel's queue.
Promise: an address that cannot be bound is a refusal to start that names it.
Not here: connections (`service`, `protocol`), pages (`routes`).
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Final

from ...config import Settings
from ...errors import Halt
from ..listener import cannot_listen, display
from .pages import Site
from .service import HttpService

if TYPE_CHECKING:
    from ..shared import Shared

BACKLOG: Final = 64


class HttpDoor:
    """Of one process. Without `http-port` there are no sockets, and nothing happens."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.site = Site(settings)
        self._sockets: list[socket.socket] = []
        self._early: _Early | None = None
        self._service: HttpService | None = None
        self._servers: list[asyncio.AbstractServer] = []

    def open(self) -> None:
        """Raises Halt when an address cannot be had; one marked optional with `-` is passed over."""
        if not self._settings.http_port:
            return
        try:
            for entry in self._settings.http_bind:
                self._bind(entry)
        except Halt:
            self.close()
            raise
        self._early = _Early(self.site, self._sockets)

    def _bind(self, entry: str) -> None:
        optional, host, port = entry.startswith("-"), entry.lstrip("-"), self._settings.http_port
        try:
            found = socket.getaddrinfo(
                None if host == "*" else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, address in found:
                if host == "*" and family != socket.AF_INET:
                    continue
                self._sockets.append(sock := socket.socket(family, socket.SOCK_STREAM))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(address)
                sock.listen(BACKLOG)
        except OSError as problem:
            if not optional:
                raise cannot_listen(display(host, port), problem, "http-bind", "http-port") from problem

    async def serve(self, server: Shared, phase: str = "") -> None:
        """From the main loop on, about this server."""
        if self._early is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._early.close)
            self._early = None
        self.site.server, self.site.phase = server, phase
        if self._sockets:
            loop = asyncio.get_running_loop()
            self._service = HttpService(self.site, loop)
            self._servers = await _listen(loop, self._service, self._sockets)

    def close(self) -> None:
        """Safe to call at any time, twice as well."""
        if self._early is not None:
            self._early.close()
            self._early = None
        for server in self._servers:
            server.close()
        if self._service is not None:
            self._service.close()
        for sock in self._sockets:
            sock.close()
        self._servers, self._sockets, self._service = [], [], None


class _Early:
    """The thread that answers while the process starts."""

    def __init__(self, site: Site, sockets: list[socket.socket]) -> None:
        self._site, self._sockets = site, sockets
        self._loop, self._end = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="http-early", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        service = HttpService(self._site, self._loop)
        servers = await _listen(self._loop, service, self._sockets)
        await self._end.wait()
        for server in servers:
            server.close()
        service.close()
        await asyncio.sleep(0)  # the connections hear that they are closed

    def close(self) -> None:
        """Whoever is connected has to come again."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


async def _listen(
    loop: asyncio.AbstractEventLoop, service: HttpService, sockets: list[socket.socket]
) -> list[asyncio.AbstractServer]:
    """On copies: what a loop closes at its end is its own."""
    return [await loop.create_server(service.connect, sock=sock.dup()) for sock in sockets]
