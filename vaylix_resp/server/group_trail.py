"""What becomes of the group, in this node's audit: who leads it, who belongs to it, as far as this node has heard.

    membership   at the start: all of it; then each node that came, got a vote, moved or left, when this node applies it
    leader       each new leader that this node knows of, never one that no majority has confirmed

Who asked for a change is in the audit of the node that was asked (`commands.audit_events`).
Promise: what a snapshot brings is recorded as what the entries in it would have been, but for what came and went in it.
Not here: how either is known (`engine.replication`); records (`engine.audit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..commands.cluster_view import ClusterView, Member
from ..state.nodes import NodeInfo

if TYPE_CHECKING:
    from .shared import Shared


class GroupTrail:
    """Of one member; begins with the membership as it is."""

    def __init__(self, shared: Shared, view: ClusterView) -> None:
        self._shared, self._view = shared, view
        self._known = self._members()
        names = [_name(node) for node in self._known.values()]
        self._record("membership", change="start", cluster=view.cluster_id, node=view.name, members=names)
        view.on_leader.append(self._led)
        self._led(None, view.leader)

    def members_changed(self) -> None:
        """An entry of the membership has been applied, or a snapshot."""
        before, self._known = self._known, self._members()
        for node in before.keys() - self._known.keys():
            self._change("removed", before[node])
        for node, now in self._known.items():
            was = before.get(node)
            if was is None:
                self._change("joined", now)
            elif now.voter != was.voter:
                self._change("promoted" if now.voter else "demoted", now)
            elif now != was:
                self._change("moved", now)

    def _members(self) -> dict[int, NodeInfo]:
        return {member.id: member for member in self._shared.machine.world.nodes.members}

    def _change(self, change: str, node: NodeInfo) -> None:
        where = f"{node.host}:{node.port}"
        self._record("membership", change=change, node=_name(node), node_id=f"{node.id:016x}", address=where,
                     voter=node.voter)  # fmt: skip

    def _led(self, before: Member | None, now: Member | None) -> None:
        if now is not None and (before is None or before.id != now.id):
            self._record("leader", leader=now.name, leader_id=f"{now.id:016x}", term=self._view.term)

    def _record(self, event: str, **details: Any) -> None:
        self._shared.audit.event(event, **details)


def _name(node: NodeInfo) -> str:
    return node.name or f"{node.id:016x}"
