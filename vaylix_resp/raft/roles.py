"""Which role a node is in, what moves it from one to another, and who gets to see a message.

    follower -> (timeout) pre-candidate -> (would be elected) candidate -> (elected) leader -> follower

Promises: a term is entered only by a vote in it or by word from somebody who is in it; in one term one node leads; who
left the group moves nothing.
Not here: what a role does (`follower`, `election`, `leader`); proposals and the driver's side (`core`).
Differs from the paper: a membership change takes effect when it is applied, not when it is appended; `leader.advance`
and `local.may_stand` say what makes that safe.
Source: Raft (Ongaro, 2014), figure 3.1; sections 3.4, 3.10, 4.2.3, 9.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import messages as msg
from .election import Election, Outcome, draw_turn, may_grant
from .follower import Follower
from .leader import Leader
from .local import Local
from .messages import Message
from .reads import Questions
from .ready import Status
from .types import InvariantBroken, Role

_FROM_LEADER = (msg.Append, msg.Heartbeat, msg.InstallSnapshot, msg.TimeoutNow)
# Answers to what only a member is asked: from anybody else they are late, and move nothing, not even the term.
_ANSWERS = (msg.PreVoteReply, msg.VoteReply, msg.AppendReply, msg.HeartbeatReply, msg.SnapshotReply)


class Roles:
    """`current` is exactly one of the three; `status_told` falls when what `status` says may have changed."""

    __slots__ = ("_handlers", "_local", "_questions", "current", "status_told")

    def __init__(self, local: Local, questions: Questions) -> None:
        self._local = local
        self._questions = questions
        self.status_told = False
        # Whoever has promised a leader its lease may have forgotten it with the restart.
        guarded = local.config.lease_reads
        self.current: Follower | Election | Leader = Follower(local, 0, questions, guarded=guarded)
        self._handlers: dict[type, Callable[[Any], None]] = {
            msg.PreVote: self._on_pre_vote,
            msg.Vote: self._on_vote,
            msg.PreVoteReply: self._on_vote_reply,
            msg.VoteReply: self._on_vote_reply,
            msg.Append: self._on_append,
            msg.Heartbeat: self._on_heartbeat,
            msg.InstallSnapshot: self._on_install,
            msg.AppendReply: self._on_reply,
            msg.HeartbeatReply: self._on_reply,
            msg.SnapshotReply: self._on_reply,
            msg.TimeoutNow: self._on_timeout_now,
            msg.ReadIndex: self._on_read_index,
            msg.ReadIndexReply: self._on_read_index_reply,
        }
        self.stand_alone()

    @property
    def role(self) -> Role:
        role = self.current
        if isinstance(role, Leader):
            return Role.LEADER
        if isinstance(role, Follower):
            return Role.FOLLOWER
        return Role.PRE_CANDIDATE if role.pre else Role.CANDIDATE

    @property
    def status(self) -> Status:
        role = self.current
        fresh = role.hears_leader and bool(role.leader) if isinstance(role, Follower) else isinstance(role, Leader)
        if not isinstance(role, Election) and role.in_doubt:
            fresh = False
        return Status(self.role, self._local.term, role.leader, fresh)

    # --- from one to another ------------------------------------------------------------------------------------

    def _enter(self, role: Follower | Election | Leader) -> None:
        if isinstance(self.current, Follower | Leader):
            self.current.abandon()
        self.current = role
        self.status_told = False

    def _follow(self, term: int, leader: int) -> None:
        if term > self._local.term:
            self._local.enter(term, 0)
        self._enter(Follower(self._local, leader, self._questions))

    def _campaign(self, *, pre: bool, transfer: bool = False) -> None:
        """Ask whether this node would be elected, or for the votes themselves."""
        local = self._local
        if not local.may_stand:
            raise InvariantBroken(f"{local.id:x} stands for election; voters are {local.membership}")
        if not pre:
            local.enter(local.term + 1, local.id)
        election = Election(local, pre=pre, transfer=transfer)
        self._enter(election)
        election.ask()
        self._look_at(election)

    def _look_at(self, election: Election) -> None:
        """What follows from the votes so far."""
        outcome = election.outcome
        if outcome is Outcome.LOST:
            self._follow(self._local.term, 0)
        elif outcome is Outcome.WON and election.pre:
            self._campaign(pre=False)
        elif outcome is Outcome.WON:
            # Alone, it leads before its vote is durable: nobody hears of it, and nothing is committed, until then.
            if not self._local.sole and not self._local.may_send:
                raise InvariantBroken(f"elected in term {self._local.term} with a vote that is not durable")
            self._enter(Leader(self._local))

    def stand_alone(self) -> None:
        """A group of one needs no timeout to know that nobody else leads."""
        if self._local.sole and self._local.may_stand and not isinstance(self.current, Leader):
            self._campaign(pre=False)

    def follow_membership(self) -> None:
        """The membership has changed; what that does to the role."""
        role, local = self.current, self._local
        if isinstance(role, Leader):
            if not role.follow_membership():
                self._follow(local.term, 0)
        elif isinstance(role, Election):
            if local.may_stand:
                self._look_at(role)
            else:
                self._follow(local.term, 0)
        self.stand_alone()

    def lapse(self, *, stood_still: bool) -> None:
        """See the core. This node goes on as it is, and is told soon enough if it leads no more; but until somebody has
        said something, it names no leader."""
        role, self.status_told = self.current, False
        if isinstance(role, Leader):
            role.rounds.lapse(stood_still=stood_still and not self._local.sole)
        elif isinstance(role, Follower):
            role.in_doubt |= stood_still

    def stand_down(self) -> None:
        """This node is not fit to lead, and never will be."""
        self._local.fit = False
        if isinstance(self.current, Election):
            self._follow(self._local.term, 0)

    def resign(self) -> None:
        """The driver cannot go on leading (its disk has failed, say)."""
        if isinstance(self.current, Leader):
            self._follow(self._local.term, 0)

    def leader_gone(self, node: int) -> None:
        """The driver has a sign that the process of `node` is no more; see `election.draw_turn`.

        It may be wrong, so nothing follows but that this node waits less, and refuses nobody for the sake of that
        leader: a majority has to be as sure before anything moves. Not where leases are believed in: they rest on
        voters who are silent for an election timeout.
        """
        local, role = self._local, self.current
        if not isinstance(role, Follower) or role.leader != node or local.config.lease_reads:
            return
        self._follow(local.term, 0)
        if local.may_stand and isinstance(self.current, Follower):
            self.current.stand_in(draw_turn(local, node))

    # --- time ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        local, role = self._local, self.current
        local.tick += 1
        self.status_told = False
        if isinstance(role, Leader):
            if not role.tick():
                self._follow(local.term, 0)
        elif role.tick():
            if local.may_stand:
                self._campaign(pre=True)
            elif role.leader:
                self._follow(local.term, 0)  # a learner does not ask for votes, but knows when it hears nobody
        self.stand_alone()

    # --- messages -----------------------------------------------------------------------------------------------

    def step(self, message: Message) -> None:
        """The sender need not be in the membership as this node knows it: one that lags has to follow, and vote for,
        members that it has not heard of (section 4.1). Who has left is not listened to, unless it leads: it may not
        have applied its own removal yet, and steps down by itself.
        """
        local = self._local
        if message.to != local.id or message.frm == local.id:
            return
        if message.frm in local.membership.retired:
            if message.frm != self.current.leader or message.term != local.term:
                return
        if isinstance(message, _ANSWERS) and message.frm not in local.membership.members:
            return
        if message.term > local.term:
            if not self._catch_up(message):
                return
        elif message.term < local.term and not isinstance(message, msg.PreVoteReply):
            self._answer_old(message)
            return
        self._handlers[type(message)](message)

    def _catch_up(self, message: Message) -> bool:
        """A message of a later term; whether it is to be looked at."""
        if isinstance(message, msg.PreVote) or (isinstance(message, msg.PreVoteReply) and message.granted):
            return True  # nobody is in that term yet
        if isinstance(message, msg.Vote) and not message.transfer and self._hears_leader:
            return False
        self._follow(message.term, message.frm if isinstance(message, _FROM_LEADER) else 0)
        return True

    def _answer_old(self, message: Message) -> None:
        """Tell a sender of an earlier term which one it is, where it may not hear of it otherwise."""
        local, to = self._local, message.frm
        if isinstance(message, msg.Append | msg.Heartbeat | msg.InstallSnapshot):
            local.send(msg.HeartbeatReply(local.id, to, local.term, 0))
        elif isinstance(message, msg.PreVote):
            local.send(msg.PreVoteReply(local.id, to, local.term, False))
        elif isinstance(message, msg.Vote):
            local.send(msg.VoteReply(local.id, to, local.term, False))
        elif isinstance(message, msg.ReadIndex):
            local.send(msg.ReadIndexReply(local.id, to, local.term, message.number, 0, False))

    @property
    def _hears_leader(self) -> bool:
        role = self.current
        return isinstance(role, Leader) or (isinstance(role, Follower) and role.hears_leader)

    def _on_pre_vote(self, message: msg.PreVote) -> None:
        local = self._local
        granted = not self._hears_leader and may_grant(local, message, self.current.leader)
        term = message.term if granted else local.term
        local.send(msg.PreVoteReply(local.id, message.frm, term, granted))

    def _on_vote(self, message: msg.Vote) -> None:
        local, role = self._local, self.current
        granted = may_grant(local, message, role.leader)
        if granted:
            local.enter(local.term, message.frm)
            if isinstance(role, Follower):
                role.put_off()
            else:
                self._follow(local.term, 0)  # it had only asked around for the next term
        local.send(msg.VoteReply(local.id, message.frm, local.term, granted))

    def _on_vote_reply(self, message: msg.PreVoteReply | msg.VoteReply) -> None:
        if isinstance(self.current, Election):
            self.current.record(message)
            self._look_at(self.current)

    def _follower_of(self, leader: int) -> Follower:
        role = self.current
        if isinstance(role, Leader):
            raise InvariantBroken(f"{leader:x} leads in term {self._local.term}, and so does this node")
        if isinstance(role, Election):
            self._follow(self._local.term, leader)
            role = self.current
            assert isinstance(role, Follower)
        if not role.leader or role.in_doubt:
            self.status_told = False
        role.heard_from(leader)
        return role

    def _on_append(self, message: msg.Append) -> None:
        self._follower_of(message.frm).on_append(message)

    def _on_heartbeat(self, message: msg.Heartbeat) -> None:
        self._follower_of(message.frm).on_heartbeat(message)

    def _on_install(self, message: msg.InstallSnapshot) -> None:
        self._follower_of(message.frm).on_install(message)

    def _on_timeout_now(self, message: msg.TimeoutNow) -> None:
        self._follower_of(message.frm)
        if self._local.may_stand:
            self._campaign(pre=False, transfer=True)

    def _on_reply(self, message: msg.AppendReply | msg.HeartbeatReply | msg.SnapshotReply) -> None:
        if isinstance(self.current, Leader):
            if self.current.in_doubt:
                self.status_told = False
            self.current.on_reply(message)

    def _on_read_index(self, message: msg.ReadIndex) -> None:
        local = self._local
        if isinstance(self.current, Leader):
            self.current.on_read_index(message)
        else:
            local.send(msg.ReadIndexReply(local.id, message.frm, local.term, message.number, 0, False))

    def _on_read_index_reply(self, message: msg.ReadIndexReply) -> None:
        if isinstance(self.current, Follower):
            self.current.on_read_index_reply(message)
