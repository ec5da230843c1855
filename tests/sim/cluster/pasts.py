"""What a node's lives have in common: its log. In memory, or the store's own code on a simulated disk.

Both may lose at a crash what was not synced, and keep a part of it. A founder begins with the founding batch; a node
that joins begins with nothing, and has no members to begin with.
"""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

from tests.sim.cluster.memory_log import MemoryLog, MemoryView
from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from vaylix_resp.engine import boot, entries
from vaylix_resp.engine.replication.catch_up import log_source
from vaylix_resp.engine.replication.formation import begin, founding_entry, new_core
from vaylix_resp.engine.replication.members import membership_of
from vaylix_resp.errors import Refused
from vaylix_resp.raft.core import RaftCore
from vaylix_resp.raft.ready import Config, Persist
from vaylix_resp.raft.types import Entry, EntryKind, HardState
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.nodes import NodeInfo
from vaylix_resp.storage.hard_state import Identity
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.store import Store

DATABASES = 4
CLUSTER = bytes(range(16))
SMALL = WalConfig(segment_bytes=1 << 16, first_segment_bytes=1 << 15, spares=1)
CUT_WITHIN_CALLS = 40  # of the disk: an armed fault shows in one of the next so many


class Past(Protocol):
    store: Store | None  # of this life, if there is one

    def begin(self, machine: StateMachine, config: Config, rng: Random) -> tuple[Any, RaftCore]:
        """A life: the log, and the core where the state stands that is known to be committed."""

    def die(self, random: Random, in_flight: Persist | None) -> None:
        """The process ends, perhaps in the middle of this write. Whatever of it runs on finds no disk."""

    def crash(self, random: Random) -> None:
        """What the next life finds is settled."""

    def read(self, after: int, max_bytes: int) -> list[Entry] | None:
        """As `raft.ready.LogView.entries`, at leisure."""

    def arm(self, random: Random, kind: str, within: int = CUT_WITHIN_CALLS) -> bool:
        """One of the next calls of the disk fails in this way (`simdisk.Fault`); whether there is such a disk."""

    def heal(self) -> None:
        """Nothing that was armed happens any more."""

    def fill(self, full: str) -> None:
        """The disk has no room, as `SimDisk.full`; "": it has again."""


class MemoryPast:
    store: Store | None = None

    def __init__(self, node: int, members: list[NodeInfo]) -> None:
        self.log = MemoryLog()
        if members:
            self.log.save(HardState(1, 0, 1), [founding_entry(CLUSTER, members, 1, 1, 0)], 1)
            self.log.sync()

    def begin(self, machine: StateMachine, config: Config, rng: Random) -> tuple[Any, RaftCore]:
        tail = []
        for entry in self.log.batches:
            if entry.last > self.log.committed:
                tail.append(entry)
                continue
            if entry.kind is EntryKind.NOOP:
                boot.begin_term(machine, entry.body, DATABASES)
            machine.begin_batch(entry.timestamp_ms, entry.seed)
            machine.apply_all(entries.decode(entry.body))
        machine.world.index()
        members = membership_of(machine.world.nodes)
        view = self.log.view()
        return self.log, RaftCore(config, self.log.hard_state, members, view, rng, machine.applied, tail)

    def die(self, random: Random, in_flight: Persist | None) -> None:
        if in_flight is not None and random.random() < 0.5:
            if in_flight.truncate_after is not None:
                self.log.truncate_after(in_flight.truncate_after)
            self.log.save(in_flight.hard_state, in_flight.entries, in_flight.hard_state.committed)

    def crash(self, random: Random) -> None:
        self.log = self.log.crash(random)

    def read(self, after: int, max_bytes: int) -> list[Entry] | None:
        return MemoryView(self.log).read(after, max_bytes)

    def arm(self, random: Random, kind: str, within: int = CUT_WITHIN_CALLS) -> bool:
        return False

    def heal(self) -> None:
        """Nothing can be armed."""

    def fill(self, full: str) -> None:
        """Memory has room."""


class DiskPast:
    def __init__(self, node: int, members: list[NodeInfo]) -> None:
        self._node, self._members = node, members
        self.disk, self._keys = SimDisk(), MemoryKeys()
        self.store: Store | None = None

    def begin(self, machine: StateMachine, config: Config, rng: Random) -> tuple[Any, RaftCore]:
        self.store = None
        store = Store.open(
            self.disk, "data", new_store_id=bytes([self._node]) * 16, now_ms=1, open_keys=lambda _: self._keys,
            config=SMALL,
        )  # fmt: skip
        recovered, _ = boot.recover_log(store, machine)
        identity = Identity(CLUSTER, self._node, 0)
        if self._members:
            recovered = begin(store, machine, recovered, identity, self._members)
        elif store.manifest.identity is None:
            store.join(identity)
        self._read = log_source(store)
        self.store = store
        return store.wal, new_core(store, machine, recovered, config, rng)

    def die(self, random: Random, in_flight: Persist | None) -> None:
        store = self.store
        if store is not None and in_flight is not None and in_flight.snapshot is None and random.random() < 0.5:
            try:
                if in_flight.truncate_after is not None:
                    store.wal.truncate_after(in_flight.truncate_after)
                store.wal.save(in_flight.hard_state, in_flight.entries, in_flight.hard_state.committed)
            except (PowerCut, Refused):
                self.disk.off = True  # it did not get far
        self.disk.off = True

    def crash(self, random: Random) -> None:
        self.disk.full = ""
        self.disk = self.disk.kill() if random.random() < 0.3 else self.disk.crash(random)

    def read(self, after: int, max_bytes: int) -> list[Entry] | None:
        return self._read(after, max_bytes)

    def arm(self, random: Random, kind: str, within: int = CUT_WITHIN_CALLS) -> bool:
        self.disk.faults[self.disk.calls + random.randint(1, within)] = Fault(kind, random.random())
        return True

    def heal(self) -> None:
        self.disk.faults.clear()

    def fill(self, full: str) -> None:
        self.disk.full = full
