"""One frame as bytes: a batch, or a hard state (term and vote), as the log holds it.

A frame is a header of 128 bytes, the body, and 1 to 512 pad bytes up to the next sector. A write carries one frame or a
group of them, one behind the other; the fdatasync behind it covers them all.
Promise: every byte of a frame is covered (header by a CRC, body by a tag over header and body, pad by comparison);
no sector of a frame is all zero and its last byte is not zero, so zeros on disk always mean "never written".
In a sealed segment the tag is that of AES-GCM, with the header in front of it as associated data. The header names the
tag of the frame before, so a batch cannot be changed, dropped, moved or replaced without the key.
Each header also says how far its file was durable when it was written (`synced`). So a group needs no frame of its own
around it: of two frames in one write neither claims the other, and the next write claims both. Whatever a crash leaves
of a group, its whole frames up to the first torn one are kept (nobody was told of any of them) and the rest is cut.
Units: sizes and offsets in bytes; sequences from 1, 0 is "before the first".
Not here: what the body means (of a hard state: `hard_state`); where frames lie in a file (`segment`); keys (`sealing`).
Source: Raft (Ongaro, 2014), figure 3.1: log entries, currentTerm and votedFor are what has to be durable.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from xxhash import xxh3_64_intdigest, xxh3_128

from vaylix_resp.limits import BATCH_BODY_BYTES_MAX
from vaylix_resp.storage.sealing import TAG_BYTES, Cipher

SECTOR = 512  # the smallest unit that disks write whole; no two frames share one
HEADER_BYTES = 128
MAGIC = b"VxB\xa7"
FORMAT_VERSION = 2
# Kinds. Entries, no-ops and membership changes are batches: they take sequences, and their body is operations.
ENTRIES = 1
HARD_STATE = 2  # term and vote; takes no sequence: `first` is that of the next batch, `entries` is 0
NOOP = 3  # the first batch of a term
MEMBERS = 4  # one change of the membership
KINDS = {ENTRIES: "entries", HARD_STATE: "hard state", NOOP: "no-op", MEMBERS: "members"}  # for people
MASKED = 0x01  # the body is stored xor `mask`, because it holds a run of zeros as long as a sector
SEALED = 0x02  # with the data key of the segment, whose fingerprint is in `key_id`; `number` is the nonce
GENESIS_TAG = bytes(TAG_BYTES)  # what the first batch of a log names as its predecessor

# Fields that the tag covers, then the tag; the CRC of all before it comes last.
_FIELDS = struct.Struct("<4sHBBQIIQQQQQQIQQ16s")
_HEADER = struct.Struct("<4sHBBQIIQQQQQQIQQ16s16sI")
_CRC = struct.Struct("<I")
_ZERO_SECTOR = bytes(SECTOR)
_FIRST_SECTOR_END = SECTOR - HEADER_BYTES  # counted in the body
# A pad byte has half of its bits set, so that no single flip makes the last byte of a frame look unwritten.
_PADS = tuple(b"\xa5" * (SECTOR - used % SECTOR) for used in range(SECTOR))
assert _HEADER.size == HEADER_BYTES and _FIELDS.size == HEADER_BYTES - TAG_BYTES - 4
assert all(_PADS), "a frame always ends in pad"


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries first .. first+count-1, as one fsync made them durable."""

    first: int
    count: int
    term: int
    timestamp_ms: int
    committed: int
    seed: int
    body: bytes
    tag: bytes = b""  # of its frame, when it was read from one
    kind: int = ENTRIES  # or NOOP, MEMBERS

    @property
    def last(self) -> int:
        return self.first + self.count - 1


class Header(NamedTuple):
    """The fixed part of a frame, as read. `durable`: the highest sequence that had been fsynced before this write;
    `synced`: up to where the file had been (0: an older program wrote it and did not say)."""

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
    number: int
    synced: int
    prev_tag: bytes
    tag: bytes
    crc: int

    @property
    def last(self) -> int:
        return self.first + self.entries - 1

    @property
    def frame_bytes(self) -> int:
        return frame_bytes(self.body_bytes)


def frame_bytes(body_bytes: int) -> int:
    """Header, body and at least one pad byte, in whole sectors."""
    return (HEADER_BYTES + body_bytes) // SECTOR * SECTOR + SECTOR


def store_salt(store_id: bytes) -> int:
    """Where the header CRC starts. A client cannot know it, so no value it stores can pass for a frame."""
    return crc32(store_id)


def encode(
    salt: int,
    prev_tag: bytes,
    durable: int,
    first: int,
    count: int,
    term: int,
    timestamp_ms: int,
    committed: int,
    seed: int,
    body: bytes,
    cipher: Cipher | None = None,
    number: int = 0,
    kind: int = ENTRIES,
    synced: int = 0,
) -> tuple[bytes, bytes]:
    """The frame in one piece, and its tag. `number`: from 1, another one for each call with this cipher. Hot."""
    size = len(body)
    assert 0 < size <= BATCH_BODY_BYTES_MAX and body[0], (size, body[:1])
    if cipher is not None:
        assert number > 0, number
        fields = _FIELDS.pack(
            MAGIC, FORMAT_VERSION, kind, SEALED, first, count, size, term, timestamp_ms, committed, seed, durable,
            0, cipher.fingerprint, number, synced, prev_tag,
        )  # fmt: skip
        sealed = memoryview(cipher.seal(number, body, fields))  # a sector of it is all zero once in 2^4096
        tag, stored = bytes(sealed[size:]), sealed[:size]
    else:
        flags = mask = 0
        # A sector of the file is all zero only if its first byte is; looking at those alone first saves 2 us at 6 KiB.
        if 0 in body[_FIRST_SECTOR_END::SECTOR] and _ZERO_SECTOR in body:
            flags, mask, body = MASKED, *_mask(body)
        fields = _FIELDS.pack(
            MAGIC, FORMAT_VERSION, kind, flags, first, count, size, term, timestamp_ms, committed, seed, durable,
            mask, 0, 0, synced, prev_tag,
        )  # fmt: skip
        hasher = xxh3_128(fields)
        hasher.update(body)
        tag, stored = hasher.digest(), memoryview(body)
    head = fields + tag
    pad = _PADS[(HEADER_BYTES + size) % SECTOR]
    return b"".join((head, _CRC.pack(crc32(head, salt)), stored, pad)), tag


def _mask(body: bytes) -> tuple[int, bytes]:
    """A mask that leaves no run of zeros. It is the body's own hash, so nobody can prepare a body against it."""
    for attempt in range(1 << 32):
        mask = xxh3_64_intdigest(body, attempt)
        masked = _xor(body, mask)
        if masked[0] and _ZERO_SECTOR not in masked:
            return mask, masked
    raise AssertionError("no mask in 2^32")


def _xor(body: bytes, mask: int) -> bytes:
    size = len(body)
    pattern = (mask.to_bytes(8, "little") * (size // 8 + 1))[:size]
    return (int.from_bytes(body, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


def read_header(raw: bytes, salt: int) -> Header | None:
    """None unless all 128 bytes are as they were written."""
    header = Header._make(_HEADER.unpack(raw))
    if header.magic != MAGIC or header.crc != crc32(raw[:-4], salt):
        return None
    return header


def unknown_format(header: Header, cipher: Cipher | None) -> str | None:
    """What a header that is whole should say and does not, in a segment with this cipher; None if nothing."""
    if header.version != FORMAT_VERSION:
        return f"batch format version {FORMAT_VERSION}, this one is {header.version}"
    if header.kind not in KINDS:
        return f"batch kind {ENTRIES} to {MEMBERS}, this one is {header.kind}"
    if cipher is None and (header.flags & ~MASKED or header.key_id or header.number):
        return "a batch in the clear, as this segment is"
    if cipher is not None and (header.flags != SEALED or header.key_id != cipher.fingerprint or not header.number):
        return "a batch sealed with the key of this segment"
    takes_sequences = header.kind != HARD_STATE
    if not 0 < header.body_bytes <= BATCH_BODY_BYTES_MAX or takes_sequences != (header.entries > 0) or not header.first:
        return f"1 to {BATCH_BODY_BYTES_MAX} body bytes and at least one entry"
    return None


def read_body(raw_header: bytes, header: Header, rest: bytes, cipher: Cipher | None) -> bytes | None:
    """The plain body from `rest` (all of the frame behind the header), or None if a byte of it is wrong."""
    size = header.body_bytes
    if rest[size:] != _PADS[(HEADER_BYTES + size) % SECTOR]:
        return None
    stored, fields = rest[:size], raw_header[: _FIELDS.size]
    if cipher is not None:
        return cipher.open(header.number, stored + header.tag, fields)
    hasher = xxh3_128(fields)
    hasher.update(stored)
    if hasher.digest() != header.tag:
        return None
    return _xor(stored, header.mask) if header.flags & MASKED else stored


def has_zero_sector(frame: bytes) -> bool:
    """Whether a sector of these bytes (starting at a sector) is all zero: it was never written."""
    at = frame.find(_ZERO_SECTOR)
    while at >= 0:
        if at % SECTOR == 0:
            return True
        # The run may go on past the next boundary; search from there rather than from the next byte.
        at = frame.find(_ZERO_SECTOR, at + SECTOR - at % SECTOR)
    return False
