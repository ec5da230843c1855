"""Cut a log behind a sequence that an operator names: what is behind it goes to quarantine/, damaged or not.

Promises: nothing is decided here that the operator has not said; what is cut is kept whole, under its own names; a
crash at any moment leaves either the directory as it was, or one that every server refuses until the same command has
been repeated. What is left ends with a watermark, like after a clean stop, so that nothing cut can come back unseen.
Not here: asking (`tools`), keys touched (`tools.entry_text`), where the data is whole (`verify`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NoReturn

from vaylix_resp.errors import EX_USAGE, Refused
from vaylix_resp.storage import unfinished
from vaylix_resp.storage.batch import Batch, store_salt
from vaylix_resp.storage.copies import archive
from vaylix_resp.storage.copies.data_copy import link_or_copy
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import IoFailed, StorageError, Unreadable
from vaylix_resp.storage.listing import DIRECTORY as WAL
from vaylix_resp.storage.listing import QUARANTINE, Listing, arrange
from vaylix_resp.storage.manifest import NAME as MANIFEST
from vaylix_resp.storage.manifest import CleanStop, Manifest, SnapshotInfo, write_manifest
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import (
    READ_BYTES,
    SEGMENT_HEADER_BYTES,
    Chain,
    Scan,
    SegmentName,
    open_segment,
    sealed_name,
)
from vaylix_resp.storage.snapshot import DIRECTORY as SNAPSHOTS
from vaylix_resp.storage.snapshot import SnapshotReader
from vaylix_resp.storage.upkeep.report import FileReport, Report
from vaylix_resp.storage.upkeep.rewrite import SegmentWriter
from vaylix_resp.storage.upkeep.verify_log import LogCheck

ARCHIVE_STATE = join(archive.DIRECTORY, archive.STATE)


class Unreachable(StorageError):
    """The log cannot be cut there. The text names where it can."""

    exit_code = EX_USAGE


@dataclass(frozen=True, slots=True)
class Cut:
    """The segment in which the log will end: its bytes up to `end` stay, as `first` to `last`."""

    name: SegmentName
    end: int
    last: int


@dataclass(slots=True)
class Plan:
    """What will be done; nothing has been changed yet."""

    sequence: int
    manifest: Manifest  # the new one
    cut: Cut | None  # None: a segment ends there anyway
    partial: Batch | None  # the entries up to `sequence` of the batch that it lies in
    partial_after: tuple[bytes, int]  # tag and time of the batch before that
    drop: list[str]  # paths relative to the directory
    quarantine: str  # relative to the directory
    lost_batches: int = 0
    lost_entries: int = 0
    lost_from_ms: int | None = None
    lost_to_ms: int | None = None
    unreadable: list[FileReport] | None = None  # with what could not be counted


class Repair:
    """The caller holds the lock. `halve(batch, sequence)` gives the entries of a batch up to a sequence."""

    def __init__(
        self, disk: Disk, root: str, manifest: Manifest, keys: Keys, halve: Callable[[Batch, int], Batch]
    ) -> None:
        self._disk, self._root, self._manifest, self._keys, self._halve = disk, root, manifest, keys, halve
        self._store_id = manifest.store_id_bytes
        self._salt = store_salt(self._store_id)

    # Planning: reads only

    def plan(self, sequence: int, lost: Callable[[Batch], None] | None = None) -> Plan:
        """How to end the log at `sequence`. `lost` gets each batch that will be gone and can be read."""
        note = unfinished.read(self._disk, self._root)
        if note is not None and note.sequence != sequence:
            raise Unreachable(f"{join(self._root, unfinished.NAME)}: {note.what} was interrupted; {note.advice}")
        segments = self._segments()
        base, bad_snapshots = self._base(sequence, segments)
        keeps = [info for info in self._manifest.snapshots if info.sequence <= sequence and info not in bad_snapshots]
        chain = self._chain_at(base)
        cut, partial, before, at_end = self._walk(segments, chain, sequence)
        kept = {sealed_name(cut.name.first, cut.last)} if cut else set()
        behind = [
            name for name in segments
            if name.first > sequence or name.last is None or name.last > sequence or name.clipped
        ]  # fmt: skip
        stop = CleanStop(sequence, at_end.tag.hex(), at_end.timestamp_ms)
        plan = Plan(
            sequence, self._manifest_with(keeps, stop), cut, partial, before,
            [join(WAL, name) for name in [*(one.name for one in behind), *self._arranged().void] if name not in kept],
            note.kept if note else self._new_quarantine(sequence),
        )  # fmt: skip
        gone = [info for info in self._manifest.snapshots if info not in keeps]
        plan.drop += [join(SNAPSHOTS, info.file) for info in gone if self._exists(SNAPSHOTS, info.file)]
        if self._exists(ARCHIVE_STATE):  # else the archive would never get what is written from now on
            plan.drop.append(ARCHIVE_STATE)
        self._count(plan, behind, lost)
        return plan

    def _manifest_with(self, snapshots: list[SnapshotInfo], stop: CleanStop) -> Manifest:
        """What was cut may have been promised to a cluster: the rest is nobody's member any more."""
        return replace(self._manifest, snapshots=tuple(snapshots), clean_stop=stop).on_its_own()

    def _segments(self) -> list[SegmentName]:
        # Of two that begin alike (one is a cut of an interrupted repair) the longer one comes first.
        return sorted(self._arranged().segments, key=lambda one: (one.first, one.last is not None, -(one.last or 0)))

    def _arranged(self) -> Listing:
        try:
            names = self._disk.listdir(join(self._root, WAL))
        except OSError as cause:
            raise Unreadable(join(self._root, WAL), 0, cause) from cause
        return arrange(names, self._manifest.newest.sequence if self._manifest.newest else 0)

    def _base(self, sequence: int, segments: list[SegmentName]) -> tuple[SnapshotInfo | None, list[SnapshotInfo]]:
        """The newest whole snapshot at or before the point, and those before it that are not whole."""
        bad: list[SnapshotInfo] = []
        for info in reversed(self._manifest.snapshots):
            if info.sequence > sequence:
                continue
            try:
                path = join(self._root, SNAPSHOTS, info.file)
                reader = SnapshotReader(self._disk, path, self._store_id, self._keys, info)
                with closing(reader):
                    reader.verify()
                return info, bad
            except Refused:
                bad.append(info)
        if segments and segments[0].first == 1:
            return None, bad
        whole = [str(info.sequence) for info in self._manifest.snapshots if info.sequence > sequence]
        oldest = f"sequence {whole[0]} or later" if whole else "no sequence: restore from a backup"
        raise Unreachable(
            f"{self._root}: no whole snapshot at or before sequence {sequence} leads to it; "
            f"to continue: choose {oldest}"
        )

    def _chain_at(self, base: SnapshotInfo | None) -> Chain:
        return Chain(base.sequence, bytes.fromhex(base.tag), base.term, base.timestamp_ms) if base else Chain()

    def _walk(
        self, segments: list[SegmentName], chain: Chain, sequence: int
    ) -> tuple[Cut | None, Batch | None, tuple[bytes, int], Chain]:
        """From the base to the point, through whole batches only."""
        before = chain.tag, chain.timestamp_ms
        while chain.last < sequence:
            wanted = chain.last + 1
            fitting = [n for n in segments if n.first <= wanted and (n.last is None or n.last >= wanted)]
            if not fitting:
                self._refuse(sequence, chain.last, "the log ends there, or its next file is missing")
            name = fitting[0]
            for offset, end, batch in self._batches(name, chain, sequence):
                if batch.last > sequence:
                    half = self._halve(batch, sequence)
                    return Cut(name, offset, batch.first - 1), half, before, self._after(half, chain)
                before = batch.tag, batch.timestamp_ms
                chain = Chain(batch.last, batch.tag, batch.term, batch.timestamp_ms)
                if batch.last == sequence:
                    return self._cut_behind(name, end, sequence), None, before, chain
            if chain.last < wanted:
                self._refuse(sequence, chain.last, f"{WAL}/{name.name} does not go on from there")
        return None, None, before, chain

    @staticmethod
    def _after(half: Batch, chain: Chain) -> Chain:
        """Its tag follows when it is written."""
        return Chain(half.last, b"", half.term, half.timestamp_ms)

    @staticmethod
    def _cut_behind(name: SegmentName, end: int, sequence: int) -> Cut | None:
        return None if name.last == sequence and not name.clipped else Cut(name, end, sequence)

    def _batches(self, name: SegmentName, chain: Chain, sequence: int) -> Iterator[tuple[int, int, Batch]]:
        """Offset, end and batch behind `chain`; a place that is not whole is where they end."""
        try:
            reader, header, cipher = open_segment(self._disk, join(self._root, WAL), name, self._store_id, self._keys)
        except Refused as failure:
            self._refuse(sequence, chain.last, str(failure))
        with closing(reader.file):
            own = Chain(header.first - 1, header.prev_tag)
            scan = Scan(reader, own, self._salt, cipher)
            met = own.last == chain.last and own.tag == chain.tag
            offset = scan.offset
            try:
                for batch in scan:
                    if met:
                        yield offset, scan.offset, batch
                    elif batch.last == chain.last and batch.tag == chain.tag:
                        met = True
                    offset = scan.offset
            except Refused as failure:
                if own.last < sequence:
                    self._refuse(sequence, own.last, str(failure))

    def _refuse(self, sequence: int, reached: int, why: str) -> NoReturn:
        raise Unreachable(
            f"{self._root}: sequence {sequence} cannot be reached, the log is whole up to sequence {reached} ({why}); "
            f"to continue: choose {reached} or less"
        )

    def _count(self, plan: Plan, behind: list[SegmentName], lost: Callable[[Batch], None] | None) -> None:
        """What of the rest can be read."""
        counter = _Lost(self, plan, lost)
        unreadable = []
        for name in behind:
            file = counter.check(name, may_be_torn=True)
            if file is not None and file.problems:
                unreadable.append(file)
        plan.unreadable = unreadable

    def _new_quarantine(self, sequence: int) -> str:
        number, path = 1, join(QUARANTINE, f"dropped-after-{sequence}")
        while self._exists(path):
            number += 1
            path = join(QUARANTINE, f"dropped-after-{sequence}-{number}")
        return path

    def _exists(self, *names: str) -> bool:
        return self._disk.exists(join(self._root, *names))

    # Carrying out

    def carry_out(self, plan: Plan) -> None:
        """Each step can be repeated, and so can all of them."""
        try:
            unfinished.leave(self._disk, self._root, self._note(plan))
            self._sync_names(plan)
            self._keep(plan)
            tag = self._write_end(plan)
            manifest = plan.manifest
            if tag is not None:
                stop = manifest.clean_stop
                assert stop is not None
                manifest = manifest.with_clean_stop(replace(stop, tag=tag.hex()))
            write_manifest(self._disk, self._root, manifest)
            for path in plan.drop:
                self._disk.unlink(join(self._root, path))
            unfinished.remove(self._disk, self._root)
        except OSError as cause:
            raise IoFailed(self._root, cause) from cause

    def _sync_names(self, plan: Plan) -> None:
        """Make durable what is seen: a process that was killed before its fsync leaves names that may still come back
        or go, and nobody would look at them again once the note has been removed."""
        self._disk.mkdir(join(self._root, plan.quarantine))
        for directory in (plan.quarantine, WAL, SNAPSHOTS):
            self._disk.fsync_dir(join(self._root, directory))

    def _note(self, plan: Plan) -> unfinished.Note:
        command = f"vaylix storage repair --data-dir {self._root} --drop-after {plan.sequence}"
        return unfinished.Note(
            f"a repair at sequence {plan.sequence}", f"run '{command}' again; what it cuts is in {plan.quarantine}",
            plan.sequence, plan.quarantine,
        )  # fmt: skip

    def _keep(self, plan: Plan) -> None:
        """Second names in quarantine/ for all that is going to change; what an earlier try kept stays as it is."""
        for path in [*plan.drop, MANIFEST]:
            target = join(self._root, plan.quarantine, path.rpartition("/")[2])
            if not self._disk.exists(target):
                link_or_copy(self._disk, join(self._root, path), target)

    def _write_end(self, plan: Plan) -> bytes | None:
        """The last segment, cut, and one more for half a batch; the tag of that, if there is one."""
        disk, directory = self._disk, join(self._root, WAL)
        if plan.cut is not None and plan.cut.end > SEGMENT_HEADER_BYTES:
            name = sealed_name(plan.cut.name.first, plan.cut.last)
            self._copy(join(directory, plan.cut.name.name), join(directory, name), plan.cut.end)
        if plan.partial is None:
            return None
        half, (prev_tag, created_ms) = plan.partial, plan.partial_after
        path = join(directory, sealed_name(half.first, half.last))
        writer = SegmentWriter(
            disk, path + ".tmp", self._keys, store_id=self._store_id, first=half.first, prev_tag=prev_tag,
            created_ms=created_ms,
        )  # fmt: skip
        writer.add(half)
        writer.finish()
        disk.rename(path + ".tmp", path)
        return writer.tag

    def _copy(self, source: str, target: str, size: int) -> None:
        """The first bytes of a file. Whole batches, as they are: nothing is sealed anew."""
        disk = self._disk
        reading = disk.open(source)
        with closing(reading):
            writing = disk.create(target + ".tmp")
            with closing(writing):
                for offset in range(0, size, READ_BYTES):
                    writing.pwrite(reading.pread(min(READ_BYTES, size - offset), offset), offset)
                writing.fsync()
        disk.rename(target + ".tmp", target)


class _Lost(LogCheck):
    """Counts what will be gone, and goes on behind damage."""

    def __init__(self, repair: Repair, plan: Plan, lost: Callable[[Batch], None] | None) -> None:
        nobody = Report(repair._root)
        super().__init__(
            repair._disk, join(repair._root, WAL), repair._store_id, repair._keys, {}, nobody, lambda at: None
        )
        self._plan, self._lost = plan, lost

    def found(self, file: FileReport, batch: Batch, offset: int, *, follows: bool) -> None:
        plan = self._plan
        if batch.last <= plan.sequence:
            return
        plan.lost_batches += 1
        plan.lost_entries += batch.last - max(plan.sequence, batch.first - 1)
        plan.lost_from_ms = plan.lost_from_ms or batch.timestamp_ms
        plan.lost_to_ms = batch.timestamp_ms
        if self._lost:
            self._lost(batch)
