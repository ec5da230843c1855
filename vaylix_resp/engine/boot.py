"""From a data directory to a state: snapshot, then log. The same for the server and for the child that snapshots.

Promise: the state after `load` is the snapshot's plus every batch behind it, through the same `apply` as live traffic.
Not here: what damage is and what may be cut (`storage.recovery`).
"""

from __future__ import annotations

from random import Random

from ..commands.operations import NOOP_ENTRY
from ..commands.registry import apply_table
from ..state import image
from ..state.machine import StateMachine
from ..storage.batch import Batch
from ..storage.errors import Corrupt
from ..storage.snapshot import SnapshotReader
from ..storage.store import Store
from . import entries
from .node import Node, Run

FIRST_ENTRY = NOOP_ENTRY


def new_machine(databases: int) -> StateMachine:
    return StateMachine(apply_table(), databases, rng=Random())


def load_snapshot(machine: StateMachine, reader: SnapshotReader) -> None:
    """Fill an empty machine; Corrupt if the file contradicts itself."""
    for kind, obj in reader:
        assert isinstance(obj, list)
        image.load(machine, kind, obj)
    reader.close()
    if machine.applied != reader.sequence:
        raise Corrupt(reader.path, 0, f"the state of sequence {reader.sequence}", sequence=machine.applied)


def replay(machine: StateMachine, batch: Batch) -> None:
    """Apply a committed batch from the log."""
    assert batch.first == machine.applied + 1, (batch.first, machine.applied)
    machine.begin_batch(batch.timestamp_ms, batch.seed)
    machine.apply_all(entries.decode(batch.body))
    machine.world.trash.clear()  # nobody waits for an answer here, so what was flushed is freed at once
    if machine.applied != batch.last:
        raise Corrupt("wal", 0, f"{batch.count} entries in the batch", sequence=batch.first)


def recover(store: Store, machine: StateMachine) -> list[str]:
    """Bring the machine to the end of the log and make the log writable; warnings for the operator."""
    reader = store.snapshot()
    if reader is not None:
        load_snapshot(machine, reader)
    recovered = store.recover(lambda batch: replay(machine, batch))
    return [str(warning) for warning in recovered.warnings]


class _FirstEntry:
    """Owner of the no-op that opens a term."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine

    def complete(self, run: Run) -> None:
        self._machine.apply_all(run.items)

    def fail(self, run: Run, refusal: Exception) -> None:
        raise AssertionError("the first entry of a term is persisted on its own, and its failure is raised")


def open_term(node: Node) -> None:
    """Make this start's term durable with its first entry, before anyone may write. Raises DiskFull or WalFailed."""
    node.propose(_FirstEntry(node.machine), FIRST_ENTRY)
    batch = node.seal()
    assert batch is not None
    node.persist(batch)
    node.sync()
    node.persisted(batch)
