"""Bytes to requests, however the bytes arrive.

Promises: the same requests come out for any split of the same bytes; nothing is allocated ahead of the data that
a header announces; a request larger than a bound is refused when its header is seen, not when it has arrived.

Two ways in, one grammar: a chunk that looks whole goes through hiredis and is believed only if every word is a
bulk string and the parser ends on a boundary; whatever is unusual (a split request, an inline command, an error)
goes through `_Scanner`, which is slower, strict and knows Redis's error texts.
Not here: what a request means, and how many may wait (`server.connection`).
Source: Redis `processMultibulkBuffer`, `processInlineBuffer`, `sdssplitargs`.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Final

import hiredis

from .. import limits

# What hiredis must not see: a count of five digits or more, for which it would allocate the list before its items
# have come, and the types that it would return as if they were a request or a bulk string. (A value may begin
# like this as well; then the scanner reads it, which is only slower.)
_UNFIT: Final = re.compile(rb"\n(?:\*[0-9]{5}|[+=(%~>|])")
_SENTINEL: Final = b"*0\r\n"  # parsed as an empty request if, and only if, the parser stands on a boundary
_NUMBER: Final = re.compile(rb"(?:0|[1-9][0-9]{0,18})\Z")
_LENGTHS: Final = {b"%d" % n: n for n in range(1025)}
_HEADER_BYTES_MAX: Final = limits.INLINE_BYTES_MAX
_STAR, _DOLLAR, _CR, _LF = 0x2A, 0x24, 0x0D, 0x0A


class ProtocolError(Exception):
    """The bytes are no RESP: answer `-ERR Protocol error: <text>` and close. `requests` came whole before it."""

    def __init__(self, text: str, requests: list[list[bytes]]) -> None:
        super().__init__(text)
        self.requests = requests


class RequestReader:
    """One connection's input, bounds in bytes. `trusted` lifts those for clients that have not logged in."""

    __slots__ = ("_need", "_pending", "bulk_bytes_max", "query_bytes_max", "raw", "trusted")

    # One for all connections: between two chunks it always stands on a boundary and holds nothing.
    _parser = hiredis.Reader(notEnoughData=False)

    def __init__(self, bulk_bytes_max: int, query_bytes_max: int, *, trusted: bool) -> None:
        self.bulk_bytes_max = bulk_bytes_max
        self.query_bytes_max = query_bytes_max
        self.trusted = trusted
        self.raw: bytes | None = None
        self._pending = bytearray()  # of an unfinished request
        self._need = 0  # bytes that must be pending before another attempt makes sense

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished request."""
        return len(self._pending)

    @property
    def waits(self) -> bool:
        """Nothing can be read before more bytes come."""
        return len(self._pending) < self._need

    def read(self, data: bytes) -> list[list[bytes]]:
        """The requests that `data` completes, in order.

        `raw` is then the bytes that make exactly these requests, or None if it is not known to be so.
        """
        pending = self._pending
        self.raw = None
        if self.trusted and 4 <= len(pending) + len(data) <= 2 * limits.READ_CHUNK_BYTES:
            if pending:
                data = bytes(pending) + data
            requests = self._read_whole(data)
            if requests is not None:
                if pending:
                    pending.clear()
                    self._need = 0
                self.raw = data
                return requests
            cut = data.rfind(b"\r\n*") + 2  # the last request may be unfinished; those before it need not wait
            if cut > 2:
                requests = self._read_whole(data[:cut])
                if requests is not None:
                    self._pending, self._need = bytearray(data[cut:]), 0
                    return requests + self._scan()
            self._pending = bytearray(data)
        else:
            pending += data
        return [] if len(self._pending) < self._need else self._scan()

    def _read_whole(self, data: bytes) -> list[list[bytes]] | None:
        """The fast way; None if the chunk is anything but whole requests of bulk strings."""
        if (
            data[-1] != _LF
            or data[0] != _STAR
            or (data[2] != _CR and data.find(b"\r", 2, 6) < 0)
            or _UNFIT.search(data)
        ):
            return None
        reader = RequestReader._parser
        try:
            reader.feed(data)
            first = reader.gets()
            if not reader.has_data():  # nothing is left and nothing begun: a single request, the commonest chunk
                b"".join(first)  # TypeError unless it is a list of bytes
                return [first] if first else []
            requests: list[list[bytes]] = [first, *iter(reader.gets, False)]
            b"".join(chain.from_iterable(requests))
            reader.feed(_SENTINEL)
            if reader.gets() == [] and all(requests):
                return requests
        except (hiredis.ProtocolError, TypeError):
            pass  # not an error yet: the scanner reads the same bytes again and says what is wrong
        RequestReader._parser = hiredis.Reader(notEnoughData=False)
        return None

    def _scan(self) -> list[list[bytes]]:
        scanner = _Scanner(self)
        requests: list[list[bytes]] = []
        data = bytes(self._pending)
        at = 0
        try:
            while at < len(data):
                request, after = scanner.request(data, at)
                if after < 0:
                    break
                at = after
                if request:
                    requests.append(request)
                    if not self.trusted:
                        break  # it may be the log-in, which lifts the bounds for what follows
        except _Refused as refused:
            raise ProtocolError(str(refused), requests) from None
        del self._pending[:at]
        self._need = max(0, scanner.need - at)
        if len(self._pending) > self.query_bytes_max:
            raise ProtocolError(QUERY_TOO_LARGE, requests)
        return requests


QUERY_TOO_LARGE: Final = "query buffer limit exceeded"  # closed without a reply, as Redis does


class _Refused(Exception):
    """The text behind `Protocol error: `."""


class _Scanner:
    """The grammar, one request at a time, over bytes that may end anywhere."""

    __slots__ = ("bulk_max", "count_max", "need", "trusted")

    def __init__(self, bounds: RequestReader) -> None:
        self.trusted = bounds.trusted
        self.bulk_max = bounds.bulk_bytes_max
        self.count_max = limits.MULTIBULK_COUNT_MAX
        self.need = 0

    def request(self, data: bytes, at: int) -> tuple[list[bytes] | None, int]:
        """The request at `at` and the offset behind it; -1 if it is not whole (`need` says how long to wait)."""
        if data[at] != _STAR:
            return self._inline(data, at)
        end = self._line_end(data, at, "too big mbulk count string")
        if end < 0:
            return None, -1
        count = self._count(data[at + 1 : end])
        at = end + 2
        size = len(data)
        words: list[bytes] = []
        for _ in range(count):
            end = self._line_end(data, at, "too big bulk count string")
            if end < 0:
                return None, -1
            if data[at] != _DOLLAR:
                raise _Refused(f"expected '$', got '{_shown(data[at])}'")
            raw = data[at + 1 : end]
            length = _LENGTHS.get(raw, -1)
            if length < 0 or not self.trusted:
                length = self._length(raw)
            at = end + 2 + length
            if at + 2 > size:
                self.need = at + 2
                return None, -1
            words.append(data[end + 2 : at])
            at += 2
        return words, at

    def _line_end(self, data: bytes, at: int, too_long: str) -> int:
        end = data.find(b"\r\n", at)
        if end < 0:
            if len(data) - at > _HEADER_BYTES_MAX:
                raise _Refused(too_long)
            if at < len(data) and data[at] not in (_STAR, _DOLLAR):
                raise _Refused(f"expected '$', got '{_shown(data[at])}'")
            self.need = len(data) + 1
        return end

    def _count(self, raw: bytes) -> int:
        if raw.startswith(b"-") and _NUMBER.match(raw[1:]):
            return 0  # Redis: a count of zero or less is an empty request
        if not _NUMBER.match(raw) or int(raw) > self.count_max:
            raise _Refused("invalid multibulk length")
        count = int(raw)
        if not self.trusted and count > limits.MULTIBULK_COUNT_MAX_UNAUTHENTICATED:
            raise _Refused("unauthenticated multibulk length")
        return count

    def _length(self, raw: bytes) -> int:
        if not _NUMBER.match(raw) or int(raw) > self.bulk_max:
            raise _Refused("invalid bulk length")
        length = int(raw)
        if not self.trusted and length > limits.BULK_BYTES_MAX_UNAUTHENTICATED:
            raise _Refused("unauthenticated bulk length")
        return length

    def _inline(self, data: bytes, at: int) -> tuple[list[bytes] | None, int]:
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at > limits.INLINE_BYTES_MAX:
                raise _Refused("too big inline request")
            self.need = len(data) + 1
            return None, -1
        if end - at > limits.INLINE_BYTES_MAX:
            raise _Refused("too big inline request")
        line = data[at : end - 1 if end > at and data[end - 1] == _CR else end]
        words = split_words(line)
        if words is None:
            raise _Refused("unbalanced quotes in request")
        return words, end + 1


def _shown(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else " "


_ESCAPES: Final = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}
_BLANKS: Final = b" \t\n\r\v\f\0"
_HEX: Final = re.compile(rb"[0-9a-fA-F]{2}")


def split_words(line: bytes) -> list[bytes] | None:
    """Words of a line with Redis's quoting; None if quotes are unbalanced or a closing quote touches a word."""
    if b'"' not in line and b"'" not in line:
        return line.replace(b"\0", b" ").split()
    words: list[bytes] = []
    at, size = 0, len(line)
    while True:
        while at < size and line[at] in _BLANKS:
            at += 1
        if at >= size:
            return words
        word = bytearray()
        while at < size and line[at] not in _BLANKS:
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
