"""A node that may have peers: its batches on their way through the group, and the log of the group into its state.

    leader    open batch -> propose -> appends leave, own write and fsync -> quorum: committed -> apply -> answer
    follower  open batch -> forward to the leader -> comes back in the log -> apply -> answer
    reads     open batch without writes -> read index -> applied that far -> answer

Promises: entries are applied in the order of the log and only when they are committed and durable here; the owners of
our own batches are answered in the order of sealing, by what the log says and nothing else; a read is answered at a
state that has everything that was acknowledged anywhere before it came.
Plain synchronous code: whoever drives it calls `tick`, `receive`, `seal`, `beside`, `persist`, `persisted`; only
`persist` may run on a thread. It never waits. Units: monotonic seconds, sequences, bytes.
Not here: how own batches get there (`submission`), agreement (`raft`), connections (`peers`), snapshots on their way
(`streams`).
Source: Raft (Ongaro, 2014), 3.5, 6.3 and 6.4; the shape of Ready is etcd's.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from ...clock import Clock
from ...errors import CommandError
from ...limits import KIB
from ...raft.core import RaftCore
from ...raft.messages import Message
from ...raft.ready import Fetch, Persist, Ready, Status
from ...raft.types import Entry, EntryKind, InvariantBroken, Refused, Role, SnapshotMeta
from ...state.machine import StateMachine
from ...storage.errors import DiskFull, IoFailed, WalFailed
from ...storage.wal import Wal
from .. import entries
from ..boot import first_entry
from .errors import READ_FULL
from .freshness import TOKEN, Freshness
from .streams import NotHere
from .submission import Mail, Submission

APPLY_BYTES: Final = 256 * KIB  # of others' batches, in one turn of the loop


class Replica(Submission):
    """`core` stands where `machine` does. `boot`: a random number of this process."""

    def __init__(
        self, wal: Wal, machine: StateMachine, clock: Clock, rng: random.Random, core: RaftCore, mail: Mail,
        *, boot: int, exit_on_io_error: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(wal, machine, clock, rng, core, mail, boot, exit_on_io_error=exit_on_io_error)
        self.on_status: Callable[[Status, Status], None] = _unheard  # before, now
        self.on_fetch: Callable[[Fetch], None] = _unasked
        self.on_stream: Callable[[int], None] = _unasked
        self.on_lost: Callable[[int], None] = _unasked
        self.on_transfer_failed: Callable[[int], None] = _ignored
        self.install: Callable[[Persist], StateMachine] = _unasked  # a snapshot in the place of the log; on the thread
        self.before_install: Callable[[], None] | None = None  # calls `go_on` when nobody else is at the files
        self.on_installed: Callable[[int], None] = _ignored  # the sequence at which the state stands now
        self._next: Persist | None = None  # to be persisted, now or (the disk was full) when there is room
        self._told = 0  # all the others know what is committed up to here, or `on_commit` sees to it
        # A leader has committed up to here: to be announced before long; at once, if nobody is there to do it later.
        self.on_commit: Callable[[int], None] = self.announce
        self._asked_alone = False  # `before_install` has been called for the snapshot that is to be installed
        self._parted = False
        self._closed: CommandError | None = None  # whatever becomes of the disk, clients get this
        self._successor: StateMachine | None = None  # the state of the snapshot that has just been installed
        # To be applied; with `ack_all`, when at the latest; and since when they may be.
        self._committed: deque[tuple[Entry, float, float]] = deque()
        self._start = wal.start[0]  # of the log on disk
        self.freshness = Freshness(core.read_index)
        self.everywhere = 0  # every voter is known to have the log up to here
        self.on_everywhere: Callable[[int], None] = _ignored  # this node leads, and it has grown

    # What the server asks.

    @property
    def last_sequence(self) -> int:
        return self.core.log.last

    @property
    def committed(self) -> int:
        return self.core.log.committed

    @property
    def term(self) -> int:
        return self.core.term

    @property
    def pending(self) -> bool:
        for_disk = self._next is not None or self.core.wants_disk
        return self._applicable or (for_disk and not self.full and self.failure is None) or self._may_close()

    @property
    def _applicable(self) -> bool:
        return bool(self._committed) and not (self.ack_all and self._holds_back(*self._committed[0][:2]))

    # What happens to it.

    def tick(self) -> None:
        """Once every 50 ms of monotonic time, or as often as that time has passed."""
        self.core.tick()
        start = self.wal.start[0]
        if self._start < start <= self.core.log.applied:  # old segments have gone
            self._start = start  # (beyond what is applied: a snapshot is being installed, and `_installed` will see)
            self.core.compacted(start)
        if self.full:
            self._step_aside()
        self._grow_impatient()
        if self._parted and not self._committed:  # what was committed before it went is applied
            self._give_up_all()
        self._measure()
        self.on_work()

    def _step_aside(self) -> None:
        """The disk has no room: as a leader this node keeps everybody from writing. Tried until somebody else leads."""
        leading = self.core.leading
        if leading is not None and not leading.target:
            self.core.transfer()

    def receive(self, message: Message) -> None:
        self.core.step(message)
        self.on_work()

    def announce(self, index: int) -> None:
        """The others should know by now that this is committed; no later than with the next turn."""
        self._told = max(self._told, index)
        self.core.announce(index)

    def leader_gone(self, node: int) -> None:
        """Most likely; see the core."""
        self.core.leader_gone(node)
        self.on_work()

    # One turn: batches into the group, the core's work out of it.

    def seal(self) -> Persist | None:
        self._turn(writable=not self.full)
        if self.full:
            return None
        work, self._next = self._next, None
        return work

    def go_on(self) -> None:
        """The snapshot may be installed now."""
        self.core.may_install = True
        self.on_work()

    def _ask_to_be_alone(self) -> None:
        """With the files, before a snapshot takes their place. That may take as long as a backup; until then this node
        votes and acknowledges as ever."""
        if self.before_install is not None and self.core.installs and not self._asked_alone:
            self._asked_alone, self.core.may_install = True, False
            self.before_install()

    def is_slow(self, work: Persist) -> bool:
        return work.snapshot is not None or work.truncate_after is not None

    def beside(self) -> None:
        self._turn(writable=False)

    def _turn(self, *, writable: bool) -> None:
        if self._may_close():
            self._enclose()
        self._submit()
        self._pump(writable)
        if self.ack_all:
            self._measure()
            self._answer(self.outbox.expired(self.clock.now()))  # before what nobody waits for any more is applied
        self._apply_committed()

    def _pump(self, writable: bool) -> None:
        """Do what the core asks for, but for what goes to the log: that is left in `_next`."""
        core, send, sent = self.core, self.mail.send, False
        self._ask_to_be_alone()
        committed = core.log.committed
        if 0 < self._awaited <= committed:
            self._awaited = 0
            self.announce(committed)
        elif committed > self._told:
            self._told = committed
            self.on_commit(committed)
        while (ready := core.ready(writable and self._next is None)) is not None:
            for message in ready.send:
                send(message.to, message)
                sent = True
            if ready.persist is not None:
                self._next = ready.persist
                for entry in ready.persist.entries:
                    self._stamp_ms = max(self._stamp_ms, entry.timestamp_ms)
            if ready.apply:
                now = self.clock.now()
                latest = max(now + self.commit_timeout_s, self.outbox.latest) if self.ack_all else 0.0
                self._committed.extend([(entry, latest, now) for entry in ready.apply])
            if ready.reads or ready.reads_failed:
                self._answer_reads(ready)
            if ready.status is not None:
                self._follow(ready.status)
            if ready.noop:
                self._propose_noop()
            self._pass_on(ready)
            if not ready.noop and ready.status is None:
                break  # nothing was done to the core meanwhile, and it has given all it had
        if sent:
            self.mail.flush()  # before our own fsync: the others' go on meanwhile

    def _propose_noop(self) -> None:
        placed = self._propose_body(EntryKind.NOOP, 1, entries.encode((first_entry(self.machine),)))
        if isinstance(placed, Refused):
            raise InvariantBroken(f"the first batch of term {self.term} is refused: {placed.reason.name}")

    def _answer_reads(self, ready: Ready) -> None:
        for token, index in ready.reads:
            self.outbox.confirmed(token, index)
            if token == TOKEN:
                self.freshness.answer(index)
        for token in ready.reads_failed:
            self.outbox.unconfirmed(token)
            if token == TOKEN:
                self.freshness.answer(None)
        self._answer(self.outbox.reads_due(self.machine.applied))

    def _pass_on(self, ready: Ready) -> None:
        for fetch in ready.fetch:
            self.on_fetch(fetch)
        for node in ready.stream:
            self.on_stream(node)
        for node in ready.lost:
            self.on_lost(node)
        if ready.transfer_failed:
            self.on_transfer_failed(ready.transfer_failed)

    def _follow(self, status: Status) -> None:
        before, self.status = self.status, status
        self.inbox.lead(status.term if status.role is Role.LEADER else 0)
        if status.leader and status.quorum_fresh:
            self._leaderless_since = None
        elif self._leaderless_since is None:
            self._leaderless_since = self.clock.now()
        self.on_status(before, status)

    # The log: one write and one fsync at a time.

    def persist(self, work: Persist) -> None:
        if work.snapshot is not None:
            try:
                self._successor = self.install(work)
            except (NotHere, IoFailed) as failure:
                if self.wal.failed:
                    raise WalFailed(str(failure)) from failure
            return
        began = self.clock.now()
        if work.truncate_after is not None:
            self.wal.truncate_after(work.truncate_after)
        self.wal.save(work.hard_state, work.entries, work.hard_state.committed)
        self.sync()
        self.stages.wrote(self.clock.now() - began)

    def persisted(self, work: Persist) -> None:
        if work.snapshot is None:
            self._count(work.entries)
            self.core.persisted(work.number)
        else:
            self._installed(work, work.snapshot)
        self.beside()

    def _count(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.stages.logged(entry.count, len(entry.body))
        if entries:
            self.stages.durable(entries[-1].last)
        else:
            self.stages.look_at_sync()

    def _installed(self, work: Persist, snapshot: SnapshotMeta) -> None:
        """The log begins behind the snapshot now, and the state is to be its; or nothing has changed."""
        successor, self._successor, self._asked_alone = self._successor, None, False
        self.on_installed(self.machine.applied if successor is None else snapshot.last.index)
        if successor is None:
            self.core.install_failed()
            return
        self._committed.clear()  # all of it is in the snapshot
        self._answer(self.outbox.overtaken())
        self.applier.succeed(successor, snapshot.last.term)
        self._start = self.wal.start[0]
        self._stamp_ms = max(self._stamp_ms, self.machine.time_ms)
        self.core.persisted(work.number)
        self.on_members()
        self._answer(self.outbox.reads_due(self.machine.applied))

    def rejected(self, work: Persist, cause: DiskFull | WalFailed) -> None:
        """A full disk: the same again when there is room. A failed log: this node is done for (`app` hands over)."""
        if isinstance(cause, DiskFull):
            self._next = work
            self.out_of_space()
            return
        self.log_failed(str(cause))
        self._give_up_all()
        self.halt_if_asked()

    def _give_up_all(self) -> None:
        """Nothing is to be waited for: what was submitted may have been made, what was not has not."""
        while len(self.outbox):
            self._answer([self.outbox.give_up()])

    def out_of_space(self) -> None:
        super().out_of_space()
        self._refuse_reads()

    def space_is_back(self) -> None:
        super().space_is_back()
        self._refuse_reads()
        if self.failure is None:
            self.refusal = self._closed
        self.on_work()

    def _refuse_reads(self) -> None:
        """With what they are refused, if they are."""
        self.read_refusal = self._closed or (CommandError(READ_FULL) if self.full else Submission.read_refusal)

    def close_for(self, refusal: CommandError | None) -> None:
        """Clients are refused from now on: this node belongs to no cluster, or is about to change it. None: no more.

        What has been submitted is answered as ever."""
        self._closed = refusal
        self._refuse_reads()
        if self.failure is None and not self.full:
            self.refusal = refusal

    def part(self, refusal: CommandError) -> None:
        """This node is no member any more: it refuses its clients, and hears nothing of what it has submitted."""
        self._parted = True
        self.close_for(refusal)

    # Apply.

    def _apply_committed(self) -> None:
        """What is committed, but no more in one go than the loop can bear."""
        size = 0
        while self._applicable and size < APPLY_BYTES:
            entry, _, committed = self._committed.popleft()
            size += len(entry.body)
            self.stages.applying(entry.last, committed)
            self.applier.apply(entry)
            self.stages.applied(self.clock.now())
            self.core.applied(entry.last)
            self._answer(self.outbox.reads_due(entry.last))
        if self._applicable:
            self.on_work()

    def _holds_back(self, entry: Entry, latest: float) -> bool:
        """What may be ours is applied, and so answered, when every voter has it, or when its owners have been told
        that nobody knows."""
        if entry.last <= self.everywhere or entry.kind is not EntryKind.NORMAL or not self.outbox.in_flight:
            return False
        return self.clock.now() < latest

    def _measure(self) -> None:
        """On a leader: how far all of its voters are."""
        leading, log = self.core.leading, self.core.log
        if leading is None:
            return
        peers = leading.replication.peers
        voters = self.core.membership.voters - {self.id}
        index = min([log.committed, log.persisted, *(peers[node].durable for node in voters)])
        if index > self.everywhere:
            self.everywhere = index
            self.on_everywhere(index)

    def is_everywhere(self, sequence: int) -> None:
        """A leader says so."""
        if sequence > self.everywhere:
            self.everywhere = sequence
            self.on_work()


def _nobody() -> None:
    """Before somebody drives or serves the node."""


def _unheard(before: Status, now: Status) -> None:
    """Nobody is interested yet."""


def _ignored(node: int) -> None:
    """The core takes proposals again; whoever asked for the transfer looks at `status`."""


def _unasked(subject: object) -> Any:
    raise AssertionError(f"nobody is there to do this: {subject}")
