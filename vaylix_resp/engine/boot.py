"""From a data directory to a state: snapshot, then log. The same for the server and for the child that snapshots.

Promises: the state after `load` is the snapshot's plus every batch behind it, through the same `apply` as live traffic;
an entry that this program does not know is refused, not skipped.
Not here: what damage is and what may be cut (`storage.recovery`).
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from random import Random
from typing import Final

from ..commands import cluster_operations
from ..commands.operations import NOOP, UnknownOperation
from ..commands.registry import apply_table, new_accounts, row_table
from ..errors import EX_CONFIG, printable
from ..security.acl import RuleError
from ..state import image
from ..state.machine import StateMachine
from ..storage.batch import Batch
from ..storage.errors import Corrupt, StorageError
from ..storage.recovery import Recovered
from ..storage.snapshot import SnapshotReader
from ..storage.store import Store
from . import entries
from .node import Node, Run

NAME: Final = itemgetter(0)
FIRST_ENTRY_FORMAT: Final = b"1"
_FIRST_ENTRY_HEAD: Final = entries.encode([(NOOP, FIRST_ENTRY_FORMAT, b"")])[: -len(b"$0\r\n\r\n")]
WARNINGS_MAX: Final = 20  # of one kind; the log has a line for each
SETTLE_KEYS: Final = 100_000  # of the indexes of what was published, with each batch: no backlog of them builds up
NEWER: Final = "start the version of vaylix that wrote it"


class TooFewDatabases(StorageError):
    """`databases` has been lowered below what the data was written with: some of it would be out of reach."""

    exit_code = EX_CONFIG

    def __init__(self, path: str, needed: int, allowed: int) -> None:
        self.needed = needed
        super().__init__(
            f"{path}: the data was written with {needed} databases, but `databases` is {allowed}; "
            f"to continue: set `databases {needed}` or more"
        )


class UnknownEntry(Corrupt):
    """An entry of a newer version, or of none: to pass over it would be another state than the others have."""

    exit_code = EX_CONFIG


def new_machine(databases: int) -> StateMachine:
    """Empty, for a state of at most so many databases. Nobody can scan it before `recover` has been at it."""
    machine = StateMachine(apply_table(), databases, rng=Random(), accounts=new_accounts(), rows=row_table())
    machine.world.index(later=True)

    def on_bug(name: bytes, bug: Exception) -> None:
        refuse_unknown(machine, name, bug)

    machine.on_bug = on_bug
    return machine


def refuse_unknown(machine: StateMachine, name: bytes, bug: Exception) -> None:
    """Raises UnknownEntry if that is why the operation `name` has failed."""
    if isinstance(bug, UnknownOperation):
        name = bug.name  # what the operation holds: a request in another database or in a block
    if name not in machine.table:
        expected = f"an operation that this version knows, found '{printable(name)}'"
        raise UnknownEntry("wal", 0, expected, sequence=machine.world.sequence, advice=NEWER)


def load_snapshot(machine: StateMachine, reader: SnapshotReader) -> None:
    """Fill an empty machine; Corrupt if the file contradicts itself."""
    try:
        for kind, obj in reader:
            assert isinstance(obj, list)
            image.load(machine, kind, obj)
    except image.TooFewDatabases as short:
        raise TooFewDatabases(reader.path, short.needed, short.allowed) from short
    except RuleError as unknown:
        what = f"users and roles that this version knows: {unknown}"
        raise Corrupt(reader.path, 0, what, sequence=reader.sequence, advice=NEWER) from unknown
    finally:
        reader.close()
    if machine.applied != reader.sequence:
        raise Corrupt(reader.path, 0, f"the state of sequence {reader.sequence}", sequence=machine.applied)


def replay(machine: StateMachine, batch: Batch, databases: int) -> None:
    """Apply a committed batch from the log. `databases`: how many there may be."""
    assert batch.first == machine.applied + 1, (batch.first, machine.applied)
    if batch.count == 1 and batch.body.startswith(_FIRST_ENTRY_HEAD):
        begin_term(machine, batch.body, databases)
    machine.begin_batch(batch.timestamp_ms, batch.seed)
    for _, row in groupby(entries.decode(batch.body), NAME):
        machine.apply_unheard([*row])
    machine.world.trash.clear()  # nobody waits for an answer here, so what was flushed is freed at once
    if machine.world.unsettled:
        machine.world.settle(SETTLE_KEYS)
    if machine.applied != batch.last:
        raise Corrupt("wal", 0, f"{batch.count} entries in the batch", sequence=batch.first)


def begin_term(machine: StateMachine, body: bytes, databases: int) -> None:
    """What comes was executed in a world of so many databases: `MOVE key 9` must fail again where it failed then."""
    ((_, _, number),) = entries.decode(body)
    needed = int(number)
    if needed > databases:
        raise TooFewDatabases("wal", needed, databases)
    machine.resize(needed)


def recover(store: Store, machine: StateMachine) -> list[str]:
    """Bring the machine to the end of the log and make the log writable; warnings for the operator."""
    return recover_log(store, machine)[1]


def recover_log(store: Store, machine: StateMachine) -> tuple[Recovered, list[str]]:
    """The same; of a member of a cluster only what is known to be committed is applied, the rest is in `tail`."""
    databases = len(machine.world.databases)
    bugs: list[str] = []

    def on_bug(name: bytes, bug: Exception) -> None:
        refuse_unknown(machine, name, bug)
        if len(bugs) < WARNINGS_MAX:
            bugs.append(f"entry {machine.world.sequence} ({printable(name)}) failed in its replay: {bug!r}")

    machine.on_bug, on_bug_before = on_bug, machine.on_bug
    reader = store.snapshot()
    if reader is not None:
        load_snapshot(machine, reader)
    recovered = store.recover(lambda batch: replay(machine, batch, databases))
    machine.resize(databases)
    machine.world.index()
    machine.on_bug = on_bug_before
    return recovered, [str(warning) for warning in recovered.warnings] + bugs


class _StartEntry:
    """Owner of what a start logs before anyone may write."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine

    def complete(self, run: Run) -> None:
        self._machine.apply_all(run.items)

    def fail(self, run: Run, refusal: Exception) -> None:
        raise AssertionError("an entry of the start is persisted on its own, and its failure is raised")


def first_entry(machine: StateMachine) -> tuple[bytes, ...]:
    """Of a term: with how many databases it begins."""
    return NOOP, FIRST_ENTRY_FORMAT, b"%d" % len(machine.world.databases)


def open_term(node: Node) -> None:
    """Make this start's term durable with its first entry, before anyone may write. Raises DiskFull or WalFailed."""
    _log(node, first_entry(node.machine))


def raise_version(node: Node) -> None:
    """Nobody else has to understand what this node writes: its own version comes into force. Raises as `open_term`."""
    world = node.machine.world
    if world.cluster_version < world.understands:
        _log(node, cluster_operations.version(world.understands))


def _log(node: Node, operation: tuple[bytes, ...]) -> None:
    node.propose(_StartEntry(node.machine), operation)
    batch = node.seal()
    assert batch is not None
    node.persist(batch)
    node.sync()
    node.persisted(batch)
