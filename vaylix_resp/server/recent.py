"""The last fifteen minutes in points of five seconds, for people who look at /status.

    recent.take()          housekeeping, every PERIOD_S
    recent.points          oldest first, at most POINTS_MAX

Counters are never reset for this: a point is the difference between two looks at them. When somebody resets them
(CONFIG RESETSTAT) the point in between is left out.
Promise: bounded memory, whatever goes on. Units: seconds, bytes, microseconds where the name says so.
Not here: how points are drawn (`http.charts`); longer than that is what /metrics is for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..observability.histogram import NS_SHIFT, Histogram
from ..observability.metrics import BUCKETS

if TYPE_CHECKING:
    from .shared import Shared

PERIOD_S: Final = 5.0
WINDOW_S: Final = 900.0
POINTS_MAX: Final = int(WINDOW_S / PERIOD_S)

Buckets = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """The counters at one moment."""

    at: float  # monotonic
    requests: int
    executed: Buckets  # how long requests took, all commands together
    fsync: Buckets
    commit: Buckets
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class Point:
    """What went on in the seconds before `at`. A percentile is None where nothing happened that it could be of."""

    at: float  # monotonic
    requests_s: float  # a second, as the next two
    received_s: float
    sent_s: float
    executed_p99_us: float | None
    fsync_p50_us: float | None
    fsync_p99_us: float | None
    commit_p99_us: float | None
    connections: int  # at that moment, as the next
    memory: int


class Recent:
    """One per server."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._last = self._totals()
        self.points: deque[Point] = deque(maxlen=POINTS_MAX)

    def take(self) -> None:
        before, self._last = self._last, self._totals()
        point = between(before, self._last, len(self._shared.clients), self._shared.process.memory().used)
        if point is not None:
            self.points.append(point)

    def _totals(self) -> Totals:
        shared = self._shared
        stats, stages = shared.stats, shared.node.stages
        executed = Histogram(BUCKETS, NS_SHIFT)
        for command in stats.used():
            executed.include(command)
        return Totals(
            shared.clock.now(), stats.total_commands_processed, tuple(executed.buckets),
            tuple(stages.fsync.buckets), tuple(stages.commit.buckets),
            stats.total_net_input_bytes, stats.total_net_output_bytes,
        )  # fmt: skip


def between(before: Totals, after: Totals, connections: int, memory: int) -> Point | None:
    """None when no time has passed, or a counter has fallen."""
    seconds = after.at - before.at
    requests, received, sent = (
        after.requests - before.requests, after.received - before.received, after.sent - before.sent,
    )  # fmt: skip
    if seconds <= 0 or min(requests, received, sent) < 0:
        return None
    fsync = gone_by(before.fsync, after.fsync)
    return Point(
        after.at, requests / seconds, received / seconds, sent / seconds,
        percentile_us(gone_by(before.executed, after.executed), 99), percentile_us(fsync, 50), percentile_us(fsync, 99),
        percentile_us(gone_by(before.commit, after.commit), 99), connections, memory,
    )  # fmt: skip


def gone_by(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """What was counted in between."""
    return [b - a for a, b in zip(before, after, strict=True)]


def percentile_us(buckets: Sequence[int], percentile: float) -> float | None:
    """Of durations in nanoseconds."""
    if not any(buckets) or min(buckets) < 0:
        return None
    histogram = Histogram(len(buckets), NS_SHIFT)
    histogram.buckets[:] = buckets
    return histogram.percentile(percentile) / 1000
