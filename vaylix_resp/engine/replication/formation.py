"""The first moments of a member: from a founded table, or from a node that stood alone, to a log with its members.

Each founder begins its log with the same batch, so the logs agree from the start and the membership comes from the log
alone, as every later one. A node that stood alone goes on behind its own log: all it has is committed.
Promise: whatever call a crash interrupts, the next start ends where this one would have.
Not here: who the founders are (`peers.founding`), joining a cluster that exists (`joining`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ...commands import cluster_operations
from ...raft.core import RaftCore
from ...raft.ready import Config
from ...raft.types import Entry, EntryKind, HardState
from ...state.machine import StateMachine
from ...state.nodes import NodeInfo, Nodes
from ...storage.hard_state import Identity
from ...storage.recovery import Recovered
from ...storage.store import Store
from .. import entries
from ..boot import replay
from .log_view import WalView, entry_of
from .members import membership_of


def founding_entry(cluster_id: bytes, members: Sequence[NodeInfo], first: int, term: int, timestamp_ms: int) -> Entry:
    nodes = Nodes()
    nodes.replace(cluster_id, members, ())
    body = entries.encode((cluster_operations.members(nodes),))
    return Entry(EntryKind.MEMBERS, first, 1, term, timestamp_ms, 0, body)


def forget_others(store: Store, machine: StateMachine) -> None:
    """The state of a copy of a member's data still names its cluster and the members, though its manifest is nobody's.

    What is founded on it says who belongs to it, in an entry; until then it knows nobody.
    """
    who = store.manifest.identity
    if who is None or machine.world.nodes.cluster_id != who.cluster_id:
        machine.world.nodes.forget()


def begin(
    store: Store, machine: StateMachine, recovered: Recovered, identity: Identity, members: Sequence[NodeInfo]
) -> Recovered:
    """Make this directory a member, unless it is one already; the log as it is then. Raises DiskFull or WalFailed."""
    if machine.world.nodes.members:
        return recovered
    databases = len(machine.world.databases)
    for batch in recovered.tail:  # the manifest has named the cluster, and then the process died: it is all its own
        replay(machine, batch, databases)
    if store.manifest.identity is None:
        store.join(identity)
    else:  # an earlier start has got so far, and what is founded keeps the name that it was given then
        assert store.manifest.identity.node_id == identity.node_id, (store.manifest, identity)
        identity = store.manifest.identity
    wal = store.wal
    entry = founding_entry(identity.cluster_id, members, wal.last + 1, max(wal.term, 1), wal.timestamp_ms)
    hard_state = HardState(max(entry.term, recovered.hard_state.term if recovered.hard_state else 0), 0, entry.last)
    wal.save(hard_state, [entry], entry.last)
    wal.sync()
    machine.begin_batch(max(entry.timestamp_ms, machine.time_ms), entry.seed)
    machine.apply_all(entries.decode(entry.body))
    return Recovered(wal, (), 0, 0, wal.hard_state, machine.applied, ())


def new_core(store: Store, machine: StateMachine, recovered: Recovered, config: Config, rng: random.Random) -> RaftCore:
    """Of a member, at the place where its state stands."""
    known = recovered.hard_state
    hard_state = HardState(known.term, known.vote, machine.applied) if known else HardState(committed=machine.applied)
    tail = [entry_of(batch) for batch in recovered.tail]
    members = membership_of(machine.world.nodes)
    return RaftCore(config, hard_state, members, WalView(store.wal), rng, machine.applied, tail)
