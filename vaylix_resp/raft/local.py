"""What a node has in every role: its log, its term and vote, the membership, and the work it owes the driver.

Promises: term never falls, the vote changes only with the term; nothing is sent while the newest term and vote are
not durable, so no message of a term leaves before that term is.
Not here: roles and their rules (`core`, `election`, `follower`, `leader`).
Source: Raft (Ongaro, 2014), figure 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .log import RaftLog
from .messages import Message
from .ready import Config, Fate, Fetch, Token
from .types import Entry, EntryId, EntryKind, HardState, InvariantBroken, Membership, SnapshotMeta


class Local:
    __slots__ = (
        "config",
        "dirty",
        "failed_reads",
        "fates",
        "fetch",
        "fetches",
        "fit",
        "id",
        "installing",
        "led",
        "log",
        "lonely",
        "lost",
        "may_send",
        "membership",
        "noop",
        "outbox",
        "reads",
        "rng",
        "sole",
        "stream",
        "term",
        "tick",
        "transfer_failed",
        "unwritten",
        "vote",
    )

    def __init__(
        self, config: Config, hard_state: HardState, membership: Membership, log: RaftLog, rng: Random
    ) -> None:
        self.config = config
        self.id = config.id
        self.log = log
        self.rng = rng
        self.tick = 0  # since the start; the only clock
        self.term = max(hard_state.term, log.last_id.term)  # the log of a node that was always alone has no hard state
        self.vote = hard_state.vote if hard_state.term == self.term else 0
        self.unwritten = False  # the driver has not been told to write term and vote as they are
        self.may_send = True  # they are durable
        self.led: set[int] = set()  # terms in which this process led
        self.installing: SnapshotMeta | None = None  # to be put in the place of log and state
        self.fetches = 0  # the number of the last fetch
        self.outbox: list[Message] = []
        self.reads: list[tuple[Token, int]] = []
        self.failed_reads: list[Token] = []
        self.fates: list[tuple[EntryId, Fate]] = []
        self.fetch: list[Fetch] = []
        self.stream: list[int] = []
        self.lost: list[int] = []
        self.transfer_failed = 0
        self.noop = False  # this node leads, and the driver has not been told that the no-op is due
        self.dirty = False  # whether one of these lists has something
        self.membership = membership
        self.sole = self.lonely = False
        self.fit = True  # its state is what the log makes of it, as far as is known
        self.follow_membership(membership)

    # --- term and vote ------------------------------------------------------------------------------------------

    def enter(self, term: int, vote: int) -> None:
        if term < self.term or (term == self.term and vote != self.vote and self.vote):
            raise InvariantBroken(f"term {self.term} vote {self.vote:x} cannot become {term} {vote:x}")
        if (term, vote) != (self.term, self.vote):
            self.term = term
            self.vote = vote
            self.unwritten, self.may_send = True, False

    def is_durable(self, state: HardState) -> None:
        """Hot."""
        if state.term == self.term and state.vote == self.vote:
            self.may_send = True

    # --- members ------------------------------------------------------------------------------------------------

    def follow_membership(self, membership: Membership) -> None:
        self.membership = membership
        self.sole = membership.voters == {self.id}  # its own disk is a quorum
        self.lonely = membership.members == {self.id}  # there is nobody to talk to
        self.log.chaining = bool(membership.members - {self.id})
        self.log.keep_bytes = self.config.cache_bytes if self.log.chaining else 0

    @property
    def may_stand(self) -> bool:
        """Whether this node may campaign. Never again once its driver has said that it is not fit to lead.

        Not while a committed change waits to be applied: a majority of the voters before it might elect this node
        beside a leader of the voters after it.
        """
        members = self.log.members
        waits = bool(members) and members[0] <= self.log.committed
        return self.fit and self.id in self.membership.voters and self.installing is None and not waits

    # --- work for the driver ------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        self.outbox.append(message)
        self.dirty = True

    def read(self, token: Token, index: int) -> None:
        self.reads.append((token, index))
        self.dirty = True

    def fail_reads(self, tokens: Sequence[Token]) -> None:
        self.failed_reads.extend(tokens)
        self.dirty = True

    def dropped(self, entries: Sequence[Entry], fate: Fate) -> None:
        """These batches are no longer in the log; whoever proposed them here hears of it."""
        for entry in entries:
            if entry.term in self.led and entry.kind is not EntryKind.NOOP:
                self.fates.append((entry.id, fate))
                self.dirty = True

    def take(
        self,
    ) -> tuple[
        Sequence[tuple[Token, int]],
        Sequence[Token],
        Sequence[tuple[EntryId, Fate]],
        Sequence[Fetch],
        Sequence[int],
        Sequence[int],
        int,
        bool,
    ]:
        """All but the messages, in the order of `Ready`; it is the driver's from now on."""
        work = (
            self.reads,
            self.failed_reads,
            self.fates,
            self.fetch,
            self.stream,
            self.lost,
            self.transfer_failed,
            self.noop,
        )
        self.reads, self.failed_reads, self.fates, self.fetch, self.stream, self.lost = [], [], [], [], [], []
        self.transfer_failed, self.noop = 0, False
        return work
