"""A node's own batches into the group: sealed, proposed or forwarded, asked about, waited for, given up.

    we lead      the open batch, with what others have forwarded to us, is proposed to our own core
    we follow    it is forwarded to the leader, and again when it may have been lost on the way
    only reads   the core is asked how far this node must have applied
Promises: nothing is submitted but what `outbox` allows; what others forwarded is proposed in the term for which they
meant it, or not at all; whoever waits is answered when `commit_timeout_s` is over, without a leader after
`no_leader_timeout_s`.
Units: monotonic seconds, bytes. Not here: the core's work and the log (`replica`), from entries to owners (`applier`).
Source: Raft (Ongaro, 2014), 6.2 and 6.3.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from ...clock import Clock
from ...commands import cluster_operations
from ...errors import CommandError
from ...limits import MIB
from ...peers.messages import Forward
from ...raft.core import RaftCore
from ...raft.messages import Message
from ...raft.ready import Persist, Status
from ...raft.types import Change, EntryId, EntryKind, Refused, Role
from ...state.machine import StateMachine
from ...state.nodes import Nodes
from ...storage.wal import Wal
from .. import entries
from ..node import Batch, Engine
from .applier import Applier, Guest
from .errors import GIVEN_UP, NO_LEADER, NOT_EVERYWHERE, NOT_TAKEN, READ_REFUSED, UNREACHABLE
from .inbox import Inbox, Take
from .members import membership_of
from .outbox import Answer, Outbox, Own, Verdict

OPEN_BYTES_MAX: Final = 4 * MIB  # what one batch should hold: while it is sent nothing else is
RESEND_S: Final = 0.2  # without any progress; then twice as long each time
RESEND_S_MAX: Final = 2.0
FOLLOWING: Final = Status(Role.FOLLOWER, 0, 0, False)


class Mail(Protocol):
    """The way to the peers. Never blocks, never raises; what cannot be sent is lost."""

    def send(self, node: int, message: Message | Forward, /) -> bool:
        """False: it will certainly not arrive."""

    def flush(self) -> None:
        """What has been sent should leave at once: the caller may turn to its disk now."""


class Submission(Engine[Persist]):
    """The half of a replica that its owners meet."""

    clustered = True
    read_refusal = CommandError(READ_REFUSED)

    def __init__(
        self, wal: Wal, machine: StateMachine, clock: Clock, rng: random.Random, core: RaftCore, mail: Mail, boot: int,
        *, exit_on_io_error: bool,
    ) -> None:  # fmt: skip
        super().__init__(wal, machine, clock, rng, exit_on_io_error=exit_on_io_error)
        self.core, self.mail, self.boot = core, mail, boot
        self.id = core.config.id
        self.origin = (self.id, boot)
        self.commit_timeout_s = 5.0
        self.no_leader_timeout_s = 2.0
        self.ack_all = False  # answer when every voter has a write, not only a majority
        self.outbox = Outbox()
        self.inbox = Inbox()
        self.applier = Applier(machine, self.outbox, (self.id, boot), self._answer, self._complete, self._new_members)
        self.status = FOLLOWING
        self.on_work: Callable[[], None] = _nobody  # there is something for `seal` or `beside`
        self.on_members: Callable[[], None] = _nobody
        self._awaited = 0  # another node waits to hear that this is committed; 0: none does
        self._stamp_ms = max(wal.timestamp_ms, machine.time_ms)  # of the log's last batch, or later
        self._leaderless_since: float | None = clock.now()
        self._progress_s = clock.now()  # when a batch of ours was last seen, or submitted with nothing to hold it up
        self._resend_s = RESEND_S
        self._seen = 0  # own batches, as `applier` counts them

    @property
    def leads(self) -> bool:
        return self.status.role is Role.LEADER

    @property
    def in_flight(self) -> int:
        return len(self.outbox)

    @property
    def gathered_bytes(self) -> int:
        return self.open.size + self.outbox.bytes

    @property
    def crowded(self) -> bool:
        return super().crowded or self._full

    @property
    def _full(self) -> bool:
        return self.open.size >= OPEN_BYTES_MAX or self.outbox.overfull

    @property
    def busy(self) -> bool:
        return bool(self.open.runs or len(self.outbox))

    # From others.

    def receive_forward(self, forward: Forward) -> None:
        """A batch of another node, if we lead in the term that it is meant for."""
        if self.refusal is not None or self._full:  # where memory is short, the other node has seen to it
            return  # it comes again
        if self.inbox.take(forward.term, forward.origin, forward.boot, forward.number) is not Take.TAKE:
            return
        if not forward.count:
            return
        run = self.join(Guest(forward.term, self.applier.apply_body))
        marker = cluster_operations.forwarded(forward.origin, forward.boot, forward.term, forward.number, forward.count)
        run.add((marker,))
        run.payload.append(forward.body)
        run.count += forward.count
        run.size += len(forward.body)
        run.batch.size += len(forward.body)
        self.on_work()

    def connected(self, node: int) -> None:
        """The way to a peer is open (again): what it may have missed goes again."""
        if node == self.status.leader:
            self._resend()
            self.on_work()

    # From our owners.

    @property
    def _in_order(self) -> bool:
        """While writes are refused, the open batch is answered as it is closed: not before what was asked earlier."""
        return self.refusal is None or not len(self.outbox)

    def _may_close(self) -> bool:
        if not self.open.runs or not self._in_order:
            return False
        if self.open.since + self.commit_timeout_s <= self.clock.now():
            return True
        return not self.outbox.crowded

    def _enclose(self) -> None:
        """The open batch becomes one of those that wait for their answer."""
        batch = self._close()
        if batch is not None:
            deadline = batch.since + self.commit_timeout_s
            self.outbox.add(batch, writes=batch.count > 0, size=batch.size, deadline=deadline)

    def _submit(self) -> None:
        """Hand to the leader, who may be ourselves, what may go now."""
        outbox, status = self.outbox, self.status
        if not len(outbox):
            return
        if status.leader and status.quorum_fresh:
            while (own := outbox.next_write(status.term)) is not None:
                if not self._only_ours(own, status.term if self.leads else 0):
                    outbox.without_writes(own)
                    continue
                own.batch.submitted = self.clock.now()
                if not (self._propose(own) if self.leads else self._forward(own)):
                    break
                if len(outbox.unanswered(status.term)) <= 1:  # else something before it may be lost, and holds it up
                    self._went_on()
        for own in outbox.unasked():
            own.batch.submitted = self.clock.now()
            if isinstance(self.core.read_index(own.token), Refused):
                outbox.unconfirmed(own.token)

    def _only_ours(self, own: Own, term: int) -> bool:
        """Take out what others forwarded to us in another term: they submit it again themselves. Is anything left?"""
        batch: Batch = own.batch
        runs = [run for run in batch.runs if not isinstance(run.owner, Guest) or run.owner.term == term]
        if len(runs) < len(batch.runs):
            batch.runs = runs
            batch.body = b"".join([piece for run in runs for piece in run.payload])
            batch.count = sum([run.count for run in runs])
        return batch.count > 0

    def _propose(self, own: Own) -> bool:
        batch: Batch = own.batch
        placed = self._propose_body(EntryKind.NORMAL, batch.count, batch.body)
        if isinstance(placed, Refused):
            own.why = placed.reason.name
            return False
        self.outbox.proposed(own, placed.term, placed.index)
        if any(isinstance(run.owner, Guest) for run in batch.runs):
            self._awaited = placed.index
        return True

    def _propose_body(self, kind: EntryKind, count: int, body: bytes) -> Any:
        self._stamp_ms = stamp = max(self.clock.wall_ms(), self._stamp_ms)
        return self.core.propose(kind, count, stamp, self._rng.getrandbits(64), body)

    def propose_members(self, change: Change, following: Nodes, *, force: bool = False) -> EntryId | Refused:
        """A change of the membership, and what it makes of it."""
        self._stamp_ms = stamp = max(self.clock.wall_ms(), self._stamp_ms)
        body = entries.encode((cluster_operations.members(following),))
        return self.core.propose_members(change, stamp, self._rng.getrandbits(64), body, force=force)

    def _forward(self, own: Own) -> bool:
        term = self.status.term
        if self._send_forward(term, self.outbox.forwarded(own, term), own):
            return True
        self.outbox.unsent(own)  # so that it can still be refused for certain, or go to the next leader
        own.why = UNREACHABLE
        return False

    def _send_forward(self, term: int, number: int, own: Own | None) -> bool:
        """False: it will certainly not arrive."""
        count, body = (own.batch.count, own.batch.body) if own is not None else (0, b"")
        return self.mail.send(self.status.leader, Forward(self.id, self.boot, term, number, count, body))

    def _resend(self) -> None:
        if self.status.leader and not self.leads:
            for number, own in self.outbox.unanswered(self.status.term):
                self._send_forward(self.status.term, number, own)

    def _new_members(self, index: int) -> None:
        self.core.apply_members(index, membership_of(self.machine.world.nodes))
        self.on_members()

    # Answers.

    def _answer(self, answers: Sequence[Answer]) -> None:
        for own, verdict in answers:
            batch: Batch = own.batch
            if verdict is Verdict.DONE:
                self._complete(batch, self.machine.time_ms, self.machine.world.seed)
            elif verdict is Verdict.UNKNOWN:
                self._fail(batch, CommandError(NOT_EVERYWHERE if self.ack_all else GIVEN_UP))
            else:
                self._fail(batch, self._refusal_of(own))

    def _refusal_of(self, own: Own) -> CommandError:
        if not own.writes:
            return CommandError(READ_REFUSED)
        if self._leaderless_since is not None:
            return CommandError(NO_LEADER)
        return CommandError(NOT_TAKEN.format(reason=own.why or "the leader did not take it"))

    def _went_on(self) -> None:
        self._seen, self._progress_s, self._resend_s = self.applier.seen, self.clock.now(), RESEND_S

    def _grow_impatient(self) -> None:
        """With each tick: what has waited too long is answered, what may be lost on the way is sent again."""
        now, outbox = self.clock.now(), self.outbox
        self._answer(outbox.expired(now))
        leaderless = self._leaderless_since
        if leaderless is not None and now - leaderless >= self.no_leader_timeout_s:
            if self.open.runs and self._in_order:
                self._enclose()
            self._answer(outbox.hopeless())
        if self._seen != self.applier.seen or not (len(outbox) or outbox.unanswered(self.status.term)):
            self._went_on()
        elif len(outbox) and now - self._progress_s >= self._resend_s:
            self._progress_s, self._resend_s = now, min(2 * self._resend_s, RESEND_S_MAX)
            outbox.unconfirmed()
            self._resend()


def _nobody() -> None:
    """Before somebody drives the node."""
