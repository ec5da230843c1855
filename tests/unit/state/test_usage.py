"""When and how often keys were used."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from vaylix_resp.state.usage import COUNTER_MAX, COUNTER_NEW, Frequency, Recency


class Always(Random):
    """Chance that always lets a counter grow, or never."""

    def __init__(self, value: float) -> None:
        super().__init__(1)
        self.value = value

    def random(self) -> float:
        return self.value


def test_recency() -> None:
    usage, uses = Recency(100.9), dict[bytes, int]()
    assert usage.idle_s(uses, b"a") == 0 and usage.rank(uses, b"a") == 100
    usage.tick(130.2)
    assert usage.idle_s(uses, b"a") == 30, "as old as the counting"
    usage.note(uses, [b"a", b"b"])
    usage.tick(140)
    usage.note(uses, (b"b",))
    assert [usage.idle_s(uses, key) for key in (b"a", b"b", b"c")] == [10, 0, 40]
    assert sorted([b"a", b"b", b"c"], key=lambda key: usage.rank(uses, key)) == [b"c", b"a", b"b"]


def test_a_counter_grows_at_once_at_first_then_by_chance() -> None:
    usage, uses = Frequency(0, Always(0.99)), dict[bytes, int]()
    seen = []
    for _ in range(5):
        usage.note(uses, (b"a",))
        seen.append(usage.rank(uses, b"a"))
    assert seen == [COUNTER_NEW, 6, 6, 6, 6]
    usage.log_factor = 0
    usage.note(uses, [b"a"] * 1000)
    assert usage.rank(uses, b"a") == COUNTER_MAX


@pytest.mark.parametrize("factor, uses_of, low, high", [(1, 1000, 35, 60), (10, 1000, 14, 25), (10, 100_000, 120, 170)])
def test_how_fast_it_grows(factor: int, uses_of: int, low: int, high: int) -> None:
    """The table in redis.conf: factor 1, 1000 hits: 49; factor 10: 18 and 142."""
    usage, uses = Frequency(0, Random(3)), dict[bytes, int]()
    usage.log_factor = factor
    usage.note(uses, [b"k"] * uses_of)
    assert low < usage.rank(uses, b"k") < high


def test_it_decays_by_the_minute() -> None:
    usage, uses = Frequency(0, Always(0.0)), dict[bytes, int]()
    usage.note(uses, [b"a"] * 11)
    assert usage.rank(uses, b"a") == 15

    def after(minutes: float) -> int:
        usage.tick(60 * minutes)
        return usage.rank(uses, b"a")

    assert [after(0.9), after(1), after(4.5), after(15), after(100)] == [15, 14, 11, 0, 0]
    usage.decay_minutes = 10
    assert after(25) == 13
    usage.decay_minutes = 0
    assert after(1000) == 15
    usage.decay_minutes = 1
    usage.note(uses, (b"a",))
    assert usage.rank(uses, b"a") == 1, "decayed first, then used"


def test_keys_share_their_counts() -> None:
    """A count is an object that all keys of the same count hold: no memory but their places in the table."""
    usage, uses = Frequency(60_000, Random(1)), dict[bytes, int]()
    usage.note(uses, [b"%d" % n for n in range(1000)])
    assert len({id(code) for code in _values(uses)}) == 1
    recency = Recency(60_000)
    recency.note(uses, [b"%d" % n for n in range(1000)])
    assert len({id(code) for code in _values(uses)}) == 1


def _values(uses: dict[bytes, int]) -> Iterator[int]:
    return iter(uses.values())
