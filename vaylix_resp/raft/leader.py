"""A node that leads: what is proposed, what is committed, whether it still leads, and to whom it hands over.

Promises: the first batch of its term is a no-op; a batch is committed by counting only if it is of its term; its own
log counts as far as it is durable; what follows a membership change is counted by the voters after it; without word
from a quorum within an election timeout it leads no more.
Not here: sending batches (`replication`); when leadership begins and ends (`core`).
Source: Raft (Ongaro, 2014), sections 3.6, 3.10, 4.1, 4.2, 6.2, 6.4.
"""

from __future__ import annotations

from .local import Local
from .messages import AppendReply, Heartbeat, HeartbeatReply, ReadIndex, ReadIndexReply, SnapshotReply, TimeoutNow
from .progress import Progress, State
from .quorum import is_quorum, reached
from .reads import Read, Rounds
from .ready import Token
from .replication import Replication
from .types import ENTRY_OVERHEAD_BYTES, Change, ChangeKind, EntryKind, InvariantBroken, Refusal


class Leader:
    __slots__ = ("_handing_over_tick", "_local", "_trusted", "opened", "replication", "rounds", "target")

    def __init__(self, local: Local) -> None:
        if local.term in local.led:
            raise InvariantBroken(f"this node has led in term {local.term} before")
        local.led.add(local.term)
        self._local = local
        self.replication = Replication(local)
        self.rounds = Rounds()
        self.opened = False  # a batch of this term is committed: the commit index is no older than any before it
        self.target = 0  # leadership is being handed over to this node; 0: no
        self._handing_over_tick = 0  # when that began
        self.ask_noop()
        self._trusted = True  # nobody was told to stand for election, so a lease means something

    @property
    def leader(self) -> int:
        return self._local.id

    @property
    def _begun(self) -> bool:
        """Whether the log has the no-op of this term."""
        return self._local.log.terms.last_term == self._local.term

    def ask_noop(self) -> None:
        """If it is due: at the start, and again if the driver could not write it."""
        if not self._begun:
            self._local.noop = self._local.dirty = True

    # --- proposals ----------------------------------------------------------------------------------------------

    def refuses(self, kind: EntryKind, size: int) -> Refusal | None:
        """Why a batch of `size` bytes cannot be proposed now. Hot."""
        local = self._local
        if not self._begun:
            return None if kind is EntryKind.NOOP else Refusal.NOT_READY
        if kind is EntryKind.NOOP:
            raise InvariantBroken(f"a second no-op in term {local.term}")
        if self.target:
            return Refusal.TRANSFERRING
        waiting = local.log.waiting_bytes
        if waiting and waiting + size + ENTRY_OVERHEAD_BYTES > local.config.uncommitted_bytes:
            return Refusal.BUSY
        return None

    def refuses_change(self, change: Change, force: bool) -> Refusal | None:
        """Why the membership cannot be changed now. `force` gives up the check that a quorum is there to go on."""
        local = self._local
        if not self.opened:
            return Refusal.NOT_READY  # a change that an earlier leader left may still be in doubt (section 4.1, 2015)
        if local.log.members:
            return Refusal.CHANGE_PENDING
        try:
            following = local.membership.after(change)
        except ValueError:
            return Refusal.CHANGE_INVALID
        if change.kind is ChangeKind.PROMOTE and not self.promotable(change.node):
            return Refusal.NOT_CAUGHT_UP
        if change.kind is not ChangeKind.ADD_LEARNER and not force and not is_quorum(self._active(), following.voters):
            return Refusal.QUORUM_AT_RISK
        return None

    def promotable(self, node: int) -> bool:
        """Whether a learner lacks little, and has lately caught up with what it lacked within an election timeout."""
        local, peer = self._local, self.replication.peers.get(node)
        if peer is None or node not in local.membership.learners or peer.state is not State.REPLICATE:
            return False
        near = local.log.last - peer.match <= local.config.promote_lag
        quick = peer.span_ticks is not None and peer.span_ticks <= local.config.election_ticks
        return near and quick and node in self._active()

    # --- commit -------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Commit what a quorum has. Hot for a group of one."""
        local = self._local
        log = local.log
        if local.sole:
            index = log.persisted
        else:
            peers = self.replication.peers
            voters = local.membership.voters
            index = reached([log.persisted if node == local.id else peers[node].durable for node in voters])
        if index <= log.committed or log.terms.at(index) != local.term:
            return  # of an earlier term: nobody else's count is final (section 3.6.2)
        if log.members and log.members[0] < index:
            index = log.members[0]  # what follows waits until this is applied, and is counted by the new voters
            if index <= log.committed:
                return
        log.commit(index)
        if not self.opened and log.terms.at(index) == local.term:
            self.opened = local.dirty = True  # reads may have waited for this

    # --- time ---------------------------------------------------------------------------------------------------

    def _active(self) -> set[int]:
        """The nodes that have been heard from within an election timeout."""
        since = self._local.tick - self._local.config.election_ticks
        return {self._local.id} | {node for node, peer in self.replication.peers.items() if peer.heard > since}

    def tick(self) -> bool:
        """Whether this node still leads."""
        local = self._local
        if self.target and local.tick - self._handing_over_tick >= local.config.election_ticks:
            local.transfer_failed = self.target
            local.dirty = True
            self.target = 0
        if not is_quorum(self._active(), local.membership.voters):
            return False
        self.replication.tick()
        if local.tick % local.config.heartbeat_ticks == 0:
            self._beat()
        return True

    def _beat(self) -> None:
        local = self._local
        log = local.log
        number = self.rounds.begin(log.committed, self.opened, local.tick)
        for node, peer in self.replication.peers.items():
            commit = min(peer.match, log.committed)
            local.send(Heartbeat(local.id, node, local.term, commit, number))
            peer.commit_sent = max(peer.commit_sent, commit)
        if local.sole:
            self._release(number)

    def flush(self) -> None:
        if not self._begun:
            return  # the first append carries the no-op
        if self.rounds.gathering and self.rounds.wanted and self.opened:
            self._beat()
        if self.replication.peers:
            self.replication.flush()

    # --- replies ------------------------------------------------------------------------------------------------

    def on_reply(self, reply: AppendReply | HeartbeatReply | SnapshotReply) -> None:
        peer = self.replication.peers.get(reply.frm)
        if peer is None:
            return
        peer.heard = self._local.tick
        if isinstance(reply, HeartbeatReply):
            self.replication.alive(peer, reply)
            self._count_rounds()
            news = False
        elif isinstance(reply, AppendReply):
            news = self.replication.acknowledged(peer, reply)
        else:
            news = self.replication.installed(peer, reply)
        if news:
            self.advance()
        if reply.frm == self.target:
            self._hand_over(peer)

    # --- reads --------------------------------------------------------------------------------------------------

    def read(self, node: int, token: Token) -> None:
        """`node` asks: this one with a token of its driver, or a follower with a number."""
        local = self._local
        if self.opened and (local.sole or self._has_lease):
            self._serve((node, token), local.log.committed)
        else:
            self.rounds.gathering.append((node, token))
            local.dirty = True

    @property
    def in_doubt(self) -> bool:
        """This node has stood still: others may have elected somebody else meanwhile."""
        return self.rounds.doubted is not None

    @property
    def _has_lease(self) -> bool:
        local = self._local
        if not local.config.lease_reads or not self._trusted or self.rounds.lease_tick < 0:
            return False
        # A heartbeat's worth is left for clocks that do not run alike.
        lease_ticks = local.config.election_ticks - local.config.heartbeat_ticks
        return local.tick - self.rounds.lease_tick < lease_ticks

    def _count_rounds(self) -> None:
        local, peers = self._local, self.replication.peers
        number = self.rounds.number
        self._release(reached([number if n == local.id else peers[n].round for n in local.membership.voters]))

    def _release(self, number: int) -> None:
        for read, index in self.rounds.answered(number):
            self._serve(read, index)

    def _serve(self, read: Read, index: int) -> None:
        local, (node, token) = self._local, read
        if node == local.id:
            local.read(token, index)
        else:
            self.replication.tell(node)
            local.send(ReadIndexReply(local.id, node, local.term, token, index))

    def on_read_index(self, message: ReadIndex) -> None:
        self.read(message.frm, message.number)

    # --- handing over -------------------------------------------------------------------------------------------

    def transfer(self, node: int) -> Refusal | None:
        """Hand over to `node`; 0: to the voter that has most. Until then nobody proposes."""
        local, peers = self._local, self.replication.peers
        if not node:
            fit = [(peers[n].match, n) for n in self._active() & local.membership.voters if n != local.id]
            node = max(fit, default=(0, 0))[1]
        if node == local.id or node not in local.membership.voters:
            return Refusal.CHANGE_INVALID
        if self.target and self.target != node:
            return Refusal.TRANSFERRING
        self.target = node
        self._handing_over_tick = local.tick
        self._hand_over(peers[node])
        return None

    def _hand_over(self, peer: Progress) -> None:
        """As soon as the target has all of the log. Said again with each of its answers: it may have been lost."""
        local = self._local
        if peer.match == local.log.last:
            self._trusted = False
            local.send(TimeoutNow(local.id, self.target, local.term))

    # --- the end ------------------------------------------------------------------------------------------------

    def follow_membership(self) -> bool:
        """The membership has changed; whether this node still leads."""
        local = self._local
        if self.target and self.target not in local.membership.voters:
            self.target = 0
        self.replication.follow_membership()
        if local.id not in local.membership.voters:
            self.replication.announce(local.log.committed)
            self.replication.flush()  # the others learn that it is committed
            return False
        self.advance()
        self._count_rounds()
        return True

    def abandon(self) -> None:
        """Leadership ends: reads fail here, and are asked anew elsewhere."""
        local = self._local
        for node, token in self.rounds.abandon():
            if node == local.id:
                local.fail_reads((token,))
            else:
                local.send(ReadIndexReply(local.id, node, local.term, token, 0, False))
