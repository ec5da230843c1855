"""What a Redis primary sends to a replica behind PSYNC: bytes in; the verdict, the RDB file and the stream out.

    link = ReplicationLink()
    for part in link.feed(chunk):     # Full | Continued | Declined, then Payload..., PayloadEnd, Stream...
        ...

Both forms of the file are read: announced by its length (from disk), and ended by a mark of 40 bytes that the
announcement names (diskless).
Promises: however the bytes are cut the parts say the same; at most a line or a mark is held back.
Not here: the handshake before PSYNC (plain replies), the file (`rdb_reader`), the commands (`command_stream`).
Source: `syncWithMaster`, `readSyncBulkPayload` and `masterTryPartialResynchronization` of Redis 7.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ..errors import EX_DATA, Refused, printable

LINE_BYTES_MAX: Final = 4096
MARK_BYTES: Final = 40
_FULL: Final = re.compile(rb"\+FULLRESYNC ([0-9a-fA-F]{40}) ([0-9]{1,19})\Z")
_CONTINUE: Final = re.compile(rb"\+CONTINUE(?: ([0-9a-fA-F]{40}))?\s*\Z")
_LENGTH: Final = re.compile(rb"\$([0-9]{1,18})\Z")
_MARK: Final = re.compile(rb"\$EOF:([^\r\n]{40})\Z")


class LinkError(Refused):
    """The primary said what no primary says."""

    exit_code = EX_DATA


@dataclass(frozen=True, slots=True)
class Full:
    """A file follows, and behind it a stream whose first byte is at `offset` + 1 of the history `replid`."""

    replid: str
    offset: int


@dataclass(frozen=True, slots=True)
class Continued:
    """The stream goes on where it was asked to; `replid` is the history's new name, if it has got one."""

    replid: str


@dataclass(frozen=True, slots=True)
class Declined:
    """An error, as it came."""

    text: str


@dataclass(frozen=True, slots=True)
class PayloadBegin:
    """`size` of the file; 0 when only its end will tell."""

    size: int


@dataclass(frozen=True, slots=True)
class Payload:
    data: bytes


@dataclass(frozen=True, slots=True)
class PayloadEnd:
    pass


@dataclass(frozen=True, slots=True)
class Stream:
    data: bytes


Part = Full | Continued | Declined | PayloadBegin | Payload | PayloadEnd | Stream


class ReplicationLink:
    """See above."""

    def __init__(self) -> None:
        self._pending = b""
        self._left = 0  # bytes that the file still lacks
        self._mark = b""  # or what ends it
        self._step: Callable[[], Iterator[Part]] = self._verdict

    def feed(self, data: bytes) -> Iterator[Part]:
        """The parts that are whole with `data`. LinkError."""
        self._pending += data
        step = None
        while self._pending and step != (len(self._pending), self._step):  # until nothing moves any more
            step = (len(self._pending), self._step)
            yield from self._step()

    def _line(self) -> bytes | None:
        """The next line that is not empty: primaries send empty ones to keep the connection alive."""
        self._pending = self._pending.lstrip(b"\r\n")
        line, end, rest = self._pending.partition(b"\n")
        if not end:
            if len(line) > LINE_BYTES_MAX:
                raise LinkError(f"the source sent {printable(line, 40)!r}... where a line was expected")
            return None
        self._pending = rest
        return line.rstrip(b"\r")

    def _verdict(self) -> Iterator[Part]:
        line = self._line()
        if line is None:
            return
        if full := _FULL.match(line):
            self._step = self._announcement
            yield Full(full[1].decode(), int(full[2]))
        elif again := _CONTINUE.match(line):
            self._step = self._stream
            yield Continued((again[1] or b"").decode())
        elif line.startswith(b"-"):
            yield Declined(printable(line[1:], 300))
        else:
            raise LinkError(f"the source answered PSYNC with {printable(line, 80)!r}")

    def _announcement(self) -> Iterator[Part]:
        line = self._line()
        if line is None:
            return
        if length := _LENGTH.match(line):
            self._left, self._mark = int(length[1]), b""
        elif mark := _MARK.match(line):
            self._mark = mark[1]
        elif line.startswith(b"-"):
            yield Declined(printable(line[1:], 300))
            return
        else:
            raise LinkError(f"the source announced its file with {printable(line, 80)!r}")
        self._step = self._marked if self._mark else self._counted
        yield PayloadBegin(self._left)

    def _counted(self) -> Iterator[Part]:
        data, self._pending = self._pending[: self._left], self._pending[self._left :]
        self._left -= len(data)
        if data:
            yield Payload(data)
        if not self._left:
            self._step = self._stream
            yield PayloadEnd()

    def _marked(self) -> Iterator[Part]:
        """The mark is random and of 40 bytes, so that no value holds it by chance."""
        data, mark, rest = self._pending.partition(self._mark)
        if not mark:  # its beginning may be there
            data, rest = data[: -MARK_BYTES + 1], data[-MARK_BYTES + 1 :]
        self._pending = rest
        if data:
            yield Payload(data)
        if mark:
            self._step = self._stream
            yield PayloadEnd()

    def _stream(self) -> Iterator[Part]:
        data, self._pending = self._pending, b""
        yield Stream(data)
