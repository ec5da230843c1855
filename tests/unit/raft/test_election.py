"""Who gets a vote, and when a campaign is over."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.raft.lab import a_log, batch
from vaylix_resp.raft.election import Election, Outcome, draw_timeout, draw_turn, is_up_to_date, may_grant
from vaylix_resp.raft.local import Local
from vaylix_resp.raft.messages import PreVote, PreVoteReply, Vote, VoteReply
from vaylix_resp.raft.ready import Config
from vaylix_resp.raft.types import EntryId, HardState, InvariantBroken, Membership

MINE = EntryId(3, 2)


def a_local(term: int = 5, vote: int = 0, voters: int = 3, learners: frozenset[int] = frozenset()) -> Local:
    log = a_log(batch(1, 1), batch(2, 2, 2))
    membership = Membership(frozenset(range(1, voters + 1)), learners)
    return Local(Config(1, election_ticks=10), HardState(term, vote), membership, log, Random(1))


@pytest.mark.parametrize(
    "last, good",
    [
        (EntryId(3, 2), True),
        (EntryId(4, 2), True),
        (EntryId(2, 2), False),
        (EntryId(1, 3), True),  # shorter, of a later term
        (EntryId(9, 1), False),  # longer, of an earlier one
    ],
)
def test_a_log_is_compared_by_its_last_term_first(last: EntryId, good: bool) -> None:
    assert is_up_to_date(last, MINE) == good


@pytest.mark.parametrize(
    "term, vote, leader, granted",
    [
        (5, 0, 0, True),
        (5, 2, 0, True),  # again to the same
        (5, 3, 0, False),
        (5, 0, 3, False),  # somebody leads in this term already
        (5, 2, 2, True),
        (4, 0, 0, False),
    ],
)
@pytest.mark.parametrize("kind", [Vote, PreVote])
def test_one_vote_in_a_term(kind: type[Vote] | type[PreVote], term: int, vote: int, leader: int, granted: bool) -> None:
    assert may_grant(a_local(vote=vote), kind(2, 1, term, MINE), leader) == granted


@pytest.mark.parametrize("kind", [Vote, PreVote])
def test_no_vote_for_a_log_that_lacks_something(kind: type[Vote] | type[PreVote]) -> None:
    assert not may_grant(a_local(), kind(2, 1, 5, EntryId(2, 2)), 0)
    assert not may_grant(a_local(), kind(2, 1, 6, EntryId(2, 2)), 0)


@pytest.mark.parametrize("gone", [1, 2, 5])
def test_who_stands_for_a_dead_leader_goes_by_turns(gone: int) -> None:
    """However the draws fall, the latest of a turn is before the earliest of the next."""
    locals_ = [a_local(voters=5) for _ in range(5)]
    for number, local in enumerate(locals_, 1):
        local.id = number
    turns = [{draw_turn(local, gone) for _ in range(50)} for local in locals_ if local.id != gone]
    assert min(turns[0]) >= 1 and max(turns[-1]) < 20, "before an election timeout"
    assert all(max(one) + 2 < min(following) for one, following in zip(turns, turns[1:], strict=False))


def test_a_pre_vote_for_a_later_term_is_free() -> None:
    assert may_grant(a_local(vote=3), PreVote(2, 1, 6, MINE), 3)


@pytest.mark.parametrize(
    "voters, yes, no, outcome",
    [
        (1, [], [], Outcome.WON),
        (2, [], [], Outcome.OPEN),
        (2, [], [2], Outcome.LOST),
        (3, [2], [], Outcome.WON),
        (3, [], [2], Outcome.OPEN),
        (3, [], [2, 3], Outcome.LOST),
        (4, [2], [3], Outcome.OPEN),
        (4, [], [2, 3], Outcome.LOST),
        (4, [2, 3], [], Outcome.WON),
        (5, [2], [3, 4], Outcome.OPEN),
        (5, [], [2, 3, 4], Outcome.LOST),
        (3, [7, 8], [], Outcome.OPEN),  # strangers
        (3, [4, 5], [], Outcome.OPEN),  # learners
        (3, [], [4, 5, 7], Outcome.OPEN),
    ],
)
@pytest.mark.parametrize("pre", [True, False])
def test_votes_are_counted_by_the_voters(
    voters: int, yes: list[int], no: list[int], outcome: Outcome, pre: bool
) -> None:
    learners = frozenset({4, 5}) if voters == 3 else frozenset()
    election = Election(a_local(voters=voters, learners=learners), pre=pre)
    for nodes, granted in ((yes, True), (no, False)):
        for node in nodes:
            reply = PreVoteReply if pre else VoteReply
            for _ in range(2):  # the same message twice is one vote
                election.record(reply(node, 1, election.term, granted))
    assert election.outcome == outcome


def test_answers_to_another_question_do_not_count() -> None:
    election = Election(a_local(), pre=True)
    assert election.term == 6
    election.record(VoteReply(2, 1, 6, True))
    election.record(PreVoteReply(2, 1, 5, True))
    assert election.outcome is Outcome.OPEN
    election.record(PreVoteReply(2, 1, 6, True))
    assert election.outcome is Outcome.WON


def test_a_timeout_lies_between_one_and_two_election_timeouts() -> None:
    local = a_local()
    drawn = {draw_timeout(local) for _ in range(400)}
    assert drawn == set(range(10, 20))


@pytest.mark.parametrize("term, vote", [(4, 0), (5, 2), (5, 0)])
def test_terms_do_not_fall_and_votes_do_not_change(term: int, vote: int) -> None:
    local = a_local(vote=3)
    with pytest.raises(InvariantBroken):
        local.enter(term, vote)


def test_a_log_of_a_later_term_than_the_hard_state_is_believed() -> None:
    assert a_local(term=1, vote=1).term == 2
    assert a_local(term=1, vote=1).vote == 0
