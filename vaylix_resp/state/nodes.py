"""Who belongs to the cluster, as a part of the state: ids, names, addresses, and the ids that may never come back.

The Raft core counts votes by what is in here once it has been applied, so it comes from snapshot and log and from
nowhere else. So does which of the members was found to hold other data than the rest: for good, until it is removed.
Promise: `dump` and `digest_input` are empty on a node that has never been in a cluster.
Not here: where a node is found in fact (the configuration may override addresses), how changes are agreed on (`raft`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One member. `port` is that for peers."""

    id: int
    name: str
    host: str
    port: int
    voter: bool

    def words(self) -> tuple[bytes, ...]:
        return b"%d" % self.id, self.name.encode(), self.host.encode(), b"%d" % self.port, b"%d" % self.voter


class Difference(NamedTuple):
    """A node's state was not that of the others."""

    sequence: int  # when it had applied everything up to here
    subject: bytes  # what was compared, for people


class Nodes:
    """Changed by entries only. One of the membership holds the whole of it."""

    __slots__ = ("cluster_id", "differing", "members", "retired")

    def __init__(self) -> None:
        self.cluster_id = b""  # 16 bytes; empty: this state is of no cluster
        self.members: tuple[NodeInfo, ...] = ()  # in the order of their ids
        self.retired: frozenset[int] = frozenset()  # were members once
        self.differing: dict[int, Difference] = {}  # members whose data is not to be believed

    def replace(self, cluster_id: bytes, members: Sequence[NodeInfo], retired: Sequence[int]) -> None:
        self.cluster_id = cluster_id
        self.members = tuple(sorted(members, key=lambda member: member.id))
        self.retired = frozenset(retired)
        ids = {member.id for member in self.members}
        self.differing = {node: known for node, known in self.differing.items() if node in ids}

    def member(self, node: int) -> NodeInfo | None:
        return next((info for info in self.members if info.id == node), None)

    def differs(self, nodes: Sequence[int], difference: Difference) -> None:
        """The first time counts."""
        ids = {member.id for member in self.members}
        for node in nodes:
            if node in ids:
                self.differing.setdefault(node, difference)

    def forget(self) -> None:
        """Of a state that goes on without its cluster."""
        self.replace(b"", (), ())

    def words(self) -> list[bytes]:
        """What an entry holds: cluster id, number of members, their five words each, retired ids."""
        words = [self.cluster_id, b"%d" % len(self.members)]
        for member in self.members:
            words += member.words()
        return [*words, *(b"%d" % node for node in sorted(self.retired))]

    def dump(self) -> list[Any]:
        return self.words() if self.cluster_id else []

    def load(self, words: Sequence[bytes]) -> None:
        """The reverse of `words`."""
        count = int(words[1])
        at = 2 + 5 * count
        fields = [words[start : start + 5] for start in range(2, at, 5)]
        self.replace(
            bytes(words[0]),
            [
                NodeInfo(int(node), name.decode(), host.decode(), int(port), voter == b"1")
                for node, name, host, port, voter in fields
            ],
            [int(word) for word in words[at:]],
        )

    def digest_input(self) -> bytes:
        """What a digest of the state has to cover."""
        if not self.cluster_id:
            return b""
        words = [*self.words(), *(b"%d,%d,%b" % tuple(one) for one in self.dump_differing())]
        return b"nodes" + b"".join(b"%d:%b" % (len(word), word) for word in words)

    def dump_differing(self) -> list[Any]:
        return [[node, *known] for node, known in sorted(self.differing.items())]

    def load_differing(self, dumped: list[Any]) -> None:
        self.differing = {node: Difference(sequence, subject) for node, sequence, subject in dumped}
