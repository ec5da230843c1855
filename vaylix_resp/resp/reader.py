"""Bytes to requests, however the bytes arrive.

Promises: the same requests come out for any split of the same bytes; nothing is allocated ahead of the data that
a header announces; a request larger than a bound is refused when its header is seen, not when it has arrived; a word
is looked at once, however small the pieces in which its request comes.

Three ways in, one grammar: a pipeline of equal requests is read by columns (`columns`); a chunk that looks whole goes
through hiredis and is believed only if the requests that come
out, encoded, are as long as the chunk (`_size`); whatever is unusual (a split request, an inline command, an
error) is read word by word, which is slower, strict and knows Redis's error texts.
Not here: what a request means, and how many may wait (`server.connection`).
Source: Redis `processMultibulkBuffer`, `processInlineBuffer`, `sdssplitargs`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import hiredis

from .. import limits
from .columns import read_columns

# What hiredis must not see: counts for which it would allocate lists before their items have come. It may believe that
# a header begins anywhere, because it does not look at the two bytes behind a bulk string.
_LONG: Final = re.compile(rb"\*[0-9]{3}")
_COUNTS: Final = re.compile(rb"\*([0-9]{1,18})")
_WORD_BYTES_MIN: Final = len(b"$0\r\n\r\n")
_LIST: Final = re.compile(rb"[|~>][0-9]+\r\n")
_VERBATIM: Final = re.compile(rb"=[0-9]+\r\n")  # the only string that takes more than a bulk string
_NUMBER: Final = re.compile(rb"(?:0|[1-9][0-9]{0,18})\Z")
_SHORT: Final = 1024  # lengths up to here are looked up
_LENGTHS: Final = {b"%d" % n: n for n in range(_SHORT + 1)}
# What a word takes besides its bytes, and with them; what a count takes (a request without words is not for us here).
_FRAME_BYTES: Final = [len(b"$%d\r\n\r\n" % n) for n in range(_SHORT + 1)]
_BULK_BYTES: Final = [n + frame for n, frame in enumerate(_FRAME_BYTES)]
_COUNT_BYTES: Final = [1 << 60, *(len(b"*%d\r\n" % n) for n in range(1, 10_000))]
INT64_MIN: Final = -(1 << 63)
_HEADER_BYTES_MAX: Final = limits.INLINE_BYTES_MAX
_SENTINEL: Final = b"*0\r\n"  # read as an empty request if, and only if, the parser stands on a boundary
_STAR, _DOLLAR, _CR, _LF = 0x2A, 0x24, 0x0D, 0x0A


Request = Sequence[bytes]


class ProtocolError(Exception):
    """The bytes are no RESP: answer `-ERR Protocol error: <text>` and close. `requests` came whole before it."""

    def __init__(self, text: str, requests: list[Request]) -> None:
        super().__init__(text)
        self.requests = requests


class RequestReader:
    """One connection's input, bounds in bytes. `trusted` lifts those for clients that have not logged in."""

    __slots__ = (
        "_left", "_need", "_pending", "_taken", "_words", "bulk_bytes_max", "query_bytes_max", "raw", "trusted",
    )  # fmt: skip

    # One for all connections: between two chunks it always stands on a boundary and holds nothing.
    _parser = hiredis.Reader(notEnoughData=False)

    def __init__(self, bulk_bytes_max: int, query_bytes_max: int, *, trusted: bool) -> None:
        self.bulk_bytes_max = bulk_bytes_max
        self.query_bytes_max = query_bytes_max
        self.trusted = trusted
        self.raw: bytes | None = None
        self._words: list[bytes] = []  # of the request that has begun,
        self._left = 0  # how many are still to come (0: none has begun),
        self._taken = 0  # and their bytes so far
        self._pending = bytearray()  # behind these words, or behind the last request
        self._need = 0  # bytes that must be pending before another attempt makes sense

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished request."""
        return len(self._pending) + self._taken

    @property
    def waits(self) -> bool:
        """Nothing can be read before more bytes come."""
        return len(self._pending) < self._need

    def read(self, data: bytes) -> list[Request]:
        """The requests that `data` completes, in order.

        `raw` is then the bytes that make exactly these requests, or None if it is not known to be so.
        """
        pending = self._pending
        self.raw = None
        size = len(pending) + len(data)
        if size < self._need or self._left or not self.trusted or not 4 <= size <= 2 * limits.READ_CHUNK_BYTES:
            pending += data
            return self._scan([])
        if pending:
            data = bytes(pending) + data
        requests = _read_whole(data)
        if requests is not None:
            if pending:
                pending.clear()
                self._need = 0
            self.raw = data
            return requests
        cut = data.rfind(b"\r\n*") + 2  # the last request may be unfinished; those before it need not wait
        if cut > 2:
            requests = _read_whole(data[:cut])
            if requests is not None:
                data = data[cut:]
        self._pending, self._need = bytearray(data), 0
        return self._scan(requests or [])

    def _scan(self, requests: list[Request]) -> list[Request]:
        """`requests` and what can be read from the bytes that are pending, word by word."""
        if len(self._pending) >= self._need:
            try:
                self._scan_words(requests)
            except _Refused as refused:
                raise ProtocolError(str(refused), requests) from None
        if self.buffered > self.query_bytes_max:
            raise ProtocolError(QUERY_TOO_LARGE, requests)
        return requests

    def _scan_words(self, requests: list[Request]) -> None:
        """Append whole requests; keep the words of an unfinished one, and in `_need` how long to wait for the next."""
        data = bytes(self._pending)
        size = len(data)
        words, left, taken = self._words, self._left, self._taken
        at = need = 0
        while at < size:
            if left:
                if data[at] != _DOLLAR:
                    raise _Refused(f"expected '$', got '{_shown(data[at])}'")
                end = _line_end(data, at, "too big bulk count string")
                if end < 0:
                    need = size - at + 1
                    break
                length = self._bulk_length(data[at + 1 : end], taken)
                behind = end + 2 + length
                if behind + 2 > size:
                    need = behind + 2 - at
                    break
                words.append(data[end + 2 : behind])
                taken += behind + 2 - at
                at = behind + 2
                left -= 1
            elif data[at] == _STAR:
                end = _line_end(data, at, "too big mbulk count string")
                if end < 0:
                    need = size - at + 1
                    break
                left = self._count(data[at + 1 : end])
                at = end + 2
            else:
                end = _inline_end(data, at)
                if end < 0:
                    need = size - at + 1
                    break
                words = _inline_words(data, at, end)
                at = end + 1
            if words and not left:
                requests.append(words)
                words, taken = [], 0
                if not self.trusted:
                    break  # it may be the log-in, which lifts the bounds for what follows
        self._words, self._left, self._taken, self._need = words, left, taken, need
        del self._pending[:at]

    def _count(self, raw: bytes) -> int:
        negative = raw.startswith(b"-") and raw != b"-0"
        if not _NUMBER.match(raw[negative:]) or not INT64_MIN <= int(raw) <= limits.MULTIBULK_COUNT_MAX:
            raise _Refused("invalid multibulk length")
        count = max(0, int(raw))  # as in Redis: a count of zero or less is an empty request
        if not self.trusted and count > limits.MULTIBULK_COUNT_MAX_UNAUTHENTICATED:
            raise _Refused("unauthenticated multibulk length")
        return count

    def _bulk_length(self, raw: bytes, taken: int) -> int:
        """What the header of a word announces, if the request, of which `taken` bytes have come, may hold it."""
        length = _LENGTHS.get(raw, -1)
        if length < 0 or not self.trusted:
            if not _NUMBER.match(raw) or int(raw) > self.bulk_bytes_max:
                raise _Refused("invalid bulk length")
            length = int(raw)
            if not self.trusted and length > limits.BULK_BYTES_MAX_UNAUTHENTICATED:
                raise _Refused("unauthenticated bulk length")
        if taken + length > limits.REQUEST_BYTES_MAX:
            raise _Refused(f"too big request, more than {limits.REQUEST_BYTES_MAX} bytes")
        return length


QUERY_TOO_LARGE: Final = "query buffer limit exceeded"  # closed without a reply, as Redis does


class _Refused(Exception):
    """The text behind `Protocol error: `."""


def _read_whole(data: bytes) -> list[Request] | None:
    """The fast way; None if the chunk is anything but whole requests of bulk strings (or might be: only slower).

    What comes out is believed if it takes, as bulk strings, as many bytes as went in: a status or a number takes less.
    """
    if data[-1] != _LF or data[0] != _STAR or (data[2] != _CR and data.find(b"\r", 2, 6) < 0):
        return None
    if data.rfind(b"\n*") > 0 and (pipeline := read_columns(data)) is not None:
        return pipeline
    if data.rfind(_STAR) > 0 and _LONG.search(data):
        if sum(map(int, _COUNTS.findall(data))) * _WORD_BYTES_MIN > len(data):
            return None  # more words are announced than can be there
    if (0x7C in data or 0x7E in data or 0x3E in data) and _LIST.search(data):
        return None
    if 0x3D in data and _VERBATIM.search(data):
        return None
    reader = RequestReader._parser
    believed = False
    try:
        reader.feed(data)
        first = reader.gets()
        requests: list[Any] = [first]
        if reader.has_data():
            requests += iter(reader.gets, False)
            reader.feed(_SENTINEL)
            believed = _size(requests) == len(data) and reader.gets() == []
        elif first:  # a single request, the commonest chunk
            size = _COUNT_BYTES[len(first)] + len(b"".join(first))
            for word in first:
                size += _FRAME_BYTES[len(word)] if len(word) <= _SHORT else len(b"$%d\r\n\r\n" % len(word))
            believed = size == len(data)
        return requests if believed else None
    except (hiredis.ProtocolError, TypeError, IndexError):
        return None  # not an error yet: the scanner reads the same bytes again and says what is wrong
    finally:
        if not believed:
            RequestReader._parser = hiredis.Reader(notEnoughData=False)


def _size(requests: list[Any]) -> int:
    """The bytes that requests of bulk strings take; TypeError if they are anything else."""
    words = [*chain.from_iterable(requests)]
    if {*map(type, words)} != {bytes}:
        raise TypeError
    counts = sum(map(_COUNT_BYTES.__getitem__, map(list.__len__, requests)))
    try:
        return counts + sum(map(_BULK_BYTES.__getitem__, map(len, words)))
    except IndexError:
        return counts + sum([len(b"$%d\r\n\r\n" % length) + length for length in map(len, words)])


def _line_end(data: bytes, at: int, too_long: str) -> int:
    """Where the header at `at` ends; -1 if its end has not come yet."""
    end = data.find(b"\r\n", at)
    if (end if end >= 0 else len(data)) - at > _HEADER_BYTES_MAX:
        raise _Refused(too_long)
    return end


def _inline_end(data: bytes, at: int) -> int:
    end = data.find(b"\n", at)
    if (end if end >= 0 else len(data)) - at > limits.INLINE_BYTES_MAX:
        raise _Refused("too big inline request")
    return end


def _inline_words(data: bytes, at: int, end: int) -> list[bytes]:
    words = split_words(data[at : end - 1 if end > at and data[end - 1] == _CR else end])
    if words is None:
        raise _Refused("unbalanced quotes in request")
    return words


def _shown(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else " "


_ESCAPES: Final = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}
_BLANKS: Final = b" \t\n\r\v\f\0"  # between words; two of them do not end a word
_ENDS: Final = b" \t\n\r\0"
_HEX: Final = re.compile(rb"[0-9a-fA-F]{2}")


def split_words(line: bytes) -> list[bytes] | None:
    """Words of a line with Redis's quoting; None if quotes are unbalanced or a closing quote touches a word.

    A NUL counts as a blank; Redis would wait for the line's end behind it until its buffer is full.
    """
    if not (b'"' in line or b"'" in line or b"\v" in line or b"\f" in line):
        return line.replace(b"\0", b" ").split()
    words: list[bytes] = []
    at, size = 0, len(line)
    while True:
        while at < size and line[at] in _BLANKS:
            at += 1
        if at >= size:
            return words
        word = bytearray()
        while at < size and line[at] not in _ENDS:
            quote = line[at]
            if quote == 0x22 or quote == 0x27:
                at = _quoted(line, at + 1, quote, word)
                if at < 0:
                    return None
                break
            word.append(quote)
            at += 1
        words.append(bytes(word))


def _quoted(line: bytes, at: int, quote: int, word: bytearray) -> int:
    """Append a quoted stretch to `word`; the offset behind its closing quote, -1 if there is none."""
    size = len(line)
    while at < size:
        c = line[at]
        if c == quote:
            at += 1
            return at if at >= size or line[at] in _BLANKS else -1
        if c == 0x5C and quote == 0x22 and at + 1 < size:
            if line[at + 1] == 0x78 and _HEX.match(line, at + 2):
                word.append(int(line[at + 2 : at + 4], 16))
                at += 4
            else:
                word.append(_ESCAPES.get(line[at + 1], line[at + 1]))
                at += 2
        elif c == 0x5C and line[at + 1 : at + 2] == b"'":
            word.append(0x27)
            at += 2
        else:
            word.append(c)
            at += 1
    return -1
