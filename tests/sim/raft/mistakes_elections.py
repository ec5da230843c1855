"""Mistakes of elections: who may vote, whose votes count, who leads."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from vaylix_resp.raft import election, leader, local, roles
from vaylix_resp.raft.quorum import majority

from .mistakes import mutation, replaced


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
