"""Metrics of readiness and of the group. A server that stands alone is a group of one, and leads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, get_args

from ...commands.cluster_facts import leads, members_of
from ...commands.cluster_view import Member, Role
from ..readiness import checks_of
from .table import Metric, Read, Scrape, counter, gauge

ROLES: Final = get_args(Role)
NODES: Final = "names of the nodes; the operator gives them"


def _ready(at: Scrape) -> int:
    return int(not at.phase and all(check.ok for check in checks_of(at.server)))


def _checks(at: Scrape) -> dict[str, int]:
    return {check.name: int(check.ok) for check in checks_of(at.server)}


def _role(at: Scrape) -> dict[str, int]:
    view = at.server.cluster
    mine = "leader" if view is None else view.role
    return {role: int(role == mine) for role in ROLES}


def _view(read: Callable[[Any], Any]) -> Read:
    """What only a member of a cluster has."""
    return lambda at: read(at.server.cluster) if at.server.cluster is not None else None


def _others(at: Scrape) -> Iterable[Member]:
    view = at.server.cluster
    return () if view is None else [member for member in members_of(at.server) if member.id != view.id]


def _follower(read: Callable[[Member], float | None]) -> Read:
    """Of each other node, where this one knows it."""

    def values(at: Scrape) -> dict[str, float]:
        found = {member.name: read(member) for member in _others(at)}
        return {name: value for name, value in found.items() if value is not None}

    return values


def _peer(read: Callable[[Any], float | None]) -> Read:
    """Of the connections to each other node."""

    def values(at: Scrape) -> dict[str, float]:
        view = at.server.cluster
        traffic = {} if view is None else view.traffic
        found = {member.name: read(traffic[member.id]) for member in _others(at) if member.id in traffic}
        return {name: value for name, value in found.items() if value is not None}

    return values


def _differing(at: Scrape) -> int | None:
    """The leader compares the nodes' states, and so knows."""
    found = at.server.cluster.comparison if at.server.cluster is not None else None
    return None if found is None else len(found.differing)


def _compared_age(at: Scrape) -> float | None:
    found = at.server.cluster.comparison if at.server.cluster is not None else None
    return None if found is None else found.age_s


CLUSTER: Final[tuple[Metric, ...]] = (
    gauge("ready", "1: clients are well served here; /readyz says why not.", _ready),
    gauge("ready_check", "Each condition for that; 1: it is met.", _checks, ("check",), "the checks of /readyz"),
    gauge("maintenance", "1: maintenance mode is on, and writes are refused.",
          lambda at: int(at.server.machine.world.maintenance.on)),
    gauge("role", "1 for the role that this node has.", _role, ("role",), ", ".join(ROLES)),
    gauge("leads", "1: this node leads, and a majority agrees.", lambda at: int(leads(at.server))),
    gauge("leader_known", "1: a majority has been heard lately, and it has a leader.",
          lambda at: int(at.server.cluster is None or at.server.cluster.leader is not None)),
    gauge("term", "The term of the log.", lambda at: at.server.node.term),
    counter("elections_total", "Elections that this node has stood for since its start.",
            _view(lambda view: view.elections)),
    counter("leader_changes_total", "Times since its start that this node has seen another leader, or none.",
            _view(lambda view: view.leader_changes)),
    gauge("cluster_members", "Nodes in the cluster.", _view(lambda view: len(view.members))),
    gauge("cluster_voters", "Those with a vote.", _view(lambda view: sum(member.voter for member in view.members))),
    gauge("cluster_version", "The cluster version in force.", lambda at: at.server.machine.world.cluster_version),
    gauge("staleness_seconds", "How old what is applied here may be at most.", _view(lambda view: view.staleness_s)),
    gauge("follower_up", "1: the node follows; on the leader.",
          _follower(lambda member: None if member.state in ("unknown", "leader") else int(not member.down)),
          ("node",), NODES),
    gauge("follower_lag_entries", "Writes that a node lacks of the leader's log; on the leader.",
          _follower(lambda member: member.lag), ("node",), NODES),
    gauge("node_silence_seconds", "Since another node was heard.", _follower(lambda member: member.last_contact_s),
          ("node",), NODES),
    gauge("node_round_trip_seconds", "Of the last ping to another node.",
          _peer(lambda stats: stats.rtt_s if stats.rtt_s >= 0 else None), ("node",), NODES),
    counter("node_received_bytes_total", "Bytes from another node.", _peer(lambda stats: stats.bytes_in),
            ("node",), NODES),
    counter("node_sent_bytes_total", "Bytes to another node.", _peer(lambda stats: stats.bytes_out), ("node",), NODES),
    gauge("node_queue_bytes", "What waits to be sent to another node.", _peer(lambda stats: stats.queue_bytes),
          ("node",), NODES),
    counter("node_dropped_messages_total", "Messages to another node for which there was no room or no connection.",
            _peer(lambda stats: stats.dropped), ("node",), NODES),
    gauge("nodes_differing", "Nodes whose data are not what others made of the same log; on the leader.", _differing),
    gauge("nodes_compared_age_seconds", "Since the last comparison of the nodes' data; on the leader.", _compared_age),
)  # fmt: skip
