"""From whatever a crash left in wal/ to a log that can be appended to, or a refusal.

Promise: fails closed. What the state needs is read and checked before the first change; the changes are in an order in
which a crash at any of them leaves something that the next recovery accepts with the same outcome. Only the append that
a crash interrupted is cut, and a copy of it is kept in quarantine/. Of segments that end before the newest snapshot
(time travel needs them, a start does not) only the names are looked at: they have to lead up to it without a gap.
A member of a cluster gives the sink what it knows to be committed: what any frame or the snapshot says. The batches
behind that stay in the log and are handed over as the tail; who leads the cluster decides about them. Their size is
bounded by what a leader may have uncommitted.
Not here: the table for bad frames (`damage`); manifest and first start (`store`); every byte (`vaylix storage verify`).
Source: Raft (Ongaro, 2014), section 3.8 and figure 3.1: commitIndex is volatile, so a restart knows a lower bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from vaylix_resp.storage.active import Opened, Segment, create_active, seal
from vaylix_resp.storage.batch import Batch, store_salt
from vaylix_resp.storage.cutting import Cutting
from vaylix_resp.storage.damage import Do, decide, describe, gather
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable
from vaylix_resp.storage.hard_state import HardState
from vaylix_resp.storage.listing import DIRECTORY, NEVER, QUARANTINE, Listing, list_wal
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.manifest import Manifest
from vaylix_resp.storage.sealing import Cipher, Keys
from vaylix_resp.storage.segment import (
    READ_BYTES,
    SEGMENT_HEADER_BYTES,
    Chain,
    Reader,
    Scan,
    SegmentName,
    active_name,
    check_sealed_end,
    follow_segment,
    open_segment,
)
from vaylix_resp.storage.terms import Terms
from vaylix_resp.storage.wal import Wal


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
    """`hard_state`: term and vote of this life, None if none was ever saved. `committed`: where the sink stands.
    `tail`: the batches behind that, in order; none when the directory is no member of a cluster."""

    wal: Wal
    warnings: tuple[Cut, ...]
    batches: int  # given to the sink
    entries: int
    hard_state: HardState | None
    committed: int
    tail: tuple[Batch, ...]


@dataclass(slots=True)
class Active:
    """What was found in an active segment."""

    name: SegmentName
    path: str
    last: int
    end: int  # of the last good frame
    unsynced_from: int  # offset of the first frame of which it is not known that it was ever synced
    torn_end: int  # of the torn bytes behind `end`; equal to it when there are none


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
        self.terms: Terms | None = None  # None: the log begins with a batch whose predecessor's term is not known
        self.known_only = bool(manifest.cluster_id)
        self.committed = self.after  # as far as the sink has come
        self.tail: deque[Batch] = deque()
        self.anchors: list[tuple[int, bytes]] = []
        self.batches = self.entries = 0
        self.sealed: list[Segment] = []
        self.actives: list[Active] = []
        self.listing = Listing()

    def run(self, listing: Listing) -> None:
        self.listing = listing
        if not listing.active and not self.manifest.clean_stop:
            advice = "put the missing active-*.wal back, or restore from a backup"
            raise Corrupt(self.directory, 0, "an active segment, as every stop but a clean one leaves", advice=advice)
        if len(listing.active) > 2:
            raise Corrupt(join(self.directory, listing.active[2].name), 0, "at most two active segments")
        older = [name for name in listing.sealed if name.last is not None and name.last <= self.after]
        needed = listing.sealed[len(older) :]
        if self.known_only and older and not needed and not listing.active:
            needed = [older.pop()]  # after a clean stop: term and vote are in the last segment, wherever it ends
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
            self.terms = Terms(info.sequence, info.term)
        elif begins > 1 and first:
            reader, header, _ = open_segment(self.disk, self.directory, first, self.store_id, self.keys)
            reader.file.close()
            self.chain = Chain(begins - 1, header.prev_tag)
        else:
            self.terms = Terms(0, 0)
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
            self._replay(scan, reader.path)
            may_be_torn = is_last and not self.manifest.clean_stop
            torn_end = self._judge(reader, scan.offset, cipher, may_be_torn=may_be_torn)
        self.actives.append(Active(name, reader.path, self.chain.last, scan.offset, scan.synced, torn_end))

    def _replay(self, scan: Scan, path: str) -> None:
        """Go through the batches of a segment."""
        after, everything = self.after, not self.known_only
        anchor = self.anchors[0][0] if self.anchors else NEVER
        offset, term = scan.offset, self.chain.term
        for batch in scan:
            last = batch.first + batch.count - 1
            if last >= anchor:
                anchor = self._check_anchor(batch, path, offset)
            if batch.term != term or self.terms is None:
                term = batch.term
                self._note_term(batch)
            if batch.first > after:
                if everything:
                    self._give(batch)
                else:
                    self.tail.append(batch)
                    self._give_committed()
            offset = scan.offset
        self._give_committed()  # a hard state at the end may have said more

    def _note_term(self, batch: Batch) -> None:
        if self.terms is None:
            self.terms = Terms(batch.last, batch.term)
        else:
            self.terms.add(batch.first, batch.term)

    def _give_committed(self) -> None:
        while self.tail and self.tail[0].last <= self.chain.committed:
            self._give(self.tail.popleft())

    def _give(self, batch: Batch) -> None:
        self.batches += 1
        self.entries += batch.count
        self.committed = batch.first + batch.count - 1
        if self.sink:
            self.sink(batch)

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
        self._check_hard_state(where)

    def _check_hard_state(self, where: str) -> None:
        """Term and vote belong to who we are, and are those with which the server stopped. Those of a life that is over
        (a copy that began on its own, a restore, a repair) count for nothing."""
        chain, manifest = self.chain, self.manifest
        chain.hard_state = manifest.own(chain.hard_state)
        if expected := manifest.contradiction(chain.hard_state, chain.term):
            raise Corrupt(where, 0, expected, sequence=chain.last + 1)


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
    replay.run(list_wal(disk, root, replay.after))
    return replay


def repair(replay: Replay, config: WalConfig) -> Recovered:
    """The second half: what check() has found good becomes a log that can be written."""
    chain = replay.chain
    if not replay.known_only:
        chain.committed = chain.last  # a quorum of one has committed whatever its log holds
    chain.committed = max(replay.after, min(chain.committed, chain.last))
    try:
        for name in replay.listing.leftovers:  # first: spare segments may hold the room that the new one needs
            replay.disk.unlink(join(replay.directory, name))
        if replay.listing.opening is not None:
            _complete(replay)
        opened, cuts = _repair(replay, config)
    except OSError as cause:
        raise IoFailed(replay.directory, cause) from cause
    wal = Wal(
        replay.disk, replay.directory, replay.store_id, chain, replay.sealed, opened, config, replay.keys,
        replay.terms or Terms(chain.last, chain.term), replay.manifest.identity,
    )  # fmt: skip
    tail = tuple(replay.tail)
    return Recovered(wal, cuts, replay.batches, replay.entries, chain.hard_state, replay.committed, tail)


def _complete(replay: Replay) -> None:
    """A cut or an install was under way: finish it, so that the names are those of any other log."""
    cutting = Cutting(replay.disk, replay.directory, replay.store_id, replay.keys)
    shorter = cutting.complete(replay.listing, copied=False)
    if shorter is not None:
        replay.sealed = [shorter if one.first == shorter.first else one for one in replay.sealed]
    (active,) = replay.actives
    name = active_name(active.name.first)
    active.name, active.path = replace(active.name, name=name), join(replay.directory, name)


def _repair(replay: Replay, config: WalConfig) -> tuple[Opened, tuple[Cut, ...]]:
    """The changes, in their order. Until the new active segment has its name, the old one keeps its own."""
    disk, directory, chain = replay.disk, replay.directory, replay.chain
    cuts: list[Cut] = []
    for active in replay.actives:
        if active.torn_end > active.end:
            cuts.append(_set_aside(replay, active))
        _settle(disk, active)
        if active is not replay.actives[-1]:
            replay.sealed.append(_seal(disk, directory, active))
    # A new one even if the old one is empty: with its key another process may have written what a crash took away.
    size = config.first_segment_bytes
    opened = create_active(disk, directory, replay.store_id, chain, size, replay.keys, chain.hard_state)
    if replay.actives and replay.actives[-1].last >= replay.actives[-1].name.first:
        replay.sealed.append(_seal(disk, directory, replay.actives[-1]))
    return opened, tuple(cuts)


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
