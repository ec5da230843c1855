"""A small member of a cluster without a cluster: its log, its term and vote, against what the disk gives back.

The state is the list of all batches, as in `workload`; `log` is that list and the tail that is not known to be committed.
What the node may rely on after each call is in `promised`; a call that is interrupted may leave one of `possible`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from tests.sim.disk.workload import ROOT, SMALL, STORE_ID, Fact, fact
from vaylix_resp.storage.batch import ENTRIES, Batch
from vaylix_resp.storage.hard_state import Identity
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.manifest import SnapshotInfo
from vaylix_resp.storage.recovery import Recovered
from vaylix_resp.storage.sealed_log import read_batches
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.snapshot import SnapshotReader, SnapshotWriter, temporary_path
from vaylix_resp.storage.store import Store
from vaylix_resp.storage.transfer import Offer, SnapshotReceiver, send

CLUSTER = bytes(range(50, 66))
NODE = 0xA1A2A3A4A5A6A7A8
IDENTITY = Identity(CLUSTER, NODE, 1)
OTHER_STORE = bytes(range(200, 216))


@dataclass(frozen=True)
class Vote:
    term: int
    vote: int = 0


@dataclass(frozen=True)
class Told:
    """All that matters of a member: term and vote, the log, and how much of it a start may apply."""

    vote: tuple[int, int]
    log: tuple[Fact, ...]
    committed: int = 0  # the highest sequence that was called committed in a durable frame


def entry(first: int, term: int, body: bytes = b"*e", count: int = 1, kind: int = ENTRIES) -> Batch:
    """As a leader makes it; its time follows from its place, so that it never falls."""
    return Batch(first, count, term, 1000 * term + first, 0, 7, body, kind=kind)


@dataclass
class Member:
    """One life of the process."""

    disk: SimDisk
    root: str = ROOT
    config: WalConfig = SMALL
    keys: Keys = field(default_factory=MemoryKeys)
    state: list[Fact] = field(default_factory=list)
    store: Store = field(init=False)
    recovered: Recovered = field(init=False)
    promised: Told = Told((0, 0), ())
    possible: list[Told] = field(default_factory=list)

    def open(self, *, join: bool = True) -> Member:
        self.store = Store.open(
            self.disk, self.root, new_store_id=STORE_ID, now_ms=1, open_keys=lambda manifest: self.keys,
            config=self.config,
        )  # fmt: skip
        try:
            self._load()
        except BaseException:
            self.store.abandon()
            raise
        self.promised = self.told
        self.possible = []
        if join and not self.store.manifest.cluster_id:
            self.store.join(IDENTITY)
        return self

    def _load(self) -> None:
        reader = self.store.snapshot()
        if reader:
            self.state = facts_of(reader)
        self.recovered = self.store.recover(lambda batch: self.state.append(fact(batch)))

    @property
    def told(self) -> Told:
        """As it was found at the start."""
        found = self.recovered.hard_state
        vote = (found.term, found.vote) if found else (0, 0)
        return Told(vote, (*self.state, *map(fact, self.recovered.tail)), self.recovered.committed)

    @property
    def log(self) -> list[Fact]:
        return list(self.promised.log)

    @property
    def last(self) -> int:
        return self.store.wal.last

    def save(self, vote: Vote | None, entries: Sequence[Batch] = (), committed: int = 0) -> None:
        """Saved and synced: whatever relies on it may leave the node."""
        before, log = self.promised, self.promised.log
        votes = (vote.term, vote.vote) if vote else before.vote
        # Frames are kept in their order: term and vote first. Each says of what is before it how much is committed.
        self.possible = [before]
        if votes != before.vote:
            self.possible.append(Told(votes, log, max(before.committed, min(committed, self.last))))
        for number, batch in enumerate(entries, 1):
            known = max(before.committed, min(committed, batch.last))
            self.possible.append(Told(votes, (*log, *map(fact, entries[:number])), known))
        self.store.wal.save(vote, entries, committed)
        self.store.wal.sync()
        self._settled(self.possible[-1])

    def truncate(self, last: int) -> None:
        before = self.promised
        kept = tuple(one for one in before.log if one[0] + one[1] - 1 <= last)
        after = Told(before.vote, kept, before.committed)
        self.possible = [before, after]
        self.store.wal.truncate_after(last)
        self._settled(after)

    def install(self, snapshot: Sent, vote: Vote | None = None) -> None:
        """Receive a snapshot and put it in the place of everything."""
        before = self.promised
        votes = (vote.term, vote.vote) if vote else before.vote
        after = Told(votes, snapshot.facts, snapshot.offer.sequence)
        self.possible = [before, after]
        receiver = SnapshotReceiver(self.disk, self.root, STORE_ID, self.keys, snapshot.offer)
        received = None
        for offset, data in snapshot.pieces:
            received = receiver.write(offset, data)
        assert received is not None
        self.store.install(received, vote)
        self._settled(after)

    def snapshot(self) -> None:
        """Of what is committed, made by what a child would read; it changes nothing that is promised."""
        store = self.store
        facts = [one for one in self.log if last_of(one) <= store.wal.committed]
        newest = store.manifest.newest
        after = newest.sequence if newest else 0
        if not facts or last_of(facts[-1]) <= after:
            return
        store.wal.rotate()
        batch = list(read_batches(self.disk, self.root, store.manifest, self.keys, after, last_of(facts[-1])))[-1]
        info = write_snapshot(self.disk, self.root, self.keys, STORE_ID, facts, batch)
        store.publish_snapshot(info)
        store.prune()

    def stop(self) -> None:
        self.possible = [self.promised]
        self.store.clean_stop(99)

    def _settled(self, told: Told) -> None:
        self.promised, self.possible = told, [told]


def last_of(one: Fact) -> int:
    return one[0] + one[1] - 1


def facts_of(reader: SnapshotReader) -> list[Fact]:
    with closing(reader):
        return [tuple(one) for _, chunk in reader for one in chunk]  # type: ignore[attr-defined]


def write_snapshot(
    disk: SimDisk, root: str, keys: Keys, store_id: bytes, facts: Sequence[Fact], batch: Batch
) -> SnapshotInfo:
    """The state after `batch`, as a file under its temporary name."""
    writer = SnapshotWriter(
        disk, temporary_path(root, batch.last), keys, store_id=store_id, sequence=batch.last, tag=batch.tag,
        term=batch.term, timestamp_ms=batch.timestamp_ms, compress=batch.last % 2 == 0,
    )  # fmt: skip
    for start in range(0, len(facts), 3):
        writer.add_chunk([list(one) for one in facts[start : start + 3]])
    return writer.finish({"facts": len(facts)})


@dataclass(frozen=True)
class Sent:
    """A snapshot of another node, on its way."""

    facts: tuple[Fact, ...]
    offer: Offer
    pieces: tuple[tuple[int, bytes], ...]

    @classmethod
    def of(cls, facts: Sequence[Fact], size: int = 700) -> Sent:
        """What a node with these batches would send, in pieces of `size`."""
        disk, keys = SimDisk(), MemoryKeys(2)
        disk.mkdir("other/snapshots")
        first, count, term, timestamp_ms, body = facts[-1]
        batch = Batch(first, count, term, timestamp_ms, 0, 0, body, bytes(range(16)))
        info = write_snapshot(disk, "other", keys, OTHER_STORE, facts, batch)
        reader = SnapshotReader(disk, temporary_path("other", batch.last), OTHER_STORE, keys, info)
        with closing(reader):
            return cls(tuple(facts), Offer.of(info), tuple(send(reader, 0, size)))
