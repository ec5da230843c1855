"""When batches are sealed, and on which thread they are synced.

While one batch is being synced the next one gathers; one is in flight at a time. Where fdatasync is fast, handing
it to a thread and back (50 to 100 us under the GIL) costs more than it saves, so it runs on the loop; where it is slow
it must not stall reads, so it runs on a thread. The choice follows the measured time and may change at any batch.
Not here: what a batch holds and what its end means (`node`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from ..errors import EX_BROKEN, Halt, Refused
from ..storage.errors import DiskFull, WalFailed
from .node import Engine

# Measured with redis-benchmark, 50 clients, 2 cores: inline is ahead as long as an fsync takes less than this.
INLINE_US_MAX: Final = 1000
SMOOTHING: Final = 16  # fsyncs over which the measured time is averaged

T = TypeVar("T")
Failure = DiskFull | WalFailed | Halt


class GroupCommit:
    """Drives one node on one event loop. `on_halt` gets a Halt that leaves no way to go on."""

    def __init__(self, node: Engine[Any], loop: asyncio.AbstractEventLoop, on_halt: Callable[[Halt], None]) -> None:
        self.node = node
        self.mode = "adaptive"  # or "inline", "thread": for measurements
        self._loop = loop
        self._on_halt = on_halt
        self._scheduled = False
        self._in_flight = False
        self._average_us = 0.0
        self._work: SimpleQueue[Any] = SimpleQueue()  # None: the end
        self._between: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._serve, name="wal", daemon=True)
        self._thread.start()
        node.on_join = self._joined

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being synced."""
        return not (self._in_flight or self._scheduled or self.node.busy)

    def between_batches(self, job: Callable[[], None]) -> None:
        """Run `job` on the loop at the next moment at which no batch is in flight (rotation, shutdown)."""
        self._between.append(job)
        self._schedule()

    def close(self) -> None:
        """End the thread; the caller has made sure that the group commit is idle."""
        self._work.put(None)
        self._thread.join()

    def wake(self) -> None:
        """The node has something to do, whatever is being synced."""
        self._schedule()

    def _joined(self) -> None:
        if not self._in_flight or self.node.clustered:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            # After everything that this turn of the loop has read: all of it shares the fsync.
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._in_flight:
            self.guarded(self.node.beside)
            return
        work = self.guarded(self._seal)
        if work is None:
            self._go_on()
            return
        self._in_flight = True
        if self._inline() and not self.node.is_slow(work):
            self._finish(work, self._persist(work))
        else:
            self._work.put(work)

    def _seal(self) -> Any:
        while self._between:
            self._between.pop(0)()
        return self.node.seal()

    def _inline(self) -> bool:
        if self.mode == "adaptive":
            return self._average_us < INLINE_US_MAX
        return self.mode == "inline"

    def _persist(self, work: Any) -> Failure | None:
        """Whatever goes wrong is returned: on the thread nobody would see it, and clients would wait for ever."""
        try:
            self.node.persist(work)
        except (DiskFull, WalFailed) as failure:
            return failure
        except (Halt, Exception) as unforeseen:
            return _halt(unforeseen)
        self._average_us += (self.node.fsync.last_us - self._average_us) / SMOOTHING
        return None

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            failure = self._persist(work)
            self._loop.call_soon_threadsafe(self._finish, work, failure)

    def _finish(self, work: Any, failure: Failure | None) -> None:
        self._in_flight = False
        self.guarded(self._answer, work, failure)
        self._go_on()

    def _answer(self, work: Any, failure: Failure | None) -> None:
        if failure is None:
            self.node.persisted(work)
        elif isinstance(failure, Halt):
            raise failure
        else:
            self.node.rejected(work, failure)

    def _go_on(self) -> None:
        if self.node.pending or self._between:
            self._schedule()

    def guarded(self, step: Callable[..., T], *arguments: Any) -> T | None:
        """What is not foreseen ends the server: the state may be behind the log now, and only a new start is sure."""
        try:
            return step(*arguments)
        except (Halt, Exception) as unforeseen:
            reason = _halt(unforeseen)
        self._scheduled = True  # for ever: no further turn
        self._on_halt(reason)
        return None


def _halt(cause: Halt | Exception) -> Halt:
    """Why the server ends, in words for whoever has to start it again."""
    if isinstance(cause, Halt):
        return cause
    if isinstance(cause, Refused):  # an entry of a newer version; a segment that is damaged where the log is to be cut
        return Halt(cause.exit_code, str(cause))
    return Halt(EX_BROKEN, f"an invariant of the engine does not hold: {cause!r}")
