"""Accepting connections: addresses, with and without TLS, the unix socket, and closing the doors.

Promise: an address that cannot be bound is a refusal to start that names it.
Not here: limits per client (`connection`), handshakes (`tls_door`).
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable

from ..errors import EX_CONFIG, Halt, not_allowed
from ..security.tls import Keeper, Options
from .connection import Connection
from .sentinel_door import SERVED, SentinelConnection
from .shared import Shared
from .tls_door import Door


class Listener:
    """All the doors of one server."""

    def __init__(self, shared: Shared, keeper: Keeper | None = None) -> None:
        """`keeper`: certificates for `tls-port`; made here unless given."""
        self._shared = shared
        self._keeper = keeper
        self._servers: list[asyncio.AbstractServer] = []
        self._socket_path = ""
        self.door: Door | None = None  # with tls-port

    async def open(self) -> None:
        """Raises Halt when an address cannot be had (one marked optional with `-` is passed over), or TlsError."""
        settings = self._shared.settings
        if settings.port:
            await self._open_each(settings.port, "port", self._open_plain)
        if settings.tls_port:
            keeper = self._keeper or Keeper(Options.of(settings), self._shared.clock)
            self.door = self._shared.tls = Door(settings, keeper, self._client)
            await self._open_each(settings.tls_port, "tls-port", self.door.listen)
        if settings.sentinel_port:
            await self._open_sentinel(settings.sentinel_port)
        if settings.unixsocket:
            await self._open_unix(settings.unixsocket)

    async def _open_sentinel(self, port: int) -> None:
        """With TLS where clients have no door without it: their passwords come through here as well."""
        table = self._shared.table.only(SERVED)

        def client() -> Connection:
            return SentinelConnection(self._shared, table)

        door = self.door if not self._shared.settings.port else None
        listen = self._open_plain if door is None else door.listen
        await self._open_each(port, "sentinel-port", lambda host, number: listen(host, number, client))

    def _client(self) -> Connection:
        return Connection(self._shared)

    async def _open_each(self, port: int, name: str, opened: Callable[[str | None, int], Awaitable[None]]) -> None:
        for entry in self._shared.settings.bind:
            optional, host = entry.startswith("-"), entry.lstrip("-")
            try:
                await opened(None if host == "*" else host, port)
            except OSError as problem:
                if optional:
                    continue
                raise cannot_listen(display(host, port), problem, "bind", name) from problem

    async def _open_plain(self, host: str | None, port: int, factory: Callable[[], Connection] | None = None) -> None:
        backlog = self._shared.settings.tcp_backlog
        server = await asyncio.get_running_loop().create_server(factory or self._client, host, port, backlog=backlog)
        self._servers.append(server)

    async def _open_unix(self, path: str) -> None:
        shared = self._shared
        try:
            if os.path.exists(path):
                if not stat.S_ISSOCK(os.stat(path).st_mode):  # somebody's data, named by mistake
                    raise FileExistsError("there is a file that is no socket; choose another `unixsocket`")
                os.unlink(path)
            self._servers.append(await asyncio.get_running_loop().create_unix_server(lambda: Connection(shared), path))
            if shared.settings.unixsocketperm:
                os.chmod(path, shared.settings.unixsocketperm)
        except OSError as problem:
            raise Halt(EX_CONFIG, f"cannot listen on {path}: {problem.strerror or problem}") from problem
        self._socket_path = path

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        if self.door is not None:
            self.door.close()
        if self._socket_path and os.path.exists(self._socket_path):
            os.unlink(self._socket_path)


def cannot_listen(where: str, problem: OSError, bind: str, port: str) -> Halt:
    """`bind` and `port`: the directives that say where."""
    advice = f"choose another `{bind}` or `{port}`, or stop who uses it"
    if not_allowed(problem):
        advice = f"choose a `{port}` above 1023, or give the server CAP_NET_BIND_SERVICE"
    return Halt(EX_CONFIG, f"cannot listen on {where}: {problem.strerror or problem}; {advice}")


def display(host: str, port: int) -> str:
    host = host.lstrip("-")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
