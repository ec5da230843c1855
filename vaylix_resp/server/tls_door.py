"""Doors for TLS: accepting, how many may be in the middle of a handshake, and which certificate they are shown.

Promises: at most `tls-handshakes-max` clients are in a handshake, each for `tls-handshake-timeout` seconds at most;
those that come on top wait in the kernel's queue, and when it is silent clients that fill the room, the one that has
been silent longest leaves for them. Handshakes take WORKERS threads and no more, so that clients who are inside do
not wait for those who come in. A reload changes nothing for connections that are open.
Not here: the encryption of one connection (`tls_link`).
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ..config import Settings
from ..observability.logs import get_log
from ..security.tls import DAY_S, Keeper, Options, TlsError, load, stamp_of
from .tls_link import HANDSHAKE, Link

log = get_log("tls")

WORKERS: Final = 2
ACCEPTS_PER_TURN: Final = 16  # then others have their turn
SILENCE_S: Final = 1.0  # who has not gone on for so long makes room for others
RETRY_S: Final = 1.0  # after the system had no descriptor for us
LINES_PER_SECOND: Final = 10  # of the log for each reason, however many handshakes fail for it
WATCH_S: Final = 1.0  # how often the job looks at the clock

DIRECTIVES: Final = (
    "tls-cert-file", "tls-key-file", "tls-key-file-pass", "tls-ca-cert-file", "tls-ca-cert-dir", "tls-auth-clients",
    "tls-protocols", "tls-ciphers", "tls-ciphersuites", "tls-prefer-server-ciphers", "tls-session-caching",
    "tls-session-cache-size", "tls-session-cache-timeout",
)  # fmt: skip


class Door:
    """All TLS listeners of one server, on the loop that runs when it is opened."""

    def __init__(self, settings: Settings, keeper: Keeper, factory: Callable[[], asyncio.Protocol]) -> None:
        self._settings = settings
        self.keeper = keeper
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[socket.socket, Callable[[], asyncio.Protocol]] = {}  # and what comes in by each
        self._accepting = False
        self._again: asyncio.TimerHandle | None = None
        self._pool = ThreadPoolExecutor(WORKERS, "tls")
        self._shaking: dict[Link, float] = {}  # in a handshake or being turned away, since when; oldest first
        self._timers: dict[Link, asyncio.TimerHandle] = {}
        self._open = 0
        self.counts: Counter[str] = Counter()
        self._line_second = 0
        self._lines: Counter[str] = Counter()  # of this second, by text
        self._jobs: set[asyncio.Task[Any]] = set()
        self._settling = False  # a CONFIG SET was refused; what follows at once is its undoing
        self.on_reload: Callable[[str, bool], None] = _nobody  # told why, and whether the files could be used
        for warning in keeper.material.warnings:
            log.warning(warning)
        for name in DIRECTIVES:
            settings.subscribe(name, self._changed)

    # Opening and closing.

    async def listen(
        self, host: str | None, port: int, factory: Callable[[], asyncio.Protocol] | None = None
    ) -> None:
        """Raises OSError when the address cannot be had. `factory`: for what comes in here, if not the usual one."""
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, proto, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(address)
                sock.listen(self._settings.tcp_backlog)
            except OSError:
                sock.close()
                raise
            self._sockets[sock] = factory or self._factory
        self._accepting = False
        self._resume()

    def close(self) -> None:
        """No new clients; those in a handshake are let go, those inside may stay."""
        self._pause()
        if self._again is not None:
            self._again.cancel()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        for link in list(self._shaking):
            link.abort()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # Accepting.

    def _resume(self) -> None:
        self._again = None
        if self._accepting or not self._sockets:
            return
        self._accepting = True
        for sock in self._sockets:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    def _pause(self) -> None:
        """Let the kernel keep whoever comes; its queue is bounded by `tcp-backlog`."""
        if self._accepting:
            self._accepting = False
            for sock in self._sockets:
                self._loop.remove_reader(sock.fileno())

    def _pause_for(self, seconds: float) -> None:
        self._pause()
        if self._again is None:
            self._again = self._loop.call_later(seconds, self._resume)

    def _accept(self, sock: socket.socket) -> None:
        for turn in range(ACCEPTS_PER_TURN):
            if len(self._shaking) >= self._settings.value("tls-handshakes-max"):
                if turn:  # nobody leaves unless somebody waits, and of that only the first turn is sure
                    return
                if not self._make_room():
                    self._pause_for(SILENCE_S / 4)
                    return
            try:
                client, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                log.warning(
                    f"no TLS client can be accepted: {problem.strerror or problem}; it is tried again; raise the limit "
                    "of open files (LimitNOFILE, ulimit -n) or lower maxclients"
                )
                self._pause_for(RETRY_S)
                return
            self._admit(client, address, self._sockets[sock])

    def _make_room(self) -> bool:
        """Part with the handshake that has gone on longest, if its client is silent."""
        now = self._loop.time()
        for link, since in self._shaking.items():
            if now - since < SILENCE_S:
                return False
            if not link.busy:
                if link.state is HANDSHAKE:
                    self.counts["evicted"] += 1
                    self.failed(link, "it was silent while others waited")
                self._leave(link)
                link.abort()
                return True
        return False

    def _admit(self, client: socket.socket, address: Any, factory: Callable[[], asyncio.Protocol]) -> None:
        if self.keeper.expired:
            self._say("a TLS client was refused: our certificate has expired", addr=_display(address))
            self.counts["failed"] += 1
            client.close()
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(self, self.keeper.context, factory)
        link.addr = _display(address)
        self._shaking[link] = self._loop.time()
        self._timers[link] = self._loop.call_later(self._settings.value("tls-handshake-timeout"), self._timeout, link)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: link, client))
        self._jobs.add(task)
        task.add_done_callback(lambda done: self._accepted(done, link, client))

    def _accepted(self, task: asyncio.Task[Any], link: Link, client: socket.socket) -> None:
        self._jobs.discard(task)
        if task.cancelled() or task.exception() is not None:  # the client is gone already
            client.close()
            self._leave(link)

    def _timeout(self, link: Link) -> None:
        self.counts["timed_out"] += 1
        self.failed(link, "the handshake took longer than tls-handshake-timeout")
        self._leave(link)
        link.abort()

    def _leave(self, link: Link) -> None:
        self._shaking.pop(link, None)
        timer = self._timers.pop(link, None)
        if timer is not None:
            timer.cancel()
        if not self._accepting and self._again is not None and self._sockets:
            self._again.cancel()
            self._resume()

    # What a link asks of its door.

    @property
    def user_field(self) -> str:
        field: str = self._settings.value("tls-auth-clients-user")
        return field

    def now_s(self) -> int:
        return self.keeper.now_s()

    def work(self, step: Callable[[], None]) -> asyncio.Future[None]:
        return self._loop.run_in_executor(self._pool, step)

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.call_later(seconds, then)

    def opened(self, link: Link) -> None:
        self._leave(link)
        link.inside = True
        self._open += 1
        self.counts["completed"] += 1
        if link.peer is not None and link.peer.refusal:
            self._say(f"a client's certificate maps to no user: {link.peer.refusal}", addr=link.addr)

    def failed(self, link: Link, why: str, *, quiet: bool = False) -> None:
        """`quiet`: health checks and port scans do it all the time."""
        self.counts["failed"] += 1
        timer = self._timers.pop(link, None)
        if timer is not None:
            timer.cancel()
        if quiet:
            log.verbose(f"a TLS handshake failed: {why}", addr=link.addr)
        else:
            self._say(f"a TLS handshake failed: {why}", addr=link.addr)

    def broken(self, link: Link, why: str) -> None:
        self.counts["broken"] += 1
        self._say(f"a TLS connection was closed: {why}", addr=link.addr)

    def gone(self, link: Link) -> None:
        self._leave(link)
        self._open -= link.inside
        link.inside = False

    def _say(self, text: str, **fields: object) -> None:
        """A line of the log, unless there were too many of the same this second."""
        second = int(self._loop.time())
        if second != self._line_second:
            self._sum_up()
            self._line_second = second
        self._lines[text] += 1
        if self._lines[text] <= LINES_PER_SECOND:
            log.notice(text, **fields)

    def _sum_up(self) -> None:
        for text, count in self._lines.items():
            if count > LINES_PER_SECOND:
                log.notice(f"{text} ({count - LINES_PER_SECOND} more times in one second)")
        self._lines.clear()

    # Certificates.

    def _changed(self, _: object) -> None:
        """CONFIG SET of one of DIRECTIVES; the same value again asks for a reload, as in Redis."""
        options = Options.of(self._settings)
        if options == self.keeper.material.options and (self._settling or not self.keeper.changed(options)):
            return
        self._settling = False
        try:
            self._reload(options, "CONFIG SET")
        except TlsError as bad:
            self._settling = True
            raise ValueError(str(bad)) from bad

    def reload(self, why: str) -> bool:
        """Take the files as they are now (SIGHUP); False when they cannot be used, which the log says."""
        try:
            self._reload(Options.of(self._settings), why)
        except TlsError:
            return False
        return True

    def _reload(self, options: Options, why: str) -> None:
        try:
            self.keeper.reload(options)
        except TlsError as bad:
            self._kept(why, str(bad))
            raise
        self._taken(why)

    def _kept(self, why: str, problem: str) -> None:
        log.warning(
            f"TLS certificates were not reloaded ({why}): {problem}; the ones in force stay: mend the files, which are "
            "looked at again when they change, and on SIGHUP"
        )
        self.on_reload(why, False)

    def _taken(self, why: str) -> None:
        material = self.keeper.material
        log.notice(
            f"TLS certificates reloaded ({why}) for new connections; open ones go on", subject=material.server.subject,
            serial=material.server.serial, days_left=self.keeper.days_left,
        )  # fmt: skip
        for warning in material.warnings:
            log.warning(warning)
        self.on_reload(why, True)

    async def run(self) -> None:
        """Until cancelled: look whether files have changed, and how long the certificate is still good."""
        last, settled = self._loop.time(), stamp_of(self.keeper.material.options)
        while True:
            await asyncio.sleep(WATCH_S)
            self._settling = False
            if int(self._loop.time()) != self._line_second:
                self._sum_up()
            warning = self.keeper.warning()
            if warning:
                log.warning(warning)
            interval = self._settings.value("tls-auto-reload-interval")
            if 0 < interval <= self._loop.time() - last:
                last, settled = self._loop.time(), await self.look(settled)

    async def look(self, settled: Any) -> Any:
        """Reload what has changed since the last look, once it is the same in two looks: files come one by one."""
        options = self.keeper.material.options
        stamp = await self._loop.run_in_executor(None, stamp_of, options)
        if stamp != settled or not self.keeper.changed(options):
            return stamp
        try:
            material = await self._loop.run_in_executor(None, load, options, self.now_s())
        except TlsError as bad:
            if self.keeper.material.options == options:
                self.keeper.refuse(options, stamp, str(bad))
                self._kept("the files have changed", str(bad))
            return stamp
        if self.keeper.material.options == options:  # else CONFIG SET was quicker
            self.keeper.take(material)
            self._taken("the files have changed")
        return stamp

    def info(self) -> dict[str, int | str]:
        """INFO tls: the first six as in Valkey."""
        keeper, material, now_s = self.keeper, self.keeper.material, self.now_s()
        ca = min(material.authorities, key=lambda one: one.not_after_s, default=None)
        return {
            "tls_server_cert_serial": material.server.serial,
            "tls_server_cert_expires_in_seconds": max(material.server.not_after_s - now_s, 0),
            "tls_client_cert_serial": "none",
            "tls_client_cert_expires_in_seconds": 0,
            "tls_ca_cert_serial": ca.serial if ca else "none",
            "tls_ca_cert_expires_in_seconds": max(ca.not_after_s - now_s, 0) if ca else 0,
            "tls_server_cert_days_left": keeper.days_left,
            "tls_ca_cert_days_left": (ca.not_after_s - now_s) // DAY_S if ca else 0,
            "tls_connections": self._open,
            "tls_handshakes_in_flight": len(self._shaking),
            **{f"tls_handshakes_{name}": self.counts[name] for name in ("completed", "failed", "timed_out", "evicted")},
            "tls_reloads": keeper.reloads,
            "tls_last_reload_status": "failed" if keeper.failure else "ok",
        }


def _nobody(why: str, taken: bool) -> None:
    """Until `app` listens."""


def _display(address: Any) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
