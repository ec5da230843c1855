"""Accepting connections: addresses, the unix socket, and closing the doors.

Promise: an address that cannot be bound is a refusal to start that names it.
Not here: limits per client (`connection`).
"""

from __future__ import annotations

import asyncio
import os

from ..errors import EX_CONFIG, Halt
from .connection import Connection
from .shared import Shared


class Listener:
    """All the doors of one server."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._servers: list[asyncio.AbstractServer] = []
        self._socket_path = ""

    async def open(self) -> None:
        """Raises Halt when an address cannot be had (an address marked optional with `-` is passed over)."""
        settings = self._shared.settings
        loop = asyncio.get_running_loop()
        shared = self._shared
        for entry in settings.bind if settings.port else ():
            optional, host = entry.startswith("-"), entry.lstrip("-")
            try:
                server = await loop.create_server(
                    lambda: Connection(shared), None if host == "*" else host, settings.port,
                    backlog=settings.tcp_backlog,
                )  # fmt: skip
            except OSError as problem:
                if optional:
                    continue
                where = display(host, settings.port)
                raise Halt(EX_CONFIG, f"cannot listen on {where}: {problem.strerror or problem}; choose another "
                           f"`bind` or `port`, or stop who uses it") from problem  # fmt: skip
            self._servers.append(server)
        if settings.unixsocket:
            await self._open_unix(settings.unixsocket)

    async def _open_unix(self, path: str) -> None:
        shared = self._shared
        try:
            if os.path.exists(path):
                os.unlink(path)
            self._servers.append(
                await asyncio.get_running_loop().create_unix_server(lambda: Connection(shared), path)
            )
            if shared.settings.unixsocketperm:
                os.chmod(path, shared.settings.unixsocketperm)
        except OSError as problem:
            raise Halt(EX_CONFIG, f"cannot listen on {path}: {problem.strerror or problem}") from problem
        self._socket_path = path

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        if self._socket_path and os.path.exists(self._socket_path):
            os.unlink(self._socket_path)


def display(host: str, port: int) -> str:
    host = host.lstrip("-")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
