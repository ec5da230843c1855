"""One connection between two nodes: TCP, TLS if there is any, the handshake, then frames both ways.

Messages go out in the order in which they are sent; all that is sent in one turn of the loop leaves in one write.
Bytes are sealed when they are queued and encrypted only when the socket takes them, so that the queue is all of what
the other side has not been sent.
Promises: no message is decoded before the handshake is complete, and none is handed over after `closed` was told;
`closed` is told once; a connection that stops making progress ends (`look`), and whatever was queued for it is gone:
nothing is ever sent a second time on another connection.
Units: bytes; seconds on the loop's clock.
Not here: dialing and accepting (`dialer`, `door`), which messages travel on which connection (`link`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from ..limits import KIB
from .codec import Message, decode, encode, fits
from .fields import Pieces, WireError
from .hello import GUESTS, REFUSED, Agreed, Code, Hello, Identity, Purpose, Refusal, Step, read_refusal, refusal_frame
from .messages import Ping, Pong
from .secure import Engine, explain
from .stats import PeerStats
from .wire import BODY_MAX, GUEST_BODY_MAX, HELLO_BODY_MAX, Checksum, Frame, FrameReader, Keyed, Seal, frame, stranger

FLUSH_BYTES: Final = 256 * KIB  # given to the socket at once; encrypted at once
SOCKET_HIGH, SOCKET_LOW = 256 * KIB, 64 * KIB  # what may wait in the transport
PINGS_MAX: Final = 64  # unanswered ones that are remembered
LAST_WORDS_S: Final = 1.0  # how long a refused node may take to read why

WAITING, SHAKING, GREETING, OPEN, ENDING, CLOSED = "waiting", "shaking", "greeting", "open", "ending", "closed"


class Host(Protocol):
    """What a channel asks of its node."""

    def greet(self, channel: Channel) -> Hello:
        """The handshake of this connection, once its certificates are known."""

    def engine(self, channel: Channel) -> Engine | None:
        """TLS for it, if there is any."""

    def work(self, step: Callable[[], bool]) -> asyncio.Future[bool]:
        """Run a step of a TLS handshake in a thread."""

    def opened(self, channel: Channel) -> None: ...

    def message(self, channel: Channel, message: Message) -> None: ...

    def closed(self, channel: Channel, why: str, refusal: Refusal | None) -> None: ...


class Channel(asyncio.Protocol):
    """`purpose` None: somebody has come to us, and says what for."""

    def __init__(self, host: Host, node: int, purpose: Purpose | None = None, target: str = "") -> None:
        self._host, self._node = host, node
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, None)
        self.state = WAITING
        self.purpose, self.dialed, self.target = purpose, purpose is not None, target
        self.addr = target or "?"
        self.tag: Any = None  # of whoever made it
        self.stats = PeerStats()  # replaced by the peer's once it is known
        self.agreed: Agreed | None = None
        self.own_certificate = self.peer_certificate = b""  # DER; with TLS
        self._engine: Engine | None = None
        self._hello: Hello | None = None
        self._reader, self._seal = FrameReader(), cast(Seal, Checksum())
        self._first = b""  # of what came, to tell who speaks something else
        self._out: deque[bytes | memoryview] = deque()
        self._out_bytes = 0
        self._full = self._scheduled = False
        self._pings: dict[int, float] = {}
        self._ping_number = 0
        self.since = self.heard_at = self._moved_at = self._loop.time()
        self._given = self._left = 0  # bytes that the transport was given; that have left it

    @property
    def peer(self) -> Identity | None:
        """Who it is, once that is proven."""
        return self.agreed.peer if self.agreed is not None else None

    @property
    def claimed(self) -> Identity | None:
        """Who it says it is."""
        return self._hello.peer if self._hello is not None else None

    @property
    def is_open(self) -> bool:
        return self.state == OPEN

    @property
    def queue_bytes(self) -> int:
        return self._out_bytes + (self._transport.get_write_buffer_size() if self.state == OPEN else 0)

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.state == CLOSED:  # given up meanwhile
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=SOCKET_HIGH, low=SOCKET_LOW)
        self._engine = self._host.engine(self)
        if self.state == CLOSED:
            return
        if self._engine is None:
            self._greet()
            return
        self.state = SHAKING
        if self.dialed:
            self._shake()

    def data_received(self, data: bytes) -> None:
        if self.state in (ENDING, CLOSED):
            return
        self.heard_at = self._loop.time()
        self.stats.bytes_in += len(data)
        if self.state == OPEN:
            self.stats.heard_at = self.heard_at
        elif len(self._first) < 8:
            self._first += data[: 8 - len(self._first)]
        if self._engine is None:
            self._feed(data)
        elif not self._engine.arrived(data):
            self.end("it sends more than a handshake needs")
        elif self.state == SHAKING:
            if not self._engine.busy:
                self._shake()
        else:
            self._decrypt()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        before = "" if self.state == OPEN else " during the handshake" + ("; its log says why" if self.dialed else "")
        self.end(f"it hung up{before}" if exc is None else f"the connection broke{before}: {_reason(exc)}")
        self.state = CLOSED
        self._drop()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.flush()

    # TLS.

    def _shake(self) -> None:
        assert self._engine is not None
        self._engine.busy = True
        self._host.work(self._engine.shake).add_done_callback(self._shaken)

    def _shaken(self, step: asyncio.Future[bool]) -> None:
        engine = self._engine
        assert engine is not None
        engine.busy = False
        if self.state != SHAKING or step.cancelled():
            return
        bad = step.exception()
        self._raw(engine.outgoing())  # an alert, too
        if bad is not None:
            self.end(explain(bad) if isinstance(bad, ssl.SSLError) else f"a bug: {bad!r}", told=True)
            return
        more = engine.rest()
        if step.result():
            engine.done = True
            self.peer_certificate = engine.certificate()
            self._greet()
            if self.state in (GREETING, OPEN):
                self._decrypt()
        elif more:
            self._shake()

    def _decrypt(self) -> None:
        assert self._engine is not None
        try:
            pieces, over = self._engine.decrypt()
        except ssl.SSLError as bad:
            self._raw(self._engine.outgoing())
            self.end(explain(bad), told=True)
            return
        self._raw(self._engine.outgoing())  # an answer of TLS itself
        if pieces:
            self._feed(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if over and self.state in (GREETING, OPEN):
            self.end("it hung up")

    # Frames in.

    def _greet(self) -> None:
        self.state = GREETING
        self._hello = self._host.greet(self)
        if self.dialed:
            self._follow(self._hello.start())

    def _feed(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        try:
            while self.state in (GREETING, OPEN):
                one = reader.next()
                if one is None:
                    return
                if self.state == OPEN:
                    self._take(one)
                else:
                    assert self._hello is not None
                    self._follow(self._hello.step(one))
        except WireError as bad:
            who = stranger(self._first) if self.state == GREETING else ""
            self.end(who or str(bad), None if self.state == OPEN else Refusal(Code.GARBAGE, who or str(bad)))

    def _take(self, one: Frame) -> None:
        agreed = self.agreed
        assert agreed is not None
        self.stats.frames_in += 1
        if one.kind == REFUSED:
            try:
                refusal = read_refusal(one.body, proven=True)
            except ValueError as bad:
                raise WireError("a refusal is in disorder") from bad
            self.end(f"it refuses us: {refusal.text}", refusal)
            return
        guest = agreed.purpose in GUESTS
        message = decode(one.kind, one.body, agreed.peer.node, self._node, version=agreed.version, guest=guest)
        if isinstance(message, Ping):
            self.send(Pong(message.number))
        elif isinstance(message, Pong):
            self._on_pong(message)
        else:
            self._host.message(self, message)

    def _follow(self, step: Step) -> None:
        """Do what the handshake says."""
        if step.agreed is not None and step.refusal is None:
            self._queue_all(step.send)
            self._open(step.agreed)
            self._host.opened(self)
        elif step.agreed is not None:
            self._open(step.agreed)
            self._queue_all(step.send)
        else:
            self._queue_all(step.send)
        if step.refusal is not None:
            said = step.refusal.text
            if not step.refusal.ours:
                said = f"it refuses us: {said}"
            self.end(said, step.refusal, told=bool(step.send))

    def _open(self, agreed: Agreed) -> None:
        self.agreed, self.purpose, self.state = agreed, agreed.purpose, OPEN
        self._reader.body_max = GUEST_BODY_MAX if agreed.purpose in GUESTS else BODY_MAX
        if agreed.seal_key:
            self._reader.seal, self._seal = Keyed(agreed.open_key), Keyed(agreed.seal_key)
        else:
            self._reader.seal, self._seal = Checksum(), Checksum()

    # Frames out.

    def send(self, message: Message) -> bool:
        """Queue a message; False: it is certain that it will never arrive."""
        if self.state != OPEN:
            return False
        assert self.agreed is not None
        if not fits(message, self.agreed.version):
            return False
        self.queue(*encode(message))
        return True

    def queue(self, kind: int, pieces: Sequence[bytes]) -> None:
        for piece in frame(kind, pieces, self._seal):
            self._out.append(piece)
            self._out_bytes += len(piece)
        self.stats.frames_out += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def _queue_all(self, frames: Sequence[tuple[int, Pieces]]) -> None:
        for kind, pieces in frames:
            self.queue(kind, pieces)

    def flush(self) -> None:
        """What is queued leaves, as far as the socket takes it. By itself, with the end of the turn."""
        self._scheduled = False
        while self._out and not self._full and self.state in (GREETING, OPEN, ENDING):
            batch = self._next_pieces()
            if self._engine is None:
                self._count(sum(map(len, batch)))
                self._transport.writelines(batch)
                continue
            try:
                self._raw(self._engine.encrypt(b"".join(batch)))
            except ssl.SSLError as bad:
                self.end(explain(bad))
                return
        if self.state == ENDING and not self._out and not self._full and self._transport.can_write_eof():
            self._transport.write_eof()  # it hangs up when it has read that; `end` has set a deadline

    def _next_pieces(self) -> list[bytes | memoryview]:
        """At most FLUSH_BYTES, so that a large body is neither copied nor encrypted all at once."""
        batch: list[bytes | memoryview] = []
        room = FLUSH_BYTES
        while self._out and room > 0:
            piece = self._out.popleft()
            if len(piece) > room:
                view = memoryview(piece)
                piece = view[:room]
                self._out.appendleft(view[room:])
            room -= len(piece)
            self._out_bytes -= len(piece)
            batch.append(piece)
        return batch

    def _raw(self, data: bytes) -> None:
        if data and self.state != CLOSED:
            self._count(len(data))
            self._transport.write(data)

    def _count(self, size: int) -> None:
        self._given += size
        self.stats.bytes_out += size

    # Is it alive?

    def ping(self) -> Ping:
        """Ask for a sign of life; whoever keeps the number knows by its Pong that all before it has arrived."""
        self._ping_number += 1
        if len(self._pings) < PINGS_MAX:
            self._pings[self._ping_number] = self._loop.time()
        message = Ping(self._ping_number)
        self.send(message)
        return message

    def _on_pong(self, message: Pong) -> None:
        sent_at = self._pings.pop(message.number, None)
        if sent_at is not None:
            self.stats.rtt_s = self._loop.time() - sent_at
            for older in [number for number in self._pings if number < message.number]:
                del self._pings[older]
        self._host.message(self, message)

    def look(self, now: float, silence_s: float) -> None:
        """End it when for `silence_s` nothing came and nothing of what waits has left: the other side is gone."""
        if self.state != OPEN:
            return
        left = self._given - self._transport.get_write_buffer_size()
        if left != self._left:
            self._left, self._moved_at = left, now
        # A large body takes its time, and its Pong comes behind it: then only standstill counts.
        quiet = now - (max(self.heard_at, self._moved_at) if self.queue_bytes else self.heard_at)
        if quiet > silence_s:
            self.end(f"nothing was heard of it for {quiet:.1f} s")

    def excuse(self, now: float) -> None:
        """It was us who stood still: what came meanwhile has not been read yet."""
        self.heard_at = max(self.heard_at, now)

    # The end.

    def refuse(self, code: Code, text: str) -> None:
        """Tell the other side why, and end it."""
        said = self.state in (GREETING, OPEN)
        if said:
            self.queue(*refusal_frame(code, text))
        self.end(text, Refusal(code, text), told=said)

    def end(self, why: str, refusal: Refusal | None = None, *, told: bool = False) -> None:
        """No message goes in or out any more. `told`: what is queued says why, and still goes."""
        if self.state in (ENDING, CLOSED):
            return
        told = told and self._transport is not None
        self.state = ENDING if told else CLOSED
        if told:
            self._loop.call_later(LAST_WORDS_S, self._transport.abort)
            self.flush()
        else:
            self._drop()
            if self._transport is not None:
                self._transport.abort()
        self._host.closed(self, why, refusal)

    def _drop(self) -> None:
        self._out.clear()
        self._out_bytes = 0


def _reason(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else type(exc).__name__


assert HELLO_BODY_MAX < GUEST_BODY_MAX < BODY_MAX, "trust grows with what is known"
