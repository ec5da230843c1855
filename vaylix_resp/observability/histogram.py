"""Histograms with fixed buckets, each twice as wide as the one before: cheap to add to, and the same in every server.

`buckets[i]` counts values up to `1 << i` units, inclusive; the last takes whatever is larger. A unit is `1 << shift`,
so that durations are kept in nanoseconds and begin at about a microsecond.
Promise: nothing is rounded when it is added; what a percentile says lies in the bucket of the value that it names.
Units: whatever was added, durations in nanoseconds. Not here: which ones there are (`metrics`, `engine.stages`).
"""

from __future__ import annotations

from typing import Final

NS_SHIFT: Final = 10  # a unit of 1024 ns
DURATIONS: Final = 25  # buckets of a duration that may be long: up to 17 s, then the rest
COUNTS: Final = 27  # buckets of a count or a size: up to 64 Mi, then the rest


class Histogram:
    """How often values were how large."""

    __slots__ = ("_last", "buckets", "shift", "total")

    def __init__(self, size: int, shift: int = 0) -> None:
        self.shift = shift
        self.buckets = [0] * size
        self._last = size - 1
        self.total = 0  # of all values

    def add(self, value: int) -> None:
        """Count a value, which is not negative."""
        self.total += value
        at = (value - 1 >> self.shift).bit_length() if value else 0
        self.buckets[at if at < self._last else self._last] += 1

    def include(self, other: Histogram) -> None:
        """Count all that the other one has, which must have the same buckets."""
        assert self.shift == other.shift, (self.shift, other.shift)
        self.total += other.total
        self.buckets[:] = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]

    @property
    def count(self) -> int:
        """Of values."""
        return sum(self.buckets)

    def top(self, index: int) -> int:
        """The largest value that a bucket stands for; of the last one it is only where that would end."""
        return 1 << self.shift + index

    def cumulative(self) -> list[tuple[int | None, int]]:
        """(top, values up to it) of each bucket; the last has no top, and all values."""
        found: list[tuple[int | None, int]] = []
        running = 0
        for index, count in enumerate(self.buckets):
            running += count
            found.append((self.top(index) if index < len(self.buckets) - 1 else None, running))
        return found

    def percentile(self, percentile: float) -> float:
        """What `percentile` per cent of the values stayed within, interpolated inside its bucket; 0 without any."""
        wanted = self.count * percentile / 100
        passed = 0
        for index, count in enumerate(self.buckets):
            if count and passed + count >= wanted:
                low, high = self.top(index - 1) if index else 0, self.top(index)
                return low + (high - low) * max(wanted - passed, 0) / count
            passed += count
        return 0.0

    def reset(self) -> None:
        """In place: others hold it."""
        self.buckets[:] = [0] * len(self.buckets)
        self.total = 0


def durations() -> Histogram:
    return Histogram(DURATIONS, NS_SHIFT)


def counts() -> Histogram:
    return Histogram(COUNTS)
