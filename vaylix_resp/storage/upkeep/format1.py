"""Data directories of format 1 (unsealed, before part 2), frozen and read-only: what `migrate` reads.

Promise: the same checks as the program that wrote format 1 made at its start, and the same verdict about a torn end.
No change elsewhere in `storage` changes what this module accepts: layouts and checksums are written out here.
Units: sizes and offsets in bytes.
Not here: writing (`migrate`). Current formats: `manifest`, `batch`, `segment`, `snapshot`.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import msgpack
from xxhash import xxh3_128, xxh3_128_digest, xxh3_128_hexdigest

from vaylix_resp.storage.batch import Batch
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, Unreadable
from vaylix_resp.storage.segment import Reader
from vaylix_resp.storage.upkeep.format1_batch import (
    HEADER_BYTES,
    MASKED,
    SECTOR,
    TAG_BYTES,
    Header,
    has_zero_sector,
    read_body,
    read_header,
)

VERSION = 1
MANIFEST, WAL, SNAPSHOTS = "manifest.json", "wal", "snapshots"
SEGMENT_HEADER_BYTES, SNAPSHOT_HEADER_BYTES = 4096, 256
CHUNK_BYTES_MAX = 1 << 30
GENESIS_TAG = bytes(TAG_BYTES)
COMPRESSED, END = 1, 0

_SEGMENT = struct.Struct("<8sHHI16sQ16sQ128s")
_SNAPSHOT = struct.Struct("<8sHHI16sQ16sQQ128s")
_CHUNK = struct.Struct("<BBxxIII")
_CHUNK_HEAD_BYTES = _CHUNK.size + 16
_ACTIVE = re.compile(r"active-(\d{20})\.wal")
_SEALED = re.compile(r"(\d{20})-(\d{20})\.wal")


@dataclass(frozen=True, slots=True)
class Snapshot:
    sequence: int
    file: str
    digest: str
    tag: str
    term: int
    timestamp_ms: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CleanStop:
    sequence: int
    tag: str
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Manifest:
    store_id: str
    created_ms: int
    snapshots: tuple[Snapshot, ...]
    clean_stop: CleanStop | None

    @property
    def after(self) -> int:
        """Where replay begins: behind the newest snapshot."""
        return self.snapshots[-1].sequence if self.snapshots else 0


class Segment(NamedTuple):
    """A file of the log by its name; `last` is None for one that was being written."""

    name: str
    first: int
    last: int | None


class SegmentHead(NamedTuple):
    prev_tag: bytes
    created_ms: int


def version_of(raw: bytes) -> int | None:
    """The format that a manifest.json claims; None when it is no manifest at all."""
    try:
        version = json.loads(raw.decode("ascii")).get("format")
    except (ValueError, AttributeError, RecursionError):
        return None
    return version if isinstance(version, int) else None


def read_manifest(disk: Disk, root: str) -> Manifest:
    path = join(root, MANIFEST)
    try:
        raw = disk.read_file(path)
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause
    try:
        body = json.loads(raw.decode("ascii"))
        checksum, version = body.pop("checksum"), body.pop("format")
        rendered = json.dumps({"format": version, **body}, sort_keys=True, separators=(",", ":"))
        if checksum != xxh3_128_hexdigest(rendered.encode()):
            raise Corrupt(path, 0, "a manifest with a right checksum")
        if version != VERSION:
            raise Corrupt(path, 0, f"manifest format version {VERSION}, this one is {version}")
        snapshots, stop = body.pop("snapshots"), body.pop("clean_stop")
        manifest = Manifest(
            snapshots=tuple(Snapshot(**one) for one in snapshots),
            clean_stop=CleanStop(**stop) if stop else None,
            **body,
        )
        bytes.fromhex(manifest.store_id)
    except (ValueError, KeyError, AttributeError, TypeError) as cause:
        raise Corrupt(path, 0, f"a manifest of format {VERSION} ({cause})") from cause
    spelled = json.dumps({"checksum": checksum, "format": version, **json.loads(raw)}, indent=2).encode() + b"\n"
    if spelled != raw:
        raise Corrupt(path, 0, "a manifest as its program writes it")
    return manifest


def list_segments(disk: Disk, root: str) -> list[Segment]:
    """Sealed ones, then active ones, in the order of the log; unknown names are refused, temporary files left out."""
    directory, sealed, active = join(root, WAL), [], []
    try:
        names = disk.listdir(directory)
    except OSError as cause:
        raise Unreadable(directory, 0, cause) from cause
    for name in names:
        if match := _SEALED.fullmatch(name):
            sealed.append(Segment(name, int(match[1]), int(match[2])))
        elif match := _ACTIVE.fullmatch(name):
            active.append(Segment(name, int(match[1]), None))
        elif not name.endswith(".tmp"):
            raise Corrupt(join(directory, name), 0, "only segments here", advice="move this file elsewhere")
    return [*sorted(sealed, key=lambda one: one.first), *sorted(active, key=lambda one: one.first)]


class Log:
    """One checked pass over the log: `segments()` in order, of each the batches, which have to be taken to the end.

    After the last one everything has been read and compared with names, snapshots and watermark; `end` says where
    the log ends and `torn` what a crash left behind that (path, offset), if anything.
    """

    def __init__(self, disk: Disk, root: str, manifest: Manifest) -> None:
        self._disk, self._root, self._manifest = disk, root, manifest
        self._directory = join(root, WAL)
        self._store_id = bytes.fromhex(manifest.store_id)
        self._salt = crc32(self._store_id)
        self._anchors = {one.sequence: bytes.fromhex(one.tag) for one in manifest.snapshots}
        self.last, self.tag, self.term, self.timestamp_ms = 0, GENESIS_TAG, 0, 0
        self.torn: tuple[str, int] | None = None

    def segments(self) -> Iterator[tuple[Segment, SegmentHead, Iterator[Batch]]]:
        listed = list_segments(self._disk, self._root)
        stop = self._manifest.clean_stop
        actives = [segment for segment in listed if segment.last is None]
        if (not actives and not stop) or len(actives) > 2:
            raise Corrupt(self._directory, 0, "one or two active segments, as every stop but a clean one leaves")
        for number, segment in enumerate(listed):
            path = join(self._directory, segment.name)
            reader = _open(self._disk, path)
            with closing(reader.file):
                head = self._head(reader, path, segment, is_first=number == 0)
                may_be_torn = segment is listed[-1] and not stop
                yield segment, head, self._batches(reader, path, segment, may_be_torn)
        self._check_end(stop)

    def _head(self, reader: Reader, path: str, segment: Segment, *, is_first: bool) -> SegmentHead:
        raw = reader.at(0, SEGMENT_HEADER_BYTES)
        if len(raw) < SEGMENT_HEADER_BYTES or raw[-16:] != xxh3_128_digest(raw[:-16]):
            raise Corrupt(path, 0, "a segment header with a right checksum", sequence=segment.first)
        magic, version, flags, _, store, first, prev_tag, created_ms, _ = _SEGMENT.unpack_from(raw)
        if magic != b"VxWALseg" or version != VERSION or flags or store != self._store_id or first != segment.first:
            expected = f"a segment of format {VERSION} of this store that begins with sequence {segment.first}"
            raise Corrupt(path, 0, expected, sequence=segment.first)
        if is_first:
            self._begin(path, first, prev_tag)
        if first != self.last + 1 or prev_tag != self.tag:
            expected = f"the segment that follows sequence {self.last}"
            raise Corrupt(path, 0, expected, sequence=self.last + 1)
        return SegmentHead(prev_tag, created_ms)

    def _begin(self, path: str, first: int, prev_tag: bytes) -> None:
        """The oldest segment begins at 1, behind a snapshot, or before the newest one."""
        if first > self._manifest.after + 1:
            expected = f"a log that begins at sequence {self._manifest.after + 1} or before"
            raise Corrupt(path, 0, expected, sequence=self._manifest.after + 1)
        base = next((one for one in self._manifest.snapshots if one.sequence == first - 1), None)
        self.last = first - 1
        if base:
            self.tag, self.term, self.timestamp_ms = bytes.fromhex(base.tag), base.term, base.timestamp_ms
        elif first > 1:
            self.tag = prev_tag

    def _batches(self, reader: Reader, path: str, segment: Segment, may_be_torn: bool) -> Iterator[Batch]:
        offset = SEGMENT_HEADER_BYTES
        while True:
            raw = reader.at(offset, HEADER_BYTES)
            header = read_header(raw, self._salt)
            if header is None:
                break
            rest_bytes = header.frame_bytes - HEADER_BYTES
            rest = reader.at(offset + HEADER_BYTES, rest_bytes)
            body = read_body(raw, header, rest) if len(rest) == rest_bytes else None
            if body is None:
                break
            self._follow(header, path, offset)
            offset += header.frame_bytes
            yield Batch(
                header.first, header.entries, header.term, header.timestamp_ms, header.committed, header.seed, body,
                header.tag,
            )  # fmt: skip
        if segment.last is not None and (offset != reader.size or self.last != segment.last):
            expected = f"whole batches up to sequence {segment.last} and then the end of the file"
            raise Corrupt(path, offset, expected, sequence=self.last + 1)
        if segment.last is None and self._is_torn(reader, path, offset):
            if not may_be_torn:
                raise Corrupt(path, offset, "zeros behind the last batch", sequence=self.last + 1)
            self.torn = path, offset

    def _follow(self, header: Header, path: str, offset: int) -> None:
        before = self.last
        if (
            header.version != VERSION
            or header.kind != 1
            or header.flags & ~MASKED
            or header.first != before + 1
            or not header.entries
            or header.prev_tag != self.tag
            or header.term < self.term
            or header.timestamp_ms < self.timestamp_ms
            or header.durable >= header.first
        ):
            raise Corrupt(path, offset, f"the batch that follows sequence {before}", sequence=before + 1)
        self.last, self.tag = header.first + header.entries - 1, header.tag
        self.term, self.timestamp_ms = header.term, header.timestamp_ms
        for sequence, tag in self._anchors.items():
            if before < sequence <= self.last and (sequence, tag) != (self.last, self.tag):
                expected = "the batch that the snapshot of this sequence was made from"
                raise Corrupt(path, offset, expected, sequence=sequence)

    def _is_torn(self, reader: Reader, path: str, offset: int) -> bool:
        """The table of format 1: False at the end of the log, True at an interrupted append, else Corrupt."""
        sequence = self.last + 1
        header = read_header(reader.at(offset, HEADER_BYTES), self._salt)
        if header is not None:
            frame = reader.at(offset, header.frame_bytes)
            torn = len(frame) < header.frame_bytes or frame[-1] == 0 or has_zero_sector(frame)
            behind = offset + header.frame_bytes
        else:
            sector = reader.at(offset, SECTOR)
            torn = len(sector) < SECTOR or not any(sector[HEADER_BYTES:])
            behind = offset + SECTOR
        found, synced = self._behind(reader, behind, sequence)
        if header is None and not found and not any(reader.at(offset, SECTOR)):
            return False
        if synced or not torn:
            expected = "a whole batch, because it was written to its end or others were written after it"
            raise Corrupt(path, offset, expected, sequence=sequence)
        return True

    def _behind(self, reader: Reader, start: int, sequence: int) -> tuple[bool, bool]:
        """Whether anything lies behind, and whether a batch among it says that `sequence` was durable before."""
        found = False
        for offset in range(start, reader.size, SECTOR):
            sector = reader.at(offset, SECTOR)
            if not any(sector):
                continue
            found = True
            header = read_header(sector[:HEADER_BYTES], self._salt)
            if header is not None and header.first > sequence and header.durable >= sequence:
                return True, True
        return found, False

    def _check_end(self, stop: CleanStop | None) -> None:
        if self.last == 0 and self._manifest.snapshots:  # every segment was pruned
            newest = self._manifest.snapshots[-1]
            self.last, self.tag = newest.sequence, bytes.fromhex(newest.tag)
            self.term, self.timestamp_ms = newest.term, newest.timestamp_ms
        if self.last < self._manifest.after:
            expected = f"a log that reaches the snapshot at sequence {self._manifest.after}, it ends at {self.last}"
            raise Corrupt(self._directory, 0, expected, sequence=self.last + 1)
        if stop and (self.last, self.tag.hex()) != (stop.sequence, stop.tag):
            expected = f"the log to end at sequence {stop.sequence}, where the server stopped cleanly"
            raise Corrupt(self._directory, 0, expected, sequence=min(self.last, stop.sequence) + 1)


def read_snapshot(disk: Disk, root: str, store_id: str, info: Snapshot) -> Iterator[tuple[int, Any]]:
    """(kind, object) of every chunk, and at last (END, the summary of its writer). Every byte is checked on the way."""
    path = join(root, SNAPSHOTS, info.file)
    reader = _open(disk, path)
    with closing(reader.file):
        digests = xxh3_128(_snapshot_head(reader, path, store_id, info)[-16:])
        offset, number = SNAPSHOT_HEADER_BYTES, 0
        while True:
            chunk = reader.at(offset, _CHUNK_HEAD_BYTES)
            if len(chunk) < _CHUNK_HEAD_BYTES:
                raise Corrupt(path, offset, f"chunk {number}, the file ends here", sequence=info.sequence)
            kind, flags, index, stored_bytes, raw_bytes = _CHUNK.unpack_from(chunk)
            stored = reader.at(offset + _CHUNK_HEAD_BYTES, stored_bytes) if stored_bytes <= reader.size else b""
            digest = xxh3_128_digest(chunk[: _CHUNK.size] + stored)
            if len(stored) != stored_bytes or digest != chunk[_CHUNK.size :] or index != number:
                raise Corrupt(path, offset, f"chunk {number} with a right checksum", sequence=info.sequence)
            record = _unpack(path, offset, flags, stored, raw_bytes)
            offset += _CHUNK_HEAD_BYTES + stored_bytes
            if kind == END:
                if not isinstance(record, list) or record[:2] != [number, digests.digest()] or offset != reader.size:
                    raise Corrupt(path, offset, f"an end record for {number} chunks", sequence=info.sequence)
                digests.update(digest)
                if digests.hexdigest() != info.digest:
                    raise Corrupt(path, offset, f"digest {info.digest} as the manifest says", sequence=info.sequence)
                yield END, record[2]
                return
            digests.update(digest)
            number += 1
            yield kind, record


def _snapshot_head(reader: Reader, path: str, store_id: str, info: Snapshot) -> bytes:
    head = reader.at(0, SNAPSHOT_HEADER_BYTES)
    if len(head) < SNAPSHOT_HEADER_BYTES or head[-16:] != xxh3_128_digest(head[:-16]):
        raise Corrupt(path, 0, "a snapshot header with a right checksum")
    magic, version, flags, _, store, sequence, tag, term, timestamp_ms, _ = _SNAPSHOT.unpack_from(head)
    if magic != b"VxSNAPSH" or version != VERSION or flags or store.hex() != store_id:
        raise Corrupt(path, 0, f"a snapshot of format {VERSION} of this store")
    found = (sequence, tag.hex(), term, timestamp_ms, reader.size)
    if found != (info.sequence, info.tag, info.term, info.timestamp_ms, info.bytes):
        raise Corrupt(path, 32, "the sequence, tag, time and size that the manifest names", sequence=info.sequence)
    return head


def _unpack(path: str, offset: int, flags: int, stored: bytes, raw_bytes: int) -> object:
    try:
        raw = zlib.decompressobj().decompress(stored, raw_bytes) if flags & COMPRESSED else stored
        if len(raw) == raw_bytes:
            return msgpack.unpackb(raw, raw=False, strict_map_key=False)
    except (zlib.error, ValueError, TypeError, msgpack.UnpackException) as cause:
        raise Corrupt(path, offset, f"a chunk that can be unpacked ({cause})") from cause
    raise Corrupt(path, offset, f"a chunk of {raw_bytes} bytes")


def _open(disk: Disk, path: str) -> Reader:
    try:
        return Reader(disk.open(path))
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause
