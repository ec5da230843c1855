"""What the Raft core speaks of: places in the log, batches, the hard state, members.

The unit of agreement is a *batch*: operations first..last that one proposal brought in and one frame of the log holds.
Units: an index (elsewhere: sequence) counts operations from 1, 0 is "before the first"; a term counts leaderships from
1; node ids are random 64-bit numbers, never 0 and never used twice; sizes in bytes; time of an entry in ms.
Promise: the same (index, term) is the same batch on every node, with the same batches before it. So whatever index of
one batch two logs have in common with equal terms, they have the whole batch in common.
Not here: what a body means; how these things look on the wire (`peers.wire`) or on disk (`storage.batch`).
Source: Raft (Ongaro, 2014), figure 3.1 and section 4.2.1 (learners, there "non-voting members").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar, dataclass_transform

from ..errors import EX_BROKEN, Halt

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Frozen for the type checker, and only for it: frozen at run time takes five times as long to make."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


class InvariantBroken(Halt):
    """Something that Raft rules out has happened here: a bug, or data that changed by itself. Stop, exit code 70."""

    def __init__(self, text: str) -> None:
        super().__init__(EX_BROKEN, f"raft: {text}")


class EntryKind(IntEnum):
    """What a batch is to the core. The numbers are those of the log's frames; 2 is a hard state, which is no entry."""

    NORMAL = 1
    NOOP = 3  # the first of each term: commits what earlier terms left (section 3.6.2), and opens reads (6.4)
    MEMBERS = 4  # one change of the membership; takes effect when it is applied


@value
class EntryId:
    """A batch end: the last index of a batch, and its term."""

    index: int
    term: int

    def __str__(self) -> str:
        return f"{self.index}@{self.term}"


NOTHING = EntryId(0, 0)  # the end of the empty log


@value
class Entry:
    """One batch. Everything but `kind` is opaque to the core; time and seed were given by the leader of `term`."""

    kind: EntryKind
    first: int
    count: int  # operations, at least one
    term: int
    timestamp_ms: int
    seed: int
    body: bytes

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    @property
    def id(self) -> EntryId:
        return EntryId(self.first + self.count - 1, self.term)

    def __str__(self) -> str:
        kind = "" if self.kind is EntryKind.NORMAL else f" {self.kind.name.lower()}"
        return f"{self.first}-{self.last}@{self.term}{kind}"


ENTRY_OVERHEAD_BYTES = 128  # counted for each entry on top of its body: headers on the wire, objects in memory


@value
class HardState:
    """What a node must not forget, and `committed`, which it may: a restart replays at least so far."""

    term: int = 0
    vote: int = 0  # node id; 0: none in this term
    committed: int = 0


@dataclass(frozen=True, slots=True)
class Membership:
    """Who belongs to the group as of some index. No id is in two of the sets; a retired one never comes back."""

    voters: frozenset[int] = frozenset()
    learners: frozenset[int] = frozenset()  # get the log, are not counted
    retired: frozenset[int] = frozenset()  # were members once

    def __post_init__(self) -> None:
        everyone = self.voters | self.learners | self.retired
        if len(everyone) != len(self.voters) + len(self.learners) + len(self.retired) or 0 in everyone:
            raise ValueError(f"not a membership: {self}")

    @property
    def members(self) -> frozenset[int]:
        return self.voters | self.learners

    def after(self, change: Change) -> Membership:
        """The membership that follows. Raises ValueError if the change cannot be made."""
        node, voters, learners, retired = change.node, self.voters, self.learners, self.retired
        match change.kind:
            case ChangeKind.ADD_LEARNER if node not in voters | learners | retired and node:
                return Membership(voters, learners | {node}, retired)
            case ChangeKind.PROMOTE if node in learners:
                return Membership(voters | {node}, learners - {node}, retired)
            case ChangeKind.DEMOTE if node in voters and len(voters) > 1:
                return Membership(voters - {node}, learners | {node}, retired)
            case ChangeKind.REMOVE if node in learners or (node in voters and len(voters) > 1):
                return Membership(voters - {node}, learners - {node}, retired | {node})
        raise ValueError(f"{change} cannot follow {self}")

    def __str__(self) -> str:
        names = (",".join(f"{node:x}" for node in sorted(ids)) or "-" for ids in (self.voters, self.learners))
        return "voters {} learners {}".format(*names)


class ChangeKind(IntEnum):
    """One server at a time (section 4.1): any majority before and any after have a node in common."""

    ADD_LEARNER = 1
    PROMOTE = 2
    REMOVE = 3
    DEMOTE = 4  # a voter becomes a learner


@dataclass(frozen=True, slots=True)
class Change:
    kind: ChangeKind
    node: int

    def __str__(self) -> str:
        return f"{self.kind.name.lower().replace('_', ' ')} {self.node:x}"


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What the core has to know of a snapshot: the log up to `last` is in it, and the membership as of there."""

    name: str  # the driver's; at most 64 characters of ASCII
    last: EntryId
    membership: Membership


class Role(IntEnum):
    FOLLOWER = 1
    PRE_CANDIDATE = 2
    CANDIDATE = 3
    LEADER = 4


class Refusal(IntEnum):
    """Why a proposal, a change or a read was not taken. Each is definite: nothing of it is in any log."""

    NOT_LEADER = 1  # `leader` may know better
    NO_LEADER = 2  # nobody leads as far as this node knows
    NOT_READY = 3  # leads, but its no-op is still to come (a proposal) or to be committed (a change)
    TRANSFERRING = 4  # leadership is being handed over; ask again within an election timeout
    BUSY = 5  # too much is uncommitted
    CHANGE_PENDING = 6  # one membership change at a time
    CHANGE_INVALID = 7  # it does not fit the membership as it is
    NOT_CAUGHT_UP = 8  # a learner that lags would make the group slow as a voter
    QUORUM_AT_RISK = 9  # of the voters that would be left too few have been heard from


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Refusal
    leader: int = 0  # node id; 0: not known
