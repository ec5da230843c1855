"""How fast a child of the server works, and how it tells how far it is.

Not here: what it does. Units: bytes, seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

PROGRESS_S = 0.5


class Reporter:
    """Prints {"progress": 0..1} for `Children.run`, at most two lines a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def say(self, done: float, total: float) -> None:
        now = time.monotonic()
        if total and now >= self._next:
            self._next = now + PROGRESS_S
            print(json.dumps({"progress": round(min(1.0, done / total), 4)}), flush=True)


def throttled(bytes_per_second: int) -> Callable[[int], None] | None:
    """To be told of each write: sleeps so that no more than this is written a second. None for 0, which is no limit."""
    if bytes_per_second <= 0:
        return None
    began, written = time.monotonic(), 0

    def wait(size: int) -> None:
        nonlocal written
        written += size
        ahead = written / bytes_per_second - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)

    return wait
