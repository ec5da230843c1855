"""Redis's serialized string: what DUMP writes and RESTORE reads, exchangeable with redis-server both ways.

    payload    type 0, string, RDB version (2 bytes, little-endian), CRC-64 of all before it (8 bytes, little-endian)
    string     length and bytes, or an integer of 8, 16 or 32 bits, or LZF: compressed length, length, data
    length     00 and 6 bits, 01 and 14 bits, 0x80 and 32 bits, 0x81 and 64 bits; big-endian
    encoded    11 and 0, 1, 2 (integers, little-endian) or 3 (LZF)

Both checksum and compression run in C (`anycrc`, `lzf`): in Python a 64 MiB value would stop the server for seconds.
Not here: other types, which this release does not have.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import anycrc
import lzf

from ..errors import error
from ..limits import MIB, VALUE_BYTES_MAX
from .arguments import parse_int

RDB_VERSION: Final = 10  # of Redis 7.0: the oldest whose RESTORE takes it, and strings have not changed since
RDB_VERSION_MAX: Final = 11  # of Redis 7.2
STRING_TYPE: Final = 0
FOOTER_BYTES: Final = 10
INTEGER_TEXT_MAX: Final = 11  # a longer text is no 32-bit integer
COMPRESS_BYTES_MIN: Final = 21
COMPRESS_BYTES_MAX: Final = 4 * MIB  # takes 40 ms; a longer value is dumped as it is, which every RESTORE reads too

BAD_PAYLOAD: Final = error("DUMP payload version or checksum are wrong")
BAD_FORMAT: Final = error("Bad data format")
TOO_LARGE: Final = error("string exceeds maximum allowed size (proto-max-bulk-len)")

_CRC: Final = anycrc.Model("CRC64-REDIS")
_INTEGER_BYTES: Final = {0xC0: 1, 0xC1: 2, 0xC2: 4}
_LZF: Final = 0xC3


def serialize(value: bytes) -> bytes:
    body = b"".join((bytes((STRING_TYPE,)), _string(value), RDB_VERSION.to_bytes(2, "little")))
    checksum: int = _CRC.calc(body)
    return body + checksum.to_bytes(8, "little")


def _string(value: bytes) -> bytes:
    if len(value) <= INTEGER_TEXT_MAX:
        number = parse_int(value)
        if number is not None:
            for mark, size in _INTEGER_BYTES.items():
                if -(1 << (8 * size - 1)) <= number < 1 << (8 * size - 1):
                    return bytes((mark,)) + number.to_bytes(size, "little", signed=True)
    if COMPRESS_BYTES_MIN <= len(value) <= COMPRESS_BYTES_MAX:
        # Redis gives the compressor four bytes less than the value has; this binding adds one to what it is told.
        packed: bytes | None = lzf.compress(value, len(value) - 5)
        if packed is not None:
            return b"".join((bytes((_LZF,)), _length(len(packed)), _length(len(value)), packed))
    return _length(len(value)) + value


def _length(size: int) -> bytes:
    if size < 1 << 6:
        return bytes((size,))
    if size < 1 << 14:
        return (size | 1 << 14).to_bytes(2, "big")
    return b"\x80" + size.to_bytes(4, "big")


def deserialize(payload: bytes) -> bytes:
    """The string in a payload; CommandError with Redis's words if it is damaged, too new or none."""
    if len(payload) < FOOTER_BYTES or int.from_bytes(payload[-10:-8], "little") > RDB_VERSION_MAX:
        raise BAD_PAYLOAD
    view = memoryview(payload)
    if _CRC.calc(view[:-8]) != int.from_bytes(payload[-8:], "little"):
        raise BAD_PAYLOAD
    body = view[:-FOOTER_BYTES]
    if not body or body[0] != STRING_TYPE:
        raise BAD_FORMAT
    value, end = _read_string(body, 1)
    if end != len(body):
        raise BAD_FORMAT
    return value


class _Length(NamedTuple):
    size: int
    end: int  # where the next word begins


def _read_string(body: memoryview, at: int) -> tuple[bytes, int]:
    mark = body[at] if at < len(body) else 0xFF
    if mark in _INTEGER_BYTES:
        size = _INTEGER_BYTES[mark]
        number = int.from_bytes(_take(body, at + 1, size), "little", signed=True)
        return b"%d" % number, at + 1 + size
    if mark == _LZF:
        packed = _read_length(body, at + 1)
        length = _read_length(body, packed.end)
        return _unpack(_take(body, length.end, packed.size), length.size), length.end + packed.size
    length = _read_length(body, at)
    return bytes(_take(body, length.end, length.size)), length.end + length.size


def _read_length(body: memoryview, at: int) -> _Length:
    mark = body[at] if at < len(body) else 0xFF
    if mark < 0x40:
        return _Length(mark, at + 1)
    if mark < 0x80:
        return _Length(int.from_bytes(_take(body, at, 2), "big") & 0x3FFF, at + 2)
    if mark in (0x80, 0x81):
        size = 4 if mark == 0x80 else 8
        return _Length(int.from_bytes(_take(body, at + 1, size), "big"), at + 1 + size)
    raise BAD_FORMAT


def _take(body: memoryview, at: int, size: int) -> memoryview:
    if at + size > len(body):
        raise BAD_FORMAT
    return body[at : at + size]


def _unpack(packed: memoryview, size: int) -> bytes:
    """LZF data that must give exactly `size` bytes; the size is checked before memory is taken for it."""
    if size > VALUE_BYTES_MAX:
        raise TOO_LARGE
    try:
        value = lzf.decompress(bytes(packed), size)
    except ValueError:
        value = None
    if value is None or len(value) != size or not size:
        raise BAD_FORMAT
    return bytes(value)
