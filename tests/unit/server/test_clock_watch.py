"""A clock that jumps, and a log that is ahead of it."""

from __future__ import annotations

import pytest

from vaylix_resp.server.clock_watch import ClockWatch

HOUR_MS = 3_600_000
AHEAD, BACK, LOG = "has jumped ahead by 3600 s", "has jumped back by 3600 s", "the log is 3600 s ahead"


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([(1_000, 1.0, 0), (2_000, 2.0, 1_990)], []),
        ([(HOUR_MS, 3600.0, 0)], []),  # a process that was stopped: both clocks went on
        ([(1_000 + 9_999, 1.0, 0), (2_000, 2.0, 0)], []),  # corrected by a little
        ([(1_000 + HOUR_MS, 1.0, 0), (2_000 + HOUR_MS, 2.0, HOUR_MS + 1_500)], [AHEAD]),
        (
            [(1_000 + HOUR_MS, 1.0, 0), (2_000, 2.0, HOUR_MS + 2_000), (3_000, 3.0, HOUR_MS + 2_000)],
            [AHEAD, BACK, LOG],
        ),  # a write in between has left its time in the log; said once
        ([(1_000, 1.0, HOUR_MS + 1_000), (HOUR_MS, 3600.0, HOUR_MS + 1_000)], [LOG]),  # from a start on
        (
            [(1_000, 1.0, HOUR_MS + 1_000), (HOUR_MS, 3600.0, HOUR_MS), (HOUR_MS + 1, 3600.0, 2 * HOUR_MS + 1)],
            [LOG, LOG],
        ),  # the second one is another one
    ],
)
def test_what_is_said(looks: list[tuple[int, float, int]], said: list[str]) -> None:
    watch = ClockWatch(0, 0.0)
    lines = [line for look in looks for line in watch.look(*look)]
    assert len(lines) == len(said) and all(word in line for word, line in zip(said, lines, strict=True)), lines
    assert all("docs/operations.md" in line for line in lines)
