"""Is it flat? Compares the middle of a soak with its end, after a beginning in which caches fill.

The first third does not count: the key space fills, expiries and idle connections reach their balance, the restore
window grows to its length. Of the rest, the first half is compared with the second: of memory the floor (the tenth
part that is lowest: hashing a password takes 64 MiB for a moment, and what leaks raises the floor as well), of all else
the median. A trend that a month of running would notice shows as a ratio; noise is what the bounds leave room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.soak.watch import Sample

WARM_UP: Final = 1 / 3
SAMPLES_MIN: Final = 12

FLOOR: Final = 0.1
MEDIAN: Final = 0.5

# Column -> which quantile, the ratio of the second half's to the first's, and the difference that is always forgiven.
BOUNDS: Final = {
    "rss": (FLOOR, 1.05, 4 << 20),
    "used": (FLOOR, 1.05, 4 << 20),
    "descriptors": (MEDIAN, 1.05, 5),
    "threads": (MEDIAN, 1.0, 2),
    "disk": (MEDIAN, 1.25, 32 << 20),
    "clients": (MEDIAN, 1.05, 5),
    "get_ms": (MEDIAN, 1.5, 0.5),
    "set_ms": (MEDIAN, 1.5, 1.0),
}


@dataclass(frozen=True, slots=True)
class Finding:
    column: str
    first: float
    second: float
    flat: bool

    @property
    def ratio(self) -> float:
        return self.second / self.first if self.first else 1.0

    def row(self) -> str:
        return (
            f"{self.column:12} {self.first:16,.2f} -> {self.second:16,.2f}   x{self.ratio:.3f}   "
            f"{'flat' if self.flat else 'GROWS'}"
        )


def judge(samples: Sequence[Sample]) -> list[Finding]:
    """One finding per column; raises ValueError when the run was too short to say anything."""
    counted = samples[int(len(samples) * WARM_UP) :]
    if len(counted) < SAMPLES_MIN:
        raise ValueError(f"{len(counted)} samples after the warm-up are too few, at least {SAMPLES_MIN} are needed")
    middle = len(counted) // 2
    found = []
    for column, (part, ratio_max, forgiven) in BOUNDS.items():
        first, second = (
            _quantile([getattr(sample, column) for sample in half], part) for half in (counted[:middle], counted[middle:])
        )
        found.append(Finding(column, first, second, second <= max(first * ratio_max, first + forgiven)))
    return found


def _quantile(values: list[float], part: float) -> float:
    return sorted(values)[int(len(values) * part)]
