"""What batches go through between the first request in them and the last answer, as times and histograms.

    queue     the first request joined it ... it was handed to the log (alone) or to the group (proposed, forwarded)
    fsync     the write that put it into the log, and the fsync if one was waited for (appendfsync always, clusters)
    commit    handed over ... committed, which is durable on a majority and here; the fsync is part of it
    apply     committed ... applied, and its owners have answered

Each batch that this node has sealed, also of what others forwarded to it, leaves one value of each; a batch of others
what this node saw of it: apply. The histogram `fsync` is of all fsyncs of the log, whoever asked for them;
`batch_entries` and `batch_bytes` are of every batch, when it is in the log here.
Written once per batch, never per request. Units: monotonic seconds in fields, nanoseconds in histograms.
Threads: `synced` and `wrote` on any, the rest on the loop.
Not here: single requests (`server.tracing`), the clock (who calls has it).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

from ..observability.histogram import counts, durations

SLOW_US: Final = 500_000  # of an fsync: writers notice (`replication.stall`)
WRITES_MAX: Final = 1024  # in the log and not applied; of what was written longer ago the duration is forgotten


class FsyncStats:
    """Durations in microseconds."""

    __slots__ = ("count", "last_us", "max_us", "slow", "total_us")

    def __init__(self) -> None:
        self.count = self.last_us = self.max_us = self.slow = self.total_us = 0

    def record(self, us: int) -> None:
        self.count += 1
        self.last_us = us
        self.total_us += us
        if us > self.max_us:
            self.max_us = us
        if us > SLOW_US:
            self.slow += 1


class Stages:
    """Of one node. `on_late` is told of what took `late_s` or longer, on the loop."""

    def __init__(self) -> None:
        self.fsync, self.queue, self.commit, self.apply = durations(), durations(), durations(), durations()
        self.batch_entries, self.batch_bytes = counts(), counts()
        self.late_s = inf
        self.on_late: Callable[[str, float], None] = _unheard
        # Of what is being applied now, for whoever answers for it:
        self.committed = 0.0  # when it was
        self.fsync_s = 0.0  # what writing and syncing it took
        self._sync_s = 0.0  # the last fsync took, and nobody has looked at it
        self._write_s = 0.0  # the last write took, with its fsync
        self._durable: deque[tuple[int, float]] = deque(maxlen=WRITES_MAX)  # up to this sequence, in this time

    def synced(self, seconds: float) -> None:
        """An fsync has returned."""
        self.fsync.add(int(seconds * 1e9))
        self._sync_s = seconds

    def late(self, kind: str, seconds: float) -> None:
        """Something has taken this long; it is reported if that is late. On the loop."""
        if seconds >= self.late_s:
            self.on_late(kind, seconds)

    def wrote(self, seconds: float) -> None:
        """One write to the log has returned, and its fsync if there was one."""
        self._write_s = seconds

    def look_at_sync(self) -> None:
        """Report the last fsync if it was late; once."""
        took, self._sync_s = self._sync_s, 0.0
        self.late("fsync", took)

    def logged(self, entries: int, size: int) -> None:
        """A batch is in the log."""
        self.batch_entries.add(entries)
        self.batch_bytes.add(size)

    def durable(self, last: int) -> None:
        """The last write went up to here."""
        written = self._durable
        while written and written[-1][0] >= last:  # what has been cut off the log since
            written.pop()
        written.append((last, self._write_s))
        if self._sync_s >= self.late_s:
            self.look_at_sync()

    def applying(self, last: int, committed: float) -> None:
        """The batch that ends at `last` is about to be applied; it was committed at this moment."""
        self.committed = committed
        written = self._durable
        while written and written[0][0] < last:
            written.popleft()
        self.fsync_s = written[0][1] if written else 0.0

    def applied(self, now: float) -> None:
        """It is, and whoever is to be answered here has been."""
        took = now - self.committed
        self.apply.add(int(took * 1e9))
        if took >= self.late_s:
            self.late("apply", took)

    def own(self, since: float, submitted: float) -> None:
        """What is being applied is this node's own batch: when its first request joined it, when it was handed over."""
        took = self.committed - submitted
        self.queue.add(int((submitted - since) * 1e9))
        self.commit.add(int(took * 1e9))
        if took >= self.late_s:
            self.late("commit", took)


def _unheard(kind: str, seconds: float) -> None:
    """Until a server listens."""
