"""Keeps one connection to one address: looks the name up, connects, shakes hands, and begins again when it is over.

Promises: names are looked up at each attempt, in threads of our own, so that a resolver that hangs delays nobody else;
when it does not answer, the addresses of the last time are tried. After a failure the next attempt waits, longer each
time up to a bound and never at the same rhythm as others; after a refusal that somebody has to see to, longer still.
What went wrong is logged when it changes, not each time.
Units: seconds. Not here: the connection (`channel`), what for (`link`, `founder`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from ..config_cluster import host_and_port
from ..observability.logs import get_log
from .channel import Channel
from .hello import Code, Refusal

log = get_log("peers")

FIRST_S: Final = 0.05
LONGEST_S: Final = 1.0  # a node that is back is missed for no longer
REFUSED_S: Final = 5.0  # somebody has to change something first
SETTLED_S: Final = 5.0  # a connection that lasted so long was a good one
LOOKUP_S: Final = 1.0
PASSING: Final = (Code.NOT_YET, Code.BUSY)  # refusals that end by themselves

Address = tuple[int, Any]  # family, and what connect() takes


class Backoff:
    """How long to wait after each failure: twice as long as the last time, less a random part of up to a half."""

    def __init__(self, rng: Random, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._rng, self._first_s, self._longest_s = rng, first_s, longest_s
        self._next_s = first_s

    def reset(self) -> None:
        self._next_s = self._first_s

    def next(self) -> float:
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return wait_s * (1 - self._rng.random() / 2)


@dataclass(frozen=True, slots=True)
class Target:
    """What is dialed. `what` names it in the log."""

    host: str
    port: int
    what: str

    @property
    def address(self) -> str:
        return host_and_port(self.host, self.port)


class Dialer:
    """One connection that is wanted, until close()."""

    def __init__(
        self, target: Target, make: Callable[[], Channel], names: Executor, rng: Random, *, attempt_s: float = 2.0,
        failed: Callable[[str], None] | None = None, absent: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """`failed` hears why an attempt or a connection ended; `absent`, that each address has refused to connect."""
        self.target = target
        self._make, self._names, self._attempt_s, self._failed = make, names, attempt_s, failed
        self._absent = absent
        self._loop = asyncio.get_running_loop()
        self._backoff, self._slow = Backoff(rng), Backoff(rng, LONGEST_S, REFUSED_S)
        self._known: list[Address] = []
        self._lookup: asyncio.Future[list[Address]] | None = None
        self._over: asyncio.Future[tuple[str, Refusal | None]] | None = None
        self._nudged = asyncio.Event()
        self._said = ""
        self._closed = False
        self.channel: Channel | None = None
        self._task = self._loop.create_task(self._run())

    def close(self) -> None:
        self._closed = True
        self._task.cancel()
        if self.channel is not None:
            self.channel.end("not needed any more")

    def nudge(self) -> None:
        """The other side is there: do not wait any longer."""
        self._nudged.set()

    # What the owner reports of our channel.

    def opened(self) -> None:
        if self._said:
            log.notice("a node answers again", node=self.target.what, addr=self.target.address)
        self._said = ""

    def closed(self, why: str, refusal: Refusal | None) -> None:
        self.channel = None
        if self._over is not None and not self._over.done():
            self._over.set_result((why, refusal))

    # The loop.

    async def _run(self) -> None:
        while not self._closed:
            began = self._loop.time()
            why, refusal = await self._once()
            if self._failed is not None:
                self._failed(why)
            if why != self._said:
                log.notice("no connection to a node", node=self.target.what, addr=self.target.address, reason=why)
                self._said = why
            if self._loop.time() - began > SETTLED_S:
                self._backoff.reset()
                self._slow.reset()
            self._nudged.clear()
            lasting = refusal is not None and refusal.code not in PASSING
            wait_s = (self._slow if lasting else self._backoff).next()
            try:
                async with asyncio.timeout(wait_s):
                    await self._nudged.wait()
            except TimeoutError:
                continue

    async def _once(self) -> tuple[str, Refusal | None]:
        """One attempt, and the connection if there is one; why it is over."""
        addresses, problem = await self._find()
        refused = 0
        for family, address in addresses:
            self._over = self._loop.create_future()
            channel = self.channel = self._make()
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                async with asyncio.timeout(self._attempt_s):
                    await self._loop.sock_connect(sock, address)
                prepare(sock)
                await self._loop.create_connection(lambda made=channel: made, sock=sock)  # type: ignore[misc]
            except (OSError, TimeoutError) as bad:
                sock.close()
                problem = _reason(bad)
                refused += isinstance(bad, ConnectionRefusedError)
                channel.end(problem)
                continue
            except asyncio.CancelledError:
                sock.close()
                channel.end("not needed any more")  # uvloop has closed the transport without a word to the channel
                raise
            return await self._over
        if addresses and refused == len(addresses) and self._absent is not None:
            self._absent()
        return problem, None

    async def _find(self) -> tuple[list[Address], str]:
        """Where to try, best first; if that is nowhere, why."""
        host, port = self.target.host, self.target.port
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            return await self._look_up(host, port)
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        return [(family, (host, port))], ""

    async def _look_up(self, host: str, port: int) -> tuple[list[Address], str]:
        if self._lookup is None:  # otherwise the last one still hangs, and one thread is enough for that
            self._lookup = self._loop.run_in_executor(self._names, look_up, host, port)
        done, _ = await asyncio.wait([self._lookup], timeout=LOOKUP_S)
        if not done:
            return self._known, f"the name {host} is not resolved in time"
        lookup, self._lookup = self._lookup, None
        bad = lookup.exception()
        if bad is not None:
            return self._known, f"the name {host} is not resolved: {getattr(bad, 'strerror', None) or bad}"
        self._known = lookup.result()
        return self._known, f"the name {host} has no address"


def _reason(bad: OSError) -> str:
    """asyncio puts words of its own in the place of the system's."""
    if isinstance(bad, TimeoutError):
        return "it does not answer"
    return os.strerror(bad.errno) if bad.errno else str(bad)


def look_up(host: str, port: int) -> list[Address]:
    """In a thread. Raises OSError, or UnicodeError for a name that cannot be one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def prepare(sock: socket.socket) -> None:
    """A small message is not held back for another one, and the kernel too asks whether the other side lives."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
