"""What commands may know of the cluster and ask of it: a protocol, so that `commands` knows neither Raft nor peers.

`client.server.cluster` is None on a single node without `raft-port`; everything else here is as this node sees it at
the moment of the question, which on the minority side of a partition may be the past. Only `leader` is never that:
it is None unless a quorum has been heard within one election timeout.
Units: sequences count operations; seconds are durations, never wall-clock times.
Not here: how it is kept true (`engine.replication`), what clients are told about it (`commands.cluster`, `sentinel`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from .ports import Later

Role = Literal["leader", "follower", "candidate", "learner"]
# Of a follower, as the leader feeds it. "unknown": this node does not lead, so it cannot say.
FollowerState = Literal["leader", "probe", "replicate", "snapshot", "unreachable", "unknown"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens. `host` is a name, an IPv4 or an IPv6 address, without brackets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the cluster."""

    id: int  # 64 bits, never 0, never used again
    name: str  # as in cluster-peers
    client: Address | None  # where clients reach it; None until it has said so
    raft: Address  # where its peers reach it
    voter: bool  # False: a learner
    state: FollowerState
    match: int | None  # what it is known to have durable; None where only the leader knows
    lag: int | None  # operations that it is behind the leader's log
    last_contact_s: float | None  # since it was heard; 0.0 for this node itself; None: never

    @property
    def hex_id(self) -> str:
        """Forty digits, as Redis names nodes."""
        return f"{self.id:040x}"


class ClusterView(Protocol):
    """Read-only facts, and the changes that an administrator may ask for."""

    @property
    def id(self) -> int:
        """This node's."""

    @property
    def name(self) -> str: ...

    @property
    def cluster_id(self) -> str:
        """32 hex digits, the same on each node."""

    @property
    def role(self) -> Role: ...

    @property
    def term(self) -> int: ...

    @property
    def voted_for(self) -> int | None:
        """In this term."""

    @property
    def quorum_fresh(self) -> bool:
        """This node has heard a quorum, or a leader who has, within one election timeout."""

    @property
    def leader(self) -> Member | None:
        """Who leads, only while `quorum_fresh`."""

    @property
    def members(self) -> tuple[Member, ...]:
        """All nodes of the membership in force here, this one among them, in the order of their names."""

    @property
    def last(self) -> int:
        """The last sequence in this node's log, committed or not."""

    @property
    def committed(self) -> int: ...

    @property
    def applied(self) -> int: ...

    @property
    def snapshot_sequence(self) -> int:
        """What this node's newest snapshot covers."""

    @property
    def staleness_s(self) -> float | None:
        """How old this node's applied state may be at most: since a leader with a quorum said what it lacks and it
        had applied all of that. 0.0 on such a leader. None: it cannot say."""

    @property
    def transferring(self) -> bool:
        """A hand-over of the leadership that this node has begun is not over."""

    @property
    def on_leader(self) -> list[Callable[[Member | None, Member | None], None]]:
        """Told (before, now) whenever `leader` changes from one known node to another; None while there is none."""

    def acknowledged(self, sequence: int) -> int:
        """How many *other* nodes (learners too) are known here to have this sequence durable."""

    def wait_acknowledged(self, sequence: int, nodes: int, timeout_s: float) -> Later:
        """Resolves with `acknowledged` when that many have it, or at the timeout (0: no timeout); it can be blocking.

        Answered by the leader's knowledge; on a follower by what this node knows, which is only its own."""

    def transfer(self, to: int | None, timeout_s: float = 0.0) -> Later:
        """Hand the leadership over (None: to whoever is furthest). OK when another leads; a CommandError, definite,
        when this node does not lead, the target is unknown, a learner or does not catch up in time."""

    def abort_transfer(self) -> bool:
        """Go on leading; False if no transfer was going on."""

    def add_learner(self, address: Address) -> Later:
        """Have the node at this raft address, which is empty, join this cluster; OK when it has. It is a learner then,
        and a voter as soon as it has caught up."""

    def join(self, addresses: list[Address]) -> Later:
        """Make *this* node, which has no data of its own, a member of the cluster that one of these belongs to: OK when
        it is a learner there; then it starts again, and becomes a voter as soon as it has caught up."""

    def promote(self, member: int) -> Later:
        """A learner becomes a voter; OK after commit; refused until it has caught up."""

    def demote(self, member: int, *, force: bool = False) -> Later:
        """A voter becomes a learner, and stays one; OK after commit. A leader hands over first."""

    def remove(self, member: int, *, force: bool = False) -> Later:
        """OK after commit; refused when the voters that are left and reachable would be no quorum, unless forced."""
