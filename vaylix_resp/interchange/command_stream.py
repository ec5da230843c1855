"""Commands as servers write them for servers, in append only files and replication streams: bytes in, commands out.

    reader = CommandReader("appendonly.aof")
    for command in reader.feed(chunk):      # Command(words, end)
        ...
    reader.end                              # where the last whole command ended; reader.unfinished: bytes behind it

Promises: the same commands come out for any cut of the same bytes; each with the offset behind it, exactly; no more is
held than one unfinished command and what was fed; what is no command gives StreamError with its offset.
Units: offsets and sizes in bytes; the first byte is at `start`.
Not here: what a command means, inline commands (no server writes any).
Source: `loadSingleAppendOnlyFile`, `catAppendOnlyGenericCommand` and `replicationFeedSlaves` of Redis 7.0.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ..errors import EX_DATA, Refused
from ..limits import GIB, MIB

WORD_BYTES_MAX: Final = 512 * MIB  # Redis's own bound for a value
COMMAND_BYTES_MAX: Final = GIB  # and for a request
WORDS_MAX: Final = 1 << 30
HEADER_BYTES_MAX: Final = 32
NOTE_BYTES_MAX: Final = 4096  # `#TS:1700000000`, between the commands of an append only file
_NUMBER: Final = re.compile(rb"(?:0|[1-9][0-9]{0,9})\Z")
_LENGTHS: Final = {b"%d" % n: n for n in range(1025)}
_STAR, _DOLLAR, _NOTE = 0x2A, 0x24, 0x23


class StreamError(Refused):
    """One line: source, offset, what was expected there."""

    exit_code = EX_DATA

    def __init__(self, source: str, offset: int, expected: str) -> None:
        super().__init__(f"{source}: offset {offset}: expected {expected}")
        self.source, self.offset, self.expected = source, offset, expected


class Command(NamedTuple):
    words: tuple[bytes, ...]
    end: int


def _quick(data: bytes, at: int) -> tuple[tuple[bytes, ...], int] | None:
    """A command of short words that is all there, and where it ends; None for the way that looks at everything."""
    find, lengths = data.find, _LENGTHS
    end = find(b"\r\n", at, at + HEADER_BYTES_MAX)
    left = lengths.get(data[at + 1 : end], 0)
    if end < 0 or not left or data[at] != _STAR:
        return None
    words = []
    at = end + 2
    while left:
        end = find(b"\r\n", at, at + HEADER_BYTES_MAX)
        length = lengths.get(data[at + 1 : end])
        if end < 0 or length is None or data[at] != _DOLLAR:
            return None
        at = end + 4 + length
        if data[at - 2 : at] != b"\r\n":
            return None
        words.append(data[end + 2 : at - 2])
        left -= 1
    return tuple(words), at


class CommandReader:
    """See above. `source` begins the texts of errors; `notes`: lines that begin with # are stepped over."""

    def __init__(self, source: str, start: int = 0, *, notes: bool = False) -> None:
        self.end = start
        self._source, self._notes = source, notes
        self._pending = bytearray()  # it begins at `_base`
        self._base = start
        self._need = 1  # bytes that have to be pending before it is worth looking at them
        self._words: list[bytes] = []  # of the unfinished command,
        self._left = 0  # how many it still lacks,
        self._size = 0  # and its bytes so far

    @property
    def unfinished(self) -> int:
        """Bytes behind the last whole command."""
        return self._base + len(self._pending) - self.end

    def feed(self, data: bytes) -> list[Command]:
        """The commands that `data` completes. StreamError at the first byte that does not belong there."""
        self._pending += data
        if len(self._pending) < self._need:
            return []
        whole = bytes(self._pending)
        commands: list[Command] = []
        at = 0
        while at < len(whole):
            if not self._left and (quick := _quick(whole, at)) is not None:
                words, at = quick
                self.end = self._base + at
                commands.append(Command(words, self.end))
                continue
            behind = self._word(whole, at) if self._left else self._head(whole, at)
            if behind < 0:
                break
            at = behind
            if self._words and not self._left:
                self.end = self._base + at
                commands.append(Command(tuple(self._words), self.end))
                self._words, self._size = [], 0
        else:
            self._need = 1
        self._base += at
        del self._pending[:at]
        return commands

    def _head(self, data: bytes, at: int) -> int:
        """Read `*3` or a note; the offset behind it, -1 if it is not all there."""
        if data[at] == _NOTE and self._notes:
            end = self._line_end(data, at, NOTE_BYTES_MAX, "the end of a note")
            if end >= 0:
                self.end = self._base + end + 2
            return end + 2 if end >= 0 else -1
        if data[at] != _STAR:
            raise StreamError(self._source, self._base + at, f"'*' of a command, found 0x{data[at]:02x}")
        end = self._line_end(data, at, HEADER_BYTES_MAX, "a number of words")
        if end < 0:
            return -1
        self._left = self._number(data[at + 1 : end], at, WORDS_MAX, "a number of words")
        if not self._left:
            raise StreamError(self._source, self._base + at, "a command of at least one word")
        return end + 2

    def _word(self, data: bytes, at: int) -> int:
        if data[at] != _DOLLAR:
            raise StreamError(self._source, self._base + at, f"'$' of a word, found 0x{data[at]:02x}")
        end = self._line_end(data, at, HEADER_BYTES_MAX, "the length of a word")
        if end < 0:
            return -1
        length = self._number(data[at + 1 : end], at, WORD_BYTES_MAX, f"a word of at most {WORD_BYTES_MAX} bytes")
        behind = end + 2 + length
        if self._size + length > COMMAND_BYTES_MAX:
            raise StreamError(self._source, self._base + at, f"a command of at most {COMMAND_BYTES_MAX} bytes")
        if behind + 2 > len(data):
            self._need = behind + 2 - at
            return -1
        if data[behind : behind + 2] != b"\r\n":
            raise StreamError(self._source, self._base + behind, "the end of a word")
        self._words.append(data[end + 2 : behind])
        self._size += length
        self._left -= 1
        return behind + 2

    def _line_end(self, data: bytes, at: int, most: int, expected: str) -> int:
        end = data.find(b"\r\n", at, at + most)
        if end < 0:
            if len(data) - at >= most:
                raise StreamError(self._source, self._base + at, expected)
            self._need = len(data) - at + 1
        return end

    def _number(self, raw: bytes, at: int, most: int, expected: str) -> int:
        if not _NUMBER.match(raw) or int(raw) > most:
            raise StreamError(self._source, self._base + at, expected)
        return int(raw)
