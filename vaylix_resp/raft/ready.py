"""What the core asks of its driver, and what it is given: configuration, the log on disk, the work that is owed.

Promise: everything in a Ready may be done at once and in any order, but for three rules: persists are written in the
order of their numbers, `apply` in index order, and `apply_members` before `applied` for a batch of that kind.
A message that has to wait for a persist is not in `send` before `persisted` has been called, so no driver can send it
too early. Nothing of a Ready changes afterwards.
Units: ticks for time, bytes for sizes, indexes as in `types`.
Not here: how it is done (`engine.replication`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from ..limits import KIB, MIB
from .messages import Message
from .types import Entry, EntryId, HardState, Role, SnapshotMeta

Token = Any  # the driver's name of a read; comes back as it is


@dataclass(frozen=True, slots=True)
class Config:
    """One node's. The defaults are for ticks of 50 ms: a heartbeat every 100 ms, an election after 1 to 2 s."""

    id: int
    election_ticks: int = 20  # at least, and less than twice as many
    heartbeat_ticks: int = 2
    inflight_messages: int = 64  # appends on the way to one follower
    inflight_bytes: int = 8 * MIB
    append_bytes: int = MIB  # one append; a batch that is larger goes alone
    append_entries: int = 1000
    probe_bytes: int = 64 * KIB  # a probe may be lost or repeated: it carries batches only if they are small
    uncommitted_bytes: int = 64 * MIB  # of the leader: proposed and not yet given out to be applied
    cache_bytes: int = 8 * MIB  # applied batches kept in memory for followers that are a little behind
    promote_lag: int = 1000  # operations that a learner may lack and still become a voter
    # What is committed goes to the followers at once; else with the next append or heartbeat, or when the driver calls
    # `announce`. Under load that is half of the messages: the next append is due anyway.
    eager_commits: bool = True
    lease_reads: bool = False  # see `reads`: believes in clocks, so it is off

    def __post_init__(self) -> None:
        if not 0 < self.id < 1 << 64:
            raise ValueError(f"a node id has 64 bits and is not 0: {self.id}")
        if self.heartbeat_ticks < 1 or self.election_ticks < 5 * self.heartbeat_ticks:
            raise ValueError("four lost heartbeats are not an election")
        if self.inflight_messages < 1 or self.append_entries < 1 or self.append_bytes < KIB:
            raise ValueError("an append carries something, and one may be on the way")


class LogView(Protocol):
    """The log on disk as the core finds it, and the way back to what it no longer has in memory."""

    @property
    def start(self) -> EntryId:
        """The batch end before the first batch that is there: what a snapshot holds, or what was pruned."""

    @property
    def last(self) -> EntryId: ...

    @property
    def terms(self) -> Sequence[tuple[int, int]]:
        """(first index, term) of each run of batches of one term, in order; covers all from start + 1 to last."""

    def entries(self, after: int, max_bytes: int) -> Sequence[Entry] | None:
        """The batches whose last index is above `after`, in order: at least one, else at most `max_bytes`.

        `after` need not be a batch end: the first batch is the one that holds after + 1. None: this takes the disk;
        the core asks by `Ready.fetch` instead. Only asked for what is durable and not pruned.
        """


class Persist(NamedTuple):
    """To be made durable, in this order: snapshot, truncation, hard state and batches (one write, one fsync).

    Then call `persisted(number)`; that may cover several. With `snapshot` nothing else of the log is in the same
    Persist: put the snapshot, which has been received, in the place of log and state, in one step.
    """

    number: int
    hard_state: HardState  # always as of now, for the headers of the batches
    hard_state_changed: bool  # term or vote differ from what the last Persist had
    truncate_after: int | None  # a batch end: what lies behind goes, durably, before anything is appended
    entries: Sequence[Entry]
    snapshot: SnapshotMeta | None


class Fetch(NamedTuple):
    """Read `LogView.entries(after, max_bytes)` from the disk for follower `to`, then call `fetched(self, entries)`."""

    to: int
    number: int
    after: int
    max_bytes: int


class Fate(IntEnum):
    """Of a proposal that will not be answered by its own apply."""

    LOST = 1  # another leader's batch has taken its place: it did not happen
    UNKNOWN = 2  # a snapshot has taken its place: it may be in there


class Status(NamedTuple):
    """For people and clients. `quorum_fresh`: what this node says about the leader is backed by a quorum.

    A leader has heard from one within an election timeout (else it would have stepped down); a follower has heard
    from such a leader within one.
    """

    role: Role
    term: int
    leader: int  # node id, 0: not known
    quorum_fresh: bool


class Ready(NamedTuple):
    send: Sequence[Message] = ()  # all may go at once
    persist: Persist | None = None
    apply: Sequence[Entry] = ()  # committed and durable here, each once, in order
    reads: Sequence[tuple[Token, int]] = ()  # serve when applied >= index
    reads_failed: Sequence[Token] = ()  # not served: definite
    fates: Sequence[tuple[EntryId, Fate]] = ()  # of this node's own proposals
    fetch: Sequence[Fetch] = ()
    stream: Sequence[int] = ()  # these nodes need a snapshot: stream one, then call `snapshot_sent`
    lost: Sequence[int] = ()  # these nodes no longer have what they acknowledged: they must rejoin as new members
    transfer_failed: int = 0  # the node that did not take over in time; proposals are taken again
    noop: bool = False  # this node leads now: propose a batch of kind NOOP before any other
    status: Status | None = None  # when it has changed
