"""The cluster as commands may see it: `commands.cluster_view.ClusterView` over a replica and its peers.

Promise: `leader` is None unless a quorum has been heard within one election timeout.
Units: seconds, sequences. Not here: replies (`commands`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from ...commands.cluster_view import Address, Comparison, FollowerState, Member, Role
from ...commands.ports import Later
from ...config_cluster import split_address
from ...config_values import BadValue
from ...errors import CommandError
from ...observability.logs import get_log
from ...peers.stats import PeerStats
from ...raft.leader import Leader
from ...raft.progress import State
from ...raft.ready import Status
from ...raft.types import Change, ChangeKind, Refusal, Refused
from ...raft.types import Role as RaftRole
from ...resp.reply import OK
from ...state.nodes import NodeInfo
from .changes import Changes, refusal_of
from .counting import Counting
from .digesting import Digesting
from .driver import Driver, role_name
from .replica import Replica
from .rising import Rising

log = get_log("raft")

TRANSFER_S: Final = 10.0  # the core gives one up sooner; but it may step down meanwhile, and nobody may follow
NOBODY_YET: Final = "ERR no other node has taken over in time; this node goes on leading"
NOBODY_KNOWN: Final = "INDETERMINATE this node leads no more, and does not know of another one that does"
STATES: Final[dict[State, FollowerState]] = {
    State.PROBE: "probe", State.REPLICATE: "replicate", State.SNAPSHOT: "snapshot", State.LOST: "lost",
}  # fmt: skip


class View:
    """Of one node. Later's resolve on the loop."""

    def __init__(self, replica: Replica, driver: Driver, loop: asyncio.AbstractEventLoop, client: Address) -> None:
        self.replica = replica
        self._driver, self._loop, self._client = driver, loop, client
        self.on_leader: list[Callable[[Member | None, Member | None], None]] = []
        self._known_leader: Member | None = None
        self.elections = self.leader_changes = 0
        self._counting = Counting(lambda: self._leading, loop.call_later)
        self._transfers: list[Later] = []
        self.rising = Rising(replica, driver.announced)
        self.digesting = Digesting(replica, driver.network.send, loop.call_later)
        self.digesting.alike = driver.all_alike
        self.changes = Changes(replica, driver.network.send, lambda seconds: self.transfer(None, seconds))
        self.admit: Callable[[Address], Later] = _unwired  # have the node at this raft address join
        self.enter: Callable[[list[Address]], Later] = _unwired  # this node, which is empty, joins others
        replica.on_status = self._status
        replica.on_transfer_failed = self._transfer_failed

    @property
    def id(self) -> int:
        return self.replica.id

    @property
    def name(self) -> str:
        me = self._info(self.id)
        return me.name if me is not None else ""

    @property
    def cluster_id(self) -> str:
        return self.replica.machine.world.nodes.cluster_id.hex()

    @property
    def role(self) -> Role:
        replica = self.replica
        if replica.id in replica.core.membership.learners:
            return "learner"
        name = role_name(replica.status.role)
        return "leader" if name == "leader" else "follower" if name == "follower" else "candidate"

    @property
    def term(self) -> int:
        return self.replica.term

    @property
    def voted_for(self) -> int | None:
        hard_state = self.replica.wal.hard_state
        return hard_state.vote if hard_state is not None and hard_state.vote and hard_state.term == self.term else None

    @property
    def quorum_fresh(self) -> bool:
        return self.replica.core.status.quorum_fresh

    @property
    def leader(self) -> Member | None:
        status = self.replica.core.status
        if not status.quorum_fresh or not status.leader:
            return None
        info = self._info(status.leader)
        return self._member(info) if info is not None else None

    @property
    def members(self) -> tuple[Member, ...]:
        infos = sorted(self.replica.machine.world.nodes.members, key=lambda info: info.name)
        return tuple(self._judged(self._member(info)) for info in infos)

    @property
    def removed(self) -> bool:
        return self.id in self.replica.machine.world.nodes.retired

    def _judged(self, member: Member) -> Member:
        differs = member.id in self.replica.machine.world.nodes.differing
        return replace(member, state="differs") if differs and not member.down else member

    def _info(self, node: int) -> NodeInfo | None:
        return self.replica.machine.world.nodes.member(node)

    def _member(self, info: NodeInfo) -> Member:
        replica, leading = self.replica, self._leading
        raft = Address(info.host, info.port)
        last = replica.last_sequence
        if info.id == replica.id:
            durable = replica.wal.durable
            state: FollowerState = "leader" if replica.leads else "unknown"
            lag = 0 if replica.leads else self._own_lag()
            understands = replica.machine.world.understands
            return Member(info.id, info.name, self._client, raft, info.voter, state, durable, lag, 0.0, understands)
        told = self._driver.infos.get(info.id)
        understood = told.cluster_version if told is not None else None
        client = _address(told.client_addr) if told is not None else None
        stats = self._driver.network.status().get(info.id)
        silence = stats.silence_s(self._loop.time()) if stats is not None else -1.0
        contact = silence if silence >= 0 else None
        progress = leading.replication.peers.get(info.id) if leading is not None else None
        if progress is None:
            state = "leader" if replica.status.leader == info.id else "unknown"
            match = told.persisted if told is not None else None
            return Member(info.id, info.name, client, raft, info.voter, state, match, None, contact, understood)
        state = STATES[progress.state] if stats is not None and stats.connected else "unreachable"
        return Member(
            info.id, info.name, client, raft, info.voter, state, progress.match, max(0, last - progress.match), contact,
            understood,
        )  # fmt: skip

    def _own_lag(self) -> int | None:
        told = self._driver.infos.get(self.replica.status.leader)
        return max(0, told.committed - self.replica.applied) if told is not None else None

    @property
    def _leading(self) -> Leader | None:
        return self.replica.core.leading

    @property
    def last(self) -> int:
        return self.replica.last_sequence

    @property
    def committed(self) -> int:
        return self.replica.committed

    @property
    def applied(self) -> int:
        return self.replica.applied

    @property
    def snapshot_sequence(self) -> int:
        return self.replica.wal.start[0]

    @property
    def staleness_s(self) -> float | None:
        since = self.replica.freshness.since if self.digesting.stopped is None else None
        return self.replica.clock.now() - since if since is not None else None

    @property
    def stopped(self) -> CommandError | None:
        return self.digesting.stopped

    @property
    def comparison(self) -> Comparison | None:
        return self.digesting.comparison if self.replica.leads else None

    @property
    def transferring(self) -> bool:
        return self._leading is not None and self._leading.target != 0

    @property
    def traffic(self) -> Mapping[int, PeerStats]:
        return self._driver.network.status()

    def look(self) -> None:
        """With each tick: who waits for followers, and how old the state is."""
        replica = self.replica
        if replica.freshness.look(replica.clock.now(), replica.applied):
            replica.on_work()
        self._counting.look()
        self.changes.look()
        self.rising.look()
        self.digesting.look()
        self._tell_leader()

    # What may be waited for.

    def acknowledged(self, sequence: int) -> int:
        return self._counting.acknowledged(sequence)

    def wait_acknowledged(self, sequence: int, nodes: int, timeout_s: float) -> Later:
        return self._counting.wait(sequence, nodes, timeout_s)

    # Leadership.

    def transfer(self, to: int | None, timeout_s: float = 0.0) -> Later:
        later = Later()
        refused = self.replica.core.transfer(to or 0)
        if refused is not None:
            later.resolve(self._refused(refused))
            return later
        self._transfers.append(later)
        self._loop.call_later(timeout_s or TRANSFER_S, self._give_up_transfer, later)
        self.replica.on_work()
        return later

    def abort_transfer(self) -> bool:
        if not self.transferring:
            return False
        self.replica.core.cancel_transfer()
        self._end_transfers(CommandError("ERR the hand-over was aborted"))
        return True

    def _give_up_transfer(self, later: Later) -> None:
        if later in self._transfers:
            self.replica.core.cancel_transfer()
            self._end_transfers(CommandError(NOBODY_YET if self.replica.leads else NOBODY_KNOWN))

    def _transfer_failed(self, node: int) -> None:
        self._end_transfers(CommandError("ERR the other node has not taken over; this node goes on leading"))

    def _end_transfers(self, reply: object) -> None:
        waiting, self._transfers = self._transfers, []
        for later in waiting:
            later.resolve(reply)

    def _status(self, before: Status, now: Status) -> None:
        if (before.role, before.leader, before.term) != (now.role, now.leader, now.term):
            info = self._info(now.leader)
            log.notice(f"this node is {role_name(now.role)}", term=now.term, leader=info.name if info else "-")
        if now.role is RaftRole.CANDIDATE and (before.role, before.term) != (now.role, now.term):
            self.elections += 1
        if now.role is not RaftRole.LEADER:
            self.changes.deposed()
            self._counting.look()
            if now.leader:
                self._end_transfers(OK)
        self._tell_leader()

    def _tell_leader(self) -> None:
        leader = self.leader
        known = self._known_leader
        if _who(known) != _who(leader):
            self._known_leader = leader
            self.leader_changes += 1
            for told in self.on_leader:
                told(known, leader)

    # Membership.

    def add_learner(self, address: Address) -> Later:
        return self.admit(address)

    def join(self, addresses: list[Address]) -> Later:
        return self.enter(addresses)

    def promote(self, member: int) -> Later:
        return self.changes.request(Change(ChangeKind.PROMOTE, member))

    def demote(self, member: int, *, force: bool = False) -> Later:
        return self.changes.request(Change(ChangeKind.DEMOTE, member), force=force)

    def remove(self, member: int, *, force: bool = False) -> Later:
        return self.changes.request(Change(ChangeKind.REMOVE, member), force=force)

    def _refused(self, refused: Refused) -> CommandError:
        if refused.reason is Refusal.NOT_LEADER and (leader := self.leader) is not None and leader.client is not None:
            return CommandError(f"NOTLEADER ask {leader.name} at {leader.client.host}:{leader.client.port}")
        return refusal_of(refused)


def _who(leader: Member | None) -> tuple[int, Address | None] | None:
    """All of a leader that others are told."""
    return (leader.id, leader.client) if leader is not None else None


def _unwired(address: object) -> Later:
    raise AssertionError(f"nobody is there who could ask {address}")


def _address(text: str) -> Address | None:
    try:
        return Address(*split_address(text))
    except BadValue:
        return None
