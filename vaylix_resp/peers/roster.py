"""Who may talk to this node: the members of its group, what was seen of their lives, and what is said to others. Pure.

A *life* of a node is its data directory (`store`), how often it was started (`incarnation`) and the process that runs
(`boot`). It only goes forward, and whoever comes later has to know the process that was seen before. A
node whose disk was wiped, restored from a backup or copied has forgotten votes and acknowledgements that others count
on; it is refused by name instead of being believed, and may come back as a new member.
Promise: the answer depends on what is known here and on what the other has proven, on nothing else.
Not here: the proof (`hello`); keeping what was seen across restarts, which is the driver's (`lives`, `on_life`).
Source: Raft (Ongaro, 2014), section 3.8 (what a server may not forget).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .hello import GUESTS, NO_CLUSTER, Code, Identity, Purpose, Refusal
from .messages import Member

AGAIN = "remove it from the cluster and let it join as a new node"


@dataclass(frozen=True, slots=True)
class Life:
    """The latest that was seen of a node. boot 0: which process it was has not been kept."""

    store: int
    incarnation: int
    boot: int = 0


class Roster:
    """Of one node. The driver changes `me` and the members as the log does."""

    def __init__(
        self, me: Identity, lives: Mapping[int, Life] | None = None, on_life: Callable[[int, Life], None] | None = None
    ) -> None:
        self.me = me
        self.members: dict[int, Member] = {}
        self.retired: frozenset[int] = frozenset()
        self.lives: dict[int, Life] = dict(lives or {})
        self._on_life = on_life
        self.on_newer: Callable[[Identity], None] = _unheard  # it has come to a version that this node does not know

    def set_members(self, members: Iterable[Member], retired: Iterable[int] = ()) -> None:
        """This node may be among them."""
        self.members = {one.node: one for one in members}
        self.retired = frozenset(retired)
        for node in [node for node in self.lives if node not in self.members]:
            del self.lives[node]

    def judge(self, peer: Identity, purpose: Purpose) -> Refusal | None:
        """What is wrong with a node that has proven to be of ours; None: it is welcome."""
        me = self.me
        if peer.node == me.node:
            same = peer.boot == me.boot
            what = "it would talk to itself" if same else "two processes have this id: one runs from a copy of the data"
            return Refusal(Code.SELF, f"{me}: {what}")
        if refusal := self._judge_databases(peer):
            return refusal
        if purpose in GUESTS:
            same_name = bool(peer.name) and peer.name.lower() == me.name.lower()
            return Refusal(Code.NAME, f"two nodes are called {me.name}") if same_name else None
        if me.cluster == NO_CLUSTER or peer.cluster == NO_CLUSTER:
            return Refusal(Code.NOT_YET, f"{me if me.cluster == NO_CLUSTER else peer} belongs to no cluster so far")
        if peer.cluster != me.cluster:
            return Refusal(Code.CLUSTER, f"{peer} is of the cluster {peer.cluster.hex()}, {me} of {me.cluster.hex()}")
        if peer.node in self.retired:
            return Refusal(Code.REMOVED, f"{peer} was removed from the cluster; let it join as a new node")
        # Who is neither known nor retired may have joined while this node was away, and may be the leader from whom it
        # will learn so. Its votes do not count here before the log has it (`raft`).
        known = self.members.get(peer.node)
        if known is not None and known.name != peer.name:
            return Refusal(Code.NAME, f"{peer} is known as {known.name}; give it that node-id")
        return self._judge_version(peer) or self._judge_life(peer)

    def _judge_databases(self, peer: Identity) -> Refusal | None:
        """`SELECT 20` has to mean the same wherever it is executed: one that has fewer could not follow."""
        if self.me.databases == peer.databases or not (self.me.databases and peer.databases):
            return None
        text = f"{peer} has {peer.databases} databases, {self.me} has {self.me.databases}: give all nodes the same"
        return Refusal(Code.DATABASES, f"{text} `databases`")

    def _judge_version(self, peer: Identity) -> Refusal | None:
        """Either would meet entries that it cannot read."""
        me = self.me
        if peer.in_force > me.understands:
            self.on_newer(peer)
        for old, new in ((peer, me), (me, peer)):
            if new.in_force > old.understands:
                text = f"cluster version {new.in_force} is in force, and {old} understands versions up to"
                return Refusal(Code.VERSION, f"{text} {old.understands}: start it with newer software")
        return None

    def _judge_life(self, peer: Identity) -> Refusal | None:
        life = self.lives.get(peer.node)
        if life is None:
            return None
        if peer.store != life.store:
            return Refusal(Code.STORE, f"{peer} was known with another data directory; {AGAIN}")
        if peer.incarnation < life.incarnation:
            return Refusal(
                Code.LIFE, f"{peer} runs from an older copy of its data directory (start {peer.incarnation}, seen "
                f"{life.incarnation}); {AGAIN}",
            )  # fmt: skip
        since = peer.incarnation - life.incarnation
        if 0 < since <= len(peer.earlier) and life.boot not in (0, peer.earlier[since - 1]):
            return Refusal(
                Code.LIFE, f"{peer} runs from a copy of its data directory: what ran at start {life.incarnation} was "
                f"another process; {AGAIN}",
            )  # fmt: skip
        if since == 0 and life.boot not in (0, peer.boot):
            text = f"two processes run as {peer}: one of them from a copy; stop that one"
            return Refusal(Code.LIFE, f"{text}, or, if the other one is gone for good, {AGAIN}")
        return None

    def note(self, peer: Identity) -> bool:
        """A member was let in: remember its life. True: this is a new process of it."""
        before = self.lives.get(peer.node)
        life = Life(peer.store, peer.incarnation, peer.boot)
        self.lives[peer.node] = life
        if before != life and self._on_life is not None and peer.node in self.members:
            self._on_life(peer.node, life)
        return before is None or before.boot != life.boot


def _unheard(peer: Identity) -> None:
    """Nobody is there who could stop this node; it refuses the other."""
