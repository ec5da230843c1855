"""A snapshot on its way from one node to another: one stream of bytes, sealed again with the receiver's keys.

    record: kind (1), bytes of the payload (4), CRC of both (4), digest of both and the payload (16), payload
Records are the chunks of the snapshot as msgpack; the last one (kind 0) has their number, the digest of all of them and
the summary. The stream depends on the snapshot alone, so a receiver says from which byte on it wants more, and any
connection may go on there. Pieces of it may be cut anywhere; whoever carries them has a checksum of its own.
Promise: a Received is a whole snapshot, durable under a temporary name, and every byte of it is the sender's; nothing
is current before `Store.install`. What comes from outside is never believed: it raises Garbled, and the stream is over.
Units: offsets and sizes in bytes of the stream.
Not here: who sends to whom and how fast (`engine.replication`, `peers`); what the chunks mean.
Source: Raft (Ongaro, 2014), section 5.1 and figure 5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from zlib import crc32

import msgpack
from xxhash import xxh3_128, xxh3_128_digest

from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import DiskFull, IoFailed, StorageError
from vaylix_resp.storage.manifest import SnapshotInfo
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.snapshot import CHUNK_BYTES_MAX, END, SnapshotReader, SnapshotWriter, received_path

_HEAD = Struct("<BII16s")
_KIND_AND_SIZE = Struct("<BI")
PIECE_BYTES = 1 << 20


class Garbled(StorageError):
    """What came is not the stream that was announced. The transfer begins anew, from another snapshot perhaps."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a sender says first. `digest` is that of its own file, a name for this one snapshot; `size` that file's."""

    sequence: int
    term: int
    timestamp_ms: int
    digest: bytes
    size: int

    @classmethod
    def of(cls, info: SnapshotInfo) -> Offer:
        return cls(info.sequence, info.term, info.timestamp_ms, bytes.fromhex(info.digest), info.bytes)

    def tag(self) -> bytes:
        """What the receiver's log will name as the predecessor of its first batch: no batch that it has seen itself."""
        return xxh3_128_digest(b"vaylix installed snapshot %d %d " % (self.sequence, self.term) + self.digest)


@dataclass(frozen=True, slots=True)
class Received:
    """A whole snapshot under a temporary name; `info` is that of the file here, as the manifest will have it."""

    info: SnapshotInfo
    path: str
    summary: object


def send(reader: SnapshotReader, offset: int = 0, size: int = PIECE_BYTES) -> Iterator[tuple[int, bytes]]:
    """The stream from `offset` on as (offset, bytes), in order; all but the last of `size`. For a thread.

    What lies before `offset` is read and checked, but not handed out. The caller keeps the file from being deleted
    meanwhile. Raises Corrupt if it is damaged: then the receiver never gets a last record.
    """
    position, waiting = 0, bytearray()
    for record in _records(reader):
        waiting += record[max(0, offset - position) :]
        position += len(record)
        while len(waiting) >= size:
            yield position - len(waiting), bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield position - len(waiting), bytes(waiting)


def _records(reader: SnapshotReader) -> Iterator[bytes]:
    number, digests = 0, xxh3_128()
    for kind, payload in reader.packed():
        head = _head(kind, payload)
        digests.update(head)
        number += 1
        yield head + payload
    end = msgpack.packb([number, digests.digest(), reader.summary], use_bin_type=True)
    yield _head(END, end) + end


def _head(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEAD.pack(kind, size, crc32(_KIND_AND_SIZE.pack(kind, size)), _digest(kind, payload))


def _digest(kind: int, payload: bytes) -> bytes:
    hasher = xxh3_128(_KIND_AND_SIZE.pack(kind, len(payload)))
    hasher.update(payload)
    return hasher.digest()


class SnapshotReceiver:
    """Takes the stream of one offer. After an error call abort(); after Received there is no more to do.

    DiskFull: what cannot fit is not begun. It would fill the disk for others as well, and each attempt anew."""

    def __init__(
        self, disk: Disk, root: str, store_id: bytes, keys: Keys, offer: Offer, *,
        throttle: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self.offer, self.path = offer, received_path(root, offer.sequence)
        _check_room(disk, root, offer.size)
        self.offset = 0  # the next byte that is wanted
        self._waiting = bytearray()
        self._number, self._digests = 0, xxh3_128()
        self._writer = SnapshotWriter(
            disk, self.path, keys, store_id=store_id, sequence=offer.sequence, tag=offer.tag(), term=offer.term,
            timestamp_ms=offer.timestamp_ms, throttle=throttle,
        )  # fmt: skip

    def write(self, offset: int, data: bytes) -> Received | None:
        """What comes next; bytes that are here already, or that others should come before, are passed over.

        Raises Garbled, and IoFailed when the disk fails.
        """
        if not offset <= self.offset < offset + len(data):
            return None
        self._waiting += memoryview(data)[self.offset - offset :]
        self.offset = offset + len(data)
        while len(self._waiting) >= _HEAD.size:
            kind, size, crc, digest = _HEAD.unpack_from(self._waiting)
            # Before anything is gathered for it: a wrong size would wait for a record that never comes to its end.
            if crc != crc32(_KIND_AND_SIZE.pack(kind, size)) or size > CHUNK_BYTES_MAX:
                raise self._garbled(f"the head of record {self._number}, of at most {CHUNK_BYTES_MAX} bytes")
            end = _HEAD.size + size
            if len(self._waiting) < end:
                break
            with memoryview(self._waiting) as view:
                head, payload = bytes(view[: _HEAD.size]), bytes(view[_HEAD.size : end])
            del self._waiting[:end]
            if digest != _digest(kind, payload):
                raise self._garbled(f"record {self._number} with a right checksum")
            if kind == END:
                return self._finish(payload)
            self._digests.update(head)
            self._number += 1
            self._writer.add_packed(payload, kind)
        return None

    def _finish(self, payload: bytes) -> Received:
        try:
            found = msgpack.unpackb(payload, raw=False, strict_map_key=False)
        except (ValueError, TypeError, msgpack.UnpackException) as cause:
            raise self._garbled(f"an end record ({cause})") from cause
        if not isinstance(found, list) or found[:2] != [self._number, self._digests.digest()] or len(found) != 3:
            raise self._garbled(f"an end record for {self._number} records and their digest")
        if self._waiting:
            raise self._garbled("the end of the stream behind the end record")
        return Received(self._writer.finish(found[2]), self.path, found[2])

    def abort(self) -> None:
        """Give the room back. Raises IoFailed when the disk does not want to; the next start removes the file then."""
        self._writer.abort()

    def _garbled(self, expected: str) -> Garbled:
        return Garbled(f"the snapshot of sequence {self.offer.sequence} from another node: expected {expected}")


def _check_room(disk: Disk, root: str, size: int) -> None:
    """Raises DiskFull and IoFailed."""
    try:
        free = disk.free_bytes(root)
    except OSError as cause:
        raise IoFailed(root, cause) from cause
    if free < size:
        raise DiskFull(f"{root}: it takes {size} bytes, and {free} are free; to continue: make room there")
