"""From whatever a crash left in wal/ to a log that can be appended to, or a refusal.

Promise: fails closed. What the state needs is read and checked before the first change; the changes are in an order in
which a crash at any of them leaves something that the next recovery accepts with the same outcome. Only the append that
a crash interrupted is cut, and a copy of it is kept in quarantine/. Of segments that end before the newest snapshot
(time travel needs them, a start does not) only the names are looked at: they have to lead up to it without a gap.
Not here: the table for bad frames (`damage`); manifest and first start (`store`); every byte (`vaylix storage verify`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from vaylix_resp.storage.batch import Batch, store_salt
from vaylix_resp.storage.damage import Behind, Body, Do, Facts, Head, decide, gather
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable
from vaylix_resp.storage.manifest import Manifest
from vaylix_resp.storage.sealing import Cipher, Keys
from vaylix_resp.storage.segment import (
    READ_BYTES,
    SEGMENT_HEADER_BYTES,
    Chain,
    Reader,
    Scan,
    SegmentName,
    follow_segment,
    open_segment,
    parse_name,
)
from vaylix_resp.storage.wal import Segment, Wal, WalConfig, create_active, seal

DIRECTORY = "wal"
QUARANTINE = "quarantine"
NEVER = 1 << 64


@dataclass(frozen=True, slots=True)
class Cut:
    """A torn batch that was cut off: what the warning in the log says."""

    path: str
    offset: int
    bytes: int
    sequence: int
    kept: str

    def __str__(self) -> str:
        return (
            f"{self.path}: byte {self.offset}: the batch that would begin with sequence {self.sequence} was being "
            f"written when the server stopped; it was never acknowledged as durable. "
            f"{self.bytes} bytes cut, a copy is in {self.kept}"
        )


@dataclass(frozen=True, slots=True)
class Recovered:
    wal: Wal
    warnings: tuple[Cut, ...]
    batches: int  # given to the sink
    entries: int


@dataclass(slots=True)
class Listing:
    sealed: list[SegmentName] = field(default_factory=list)
    active: list[SegmentName] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Active:
    """What was found in an active segment."""

    name: SegmentName
    path: str
    last: int
    end: int  # of the last good batch
    unsynced_from: int  # offset of the first batch of which it is not known that it was ever synced
    torn_end: int  # of the torn bytes behind `end`; equal to it when there are none


def list_wal(disk: Disk, root: str) -> Listing:
    """What wal/ holds, in the order of its names. A name that is not ours is refused: it may be a part of the log."""
    listing, directory = Listing(), join(root, DIRECTORY)
    try:
        names = disk.listdir(directory)
    except OSError as cause:
        raise Unreadable(directory, 0, cause) from cause
    for name in names:
        parsed = parse_name(name)
        if parsed is None and name.endswith(".tmp"):
            listing.leftovers.append(join(directory, name))
        elif parsed is None:
            raise Corrupt(join(directory, name), 0, "only segments here", advice="move this file elsewhere")
        elif parsed.last is None:
            listing.active.append(parsed)
        else:
            listing.sealed.append(parsed)
    listing.sealed.sort(key=lambda segment: segment.first)
    listing.active.sort(key=lambda segment: segment.first)
    return listing


class Replay:
    """One pass over the log: checks it, and gives `sink` the batches behind the newest snapshot."""

    def __init__(
        self, disk: Disk, root: str, manifest: Manifest, keys: Keys, sink: Callable[[Batch], None] | None = None
    ) -> None:
        self.disk, self.root, self.manifest, self.keys, self.sink = disk, root, manifest, keys, sink
        self.directory = join(root, DIRECTORY)
        self.store_id = manifest.store_id_bytes
        self.salt = store_salt(self.store_id)
        self.after = manifest.newest.sequence if manifest.newest else 0
        self.chain = Chain()
        self.anchors: list[tuple[int, bytes]] = []
        self.batches = self.entries = 0
        self.sealed: list[Segment] = []
        self.actives: list[Active] = []
        self.leftovers: list[str] = []

    def run(self, listing: Listing) -> None:
        if not listing.active and not self.manifest.clean_stop:
            advice = "put the missing active-*.wal back, or restore from a backup"
            raise Corrupt(self.directory, 0, "an active segment, as every stop but a clean one leaves", advice=advice)
        if len(listing.active) > 2:
            raise Corrupt(join(self.directory, listing.active[2].name), 0, "at most two active segments")
        self.leftovers = listing.leftovers
        older = [name for name in listing.sealed if name.last is not None and name.last <= self.after]
        needed = listing.sealed[len(older) :]
        names = [*needed, *listing.active]
        first = names[0] if names else None
        oldest = self.manifest.snapshots[0].sequence if self.manifest.snapshots else 0
        self._check_begin(older[0] if older else first, oldest)  # what comes before that snapshot may be gone
        self._pass_over(older, first)
        self._start(first)
        for name in needed:
            self._read_sealed(name)
        for name in listing.active:
            self._read_active(name, is_last=name is listing.active[-1])
        self._check_end()

    def _check_begin(self, first: SegmentName | None, base: int) -> None:
        """The log has to begin at or before what comes behind `base`. None: there are no segments."""
        if (first.first if first else self.after + 1) > base + 1:
            path = join(self.directory, first.name) if first else self.directory
            expected = f"a log that begins at sequence {base + 1} or before, this is the oldest segment"
            raise Corrupt(path, 0, expected, sequence=base + 1)

    def _pass_over(self, older: list[SegmentName], following: SegmentName | None) -> None:
        """Segments from before the newest snapshot: without a gap between them, nor between them and the rest."""
        for number, name in enumerate(older):
            assert name.last is not None
            path = join(self.directory, name.name)
            behind = older[number + 1] if number + 1 < len(older) else following
            begins = behind.first if behind else self.after + 1
            if name.last < name.first or begins != name.last + 1:
                expected = f"a segment that begins with sequence {name.last + 1} to follow this one"
                raise Corrupt(path, 0, expected, sequence=name.last + 1)
            try:
                file = self.disk.open(path)
            except OSError as cause:
                raise Unreadable(path, 0, cause) from cause
            with closing(file):
                self.sealed.append(Segment(path, name.first, name.last, file.size()))

    def _start(self, first: SegmentName | None) -> None:
        """Where the log has to begin: at sequence 1, behind a snapshot, or (older segments are kept) before one."""
        snapshots = {info.sequence: info for info in self.manifest.snapshots}
        begins = first.first if first else self.after + 1
        self._check_begin(first, self.after)
        if info := snapshots.get(begins - 1):
            self.chain = Chain(info.sequence, bytes.fromhex(info.tag), info.term, info.timestamp_ms)
        elif begins > 1 and first:
            reader, header, _ = open_segment(self.disk, self.directory, first, self.store_id, self.keys)
            reader.file.close()
            self.chain = Chain(begins - 1, header.prev_tag)
        self.anchors = sorted((at, bytes.fromhex(i.tag)) for at, i in snapshots.items() if at >= begins)

    def _read_sealed(self, name: SegmentName) -> None:
        reader, header, cipher = open_segment(self.disk, self.directory, name, self.store_id, self.keys)
        with closing(reader.file):
            follow_segment(self.chain, header, reader.path)
            scan = Scan(reader, self.chain, self.salt, cipher)
            self._replay(scan, reader.path)
        check_sealed_end(scan, name)
        assert name.last is not None
        self.sealed.append(Segment(reader.path, name.first, name.last, reader.size))

    def _read_active(self, name: SegmentName, *, is_last: bool) -> None:
        reader, header, cipher = open_segment(self.disk, self.directory, name, self.store_id, self.keys)
        with closing(reader.file):
            follow_segment(self.chain, header, reader.path)
            scan = Scan(reader, self.chain, self.salt, cipher)
            places = self._replay(scan, reader.path, note_places=True)
            may_be_torn = is_last and not self.manifest.clean_stop
            torn_end = self._judge(reader, scan.offset, cipher, may_be_torn=may_be_torn)
        unsynced = next((at for first, at in places if first > scan.durable), scan.offset)
        self.actives.append(Active(name, reader.path, self.chain.last, scan.offset, unsynced, torn_end))

    def _replay(self, scan: Scan, path: str, *, note_places: bool = False) -> list[tuple[int, int]]:
        """Go through the batches; with `note_places` also where each begins."""
        places: list[tuple[int, int]] = []
        after, sink = self.after, self.sink
        anchor = self.anchors[0][0] if self.anchors else NEVER
        offset = scan.offset
        for batch in scan:
            last = batch.first + batch.count - 1
            if last >= anchor:
                anchor = self._check_anchor(batch, path, offset)
            if batch.first > after:
                self.batches += 1
                self.entries += batch.count
                if sink:
                    sink(batch)
            if note_places:
                places.append((batch.first, offset))
            offset = scan.offset
        return places

    def _check_anchor(self, batch: Batch, path: str, offset: int) -> int:
        """A snapshot is the state after a batch; the log has to have had that very batch there."""
        sequence, tag = self.anchors.pop(0)
        if batch.last != sequence or self.chain.tag != tag:
            raise Corrupt(path, offset, "the batch that the snapshot of this sequence was made from", sequence=sequence)
        return self.anchors[0][0] if self.anchors else NEVER

    def _judge(self, reader: Reader, offset: int, cipher: Cipher | None, *, may_be_torn: bool) -> int:
        """What lies behind the last good batch: the end of it, or the end of a torn batch; or Corrupt."""
        sequence = self.chain.last + 1
        facts, end = gather(reader, offset, sequence, self.salt, cipher)
        match decide(facts):
            case Do.END:
                return offset
            case Do.CUT if may_be_torn:
                return end
            case Do.CUT:
                expected = "zeros behind the last batch: this segment was complete before the server went on or stopped"
                raise Corrupt(reader.path, offset, expected, sequence=sequence)
            case _:
                raise Corrupt(reader.path, offset, describe(facts), sequence=sequence)

    def _check_end(self) -> None:
        last, stop = self.chain.last, self.manifest.clean_stop
        where = self.actives[-1].path if self.actives else self.directory
        if last < self.after:
            expected = f"a log that reaches the snapshot at sequence {self.after}, it ends at {last}"
            raise Corrupt(where, 0, expected, sequence=last + 1)
        if stop and (last, self.chain.tag.hex()) != (stop.sequence, stop.tag):
            expected = f"the log to end with the batch of sequence {stop.sequence} at which the server stopped cleanly"
            raise Corrupt(where, 0, f"{expected}, it ends at {last}", sequence=min(last, stop.sequence) + 1)


def describe(facts: Facts) -> str:
    """Why a bad frame is refused, for the operator."""
    match facts:
        case Facts(behind=Behind.SYNCED):
            return "a whole batch here, because a later one was written after it was durable"
        case Facts(head=Head.OK, body=Body.BAD):
            return "a right checksum of a batch that was written to its last byte"
        case _:
            return "a batch header with a right checksum, or zeros"


def check_sealed_end(scan: Scan, name: SegmentName) -> None:
    """A sealed segment is whole batches up to the end of the file and up to the sequence in its name."""
    last = scan.chain.last
    if scan.offset != scan.reader.size:
        raise Corrupt(scan.reader.path, scan.offset, "a whole batch with right checksums", sequence=last + 1)
    if last != name.last:
        expected = f"batches up to sequence {name.last} as in the file name, they end at {last}"
        raise Corrupt(scan.reader.path, scan.offset, expected, sequence=last + 1)


def recover(
    disk: Disk, root: str, manifest: Manifest, keys: Keys, sink: Callable[[Batch], None] | None = None,
    config: WalConfig | None = None,
) -> Recovered:  # fmt: skip
    """Check the log, give `sink` what lies behind the newest snapshot, repair the end, open a new active segment.

    The sink sees batches before the whole log is known to be good: after an exception its state is worth nothing.
    """
    return repair(check(disk, root, manifest, keys, sink), config or WalConfig())


def check(disk: Disk, root: str, manifest: Manifest, keys: Keys, sink: Callable[[Batch], None] | None) -> Replay:
    """The first half of recover(): nothing is changed."""
    replay = Replay(disk, root, manifest, keys, sink)
    replay.run(list_wal(disk, root))
    return replay


def repair(replay: Replay, config: WalConfig) -> Recovered:
    """The second half: what check() has found good becomes a log that can be written."""
    try:
        for path in replay.leftovers:  # first: spare segments may hold the room that the new one needs
            replay.disk.unlink(path)
        wal, cuts = _repair(replay, config)
    except OSError as cause:
        raise IoFailed(replay.directory, cause) from cause
    return Recovered(wal, cuts, replay.batches, replay.entries)


def _repair(replay: Replay, config: WalConfig) -> tuple[Wal, tuple[Cut, ...]]:
    """The changes, in their order. Until the new active segment has its name, the old one keeps its own."""
    disk, directory = replay.disk, replay.directory
    cuts: list[Cut] = []
    for active in replay.actives:
        if active.torn_end > active.end:
            cuts.append(_set_aside(replay, active))
        _settle(disk, active)
        if active is not replay.actives[-1]:
            replay.sealed.append(_seal(disk, directory, active))
    # A new one even if the old one is empty: with its key another process may have written what a crash took away.
    size = config.first_segment_bytes
    opened = create_active(disk, directory, replay.store_id, replay.chain, size, replay.keys)
    if replay.actives and replay.actives[-1].last >= replay.actives[-1].name.first:
        replay.sealed.append(_seal(disk, directory, replay.actives[-1]))
    wal = Wal(disk, directory, replay.store_id, replay.chain, replay.sealed, opened, config, replay.keys)
    return wal, tuple(cuts)


def _set_aside(replay: Replay, active: Active) -> Cut:
    """Keep the torn bytes where an operator can look at them."""
    disk, size = replay.disk, active.torn_end - active.end
    file = disk.open(active.path)
    with closing(file):
        torn = file.pread(size, active.end)
    disk.mkdir(join(replay.root, QUARANTINE))
    base = join(replay.root, QUARANTINE, f"{active.name.name}-{active.end}")
    number, path = 0, base + ".torn"
    while disk.exists(path) and disk.read_file(path) != torn:  # the same name was cut at the same place before
        number += 1
        path = f"{base}-{number}.torn"
    disk.replace_file(path, torn)
    return Cut(active.path, active.end, size, replay.chain.last + 1, path)


def _settle(disk: Disk, active: Active) -> None:
    """Write again what may never have reached the disk, cut what lies behind, and sync both.

    Again, because after a failed fsync the page cache shows bytes that the disk does not have and that no later fsync
    would write. The bytes are the same, so a crash in between changes nothing.
    """
    file = disk.open(active.path, write=True)
    with closing(file):
        for offset in range(active.unsynced_from, active.end, READ_BYTES):
            file.pwrite(file.pread(min(READ_BYTES, active.end - offset), offset), offset)
        file.truncate(max(active.end, SEGMENT_HEADER_BYTES))
        file.fsync()


def _seal(disk: Disk, directory: str, active: Active) -> Segment:
    file = disk.open(active.path, write=True)
    with closing(file):
        return seal(disk, directory, file, Segment(active.path, active.name.first, active.last, active.end))


def read_batches(
    disk: Disk, root: str, manifest: Manifest, keys: Keys, after: int, up_to: int = NEVER
) -> Iterator[Batch]:
    """The batches of the sealed segments that lie behind `after` and end at or before `up_to`, checked. Read-only.

    For the process that makes a snapshot: it may run beside the server, which only adds segments meanwhile.
    `after` is 0 or the sequence of a snapshot in the manifest, whose tag the log has to continue.
    """
    replay = Replay(disk, root, manifest, keys)
    names = [name for name in list_wal(disk, root).sealed if name.last is not None and name.last > after]
    base = next((info for info in manifest.snapshots if info.sequence == after), None)
    assert base or after == 0, after
    anchor = bytes.fromhex(base.tag) if base else replay.chain.tag
    replay.after = after
    replay._start(names[0] if names else None)
    chain = replay.chain
    for name in names:
        if name.first > up_to:
            return
        reader, header, cipher = open_segment(disk, replay.directory, name, replay.store_id, keys)
        with closing(reader.file):
            follow_segment(chain, header, reader.path)
            scan = Scan(reader, chain, replay.salt, cipher)
            if name.first == after + 1:
                _check_base(header.prev_tag, anchor, reader.path, after)
            for batch in scan:
                if batch.last == after:
                    _check_base(chain.tag, anchor, reader.path, after)
                if batch.last > up_to:
                    return
                if batch.first > after:
                    yield batch
            check_sealed_end(scan, name)


def _check_base(found: bytes, expected: bytes, path: str, sequence: int) -> None:
    if found != expected:
        raise Corrupt(path, 0, "the batch that the snapshot of this sequence was made from", sequence=sequence)
