"""Mistakes of commit, apply and reads."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from vaylix_resp.raft import follower, leader, log, reads
from vaylix_resp.raft.messages import Heartbeat

from .mistakes import mutation, replaced


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
