"""The first moments of a member: from a founded table, or from a node that stood alone, to a log with its members.

Each founder begins its log with the same batch, so the logs agree from the start and the membership comes from the log
alone, as every later one. A node that stood alone goes on behind its own log: all it has is committed.
Promise: whatever call a crash interrupts, the next start ends where this one would have.
Not here: who the founders are (`peers.founding`), joining a cluster that exists (`joining`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from ...commands import cluster_operations
from ...config_cluster import host_and_port
from ...observability.logs import get_log
from ...peers.messages import Founder
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

log = get_log("raft")


def founding_entry(
    cluster_id: bytes, members: Sequence[NodeInfo], first: int, term: int, timestamp_ms: int,
    retired: Collection[int] = (),
) -> Entry:  # fmt: skip
    nodes = Nodes()
    nodes.replace(cluster_id, members, sorted(retired))
    body = entries.encode((cluster_operations.members(nodes),))
    return Entry(EntryKind.MEMBERS, first, 1, term, timestamp_ms, 0, body)


def forget_others(store: Store, machine: StateMachine) -> None:
    """The state of a copy of a member's data still names its cluster and the members, though its manifest is nobody's.

    What is founded on it says who belongs to it, in an entry; until then it knows nobody.
    """
    who = store.manifest.identity
    if who is None or machine.world.nodes.cluster_id != who.cluster_id:
        machine.world.nodes.forget()


def known_name(node: int, nodes: Nodes, founders: Sequence[Founder]) -> str:
    """What this node is called in its cluster, as others know it; "": in none so far. It never changes."""
    for info in nodes.members:
        if info.id == node:
            return info.name
    return next((one.name for one in founders if one.node == node), "")


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
    return _enter(store, machine, recovered, partial(founding_entry, identity.cluster_id, members))


def move(store: Store, machine: StateMachine, recovered: Recovered, node: int, host: str, port: int) -> Recovered:
    """A group of one that others find elsewhere now says so in its log: nobody else has to agree, and whoever joins has
    to find it. The log as it is then; raises DiskFull or WalFailed."""
    nodes = machine.world.nodes
    changing = any(batch.kind == EntryKind.MEMBERS for batch in recovered.tail)  # somebody else may have a vote there
    if changing or [info.id for info in nodes.members] != [node]:
        return recovered
    (info,) = nodes.members
    if not host or (host, port) == (info.host, info.port):
        return recovered
    databases = len(machine.world.databases)
    for batch in recovered.tail:  # committed with the fsync of the only voter
        replay(machine, batch, databases)
    log.notice(f"others find this node at {host_and_port(host, port)} from now on", before=f"{info.host}:{info.port}")
    moved = [replace(info, host=host, port=port)]
    made = partial(founding_entry, nodes.cluster_id, moved, retired=nodes.retired)
    return _enter(store, machine, recovered, made)


def _enter(
    store: Store, machine: StateMachine, recovered: Recovered, make: Callable[[int, int, int], Entry]
) -> Recovered:
    """An entry of the membership, which nobody else has to agree to, at the end of the log, durable and applied."""
    wal, known = store.wal, recovered.hard_state or HardState()
    entry = make(wal.last + 1, max(wal.term, 1), wal.timestamp_ms)
    vote = known.vote if entry.term <= known.term else 0
    wal.save(HardState(max(entry.term, known.term), vote, entry.last), [entry], entry.last)
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
