"""The raft port: accepting, and what strangers can make of it.

Promises: at most PENDING_MAX connections have not proven who they are; when there are more, the one that has been there
longest leaves, so that a port scan or a thousand silent connections keep no node out. The log has a bounded number of
lines for whatever is done to the port.
Units: seconds. Not here: the deadline of a handshake (`link`), the connections (`channel`).
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from ..config_cluster import host_and_port
from ..observability.logs import Log, get_log
from .channel import Channel
from .dialer import prepare

log = get_log("peers")

PENDING_MAX: Final = 64
ACCEPTS_PER_TURN: Final = 16  # then others have their turn
BACKLOG: Final = 128
RETRY_S: Final = 1.0  # after the system had no descriptor for us
WINDOW_S: Final = 10.0
SAME_MAX, ALL_MAX = 3, 20  # lines of one text, and of all texts, in a window


class Lines:
    """Lines of the log that strangers can cause."""

    def __init__(self, now: Callable[[], float], log: Log = log) -> None:
        self._now, self._log = now, log
        self._began = now()
        self._seen: Counter[str] = Counter()  # by text, ALL_MAX of them at most: strangers can make up any number
        self._shown = self._left_out = 0

    def say(self, text: str, **fields: object) -> None:
        self.turn()
        if text in self._seen or len(self._seen) < ALL_MAX:
            self._seen[text] += 1
        if 0 < self._seen.get(text, 0) <= SAME_MAX and self._shown < ALL_MAX:
            self._shown += 1
            self._log.notice(text, **fields)
        else:
            self._left_out += 1

    def turn(self) -> None:
        """Now and then: say how many lines of the last window were left out."""
        if self._now() - self._began < WINDOW_S:
            return
        if self._left_out:
            (text, _), *_ = self._seen.most_common(1)
            self._log.notice("more of the same at the raft port", lines=self._left_out, mostly=text)
        self._began, self._shown, self._left_out = self._now(), 0, 0
        self._seen.clear()


class Door:
    """All listeners of one node, on the loop that runs when it is made."""

    def __init__(self, make: Callable[[], Channel]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._again: asyncio.TimerHandle | None = None
        self._pending: dict[Channel, None] = {}  # oldest first
        self._jobs: set[asyncio.Task[Any]] = set()

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(sock.getsockname()[1] for sock in self._sockets)

    async def listen(self, host: str, port: int) -> None:
        """`*` or nothing: every IPv4. Raises OSError when the address cannot be had."""
        where = "0.0.0.0" if host in ("", "*") else host
        found = await self._loop.getaddrinfo(where, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(address)
                sock.listen(BACKLOG)
            except OSError:
                sock.close()
                raise
            self._sockets.append(sock)
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()
        for channel in list(self._pending):
            channel.end("this node stops")

    def settled(self, channel: Channel) -> None:
        """It has proven who it is, or is gone."""
        self._pending.pop(channel, None)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                log.warning(
                    f"no node can be accepted: {problem.strerror or problem}; it is tried again; raise the limit of "
                    "open files (LimitNOFILE, ulimit -n)"
                )
                self._pause()
                return
            self._admit(client, address)

    def _pause(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
        self._again = self._loop.call_later(RETRY_S, self._resume)

    def _resume(self) -> None:
        self._again = None
        for sock in self._sockets:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    def _admit(self, client: socket.socket, address: Any) -> None:
        if len(self._pending) >= PENDING_MAX:
            next(iter(self._pending)).end("too many connections have not proven who they are")
        client.setblocking(False)
        prepare(client)
        channel = self._make()
        channel.addr = host_and_port(str(address[0]), address[1])
        self._pending[channel] = None
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: channel, client))
        self._jobs.add(task)
        task.add_done_callback(lambda done: self._accepted(done, channel, client))

    def _accepted(self, task: asyncio.Task[Any], channel: Channel, client: socket.socket) -> None:
        self._jobs.discard(task)
        if task.cancelled() or task.exception() is not None:  # it is gone already
            client.close()
            channel.end("it hung up")
