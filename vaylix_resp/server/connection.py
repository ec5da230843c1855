"""One socket: bytes in, bytes out, and how much of either a client may make us keep.

Promises: a client that reads slowly is first no longer read from, then closed; whatever it does, nobody else waits.
A single reply may be larger than the output limit: the limit is compared with what was left unread before it.
Not here: what requests mean (`execution`), what they look like (`resp.reader`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from ..commands.transactions import end_overdue
from ..errors import CommandError
from ..limits import BACKLOG_BYTES_MAX, KIB, OUTPUT_PAUSE_BYTES
from ..observability.logs import get_log
from ..resp.reader import QUERY_TOO_LARGE, ProtocolError, RequestReader
from ..resp.reply import Push, Reply
from ..resp.writer import encode, error_line
from ..security.acl_log import TOP_LEVEL
from . import rights
from .clients import type_of
from .dispatch import Argv, Excess
from .tracing import Tracing

if TYPE_CHECKING:
    from .shared import Shared

log = get_log("server")

PROTECTED_MODE = (
    "DENIED Vaylix is running in protected mode because protected mode is enabled and no password is set for the "
    "default user. In this mode connections are only accepted from the loopback interface. Set `requirepass`, or bind "
    "to loopback only, or turn `protected-mode` off if you know that the network is safe."
)


class Connection(Tracing, asyncio.Protocol):
    """The protocol of one client's transport."""

    __slots__ = (
        "_ended", "_last_words", "_lost", "_reading", "_soft_since", "_transport", "_unread", "_writable",
        "closing",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self.closing = self._lost = False
        self._reading = self._writable = True
        self._unread: bytes | None = None  # what came behind requests that wait and may be the log-in
        self._ended = False  # nothing more will be read; `_last_words` are said when all that came has been executed
        self._last_words: CommandError | None = None
        self._soft_since = 0.0  # when the output first stayed over the soft limit; 0.0: it does not
        settings = shared.settings
        self._reader = RequestReader(
            settings.proto_max_bulk_len, settings.client_query_buffer_limit, trusted=shared.accounts.open
        )
        super().__init__(shared, 0, "", "", -1)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        shared = self.shared
        shared.stats.total_connections_received += 1
        self._name_ends()
        refused = shared.clients.refuse()
        if refused is None and self._unprotected():
            shared.stats.rejected_connections += 1
            refused = PROTECTED_MODE
        if refused is None and (too_many := self._admit()) is not None:
            shared.stats.rejected_connections += 1
            refused = too_many.text
        if refused is not None:
            self._lost = True
            self._transport.write(error_line(refused))
            self._transport.close()
            return
        self.id = shared.clients.new_id()
        self._transport.set_write_buffer_limits(high=OUTPUT_PAUSE_BYTES)
        shared.clients.add(self)

    def data_received(self, data: bytes) -> None:
        if self.closing or self._lost:
            return
        shared, reader = self.shared, self._reader
        stats = shared.stats
        stats.total_net_input_bytes += len(data)
        stats.total_reads_processed += 1
        self.last_active = shared.now
        try:
            if not reader.trusted:
                self._execute_untrusted(data)
            elif shared.tracer is not None and shared.tracer.chooses():
                self.read_followed(data)
            else:
                self.take(reader.read(data), len(data))
        except ProtocolError as bad:
            self._protocol_error(bad)
        if self._flight or self._backlog:
            self._held += len(data)
            if self._held > BACKLOG_BYTES_MAX:
                self._stop_reading()

    def take(self, requests: Sequence[Argv], size: int) -> None:
        raw = self._reader.raw
        if raw is None or len(raw) >= self.shared.lateness.large_request:
            self.measure(requests, size)
        if self.limiter is None:
            self.execute(requests, raw)
        else:
            self._execute_limited(requests, size)

    def _execute_untrusted(self, data: bytes) -> None:
        """One request at a time, because AUTH lifts the bounds for what follows it.

        In small pieces, because for each request the reader looks at all the bytes it has.
        """
        reader = self._reader
        for at in range(0, max(len(data), 1), UNTRUSTED_PIECE_BYTES):
            piece = data[at : at + UNTRUSTED_PIECE_BYTES]
            requests, size = reader.read(piece), len(piece)
            while requests:
                self._execute_limited(requests, size)
                if self.closing:
                    return
                if self._backlog:  # AUTH may be in there
                    self._unread = data[at + UNTRUSTED_PIECE_BYTES :]
                    self._stop_reading()
                    return
                requests, size = reader.read(b"") if reader.buffered and not reader.waits else [], 0
            if size and self.limiter is not None:
                self._execute_limited([], size)

    def _execute_limited(self, requests: Sequence[Argv], size: int) -> None:
        """As `execute`, as far as rates allow; what is beyond them is refused in its turn. `size` is of the read."""
        limiter = self.limiter
        if limiter is None:
            self.execute(requests)
            return
        admitted = limiter.admit(len(requests), size, self.shared.clock.now())
        if admitted == len(requests):
            self.execute(requests, self._reader.raw)
            return
        refused = limiter.refused
        assert refused is not None
        beyond = (argv if argv[0].upper() in NEVER_EXCESS else Excess(argv, refused) for argv in requests[admitted:])
        self.execute([*requests[:admitted], *beyond])

    def eof_received(self) -> bool:
        """The client has no more to say; what it asked for is still answered, but it does not wait any more."""
        if self.waiting is not None and self.waiting.blocking:
            self.kill()
        else:
            self._end(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        shared = self.shared
        self.abandon()
        shared.quotas.leave(self)
        shared.forget(self)
        shared.parked.pop(self, None)
        shared.buffering.discard(self)
        shared.clients.remove(self)
        self._out.clear()

    def pause_writing(self) -> None:
        self._writable = False
        self.shared.buffering.add(self)
        self._stop_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self.shared.buffering.discard(self)
        self._soft_since = 0.0
        self.resume()

    # commands.ports.Client

    @property
    def input_bytes(self) -> int:
        return self._reader.buffered

    @property
    def output_bytes(self) -> int:
        return 0 if self._lost else self._transport.get_write_buffer_size()

    def push(self, message: Reply) -> None:
        if self._captured is not None and isinstance(message, Push):
            self._captured.append(message)
        else:
            self.push_wire(encode(message, self.proto))

    def push_wire(self, wire: bytes) -> None:
        if not self._lost:
            self._out.append(wire)
            if not self._depth:
                self.flush()

    def close_after_reply(self) -> None:
        self.closing = True
        self._backlog.clear()
        if not self._depth:
            self.flush()

    def kill(self) -> None:
        if not self._lost:
            self.closing = self._lost = True
            self.shared.clients.remove(self)
            self._transport.abort()

    # Output.

    def flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            self._heavy = 0
            if self._lost:
                return
            if not self._writable and self._over_limit(more=True):
                self.kill()
                return
            data = b"".join(out)
            self._transport.write(data)
            stats = self.shared.stats
            stats.total_net_output_bytes += len(data)
            stats.total_writes_processed += 1
        if self.closing and not self._lost and not (self._flight or self.waiting):
            self._transport.close()

    def output_stalled(self) -> bool:
        return not self._writable

    def _over_limit(self, *, more: bool) -> bool:
        """What is unread already passes `client-output-buffer-limit`, at once (if there is more) or for too long."""
        buffered = self._transport.get_write_buffer_size()
        limit = getattr(self.shared.settings.client_output_buffer_limit, type_of(self))
        if more and 0 < limit.hard_bytes < buffered:
            why = f"{buffered} bytes are unread, the hard limit is {limit.hard_bytes}"
        elif 0 < limit.soft_bytes < buffered:
            now = self.shared.clock.now()
            self._soft_since = self._soft_since or now
            if now - self._soft_since < limit.soft_seconds:
                return False
            why = f"{buffered} bytes are unread for {limit.soft_seconds} s, the soft limit is {limit.soft_bytes}"
        else:
            self._soft_since = 0.0
            return False
        self.shared.stats.client_output_buffer_limit_disconnections += 1
        log.warning(
            f"a slow client was closed: {why}; find out why it does not read, or raise client-output-buffer-limit",
            client=self.id, addr=self.addr,
        )  # fmt: skip
        return True

    def check_limits(self, now: float) -> None:
        """About once a second: idle time, time to log in, to end a transaction, and output that nobody reads."""
        settings = self.shared.settings
        end_overdue(self, now)
        idle = now - self.last_active
        if not self._writable and self._over_limit(more=False):
            self.kill()
        elif not self.authenticated and now - self.stranger_since > LOGIN_SECONDS_MAX:
            log.verbose("a client that did not log in was closed", client=self.id, addr=self.addr)
            self.kill()
        elif rights.has_expired(self, self.shared.clock.wall_ms()):
            log.notice("a client was closed: its user has expired", client=self.id, user=self.user)
            self.kill()
        elif 0 < settings.timeout < idle and not (
            self.waiting or self._flight or self._backlog or self.monitor or self.subscriptions
        ):
            log.verbose("an idle client was closed", client=self.id, addr=self.addr)
            self.kill()

    # Input.

    def refresh(self) -> None:
        super().refresh()
        self._reader.trusted = self.authenticated

    def resume(self) -> None:
        super().resume()
        if self._unread is not None and not self._backlog:
            unread, self._unread = self._unread, None
            try:
                self._execute_untrusted(unread)
            except ProtocolError as bad:
                self._protocol_error(bad)
        self.go_on_following()
        if self._ended and not self._backlog and self.waiting is None:
            self._say_last_words()
        if not (self._flight or self._backlog):
            self._held = 0
        if not self._reading and self._writable and self._held <= BACKLOG_BYTES_MAX and self._unread is None:
            if not (self.closing or self._lost or self._ended):
                self._reading = True
                self._transport.resume_reading()

    def _stop_reading(self) -> None:
        if self._reading and not self._lost:
            self._reading = False
            self._transport.pause_reading()

    def _end(self, last_words: CommandError | None) -> None:
        """Nothing more will be read: what came before is answered, then the client is told why, and closed."""
        self._stop_reading()
        if not self._ended:
            self._ended, self._last_words = True, last_words
        if not self._backlog and self.waiting is None:
            self._say_last_words()

    def _say_last_words(self) -> None:
        self._ended = False
        if self._last_words is not None:
            self._depth += 1
            self.answer(self._last_words)
            self._depth -= 1
        self.close_after_reply()

    def _protocol_error(self, bad: ProtocolError) -> None:
        self._execute_limited(bad.requests, 0)
        if self.closing:  # QUIT was among them
            return
        text = str(bad)
        stats = self.shared.stats
        if text == QUERY_TOO_LARGE:
            stats.client_query_buffer_limit_disconnections += 1
            log.warning(
                "a client was closed: its request passes client-query-buffer-limit; raise it if that was meant",
                client=self.id, addr=self.addr,
            )  # fmt: skip
            self.kill()
            return
        log.verbose(f"protocol error: {text}", client=self.id, addr=self.addr)
        self._end(CommandError(f"ERR Protocol error: {text}"))

    # Who is at the other end.

    def _admit(self) -> CommandError | None:
        """As whom the connection begins; the error if that user has too many already."""
        peer = self._transport.get_extra_info("peer")  # with TLS, of a client that has shown a certificate
        if peer is not None and self.shared.settings.tls_auth_clients_user != "off":
            refused = self._log_in_by_certificate(peer.names)
            if refused is not None:
                return refused
        return self.shared.quotas.admit(self)

    def _log_in_by_certificate(self, names: Sequence[bytes]) -> CommandError | None:
        """As in Valkey: who maps to no user goes on as somebody who has not logged in."""
        user = self.shared.user_of_certificate(names)
        self.shared.audit.certificate(self, user)
        if user is None:
            self.shared.stats.acl_access_denied_tls_cert += 1
            rights.note(self, "tls-cert", b"tls-cert", names[0] if names else b"", TOP_LEVEL)
            log.notice("a client's certificate names no user who may log in", addr=self.addr)
            return None
        return self.log_in(user)

    def _name_ends(self) -> None:
        sock = self._transport.get_extra_info("socket")
        peer = self._transport.get_extra_info("peername")
        name = self._transport.get_extra_info("sockname")
        self.fd = sock.fileno() if sock is not None else -1
        if sock is not None and sock.family == socket.AF_UNIX:
            self.addr = self.laddr = f"{name}:0"
            return
        self.addr, self.laddr = _endpoint(peer), _endpoint(name)
        keepalive = self.shared.settings.tcp_keepalive
        if sock is not None and keepalive > 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, keepalive // 3))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def _unprotected(self) -> bool:
        """Whether anybody out there could log in without a password."""
        settings = self.shared.settings
        if not settings.protected_mode or not self.shared.accounts.open or self.addr.startswith("/"):
            return False
        host = self.addr.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
        return not (host == "::1" or host.startswith("127."))


UNTRUSTED_PIECE_BYTES = 16 * KIB
# What only ends something, and MULTI: were it refused, what follows would run outside of the transaction.
NEVER_EXCESS = frozenset({b"MULTI", b"DISCARD", b"UNWATCH", b"QUIT", b"RESET"})
LOGIN_SECONDS_MAX = 10.0  # or whoever has no password could hold all the connections that maxclients allows


def _endpoint(name: object) -> str:
    if isinstance(name, tuple) and len(name) >= 2:
        return f"[{name[0]}]:{name[1]}" if ":" in str(name[0]) else f"{name[0]}:{name[1]}"
    return "?:0"
