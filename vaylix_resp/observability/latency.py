"""LATENCY: when things took longer than `latency-monitor-threshold`, by kind of event.

A kind is a word of whoever reports it (`command`: the execution of one request); it exists once it was late.
Not here: the latency of each command (`metrics`), slow requests (`slowlog`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

SAMPLES_MAX: Final = 160  # per kind, as in Redis: LATENCY HISTORY's length
KINDS_MAX: Final = 64  # kinds are words in our code, so this is never met; it bounds a mistake


class LatencySettings(Protocol):
    """What is read of the settings, at each use, so CONFIG SET works at once."""

    latency_monitor_threshold: int


@dataclass(slots=True)
class Series:
    """The spikes of one kind: the worst of each second, oldest first."""

    samples: list[tuple[int, int]] = field(default_factory=list)  # (unix seconds, ms)
    max_ms: int = 0  # since the last reset, also of samples that have been dropped

    def add(self, unix_s: int, ms: int) -> None:
        self.max_ms = max(self.max_ms, ms)
        if self.samples and self.samples[-1][0] == unix_s:
            self.samples[-1] = (unix_s, max(ms, self.samples[-1][1]))
            return
        self.samples.append((unix_s, ms))
        if len(self.samples) > SAMPLES_MAX:
            del self.samples[0]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What LATENCY DOCTOR says of one kind, in ms unless named otherwise."""

    count: int
    mean_ms: int
    deviation_ms: int  # mean absolute deviation
    worst_ms: int
    period_s: float  # seconds between spikes


class LatencyMonitor:
    """All series. `note` costs a comparison when nothing was late."""

    def __init__(self, settings: LatencySettings) -> None:
        self._settings = settings
        self.series: dict[str, Series] = {}

    @property
    def enabled(self) -> bool:
        return self._settings.latency_monitor_threshold > 0

    def note(self, kind: str, milliseconds: float, unix_s: int) -> None:
        """Report a duration; kept if it reaches the threshold."""
        threshold = self._settings.latency_monitor_threshold
        ms = int(milliseconds)
        if threshold <= 0 or ms < threshold:
            return
        series = self.series.get(kind)
        if series is None:
            if len(self.series) >= KINDS_MAX:
                return
            series = self.series[kind] = Series()
        series.add(unix_s, ms)

    def reset(self, kinds: Iterable[str] | None = None) -> int:
        """Forget the named kinds, or all; how many there were."""
        names = list(self.series) if kinds is None else [kind for kind in dict.fromkeys(kinds) if kind in self.series]
        for name in names:
            del self.series[name]
        return len(names)


def analyse(series: Series, now_unix_s: int) -> Analysis:
    """Figures for the doctor; the series has at least one sample."""
    values = [ms for _, ms in series.samples]
    mean = sum(values) // len(values)
    deviation = sum(abs(value - mean) for value in values) // len(values)
    span = max(now_unix_s - series.samples[0][0], 1)
    return Analysis(len(values), mean, deviation, series.max_ms, span / len(values))
