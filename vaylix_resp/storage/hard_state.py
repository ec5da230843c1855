"""Term and vote as a frame of the log, and whose they are.

A hard state is written before anything that relies on it, and again as the first frame of each new segment, so that no
pruning and no cut takes the newest one away.
Promise: what another node, another cluster or an earlier life of this directory has voted is never taken for ours.
Units: node ids are random 64-bit numbers, never 0; a vote of 0 is none. An incarnation counts the lives of a data
directory: it grows when what the node once acknowledged may be gone (restore, repair, a copy that starts on its own).
Not here: when to vote (`raft`); where the frame lies (`segment`, `wal`).
Source: Raft (Ongaro, 2014), section 3.8: currentTerm and votedFor survive a restart, or a node votes twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Protocol

from vaylix_resp.storage.batch import frame_bytes

_BODY = Struct("<B7xQQQ16s")  # version, incarnation, node id, vote, cluster id
_VERSION = 1
FRAME_BYTES = frame_bytes(_BODY.size)


class TermAndVote(Protocol):
    """What the core wants to be remembered."""

    @property
    def term(self) -> int: ...

    @property
    def vote(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a directory is in a cluster, as its manifest says."""

    cluster_id: bytes
    node_id: int
    incarnation: int

    def __post_init__(self) -> None:
        assert len(self.cluster_id) == 16 and 0 < self.node_id < 1 << 64 and self.incarnation >= 0, self


@dataclass(frozen=True, slots=True)
class HardState:
    """`term` is in the header of the frame, the rest in its body."""

    identity: Identity
    term: int
    vote: int = 0

    def body(self) -> bytes:
        who = self.identity
        return _BODY.pack(_VERSION, who.incarnation, who.node_id, self.vote, who.cluster_id)

    def says(self, other: TermAndVote) -> bool:
        return (self.term, self.vote) == (other.term, other.vote)

    def may_follow(self, before: HardState) -> bool:
        """In one life the term never falls, and a vote is given once in a term."""
        if self.identity.incarnation != before.identity.incarnation:
            return self.identity.incarnation > before.identity.incarnation
        if self.identity != before.identity or self.term < before.term:
            return False
        return self.term > before.term or before.vote in (0, self.vote)


def read_hard_state(term: int, body: bytes) -> HardState | None:
    """None: not a body that this version knows."""
    if len(body) != _BODY.size:
        return None
    version, incarnation, node_id, vote, cluster_id = _BODY.unpack(body)
    if version != _VERSION or not node_id or not term:
        return None
    return HardState(Identity(cluster_id, node_id, incarnation), term, vote)
