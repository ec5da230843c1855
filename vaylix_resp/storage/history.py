"""What a data directory remembers, read beside a server that may be writing to it.

Promises: nothing is ever written, locked or created; what comes out has been checked as a start would check it; a file
that a rotation renames or a pruning deletes meanwhile is looked for again. The end of the log is its last whole batch:
the one behind it is still being written, or was when the server stopped.
Units: sequences from 1; milliseconds since the epoch; sizes in bytes.
Not here: what a batch does to a state (`engine.history.restore`), the files of an archive (`archive`), checking every
byte of every file (`vaylix storage verify`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, TypeVar

from vaylix_resp.storage.batch import Batch, store_salt
from vaylix_resp.storage.damage import Do, decide, describe, gather
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, StorageError, Unreadable
from vaylix_resp.storage.listing import DIRECTORY as WAL
from vaylix_resp.storage.listing import NEVER, list_wal
from vaylix_resp.storage.manifest import NAME as MANIFEST
from vaylix_resp.storage.manifest import Manifest, SnapshotInfo, read_manifest
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import (
    Chain,
    Scan,
    SegmentName,
    check_sealed_end,
    first_batch_header,
    follow_segment,
    open_segment,
)
from vaylix_resp.storage.snapshot import DIRECTORY as SNAPSHOTS
from vaylix_resp.storage.snapshot import SnapshotReader

T = TypeVar("T")

TRIES = 10  # at something that a running server changes: it rotates or prunes a few times a second at most
PAUSE_S = 0.02


class Vanished(StorageError):
    """Files went away while they were being read, as pruning does it. Begin again with a new base."""


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One file of the log. `last` and `last_ms` of an active one are as of now."""

    name: str
    sealed: bool
    first: int
    last: int  # first - 1: it is empty
    bytes: int  # of an active one: as far as it is written
    key_id: int  # of the keyring; 0: in the clear
    first_ms: int | None  # stamps of its first and its last batch; None: it is empty
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class Range:
    """What can be restored: every sequence and every time from first to last."""

    first: int
    first_ms: int
    last: int
    last_ms: int


class Source(Protocol):
    """Where the files are. `root` is its name in messages; `wal` the directory that holds the segments."""

    root: str
    wal: str

    def manifest(self) -> Manifest:
        """As of now: the store, its snapshots (`digest` is empty where nobody wrote it down), a clean stop."""
        ...

    def segments(self) -> list[SegmentName]:
        """As of now, in order: sealed ones, then active ones."""
        ...

    def snapshot_path(self, info: SnapshotInfo) -> str: ...


class DataDirectory:
    """The files of a server, running or not."""

    def __init__(self, disk: Disk, root: str) -> None:
        self.disk, self.root, self.wal = disk, root, join(root, WAL)

    def manifest(self) -> Manifest:
        found = read_manifest(self.disk, self.root)
        if found is None:
            advice = "name the data directory of a server, or an archive with --archive-dir"
            raise Corrupt(join(self.root, MANIFEST), 0, "a manifest, the file is missing", advice=advice)
        return found

    def segments(self) -> list[SegmentName]:
        """A listing may miss a file that is renamed meanwhile, so one that looks wrong is made again."""
        for attempt in range(TRIES):
            manifest = self.manifest()
            newest = manifest.newest
            listing = list_wal(self.disk, self.root, newest.sequence if newest else 0)
            sealed = listing.sealed
            whole = all(a.last is not None and a.last + 1 == b.first for a, b in pairwise(sealed))
            if whole and (listing.active or manifest.clean_stop):
                break
            time.sleep(PAUSE_S if attempt else 0)
        return [*listing.sealed, *listing.active]

    def snapshot_path(self, info: SnapshotInfo) -> str:
        return join(self.root, SNAPSHOTS, info.file)


class History:
    """Reads one source. Every method looks at the files as they are then."""

    def __init__(self, disk: Disk, source: Source, keys: Keys) -> None:
        self.disk, self.source, self.keys = disk, source, keys
        self.root = source.root

    def manifest(self) -> Manifest:
        return self.source.manifest()

    def range(self, last: int = NEVER) -> Range:
        """`last`: how far the log is looked at, where a sealed segment ends; so far it is known to be committed.

        Corrupt if nothing can be restored.
        """
        return self._again(lambda: self._range(last))

    def _range(self, last: int) -> Range:
        manifest, names = self.manifest(), self.source.segments()
        begins = _begins(manifest, names)
        if begins == 1:
            first, first_ms = 0, manifest.created_ms
        else:
            bases = [info for info in manifest.snapshots if info.sequence >= begins - 1]
            if not bases:
                if self.manifest().snapshots != manifest.snapshots:
                    raise Vanished(f"{self.root}: snapshots and segments have been pruned meanwhile")
                advice = "name a source that also has a snapshot from before its oldest segment"
                raise Corrupt(self.root, 0, f"a snapshot at sequence {begins - 1} or later", advice=advice)
            first, first_ms = bases[0].sequence, bases[0].timestamp_ms
        end, end_ms = self._end(manifest, names, last)
        return Range(first, first_ms, end, max(first_ms, end_ms))

    def base_for(self, sequence: int = NEVER, at_ms: int = NEVER) -> SnapshotInfo | None:
        """The newest snapshot that is not behind the point; None: begin with the empty state and sequence 1."""
        manifest = self.manifest()
        begins = _begins(manifest, self.source.segments())
        for info in reversed(manifest.snapshots):
            if begins - 1 <= info.sequence <= sequence and info.timestamp_ms <= at_ms:
                return info
        if begins != 1:
            raise Vanished(f"{self.root}: the log begins with sequence {begins}, and no snapshot leads to the point")
        return None

    def reader(self, info: SnapshotInfo) -> SnapshotReader:
        """A snapshot from the manifest. Raises Vanished if it has been replaced since."""
        manifest, path = self.manifest(), self.source.snapshot_path(info)
        expected = info if info.digest else None
        try:
            return SnapshotReader(self.disk, path, manifest.store_id_bytes, self.keys, expected)
        except Corrupt:
            if self.disk.exists(path) or info in self.manifest().snapshots:
                raise
            raise Vanished(f"{path}: replaced by a newer snapshot meanwhile") from None

    def key_of(self, info: SnapshotInfo) -> int:
        """The keyring's key of a snapshot; 0: in the clear."""
        with closing(self.reader(info)) as reader:
            return reader.header.key_id

    def batches(self, base: SnapshotInfo | None, up_to: int = NEVER, committed: int = 0) -> Iterator[Batch]:
        """The batches behind the base that begin at or before `up_to` or the end of the log, checked.

        Of a member of a cluster only what its log knows to be committed, or the caller does (`committed`, as who asks
        a running server): the rest may never have happened.
        Raises Vanished if the log that leads on from the base has been pruned.
        """
        manifest, chain = self.manifest(), Chain()
        if base is not None:
            chain = Chain(base.sequence, bytes.fromhex(base.tag), base.term, base.timestamp_ms)
        if not manifest.cluster_id or up_to <= committed:
            yield from self._batches(manifest, chain, up_to)
            return
        # What comes behind a batch says whether it is committed, so this reads on until that is known.
        waiting = deque[Batch]()
        for batch in self._batches(manifest, chain, NEVER):
            waiting.append(batch)
            while waiting and waiting[0].first <= up_to and waiting[0].last <= max(chain.committed, committed):
                yield waiting.popleft()
            if waiting and waiting[0].first > up_to:
                return
        while waiting and waiting[0].first <= up_to and waiting[0].last <= max(chain.committed, committed):
            yield waiting.popleft()

    def _batches(self, manifest: Manifest, chain: Chain, up_to: int) -> Iterator[Batch]:
        stalled = 0
        while chain.last < up_to:
            name, is_last = self._find(chain.last + 1)
            if name is None:
                break
            before = chain.last
            with closing(self._open(name, manifest)) as segment:
                yield from segment.batches(chain, up_to)
            if is_last and (chain.last == before or (name.last is None and up_to == NEVER)):
                break  # the end as of now
            stalled = 0 if chain.last > before else stalled + 1
            if stalled >= TRIES:
                path = join(self.source.wal, name.name)
                raise Corrupt(path, 0, "batches up to the next segment", sequence=before + 1)
            if stalled:
                time.sleep(PAUSE_S)
        if chain.last < up_to:
            self._check_end(manifest, chain)

    def segments(self) -> list[SegmentInfo]:
        return self._again(self._segments)

    def _segments(self) -> list[SegmentInfo]:
        manifest, names, found = self.manifest(), self.source.segments(), list[SegmentInfo]()
        for name in names:
            with closing(self._open(name, manifest)) as segment:
                if found and found[-1].sealed and found[-1].last >= found[-1].first:
                    # A header names the time of the last batch before it: the segment before need not be read.
                    found[-1] = replace(found[-1], last_ms=segment.header.created_ms)
                found.append(segment.info(whole=name is names[-1] or name.last is None))
        return found

    def _end(self, manifest: Manifest, names: list[SegmentName], last: int) -> tuple[int, int]:
        """Where the log ends, and the time of its last batch."""
        behind = next((name for name in names if name.first == last + 1), None)
        if behind is not None:
            with closing(self._open(behind, manifest)) as segment:
                return last, segment.header.created_ms
        if manifest.cluster_id:
            return self._committed_end(manifest, names, last if last != NEVER else 0)
        if not names:
            newest = manifest.newest
            return (newest.sequence, newest.timestamp_ms) if newest else (0, manifest.created_ms)
        with closing(self._open(names[-1], manifest)) as segment:
            info = segment.info(whole=True)
            return info.last, info.last_ms or segment.header.created_ms

    def _committed_end(self, manifest: Manifest, names: list[SegmentName], known: int) -> tuple[int, int]:
        """The last batch known to be committed, to the caller or by the files: the last segments tell."""
        newest = manifest.newest
        end, end_ms = (newest.sequence, newest.timestamp_ms) if newest else (0, manifest.created_ms)
        committed = max(end, known)
        for name in reversed(names):
            with closing(self._open(name, manifest)) as segment:
                chain = Chain(segment.header.first - 1, segment.header.prev_tag)
                found = [(batch.last, batch.timestamp_ms) for batch in segment.batches(chain)]
            committed = max(committed, chain.committed)
            inside = [one for one in found if end < one[0] <= committed]
            if inside or name.first <= end + 1:
                return inside[-1] if inside else (end, end_ms)
        return end, end_ms

    def _find(self, wanted: int) -> tuple[SegmentName | None, bool]:
        """The segment that may hold this sequence, and whether it is the last one; None behind the end of the log."""
        missing = ""
        for attempt in range(TRIES):
            names = self.source.segments()
            fitting = [name for name in names if name.first <= wanted and (name.last is None or name.last >= wanted)]
            if fitting:
                return fitting[-1], fitting[-1] is names[-1]
            behind = next((name for name in names if name.first > wanted), None)
            if behind is None:
                return None, True
            if behind is names[0]:
                raise Vanished(f"{self.root}: the log from sequence {wanted} on has been pruned meanwhile")
            missing = behind.name
            time.sleep(PAUSE_S if attempt else 0)
        expected = f"a segment with sequence {wanted} before this one"
        raise Corrupt(join(self.source.wal, missing), 0, expected, sequence=wanted)

    def _open(self, name: SegmentName, manifest: Manifest) -> Segment:
        try:
            return Segment(self, name, manifest)
        except Unreadable as failure:
            if isinstance(failure.__cause__, FileNotFoundError):
                raise Vanished(f"{failure.path}: renamed or pruned meanwhile") from failure
            raise

    def _again(self, look: Callable[[], T]) -> T:
        """What is looked at in one go, as often as it takes to see it whole beside a running server."""
        for _ in range(TRIES - 1):
            with suppress(Vanished):
                return look()
            time.sleep(PAUSE_S)
        return look()

    def _check_end(self, manifest: Manifest, chain: Chain) -> None:
        """`manifest` is older than the reading: the log has to reach what it says."""
        newest, stop = manifest.newest, manifest.clean_stop
        reached = max(newest.sequence if newest else 0, stop.sequence if stop else 0)
        if chain.last < reached:
            expected = f"a log that reaches sequence {reached} as the manifest says, it ends at {chain.last}"
            raise Corrupt(self.source.wal, 0, expected, sequence=chain.last + 1)


class Segment:
    """One open file of the log."""

    def __init__(self, history: History, name: SegmentName, manifest: Manifest) -> None:
        self.name = name
        self._reader, self.header, self._cipher = open_segment(
            history.disk, history.source.wal, name, manifest.store_id_bytes, history.keys
        )
        self._end = self._reader.size
        self._salt = store_salt(manifest.store_id_bytes)
        self._known = {info.sequence: bytes.fromhex(info.tag) for info in manifest.snapshots}

    def close(self) -> None:
        self._reader.file.close()

    def info(self, *, whole: bool) -> SegmentInfo:
        """`whole`: read it to its end; else what name and headers say, without the time of the last batch."""
        name, header = self.name, self.header
        first = first_batch_header(self._reader, self._salt)
        last, last_ms = name.first - 1 if name.last is None else name.last, None
        if whole:
            chain = Chain(header.first - 1, header.prev_tag)
            for batch in self.batches(chain):
                last_ms = batch.timestamp_ms
            last = chain.last
        first_ms = first.timestamp_ms if first is not None and last >= name.first else None
        is_sealed = name.last is not None
        return SegmentInfo(name.name, is_sealed, name.first, last, self._end, header.key_id, first_ms, last_ms)

    def batches(self, chain: Chain, up_to: int = NEVER) -> Iterator[Batch]:
        """The batches behind `chain`, which goes along; where it stands inside this segment, it has to be met."""
        header, path = self.header, self._reader.path
        if header.first == chain.last + 1:
            follow_segment(chain, header, path)
            yield from self._checked(chain, chain, up_to)
        else:
            assert header.first <= chain.last, (header.first, chain.last)
            yield from self._checked(Chain(header.first - 1, header.prev_tag), chain, up_to)

    def _checked(self, own: Chain, chain: Chain, up_to: int) -> Iterator[Batch]:
        after, tag, known = chain.last, chain.tag, self._known
        for batch in self._whole(own):
            if batch.last <= after or batch.first <= after:
                if batch.last > after or (batch.last == after and batch.tag != tag):
                    expected = "the batch that the snapshot of this sequence was made from"
                    raise Corrupt(self._reader.path, 0, expected, sequence=after)
                continue
            if batch.first > up_to:
                return
            if batch.last in known and known[batch.last] != batch.tag:
                expected = "the batch that the snapshot of this sequence was made from"
                raise Corrupt(self._reader.path, 0, expected, sequence=batch.last)
            own.committed = max(own.committed, chain.committed)
            chain.move_to(own)
            yield batch
        own.committed = max(own.committed, chain.committed)
        chain.committed = own.committed  # a hard state at the end may say more than the last batch

    def _whole(self, chain: Chain) -> Iterator[Batch]:
        """To the end of a sealed segment, or to the last batch of one that is being written."""
        scan, tries = Scan(self._reader, chain, self._salt, self._cipher), 0
        while True:
            before = chain.last
            yield from scan
            self._end = scan.offset
            if self.name.last is not None:
                check_sealed_end(scan, self.name)
                return
            facts, _ = gather(self._reader, scan.offset, chain.last + 1, self._salt, self._cipher)
            verdict = decide(facts)
            if verdict is Do.END or verdict is Do.CUT:
                return
            # Between two looks at a file that grows the later one may see more: what is refused is looked at afresh.
            tries = tries + 1 if chain.last == before else 0
            if tries >= TRIES:
                raise Corrupt(self._reader.path, scan.offset, describe(facts), sequence=chain.last + 1)
            time.sleep(PAUSE_S if tries else 0)
            offset = scan.offset
            self._reader = self._reader.again()
            scan = Scan(self._reader, chain, self._salt, self._cipher)
            scan.offset = offset


def _begins(manifest: Manifest, names: list[SegmentName]) -> int:
    """The first sequence that the log still has, or would have."""
    if names:
        return names[0].first
    return manifest.newest.sequence + 1 if manifest.newest else 1
