"""A node that follows: takes what a leader appends, acknowledges what is durable, notices when the leader is gone.

Promises: nothing committed is cut; what is acknowledged is durable and known to be equal to the leader's log; the hash
over the batches is the leader's wherever both know it.
Not here: who leads (`core`); votes (`election`).
Source: Raft (Ongaro, 2014), sections 3.5, 5.1, 5.3, 6.4.
"""

from __future__ import annotations

from .election import draw_timeout
from .local import Local
from .messages import Append, AppendReply, Heartbeat, HeartbeatReply, InstallSnapshot, ReadIndexReply, SnapshotReply
from .reads import Questions
from .ready import Fate, Token
from .types import Entry, EntryId, InvariantBroken, Refusal


class Follower:
    """`leader` 0: nobody is known to lead in this term. A guarded follower trusts that it has heard one just now."""

    __slots__ = (
        "_acknowledged",
        "_guarded",
        "_heard",
        "_local",
        "_owed",
        "_questions",
        "_until",
        "_verified",
        "in_doubt",
        "leader",
    )

    def __init__(self, local: Local, leader: int, questions: Questions, *, guarded: bool = False) -> None:
        self._local = local
        self._questions = questions
        self._guarded = guarded
        self.leader = leader
        self.in_doubt = False  # it has stood still: this may be the leader of long ago
        self._heard = local.tick
        self._until = local.tick + draw_timeout(local)
        self._owed = 0  # the number of the last append that was taken and not fully acknowledged; 0: none
        self._verified = 0  # the log up to here is equal to the leader's
        self._acknowledged = 0

    # --- time ---------------------------------------------------------------------------------------------------

    @property
    def hears_leader(self) -> bool:
        """Within an election timeout; while it does, nobody gets a vote that the leader has not asked for."""
        lately = self._local.tick - self._heard < self._local.config.election_ticks
        return lately and (bool(self.leader) or self._guarded)

    def put_off(self) -> None:
        """A vote was given: let that candidate try."""
        self._until = self._local.tick + draw_timeout(self._local)

    def stand_in(self, ticks: int) -> None:
        """Unless a leader is heard of before."""
        self._until = self._local.tick + ticks

    def heard_from(self, leader: int) -> None:
        if self.leader and self.leader != leader:
            raise InvariantBroken(f"{leader:x} and {self.leader:x} both lead in term {self._local.term}")
        self.leader = leader
        self.in_doubt = False
        self._heard = self._local.tick
        self.put_off()

    def tick(self) -> bool:
        """Whether it is time for an election."""
        return self._local.tick >= self._until

    # --- the log ------------------------------------------------------------------------------------------------

    def on_append(self, message: Append) -> None:
        local, log = self._local, self._local.log
        if local.installing is not None:
            return  # the log that it speaks of is on its way out
        prev, entries = message.prev, message.entries
        if prev.index < log.committed:  # every leader has what is committed, so the logs are equal up to there
            prev, entries = log.id_at(log.committed), self._behind_commit(entries)
        elif not log.holds(prev):
            self._reject(message)
            return
        else:
            self._compare_chains(message)
        end = self._take(prev, entries)
        self._verified = max(self._verified, end)
        self._owed = max(self._owed, message.number)
        self._acknowledged = max(self._acknowledged, prev.index)  # the leader knows, or will with the first answer
        log.commit(max(log.committed, min(message.commit, end)))

    def _behind_commit(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        log = self._local.log
        for entry in entries:
            if entry.last <= log.committed and log.terms.at(entry.last) not in (entry.term, None):
                raise InvariantBroken(f"a leader has {entry}; committed is {log.id_at(entry.last)}")
        return tuple(entry for entry in entries if entry.last > log.committed)

    def _reject(self, message: Append) -> None:
        local, log = self._local, self._local.log
        if not message.number:
            return  # what it speaks of has been lost on the way; the leader finds out with the next heartbeat
        prev = message.prev
        hint = log.terms.floor(prev.index, prev.term)
        if hint is None or hint.index < log.committed:
            hint = log.id_at(log.committed)
        local.send(AppendReply(local.id, message.frm, local.term, message.number, prev.index, rejected=True, hint=hint))

    def _compare_chains(self, message: Append) -> None:
        log = self._local.log
        theirs, mine = message.prev_chain, log.chain_at(message.prev.index)
        if theirs and mine and theirs != mine:
            raise InvariantBroken(f"the log here is not the leader's: other bytes at or before {message.prev}")
        if theirs and not mine and message.prev.index == log.last:
            log.adopt_chain(theirs)

    def _take(self, prev: EntryId, entries: tuple[Entry, ...]) -> int:
        """Append what is new, cutting what conflicts; the index up to which the logs are now equal."""
        local, log = self._local, self._local.log
        for at, entry in enumerate(entries):
            if entry.first != prev.index + 1 or not prev.term <= entry.term <= local.term:
                raise InvariantBroken(f"an append of term {local.term} has {entry} behind {prev}")
            if entry.last > log.last or log.terms.at(entry.last) != entry.term:
                if prev.index < log.last:
                    local.dropped(log.cut(prev), Fate.LOST)
                for new in entries[at:]:
                    log.append(new)
                return log.last
            prev = entry.id
        return prev.index

    def on_heartbeat(self, message: Heartbeat) -> None:
        local, log = self._local, self._local.log
        if local.installing is None and message.commit > log.committed:
            if message.commit > log.last:
                raise InvariantBroken(
                    f"the log ends at {log.last_id}, but the leader has had an acknowledgement of {message.commit}: "
                    "this node has lost what it had promised to keep; let it join anew, with an empty directory"
                )
            log.commit(message.commit)
        local.send(HeartbeatReply(local.id, message.frm, local.term, message.round))

    def flush(self) -> None:
        """Acknowledge what has become durable; ask for the read index."""
        local = self._local
        if self._owed:
            durable = min(self._local.log.persisted, self._verified)
            if durable == self._verified or durable > self._acknowledged:
                local.send(AppendReply(local.id, self.leader, local.term, self._owed, durable))
                self._acknowledged = durable
            if durable == self._verified:
                self._owed = 0
        if self.leader:
            question = self._questions.ask(local.id, self.leader, local.term, local.tick, local.config.heartbeat_ticks)
            if question:
                local.send(question)

    # --- snapshots ----------------------------------------------------------------------------------------------

    def on_install(self, message: InstallSnapshot) -> None:
        local, log = self._local, self._local.log
        last = message.snapshot.last
        if local.installing is not None:
            return
        if last.index > log.committed and log.holds(last):
            log.commit(last.index)  # all of it is here already
        if last.index > log.committed:
            local.installing = message.snapshot
            local.dirty = True
        else:
            self.installed(ok=True)

    def installed(self, *, ok: bool) -> None:
        """The log begins behind a snapshot now, or (`ok` false) the snapshot could not be read."""
        local, log = self._local, self._local.log
        index = min(log.persisted, log.committed)
        self._verified = max(self._verified, index)
        if self.leader:
            local.send(SnapshotReply(local.id, self.leader, local.term, index, ok))

    # --- reads --------------------------------------------------------------------------------------------------

    def read(self, token: Token) -> Refusal | None:
        if not self.hears_leader or not self.leader:
            return Refusal.NO_LEADER
        self._questions.add(token)
        return None

    def on_read_index_reply(self, reply: ReadIndexReply) -> None:
        tokens = self._questions.answer(reply)
        if reply.ok:
            for token in tokens:
                self._local.read(token, reply.index)
        elif tokens:
            self._local.fail_reads(tokens)

    def abandon(self) -> None:
        """Another leader, or none: who asked has to ask anew."""
        tokens = self._questions.abandon()
        if tokens:
            self._local.fail_reads(tokens)
