"""The grammar of requests once more, slowly: the whole input at once, byte by byte, written after Redis's C.

What the quick reader makes of the same bytes, in whatever pieces, has to be the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import hiredis

from vaylix_resp import limits
from vaylix_resp.resp.reader import ProtocolError, RequestReader

Outcome = tuple[list[list[bytes]], str | None]  # requests, and the error that ended them

LARGE = 1 << 30


class Bad(Exception):
    pass


def slow_read(data: bytes, *, trusted: bool = True, bulk_max: int = limits.VALUE_BYTES_MAX) -> Outcome:
    requests: list[list[bytes]] = []
    at = 0
    try:
        while at < len(data):
            if data[at : at + 1] == b"*":
                words, at = _array(data, at, trusted, bulk_max)
            else:
                words, at = _inline(data, at)
            if words:
                requests.append(words)
    except EOFError:
        pass
    except Bad as bad:
        return requests, str(bad)
    return requests, None


def _array(data: bytes, at: int, trusted: bool, bulk_max: int) -> tuple[list[bytes], int]:
    line, at = _header(data, at, "too big mbulk count string")
    count = _integer(line[1:])
    if count is None or count > limits.MULTIBULK_COUNT_MAX:
        raise Bad("invalid multibulk length")
    if count > 10 and not trusted:
        raise Bad("unauthenticated multibulk length")
    words: list[bytes] = []
    while len(words) < count:
        if at >= len(data):
            raise EOFError
        if data[at] != ord("$"):
            shown = chr(data[at]) if chr(data[at]) in PRINTABLE else " "
            raise Bad(f"expected '$', got '{shown}'")
        line, at = _header(data, at, "too big bulk count string")
        length = _integer(line[1:])
        if length is None or length < 0 or length > bulk_max:
            raise Bad("invalid bulk length")
        if length > 16384 and not trusted:
            raise Bad("unauthenticated bulk length")
        if at + length + 2 > len(data):
            raise EOFError
        words.append(data[at : at + length])
        at += length + 2  # whatever these two bytes are
    return words, at


def _header(data: bytes, at: int, too_long: str) -> tuple[bytes, int]:
    line = bytearray()
    while not line.endswith(b"\r\n"):
        if at >= len(data):
            if len(line) > 65536:
                raise Bad(too_long)
            raise EOFError
        line.append(data[at])
        at += 1
    if len(line) - 2 > 65536:
        raise Bad(too_long)
    return bytes(line[:-2]), at


def _integer(raw: bytes) -> int | None:
    """As string2ll: what an integer prints as, and nothing else."""
    for sign in (b"", b"-"):
        digits = raw[len(sign) :]
        if raw.startswith(sign) and digits.isdigit() and raw == b"%d" % int(raw):
            return int(raw) if -(2**63) <= int(raw) < 2**63 else None
    return None


def _inline(data: bytes, at: int) -> tuple[list[bytes], int]:
    end = at
    while end < len(data) and data[end] != ord("\n"):
        end += 1
    if end - at > 65536:
        raise Bad("too big inline request")
    if end >= len(data):
        raise EOFError
    line = data[at:end]
    if line.endswith(b"\r"):
        line = line[:-1]
    words = slow_split(line)
    if words is None:
        raise Bad("unbalanced quotes in request")
    return words, end + 1


PRINTABLE = "".join(map(chr, range(32, 127)))
SPACE = b" \t\n\v\f\r\0"  # NUL: our addition, Redis would wait for more behind it


def slow_split(line: bytes) -> list[bytes] | None:
    """`sdssplitargs`, branch by branch. The line ends with a NUL there, here with an empty slice."""
    words: list[bytes] = []
    p = 0

    def at(i: int) -> bytes:
        return line[i : i + 1]

    while True:
        while at(p) and at(p) in SPACE:
            p += 1
        if not at(p):
            return words
        in_double = in_single = done = False
        current = bytearray()
        while not done:
            c = at(p)
            if in_double:
                hexadecimal = line[p + 2 : p + 4]
                if c == b"\\" and at(p + 1) == b"x" and len(hexadecimal) == 2 and _is_hex(hexadecimal):
                    current.append(int(hexadecimal, 16))
                    p += 3
                elif c == b"\\" and at(p + 1):
                    p += 1
                    current += {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}.get(at(p), at(p))
                elif c == b'"':
                    if at(p + 1) and at(p + 1) not in SPACE:
                        return None
                    done = True
                elif not c:
                    return None
                else:
                    current += c
            elif in_single:
                if c == b"\\" and at(p + 1) == b"'":
                    p += 1
                    current += b"'"
                elif c == b"'":
                    if at(p + 1) and at(p + 1) not in SPACE:
                        return None
                    done = True
                elif not c:
                    return None
                else:
                    current += c
            elif not c or c in b" \n\r\t\0":
                done = True
            elif c == b'"':
                in_double = True
            elif c == b"'":
                in_single = True
            else:
                current += c
            if at(p):
                p += 1
        words.append(bytes(current))


def _is_hex(two: bytes) -> bool:
    return all(c in b"0123456789abcdefABCDEF" for c in two)


def quick_read(pieces: Iterable[bytes], *, trusted: bool = True, bulk_max: int = limits.VALUE_BYTES_MAX) -> Outcome:
    """What the reader makes of the pieces, driven as `server.connection` does; `raw` is checked on the way."""
    reader = RequestReader(bulk_max, LARGE, trusted=trusted)
    requests: list[list[bytes]] = []
    try:
        for piece in pieces:
            some = [list(request) for request in reader.read(piece)]
            requests += some
            if reader.raw is not None:
                assert decoded(reader.raw) == some, "raw is the bytes of exactly these requests"
                assert not reader.buffered
            while some and not reader.raw and reader.buffered and not reader.waits:
                some = [list(request) for request in reader.read(b"")]
                requests += some
    except ProtocolError as bad:
        return requests + [list(request) for request in bad.requests], str(bad)
    return requests, None


def decoded(raw: bytes) -> list[list[bytes]]:
    """As the log would read them back."""
    parser = hiredis.Reader(notEnoughData=False)
    parser.feed(raw)
    found = list(iter(parser.gets, False))
    assert not parser.has_data()
    return found


def pack(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces that end at these places (modulo its length)."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in zip(ends, ends[1:], strict=False)]
