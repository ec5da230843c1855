"""Clients of the cluster: each asks one thing after the other of one node or another, and writes down what it was told.

What they use, by the first letter of the key:
    r   registers: SET of values that are never written twice, GET
    v   the same, with SET ... IF VERSION n of what was read
    p   two keys, written together (MULTI) or if nobody else has written (WATCH), read together
    n   counters: INCR, GET
    t   tallies: INCR together with a key that nobody else sets (MULTI)
    u   keys that are written once, long ones
Nothing is tried again: what is sent once happens at most once. Every node is asked for everything, so most reads and
writes come to one that does not lead.

Units: monotonic seconds. Not here: what is made of it (`history`, `judge`).
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from compat.frames import Value, encode, frame_end, read_value
from tests.faults.history import History
from tests.sim.cluster.linear import NEVER, UNKNOWN

CONNECT_SECONDS = 2.0
REPLY_SECONDS = 8.0  # longer than the servers' own limits: a server that is silent for so long is stopped or cut off
PAUSE_SECONDS = 0.025  # on average, between two requests of a client
STAYS = 0.98  # the chance that a client asks the same node again
KEYS = 3  # of each sort that is shared
LONG_BYTES = 100, 3000
CODES = frozenset({"NOREPLICAS", "CLUSTERDOWN", "BUSY", "MISCONF", "LOADING", "EXECABORT"})  # nothing has happened

SORTS = "rrvvppnntuu"
WATCHED = "watched"  # an exec whose failure says nothing


class Lost(Exception):
    """The connection broke, or nobody answered for too long."""


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._buffer = b""

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        try:
            return cls(*await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_SECONDS))
        except (OSError, TimeoutError):
            raise Lost("no connection") from None

    async def ask(self, *requests: Sequence[bytes]) -> list[Value]:
        """All at once; a reply to each."""
        self._writer.write(b"".join([encode(tuple(request)) for request in requests]))
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                return [await self._reply() for _ in requests]
        except TimeoutError:
            raise Lost("silence") from None
        except OSError:
            raise Lost("broken") from None

    async def _reply(self) -> Value:
        while not self._buffer or (end := frame_end(self._buffer, 0)) < 0:
            piece = await self._reader.read(1 << 16)
            if not piece:
                raise Lost("closed")
            self._buffer += piece
        frame, self._buffer = self._buffer[:end], self._buffer[end:]
        return read_value(frame)

    def close(self) -> None:
        self._writer.transport.abort()


class Refused(Exception):
    """A definite error."""


class Client:
    """`tag` is part of every key, so that no round sees the keys of another."""

    def __init__(self, name: str, tag: str, seed: int, hosts: Sequence[str], port: int, history: History) -> None:
        self.name, self.tag, self.hosts, self.port, self.history = name, tag, hosts, port, history
        self._random = random.Random(f"{seed} {tag} {name}")
        self._serial = 0
        self._connection: Connection | None = None

    async def run(self, enough: threading.Event) -> None:
        rng = self._random
        try:
            while not enough.is_set():
                await asyncio.sleep(rng.expovariate(1 / PAUSE_SECONDS))
                await self._once(rng.choice(SORTS))
        finally:
            self._leave()

    async def _once(self, sort: str) -> None:
        if self._connection is None or self._random.random() > STAYS:
            self._leave()
            try:
                self._connection = await Connection.open(self._random.choice(self.hosts), self.port)
            except Lost:
                self.history.count("no connection")
                await asyncio.sleep(0.1)
                return
        self._serial += 1
        key = f"{sort}{self.tag}:{self._random.randrange(KEYS)}".encode()
        value = f"{self.name}.{self._serial}".encode()
        try:
            await getattr(self, f"_{sort}")(self._connection, key, value)
        except Refused as refused:
            self.history.count(f"refused {refused}")
            self._leave()
        except Lost as lost:
            self.history.count(f"unknown ({lost})")
            self._leave()

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # One request, or one transaction, and its place in the history.

    async def _call(
        self, connection: Connection, kind: str, key: bytes, words: tuple[bytes | None, ...], *requests: Sequence[bytes]
    ) -> Any:
        """The last reply, or UNKNOWN; Refused if it is a definite error."""
        began = time.monotonic()
        try:
            reply = (await connection.ask(*requests))[-1]
            unknown = reply.is_error and self._is_unknown(reply, kind)
        except Lost:
            self.history.add(self.name, began, NEVER, kind, key, words, UNKNOWN)
            raise
        if unknown:
            self.history.add(self.name, began, NEVER, kind, key, words, UNKNOWN)
            return UNKNOWN
        ended = time.monotonic()
        self.history.count("ok read" if kind == "get" else "ok write")
        if kind != "get":
            self.history.acknowledged_at.append(ended)
        told = understood(kind, reply)
        if told is not None or kind == "get":
            self.history.add(self.name, began, ended, kind, key, words, told)
        return reply

    def _is_unknown(self, reply: Value, kind: str) -> bool:
        """Of an error; one that is definite raises Refused."""
        text = reply.items.decode(errors="replace")
        code = text.split(" ", 1)[0]
        if code == "INDETERMINATE" and kind != "get":
            self.history.count("unknown (INDETERMINATE)")
            return True
        if code not in CODES:
            self.history.findings.append(f"{self.name}: {kind} was answered with -{text}")
        raise Refused(code)

    async def _r(self, connection: Connection, key: bytes, value: bytes) -> None:
        if self._random.random() < 0.5:
            await self._call(connection, "get", key, (), (b"GET", key))
        else:
            await self._call(connection, "set", key, (value,), (b"SET", key, value))

    async def _v(self, connection: Connection, key: bytes, value: bytes) -> None:
        """Read a value with its version, then write if it is still that one."""
        both = ((b"MULTI",), (b"GET", key), (b"OBJECT", b"VERSION", key), (b"EXEC",))
        reply = await self._call(connection, "get", key, (), *both)
        old, version = (item.items for item in reply.items)
        await asyncio.sleep(self._random.choice((0, 0, 0.02)))
        await self._call(
            connection, "exec", key, (old, value), (b"SET", key, value, b"IF", b"VERSION", version or b"0")
        )

    async def _p(self, connection: Connection, key: bytes, value: bytes) -> None:
        other = key + b"'"
        both = ((b"MULTI",), (b"SET", key, value), (b"SET", other, value), (b"EXEC",))
        match self._random.randrange(3):
            case 0:
                reply = await self._call(
                    connection, "get", key, (), (b"MULTI",), (b"GET", key), (b"GET", other), (b"EXEC",)
                )
                one, two = (item.items for item in reply.items)
                if one != two:
                    self.history.findings.append(
                        f"{self.name}: half of a transaction: {key!r} is {one!r}, {other!r} {two!r}"
                    )
            case 1:
                await self._call(connection, "pset", key, (value,), *both)
            case 2:
                reply = await self._call(connection, "get", key, (), (b"WATCH", key), (b"GET", key))
                await asyncio.sleep(self._random.choice((0, 0, 0.02)))
                # That it fails says nothing: somebody may have written between WATCH and GET.
                await self._call(connection, WATCHED, key, (reply.items, value), *both)

    async def _n(self, connection: Connection, key: bytes, value: bytes) -> None:
        if self._random.random() < 0.3:
            await self._call(connection, "get", key, (), (b"GET", key))
        else:
            await self._call(connection, "incr", key, (), (b"INCR", key))

    async def _t(self, connection: Connection, key: bytes, value: bytes) -> None:
        mark = f"m{self.tag}:".encode() + value
        self.history.tallies.setdefault(key, []).append(mark)
        await self._write_once(connection, mark, b"1", ((b"MULTI",), (b"INCR", key), (b"SET", mark, b"1"), (b"EXEC",)))

    async def _u(self, connection: Connection, key: bytes, value: bytes) -> None:
        key = f"u{self.tag}:".encode() + value
        value = value.ljust(self._random.randint(*LONG_BYTES), b".")
        await self._write_once(connection, key, value, ((b"SET", key, value),))

    async def _write_once(
        self, connection: Connection, key: bytes, value: bytes, requests: Sequence[Sequence[bytes]]
    ) -> None:
        history = self.history
        history.unsure[key] = value
        reply = (await connection.ask(*requests))[-1]
        try:
            if reply.is_error and self._is_unknown(reply, "set"):
                return
        except Refused:
            history.refused[key] = history.unsure.pop(key)
            raise
        history.written[key] = history.unsure.pop(key)
        history.acknowledged_at.append(time.monotonic())
        history.count("ok write")


def understood(kind: str, reply: Value) -> Any:
    """As `linear.step` says it; None of a write that tells nothing."""
    match kind:
        case "get":
            return reply.items[0].items if reply.kind == "*" else reply.items
        case "incr":
            return int(reply.items)
        case "exec":
            return 0 if reply.is_null else 1
        case "watched":
            return None if reply.is_null else 1
    return "OK"


class Crowd(threading.Thread):
    """All clients of a round, in a thread of their own."""

    def __init__(self, count: int, tag: str, seed: int, hosts: Sequence[str], port: int) -> None:
        super().__init__(name="clients", daemon=True)
        self.history = History()
        self._clients = [Client(f"c{number}", tag, seed, hosts, port, self.history) for number in range(count)]
        self._enough = threading.Event()
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as problem:  # of the test itself: told where the thread is joined
            self.problem = problem

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(client.run(self._enough))

    def finish(self) -> History:
        """No new requests; returns when the last one is answered or given up."""
        self._enough.set()
        self.join()
        if self.problem is not None:
            raise self.problem
        return self.history
