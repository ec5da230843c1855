"""What becomes of the group, in this node's audit: who leads it, who belongs to it, as far as this node has heard.

    membership   at the start: all of it; then each node that came, got a vote, moved or left, or whose data were found
                 to differ from the others', when this node applies it
    leader       each new leader that this node knows of, never one that no majority has confirmed; and nobody ("") when
                 none has been known for so long that requests are refused, which is in the log as well

An election is over sooner than that, and a hand-over at once: neither is worth waking anybody for.

Who asked for a change is in the audit of the node that was asked (`commands.audit_events`).
Promise: what a snapshot brings is recorded as what the entries in it would have been, but for what came and went in it.
Not here: how either is known (`engine.replication`); records (`engine.audit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..commands.cluster_view import ClusterView, Member
from ..observability.logs import get_log
from ..state.nodes import NodeInfo

if TYPE_CHECKING:
    from .shared import Shared


log = get_log("raft")

MISSED_S_MIN: Final = 1.0  # without a leader, however short no-leader-timeout is


class GroupTrail:
    """Of one member; begins with the membership as it is."""

    def __init__(self, shared: Shared, view: ClusterView) -> None:
        self._shared, self._view = shared, view
        self._leader_id: int | None = None  # of the one recorded last; None: nobody
        self._missed_since: float | None = None  # no leader has been known from then on
        self._alarm: Any = None  # the timer that will say so
        self._differing = self._differ()
        self._known = self._members()
        names = [_name(node) for node in self._known.values()]
        self._record("membership", change="start", cluster=view.cluster_id, node=view.name, members=names)
        view.on_leader.append(self._led)
        self._led(None, view.leader)

    def members_changed(self) -> None:
        """An entry about the members has been applied, or a snapshot."""
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
        known, self._differing = self._differing, self._differ()
        for node in sorted(self._differing - known):
            self._change("differs", self._known[node])

    def _differ(self) -> frozenset[int]:
        return frozenset(self._shared.machine.world.nodes.differing)

    def _members(self) -> dict[int, NodeInfo]:
        return {member.id: member for member in self._shared.machine.world.nodes.members}

    def _change(self, change: str, node: NodeInfo) -> None:
        where = f"{node.host}:{node.port}"
        self._record("membership", change=change, node=_name(node), node_id=f"{node.id:016x}", address=where,
                     voter=node.voter)  # fmt: skip

    def _led(self, before: Member | None, now: Member | None) -> None:
        if now is None:
            if self._alarm is None and self._missed_since is None:
                seconds = max(MISSED_S_MIN, self._shared.settings.no_leader_timeout / 1000)
                self._missed_since = self._shared.clock.now()
                self._alarm = self._shared.call_later(seconds, self._miss)
            return
        if self._alarm is not None:
            self._alarm.cancel()
        elif self._missed_since is not None:
            gone_s = self._shared.clock.now() - self._missed_since
            log.notice(f"a leader is known again after {gone_s:.1f} s: {_called(now.name, now.id)}")
        self._alarm = self._missed_since = None
        if now.id != self._leader_id:
            self._leader_id = now.id
            self._record("leader", leader=now.name, leader_id=f"{now.id:016x}", term=self._view.term)

    def _miss(self) -> None:
        self._alarm = self._leader_id = None
        log.warning(
            "this node knows of no leader with a majority behind it: requests are refused until there is one; "
            "`vaylix cluster status` shows which nodes can be reached"
        )
        self._record("leader", leader="", leader_id="", term=self._view.term)

    def _record(self, event: str, **details: Any) -> None:
        self._shared.audit.event(event, **details)


def _name(node: NodeInfo) -> str:
    return _called(node.name, node.id)


def _called(name: str, node: int) -> str:
    return name or f"{node:016x}"
