"""One TLS connection: a transport for the client's protocol, and itself the protocol of the TCP connection below.

OpenSSL works between two buffers in memory; this moves bytes in and out. uvloop's own TLS would do, but: it drops the
alert that says why a handshake failed, and the answers that are due when a client has closed its half; it counts as
sent what the socket has not taken; and it signs on the event loop. So here handshakes run in a small pool of threads
(OpenSSL lets go of the interpreter meanwhile), and only as much is encrypted as the socket takes.

Promises: the client's protocol hears of nothing before the handshake is complete, and then exactly as from a TCP
transport; `get_write_buffer_size` is every byte that the client has not been sent. Who speaks plain text is told so.
Not here: how many handshakes, and for how long (`tls_door`); certificates (`security.tls`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from ..errors import printable
from ..limits import KIB
from ..security.certificates import Peer, peer_of

if TYPE_CHECKING:
    from .tls_door import Door

READ_BYTES: Final = 256 * KIB  # asked of OpenSSL at once; it answers with a record, 16 KiB at most
PIECE_BYTES: Final = 128 * KIB  # encrypted at once
SOCKET_HIGH, SOCKET_LOW = 256 * KIB, 64 * KIB  # encrypted bytes that wait for the socket
HANDSHAKE_BYTES_MAX: Final = 256 * KIB  # what a client may send ahead of its turn; a chain of certificates fits well
LAST_WORDS_S: Final = 1.0  # how long a refused client may take to read why
HANDSHAKE_RECORD: Final = 0x16  # the first byte of every TLS connection

PLAIN_TEXT: Final = b"-ERR this port speaks TLS only; connect with TLS, or to the plain port\r\n"

# OpenSSL's reasons that an operator meets, said by what they mean here. The others are shown as OpenSSL names them.
REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has shown no certificate, and tls-auth-clients is yes",
    "NO_SHARED_CIPHER": "the client offers no cipher that tls-ciphers or tls-ciphersuites allows",
    "UNSUPPORTED_PROTOCOL": "the client offers no version of TLS that tls-protocols allows",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the client does not take the versions of TLS that tls-protocols allows",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the CA of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client refuses our certificate; is it for the name the client asked for?",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client refuses our certificate",
    "CERTIFICATE_VERIFY_FAILED": "the client's certificate was refused",
}

HANDSHAKE, REFUSED, OPEN, CLOSING, CLOSED = "handshake", "refused", "open", "closing", "closed"
LOST: Final = "lost"  # TCP is, while a thread is still at work; its verdict is for the log


class Link(asyncio.Transport, asyncio.Protocol):
    """Both sides of the encryption. Used on the loop's thread only, but for `do_handshake`."""

    def __init__(self, door: Door, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]) -> None:
        super().__init__()
        self._door = door
        self._factory = factory
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._raw = cast(asyncio.Transport, None)  # until connection_made
        self._protocol: asyncio.Protocol | None = None  # the client's, once the handshake is complete
        self.state = HANDSHAKE
        self.inside = False  # the door counts it as a client
        self.busy = False  # a thread is at work on the handshake
        self._heard = False  # a first byte
        self._arrived = bytearray()  # while the thread is
        self._plain: deque[memoryview] = deque()  # not encrypted yet, because the socket takes no more
        self._plain_bytes = 0
        self._full = False  # the socket takes no more
        self._high = self._low = SOCKET_HIGH
        self._paused_writing = False
        self._fin = False  # of TCP, during the handshake
        self._ended = False  # the client has said that it will send no more, and its protocol knows
        self.peer: Peer | None = None
        self.addr = "?"

    # asyncio.Protocol: what TCP says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        if self.state is CLOSED:  # the door has given up on it meanwhile
            self._raw.abort()
            return
        self._raw.set_write_buffer_limits(high=SOCKET_HIGH, low=SOCKET_LOW)

    def data_received(self, data: bytes) -> None:
        if self.state is OPEN:
            self._incoming.write(data)
            self._read()
        elif self.state is HANDSHAKE:
            if not self._heard and data[0] != HANDSHAKE_RECORD:
                self._refuse("it speaks plain text; this port is for TLS", PLAIN_TEXT)
                return
            self._heard = True
            self._arrived += data
            if len(self._arrived) > HANDSHAKE_BYTES_MAX:
                self._refuse("it sends more than a handshake needs")
            elif not self.busy:
                self._shake()

    def eof_received(self) -> bool:
        """Without TLS's own goodbye. What came before it was whole requests or is thrown away."""
        if self.state is OPEN:
            self._end()
            return self.state is not CLOSED
        if self.state is HANDSHAKE:
            self._fin = True
            if self.busy:  # with the client's last words, perhaps: an alert, or all that it wants to ask
                return True
            self._hung_up()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        shaking, self.state = self.state is HANDSHAKE, LOST
        if not (shaking and self.busy):
            if shaking:
                self._hung_up()
            self.state = CLOSED
        self._plain.clear()
        self._plain_bytes = 0
        self._door.gone(self)
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._pump()
        if self._paused_writing and self.state is OPEN and self.get_write_buffer_size() <= self._low:
            self._paused_writing = False
            assert self._protocol is not None
            self._protocol.resume_writing()

    # The handshake.

    def _shake(self) -> None:
        """One step of it, in a thread; what arrives meanwhile waits."""
        self._incoming.write(self._arrived)
        self._arrived.clear()
        self.busy = True
        self._door.work(self._ssl.do_handshake).add_done_callback(self._shaken)

    def _shaken(self, step: asyncio.Future[None]) -> None:
        self.busy = False
        if step.cancelled() or self.state not in (HANDSHAKE, LOST):  # it took too long, or the door is closed
            return
        failure = step.exception()
        more = isinstance(failure, ssl.SSLWantReadError)
        if more and self.state is HANDSHAKE:
            self._send()
        if more and self._arrived:
            self._shake()
        elif failure is None and self.state is HANDSHAKE:
            self._opened()
        elif more or failure is None:
            if self.state is LOST or self._fin:
                self._hung_up()
        elif isinstance(failure, ssl.SSLError):
            self._refuse(explain(failure), self._outgoing.read())  # the alert tells the client why
        else:
            self._door.failed(self, f"a bug: {failure!r}")
            self.abort()

    def _hung_up(self) -> None:
        self._door.failed(self, "the client hung up during the handshake", quiet=True)
        lost = self.state is LOST
        self.state = CLOSED
        if not lost:
            self._raw.close()

    def _opened(self) -> None:
        der = self._ssl.getpeercert(binary_form=True)
        if der:
            self.peer = peer_of(der, self._door.user_field)
            if self.peer.not_after_s <= self._door.now_s():  # a resumed session is not verified again
                self._refuse("the client's certificate has expired since")
                return
        self._send()
        if self.state is not HANDSHAKE:
            return
        self.state = OPEN
        self._door.opened(self)
        self._protocol = self._factory()
        self._protocol.connection_made(self)
        if self._arrived and self.state is OPEN:
            self._incoming.write(self._arrived)
        self._arrived.clear()
        if self.state is OPEN:  # requests that came in one packet with the end of the handshake
            self._read()
        if self._fin and self.state is OPEN:
            self._end()

    def _refuse(self, why: str, last_words: bytes = b"") -> None:
        """Say why, then wait a little for the client to hang up: a close with bytes unread would unsay it."""
        self._door.failed(self, why)
        if self.state is LOST:
            self.state = CLOSED
            return
        self.state = REFUSED
        if last_words:
            self._raw.write(last_words)
        if self._raw.can_write_eof():
            self._raw.write_eof()
        if self._fin:
            self._raw.close()
        else:
            self._door.later(LAST_WORDS_S, self.abort)

    # From the client.

    def _read(self) -> None:
        """Decrypt all that is there, and hand it over in one piece, as a TCP transport would."""
        pieces: list[bytes] = []
        over = False
        incoming, engine = self._incoming, self._ssl
        try:
            while incoming.pending or engine.pending():
                piece = engine.read(READ_BYTES)
                if not piece:
                    over = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still on its way
        except ssl.SSLZeroReturnError:
            over = True
        except ssl.SSLError as bad:
            self._broken(bad)
            return
        if self._outgoing.pending:  # an answer of TLS itself
            self._send()
        if pieces and self._protocol is not None:
            self._protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if over and self.state is OPEN:
            self._end()

    def _end(self) -> None:
        """No more will come, but what is due is still sent."""
        if self._ended or self._protocol is None:
            return
        self._ended = True
        if not self._protocol.eof_received():
            self.close()

    def _broken(self, bad: ssl.SSLError) -> None:
        self._door.broken(self, explain(bad))
        self._send()
        self.abort()

    # To the client.

    def write(self, data: Any) -> None:
        if self.state is not OPEN or not data:
            return
        if not self._plain and not self._full and len(data) <= PIECE_BYTES:
            self._encrypt(data)
        else:
            self._plain.append(memoryview(data))
            self._plain_bytes += len(data)
            self._pump()
        if not self._paused_writing and self.get_write_buffer_size() > self._high:
            self._paused_writing = True
            assert self._protocol is not None
            self._protocol.pause_writing()

    def _pump(self) -> None:
        """Encrypt as much as the socket takes."""
        while self._plain and not self._full and self.state in (OPEN, CLOSING):
            first = self._plain[0]
            piece, rest = first[:PIECE_BYTES], first[PIECE_BYTES:]
            if rest:
                self._plain[0] = rest
            else:
                self._plain.popleft()
            self._plain_bytes -= len(piece)
            self._encrypt(piece)
        if self.state is CLOSING and not self._plain:
            self._goodbye()

    def _encrypt(self, data: bytes | memoryview) -> None:
        try:
            self._ssl.write(data)
        except ssl.SSLError as bad:
            self._broken(bad)
            return
        self._send()

    def _send(self) -> None:
        data = self._outgoing.read()
        if data:
            self._raw.write(data)

    def _goodbye(self) -> None:
        self.state = CLOSED
        try:
            self._ssl.unwrap()
        except ssl.SSLError:
            pass  # the client's half of the goodbye is not waited for
        self._send()
        self._raw.close()

    # asyncio.Transport: what the client's protocol asks for.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._ssl
        return self.peer if name == "peer" else self._raw.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.state is not OPEN

    def close(self) -> None:
        if self.state is OPEN:
            self.state = CLOSING
            self._pump()

    def abort(self) -> None:
        self.state = CLOSED
        self._plain.clear()
        self._plain_bytes = 0
        if self._raw is not None:
            self._raw.abort()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self.state is OPEN:
            self._raw.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Not below what the socket may hold: it reports when that is low, and nothing in between."""
        self._high = max(high or 0, SOCKET_HIGH)
        self._low = max(self._high // 4 if low is None else low, SOCKET_HIGH)

    def get_write_buffer_size(self) -> int:
        return self._plain_bytes + self._raw.get_write_buffer_size()


def explain(bad: ssl.SSLError) -> str:
    """One line for the log."""
    reason = getattr(bad, "reason", None) or ""
    text = REASONS.get(reason) or printable(reason.replace("_", " ").lower().encode()) or "the handshake failed"
    verdict = getattr(bad, "verify_message", "")
    return f"{text}: {verdict}" if verdict else text
