"""A load generator for what redis-benchmark cannot do: mixed requests, and running until told to stop.

Workload: each connection sends a batch of `pipeline` requests, waits for all its replies, sends the next;
the share of SET is exact over a cycle of batches and the order random. That is redis-benchmark's closed
loop, with its meaning of latency (batch sent until the last of its replies arrived), so figures can be
read side by side.

How it stays cheap enough to load a C server from Python: all batches are built before the clock starts,
every key exists with a value of known size, so the length of each batch's replies is known and nothing is
parsed; an error reply shows as a wrong first byte or a wrong length. One process, one epoll loop.
`cpu_share` says how much of a core the generator used: near 1.0 it, not the server, was the limit, and
the ratio understates the faster one.
"""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

STALL_SECONDS_MAX = 20.0
CYCLE_BATCHES = 64  # distinct batches per run; connections go round them from different starts
FILL_BATCH = 1000


class WrongReply(Exception):
    """The server answered something other than +OK or the value."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run did; latencies are per batch, in ms, sorted."""

    requests: int
    seconds: float
    latencies_ms: list[float]
    cpu_share: float

    @property
    def rps(self) -> float:
        return self.requests / self.seconds

    def percentile_ms(self, share: float) -> float:
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(len(self.latencies_ms) * share))]


def key_name(number: int) -> bytes:
    """16 bytes, the same names that redis-benchmark uses."""
    return b"key:%012d" % number


def value_of(value_bytes: int) -> bytes:
    return b"x" * value_bytes


def set_request(number: int, value: bytes) -> bytes:
    return b"*3\r\n$3\r\nSET\r\n$16\r\n%b\r\n$%d\r\n%b\r\n" % (key_name(number), len(value), value)


def get_request(number: int) -> bytes:
    return b"*2\r\n$3\r\nGET\r\n$16\r\n%b\r\n" % key_name(number)


def fill(port: int, keys: int, value_bytes: int) -> None:
    """Write keys 0..keys-1, pipelined, and check every reply."""
    value = value_of(value_bytes)
    with socket.create_connection(("127.0.0.1", port), timeout=STALL_SECONDS_MAX) as connection:
        for first in range(0, keys, FILL_BATCH):
            count = min(FILL_BATCH, keys - first)
            connection.sendall(b"".join(set_request(first + i, value) for i in range(count)))
            expect(connection, b"+OK\r\n" * count)


def expect(connection: socket.socket, replies: bytes) -> None:
    got = b""
    while len(got) < len(replies):
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionError("closed by the server")
        got += piece
        if not replies.startswith(got):
            raise WrongReply(repr(got[-120:]))


@dataclass(frozen=True, slots=True)
class Batch:
    request: bytes
    requests: int
    reply_bytes: int


def build_batches(pipeline: int, value_bytes: int, keys: int, set_share: float, seed: int = 1) -> list[Batch]:
    """A cycle of batches with the exact share of SET, shuffled over the whole cycle."""
    rng = random.Random(seed)
    value = value_of(value_bytes)
    total = max(CYCLE_BATCHES, 1000 // pipeline) * pipeline
    is_set = [i < round(total * set_share) for i in range(total)]
    rng.shuffle(is_set)
    get_reply = len(b"$%d\r\n" % value_bytes) + value_bytes + 2
    batches = []
    for first in range(0, total, pipeline):
        kinds = is_set[first : first + pipeline]
        requests = [
            set_request(rng.randrange(keys), value) if kind else get_request(rng.randrange(keys)) for kind in kinds
        ]
        reply_bytes = sum(len(b"+OK\r\n") if kind else get_reply for kind in kinds)
        batches.append(Batch(b"".join(requests), pipeline, reply_bytes))
    return batches


class Generator:
    """The closed loop over `clients` connections."""

    def __init__(self, port: int, clients: int, batches: list[Batch]) -> None:
        self.batches = batches
        self.poll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.latencies_ms: list[float] = []
        for _ in range(clients):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(STALL_SECONDS_MAX)
            self.sockets[connection.fileno()] = connection
            self.poll.register(connection.fileno(), select.EPOLLIN)

    def close(self) -> None:
        for connection in self.sockets.values():
            connection.close()
        self.poll.close()

    def run(self, go_on: Callable[[int, float], bool]) -> Load:
        """Send until go_on(batches answered, seconds) says no, then collect what is under way."""
        cpu_before, began = time.process_time(), time.perf_counter()
        cursor = {fd: i * len(self.batches) // len(self.sockets) for i, fd in enumerate(self.sockets)}
        missing, sent_at, busy = dict.fromkeys(cursor, 0), dict.fromkeys(cursor, 0.0), set(cursor)
        for fd in cursor:
            self._send(fd, cursor, missing, sent_at)
        sending, now = True, began
        while busy:
            events = self.poll.poll(STALL_SECONDS_MAX)
            if not events:
                raise TimeoutError(f"no reply for {STALL_SECONDS_MAX:.0f} s")
            for fd, _ in events:
                missing[fd] -= len(self._receive(fd))
                if missing[fd] > 0:
                    continue
                if missing[fd] < 0:
                    raise WrongReply("more bytes than the replies should have")
                now = time.perf_counter()
                self.latencies_ms.append((now - sent_at[fd]) * 1000)
                if sending:
                    self._send(fd, cursor, missing, sent_at)
                else:
                    busy.discard(fd)
            if sending and not go_on(len(self.latencies_ms), now - began):
                sending = False
        return self._result(now - began, time.process_time() - cpu_before)

    def _send(self, fd: int, cursor: dict[int, int], missing: dict[int, int], sent_at: dict[int, float]) -> None:
        batch = self.batches[cursor[fd]]
        cursor[fd] = (cursor[fd] + 1) % len(self.batches)
        missing[fd] = batch.reply_bytes
        sent_at[fd] = time.perf_counter()
        self.sockets[fd].sendall(batch.request)

    def _receive(self, fd: int) -> bytes:
        piece = self.sockets[fd].recv(1 << 16)
        if not piece:
            raise ConnectionError("closed by the server")
        if piece.startswith(b"-"):
            raise WrongReply(repr(piece[:120]))
        return piece

    def _result(self, seconds: float, cpu_seconds: float) -> Load:
        requests = len(self.latencies_ms) * self.batches[0].requests
        return Load(requests, seconds, sorted(self.latencies_ms), cpu_seconds / seconds)


def run_load(
    port: int,
    clients: int,
    pipeline: int,
    value_bytes: int,
    keys: int,
    set_share: float,
    go_on: Callable[[int, float], bool],
) -> Load:
    """One run with fresh connections; the keys must have been filled with values of this size."""
    generator = Generator(port, clients, build_batches(pipeline, value_bytes, keys, set_share))
    try:
        load = generator.run(go_on)
    finally:
        generator.close()
    return load
