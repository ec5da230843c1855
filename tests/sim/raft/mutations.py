"""Deliberate mistakes, each of which the simulator has to find: what it would find, it finds.

Each replaces something of the core by what somebody might well have written. Not here: mistakes that only cost time
or room, which no run can tell from the right thing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from vaylix_resp.raft import election, follower, leader, local, log, progress, reads, replication, roles
from vaylix_resp.raft.messages import Append, Heartbeat
from vaylix_resp.raft.quorum import majority
from vaylix_resp.raft.types import InvariantBroken

from .checks import Violation
from .story import run

Mutation = Callable[[ExitStack], None]
MUTATIONS: dict[str, tuple[Mutation, dict[str, Any]]] = {}  # with the faults that the mistake needs to show
TROUBLE_MS = 30_000
CATCHES = (Violation, InvariantBroken, AssertionError, KeyError)


def mutation(**certain: Any) -> Callable[[Mutation], Mutation]:
    def noted(function: Mutation) -> Mutation:
        MUTATIONS[function.__name__.replace("_", " ")] = function, certain
        return function

    return noted


def replaced(stack: ExitStack, owner: object, name: str, new: object) -> Any:
    """Put `new` in the place of the attribute until the stack is closed; the attribute as it was."""
    old = getattr(owner, name)
    stack.enter_context(patch.object(owner, name, new))
    return old


# --- elections ------------------------------------------------------------------------------------------------------


@mutation()
def votes_twice(stack: ExitStack) -> None:
    def may_grant(here: local.Local, ask: Any, known: int) -> bool:
        return election.is_up_to_date(ask.last, here.log.last_id)

    replaced(stack, roles, "may_grant", may_grant)

    def enter(self: local.Local, term: int, vote: int) -> None:
        if term == self.term:
            self.vote = 0
        old(self, term, vote)

    old = replaced(stack, local.Local, "enter", enter)


@mutation(nodes=3, clients=1, partitions=True)
def votes_for_a_log_that_lacks_something(stack: ExitStack) -> None:
    replaced(stack, election, "is_up_to_date", lambda last, mine: True)


@mutation(nodes=3, clients=3, partitions=True, crashes=False, membership=False, slow_disks=False, delay_ms=50)
def compares_logs_by_length_only(stack: ExitStack) -> None:
    replaced(stack, election, "is_up_to_date", lambda last, mine: last.index >= mine.index)


@mutation(nodes=4, clients=1, crashes=True, partitions=True, membership=False, delay_ms=500)
def forgets_the_vote_with_a_restart(stack: ExitStack) -> None:
    def init(self: local.Local, *arguments: Any) -> None:
        old(self, *arguments)
        self.vote = 0

    old = replaced(stack, local.Local, "__init__", init)


@mutation()
def sends_before_term_and_vote_are_durable(stack: ExitStack) -> None:
    def enter(self: local.Local, term: int, vote: int) -> None:
        old(self, term, vote)
        self.may_send = True

    old = replaced(stack, local.Local, "enter", enter)


@mutation()
def counts_the_same_vote_twice(stack: ExitStack) -> None:
    def record(self: election.Election, reply: Any) -> None:
        self._answers[len(self._answers) + 1000] = reply.granted

    def outcome(self: election.Election) -> election.Outcome:
        won = sum(self._answers.values()) >= majority(len(self._local.membership.voters))
        return election.Outcome.WON if won else election.Outcome.OPEN

    replaced(stack, election.Election, "record", record)
    replaced(stack, election.Election, "outcome", property(outcome))


@mutation(membership=True, crashes=True, nodes=3)
def counts_the_votes_of_learners(stack: ExitStack) -> None:
    def ask(self: election.Election) -> None:
        here = self._local
        membership = here.membership
        object.__setattr__(membership, "voters", membership.voters | membership.learners)
        old(self)
        object.__setattr__(membership, "voters", membership.voters - membership.learners)

    def outcome(self: election.Election) -> election.Outcome:
        won = sum(self._answers.values()) >= majority(len(self._local.membership.voters))
        return election.Outcome.WON if won else election.Outcome.OPEN

    old = replaced(stack, election.Election, "ask", ask)
    replaced(stack, election.Election, "outcome", property(outcome))


@mutation(lease_reads=True, pauses=False, nodes=3, partitions=True)
def votes_although_it_hears_a_leader(stack: ExitStack) -> None:
    """Breaks the leases of leaders: their reads become stale."""
    replaced(stack, roles.Roles, "_hears_leader", property(lambda self: False))


@mutation()
def leads_on_without_a_quorum(stack: ExitStack) -> None:
    replaced(stack, leader.Leader, "_active", lambda self: set(self._local.membership.members))


@mutation()
def hands_over_to_a_node_that_lacks_something(stack: ExitStack) -> None:
    def hand_over(self: leader.Leader, peer: Any) -> None:
        self._local.send(leader.TimeoutNow(self._local.id, self.target, self._local.term))

    replaced(stack, leader.Leader, "_hand_over", hand_over)


# --- the log --------------------------------------------------------------------------------------------------------


@mutation()
def acknowledges_before_the_fsync(stack: ExitStack) -> None:
    def flush(self: follower.Follower) -> None:
        here, self._local.log.persisted = self._local.log.persisted, self._local.log.last
        old(self)
        self._local.log.persisted = here

    old = replaced(stack, follower.Follower, "flush", flush)


@mutation()
def acknowledges_what_was_not_compared(stack: ExitStack) -> None:
    def flush(self: follower.Follower) -> None:
        self._verified = self._local.log.last if self._owed else self._verified
        old(self)

    old = replaced(stack, follower.Follower, "flush", flush)


@mutation(transfers=True, nodes=3, clients=3, drop=0, delay_ms=500, fifo=False)
def takes_an_append_of_an_earlier_term(stack: ExitStack) -> None:
    def step(self: roles.Roles, message: Any) -> None:
        if isinstance(message, Append) and message.term < self._local.term:
            message = Append(
                message.frm,
                message.to,
                self._local.term,
                message.number,
                message.prev,
                message.prev_chain,
                message.entries,
                message.commit,
            )
        old(self, message)

    old = replaced(stack, roles.Roles, "step", step)


@mutation()
def appends_without_looking_at_what_is_before(stack: ExitStack) -> None:
    replaced(stack, log.RaftLog, "holds", lambda self, entry: self.terms.at(entry.index) is not None)


@mutation()
def forgets_to_cut_the_disk(stack: ExitStack) -> None:
    def cut(self: log.RaftLog, after: Any) -> Any:
        dropped = old(self, after)
        self._after = None
        return dropped

    old = replaced(stack, log.RaftLog, "cut", cut)


@mutation()
def cuts_behind_every_append(stack: ExitStack) -> None:
    """Without a conflict: a late, shorter append takes away what has been acknowledged since."""

    def take(self: follower.Follower, prev: Any, entries: Any) -> int:
        end = old(self, prev, entries)
        self._local.log.cut(self._local.log.id_at(max(end, self._local.log.committed)))
        return end

    old = replaced(stack, follower.Follower, "_take", take)


@mutation()
def cuts_what_is_committed(stack: ExitStack) -> None:
    def cut(self: log.RaftLog, after: Any) -> Any:
        committed, self.committed = self.committed, 0
        try:
            return old(self, after)
        finally:
            self.committed = min(committed, self.last)

    def on_append(self: follower.Follower, message: Any) -> None:
        here = self._local.log
        committed = here.committed
        if message.prev.index >= here.base and here.holds(message.prev) and message.entries:
            here.committed = message.prev.index
            here.cut(message.prev)
            here.committed = min(committed, here.last)
        old_append(self, message)

    old = replaced(stack, log.RaftLog, "cut", cut)
    old_append = replaced(stack, follower.Follower, "on_append", on_append)


@mutation(slow_disks=True, partitions=True, nodes=5, clients=8)
def believes_an_old_report_of_the_disk(stack: ExitStack) -> None:
    """ABA: what was written, cut and written again counts as durable when the first write returns."""

    def cut(self: log.RaftLog, after: Any) -> Any:
        ends = [handed.end for handed in self._handed]
        dropped = old(self, after)
        for handed, end in zip(self._handed, ends, strict=True):
            handed.end = end
        return dropped

    def done(self: log.RaftLog, number: int) -> Any:
        finished = old_done(self, number)
        self.persisted = min(self.persisted, self.last)
        return finished

    old = replaced(stack, log.RaftLog, "cut", cut)
    old_done = replaced(stack, log.RaftLog, "done", done)


@mutation()
def takes_a_rejection_for_an_acknowledgement(stack: ExitStack) -> None:
    def acknowledged(self: replication.Replication, peer: Any, reply: Any) -> bool:
        if reply.rejected and reply.number <= peer.state_number:  # a late one
            object.__setattr__(reply, "rejected", False)
        return old(self, peer, reply)

    old = replaced(stack, replication.Replication, "acknowledged", acknowledged)


# --- commit and apply -----------------------------------------------------------------------------------------------


@mutation(partitions=True, crashes=True, nodes=3)
def commits_an_earlier_term_by_counting(stack: ExitStack) -> None:
    def advance(self: leader.Leader) -> None:
        here = self._local
        peers, voters = self.replication.peers, here.membership.voters
        counts = [here.log.persisted if node == here.id else peers[node].match for node in voters]
        index = leader.reached(counts)
        if index > here.log.committed and here.log.terms.at(index) != here.term:
            here.log.commit(index)
        old(self)

    old = replaced(stack, leader.Leader, "advance", advance)


@mutation()
def counts_itself_before_its_fsync(stack: ExitStack) -> None:
    def advance(self: leader.Leader) -> None:
        here, self._local.log.persisted = self._local.log.persisted, self._local.log.last
        old(self)
        self._local.log.persisted = here

    def tick(self: leader.Leader) -> bool:
        self.advance()
        return old_tick(self)

    old = replaced(stack, leader.Leader, "advance", advance)
    old_tick = replaced(stack, leader.Leader, "tick", tick)


@mutation()
def commits_by_half_of_the_voters(stack: ExitStack) -> None:
    replaced(stack, leader, "reached", lambda values: sorted(values)[len(values) // 2])


@mutation(partitions=True, crashes=True, nodes=5, clients=8)
def commits_behind_what_was_compared(stack: ExitStack) -> None:
    def on_append(self: follower.Follower, message: Any) -> None:
        old(self, message)
        here = self._local.log
        if here.holds(message.prev):
            here.commit(max(here.committed, min(message.commit, here.last)))

    old = replaced(stack, follower.Follower, "on_append", on_append)


@mutation(nodes=3, clients=1, partitions=True, delay_ms=5)
def tells_everybody_the_same_commit_index(stack: ExitStack) -> None:
    """In a heartbeat, also those whose logs are not known to reach so far; who lacks it commits what it has."""

    def on_heartbeat(self: follower.Follower, message: Any) -> None:
        commit = min(message.commit, self._local.log.last)
        old(self, Heartbeat(message.frm, message.to, message.term, commit, message.round))

    def beat(self: leader.Leader) -> None:
        here = self._local
        matches = {node: peer.match for node, peer in self.replication.peers.items()}
        for peer in self.replication.peers.values():
            peer.match = here.log.committed
        old_beat(self)
        for node, peer in self.replication.peers.items():
            peer.match = matches[node]

    old = replaced(stack, follower.Follower, "on_heartbeat", on_heartbeat)
    old_beat = replaced(stack, leader.Leader, "_beat", beat)


@mutation()
def applies_before_commit(stack: ExitStack) -> None:
    def give(self: log.RaftLog) -> Any:
        committed, self.committed = self.committed, self.last
        given = old(self)
        self.committed = max(committed, self.given)
        return given

    old = replaced(stack, log.RaftLog, "give", give)


@mutation()
def applies_before_it_is_durable_here(stack: ExitStack) -> None:
    def give(self: log.RaftLog) -> Any:
        persisted, self.persisted = self.persisted, self.last
        given = old(self)
        self.persisted = persisted
        return given

    old = replaced(stack, log.RaftLog, "give", give)


# --- reads ----------------------------------------------------------------------------------------------------------


@mutation()
def reads_without_asking_a_quorum(stack: ExitStack) -> None:
    def read(self: leader.Leader, node: int, token: Any) -> None:
        if self.opened:
            self._serve((node, token), self._local.log.committed)
        else:
            self.rounds.gathering.append((node, token))

    replaced(stack, leader.Leader, "read", read)


@mutation()
def reads_before_its_term_has_committed(stack: ExitStack) -> None:
    def init(self: leader.Leader, here: Any) -> None:
        old(self, here)
        self.opened = True

    old = replaced(stack, leader.Leader, "__init__", init)


@mutation(partitions=True, nodes=3, delay_ms=500, lease_reads=False)
def counts_answers_to_earlier_heartbeats_for_a_read(stack: ExitStack) -> None:
    def begin(self: reads.Rounds, committed: int, opened: bool, tick: int) -> int:
        number = old(self, committed, opened, tick)
        if self._waiting and self._waiting[-1][0] == number:
            self._waiting[-1] = (max(1, number - 3), *self._waiting[-1][1:])
        return number

    old = replaced(stack, reads.Rounds, "begin", begin)


@mutation()
def a_follower_reads_at_its_own_commit_index(stack: ExitStack) -> None:
    def read(self: follower.Follower, token: Any) -> None:
        self._local.read(token, self._local.log.committed)

    replaced(stack, follower.Follower, "read", read)


@mutation(lease_reads=True, pauses=False, transfers=True, clients=8, drop=100, delay_ms=50)
def a_lease_outlives_a_transfer(stack: ExitStack) -> None:
    def hand_over(self: leader.Leader, peer: Any) -> None:
        old(self, peer)
        self._trusted = True

    old = replaced(stack, leader.Leader, "_hand_over", hand_over)


# --- members and snapshots ------------------------------------------------------------------------------------------


@mutation(membership=True, nodes=3)
def takes_two_changes_of_the_membership_at_once(stack: ExitStack) -> None:
    def refuses(self: leader.Leader, change: Any, force: bool) -> Any:
        members, self._local.log.members = self._local.log.members, []
        refusal = old(self, change, True)
        self._local.log.members = members
        return refusal

    old = replaced(stack, leader.Leader, "refuses_change", refuses)


@mutation(membership=True, slow_disks=True, transfers=True, nodes=3)
def stands_for_election_before_it_has_applied_a_change(stack: ExitStack) -> None:
    replaced(stack, local.Local, "may_stand", property(lambda self: self.id in self.membership.voters))


@mutation(membership=True, nodes=3)
def a_removed_leader_leads_on(stack: ExitStack) -> None:
    def follow(self: leader.Leader) -> bool:
        old(self)
        return True

    old = replaced(stack, leader.Leader, "follow_membership", follow)


@mutation(compaction=True, partitions=True, nodes=3, duplicate=500)
def installs_a_snapshot_that_is_older_than_its_state(stack: ExitStack) -> None:
    def on_install(self: follower.Follower, message: Any) -> None:
        if self._local.installing is None:
            self._local.installing = message.snapshot

    def restart(self: log.RaftLog, snapshot: Any) -> Any:
        self.committed = min(self.committed, snapshot.last.index - 1)
        return old(self, snapshot)

    replaced(stack, follower.Follower, "on_install", on_install)
    old = replaced(stack, log.RaftLog, "restart_behind", restart)


@mutation(compaction=True, nodes=3, partitions=True)
def never_sends_a_snapshot_again(stack: ExitStack) -> None:
    replaced(stack, replication.Replication, "tick", lambda self: None)
    replaced(stack, follower.Follower, "installed", lambda self, *, ok: None)


@mutation()
def never_looks_for_appends_that_were_lost(stack: ExitStack) -> None:
    def alive(self: replication.Replication, peer: progress.Progress, reply: Any) -> None:
        peer.round = max(peer.round, reply.round)

    replaced(stack, replication.Replication, "alive", alive)


# These need a coincidence that the simulated world seldom has: the script of that name under tests/unit/raft/scripts
# is told so that it happens, and fails.
SCRIPTED = {
    "a lease outlives a transfer": "lease",
    "installs a snapshot that is older than its state": "snapshot",
    "stands for election before it has applied a change": "unapplied_change",
}


def caught_by(name: str, seed: int) -> str | None:
    """What a run with this mistake says; None: it has not noticed."""
    with ExitStack() as stack:
        mistake, certain = MUTATIONS[name]
        mistake(stack)
        try:
            run(seed, trouble_ms=TROUBLE_MS, **certain)
        except CATCHES as problem:
            return f"{type(problem).__name__}: {problem}"
    return None


def hunt_all(seeds: int) -> int:
    """The first seed that finds each mistake, for the table of the tests."""
    missed = 0
    for name in [name for name in MUTATIONS if name not in SCRIPTED]:
        began = time.perf_counter()
        for seed in range(seeds):
            found = caught_by(name, seed)
            if found:
                run(seed, trouble_ms=TROUBLE_MS, **MUTATIONS[name][1])  # the right core passes
                print(f'    "{name}": {seed},  # {time.perf_counter() - began:.1f} s: {found[:110]}', flush=True)
                break
        else:
            missed += 1
            print(f"{name}: not found by {seeds} seeds", flush=True)
    return 1 if missed else 0
