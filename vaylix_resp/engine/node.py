"""One node: the open batch, the log, the Raft core and the state machine, in the order a write travels.

    join -> [open batch] -> seal -> persist (write, fdatasync) -> commit -> apply in order -> the runs' owners answer

Promises: a run is completed only after its batch is durable and committed (with appendfsync always), runs of a batch
in the order of their entries; a refused or failed batch reaches every owner as an error and changes nothing.
Plain synchronous code: who calls `persist`, and on which thread, is `group_commit`'s business; only `persist` may run
elsewhere. `Node` is a group of one that no peer can reach, on the shortest way; one that may have peers is
`replication.replica.Replica`, and `Engine` is what both have in common. Not here: sockets, replies, when to snapshot
(`checkpoint`).
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from ..clock import Clock
from ..errors import EX_IO, INDETERMINATE, MISCONF_FULL, MISCONF_LOG, CommandError, Halt
from ..limits import BATCH_BODY_BYTES_MAX, BATCH_BYTES_MAX
from ..raft.single import RaftCore
from ..raft.types import EntryId
from ..state.machine import StateMachine
from ..storage.errors import DiskFull, WalFailed
from ..storage.wal import Wal
from . import entries
from .stages import FsyncStats, Stages

Operation = Sequence[bytes]

TOO_LARGE: Final = (
    f"ERR too much at once: these writes are larger than {BATCH_BODY_BYTES_MAX} bytes together; none of them was made"
)


class Owner(Protocol):
    """Whoever put a run into a batch."""

    def complete(self, run: Run) -> None:
        """The run's operations are committed: apply each with `node.machine.apply`, in order, and answer."""

    def fail(self, run: Run, refusal: CommandError) -> None:
        """None of the run's operations will be applied here; `refusal` is the answer to each."""


class Run:
    """What one owner has in one batch. `items` is the owner's own account of what to do and answer, in order."""

    __slots__ = ("batch", "count", "items", "owner", "payload", "size")

    def __init__(self, owner: Owner, batch: Batch) -> None:
        self.owner = owner
        self.batch = batch
        self.payload: list[bytes] = []  # pieces of the batch's body, in the order of their operations
        self.count = 0  # operations
        self.size = 0  # of the payload, in bytes
        self.items: list[Any] = []

    def add(self, operations: Sequence[Operation], encoded: bytes | None = None) -> None:
        """Operations for the log; `encoded` is the body they make, where the caller has it already."""
        if encoded is None:
            encoded = entries.encode(operations)
        self.payload.append(encoded)
        self.count += len(operations)
        self.size += len(encoded)
        self.batch.size += len(encoded)


class Batch:
    """Runs that will share one fsync; `size` is that of the body so far, in bytes; times are monotonic."""

    __slots__ = ("body", "count", "first", "runs", "seed", "since", "size", "submitted", "timestamp_ms")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.size = 0
        self.since = self.submitted = 0.0  # when its first run joined; when it was handed to the log or the group
        self.first = self.count = self.timestamp_ms = self.seed = 0
        self.body = b""


W = TypeVar("W")


class Engine(ABC, Generic[W]):
    """What owners and the group commit know of a node. W is what goes to the log in one go."""

    clustered = False  # it may have peers: nothing is known to be committed, or newest, without asking them
    origin = (0, 0)  # node and process, where there are others
    read_refusal: CommandError | None = None  # what reads of a failed run are answered with; None: what is applied

    def __init__(
        self, wal: Wal, machine: StateMachine, clock: Clock, rng: random.Random, *, exit_on_io_error: bool = False
    ) -> None:
        self.wal = wal
        self.machine = machine
        self.clock = clock
        self.open = Batch()
        self.fsync = FsyncStats()
        self.stages = Stages()
        self.appendfsync = "always"
        self.exit_on_io_error = exit_on_io_error
        self.failure: str | None = None  # why the log takes nothing more, until a restart
        self.full = False  # the disk is full; `space_is_back` ends it
        self.refusal: CommandError | None = None  # the answer to every write while one of the two holds
        self.on_join: Callable[[], None] = _nobody  # told when the open batch gets its first run
        self.on_open: Callable[[], None] = _nobody  # told when an empty batch takes the place of a full one
        self.on_complete: Callable[[], None] = _nobody  # told when a batch of our own has been applied
        self.on_failure: Callable[[str], None] = _unheard
        self.batch_bytes = BATCH_BYTES_MAX  # that make an open batch full; fewer where memory is short
        self._closed_bytes = 0  # of the batch that was closed last
        self.syncing_since: float | None = None  # when the fsync under way began, monotonic; set where it runs
        self._rng = rng

    @property
    @abstractmethod
    def last_sequence(self) -> int:
        """Of the log, committed or not."""

    @property
    @abstractmethod
    def committed(self) -> int: ...

    @property
    @abstractmethod
    def term(self) -> int: ...

    @property
    def applied(self) -> int:
        return self.machine.applied

    @property
    @abstractmethod
    def leads(self) -> bool:
        """Whether the server's own entries (expiry, what is left over) are this node's business."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """Batches that are on their way: sealed, and their owners not answered."""

    @property
    @abstractmethod
    def gathered_bytes(self) -> int:
        """Of the open batch, and of those in flight, give or take one that is just being answered."""

    @property
    def crowded(self) -> bool:
        """The open batch has all that one fsync should cover; further writers have to wait for the next."""
        return self.open.size >= self.batch_bytes

    @property
    def pending(self) -> bool:
        """There is something that `seal` could do now."""
        return bool(self.open.runs)

    @property
    def busy(self) -> bool:
        """Somebody waits for an answer."""
        return bool(self.open.runs)

    def join(self, owner: Owner) -> Run:
        """A new run in the open batch. The caller has looked at `refusal`."""
        batch = self.open
        run = Run(owner, batch)
        batch.runs.append(run)
        if len(batch.runs) == 1:
            batch.since = self.clock.now()
            self.on_join()
        return run

    def propose(self, owner: Owner, operation: Operation) -> Run:
        """A run of a single operation, for the server's own entries."""
        run = self.join(owner)
        run.add((operation,))
        run.items.append(operation)
        return run

    @abstractmethod
    def seal(self) -> W | None:
        """What is to be persisted next; None if there is nothing. Called while nothing is being persisted."""

    @abstractmethod
    def beside(self) -> None:
        """What can be done while something is being persisted."""

    @abstractmethod
    def persist(self, work: W) -> None:
        """One write, and one fdatasync if replies wait for it. Raises DiskFull or WalFailed. May run on a thread."""

    @abstractmethod
    def persisted(self, work: W) -> None:
        """`persist` has returned."""

    @abstractmethod
    def rejected(self, work: W, cause: DiskFull | WalFailed) -> None:
        """`persist` has raised."""

    def is_slow(self, work: W) -> bool:
        """Whether persisting this takes so long that the loop must not wait for it, whatever an fsync takes."""
        return False

    def sync(self) -> None:
        """fdatasync, measured. Raises WalFailed, once and for ever."""
        self.syncing_since = began = self.clock.now()
        try:
            self.wal.sync()
        finally:
            self.syncing_since = None
        took = self.clock.now() - began
        self.fsync.record(int(took * 1e6))
        self.stages.synced(took)

    def log_failed(self, reason: str) -> None:
        """No write is taken any more; the next start reads back what the disk really has."""
        if self.failure is None:
            self.failure = reason
            self.refusal = CommandError(MISCONF_LOG.format(reason=reason))
            self.on_failure(reason)

    def halt_if_asked(self) -> None:
        """`on-io-error exit`: whoever has reported a failed log calls this when everybody has been answered."""
        if self.exit_on_io_error and self.failure is not None:
            raise Halt(EX_IO, f"the log failed: {self.failure}")

    def out_of_space(self) -> None:
        self.full = True
        if self.failure is None:
            self.refusal = CommandError(MISCONF_FULL)

    def space_is_back(self) -> None:
        self.full = False
        if self.failure is None:
            self.refusal = None

    def _close(self) -> Batch | None:
        """Close the open batch; None if there is nothing in it. What is too large, or refused by now, is answered."""
        batch = self.open
        if not batch.runs:
            return None
        crowded = self.crowded
        self.open, self._closed_bytes = Batch(), batch.size
        too_large = self._shrink(batch) if batch.size > BATCH_BODY_BYTES_MAX else None
        if crowded:
            self.on_open()
        if too_large is not None:
            self._fail(too_large, CommandError(TOO_LARGE))
        if self.refusal is not None:  # refused since they joined
            self._fail(batch, self.refusal)
            return None
        if not batch.runs:
            return None
        batch.body = b"".join([piece for run in batch.runs for piece in run.payload])
        batch.count = sum([run.count for run in batch.runs])
        return batch

    def _shrink(self, batch: Batch) -> Batch:
        """Put the runs for which one batch has no room into the next; those for which none has come back."""
        too_large, runs = Batch(), batch.runs
        batch.runs, batch.size = [], 0
        for run in runs:
            if run.size > BATCH_BODY_BYTES_MAX:
                target = too_large
            elif self.open.runs or batch.size + run.size > BATCH_BODY_BYTES_MAX:
                target = self.open  # and all behind it: each owner's runs stay in their order
            else:
                target = batch
            target.since = batch.since
            target.runs.append(run)
            target.size += run.size
            run.batch = target
        return too_large

    def _complete(self, batch: Batch, timestamp_ms: int, seed: int) -> None:
        """The batch is committed, and everything before it applied: let its owners apply it and answer."""
        machine = self.machine
        if batch.count:
            self.stages.own(batch.since, batch.submitted)
        for run in batch.runs:
            # Again for each run: its reads may have moved the world's time to the local clock.
            machine.begin_batch(timestamp_ms, seed)
            run.owner.complete(run)
        batch.runs.clear()  # run and batch refer to each other, and the collector is off
        if batch.count:
            self.on_complete()

    def _fail(self, batch: Batch, refusal: CommandError) -> None:
        for run in batch.runs:
            run.owner.fail(run, refusal if run.count else self.read_refusal or refusal)
        batch.runs.clear()


class Node(Engine[Batch]):
    """`wal` is recovered and `machine` stands where the log ends."""

    def __init__(
        self, wal: Wal, machine: StateMachine, clock: Clock, rng: random.Random, *, exit_on_io_error: bool = False
    ) -> None:
        assert machine.applied == wal.last, (machine.applied, wal.last)
        super().__init__(wal, machine, clock, rng, exit_on_io_error=exit_on_io_error)
        self.raft = RaftCore(EntryId(wal.last, wal.term))

    @property
    def last_sequence(self) -> int:
        return self.raft.last

    @property
    def committed(self) -> int:
        return self.raft.committed

    @property
    def applied(self) -> int:
        return self.raft.applied

    @property
    def term(self) -> int:
        return self.raft.term

    @property
    def leads(self) -> bool:
        return True

    @property
    def in_flight(self) -> int:
        return int(self.raft.last > self.raft.applied)

    @property
    def gathered_bytes(self) -> int:
        return self.open.size + self.in_flight * self._closed_bytes

    def seal(self) -> Batch | None:
        """Close the open batch, give its entries their places and its time; None if there is nothing in it."""
        batch = self._close()
        if batch is not None:
            batch.first = self.raft.propose(batch.count)
            batch.submitted = self.clock.now()
            batch.timestamp_ms = max(self.clock.wall_ms(), self.machine.time_ms)
            batch.seed = self._rng.getrandbits(64)
        return batch

    def beside(self) -> None:
        """Nothing: the next batch gathers."""

    def persist(self, work: Batch) -> None:
        began = self.clock.now()
        self.wal.append(
            work.first, work.count, self.raft.term, work.timestamp_ms, self.raft.committed, work.seed, work.body
        )
        if self.appendfsync == "always":
            self.sync()
        self.stages.wrote(self.clock.now() - began)

    def persisted(self, work: Batch) -> None:
        """The batch is in the log: commit it, apply it, let its owners answer."""
        raft, machine, stages = self.raft, self.machine, self.stages
        committed = raft.persist(EntryId(work.first + work.count - 1, raft.term))
        assert machine.applied == work.first - 1, (machine.applied, work.first)
        stages.logged(work.count, len(work.body))
        stages.durable(committed)
        stages.applying(committed, self.clock.now())
        self._complete(work, work.timestamp_ms, work.seed)
        stages.applied(self.clock.now())
        assert machine.applied == committed, (machine.applied, committed)
        raft.apply(committed)

    def rejected(self, work: Batch, cause: DiskFull | WalFailed) -> None:
        """Answer the batch's owners and refuse what comes after."""
        if isinstance(cause, DiskFull):
            self.raft.withdraw()
            self.out_of_space()
            self._fail(work, CommandError(MISCONF_FULL))
            return
        self.log_failed(str(cause))
        if cause.definite:
            self.raft.withdraw()
            assert self.refusal is not None
            self._fail(work, self.refusal)
        else:
            self._fail(work, CommandError(INDETERMINATE))
        self.halt_if_asked()


def _nobody() -> None:
    """Before a group commit drives the node, its caller does (tests, boot)."""


def _unheard(reason: str) -> None:
    """Until `app` listens; INFO and every refused write name the reason all the same."""
