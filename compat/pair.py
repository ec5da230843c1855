"""Two servers asked the same: sends each step to both, compares, and remembers what a comparison needs.

Raises Mismatch at the first reply that no rule allows. Requests on one connection are pipelined; a change
of connection waits for all replies, so that both servers see the same order.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compat.frames import BadFrame, Closed, NoReply, Value, Wire, encode, read_value
from compat.rules import exec_difference, replies_agree
from compat.steps import (
    CONNECTIONS,
    HELPER,
    LISTENER,
    Argv,
    DumpRestore,
    Listening,
    Notifications,
    Pause,
    RandomKey,
    Raw,
    Reconnect,
    Request,
    ScanAll,
    Step,
    Tracking,
)

CHUNK_REQUESTS_MAX = 64
SILENCE_SECONDS_MAX = 10.0
MARKER = b"compat-marker"
MESSAGES = frozenset({b"message", b"pmessage", b"smessage"})


class Mismatch(Exception):
    """Two replies that should agree do not. `subject` is the request or step, `where` names the comparison."""

    def __init__(self, subject: str, where: str, redis: object, us: object) -> None:
        super().__init__(f"{where}: {subject}\n  redis: {shorten(redis)}\n  us:    {shorten(us)}")
        self.subject, self.where, self.redis, self.us = subject, where, redis, us

    def signature(self) -> tuple[str, ...]:
        """What makes two mismatches the same finding: the request's name and the first word of each reply."""
        words = self.subject.replace("[", "").split()
        name = next((word.upper() for word in words if not word.rstrip("]").isdigit()), "")
        return (self.where, name, first_word(self.redis), first_word(self.us))


def first_word(reply: object) -> str:
    if not isinstance(reply, bytes | Value):
        return type(reply).__name__
    text = reply[:80].decode("latin-1") if isinstance(reply, bytes) else f"{reply.kind}{reply.items!r}"[:80]
    if text.startswith("-"):
        return " ".join(text.split()[:4])
    return text[:2] if text[1:2] == "-" else text[:1]  # a null is not the same finding as a value


def shorten(reply: object) -> str:
    text = repr(reply)
    return text if len(text) <= 600 else f"{text[:400]} ... {text[-150:]} ({len(text)} characters)"


PAYLOAD_END = 10  # of DUMP: the version of the format, which is the server's, and a checksum


@dataclass
class Peer:
    """One server and our connections to it."""

    name: str
    port: int
    protocol: int
    wires: list[Wire]

    @classmethod
    def connect(cls, name: str, port: int, protocol: int) -> Peer:
        peer = cls(name, port, protocol, [])
        peer.wires = [peer.new_wire() for _ in range(CONNECTIONS)]
        return peer

    def new_wire(self) -> Wire:
        wire = Wire(self.port, SILENCE_SECONDS_MAX)
        if self.protocol == 3:
            wire.ask(b"HELLO", b"3")
        return wire

    def ask(self, *argv: bytes) -> bytes:
        """One request of ours on the helper connection."""
        return self.wires[HELPER].ask(*argv)

    def close(self) -> None:
        for wire in self.wires:
            wire.close()


class Pair:
    """redis-server and us, in the same state."""

    def __init__(self, redis_port: int, us_port: int, protocol: int) -> None:
        self.redis = Peer.connect("redis", redis_port, protocol)
        self.us = Peer.connect("us", us_port, protocol)
        self.peers = (self.redis, self.us)
        self.protocol = protocol
        self.queued: dict[int, list[Argv]] = {}
        self.marks = 0
        for peer in self.peers:
            peer.ask(b"FLUSHALL")
            peer.ask(b"CONFIG", b"SET", b"notify-keyspace-events", b"")

    def close(self) -> None:
        for peer in self.peers:
            peer.close()

    def play(self, steps: Iterator[Step], done: Callable[[Step], None]) -> None:
        """All steps; done(step) before a step's replies are compared, so the last one noted is the one at fault."""
        chunk: list[Request] = []
        for step in steps:
            if isinstance(step, Request):
                if chunk and (step.connection != chunk[0].connection or len(chunk) >= CHUNK_REQUESTS_MAX):
                    self.exchange(chunk, done)
                    chunk = []
                chunk.append(step)
                continue
            self.exchange(chunk, done)
            chunk = []
            done(step)
            self.special(step)
        self.exchange(chunk, done)

    def exchange(self, chunk: list[Request], done: Callable[[Step], None] = lambda _step: None) -> None:
        """Send one pipeline to both, then compare reply by reply."""
        if not chunk:
            return
        connection = chunk[0].connection
        data = b"".join(encode(request.argv) for request in chunk)
        for peer in self.peers:
            peer.wires[connection].send(data)
        for request in chunk:
            done(request)
            redis, us = (self.receive(peer, connection, request) for peer in self.peers)
            if isinstance(redis, Exception) or isinstance(us, Exception):
                raise Mismatch(str(request), "connection", redis, us)
            for left, right in zip(redis, us, strict=True):
                self.compare(connection, request.argv, left, right)

    @staticmethod
    def receive(peer: Peer, connection: int, request: Request) -> list[bytes] | Exception:
        """The replies, or why there are none."""
        try:
            return peer.wires[connection].frames(request.replies)
        except (Closed, NoReply, BadFrame) as problem:
            return problem

    def compare(self, connection: int, argv: Argv, redis: bytes, us: bytes) -> None:
        queue = self.queued.get(connection, [])
        verb = argv[0].upper()
        if verb == b"EXEC" and (difference := exec_difference(queue, redis, us)):
            inner, left, right = difference
            raise Mismatch(str(Request(connection, inner)), "reply inside EXEC", left, right)
        if verb != b"EXEC" and not replies_agree(argv, redis, us):
            raise Mismatch(str(Request(connection, argv)), "reply", redis, us)
        if redis == b"+QUEUED\r\n":
            self.queued.setdefault(connection, []).append(argv)
        elif verb in (b"EXEC", b"DISCARD", b"RESET"):
            self.queued.pop(connection, None)

    def special(self, step: Step) -> None:
        match step:
            case Pause():
                time.sleep(step.milliseconds / 1000)
            case ScanAll():
                self.both(step, "scanned keys", lambda peer: scan_to_the_end(peer, step.options))
            case RandomKey():
                self.both(step, "random key", random_key_exists)
            case DumpRestore():
                self.dump_restore(step)
            case Reconnect():
                self.both(step, "quit", lambda peer: quit_and_reconnect(peer, step.connection))
                self.queued.pop(step.connection, None)
            case Raw():
                self.both(step, "raw bytes", lambda peer: raw_exchange(peer, step.data))
            case Notifications():
                self.notifications(step)
            case Listening():
                self.listening(step)
            case Tracking():
                self.tracking(step)

    def both(self, step: Step, where: str, ask: Callable[[Peer], object]) -> None:
        """Run the same on both and compare the results; a failure of either is a result too."""
        results: list[object] = []
        for peer in self.peers:
            try:
                results.append(ask(peer))
            except (Closed, NoReply, BadFrame) as problem:
                results.append(str(problem))
        if results[0] != results[1]:
            raise Mismatch(str(step), where, *results)

    def dump_restore(self, step: DumpRestore) -> None:
        """The payloads are the same but for version and checksum; either, restored on both, gives the value."""
        payloads = [read_value(peer.ask(b"DUMP", step.source)).items for peer in self.peers]
        if (payloads[0] is None) != (payloads[1] is None):
            raise Mismatch(str(step), "dump", *payloads)
        if payloads[0] is None:
            return
        if payloads[0][:-PAYLOAD_END] != payloads[1][:-PAYLOAD_END]:
            raise Mismatch(str(step), "dump", *payloads)
        for payload in payloads:
            for peer in self.peers:
                peer.wires[HELPER].send(encode((b"RESTORE", step.target, b"0", payload, *step.options)))
                peer.wires[HELPER].send(encode((b"GET", step.target)))
            redis, us = (peer.wires[HELPER].frames(2) for peer in self.peers)
            if redis != us:
                raise Mismatch(str(step), "restore", redis, us)

    def notifications(self, step: Notifications) -> None:
        """All keyspace and keyevent messages that the requests cause."""
        setting = b"notify-keyspace-events"
        self.exchange([Request(HELPER, (b"CONFIG", b"SET", setting, b"KEAnm"))])
        self.exchange([Request(LISTENER, (b"PSUBSCRIBE", b"__key*__:*"))])
        self.exchange([Request(LISTENER, (b"SUBSCRIBE", MARKER))])
        self.exchange([Request(HELPER, argv) for argv in step.requests])
        self.compare_messages(step, "events", 0)
        self.exchange([Request(HELPER, (b"CONFIG", b"SET", setting, b""))])
        self.silence_listener()

    def listening(self, step: Listening) -> None:
        self.exchange([Request(LISTENER, (b"SUBSCRIBE", MARKER))])
        for request in step.requests:
            if request.connection == HELPER:
                self.compare_published(request)
                self.compare_messages(step, str(request), 0)
            else:
                for peer in self.peers:
                    peer.wires[LISTENER].send(encode(request.argv))
                self.compare_messages(step, str(request), request.replies)
        self.silence_listener()

    def tracking(self, step: Tracking) -> None:
        """All requests of the scene one by one, so that both servers see one order; pushes are gathered meanwhile."""
        requests = [Request(LISTENER, (b"CLIENT", b"TRACKING", b"ON", *step.options))]
        requests += [Request(LISTENER, argv) for argv in step.reads]
        told: dict[str, set[str]] = {peer.name: set() for peer in self.peers}
        for request in (*requests, *step.writes, Request(LISTENER, (b"PING",))):
            replies = []
            for peer in self.peers:
                peer.wires[request.connection].send(encode(request.argv))
                replies.append(reply_and_pushes(peer.wires[request.connection], told[peer.name]))
            self.compare(request.connection, request.argv, replies[0], replies[1])
        if told["redis"] != told["us"]:
            raise Mismatch(str(step), "invalidated keys", sorted(told["redis"]), sorted(told["us"]))
        self.silence_listener()

    def compare_published(self, request: Request) -> None:
        """PUBSUB CHANNELS names them in any order."""
        if request.argv[1] not in (b"CHANNELS", b"SHARDCHANNELS"):
            self.exchange([request])
            return
        self.both(request, "channels", lambda peer: sorted(map(repr, read_value(peer.ask(*request.argv)).items)))

    def compare_messages(self, step: Step, where: str, replies: int) -> None:
        """Publish a marker and compare all that the listener gets until it, and `replies` frames of its own."""
        self.marks += 1
        mark = b"%d" % self.marks

        def hear(peer: Peer) -> list[bytes]:
            wire = peer.wires[LISTENER]
            heard: list[bytes] = []
            missing = replies
            while missing:  # its own replies first: the marker comes from another connection and may overtake
                heard += wire.frames(1)
                missing -= not is_message(heard[-1])
            peer.ask(b"PUBLISH", MARKER, mark)
            while not (is_message(heard[-1] if heard else b"") and heard[-1].endswith(b"\r\n%b\r\n" % mark)):
                heard += wire.frames(1)
            return sort_patterns(heard)

        self.both(step, f"messages after {where}", hear)

    def silence_listener(self) -> None:
        """A new connection for it. The old one is told to RESET first: a server may notice a close only later."""
        for peer in self.peers:
            peer.wires[LISTENER].send(encode((b"RESET",)))
            while peer.wires[LISTENER].frames(1) != [b"+RESET\r\n"]:
                pass  # a message or a push that nobody waited for
            peer.wires[LISTENER].close()
            peer.wires[LISTENER] = peer.new_wire()


def sort_patterns(frames: list[bytes]) -> list[bytes]:
    """One message that matched several patterns: its copies in a fixed order (differences.py: pattern-order)."""

    def same_message(frame: bytes) -> object:
        items = read_value(frame).items if is_message(frame) else []
        return repr(items[2:]) if len(items) == 4 else id(frame)

    return [frame for _, copies in itertools.groupby(frames, same_message) for frame in sorted(copies)]


def reply_and_pushes(wire: Wire, told: set[str]) -> bytes:
    """The next frame that is no push; what the pushes before it invalidate is added to `told`."""
    while True:
        (frame,) = wire.frames(1)
        if not frame.startswith(b">"):
            return frame
        kind, keys = read_value(frame).items
        told |= {repr(key) for key in keys.items} if keys.items is not None else {"everything"}
        assert kind.items == b"invalidate", frame


def is_message(frame: bytes) -> bool:
    if not frame or frame[:1] not in (b"*", b">"):
        return False
    items = read_value(frame).items
    return bool(items) and items[0].items in MESSAGES


def scan_to_the_end(peer: Peer, options: Argv) -> list[bytes]:
    """Every key that a whole iteration names, without repetition."""
    cursor, found = b"0", set()
    for _ in range(100_000):
        reply = read_value(peer.ask(b"SCAN", cursor, *options))
        if reply.is_error:
            return [reply.items]
        cursor = reply.items[0].items
        found |= {item.items for item in reply.items[1].items}
        if cursor == b"0":
            return sorted(found)
    return [b"the iteration does not end"]


def random_key_exists(peer: Peer) -> str:
    reply = read_value(peer.ask(b"RANDOMKEY"))
    if reply.is_null:
        return f"none, {peer.ask(b'DBSIZE')!r}"
    return f"{reply.kind} {peer.ask(b'EXISTS', reply.items)!r}"


def quit_and_reconnect(peer: Peer, connection: int) -> bytes:
    peer.wires[connection].send(encode((b"QUIT",)))
    said = peer.wires[connection].until_closed()
    peer.wires[connection].close()
    peer.wires[connection] = peer.new_wire()
    return said


def raw_exchange(peer: Peer, data: bytes) -> bytes:
    wire = Wire(peer.port, SILENCE_SECONDS_MAX)
    try:
        wire.send(data)
        return wire.until_closed()
    finally:
        wire.close()
