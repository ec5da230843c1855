"""The Raft core of one node: ticks, messages and proposals in; work for the driver out.

    tick, step, propose, read_index, persisted, applied, ...  ->  ready()  ->  persist, send, apply, ...

One task owns it; after anything that it is told, `ready` is called until it has nothing. A group of one leads from the
first moment and goes the same way as any other.
Promises: those of `log`, `local`, `roles`, `follower`, `election` and `leader`; each is checked where it could break,
and InvariantBroken (exit code 70) ends the process. No clock, no I/O, no chance but the `rng` that is given.
Units: ticks, indexes and terms as in `types`.
Source: Raft (Ongaro, 2014); the shape is the one that etcd's raft made standard.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .follower import Follower
from .leader import Leader
from .local import Local
from .log import RaftLog
from .messages import Message
from .reads import RANDOM_BITS, Questions
from .ready import Config, Fate, Fetch, LogView, Persist, Ready, Status, Token
from .roles import Roles
from .types import (
    Change,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    InvariantBroken,
    Membership,
    Refusal,
    Refused,
    Role,
    SnapshotMeta,
)

_new = tuple.__new__  # what the __new__ of a named tuple calls, without the call around it: it is the hot path


class RaftCore:
    """`membership` is as of `applied`, where the state machine stands; `tail` are the batches of `log` behind it."""

    __slots__ = ("_local", "_roles", "_snapshot_handed", "_status", "config", "log", "may_install")

    def __init__(
        self,
        config: Config,
        hard_state: HardState,
        membership: Membership,
        log: LogView,
        rng: Random,
        applied: int,
        tail: Sequence[Entry] = (),
    ) -> None:
        self.config = config
        self.log = RaftLog(log, hard_state.committed, applied, tail)
        self._local = Local(config, hard_state, membership, self.log, rng)
        self._snapshot_handed = False  # the driver is installing one
        self.may_install = True  # the driver takes a Persist with a snapshot; until then it goes on with all others
        self._status: Status | None = None  # as it was told last
        self._roles = Roles(self._local, Questions(rng.getrandbits(RANDOM_BITS)))

    # --- what it is ---------------------------------------------------------------------------------------------

    @property
    def term(self) -> int:
        return self._local.term

    @property
    def membership(self) -> Membership:
        """As of the last change that was applied."""
        return self._local.membership

    @property
    def role(self) -> Role:
        return self._roles.role

    @property
    def status(self) -> Status:
        return self._roles.status

    @property
    def leading(self) -> Leader | None:
        """What this node knows as a leader: the progress of each of the others, for INFO and `cluster status`."""
        role = self._roles.current
        return role if isinstance(role, Leader) else None

    # --- time and peers -----------------------------------------------------------------------------------------

    def tick(self) -> None:
        self._roles.tick()

    def step(self, message: Message) -> None:
        """From a peer that has proved that it belongs to this cluster."""
        self._roles.step(message)

    def resign(self) -> None:
        """The driver cannot go on leading (its disk has failed, say)."""
        self._roles.resign()

    def stand_down(self) -> None:
        """From now on this node never campaigns. As a leader it goes on until it hands over or resigns."""
        self._roles.stand_down()

    def lapse(self, missed: int = 0) -> None:
        """Ticks have come late, so leases mean nothing until a quorum has answered again; and nothing that this node
        knew of the leader does, if it has `missed` an election timeout of them."""
        self._roles.lapse(stood_still=missed >= self.config.election_ticks)

    def leader_gone(self, node: int) -> None:
        """`node`, if it leads, has most likely died: its connections broke, and it takes no new ones."""
        self._roles.leader_gone(node)

    def announce(self, index: int) -> None:
        """Where commits are not eager: the followers should know now that `index` is committed, if it is."""
        if self.leading:
            self.leading.replication.announce(index)

    @property
    def news_due(self) -> bool:
        """Whether what has been announced is still to be sent to somebody."""
        return self.leading is not None and self.leading.replication.news_due

    def unreachable(self, node: int) -> None:
        """Messages to `node` were dropped before they were sent."""
        if self.leading:
            self.leading.replication.unreachable(node)

    # --- proposals ----------------------------------------------------------------------------------------------

    def propose(self, kind: EntryKind, count: int, timestamp_ms: int, seed: int, body: bytes) -> EntryId | Refused:
        """A batch NORMAL or NOOP for the log: its place, or why there is none. Hot."""
        role = self._roles.current
        if not isinstance(role, Leader):
            return self._refused()
        if kind is not EntryKind.NORMAL or role.target or self.log.waiting_bytes or not role.opened:
            if kind is EntryKind.MEMBERS:
                raise ValueError("a change of the membership is proposed by propose_members")
            refusal = role.refuses(kind, len(body))
            if refusal is not None:
                return Refused(refusal, self._local.id)
        return self._append(kind, count, timestamp_ms, seed, body)

    def propose_members(
        self, change: Change, timestamp_ms: int, seed: int, body: bytes, *, force: bool = False
    ) -> EntryId | Refused:
        """One change of the membership, of which `body` tells the appliers; in effect when it is applied."""
        role = self._roles.current
        if not isinstance(role, Leader):
            return self._refused()
        refusal = role.refuses(EntryKind.MEMBERS, len(body)) or role.refuses_change(change, force)
        if refusal is not None:
            return Refused(refusal, self._local.id)
        return self._append(EntryKind.MEMBERS, 1, timestamp_ms, seed, body)

    def _append(self, kind: EntryKind, count: int, timestamp_ms: int, seed: int, body: bytes) -> EntryId:
        log, term = self.log, self._local.term
        last = log.terms.last
        log.append(Entry(kind, last + 1, count, term, timestamp_ms, seed, body))
        return EntryId(last + count, term)

    def _refused(self) -> Refused:
        leader = self._roles.current.leader
        return Refused(Refusal.NOT_LEADER if leader else Refusal.NO_LEADER, leader)

    def promotable(self, node: int) -> bool:
        """Whether a learner has caught up, so that it may become a voter. False unless this node leads."""
        return isinstance(self._roles.current, Leader) and self._roles.current.promotable(node)

    def transfer(self, to: int = 0) -> Refused | None:
        """Hand leadership over to a voter; 0: to the one that has most of the log."""
        role = self._roles.current
        if not isinstance(role, Leader):
            return self._refused()
        refusal = role.transfer(to)
        return None if refusal is None else Refused(refusal, self._local.id)

    def cancel_transfer(self) -> None:
        """Take proposals again. The target may lead all the same, if it has been told already."""
        if isinstance(self._roles.current, Leader):
            self._roles.current.target = 0

    def read_index(self, token: Token) -> Refused | None:
        """None: `token` will be in `Ready.reads` or `reads_failed`."""
        role = self._roles.current
        if isinstance(role, Leader):
            role.read(self._local.id, token)
            return None
        refusal = role.read(token) if isinstance(role, Follower) else Refusal.NO_LEADER
        return None if refusal is None else Refused(refusal)

    # --- what the driver has done -------------------------------------------------------------------------------

    def persisted(self, number: int) -> None:
        """Persists up to `number` are durable. Hot."""
        local = self._local
        for handed in self.log.done(number):
            if not local.may_send:
                local.is_durable(handed.state)
            if handed.snapshot is not None:
                self._installed(handed.snapshot)
        role = self._roles.current
        if isinstance(role, Leader):
            role.advance()

    def _installed(self, snapshot: SnapshotMeta) -> None:
        local = self._local
        local.dropped(self.log.restart_behind(snapshot), Fate.UNKNOWN)
        local.installing = None
        self._snapshot_handed = False
        self._change_membership(snapshot.membership)
        self._snapshot_answered(ok=True)

    def install_failed(self) -> None:
        """The snapshot of the last Persist is not there, or damaged; log and state are as they were."""
        if not self._snapshot_handed:
            raise InvariantBroken("no snapshot is being installed")
        self.log.snapshot_failed()
        self._local.installing = None
        self._snapshot_handed = False
        self._snapshot_answered(ok=False)

    def _snapshot_answered(self, *, ok: bool) -> None:
        role = self._roles.current
        if isinstance(role, Follower):
            role.installed(ok=ok)

    def applied(self, index: int) -> None:
        """The state machine has applied everything up to the batch end `index`. Hot."""
        self.log.apply(index)

    def apply_members(self, index: int, membership: Membership) -> None:
        """The batch of kind MEMBERS at `index` has been applied, and this is what it makes of the membership."""
        local, log = self._local, self.log
        if index <= log.terms.start.index:
            return  # a snapshot has overtaken it
        if not log.members or log.members[0] != index or index > log.given:
            raise InvariantBroken(f"no change of the membership is due at {index}, but at {log.members}")
        before = local.membership
        moved = (before.voters ^ membership.voters, before.members ^ membership.members)
        known = bool(before.members)  # else this node is new, and the log tells it who is there
        if known and (max(map(len, moved)) > 1 or not before.retired <= membership.retired):
            raise InvariantBroken(f"more than one server changes at {index}: {before}, then {membership}")
        log.members.pop(0)
        self._change_membership(membership)

    def _change_membership(self, membership: Membership) -> None:
        self._local.follow_membership(membership)
        self._roles.follow_membership()

    def compacted(self, index: int) -> None:
        """The driver's log begins behind the batch end `index` now; a snapshot holds what was before."""
        self.log.forget(index)

    def fetched(self, fetch: Fetch, entries: Sequence[Entry] | None) -> None:
        """What the log on disk has; None: it has been pruned."""
        if self.leading:
            self.leading.replication.fetched(fetch, entries)

    def snapshot_sent(self, to: int, snapshot: SnapshotMeta | None) -> None:
        """A stream has ended: `snapshot` is durable at `to`, not installed. None: it failed."""
        if self.leading:
            self.leading.replication.snapshot_sent(to, snapshot)

    # --- what the driver has to do ------------------------------------------------------------------------------

    def ready(self, writable: bool = True) -> Ready | None:
        """The work that is due; None: nothing. Not `writable`: no persist now, the disk is busy with another. Hot."""
        local, log, roles = self._local, self.log, self._roles
        if local.dirty or not local.lonely:
            roles.current.flush()
        persist = None
        if writable and (log.unhanded or local.unwritten or not local.lonely):
            persist = self._persist()
        apply = log.give() if log.given < log.committed and local.installing is None else ()
        status = None if roles.status_told else self._news()
        if not local.dirty:
            if persist is None and not apply and status is None:
                return None
            return _new(Ready, ((), persist, apply, (), (), (), (), (), (), 0, False, status))
        outbox: Sequence[Message] = ()
        if local.may_send and local.outbox:
            outbox, local.outbox = local.outbox, []
        work = Ready(outbox, persist, apply, *local.take(), status)
        local.dirty = bool(local.outbox)
        return work if any(work) else None

    def _persist(self) -> Persist | None:
        local = self._local
        changed, local.unwritten = local.unwritten, False
        persist = self.log.hand_out(local.term, local.vote, changed)
        if persist is None and self.installs and self.may_install:
            assert local.installing is not None
            self._snapshot_handed = True
            persist = self.log.hand_out_snapshot(local.term, local.vote, local.installing)
        return persist

    @property
    def installs(self) -> bool:
        """A snapshot is to be installed, and the driver has not been told to."""
        return self._local.installing is not None and not self._snapshot_handed

    @property
    def wants_disk(self) -> bool:
        """Whether `ready` has something to be made durable."""
        return bool(self.log.unhanded) or self._local.unwritten or (self.installs and self.may_install)

    def _news(self) -> Status | None:
        self._roles.status_told = True
        status = self._roles.status
        if status == self._status:
            return None
        self._status = status
        return status
