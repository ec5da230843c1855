"""How fast a stream of a snapshot goes, on either side, and how much log it may keep on the disk.

Promise: never more bytes a second than the directive says now, but for one slice.
Units: bytes, seconds. Not here: the stream (`streams`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...limits import KIB, MIB

MOMENT_S: Final = 0.3
SLICE_BYTES: Final = 16 * KIB  # about a moment at the slowest rate that can be set


def _unlimited() -> int:
    return 0


@dataclass(frozen=True)
class Limits:
    """What the configuration says at the moment; 0: no limit."""

    rate: Callable[[], int] = _unlimited  # bytes a second of a snapshot
    log_bytes: Callable[[], int] = _unlimited  # of log that is kept for a follower


class Pace:
    """Lets so many bytes a second through. The sleep comes before the bytes that would be too many."""

    def __init__(self, now: Callable[[], float], rate: Callable[[], int]) -> None:
        self._now, self._rate, self._free_at = now, rate, 0.0

    async def take(self, size: int) -> None:
        rate = self._rate()
        if rate > 0:
            now = self._now()
            wait_s, self._free_at = self._free_at - now, max(now, self._free_at) + size / rate
            if wait_s > 0:
                await asyncio.sleep(wait_s)

    @property
    def slice_bytes(self) -> int:
        """As much as may be taken at once, if nobody is to wait longer than a moment for it."""
        rate = self._rate()
        return max(SLICE_BYTES, int(rate * MOMENT_S)) if rate > 0 else MIB
