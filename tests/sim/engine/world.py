"""A server without sockets: lives of one engine on one simulated disk, and what the outside was told.

`Life` is a process: real recovery, node, log and snapshots, driven by plain calls. `Book` outlives it: every batch that
was sealed, what clients were told, and so which states a restart may find. It never asks the engine; the state that a
prefix of the batches makes comes from a second state machine, which gets the operations as the clients sent them.
Not here: what is written (`workload`), when the power goes (the tests).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from tests.unit.engine.lab import START_MS, Clock
from vaylix_resp.commands.operations import in_database
from vaylix_resp.engine import boot
from vaylix_resp.engine.node import Batch, Node, Run
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.errors import CommandError
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.storage.errors import DiskFull, StorageError, WalFailed
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.store import Store

ROOT = "data"
STORE_ID = bytes(range(50, 66))
SMALL = WalConfig(segment_bytes=12288, first_segment_bytes=8192, spares=1)
DATABASES = 5
KEYS = MemoryKeys()
RECEIPTS = 4  # the database that holds one key for each run: whether all of it happened

Operation = tuple[bytes, ...]


@dataclass(frozen=True)
class Record:
    """A batch as it was handed to the log."""

    first: int
    timestamp_ms: int
    seed: int
    operations: tuple[Operation, ...]

    @property
    def last(self) -> int:
        return self.first + len(self.operations) - 1


@dataclass
class Book:
    """What the outside knows."""

    records: list[Record] = field(default_factory=list)  # that may be in the log, in order
    answered: int = 0  # sequence up to which clients were told "done"
    synced: int = 0  # and up to which an fsync has returned
    runs: dict[int, str] = field(default_factory=dict)  # number -> sent, done, refused (definite) or unsure
    _digests: dict[tuple[Record, ...], str] = field(default_factory=dict)

    def check(self, machine: StateMachine, promised: int) -> None:
        """The state after a restart is that of a prefix of the batches, and of one that keeps what was promised."""
        applied = machine.applied
        ends = [0, *(record.last for record in self.records)]
        assert applied in ends, f"half a batch: the log ends at {applied}, batches at {ends[-5:]}"
        assert applied >= promised, f"lost: the log ends at {applied}, {promised} was promised"
        kept = tuple(record for record in self.records if record.last <= applied)
        assert digest_hex(machine) == self._digest(kept), f"not the state of the first {applied} entries"
        receipts = machine.world.views[RECEIPTS]
        for number, status in self.runs.items():
            there = receipts.exists(receipt(number))
            if status == "done":
                assert there or promised < self.answered, f"run {number} was answered, and is gone"
            assert not (status == "refused" and there), f"run {number} was refused, and happened"

    def settle(self, machine: StateMachine) -> None:
        """The next life has begun with this state: what is not in it will never be."""
        self.records = [record for record in self.records if record.last <= machine.applied]
        self.answered = self.synced = machine.applied
        receipts = machine.world.views[RECEIPTS]
        self.runs = {n: "done" if receipts.exists(receipt(n)) else "refused" for n in self.runs}

    def _digest(self, records: tuple[Record, ...]) -> str:
        if records not in self._digests:
            twin = boot.new_machine(DATABASES)
            for record in records:
                twin.begin_batch(record.timestamp_ms, record.seed)
                twin.apply_all(record.operations)
            self._digests[records] = digest_hex(twin)
        return self._digests[records]

    def copy(self) -> Book:
        return Book(list(self.records), self.answered, self.synced, dict(self.runs), self._digests)


def receipt(number: int) -> bytes:
    return b"receipt:%d" % number


class Life:
    """From the start of the process to whatever ends it. PowerCut may come out of every method."""

    def __init__(self, disk: SimDisk, book: Book, clock: Clock, seed: int, *, appendfsync: str = "always") -> None:
        self.disk, self.book, self.clock, self.appendfsync = disk, book, clock, appendfsync
        self.rng = Random(seed)
        self.warnings: list[str] = []
        self.problems: list[str] = []  # what an operator would read in the log

    def open(self) -> Life:
        """Recover and begin a term, or StorageError: the process refuses to start."""
        self.store = Store.open(
            self.disk, ROOT, new_store_id=STORE_ID, now_ms=self.clock.ms, open_keys=lambda manifest: KEYS, config=SMALL
        )
        try:
            self.machine = boot.new_machine(DATABASES)
            self.warnings = boot.recover(self.store, self.machine)
            self.node = Node(self.store.wal, self.machine, self.clock, Random(self.rng.getrandbits(64)))
            self.node.appendfsync = self.appendfsync
        except BaseException:
            self.store.abandon()
            raise
        return self

    def begin_term(self) -> None:
        """The state that was found is checked and settled by now."""
        machine = self.machine
        self._expect(Record(
            machine.applied + 1, max(self.clock.ms, machine.time_ms), 0, (boot.first_entry(machine),)
        ))  # fmt: skip
        try:
            boot.open_term(self.node)
        except BaseException:
            self.store.abandon()
            raise
        self.book.answered = self.book.synced = machine.applied

    def _expect(self, record: Record) -> None:
        self.book.records.append(record)

    # Writing.

    def write(self, *groups: list[Operation]) -> None:
        """Each group is the run of a client of its own; all of them join, if they are let in, and share a batch."""
        for operations in groups:
            number = len(self.book.runs)
            paper = in_database(RECEIPTS, (b"SET", receipt(number), b"1"))
            if self.node.refusal is not None:
                self.book.runs[number] = "refused"
                continue
            self.book.runs[number] = "sent"
            run = self.node.join(_Client(self, number))
            run.items += [*operations, paper]
            run.add(run.items)
        self.commit()

    def commit(self) -> None:
        node = self.node
        operations = tuple(item for run in node.open.runs for item in run.items)
        batch = node.seal()
        if batch is None:
            return
        self._expect(Record(batch.first, batch.timestamp_ms, batch.seed, operations))
        try:
            node.persist(batch)
        except DiskFull as failure:
            self.book.records.pop()  # the answer is definite: it must never be seen again
            node.rejected(batch, failure)
            self.problems.append(str(failure))
        except WalFailed as failure:
            node.rejected(batch, failure)
            self.problems.append(str(failure))
        else:
            self._landed(batch)

    def _landed(self, batch: Batch) -> None:
        assert self.node.failure is None, "an acknowledgement after the failure"
        if self.appendfsync == "always":
            self.book.synced = batch.first + batch.count - 1
        self.node.persisted(batch)
        self.book.answered = self.machine.applied

    # What else a server does.

    def sync(self) -> None:
        """appendfsync everysec."""
        if self.node.failure is None:
            self._if_it_fails(self.node.sync)
        if self.node.failure is None:
            self.book.synced = self.book.answered

    def prepare_spare(self) -> None:
        if self.node.failure is None and not self.node.full:
            self._if_it_fails(self.store.wal.prepare_spare)

    def probe(self) -> None:
        if self.node.full and self.node.failure is None:
            self._if_it_fails(lambda: self.store.wal.probe_space() and self.node.space_is_back())

    def snapshot(self) -> None:
        """As the checkpoint does it, with the child's half in this process."""
        if self.node.failure is None:
            self._if_it_fails(self._snapshot)

    def _snapshot(self) -> None:
        store = self.store
        store.wal.rotate()
        newest, sequence = store.manifest.newest, store.wal.last
        if newest is None or newest.sequence < sequence:
            info = make_snapshot(self.disk, ROOT, KEYS, sequence, DATABASES, lambda fraction: None)
            store.publish_snapshot(info)
            store.prune()

    def stop(self) -> None:
        """SIGTERM; after a failure the log is left as it is."""
        if self.node.failure is None:
            self._if_it_fails(lambda: self.store.clean_stop(self.clock.ms))
        self.store.abandon()

    def _if_it_fails(self, job: Callable[[], object]) -> None:
        try:
            job()
        except StorageError as failure:
            self.problems.append(str(failure))
            if isinstance(failure, WalFailed):
                self.node.log_failed(str(failure))


class _Client:
    """Sends one run, and has its answer written down the moment it comes."""

    def __init__(self, life: Life, number: int) -> None:
        self._life, self._number = life, number

    def complete(self, run: Run) -> None:
        self._life.machine.apply_all(run.items)
        self._life.book.runs[self._number] = "done"

    def fail(self, run: Run, refusal: CommandError) -> None:
        assert refusal.code in ("MISCONF", "INDETERMINATE"), refusal.text
        self._life.book.runs[self._number] = "refused" if refusal.code == "MISCONF" else "unsure"


def new_clock() -> Clock:
    return Clock(START_MS)
