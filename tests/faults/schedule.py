"""Which fault strikes when, drawn from a seed: the same seed gives the same story (but for what the machine makes of it).

Kinds are dealt like cards: each comes once before any comes again, so that a short run has seen all of them. Faults may
overlap. Whom one strikes is a role here; who has that role is seen when it strikes.

Pure. Units: seconds. Not here: what a kind does (`faults`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log

LEADER, FOLLOWER, ANY, ALL = "leader", "follower", "any", "all"
PAUSE_SECONDS = 0.2, 3.0  # between two strikes
NOTICED_SECONDS, LONG_SHARE = 2.5, 0.6  # after so long another node leads
CALM_SHARE = 0.4  # of the strikes, those that find a cluster that works


@dataclass(frozen=True, slots=True)
class Card:
    """What the schedule knows of a kind of fault."""

    kind: str
    targets: tuple[str, ...]
    seconds: tuple[float, float]  # how long it lasts, at least and at most


@dataclass(frozen=True, slots=True)
class Strike:
    at: float  # since the beginning of the round
    kind: str
    target: str
    seconds: float
    calm: bool = False  # strikes when all before it is healed and writes go through again


class Schedule:
    def __init__(self, seed: int, cards: Sequence[Card]) -> None:
        self._random = random.Random(f"schedule {seed}")
        self._cards = tuple(cards)
        self._deck: list[Card] = []

    def round(self, seconds: float, most: float = 10.0, count: int = 1000) -> list[Strike]:
        """Strikes of one round, in order; none lasts longer than `most`, or than the round."""
        return list(self._strikes(seconds, most, count))

    def _strikes(self, seconds: float, most: float, count: int) -> Iterator[Strike]:
        at, calm, rng = 0.0, False, self._random
        for _ in range(count):
            card = self._draw()
            lasts = self._lasts(card, most)
            if at + lasts > seconds:
                self._deck.append(card)  # it is the first of the next round
                return
            yield Strike(at, card.kind, rng.choice(card.targets), lasts, calm)
            at += rng.uniform(*PAUSE_SECONDS)
            calm = rng.random() < CALM_SHARE
            if calm:
                at += lasts

    def _lasts(self, card: Card, most: float) -> float:
        """Some end before anybody has noticed; most of those that can last longer do."""
        shortest, longest = card.seconds[0], max(card.seconds[0], min(card.seconds[1], most))
        if longest > NOTICED_SECONDS and self._random.random() < LONG_SHARE:
            return self._random.uniform(NOTICED_SECONDS, longest)
        return exp(self._random.uniform(log(shortest), log(min(longest, NOTICED_SECONDS))))

    def _draw(self) -> Card:
        if not self._deck:
            self._deck = list(self._cards)
            self._random.shuffle(self._deck)
        return self._deck.pop()
