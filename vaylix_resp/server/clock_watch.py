"""A machine's clock that jumps, and one that is behind the time of the log.

The time of the log never falls (Raft's leader stamps each batch with its own clock, or with the last stamp if that is
later). So a clock that was ahead once leaves its time in the log for good: until every clock has come so far, keys with
an expiry do not expire, and a moment that is given (EXPIREAT, EXAT) counts as past if it is before the log's. Nothing
can be done about it then but what docs/operations.md says; so it has to be noticed at once.
Pure; whoever calls has the clock. Units: wall clock and log in milliseconds, `now` in monotonic seconds.
Not here: what time does to keys (`state`), who stamps (`engine`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

JUMP_MS: Final = 10_000  # what no time service corrects by mistake, and no clock drifts in a second
SEE: Final = "see docs/operations.md, A clock that was wrong"


class ClockWatch:
    """Asked about once a second."""

    def __init__(self, wall_ms: int, now: float) -> None:
        self._wall_ms, self._now = wall_ms, now
        self._behind = False  # it has been said

    def look(self, wall_ms: int, now: float, log_ms: int) -> Iterator[str]:
        """Lines for the log: what has happened since the last look."""
        jump_ms = wall_ms - self._wall_ms - round((now - self._now) * 1000)
        self._wall_ms, self._now = wall_ms, now
        if abs(jump_ms) >= JUMP_MS:
            way = "ahead" if jump_ms > 0 else "back"
            yield (
                f"this machine's clock has jumped {way} by {abs(jump_ms) // 1000} s: expiry goes by it, and the log "
                f"never goes back; {SEE}"
            )
        behind = log_ms - wall_ms >= JUMP_MS
        if behind and not self._behind:
            yield (
                f"the log is {(log_ms - wall_ms) // 1000} s ahead of this machine's clock (this one is slow, or some "
                "clock was ahead when the log was written): until it is there, keys with an expiry do not expire, and "
                f"times that EXPIREAT and EXAT are given may count as past; {SEE}"
            )
        self._behind = behind
