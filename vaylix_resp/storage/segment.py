"""One file of the log: its name, its header, and the frames in it in order.

A segment is a header of 4096 bytes and then frames, each at the start of a sector. The active one is longer than what
is written in it: the rest is zeros that were written ahead, because syncing into blocks that exist costs half of what
syncing into new ones does (0.27 ms against 0.53 to 0.62 ms, measured here on ext4).
Inside a segment each frame names the one before it. From segment to segment the chain goes from batch to batch: hard
states behind the last batch of a segment are replaced by the one with which the next segment begins.
Promise: what comes out of a scan is checked in itself and against what came before it.
Not here: what to do about damage (`damage`, `recovery`); when to open the next segment (`wal`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from xxhash import xxh3_128_digest

from vaylix_resp.storage.batch import (
    GENESIS_TAG,
    HARD_STATE,
    HEADER_BYTES,
    Batch,
    Header,
    read_body,
    read_header,
    unknown_format,
)
from vaylix_resp.storage.disk import Disk, File
from vaylix_resp.storage.errors import Corrupt, Unreadable, version_advice
from vaylix_resp.storage.hard_state import HardState, read_hard_state
from vaylix_resp.storage.sealing import KEY_ROOM, NO_KEY, Cipher, Keys, open_cipher

SEGMENT_HEADER_BYTES = 4096  # a page, so that frames never share one with it
SEGMENT_BYTES = 64 << 20  # default size; sealing, archiving and pruning happen in pieces of this
FIRST_SEGMENT_BYTES = 4 << 20  # made on the spot at start or when no spare is ready: 5 ms here against 75 ms for 64 MiB
FILL_BYTES = 256 << 10  # zeros are written and synced in pieces of this: a foreground fsync waits for one at most
READ_BYTES = 1 << 20

FORMAT_VERSION = 2
SEALED = 1  # flag: the batches are sealed with the data key that lies wrapped in the header
HARD_STATE_FIRST = 2  # flag: a hard state was the first frame before the segment got its name
_MAGIC = b"VxWALseg"
# What the data key is bound to: magic, version, flags, store id, first sequence, previous tag, created ms
_BOUND = struct.Struct("<8sHH4x16sQ16sQ")
_FILL = b"\xa5" * (SEGMENT_HEADER_BYTES - _BOUND.size - KEY_ROOM.size - 16)
_ACTIVE = re.compile(r"active-(\d{20})\.wal")
_SEALED = re.compile(r"(\d{20})-(\d{20})\.wal")


def active_name(first: int) -> str:
    return f"active-{first:020d}.wal"


def sealed_name(first: int, last: int) -> str:
    return f"{first:020d}-{last:020d}.wal"


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What a file name says. `last` is None for an active segment.

    `clipped`: the log has been cut behind `last`, which is less than the file still holds (`listing`).
    """

    name: str
    first: int
    last: int | None
    clipped: bool = False


def parse_name(name: str) -> SegmentName | None:
    if match := _ACTIVE.fullmatch(name):
        return SegmentName(name, int(match[1]), None)
    if match := _SEALED.fullmatch(name):
        return SegmentName(name, int(match[1]), int(match[2]))
    return None


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """`key_id` of the keyring, 0 in the clear; `wrapped` is the data key under it."""

    store_id: bytes
    first: int
    prev_tag: bytes
    created_ms: int
    key_id: int = 0
    wrapped: bytes = NO_KEY
    hard_state_first: bool = False

    def bound(self, *, sealed: bool = True) -> bytes:
        """The part of the header that the data key is wrapped for."""
        flags = (SEALED if sealed else 0) | (HARD_STATE_FIRST if self.hard_state_first else 0)
        return _BOUND.pack(_MAGIC, FORMAT_VERSION, flags, self.store_id, self.first, self.prev_tag, self.created_ms)


def encode_segment_header(header: SegmentHeader) -> bytes:
    raw = header.bound(sealed=header.key_id > 0) + KEY_ROOM.pack(header.key_id, header.wrapped) + _FILL
    return raw + xxh3_128_digest(raw)


def read_segment_header(raw: bytes, path: str, store_id: bytes, first: int) -> SegmentHeader:
    """Corrupt unless every byte is right and it belongs to this store and under this name. Needs no key."""
    if len(raw) < SEGMENT_HEADER_BYTES:
        expected = f"a segment header of {SEGMENT_HEADER_BYTES} bytes, the file ends here"
        raise Corrupt(path, len(raw), expected, sequence=first)
    magic, version, flags, store, begins, prev_tag, created_ms = _BOUND.unpack_from(raw)
    key_id, wrapped = KEY_ROOM.unpack_from(raw, _BOUND.size)
    if magic != _MAGIC:
        raise Corrupt(path, 0, "the mark of a WAL segment", sequence=first)
    if raw[-16:] != xxh3_128_digest(raw[:-16]):
        raise Corrupt(path, 0, "a segment header with a right checksum", sequence=first)
    if version != FORMAT_VERSION:
        expected = f"segment format version {FORMAT_VERSION}, this one is {version}"
        raise Corrupt(path, 8, expected, sequence=first, advice=version_advice(version, FORMAT_VERSION))
    if flags & ~HARD_STATE_FIRST != (SEALED if key_id else 0) or (not key_id and wrapped != NO_KEY):
        raise Corrupt(path, 10, "a segment that is sealed and has a key, or neither", sequence=first)
    if store != store_id:
        raise Corrupt(path, 16, f"store id {store_id.hex()}, this file belongs to {store.hex()}", sequence=first)
    if begins != first:
        raise Corrupt(path, 32, f"first sequence {first} as in the file name, the header says {begins}", sequence=first)
    return SegmentHeader(store, begins, prev_tag, created_ms, key_id, wrapped, flags & HARD_STATE_FIRST > 0)


def segment_cipher(header: SegmentHeader, path: str, keys: Keys) -> Cipher | None:
    """With what its batches are sealed; None: they are in the clear, and may be. Raises Refused."""
    return open_cipher(keys, header.key_id, header.wrapped, header.bound(), path, header.first)


def with_new_key(header: SegmentHeader, keys: Keys) -> tuple[SegmentHeader, Cipher | None]:
    """For a segment that is about to be written."""
    key = keys.new(header.bound())
    if key is None:
        return header, None
    return replace(header, key_id=key.key_id, wrapped=key.wrapped), key.cipher


class Chain:
    """Where the log stands: what the next batch has to follow. One object goes along a whole scan.

    `tag` is that of the last batch, `end_tag` that of the last frame of the segment. `committed`: the highest sequence
    that any frame so far has called committed; it may lie behind `last`.
    """

    __slots__ = ("committed", "end_tag", "hard_state", "last", "tag", "term", "timestamp_ms")

    def __init__(self, last: int = 0, tag: bytes = GENESIS_TAG, term: int = 0, timestamp_ms: int = 0) -> None:
        self.last, self.tag, self.term, self.timestamp_ms = last, tag, term, timestamp_ms
        self.end_tag, self.committed = tag, 0
        self.hard_state: HardState | None = None

    def copy(self) -> Chain:
        other = Chain()
        other.move_to(self)
        return other

    def move_to(self, other: Chain) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def follow(self, header: Header, path: str, offset: int) -> None:
        """Step over a frame that is whole in itself; Corrupt if it does not belong here."""
        first = header.first
        expected = None
        if first != self.last + 1:
            expected = f"sequence {self.last + 1} next, found {first}"
        elif header.prev_tag != self.end_tag:
            expected = "a batch that follows the one before it, this one names another predecessor"
        elif header.term < self.term:
            expected = f"term {self.term} or later, found {header.term}"
        elif header.timestamp_ms < self.timestamp_ms:
            expected = f"a timestamp of {self.timestamp_ms} ms or later, found {header.timestamp_ms}"
        elif header.durable >= first or header.synced > offset:
            expected = f"a batch written before it was durable, found {header.durable} and byte {header.synced}"
        if expected:
            raise Corrupt(path, offset, expected, sequence=self.last + 1)
        self.end_tag = header.tag
        if header.committed > self.committed:
            self.committed = header.committed
        if header.kind != HARD_STATE:
            self.last = header.last
            self.tag, self.term, self.timestamp_ms = header.tag, header.term, header.timestamp_ms

    def follow_hard_state(self, term: int, body: bytes, path: str, offset: int) -> HardState:
        """The body of a frame that `follow` has stepped over."""
        found, known = read_hard_state(term, body), self.hard_state
        if found is None:
            raise Corrupt(path, offset, "term and vote as this version writes them", sequence=self.last + 1)
        if known is not None and not found.may_follow(known):
            expected = f"term and vote that may follow term {known.term}, found term {term}"
            raise Corrupt(path, offset, expected, sequence=self.last + 1)
        self.hard_state = found
        return found


class Reader:
    """Bytes of one file in order, fetched in big pieces. Beyond the end they are simply missing.

    Of a segment also what `Scan` has to know of it: the sequence at which it is `clipped`, and whether its first frame
    must be a hard state.
    """

    def __init__(self, file: File, clipped: int | None = None, *, hard_state_first: bool = False) -> None:
        self.file, self.path, self.size = file, file.path, file.size()
        self.clipped, self.hard_state_first = clipped, hard_state_first
        self._from, self._data = 0, b""

    def again(self) -> Reader:
        """The file as it is now."""
        return Reader(self.file, self.clipped, hard_state_first=self.hard_state_first)

    def at(self, offset: int, size: int) -> bytes:
        start = offset - self._from
        if start < 0 or start + size > len(self._data):
            try:
                self._data = self.file.pread(max(size, READ_BYTES), offset)
            except OSError as cause:
                raise Unreadable(self.path, offset, cause) from cause
            self._from, start = offset, 0
        return self._data[start : start + size]


class Scan:
    """The good batches of one segment, in order; ends at the first place where there is none, or where it is clipped.

    Hard states go to the chain and do not come out. Afterwards `offset` is the place. Nothing is said there about why
    (`damage` is asked then).
    """

    def __init__(self, reader: Reader, chain: Chain, salt: int, cipher: Cipher | None) -> None:
        self.reader, self.chain, self.salt, self.cipher = reader, chain, salt, cipher
        self.offset = SEGMENT_HEADER_BYTES
        self.synced = SEGMENT_HEADER_BYTES  # up to here the file was durable when the last frame was written
        self.hard_states: list[tuple[int, HardState]] = []  # with the offset of each

    def __iter__(self) -> Iterator[Batch]:
        at, path, salt, chain, cipher = self.reader.at, self.reader.path, self.salt, self.chain, self.cipher
        clipped = self.reader.clipped
        # It was durable before the segment had its name, so its absence is no torn write.
        hard_state_due = self.reader.hard_state_first and self.offset == SEGMENT_HEADER_BYTES
        while True:
            offset = self.offset
            raw = at(offset, HEADER_BYTES)
            if len(raw) < HEADER_BYTES or (header := read_header(raw, salt)) is None:
                break
            if problem := unknown_format(header, cipher):
                raise Corrupt(path, offset, problem, sequence=header.first)
            if clipped is not None and header.first > clipped:
                break
            rest_bytes = header.frame_bytes - HEADER_BYTES
            rest = at(offset + HEADER_BYTES, rest_bytes)
            if len(rest) < rest_bytes or (body := read_body(raw, header, rest, cipher)) is None:
                break
            chain.follow(header, path, offset)
            self.synced = header.synced or SEGMENT_HEADER_BYTES
            self.offset = offset + HEADER_BYTES + rest_bytes
            if header.kind == HARD_STATE:
                self.hard_states.append((offset, chain.follow_hard_state(header.term, body, path, offset)))
                hard_state_due = False
                continue
            if hard_state_due:
                break
            yield Batch(
                header.first, header.entries, header.term, header.timestamp_ms, header.committed, header.seed, body,
                header.tag, header.kind,
            )  # fmt: skip
        if hard_state_due:
            expected = "the term and vote with which this segment began"
            raise Corrupt(path, SEGMENT_HEADER_BYTES, expected, sequence=chain.last + 1)


def open_segment(
    disk: Disk, directory: str, name: SegmentName, store_id: bytes, keys: Keys
) -> tuple[Reader, SegmentHeader, Cipher | None]:
    """A segment to be read, its header checked and its key opened. The caller closes `reader.file`."""
    path = f"{directory}/{name.name}"
    try:
        reader = Reader(disk.open(path))
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause
    try:
        header = read_segment_header(reader.at(0, SEGMENT_HEADER_BYTES), path, store_id, name.first)
        reader.clipped, reader.hard_state_first = name.last if name.clipped else None, header.hard_state_first
        return reader, header, segment_cipher(header, path, keys)
    except BaseException:
        reader.file.close()
        raise


def first_batch_header(reader: Reader, salt: int) -> Header | None:
    """What stands before the first body that has sequences, whether or not the body is whole; None: nothing."""
    offset = SEGMENT_HEADER_BYTES
    while len(raw := reader.at(offset, HEADER_BYTES)) == HEADER_BYTES:
        header = read_header(raw, salt)
        if header is None or header.kind != HARD_STATE:
            return header
        offset += header.frame_bytes
    return None


def follow_segment(chain: Chain, header: SegmentHeader, path: str) -> None:
    """Step into a segment; it has to begin where the one before it ended."""
    if header.first != chain.last + 1:
        raise Corrupt(path, 32, f"sequence {chain.last + 1} next, this segment begins with {header.first}",
                      sequence=chain.last + 1)  # fmt: skip
    if header.prev_tag != chain.tag:
        raise Corrupt(path, 40, "a segment that follows the one before it, this one names another predecessor",
                      sequence=header.first)  # fmt: skip
    chain.end_tag = chain.tag


def check_sealed_end(scan: Scan, name: SegmentName) -> None:
    """A sealed segment is whole batches up to the end of the file and up to the sequence in its name."""
    last = scan.chain.last
    if scan.offset != scan.reader.size and not name.clipped:
        raise Corrupt(scan.reader.path, scan.offset, "a whole batch with right checksums", sequence=last + 1)
    if last != name.last:
        expected = f"batches up to sequence {name.last} as in the file name, they end at {last}"
        raise Corrupt(scan.reader.path, scan.offset, expected, sequence=last + 1)


def create_zeroed(disk: Disk, path: str, size: int, pause: Callable[[], None] | None = None) -> File:
    """A file of synced zeros. ENOSPC shows here; the caller removes what is left then.

    `pause` is called after each piece: a background caller sleeps in it, to leave the disk to others. Measured with a
    foreground that syncs 6 KiB batches (alone: median 0.24 ms, 90 % under 0.4 to 0.5): unpaced 0.31 and 2.3 ms, worst
    30; pieces without sleep 0.51 and 1.2; a sleep of 2 ms 0.24 and 1.0 (64 MiB in 1 s); of 10 ms 0.24 and 0.85 (3.3 s).
    """
    file = disk.create(path)
    try:
        file.allocate(size)
        piece = bytes(min(size, FILL_BYTES))
        for offset in range(0, size, len(piece)):
            file.pwrite(piece[: size - offset], offset)
            if pause:
                file.fdatasync()
                pause()
        file.fsync()
    except BaseException:
        file.close()
        raise
    return file
