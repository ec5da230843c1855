"""How the nodes of a configuration become one group, exactly once. Pure.

Every node is configured with the same list (`cluster-peers`). Each makes a random id for itself and for its data
directory (`store`) at its first start, and keeps both before it tells anybody.

1. GATHERING: a node tells the others who it is, and learns who they are, from themselves only.
2. PROMISED: it knows all of them, so it has a table (name, id, store of each), and the same one as everybody who knows
   all. It writes the table down, for good, and only then says so. It never promises a second one.
3. FOUNDED: it has heard the same promise from every other node, or one of them says that the group is founded on it.
   The cluster id is a hash of the table; the members are its rows, all voters.

Why at most one group comes of it: a table is founded only if all of its nodes have promised it, and each promises once.
So of two different tables that have a node in common, one is never founded; and a node that lost its directory comes
back with another id, so it is in no table that was promised before. Whoever it was cannot vote from amnesia, because
nobody knows its new id. The price: all nodes have to be there once, and one that loses its directory between 2 and 3
stops the founding; then nothing has been written yet, and the others' directories can be removed.
Why ids are not made from names: then a node with a new disk would have its old id, votes and acknowledgements.

Promises: nothing is told before `persist` has returned; the same events give the same answers in any order.
Not here: connections (`founder`), what a founded node does next (`engine`).
Source: Raft (Ongaro, 2014), section 4.4 leaves bootstrapping to a configuration entry given by hand; this is that hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..config_cluster import PeerAddress
from ..raft.types import Membership
from .hello import CLUSTER_BYTES
from .messages import Found, Founder, Member, Stage

Table = tuple[Founder, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a node has written down. The table is empty while GATHERING."""

    stage: Stage = Stage.GATHERING
    table: Table = ()


def list_digest(peers: Iterable[PeerAddress]) -> bytes:
    """Equal for lists that mean the same."""
    lines = sorted(f"{one.name}@{one.host.lower()}:{one.port}\n" for one in peers)
    return hashlib.sha256("".join(lines).encode()).digest()


def cluster_of(digest: bytes, table: Table) -> bytes:
    """The cluster id: random, because the ids in the table are, and the same for all who have the table."""
    rows = [f"{one.name} {one.node:016x} {one.store:016x}\n" for one in table]
    return hashlib.sha256(b"vaylix cluster 1\n" + digest + "".join(rows).encode()).digest()[:CLUSTER_BYTES]


class Founding:
    """One node's part in it. `faults` is what an operator has to see to, by the node that brought it up."""

    def __init__(
        self, me: Founder, peers: tuple[PeerAddress, ...], kept: Kept, persist: Callable[[Kept], None]
    ) -> None:
        """`persist` returns when what it was given is durable. `kept` is of the same directory as `me`."""
        self.me, self._peers, self._persist = me, peers, persist
        self.digest = list_digest(peers)
        self._names = sorted(one.name for one in peers)
        assert me.name in self._names, me.name
        assert not kept.table or me in kept.table, (me, kept)
        self.kept = kept
        self._known: dict[str, Founder] = {me.name: me}
        self._promised: set[str] = {me.name}
        self.faults: dict[str, str] = {}
        self._go_on()

    @property
    def founded(self) -> bool:
        return self.kept.stage is Stage.FOUNDED

    @property
    def cluster(self) -> bytes:
        assert self.founded
        return cluster_of(self.digest, self.kept.table)

    @property
    def membership(self) -> Membership:
        """That of the empty log."""
        assert self.founded
        return Membership(voters=frozenset(one.node for one in self.kept.table))

    @property
    def members(self) -> tuple[Member, ...]:
        assert self.founded
        places = {one.name: one for one in self._peers}
        return tuple(
            Member(one.node, one.name, places[one.name].host, places[one.name].port) for one in self.kept.table
        )

    @property
    def missing(self) -> list[str]:
        """Names that we wait for: to be heard of, or to promise."""
        if self.kept.stage is Stage.GATHERING:
            return [name for name in self._names if name not in self._known]
        return [name for name in self._names if name not in self._promised] if not self.founded else []

    def word(self) -> Found:
        """What to tell whoever asks; again after each change."""
        return Found(self.digest, self.kept.stage, self.kept.table)

    def hear(self, peer: Founder, word: Found) -> bool:
        """What a node, proven to be `peer`, says. True: our own word is another one now.

        A word with a fault is not counted. That is enough: without the node that says it nothing is founded here.
        """
        if self.founded:
            return False
        before = self.kept
        fault = self._fault(peer, word)
        if fault:
            self.faults[peer.name] = fault
            return False
        self.faults.pop(peer.name, None)
        self._known[peer.name] = peer
        if word.table and self.kept.stage is Stage.GATHERING and self._agrees(word.table):
            self._keep(Kept(Stage.PROMISED, word.table))
        if word.table and word.table == self.kept.table:
            self._promised.update(self._names if word.stage is Stage.FOUNDED else (peer.name,))
        self._go_on()
        return self.kept != before

    def _fault(self, peer: Founder, word: Found) -> str:
        if word.list_digest != self.digest:
            return f"{peer.name} has another list in cluster-peers; give every node the same"
        if peer.name not in self._names:
            return f"{peer.name} is not in cluster-peers"
        if not word.table:
            return self._fault_of_newcomer(peer)
        if [one.name for one in word.table] != self._names or peer not in word.table:
            return f"{peer.name} founds a group that does not fit cluster-peers"
        if self.me not in word.table:
            return self._left_out(peer, word.stage)
        if self.kept.table and word.table != self.kept.table:
            return f"{peer.name} has promised another founding than {self.me.name}: {_START_OVER}"
        return ""

    def _fault_of_newcomer(self, peer: Founder) -> str:
        if self.kept.table and peer not in self.kept.table:
            return f"{peer.name} has lost its data directory since {self.me.name} promised the founding: {_START_OVER}"
        return ""

    def _left_out(self, peer: Founder, stage: Stage) -> str:
        if stage is Stage.FOUNDED:
            return (
                f"the cluster exists and knows {self.me.name} with other data than this directory's; remove the old "
                f"{self.me.name} from the cluster (CLUSTER REMOVE), then let this node join as a new one (CLUSTER JOIN)"
            )
        return f"{peer.name} has promised a founding with another data directory of {self.me.name}: {_START_OVER}"

    def _agrees(self, table: Table) -> bool:
        """A table of somebody else is ours too when we know no row of it otherwise, from the nodes themselves."""
        return all(self._known.get(one.name, one) == one for one in table)

    def _go_on(self) -> None:
        if self.kept.stage is Stage.GATHERING and len(self._known) == len(self._names):
            self._keep(Kept(Stage.PROMISED, tuple(self._known[name] for name in self._names)))
        if self.kept.stage is Stage.PROMISED and len(self._promised) == len(self._names):
            self._keep(Kept(Stage.FOUNDED, self.kept.table))

    def _keep(self, kept: Kept) -> None:
        self._persist(kept)
        self.kept = kept


_START_OVER = "no data is in the cluster yet, so stop all nodes, remove their data directories and start them again"
