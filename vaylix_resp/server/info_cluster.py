"""INFO's sections about the group: Replication (in Redis's words), Raft (in RedisRaft's), Cluster and Sentinel.

Promise: a node calls itself master, and names one, only while a majority is behind it.
Units: seconds, milliseconds where the name says so; offsets and indexes are sequences.
Not here: what is on disk (`info_storage`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ..commands.cluster_facts import emulates, members_of
from ..commands.cluster_view import Address, ClusterView, Member
from ..config_cluster import host_and_port

if TYPE_CHECKING:
    from .shared import Shared

Field = tuple[str, Any]
NODE_ID: Final = 1  # of the only member of a group of one
ZERO_ID: Final = "0" * 40
BACKLOG: Final = (
    "repl_backlog_active", "repl_backlog_size", "repl_backlog_first_byte_offset", "repl_backlog_histlen",
)  # fmt: skip


def replication(server: Shared) -> Iterable[Field]:
    view = server.cluster
    leader = view.leader if view is not None else None
    if view is None or (leader is not None and leader.id == view.id):
        followers = [] if view is None else [one for one in members_of(server) if one.id != view.id]
        yield "role", "master"
        yield from _slaves(followers)
    else:
        yield "role", "slave"
        yield from _master(view, leader)
        yield "connected_slaves", 0
    yield "master_failover_state", "failover-in-progress" if view is not None and view.transferring else "no-failover"
    yield "master_replid", server.run_id if view is None else view.cluster_id.rjust(40, "0")
    yield "master_replid2", ZERO_ID
    yield "master_repl_offset", server.node.last_sequence
    yield "second_repl_offset", -1
    for name in BACKLOG:
        yield name, 0


def _slaves(followers: Iterable[Member]) -> Iterable[Field]:
    """Those that can be reached, as the leader sees them; the lag is time since they were heard."""
    reached = [one for one in followers if not one.down and one.client is not None]
    yield "connected_slaves", len(reached)
    for number, one in enumerate(reached):
        where = one.client or Address("", 0)
        state = "send_bulk" if one.state == "snapshot" else "online"
        lag = 0 if one.last_contact_s is None else int(one.last_contact_s)
        yield (
            f"slave{number}", f"ip={where.host},port={where.port},state={state},offset={one.match or 0},lag={lag}"
        )  # fmt: skip


def _master(view: ClusterView, leader: Member | None) -> Iterable[Field]:
    """Without a known leader the link is down, and to nowhere."""
    where = (leader.client if leader is not None else None) or Address("", 0)
    heard = leader.last_contact_s if leader is not None else None
    yield "master_host", where.host
    yield "master_port", where.port
    yield "master_link_status", "up" if leader is not None else "down"
    yield "master_last_io_seconds_ago", -1 if heard is None else int(heard)
    yield "master_sync_in_progress", int(leader is not None and view.staleness_s is None)
    yield "slave_read_repl_offset", view.last
    yield "slave_repl_offset", view.applied
    if leader is None:
        stale = view.staleness_s
        yield "master_link_down_since_seconds", -1 if stale is None else int(stale)
    yield "slave_priority", 0 if view.role == "learner" else 100
    yield "slave_read_only", int(False)  # a write is passed on to the leader, or its client is sent there
    yield "replica_announced", 1


def cluster(server: Shared) -> Iterable[Field]:
    yield "cluster_enabled", int(emulates(server.settings))


def sentinel(server: Shared) -> Iterable[Field]:
    """As a Sentinel that watches this cluster and nothing else."""
    view, name = server.cluster, server.settings.sentinel_master_name
    leader = view.leader if view is not None else None
    settings = server.settings
    alone = Address(settings.bind[0].lstrip("-") if settings.bind else "", settings.port or settings.tls_port)
    where = alone if view is None else ((leader.client if leader is not None else None) or Address("", 0))
    nodes = 1 if view is None else len(view.members)
    status = "ok" if view is None or leader is not None else "odown"
    yield "sentinel_masters", 1
    yield "sentinel_tilt", 0
    yield "sentinel_tilt_since_seconds", -1
    for what in ("running_scripts", "scripts_queue_length", "simulate_failure_flags"):
        yield f"sentinel_{what}", 0
    address = host_and_port(where.host, where.port)
    yield "master0", f"name={name},status={status},address={address},slaves={nodes - 1},sentinels={nodes}"


# Raft.


def raft(server: Shared) -> Iterable[Field]:
    """The fields of RedisRaft; those that begin with raft_ and that it lacks are ours."""
    view = server.cluster
    yield from _alone(server) if view is None else _group(view, members_of(server))
    node, checkpoint, fsync = server.node, server.checkpoint, server.node.fsync
    yield "raft_cluster_version", server.machine.world.cluster_version
    yield "raft_cluster_version_understood", server.machine.world.understands
    yield "raft_log_entries", node.last_sequence - checkpoint.sequence
    yield "raft_current_index", node.last_sequence
    yield "raft_commit_index", node.committed
    yield "raft_last_applied_index", node.applied
    yield "raft_file_size", node.wal.total_bytes
    yield "raft_fsync_count", fsync.count
    yield "raft_fsync_max_microseconds", fsync.max_us
    yield "raft_fsync_avg_microseconds", fsync.total_us // max(fsync.count, 1)
    yield "raft_snapshot_in_progress", "yes" if checkpoint.running else "no"
    yield "raft_snapshot_last_idx", checkpoint.sequence
    yield "raft_snapshot_time_secs", -1 if checkpoint.last_duration_s is None else int(checkpoint.last_duration_s)
    yield "raft_snapshots_created", checkpoint.count


def _alone(server: Shared) -> Iterable[Field]:
    """A group whose only member leads itself."""
    settings = server.settings
    yield "raft_node_id", NODE_ID
    yield "raft_state", "up"
    yield "raft_role", "leader"
    yield "raft_is_voting", "yes"
    yield "raft_voted_for", NODE_ID
    yield "raft_leader_id", NODE_ID
    yield "raft_current_term", server.node.term
    yield "raft_num_nodes", 1
    yield "raft_num_voting_nodes", 1
    address = settings.bind[0].lstrip("-") if settings.bind else ""
    yield (
        f"raft_node{NODE_ID}",
        f"id={NODE_ID},state=connected,voting=yes,addr={address},port={settings.port},last_conn_secs=0,"
        "conn_errors=0,conn_oks=0",
    )


def _comparison(view: ClusterView) -> Iterable[Field]:
    """Of the nodes' states, where this node is the one that makes it."""
    found = view.comparison
    if found is not None:
        yield "raft_digest_nodes_differing", len(found.differing)
        yield "raft_digest_sequence", found.sequence
        yield "raft_digest_age_ms", -1 if found.age_s is None else round(found.age_s * 1000)
        yield "raft_digest_nodes_agreeing", len(found.agree)
        yield "raft_digest_comparisons", found.made
        yield "raft_digest_rounds", found.rounds


def _group(view: ClusterView, members: tuple[Member, ...]) -> Iterable[Field]:
    leader = view.leader
    me = next((member for member in members if member.id == view.id), None)
    yield "raft_node_id", view.id
    yield "raft_node_name", view.name
    yield "raft_cluster_id", view.cluster_id
    lives = "joining" if me is None else "up" if view.stopped is None else "differs"
    yield "raft_state", "removed" if view.removed else lives
    yield "raft_role", view.role
    yield "raft_is_voting", "yes" if me is not None and me.voter else "no"
    yield "raft_voted_for", -1 if view.voted_for is None else view.voted_for
    yield "raft_leader_id", -1 if leader is None else leader.id
    yield "raft_quorum_fresh", "yes" if view.quorum_fresh else "no"
    yield "raft_staleness_ms", -1 if view.staleness_s is None else round(view.staleness_s * 1000)
    yield "raft_current_term", view.term
    yield from _comparison(view)
    yield "raft_num_nodes", len(members)
    yield "raft_num_voting_nodes", sum(member.voter for member in members)
    for number, member in enumerate(members, 1):
        where = member.client or Address("", 0)
        state = "disconnected" if member.state == "unreachable" else "connected"
        silent = -1 if member.last_contact_s is None else int(member.last_contact_s)
        voting = "yes" if member.voter else "no"
        yield (
            f"raft_node{number}",
            f"id={member.id},state={state},voting={voting},addr={where.host},port={where.port},"
            f"last_conn_secs={silent},name={member.name},raft={host_and_port(member.raft.host, member.raft.port)},"
            f"feed={member.state},match={-1 if member.match is None else member.match},"
            f"lag={-1 if member.lag is None else member.lag},"
            f"understands={-1 if member.understands is None else member.understands}",
        )
