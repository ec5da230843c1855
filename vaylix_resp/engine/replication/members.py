"""The membership as the state holds it (names, addresses), as the Raft core wants it (ids) and as nodes tell it to each
other; from the one to the others.

Pure. Not here: whether a change may be made now (`raft.leader`), who decides on addresses (the configuration).
"""

from __future__ import annotations

from dataclasses import replace

from ...peers.messages import Member
from ...raft.types import Change, ChangeKind, Membership
from ...state.nodes import NodeInfo, Nodes


def membership_of(nodes: Nodes) -> Membership:
    return Membership(
        frozenset(member.id for member in nodes.members if member.voter),
        frozenset(member.id for member in nodes.members if not member.voter),
        nodes.retired,
    )


def places_of(nodes: Nodes) -> tuple[Member, ...]:
    return tuple(Member(info.id, info.name, info.host, info.port) for info in nodes.members)


def nodes_after(nodes: Nodes, change: Change, joining: NodeInfo | None = None) -> Nodes:
    """What the entry of a change has to hold. `joining`: the node that an ADD_LEARNER takes in."""
    members = {member.id: member for member in nodes.members}
    retired = set(nodes.retired)
    if change.kind is ChangeKind.ADD_LEARNER:
        assert joining is not None and joining.id == change.node and not joining.voter, joining
        members[joining.id] = joining
    elif change.kind in (ChangeKind.PROMOTE, ChangeKind.DEMOTE):
        members[change.node] = replace(members[change.node], voter=change.kind is ChangeKind.PROMOTE)
    else:
        del members[change.node]
        retired.add(change.node)
    following = Nodes()
    following.replace(nodes.cluster_id, list(members.values()), sorted(retired))
    return following
