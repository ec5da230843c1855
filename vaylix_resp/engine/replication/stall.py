"""A disk that stalls: when a leader should let somebody else lead, because every write waits for its fsync.

Stalled: for ten seconds on end, one in a hundred fsyncs (or the one that is under way) has taken over half a second.
After a hand-over was asked for, as long a time passes before the next one is: the others' disks may be no better.
Pure; whoever calls has the clock. Units: seconds. Not here: the hand-over (`app_cluster`).
Source: Huang et al., "Gray Failure" (HotOS 2017): a part that is slow, and that no heartbeat shows to be ill.
"""

from __future__ import annotations

from typing import Final

SLOW_S: Final = 0.5
WINDOW_S: Final = 1.0  # one look; a second without any fsync says nothing, and ends nothing
STALLED_S: Final = 10.0
SHARE: Final = 100  # one slow fsync in so many is a slow disk


class StallWatch:
    def __init__(self) -> None:
        self._looked_s: float | None = None
        self._count = self._slow = 0  # fsyncs as of then
        self._since: float | None = None  # when the disk became slow

    def look(self, now: float, count: int, slow: int, began: float | None) -> bool:
        """Whether to hand over now. `count` and `slow`: fsyncs so far; `began`: of the one under way."""
        if self._looked_s is None or now - self._looked_s < WINDOW_S:
            if self._looked_s is None:
                self._looked_s, self._count, self._slow = now, count, slow
            return False
        fsyncs, slow_ones = count - self._count, slow - self._slow
        self._looked_s, self._count, self._slow = now, count, slow
        stuck = began is not None and now - began > SLOW_S
        if stuck or (slow_ones and slow_ones * SHARE >= fsyncs):
            if self._since is None:
                self._since = now - WINDOW_S
        elif fsyncs:
            self._since = None
        if self._since is None or now - self._since < STALLED_S:
            return False
        self._since = now
        return True
