"""What several nodes say that their state was at one place in the log: who agrees, and who differs.

    the voters that have answered     most of them equal: that is right, and whoever differs from it is wrong
    no such majority                  the leader's is right, as it is the one that clients see
    the leader has none either        nothing is decided
    learners                          are judged by the same, and do not count

A place is judged when all members have answered, or ANSWER_S after the first of them; an answer that comes later has it
judged again. Promise: nobody is judged by one answer alone.
Pure. Units: monotonic seconds, sequences. Not here: what becomes of those who differ (`digesting`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

ANSWER_S: Final = 10.0  # a node that lags or is away is not waited for any longer
KEPT: Final = 128  # places: more than are asked about within ANSWER_S
UNKNOWN: Final = "a part of the state"  # of which nobody here knows what it was


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one place."""

    sequence: int
    subject: str
    agree: frozenset[int]
    differ: frozenset[int]
    at_s: float


@dataclass(slots=True)
class _Place:
    since: float
    subject: str = ""
    answers: dict[int, bytes] = field(default_factory=dict)
    judged: int = 0  # how many answers the last verdict had


def judge(
    answers: Mapping[int, bytes], voters: Collection[int], leader: int
) -> tuple[frozenset[int], frozenset[int]]:
    """(who agrees with what is right, who does not); both empty if it is not known what is right."""
    nobody: frozenset[int] = frozenset()
    if len(answers) < 2:
        return nobody, nobody
    votes = Counter(digest for node, digest in answers.items() if node in voters)
    right, count = votes.most_common(1)[0] if votes else (b"", 0)
    if 2 * count <= votes.total() or count < 2:
        if leader not in answers:
            return nobody, nobody
        right = answers[leader]
    agree = frozenset(node for node, digest in answers.items() if digest == right)
    return agree, frozenset(answers) - agree


class Comparisons:
    """Of one leader; whoever else gets answers keeps them for the case that it comes to lead."""

    def __init__(self) -> None:
        self._places: dict[int, _Place] = {}  # by sequence; the oldest first
        self.compared = 0  # places on which at least two nodes have been heard

    def answer(self, node: int, sequence: int, digest: bytes, now: float, subject: str = "") -> None:
        """`subject`: what the slice is of, from whoever knows."""
        place = self._places.get(sequence)
        if place is None:
            place = self._places[sequence] = _Place(now)
            if len(self._places) > KEPT:
                del self._places[min(self._places)]
        place.answers[node] = digest
        place.subject = place.subject or subject

    def settle(self, members: Collection[int], voters: Collection[int], leader: int, now: float) -> list[Verdict]:
        """On the places that have become ripe since it was asked last, in order."""
        verdicts = []
        for sequence, place in sorted(self._places.items()):
            answers = {node: digest for node, digest in place.answers.items() if node in members}
            if len(answers) < 2 or len(answers) <= place.judged:
                continue
            if len(answers) < len(members) and now < place.since + ANSWER_S and not place.judged:
                continue
            agree, differ = judge(answers, voters, leader)
            if not agree:
                continue
            self.compared += not place.judged
            place.judged = len(answers)
            verdicts.append(Verdict(sequence, place.subject or UNKNOWN, agree, differ, now))
        return verdicts
