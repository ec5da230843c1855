"""The state at one sequence, in a file.

A header of 256 bytes; chunks, each a head of 32 bytes and a msgpack payload (zlib level 1 if asked); an end record.
Sealed, a chunk's number is its nonce, the tag takes the place of its digest, and its head and the bound part of the
file's header are the associated data: no chunk can be changed, moved or taken from another file without the key.
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
from dataclasses import dataclass, replace
from typing import TypeVar

import msgpack
from xxhash import xxh3_128, xxh3_128_digest

from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable, version_advice
from vaylix_resp.storage.manifest import Keep, Manifest, SnapshotInfo, write_manifest
from vaylix_resp.storage.sealing import KEY_ROOM, NO_KEY, TAG_BYTES, Cipher, Keys, open_cipher
from vaylix_resp.storage.segment import Reader

T = TypeVar("T")

FORMAT_VERSION = 2
SEALED = 1  # flag: the chunks are sealed with the data key that lies wrapped in the header
HEADER_BYTES = 256
CHUNK_BYTES_MAX = 1 << 30  # a chunk is read as a whole; one value and its packing must fit
WRITE_BYTES = 1 << 20  # gathered before a write
SYNC_BYTES = 8 << 20  # synced so often while writing: one fsync of everything at the end would stall the log's own
DIRECTORY = "snapshots"

_MAGIC = b"VxSNAPSH"
# What the data key is bound to: magic, version, flags, store id, sequence, tag, term, timestamp
_BOUND = struct.Struct("<8sHH4x16sQ16sQQ")
_FILL = b"\xa5" * (HEADER_BYTES - _BOUND.size - KEY_ROOM.size - 16)
# kind, flags, number of the chunk, stored bytes, raw bytes; then the digest or tag over these and the payload
_CHUNK = struct.Struct("<BBxxIII")
_CHUNK_HEAD_BYTES = _CHUNK.size + TAG_BYTES
END = 0  # kind of the last record; the caller's kinds are 1 to 255
_COMPRESSED = 1
_NAME = re.compile(r"snapshot-(\d{20})\.vxs")


def snapshot_name(sequence: int) -> str:
    return f"snapshot-{sequence:020d}.vxs"


def snapshot_path(root: str, sequence: int) -> str:
    return join(root, DIRECTORY, snapshot_name(sequence))


def temporary_path(root: str, sequence: int) -> str:
    return snapshot_path(root, sequence) + ".tmp"


def received_path(root: str, sequence: int) -> str:
    """The temporary name of one that comes from another node: not the one that a child of this node may be writing."""
    return join(root, DIRECTORY, f"received-{sequence:020d}.vxs.tmp")


def parse_snapshot_name(name: str) -> int | None:
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """`key_id` of the keyring, 0 in the clear; `wrapped` is the data key under it."""

    store_id: bytes
    sequence: int
    tag: bytes
    term: int
    timestamp_ms: int
    key_id: int = 0
    wrapped: bytes = NO_KEY

    def bound(self, *, sealed: bool = True) -> bytes:
        """The part of the header that the data key is wrapped for."""
        flags = SEALED if sealed else 0
        return _BOUND.pack(
            _MAGIC, FORMAT_VERSION, flags, self.store_id, self.sequence, self.tag, self.term, self.timestamp_ms
        )


def encode_snapshot_header(header: SnapshotHeader) -> bytes:
    raw = header.bound(sealed=header.key_id > 0) + KEY_ROOM.pack(header.key_id, header.wrapped) + _FILL
    return raw + xxh3_128_digest(raw)


def read_snapshot_header(raw: bytes, path: str) -> SnapshotHeader:
    """Corrupt unless every byte is right. Needs no key."""
    if len(raw) < HEADER_BYTES or raw[-16:] != xxh3_128_digest(raw[:-16]):
        raise Corrupt(path, 0, "a snapshot header with a right checksum")
    magic, version, flags, store_id, sequence, tag, term, timestamp_ms = _BOUND.unpack_from(raw)
    key_id, wrapped = KEY_ROOM.unpack_from(raw, _BOUND.size)
    if magic != _MAGIC:
        raise Corrupt(path, 0, "the mark of a snapshot")
    if version != FORMAT_VERSION:
        expected = f"snapshot format version {FORMAT_VERSION}, this one is {version}"
        raise Corrupt(path, 8, expected, advice=version_advice(version, FORMAT_VERSION))
    if flags != (SEALED if key_id else 0) or (not key_id and wrapped != NO_KEY):
        raise Corrupt(path, 10, "a snapshot that is sealed and has a key, or neither", sequence=sequence)
    return SnapshotHeader(store_id, sequence, tag, term, timestamp_ms, key_id, wrapped)


class SnapshotWriter:
    """Writes `path`, a temporary name that a recovery may remove at any time it is not in the manifest."""

    def __init__(
        self, disk: Disk, path: str, keys: Keys, *, store_id: bytes, sequence: int, tag: bytes, term: int,
        timestamp_ms: int, compress: bool = False, throttle: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        self._disk, self.path, self._compress, self._throttle = disk, path, compress, throttle
        self._place = sequence, tag, term, timestamp_ms
        header = SnapshotHeader(store_id, sequence, tag, term, timestamp_ms)
        key = keys.new(header.bound())
        self._cipher = key.cipher if key else None
        if key:
            header = replace(header, key_id=key.key_id, wrapped=key.wrapped)
        self._bound = header.bound(sealed=key is not None)
        head = encode_snapshot_header(header)
        self._all = xxh3_128(self._bound)  # and the digests of all chunks; not the wrapped key, which may change
        self._parts, self._gathered = [head], len(head)
        self._written = self._synced = self._chunks = 0
        self._file = self._io(lambda: disk.create(path))

    def add_chunk(self, obj: object, kind: int = 1) -> None:
        """`obj` is anything that msgpack takes; bytes stay bytes. Calls throttle(bytes of this chunk)."""
        self.add_packed(msgpack.packb(obj, use_bin_type=True), kind)

    def add_packed(self, raw: bytes, kind: int) -> None:
        """A chunk that is msgpack already."""
        assert 0 < kind < 256, kind
        self._add(kind, raw)

    def _add(self, kind: int, raw: bytes) -> None:
        stored = zlib.compress(raw, 1) if self._compress and kind != END else raw
        flags = _COMPRESSED if stored is not raw else 0
        assert len(raw) <= CHUNK_BYTES_MAX, len(raw)
        head = _CHUNK.pack(kind, flags, self._chunks, len(stored), len(raw))
        if self._cipher is not None:
            sealed = self._cipher.seal(self._chunks, stored, head + self._bound)
            stored, digest = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
        else:
            digest = _digest(head, stored)
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
        self._add(END, msgpack.packb([self._chunks, self._all.digest(), summary], use_bin_type=True))
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

    def __init__(
        self, disk: Disk, path: str, store_id: bytes, keys: Keys, info: SnapshotInfo | None = None
    ) -> None:
        """`info`: what the manifest says about it, compared with what is found."""
        self.path, self._info = path, info
        try:
            self._reader = Reader(disk.open(path))
        except FileNotFoundError as cause:
            raise Corrupt(path, 0, "a snapshot that the manifest names, the file is missing") from cause
        except OSError as cause:
            raise Unreadable(path, 0, cause) from cause
        self.summary: object = None
        try:
            self.header, self._cipher = self._open(store_id, keys)
        except BaseException:
            self.close()
            raise
        self.sequence, self.tag = self.header.sequence, self.header.tag
        self.term, self.timestamp_ms = self.header.term, self.header.timestamp_ms
        self._bound = self.header.bound(sealed=self._cipher is not None)

    def _open(self, store_id: bytes, keys: Keys) -> tuple[SnapshotHeader, Cipher | None]:
        path, info = self.path, self._info
        header = read_snapshot_header(self._reader.at(0, HEADER_BYTES), path)
        if header.store_id != store_id:
            expected = f"store id {store_id.hex()}, this file belongs to {header.store_id.hex()}"
            raise Corrupt(path, 16, expected, sequence=header.sequence)
        found = (header.sequence, header.tag.hex(), header.term, header.timestamp_ms, self._reader.size)
        if info and found != (info.sequence, info.tag, info.term, info.timestamp_ms, info.bytes):
            raise Corrupt(path, 32, "the sequence, tag, time and size that the manifest names", sequence=info.sequence)
        return header, open_cipher(keys, header.key_id, header.wrapped, header.bound(), path, header.sequence)

    def __iter__(self) -> Iterator[tuple[int, object]]:
        for kind, flags, raw_bytes, offset, stored in self._chunks():
            yield kind, self._unpack(flags, raw_bytes, offset, stored)

    def packed(self) -> Iterator[tuple[int, bytes]]:
        """As iterating, but with the objects as msgpack."""
        for kind, flags, raw_bytes, offset, stored in self._chunks():
            yield kind, self._raw(flags, raw_bytes, offset, stored)

    def verify(self) -> None:
        """Every byte, without building the objects."""
        for _ in self._chunks():
            continue

    def _chunks(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """The chunks before the end record, checked; then the end record and the end of the file."""
        at, offset, number = self._reader.at, HEADER_BYTES, 0
        digests = xxh3_128(self._bound)
        while True:
            head = at(offset, _CHUNK_HEAD_BYTES)
            if len(head) < _CHUNK_HEAD_BYTES:
                raise self._corrupt(offset, f"chunk {number}, the file ends here")
            kind, flags, index, stored_bytes, raw_bytes = _CHUNK.unpack_from(head)
            stored = at(offset + _CHUNK_HEAD_BYTES, stored_bytes) if stored_bytes <= self._reader.size else b""
            digest = head[_CHUNK.size :]
            plain = self._plain(number, head[: _CHUNK.size], digest, stored) if len(stored) == stored_bytes else None
            if plain is None:
                raise self._corrupt(offset, f"chunk {number} with a right checksum")
            if index != number or flags & ~_COMPRESSED or raw_bytes > CHUNK_BYTES_MAX:
                raise self._corrupt(offset, f"chunk {number}, found chunk {index}")
            if kind == END:
                self._check_end(offset, number, plain, digests.digest())
                digests.update(digest)
                if self._info and digests.hexdigest() != self._info.digest:
                    raise self._corrupt(offset, f"digest {self._info.digest} as the manifest says")
                return
            digests.update(digest)
            yield kind, flags, raw_bytes, offset, plain
            offset += _CHUNK_HEAD_BYTES + stored_bytes
            number += 1

    def _plain(self, number: int, head: bytes, digest: bytes, stored: bytes) -> bytes | None:
        """The payload as it was before it was sealed; None if a bit of it, its head or its digest is wrong."""
        if self._cipher is not None:
            return self._cipher.open(number, stored + digest, head + self._bound)
        return stored if digest == _digest(head, stored) else None

    def _check_end(self, offset: int, number: int, stored: bytes, all_digest: bytes) -> None:
        record = self._unpack(0, len(stored), offset, stored)
        if not isinstance(record, list) or record[:2] != [number, all_digest] or len(record) != 3:
            raise self._corrupt(offset, f"an end record for {number} chunks and their digest")
        self.summary = record[2]
        end = offset + _CHUNK_HEAD_BYTES + len(stored)
        if end != self._reader.size:
            raise self._corrupt(end, "the end of the file behind the end record")

    def _unpack(self, flags: int, raw_bytes: int, offset: int, stored: bytes) -> object:
        raw = self._raw(flags, raw_bytes, offset, stored)
        try:
            return msgpack.unpackb(raw, raw=False, strict_map_key=False)
        except (ValueError, TypeError, msgpack.UnpackException) as cause:  # TypeError: a map whose key is a list
            raise self._corrupt(offset, f"a chunk that can be unpacked ({cause})") from cause

    def _raw(self, flags: int, raw_bytes: int, offset: int, stored: bytes) -> bytes:
        try:
            raw = zlib.decompressobj().decompress(stored, raw_bytes) if flags & _COMPRESSED else stored
        except zlib.error as cause:
            raise self._corrupt(offset, f"a chunk that can be unpacked ({cause})") from cause
        if len(raw) != raw_bytes:
            raise self._corrupt(offset, f"a chunk of {raw_bytes} bytes")
        return raw

    def _corrupt(self, offset: int, expected: str) -> Corrupt:
        return Corrupt(self.path, offset, expected, sequence=self.sequence)

    def close(self) -> None:
        self._reader.file.close()


def _digest(head: bytes, stored: bytes) -> bytes:
    hasher = xxh3_128(head)
    hasher.update(stored)
    return hasher.digest()


def publish_snapshot(
    disk: Disk, root: str, manifest: Manifest, info: SnapshotInfo, keys: Keys, keep: Keep | None = None
) -> Manifest:
    """Make the finished temporary file current; the manifest as it is then. Nothing may be pruned before this returns.

    In this order: the file is durable, then its name, then the manifest, and only then old files go.
    """
    temporary = temporary_path(root, info.sequence)
    reader = SnapshotReader(disk, temporary, manifest.store_id_bytes, keys, info)
    reader.close()
    switched = manifest.with_snapshot(info, keep)
    try:
        disk.rename(temporary, snapshot_path(root, info.sequence))
    except OSError as cause:
        raise IoFailed(temporary, cause) from cause
    write_manifest(disk, root, switched)
    return switched


def list_directory(disk: Disk, path: str) -> list[str]:
    """Names; Unreadable when the disk does not give them, or when the directory is not there."""
    try:
        return disk.listdir(path)
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause


def remove_unnamed(disk: Disk, root: str, manifest: Manifest) -> int:
    """Delete snapshots that the manifest does not name: replaced ones, and those whose publishing a crash cut short."""
    named = {info.file for info in manifest.snapshots}
    stale = [name for name in list_directory(disk, join(root, DIRECTORY)) if parse_snapshot_name(name) is not None]
    stale = [name for name in stale if name not in named]
    for name in stale:
        try:
            disk.unlink(join(root, DIRECTORY, name))
        except OSError as cause:
            raise IoFailed(join(root, DIRECTORY, name), cause) from cause
    return len(stale)
