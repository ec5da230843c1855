"""A value as DUMP gives it and RESTORE takes it, exchangeable with redis-server both ways.

    payload    type 0, string, RDB version (2 bytes, little-endian), CRC-64 of all before it (8 bytes, little-endian)

Promise: the version and the checksum are looked at before anything else, and memory is taken for a value only after its
size has been compared with the limit. The checksum runs in C.
Not here: the string (`rdb_strings`).
"""

from __future__ import annotations

from typing import Final

from ..errors import error
from ..limits import VALUE_BYTES_MAX
from .rdb_reader import REDIS_VERSION_MAX, VALKEY_VERSION, crc64
from .rdb_shapes import STRING_TYPE, TYPES
from .rdb_strings import Malformed, Short, TooLong, read_string, string_size, write_string

WRITTEN_VERSION: Final = 10  # of Redis 7.0: the oldest whose RESTORE takes it, and strings have not changed since
FOOTER_BYTES: Final = 10

BAD_PAYLOAD: Final = error("DUMP payload version or checksum are wrong")
BAD_FORMAT: Final = error("Bad data format")
TOO_LARGE: Final = error("string exceeds maximum allowed size (proto-max-bulk-len)")


def serialize(value: bytes) -> bytes:
    body = b"".join((bytes((STRING_TYPE,)), write_string(value), WRITTEN_VERSION.to_bytes(2, "little")))
    return body + crc64(body).to_bytes(8, "little")


def stated_size(payload: bytes) -> int:
    """How long the string in a payload claims to be; 0 where it claims nothing."""
    try:
        return string_size(payload, 1)
    except (Malformed, Short):
        return 0


def deserialize(payload: bytes) -> bytes:
    """The string in a payload; CommandError with Redis's words if it is damaged, too new or none."""
    end = len(payload) - FOOTER_BYTES
    if end < 0:
        raise BAD_PAYLOAD
    version = int.from_bytes(payload[end : end + 2], "little")
    if version > REDIS_VERSION_MAX and version != VALKEY_VERSION:
        raise BAD_PAYLOAD
    if crc64(memoryview(payload)[:-8]) != int.from_bytes(payload[-8:], "little"):
        raise BAD_PAYLOAD
    if not end:
        raise BAD_FORMAT
    if payload[0] != STRING_TYPE:
        kind = TYPES.get(payload[0])
        raise error(f"Bad data format: this is a {kind.kind}, and this server keeps strings") if kind else BAD_FORMAT
    try:
        value, found = read_string(payload, 1, VALUE_BYTES_MAX)
    except TooLong as long:
        raise TOO_LARGE if long.end == end else BAD_FORMAT from None
    except (Malformed, Short):
        raise BAD_FORMAT from None
    if found != end:  # before the footer, or into it
        raise BAD_FORMAT
    return value
