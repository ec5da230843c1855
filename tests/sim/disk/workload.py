"""A small server without a server: what a client was told, against what the disk gives back.

The state is simply the list of all batches. A snapshot holds that list up to its sequence, so a recovery from snapshot
and log can be compared with what was written, batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import PowerCut, SimDisk
from vaylix_resp.storage.batch import Batch
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.manifest import Keep
from vaylix_resp.storage.recovery import Recovered
from vaylix_resp.storage.sealed_log import read_batches
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.snapshot import SnapshotWriter, temporary_path
from vaylix_resp.storage.store import Store

STORE_ID = bytes(range(100, 116))
ROOT = "data"
SMALL = WalConfig(segment_bytes=16384, first_segment_bytes=8192, spares=1)

Fact = tuple[int, int, int, int, bytes]


def newest_of(keep: int) -> Keep:
    return lambda snapshots: snapshots[-keep:]


def fact(batch: Batch) -> Fact:
    return batch.first, batch.count, batch.term, batch.timestamp_ms, batch.body


@dataclass
class World:
    """One life of the process: open() to whatever ends it."""

    disk: Disk
    root: str = ROOT
    config: WalConfig = SMALL
    keys: Keys = field(default_factory=MemoryKeys)
    state: list[Fact] = field(default_factory=list)
    acknowledged: list[Fact] = field(default_factory=list)
    in_flight: list[Fact] = field(default_factory=list)  # appended, not (yet) synced
    store: Store = field(init=False)
    recovered: Recovered = field(init=False)

    def open(self) -> World:
        self.store = Store.open(
            self.disk, self.root, new_store_id=STORE_ID, now_ms=1, open_keys=lambda manifest: self.keys,
            config=self.config,
        )  # fmt: skip
        try:
            self._load()
        except BaseException:
            self.store.abandon()  # a process that refuses to start gives its lock back by ending
            raise
        self.acknowledged = list(self.state)
        return self

    def _load(self) -> None:
        reader = self.store.snapshot()
        if reader:
            for _, chunk in reader:
                assert isinstance(chunk, list)
                self.state += [tuple(one) for one in chunk]
            reader.close()
        self.recovered = self.store.recover(lambda batch: self.state.append(fact(batch)))

    def append(self, body: bytes, count: int = 1, sync: bool = True) -> None:
        wal = self.store.wal
        new = (wal.last + 1, count, wal.term or 1, wal.timestamp_ms + 1, body)
        self.in_flight.append(new)
        wal.append(new[0], count, new[2], new[3], wal.last, 42, body)
        if sync:
            self.sync()

    def sync(self) -> None:
        self.store.wal.sync()
        self.acknowledged += self.in_flight
        self.in_flight = []

    def read_batches(self, after: int) -> Iterator[Batch]:
        """What the sealed segments hold behind a snapshot, as a process beside this one reads it."""
        return read_batches(self.disk, self.root, self.store.manifest, self.keys, after)

    def snapshot(self, *, keep: int = 1, compress: bool = False) -> None:
        """As the engine does: seal, let a child read, publish, prune. The child's half uses only what is on disk."""
        store = self.store
        store.wal.rotate()
        last, tag, timestamp_ms = store.wal.last, store.wal.tag, store.wal.timestamp_ms
        newest = store.manifest.newest
        if newest and newest.sequence == last:
            return
        facts: list[Fact] = []
        reader = store.snapshot()
        if reader and newest:
            for _, chunk in reader:
                assert isinstance(chunk, list)
                facts += [tuple(one) for one in chunk]
            reader.close()
        facts += map(fact, self.read_batches(newest.sequence if newest else 0))
        writer = SnapshotWriter(
            self.disk, temporary_path(self.root, last), self.keys, store_id=STORE_ID, sequence=last, tag=tag,
            term=store.wal.term, timestamp_ms=timestamp_ms, compress=compress,
        )  # fmt: skip
        for start in range(0, len(facts), 3):
            writer.add_chunk([list(one) for one in facts[start : start + 3]])
        store.publish_snapshot(writer.finish(len(facts)), newest_of(keep))
        store.prune()


BODIES = (
    b"*1\r\n$4\r\nPING\r\n",
    b"*" * 383,  # with one pad byte exactly a sector
    b"*" * 384,  # a whole sector of pad
    b"*" + bytes(1500) + b"x",  # masked
    b"*" + b"y" * 3000,
    b"*" + b"z" * 20000,  # more than a segment
    b"*" + b"q" * 700,
)


def workload(world: World) -> Iterator[None]:
    """Everything the log can do, in little; yields between steps."""
    for round_ in range(2):
        for number, body in enumerate(BODIES):
            world.append(body + b"%d" % round_, count=number + 1)
            yield
            if number == 2:
                world.store.wal.prepare_spare()
                yield
        world.snapshot(keep=round_ + 1)
        yield
        world.append(b"*after", 2)
        yield


def relaxed_workload(world: World) -> Iterator[None]:
    """`appendfsync everysec`: several batches between two syncs."""
    for number, body in enumerate(BODIES * 2):
        world.append(body, count=number + 1, sync=False)
        if number % 3 == 2:
            world.sync()
        yield


def run_until_power_cut(world: World, steps: Callable[[World], Iterator[None]], stop: bool) -> bool:
    """False when the power went before the end. What the world knows then is what clients were told."""
    try:
        world.open()
        for _ in steps(world):
            continue
        if stop:
            world.store.clean_stop(99)
    except PowerCut:
        return False
    return True


def count_calls(prepare: Callable[[], SimDisk], steps: Callable[[World], Iterator[None]], stop: bool) -> int:
    disk = prepare()
    assert run_until_power_cut(World(disk), steps, stop)
    return disk.calls
