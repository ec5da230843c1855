"""Lengths and strings as RDB files and DUMP payloads have them.

    length     00 and 6 bits, 01 and 14 bits, 0x80 and 32 bits, 0x81 and 64 bits; big-endian
    string     length and bytes, or one of
    encoded    11 and 0, 1, 2 (an integer of 8, 16, 32 bits, little-endian) or 3 (LZF: compressed length, length, data)

A reading function takes a buffer and a place in it and returns what it read and where that ends. The buffer may end
too early: then it raises Short and has changed nothing, so the caller tries again with more.
Promise: memory is taken for a string only after its size has been compared with the limit.
Units: places and sizes in bytes. Compression runs in C (`lzf`): in Python 64 MiB would stop the server for seconds.
Not here: what stands around a string (`rdb_reader`, `rdb_writer`, `dump_payload`).
Source: `rdbSaveLen`, `rdbSaveRawString` of Redis 7.2, src/rdb.c.
"""

from __future__ import annotations

import re
from typing import Final

import lzf

from ..limits import MIB

COMPRESS_BYTES_MIN: Final = 21
COMPRESS_BYTES_MAX: Final = 4 * MIB  # takes 40 ms; a longer value is written as it is, which every reader takes too

_INTEGER: Final = re.compile(rb"(?:0|-?[1-9][0-9]{0,9})\Z")  # canonical, and no longer than 32 bits can be
_INTEGER_TEXT_MAX: Final = 11
_INTEGER_BYTES: Final = {0xC0: 1, 0xC1: 2, 0xC2: 4}
_LZF: Final = 0xC3


class Short(Exception):
    """The buffer ends before what was to be read; it has to reach to `needed` at least."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class Malformed(Exception):
    """No RDB has this; `expected` says what should have been at `at`."""

    def __init__(self, at: int, expected: str) -> None:
        super().__init__(at, expected)
        self.at, self.expected = at, expected


class TooLong(Exception):
    """A string of `size` bytes, more than the limit; in the buffer it would end at `end`."""

    def __init__(self, size: int, end: int) -> None:
        super().__init__(size, end)
        self.size, self.end = size, end


def read_length(data: bytes, at: int) -> tuple[int, int]:
    """A length, or a number that is written like one; and where it ends."""
    if at >= len(data):
        raise Short(at + 1)
    mark = data[at]
    if mark < 0x40:
        return mark, at + 1
    if mark < 0x80:
        if at + 2 > len(data):
            raise Short(at + 2)
        return (mark & 0x3F) << 8 | data[at + 1], at + 2
    if mark in (0x80, 0x81):
        end = at + (5 if mark == 0x80 else 9)
        if end > len(data):
            raise Short(end)
        return int.from_bytes(data[at + 1 : end], "big"), end
    raise Malformed(at, f"a length, not the byte {mark:#04x}")


def string_extent(data: bytes, at: int) -> tuple[int, int]:
    """Where the bytes of a string begin and end, be they in the buffer or not."""
    if at >= len(data):
        raise Short(at + 1)
    mark = data[at]
    if mark in _INTEGER_BYTES:
        return at + 1, at + 1 + _INTEGER_BYTES[mark]
    if mark == _LZF:
        packed, at = read_length(data, at + 1)
        _, at = read_length(data, at)
        return at, at + packed
    size, at = read_length(data, at)
    return at, at + size


def string_size(data: bytes, at: int) -> int:
    """How long a string is, or claims to be: nothing is unpacked."""
    mark = data[at] if at < len(data) else 0
    if mark in _INTEGER_BYTES:
        return _INTEGER_TEXT_MAX
    if mark == _LZF:
        _, at = read_length(data, at + 1)
    return read_length(data, at)[0]


def read_string(data: bytes, at: int, limit: int) -> tuple[bytes, int]:
    """A string of at most `limit` bytes, and where it ends."""
    mark = data[at] if at < len(data) else 0
    if mark >= 0xC0:
        return _read_encoded(data, at, mark, limit)
    size, start = read_length(data, at)
    end = start + size
    if size > limit:
        raise TooLong(size, end)
    if end > len(data):
        raise Short(end)
    return data[start:end], end


def _read_encoded(data: bytes, at: int, mark: int, limit: int) -> tuple[bytes, int]:
    if mark in _INTEGER_BYTES:
        end = at + 1 + _INTEGER_BYTES[mark]
        if end > len(data):
            raise Short(end)
        return b"%d" % int.from_bytes(data[at + 1 : end], "little", signed=True), end
    if mark != _LZF:
        raise Malformed(at, f"a string, not the byte {mark:#04x}")
    packed, start = read_length(data, at + 1)
    size, start = read_length(data, start)
    end = start + packed
    if max(packed, size) > limit:
        raise TooLong(max(packed, size), end)
    if end > len(data):
        raise Short(end)
    return _unpack(data[start:end], size, start), end


def _unpack(packed: bytes, size: int, at: int) -> bytes:
    """LZF data that must give exactly `size` bytes."""
    try:
        value = lzf.decompress(packed, size) if size else None
    except ValueError:
        value = None
    if value is None or len(value) != size:
        raise Malformed(at, f"LZF data of a string of {size} bytes")
    return bytes(value)


def write_length(size: int) -> bytes:
    """As short as it goes."""
    if size < 1 << 6:
        return bytes((size,))
    if size < 1 << 14:
        return (size | 1 << 14).to_bytes(2, "big")
    if size < 1 << 32:
        return b"\x80" + size.to_bytes(4, "big")
    return b"\x81" + size.to_bytes(8, "big")


def write_string(value: bytes) -> bytes:
    """In the shortest of its forms, as Redis does it."""
    size = len(value)
    if size <= _INTEGER_TEXT_MAX:
        if _INTEGER.match(value):
            number = int(value)
            for mark, width in _INTEGER_BYTES.items():
                if -(1 << (8 * width - 1)) <= number < 1 << (8 * width - 1):
                    return bytes((mark,)) + number.to_bytes(width, "little", signed=True)
    elif COMPRESS_BYTES_MIN <= size <= COMPRESS_BYTES_MAX:
        # Redis gives the compressor four bytes less than the value has; this binding adds one to what it is told.
        packed: bytes | None = lzf.compress(value, size - 5)
        if packed is not None:
            return b"".join((bytes((_LZF,)), write_length(len(packed)), write_length(size), packed))
    return write_length(size) + value
