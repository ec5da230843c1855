"""Replies on the wire, cut into frames without changing a byte, and read into values when a rule must
look inside.

Written for comparison, not for use as a client: a frame keeps its exact bytes, so a reply that means the
same but is spelled differently (`$-1` and `*-1`, `:1` and `#t`) is a difference. Both protocols,
including pushes.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

AGGREGATES = {0x2A: 1, 0x7E: 1, 0x3E: 1, 0x25: 2, 0x7C: 2}  # * ~ > count items; % | count pairs
BULKS = frozenset(b"$=!")
LINES = frozenset(b"+-:,#(_")
ATTRIBUTE = 0x7C
READ_BYTES = 1 << 16


class BadFrame(Exception):
    """The bytes are not RESP."""


class Closed(Exception):
    """The server closed the connection; `frames` came before that."""

    def __init__(self, frames: list[bytes]) -> None:
        super().__init__(f"connection closed after {len(frames)} replies")
        self.frames = frames


class NoReply(Exception):
    """The server was silent for too long."""


def frame_end(data: bytes, start: int) -> int:
    """Where the frame that begins at `start` ends; -1 if some of it has not arrived."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return -1
    kind = data[start]
    if kind in LINES:
        return line_end + 2
    if kind not in BULKS and kind not in AGGREGATES:
        raise BadFrame(f"{data[start : start + 60]!r} is not the start of a reply")
    try:
        count = int(data[start + 1 : line_end])
    except ValueError:
        raise BadFrame(f"{data[start : line_end + 2]!r} has no length") from None
    if kind in BULKS:
        end = line_end + 2 + (count + 2 if count >= 0 else 0)
        return end if end <= len(data) else -1
    end = line_end + 2
    for _ in range(max(count, 0) * AGGREGATES[kind]):
        end = frame_end(data, end) if end < len(data) else -1
        if end < 0:
            return -1
    if kind == ATTRIBUTE:  # it stands before the reply that it describes
        return frame_end(data, end) if end < len(data) else -1
    return end


@dataclass(frozen=True, slots=True)
class Value:
    """A frame read: `kind` is its first byte as text, `items` a list for aggregates, bytes or None for the rest."""

    kind: str
    items: Any

    @property
    def is_error(self) -> bool:
        return self.kind in "-!"

    @property
    def is_null(self) -> bool:
        return self.kind == "_" or self.items is None

    def __repr__(self) -> str:
        return f"{self.kind}{self.items!r}"


def read_value(data: bytes) -> Value:
    """One whole frame as a value."""
    value, end = _read(data, 0)
    assert end == len(data), (end, data)
    return value


def _read(data: bytes, start: int) -> tuple[Value, int]:
    kind = data[start]
    line_end = data.index(b"\r\n", start)
    line = data[start + 1 : line_end]
    if kind in LINES:
        return Value(chr(kind), line), line_end + 2
    count = int(line)
    if count < 0:
        return Value(chr(kind), None), line_end + 2
    if kind in BULKS:
        return Value(chr(kind), data[line_end + 2 : line_end + 2 + count]), line_end + 4 + count
    items, end = [], line_end + 2
    for _ in range(count * AGGREGATES[kind]):
        item, end = _read(data, end)
        items.append(item)
    return Value(chr(kind), items), end


def encode(argv: tuple[bytes, ...]) -> bytes:
    """A request as clients send it."""
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in argv)


class Wire:
    """One connection to one server; frames come out in the order of arrival."""

    def __init__(self, port: int, seconds_max: float = 60.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds_max)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.position = 0

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except ConnectionError:
            raise Closed([]) from None

    def frames(self, count: int) -> list[bytes]:
        """The next `count` frames, byte for byte."""
        found: list[bytes] = []
        while len(found) < count:
            end = frame_end(self.buffer, self.position) if self.position < len(self.buffer) else -1
            if end >= 0:
                found.append(self.buffer[self.position : end])
                self.position = end
            elif not self._more():
                raise Closed(found)
        return found

    def ask(self, *argv: bytes) -> bytes:
        self.send(encode(argv))
        return self.frames(1)[0]

    def until_closed(self) -> bytes:
        """Everything that still comes before the server closes."""
        while self._more():
            pass
        return self.buffer[self.position :]

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> bool:
        try:
            piece = self.socket.recv(READ_BYTES)
        except TimeoutError:
            raise NoReply(f"no reply within {self.socket.gettimeout():.0f} s") from None
        except ConnectionError:
            return False
        self.buffer = self.buffer[self.position :] + piece
        self.position = 0
        return bool(piece)
