"""Time as a port: whatever decides by it gets a Clock or a number, so a test or the simulator says what time it is.

`wall_ms` is for people, expiry and the log; `now` is monotonic and for durations.
Not here: how long a request took (`perf_counter`), the pace of a child's writes (`engine.pace`), waits of the tools.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def wall_ms(self) -> int:
        """Milliseconds since the epoch; may jump."""

    def wall_us(self) -> int:
        """The same in microseconds, for TIME."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    now = staticmethod(time.monotonic)  # asked several times per batch: without a call of ours around it
