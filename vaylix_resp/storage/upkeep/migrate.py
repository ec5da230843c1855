"""From format 1 to the current one: every batch and every snapshot written anew, sealed, and proved to be the same.

In place, the new files are written beside the old ones under temporary names, which a server of format 1 ignores; the
old ones get second names in format1/, which then is a directory of format 1 by itself. Then each new file takes the
name of its predecessor; the manifest comes last.
Promises: until the first file has its new name the directory is the old one, unchanged; from then on the command only
has to be repeated to finish it, and in between every server refuses the directory: the manifest says 1 and a file says
2. Nothing is deleted that format1/ does not hold durably. With a target the source is only read.
Not here: what the state is (`prove` is the caller's), locks and keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TypeVar

from vaylix_resp.storage import unfinished
from vaylix_resp.storage.batch import Batch, store_salt
from vaylix_resp.storage.copies.data_copy import link_or_copy
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, IoFailed, StorageError, Unreadable
from vaylix_resp.storage.listing import DIRECTORY as WAL
from vaylix_resp.storage.listing import QUARANTINE
from vaylix_resp.storage.manifest import NAME as MANIFEST
from vaylix_resp.storage.manifest import CleanStop, Manifest, SnapshotInfo, encode_manifest, read_manifest
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import (
    FORMAT_VERSION,
    Chain,
    Scan,
    SegmentName,
    check_sealed_end,
    follow_segment,
    open_segment,
    sealed_name,
)
from vaylix_resp.storage.snapshot import DIRECTORY as SNAPSHOTS
from vaylix_resp.storage.snapshot import SnapshotReader, SnapshotWriter
from vaylix_resp.storage.upkeep import format1
from vaylix_resp.storage.upkeep.rewrite import SegmentWriter

T = TypeVar("T")

KEPT = "format1"
UNFINISHED = ".v2.tmp"  # a server of format 1 deletes such names when it starts, and takes them for nothing else
MARKS, HEAD_BYTES = (b"VxWALseg", b"VxSNAPSH"), 10


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done. `kept`: where the old files are; `torn`: what a crash had left behind the end of the log."""

    sequence: int
    segments: int
    snapshots: int
    entries: int
    kept: str
    torn: str = ""
    resumed: bool = False


@dataclass(slots=True)
class _Plan:
    """The new files, by their final names relative to the directory."""

    segments: list[SegmentName] = field(default_factory=list)
    snapshots: list[SnapshotInfo] = field(default_factory=list)
    entries: int = 0


def is_format1(disk: Disk, root: str) -> bool:
    """Whether this is a data directory of format 1, or one whose migration was interrupted."""
    path = join(root, MANIFEST)
    try:
        return disk.exists(path) and format1.version_of(disk.read_file(path)) == format1.VERSION
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause


def was_interrupted(disk: Disk, root: str) -> bool:
    """Whether new files have already taken the names of old ones: then the rest has to follow."""
    for directory in (WAL, SNAPSHOTS):
        for name in _names(disk, join(root, directory)):
            if not name.endswith(".tmp") and _format_of(disk, join(root, directory, name)) == FORMAT_VERSION:
                return True
    return False


class Migration:
    """`source` -> `target`, which may be the same directory. The caller holds the locks of both."""

    def __init__(
        self, disk: Disk, source: str, target: str, keys: Keys, say: Callable[[int], None] | None = None
    ) -> None:
        self._disk, self._source, self._target, self._keys = disk, source, target, keys
        self._in_place = source == target
        self._suffix = UNFINISHED if self._in_place else ""
        self._say = say or _unwatched
        self._plan = _Plan()
        self.old = format1.read_manifest(disk, source)
        self._log = format1.Log(disk, source, self.old)
        self.new: Manifest | None = None

    def write(self) -> None:
        """The new files, durable, under names that nobody takes for data."""
        disk, target = self._disk, self._target
        try:
            self._clear()
            if not self._in_place:
                note = unfinished.Note("a migration into it", "empty it, and run the command again")
                unfinished.leave(disk, target, note)
            for name in (WAL, SNAPSHOTS, QUARANTINE):
                disk.mkdir(join(target, name))
            tags = self._write_log()
            for info in self.old.snapshots:
                self._write_snapshot(info, tags.get(info.sequence, bytes.fromhex(info.tag)))
        except OSError as cause:
            raise IoFailed(target, cause) from cause
        log, old = self._log, self.old
        tag = tags.get(log.last, log.tag)
        stopped_ms = old.clean_stop.timestamp_ms if old.clean_stop else log.timestamp_ms
        self.new = Manifest(
            old.store_id, old.created_ms, tuple(self._plan.snapshots), CleanStop(log.last, tag.hex(), stopped_ms),
            keyring_id=self._keys.id,
        )  # fmt: skip

    def _write_log(self) -> dict[int, bytes]:
        """Every segment; the new tags of the batches that snapshots and the end of the log refer to."""
        wanted = {info.sequence for info in self.old.snapshots}
        tags: dict[int, bytes] = {}
        tag: bytes | None = None
        for segment, head, batches in self._log.segments():
            path = self._path(WAL, segment.name)
            writer = SegmentWriter(
                self._disk, path, self._keys, store_id=bytes.fromhex(self.old.store_id), first=segment.first,
                prev_tag=head.prev_tag if tag is None else tag, created_ms=head.created_ms,
            )  # fmt: skip
            try:
                for batch in batches:
                    writer.add(batch)
                    self._plan.entries += batch.count
                    self._say(self._plan.entries)
                    if batch.last in wanted:
                        tags[batch.last] = writer.tag
            except BaseException:
                writer.abandon()
                raise
            writer.finish()
            tag = writer.tag
            if writer.last < segment.first:  # an active segment without batches
                self._disk.unlink(path)
                continue
            name = sealed_name(segment.first, writer.last)
            if segment.name != name:
                self._disk.rename(path, self._path(WAL, name))
            self._plan.segments.append(SegmentName(name, segment.first, writer.last))
        if tag is not None:
            tags[self._log.last] = tag
        return tags

    def _write_snapshot(self, info: format1.Snapshot, tag: bytes) -> None:
        writer = SnapshotWriter(
            self._disk, self._path(SNAPSHOTS, info.file), self._keys, store_id=bytes.fromhex(self.old.store_id),
            sequence=info.sequence, tag=tag, term=info.term, timestamp_ms=info.timestamp_ms,
        )  # fmt: skip
        summary: object = None
        try:
            for kind, obj in format1.read_snapshot(self._disk, self._source, self.old.store_id, info):
                if kind == format1.END:
                    summary = obj
                else:
                    writer.add_chunk(obj, kind)
        except BaseException:
            writer.abort()
            raise
        self._plan.snapshots.append(replace(writer.finish(summary), file=info.file))

    # Proof

    def compare(self) -> None:
        """Read back what was written, and compare it with the old files, batch by batch and chunk by chunk."""
        old_log = format1.Log(self._disk, self._source, self.old)
        before = (batch for _, _, batches in old_log.segments() for batch in batches)
        for old, new in _pairs(before, self.batches()):
            if old is None or new is None or _content(old) != _content(new):
                self._differs(self._path(WAL), old or new)
        for info, written in zip(self.old.snapshots, self._plan.snapshots, strict=True):
            reader = self.snapshot(written)
            with closing(reader):
                chunks = format1.read_snapshot(self._disk, self._source, self.old.store_id, info)
                for a, b in _pairs((one for one in chunks if one[0] != format1.END), iter(reader)):
                    if a is None or a != b:
                        self._differs(reader.path, None)

    def batches(self) -> Iterator[Batch]:
        """Of the new log, checked, in order."""
        assert self.new is not None, "write() first"
        store_id, chain = self.new.store_id_bytes, None
        for name in self._plan.segments:
            named = SegmentName(name.name + self._suffix, name.first, name.last)
            reader, header, cipher = open_segment(self._disk, self._path(WAL), named, store_id, self._keys)
            with closing(reader.file):
                chain = chain or Chain(header.first - 1, header.prev_tag)
                follow_segment(chain, header, reader.path)
                scan = Scan(reader, chain, store_salt(store_id), cipher)
                yield from scan
                check_sealed_end(scan, name)

    def snapshot(self, info: SnapshotInfo) -> SnapshotReader:
        """One of the new snapshots, to be read."""
        assert self.new is not None, "write() first"
        path = self._path(SNAPSHOTS, info.file)
        return SnapshotReader(self._disk, path, self.new.store_id_bytes, self._keys, info)

    def _differs(self, path: str, batch: Batch | None) -> None:
        sequence = batch.first if batch else None
        raise Corrupt(path, 0, "the same content as in the old file", sequence=sequence,
                      advice="report this; the old directory is unchanged")  # fmt: skip

    # Switching

    def finish(self) -> Migrated:
        """Make the new directory the directory. In place: keep the old files first."""
        assert self.new is not None, "write() first"
        disk, target, torn = self._disk, self._target, ""
        if self._log.torn:
            path, offset = self._log.torn
            torn = f"{path}: byte {offset}: a batch that was never acknowledged as durable is left out"
        try:
            if self._in_place:
                file = disk.create(self._path(MANIFEST))
                with closing(file):
                    file.pwrite(encode_manifest(self.new), 0)
                    file.fsync()
                keep(disk, target)
                switch(disk, target)
            else:
                disk.replace_file(join(target, MANIFEST), encode_manifest(self.new))
                unfinished.remove(disk, target)
        except OSError as cause:
            raise IoFailed(target, cause) from cause
        kept = join(target, KEPT) if self._in_place else self._source
        plan = self._plan
        return Migrated(self._log.last, len(plan.segments), len(plan.snapshots), plan.entries, kept, torn)

    def _clear(self) -> None:
        """What an earlier try left."""
        disk, target = self._disk, self._target
        for directory in (WAL, SNAPSHOTS, "", join(KEPT, WAL), join(KEPT, SNAPSHOTS), KEPT):
            path = join(target, directory) if directory else target
            kept = directory.startswith(KEPT)
            for name in _names(disk, path):
                if name.endswith(UNFINISHED) or (kept and name not in (WAL, SNAPSHOTS)):
                    disk.unlink(join(path, name))

    def _path(self, *names: str) -> str:
        suffix = self._suffix if names[-1] not in (WAL, SNAPSHOTS) else ""
        return join(self._target, *names) + suffix


def keep(disk: Disk, root: str) -> None:
    """Second names for all old files in format1/, its manifest last."""
    for directory in (WAL, SNAPSHOTS):
        disk.mkdir(join(root, KEPT, directory))
        for name in _names(disk, join(root, directory)):
            if not name.endswith(".tmp"):
                link_or_copy(disk, join(root, directory, name), join(root, KEPT, directory, name))
    link_or_copy(disk, join(root, MANIFEST), join(root, KEPT, MANIFEST))


def switch(disk: Disk, root: str) -> None:
    """Give the new files their names, remove old ones that have no successor, the manifest last. Can be repeated."""
    for directory in (join(KEPT, WAL), join(KEPT, SNAPSHOTS), KEPT, WAL, SNAPSHOTS):
        disk.fsync_dir(join(root, directory))  # names that a killed process left may still go: see repair
    for directory in (WAL, SNAPSHOTS):
        path = join(root, directory)
        for name in _names(disk, path):
            if name.endswith(UNFINISHED):
                disk.rename(join(path, name), join(path, name.removesuffix(UNFINISHED)))
    for directory in (WAL, SNAPSHOTS):
        path = join(root, directory)
        for name in _names(disk, path):
            if name.endswith(".tmp"):
                disk.unlink(join(path, name))  # spare segments, without content
            elif _format_of(disk, join(path, name)) == format1.VERSION:
                if not disk.exists(join(root, KEPT, directory, name)):
                    text = f"{join(path, name)}: not in {join(KEPT, directory)}"
                    raise StorageError(f"{text}; to continue: move it there, and repeat this")
                disk.unlink(join(path, name))
    disk.rename(join(root, MANIFEST + UNFINISHED), join(root, MANIFEST))


def resume(disk: Disk, root: str) -> int:
    """Finish what `was_interrupted` found; the last sequence."""
    try:
        if not disk.exists(join(root, KEPT, MANIFEST)) or not disk.exists(join(root, MANIFEST + UNFINISHED)):
            raise Corrupt(
                join(root, MANIFEST), 0, f"files of one format, or an interrupted migration with {KEPT}/",
                advice="restore from a backup into an empty directory",
            )  # fmt: skip
        switch(disk, root)
    except OSError as cause:
        raise IoFailed(root, cause) from cause
    manifest = read_manifest(disk, root)
    assert manifest is not None and manifest.clean_stop is not None
    return manifest.clean_stop.sequence


def _format_of(disk: Disk, path: str) -> int | None:
    """By the first bytes of a segment or snapshot; both formats begin alike."""
    file = disk.open(path)
    with closing(file):
        head = file.pread(HEAD_BYTES, 0)
    return int.from_bytes(head[8:], "little") if head[:8] in MARKS and len(head) == HEAD_BYTES else None


def _names(disk: Disk, path: str) -> list[str]:
    return disk.listdir(path) if disk.exists(path) else []


def _pairs(old: Iterator[T], new: Iterator[T]) -> Iterator[tuple[T | None, T | None]]:
    """Side by side; None where one ends before the other."""
    return zip_longest(old, new)


def _content(batch: Batch) -> tuple[int, int, int, int, int, int, bytes]:
    return batch.first, batch.count, batch.term, batch.timestamp_ms, batch.committed, batch.seed, batch.body


def _unwatched(entries: int) -> None:
    """Nobody waits at a terminal."""
