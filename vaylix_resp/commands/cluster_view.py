"""What commands may know of the cluster and ask of it: a protocol, so that `commands` knows neither Raft nor peers.

`client.server.cluster` is None on a single node without `raft-port`; everything else here is as this node sees it at
the moment of the question, which on the minority side of a partition may be the past. Only `leader` is never that:
it is None unless a quorum has been heard within one election timeout.
Units: sequences count operations; seconds are durations, never wall-clock times.
Not here: how it is kept true (`engine.replication`), what clients are told about it (`commands.cluster`, `sentinel`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..errors import CommandError
from .ports import Later

Role = Literal["leader", "follower", "candidate", "learner"]
# Of a follower, as the leader feeds it. "unknown": this node does not lead, so it cannot say. "lost": the follower no
# longer has what it had acknowledged, and gets nothing more. "differs": its state is not what the others made of the
# same log, so it serves nobody.
FollowerState = Literal["leader", "probe", "replicate", "snapshot", "unreachable", "lost", "differs", "unknown"]


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
    understands: int | None = None  # the highest cluster version; None until it has said so

    @property
    def hex_id(self) -> str:
        """Forty digits, as Redis names nodes."""
        return f"{self.id:040x}"

    @property
    def down(self) -> bool:
        """It does not follow, or does not serve, and will not as things are."""
        return self.state in ("unreachable", "lost", "differs")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of the last comparison of the nodes' states. Nodes by id."""

    sequence: int  # at which it was made; 0: there was none
    subject: str  # what was compared
    age_s: float | None
    agree: frozenset[int]
    differ: frozenset[int]
    differing: Mapping[int, int]  # nodes that serve nobody any more, and the sequence at which that was found
    made: int  # comparisons since this process began to lead, or to hear of them
    rounds: int  # times that all of the state was asked for


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
    def removed(self) -> bool:
        """This node was a member and is none any more. (One that has just joined may not know yet that it is one.)"""

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
        """How old this node's applied state may be at most: since it asked, last, a leader with a quorum what it lacks,
        and has applied all of that. None: it cannot say."""

    @property
    def stopped(self) -> CommandError | None:
        """What clients are told by a node whose data differ from the others'; it answers nothing else."""

    @property
    def comparison(self) -> Comparison | None:
        """Of the nodes' states; None where only the leader can say."""

    @property
    def elections(self) -> int:
        """That this node has stood for since its start."""

    @property
    def leader_changes(self) -> int:
        """Times since its start that this node has seen another leader, or none."""

    @property
    def traffic(self) -> Mapping[int, Any]:
        """What is counted of the connections to other nodes (`peers.stats.PeerStats`), by their ids."""

    @property
    def transferring(self) -> bool:
        """A hand-over of the leadership that this node has begun is not over."""

    @property
    def on_leader(self) -> list[Callable[[Member | None, Member | None], None]]:
        """Told (before, now) whenever `leader` is another one, is found elsewhere, or is known no more (None)."""

    def acknowledged(self, sequence: int) -> int:
        """How many *other* nodes (learners too) are known here to have this sequence durable."""

    def wait_acknowledged(self, sequence: int, nodes: int, timeout_s: float) -> Later:
        """Resolves with `acknowledged` when that many have it, or at the timeout (0: no timeout); with -UNBLOCKED when
        this node does not lead, or leads no more. It can be blocking."""

    def transfer(self, to: int | None, timeout_s: float = 0.0) -> Later:
        """Hand the leadership over (None: to whoever is furthest). OK when another leads; a CommandError, definite,
        when this node does not lead, the target is unknown, a learner or does not catch up in time; INDETERMINATE
        when this node has ceased to lead and hears of nobody else."""

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
