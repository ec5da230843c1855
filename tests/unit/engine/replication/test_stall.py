"""Second by second: (fsyncs, slow ones, seconds that one is under way) and whether the leadership is to move."""

from __future__ import annotations

import pytest

from vaylix_resp.engine.replication.stall import StallWatch

GOOD, SLOW, NOTHING, STUCK = (100, 0, 0.0), (100, 1, 0.0), (0, 0, 0.0), (0, 0, 3.0)


def asked(seconds: list[tuple[int, int, float]]) -> list[int]:
    """In which seconds."""
    watch, count, slow, found = StallWatch(), 0, 0, []
    watch.look(0.0, 0, 0, None)
    for at, (fsyncs, slow_ones, under_way) in enumerate(seconds, 1):
        count, slow = count + fsyncs, slow + slow_ones
        assert not watch.look(at - 0.5, count, slow, None), "looked at in between"
        if watch.look(float(at), count, slow, at - under_way if under_way else None):
            found.append(at)
    return found


@pytest.mark.parametrize(
    ("seconds", "moves"),
    [
        ([GOOD] * 40, []),
        ([SLOW] * 9, []),
        ([SLOW] * 10, [10]),
        ([SLOW] * 25, [10, 20]),
        ([STUCK] * 12, [10]),
        ([SLOW] * 5 + [GOOD] + [SLOW] * 9, []),
        ([SLOW] * 5 + [NOTHING] * 3 + [SLOW] * 2, [10]),
        ([(1000, 1, 0.0)] * 20, []),
        ([NOTHING] * 20, []),
        ([GOOD] * 7 + [STUCK, SLOW] * 5, [17]),
    ],
)
def test_a_slow_disk_gives_up_the_lead(seconds: list[tuple[int, int, float]], moves: list[int]) -> None:
    assert asked(seconds) == moves
