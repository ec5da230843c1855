"""One batch of format 1 as bytes, frozen: what `format1` finds in the segments of such a directory.

Promise: None for anything that is not, to the last byte, what format 1 wrote.
Not here: where frames lie and how they follow each other (`format1`).
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from xxhash import xxh3_128_digest

SECTOR, HEADER_BYTES, TAG_BYTES = 512, 128, 16
BODY_BYTES_MAX = 1 << 30
MASKED = 0x01  # the body is stored xor `mask`, because it holds a run of zeros as long as a sector

_HEADER = struct.Struct("<4sHBBQIIQQQQQQI16s16s16sI")
_ZERO_SECTOR = bytes(SECTOR)


class Header(NamedTuple):
    magic: bytes
    version: int
    kind: int
    flags: int
    first: int
    entries: int
    body_bytes: int
    term: int
    timestamp_ms: int
    committed: int
    seed: int
    durable: int
    mask: int
    key_id: int
    nonce: bytes
    prev_tag: bytes
    tag: bytes
    crc: int

    @property
    def frame_bytes(self) -> int:
        return (HEADER_BYTES + self.body_bytes) // SECTOR * SECTOR + SECTOR


def read_header(raw: bytes, salt: int) -> Header | None:
    if len(raw) < HEADER_BYTES:
        return None
    header = Header._make(_HEADER.unpack(raw))
    return header if header.magic == b"VxB\xa7" and header.crc == crc32(raw[:-4], salt) else None


def read_body(raw: bytes, header: Header, rest: bytes) -> bytes | None:
    size = header.body_bytes
    if not 0 < size <= BODY_BYTES_MAX or rest[size:] != b"\xa5" * (len(rest) - size):
        return None
    stored = rest[:size]
    if xxh3_128_digest(raw[: HEADER_BYTES - TAG_BYTES - 4] + stored) != header.tag:
        return None
    if not header.flags & MASKED:
        return stored
    pattern = (header.mask.to_bytes(8, "little") * (size // 8 + 1))[:size]
    return (int.from_bytes(stored, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


def has_zero_sector(frame: bytes) -> bool:
    return any(frame[at : at + SECTOR] == _ZERO_SECTOR for at in range(0, len(frame), SECTOR))
