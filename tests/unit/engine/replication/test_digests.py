"""Who is right about a state: the comparison of what nodes say, as a table."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from vaylix_resp.engine.replication.digests import ANSWER_S, KEPT, Comparisons, judge

X, Y, Z = b"x" * 16, b"y" * 16, b"z" * 16
NOBODY = frozenset()


def sets(agree: str, differ: str) -> tuple[frozenset[int], frozenset[int]]:
    return frozenset(map(int, agree)), frozenset(map(int, differ))


# answers of nodes 1, 2, ... ("-": none), voters, leader, who agrees, who differs
TABLE = [
    ("xxx", "123", 1, "123", ""),
    ("xxy", "123", 1, "12", "3"),
    ("yxx", "123", 1, "23", "1"),  # the leader is wrong
    ("xyz", "123", 2, "2", "13"),  # nobody has company: the leader counts
    ("xx-", "123", 1, "12", ""),
    ("xy-", "123", 1, "1", "2"),
    ("-xy", "123", 1, "", ""),  # one against one, and the leader does not know
    ("x--", "123", 1, "", ""),  # one answer is none
    ("---", "123", 1, "", ""),
    ("xy", "12", 1, "1", "2"),
    ("xy", "12", 2, "2", "1"),
    ("xx", "12", 1, "12", ""),
    ("xxyy", "1234", 3, "34", "12"),  # no majority: the leader counts
    ("xxyy-", "12345", 1, "12", "34"),
    ("yxx--", "12345", 1, "23", "1"),  # most of those who answered
    ("xxxyz", "12345", 5, "123", "45"),
    ("xyyzz", "12345", 1, "1", "2345"),
    ("xxy", "12", 1, "12", "3"),  # node 3 is a learner: judged,
    ("xyy", "12", 1, "1", "23"),  # but not counted
    ("xyy", "1", 1, "1", "23"),
    ("-xy", "12", 1, "", ""),  # one voter alone is no majority
    ("-yy", "1", 1, "", ""),
    ("xy", "", 1, "1", "2"),  # no voters that could be believed: the leader counts
]


@pytest.mark.parametrize(("answers", "voters", "leader", "agree", "differ"), TABLE)
def test_who_is_right(answers: str, voters: str, leader: int, agree: str, differ: str) -> None:
    said = {node: letter.encode() * 16 for node, letter in enumerate(answers, 1) if letter != "-"}
    for order in permutations(said.items()):
        assert judge(dict(order), set(map(int, voters)), leader) == sets(agree, differ), order


def test_whatever_is_said_a_majority_is_never_condemned() -> None:
    """All answers of up to five voters: nobody in a strict majority of equal answers differs, and somebody is right."""
    for count in range(2, 6):
        for said in product((X, Y, Z), repeat=count):
            answers = dict(enumerate(said, 1))
            for leader in answers:
                agree, differ = judge(answers, set(answers), leader)
                assert agree | differ == set(answers) and not agree & differ and agree
                most = max(set(said), key=said.count)
                if 2 * said.count(most) > count:
                    assert {node for node, digest in answers.items() if digest == most} == agree
                else:
                    assert leader in agree


class Bench:
    """Three voters and a leader, node 1."""

    def __init__(self) -> None:
        self.comparisons = Comparisons()
        self.members = {1, 2, 3}
        self.voters, self.leader, self.now = {1, 2, 3}, 1, 0.0

    def say(self, node: int, digest: bytes, sequence: int = 7) -> list[tuple[int, set[int], set[int]]]:
        self.comparisons.answer(node, sequence, digest, self.now, "keys" if node == self.leader else "")
        return self.settle()

    def settle(self) -> list[tuple[int, set[int], set[int]]]:
        found = self.comparisons.settle(self.members, self.voters, self.leader, self.now)
        assert all(verdict.at_s == self.now for verdict in found)
        return [(verdict.sequence, set(verdict.agree), set(verdict.differ)) for verdict in found]


def test_all_have_answered() -> None:
    bench = Bench()
    assert bench.say(2, X) == bench.say(1, X) == []
    assert bench.say(3, Y) == [(7, {1, 2}, {3})]
    assert bench.settle() == [] and bench.comparisons.compared == 1, "once"


def test_one_is_away() -> None:
    bench = Bench()
    bench.say(1, X)
    bench.say(2, X)
    bench.now = ANSWER_S - 0.1
    assert bench.settle() == []
    bench.now = ANSWER_S
    assert bench.settle() == [(7, {1, 2}, set())]
    bench.now = 100.0
    assert bench.say(3, Y) == [(7, {1, 2}, {3})], "it comes late, and is judged all the same"
    assert bench.comparisons.compared == 1


def test_a_late_answer_may_turn_it() -> None:
    """One against one: the leader counts. Then the third sides with the other."""
    bench = Bench()
    bench.say(1, X)
    bench.say(2, Y)
    bench.now = ANSWER_S
    assert bench.settle() == [(7, {1}, {2})]
    assert bench.say(3, Y) == [(7, {2, 3}, {1})]


def test_the_leadership_changes_in_between() -> None:
    """Node 2 leads now; it has its own answer, and hears those of the others again or for the first time."""
    bench = Bench()
    bench.leader = 2
    bench.say(2, X)
    bench.say(1, Y)
    assert bench.say(3, X) == [(7, {2, 3}, {1})]
    (place,) = bench.comparisons._places.values()
    assert place.subject == "keys"


def test_a_leader_that_has_no_answer_of_its_own_waits_for_a_majority() -> None:
    bench = Bench()
    bench.say(2, X)
    bench.now = ANSWER_S
    assert bench.say(3, Y) == []
    bench.leader = 3
    assert bench.settle() == [(7, {3}, {2})], "whoever leads then knows better"


def test_nobody_waits_for_whoever_has_left() -> None:
    bench = Bench()
    bench.say(1, X)
    bench.say(2, Y)
    bench.say(9, Y)
    bench.members = bench.voters = {1, 2}
    assert bench.settle() == [(7, {1}, {2})], "and what strangers say counts for nothing"


def test_places_are_judged_in_order_and_forgotten() -> None:
    bench = Bench()
    for sequence in (9, 8, 10):
        for node in (1, 2, 3):
            bench.comparisons.answer(node, sequence, X, 0.0)
    assert [sequence for sequence, *_ in bench.settle()] == [8, 9, 10]
    for sequence in range(100, 100 + KEPT):
        bench.comparisons.answer(2, sequence, X, 0.0)
    assert bench.say(1, X, 10) == bench.say(3, X, 10) == [], "it has been forgotten: too few answers for a new one"
    assert len(bench.comparisons._places) == KEPT
