"""The state at one sequence, in a file.

A header of 256 bytes; chunks, each a head of 32 bytes and a msgpack payload (zlib level 1 if asked); an end record.
Promise: a reader that came to the end has seen every byte right and every chunk in its place; the file appears under
its name only when it is whole and durable, and the manifest names it only then.
Units: sizes in bytes.
Not here: what the chunks mean; when to write one and how fast (`throttle` is the caller's).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgpack
from xxhash import xxh3_128, xxh3_128_digest

from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable
from vaylix_resp.storage.manifest import Manifest, SnapshotInfo, write_manifest
from vaylix_resp.storage.segment import Reader

T = TypeVar("T")

FORMAT_VERSION = 1
HEADER_BYTES = 256
CHUNK_BYTES_MAX = 1 << 30  # a chunk is read as a whole; one value and its packing must fit
WRITE_BYTES = 1 << 20  # gathered before a write
SYNC_BYTES = 8 << 20  # synced so often while writing: one fsync of everything at the end would stall the log's own
DIRECTORY = "snapshots"

_MAGIC = b"VxSNAPSH"
# magic, version, flags, key id, store id, sequence, tag, term, timestamp, room for a wrapped data key
_HEADER = struct.Struct("<8sHHI16sQ16sQQ128s")
_NO_KEY = bytes(128)
_FILL = b"\xa5" * (HEADER_BYTES - _HEADER.size - 16)
# kind, flags, number of the chunk, stored bytes, raw bytes; then the digest over these and the payload
_CHUNK = struct.Struct("<BBxxIII")
_CHUNK_HEAD_BYTES = _CHUNK.size + 16
END = 0  # kind of the last record; the caller's kinds are 1 to 255
_COMPRESSED = 1
_NAME = re.compile(r"snapshot-(\d{20})\.vxs")


def snapshot_name(sequence: int) -> str:
    return f"snapshot-{sequence:020d}.vxs"


def snapshot_path(root: str, sequence: int) -> str:
    return join(root, DIRECTORY, snapshot_name(sequence))


def temporary_path(root: str, sequence: int) -> str:
    return snapshot_path(root, sequence) + ".tmp"


def parse_snapshot_name(name: str) -> int | None:
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


class SnapshotWriter:
    """Writes `path`, a temporary name that a recovery may remove at any time it is not in the manifest."""

    def __init__(
        self, disk: Disk, path: str, *, store_id: bytes, sequence: int, tag: bytes, term: int, timestamp_ms: int,
        compress: bool = False, throttle: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self._disk, self.path, self._compress, self._throttle = disk, path, compress, throttle
        self._place = sequence, tag, term, timestamp_ms
        fields = _HEADER.pack(
            _MAGIC, FORMAT_VERSION, 0, 0, store_id, sequence, tag, term, timestamp_ms, _NO_KEY
        ) + _FILL  # fmt: skip
        head = fields + xxh3_128_digest(fields)
        self._all = xxh3_128(head[-16:])  # over the digests of the header and all chunks
        self._parts, self._gathered = [head], len(head)
        self._written = self._synced = self._chunks = 0
        self._file = self._io(lambda: disk.create(path))

    def add_chunk(self, obj: object, kind: int = 1) -> None:
        """`obj` is anything that msgpack takes; bytes stay bytes. Calls throttle(bytes of this chunk)."""
        assert 0 < kind < 256, kind
        self._add(kind, obj)

    def _add(self, kind: int, obj: object) -> None:
        raw = msgpack.packb(obj, use_bin_type=True)
        stored = zlib.compress(raw, 1) if self._compress and kind != END else raw
        flags = _COMPRESSED if stored is not raw else 0
        assert len(raw) <= CHUNK_BYTES_MAX, len(raw)
        head = _CHUNK.pack(kind, flags, self._chunks, len(stored), len(raw))
        hasher = xxh3_128(head)
        hasher.update(stored)
        digest = hasher.digest()
        self._all.update(digest)
        self._chunks += 1
        self._parts += (head, digest, stored)
        size = _CHUNK_HEAD_BYTES + len(stored)
        self._gathered += size
        if self._gathered >= WRITE_BYTES:
            self._io(self._flush)
        if self._throttle:
            self._throttle(size)

    def _flush(self) -> None:
        self._file.pwrite(b"".join(self._parts), self._written)
        self._written += self._gathered
        self._parts, self._gathered = [], 0
        if self._written - self._synced >= SYNC_BYTES:
            self._file.fdatasync()
            self._synced = self._written

    def finish(self, summary: object = None) -> SnapshotInfo:
        """Write the end record with the caller's summary, sync, close. Not current before publish_snapshot()."""
        self._add(END, [self._chunks, self._all.digest(), summary])
        digest = self._all.hexdigest()
        self._io(self._flush)
        self._io(self._file.fsync)
        self._file.close()
        sequence, tag, term, timestamp_ms = self._place
        return SnapshotInfo(sequence, snapshot_name(sequence), digest, tag.hex(), term, timestamp_ms, self._written)

    def abort(self) -> None:
        """Give the room back; the log goes on as if nothing had been tried."""
        self._file.close()
        self._io(lambda: self._disk.unlink(self.path))

    def _io(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except OSError as cause:
            raise IoFailed(self.path, cause) from cause


class SnapshotReader:
    """Iterates over (kind, object). Whoever comes to the end of it has read an undamaged snapshot."""

    def __init__(self, disk: Disk, path: str, store_id: bytes, info: SnapshotInfo | None = None) -> None:
        """`info`: what the manifest says about it, compared with what is found."""
        self.path, self._info = path, info
        try:
            self._reader = Reader(disk.open(path))
        except FileNotFoundError as cause:
            raise Corrupt(path, 0, "a snapshot that the manifest names, the file is missing") from cause
        except OSError as cause:
            raise Unreadable(path, 0, cause) from cause
        self.summary: object = None
        raw = self._reader.at(0, HEADER_BYTES)
        try:
            self.sequence, self.tag, self.term, self.timestamp_ms = self._check_header(raw, store_id)
        except Corrupt:
            self.close()
            raise
        self._head_digest = raw[-16:]

    def _check_header(self, raw: bytes, store_id: bytes) -> tuple[int, bytes, int, int]:
        path, info = self.path, self._info
        if len(raw) < HEADER_BYTES or raw[-16:] != xxh3_128_digest(raw[:-16]):
            raise Corrupt(path, 0, "a snapshot header with a right checksum")
        magic, version, flags, key_id, store, sequence, tag, term, timestamp_ms, key = _HEADER.unpack_from(raw)
        if magic != _MAGIC:
            raise Corrupt(path, 0, "the mark of a snapshot")
        if version != FORMAT_VERSION:
            advice = "start the version of vaylix that wrote it, or run 'vaylix storage migrate'"
            raise Corrupt(path, 8, f"snapshot format version {FORMAT_VERSION}, this one is {version}", advice=advice)
        if flags or key_id or key != _NO_KEY:
            raise Corrupt(path, 10, "an unsealed snapshot (this one needs a key)")
        if store != store_id:
            raise Corrupt(path, 16, f"store id {store_id.hex()}, this file belongs to {store.hex()}")
        found = (sequence, tag.hex(), term, timestamp_ms, self._reader.size)
        if info and found != (info.sequence, info.tag, info.term, info.timestamp_ms, info.bytes):
            raise Corrupt(path, 32, "the sequence, tag, time and size that the manifest names", sequence=info.sequence)
        return sequence, tag, term, timestamp_ms

    def __iter__(self) -> Iterator[tuple[int, object]]:
        for kind, flags, raw_bytes, offset, stored in self._chunks():
            yield kind, self._unpack(flags, raw_bytes, offset, stored)

    def verify(self) -> None:
        """Every byte, without building the objects."""
        for _ in self._chunks():
            continue

    def _chunks(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """The chunks before the end record, checked; then the end record and the end of the file."""
        at, offset, number = self._reader.at, HEADER_BYTES, 0
        digests = xxh3_128(self._head_digest)
        while True:
            head = at(offset, _CHUNK_HEAD_BYTES)
            if len(head) < _CHUNK_HEAD_BYTES:
                raise self._corrupt(offset, f"chunk {number}, the file ends here")
            kind, flags, index, stored_bytes, raw_bytes = _CHUNK.unpack_from(head)
            stored = at(offset + _CHUNK_HEAD_BYTES, stored_bytes) if stored_bytes <= self._reader.size else b""
            hasher = xxh3_128(head[: _CHUNK.size])
            hasher.update(stored)
            digest = hasher.digest()
            if len(stored) != stored_bytes or digest != head[_CHUNK.size :]:
                raise self._corrupt(offset, f"chunk {number} with a right checksum")
            if index != number or flags & ~_COMPRESSED or raw_bytes > CHUNK_BYTES_MAX:
                raise self._corrupt(offset, f"chunk {number}, found chunk {index}")
            if kind == END:
                self._check_end(offset, number, stored, digests.digest())
                digests.update(digest)
                if self._info and digests.hexdigest() != self._info.digest:
                    raise self._corrupt(offset, f"digest {self._info.digest} as the manifest says")
                return
            digests.update(digest)
            yield kind, flags, raw_bytes, offset, stored
            offset += _CHUNK_HEAD_BYTES + stored_bytes
            number += 1

    def _check_end(self, offset: int, number: int, stored: bytes, all_digest: bytes) -> None:
        record = self._unpack(0, len(stored), offset, stored)
        if not isinstance(record, list) or record[:2] != [number, all_digest]:
            raise self._corrupt(offset, f"an end record for {number} chunks and their digest")
        self.summary = record[2]
        end = offset + _CHUNK_HEAD_BYTES + len(stored)
        if end != self._reader.size:
            raise self._corrupt(end, "the end of the file behind the end record")

    def _unpack(self, flags: int, raw_bytes: int, offset: int, stored: bytes) -> object:
        try:
            raw = zlib.decompressobj().decompress(stored, raw_bytes) if flags & _COMPRESSED else stored
            if len(raw) == raw_bytes:
                return msgpack.unpackb(raw, raw=False, strict_map_key=False)
        except (zlib.error, ValueError, msgpack.UnpackException) as cause:
            raise self._corrupt(offset, f"a chunk that can be unpacked ({cause})") from cause
        raise self._corrupt(offset, f"a chunk of {raw_bytes} bytes")

    def _corrupt(self, offset: int, expected: str) -> Corrupt:
        return Corrupt(self.path, offset, expected, sequence=self.sequence)

    def close(self) -> None:
        self._reader.file.close()


def publish_snapshot(disk: Disk, root: str, manifest: Manifest, info: SnapshotInfo, *, keep: int = 1) -> Manifest:
    """Make the finished temporary file current; the manifest as it is then. Nothing may be pruned before this returns.

    RAFT.md, storage rule 6: the file is durable, then its name, then the manifest, and only then old files go.
    """
    temporary = temporary_path(root, info.sequence)
    reader = SnapshotReader(disk, temporary, manifest.store_id_bytes, info)
    reader.close()
    switched = manifest.with_snapshot(info, keep)
    try:
        disk.rename(temporary, snapshot_path(root, info.sequence))
    except OSError as cause:
        raise IoFailed(temporary, cause) from cause
    write_manifest(disk, root, switched)
    return switched


def remove_unnamed(disk: Disk, root: str, manifest: Manifest) -> int:
    """Delete snapshots that the manifest does not name: replaced ones, and those whose publishing a crash cut short."""
    named = {info.file for info in manifest.snapshots}
    stale = [name for name in disk.listdir(join(root, DIRECTORY)) if parse_snapshot_name(name) is not None]
    stale = [name for name in stale if name not in named]
    for name in stale:
        try:
            disk.unlink(join(root, DIRECTORY, name))
        except OSError as cause:
            raise IoFailed(join(root, DIRECTORY, name), cause) from cause
    return len(stale)
