"""Rounds of a leader and questions of a follower: which reads are released by which answer."""

from __future__ import annotations

from vaylix_resp.raft.messages import ReadIndex, ReadIndexReply
from vaylix_resp.raft.reads import Questions, Rounds


def test_a_round_serves_the_reads_that_came_before_it() -> None:
    rounds = Rounds()
    rounds.gathering.append((1, "a"))
    assert rounds.wanted
    assert rounds.begin(7, True, 0) == 1
    rounds.gathering.append((2, "b"))
    assert not rounds.wanted, "one round for reads at a time"
    assert rounds.answered(0) == []
    assert rounds.answered(1) == [((1, "a"), 7)]
    assert rounds.wanted
    rounds.begin(9, True, 3)
    assert rounds.answered(1) == []
    assert rounds.answered(5) == [((2, "b"), 9)]


def test_before_a_batch_of_the_term_is_committed_no_read_goes_with_a_round() -> None:
    rounds = Rounds()
    rounds.gathering.append((1, "a"))
    rounds.begin(7, False, 0)
    assert rounds.answered(1) == []
    rounds.begin(8, True, 0)
    assert rounds.answered(2) == [((1, "a"), 8)]


def test_the_lease_counts_from_when_the_round_began() -> None:
    rounds = Rounds()
    for tick in (10, 12, 14):
        rounds.begin(0, True, tick)
    assert rounds.lease_tick == -1
    rounds.answered(2)
    assert rounds.lease_tick == 12
    rounds.lapse()
    assert rounds.lease_tick == -1
    rounds.answered(3)
    assert rounds.lease_tick == -1, "asked before the ticks came late"


def test_who_leads_no_more_gives_all_reads_back() -> None:
    rounds = Rounds()
    rounds.gathering.append((1, "a"))
    rounds.begin(7, True, 0)
    rounds.gathering.append((1, "b"))
    assert rounds.abandon() == [(1, "a"), (1, "b")]
    assert rounds.abandon() == [] == rounds.answered(9)


def answer(number: int) -> ReadIndexReply:
    return ReadIndexReply(2, 1, 5, number, 7)


def test_a_follower_asks_for_all_at_once_and_again_until_it_is_answered() -> None:
    questions = Questions(100)
    assert questions.ask(1, 2, 5, 0, 2) is None
    questions.add("a")
    questions.add("b")
    assert questions.ask(1, 2, 5, 10, 2) == ReadIndex(1, 2, 5, 101)
    questions.add("c")
    assert questions.ask(1, 2, 5, 11, 2) is None
    assert questions.ask(1, 2, 5, 12, 2) == ReadIndex(1, 2, 5, 101)
    assert questions.answer(answer(100)) == ()
    assert questions.answer(answer(101)) == ["a", "b"]
    assert questions.answer(answer(101)) == []
    assert questions.ask(1, 2, 5, 12, 2) == ReadIndex(1, 2, 5, 102)
    questions.add("d")
    assert questions.abandon() == ["c", "d"]
    assert questions.answer(answer(102)) == []
