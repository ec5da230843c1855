"""One read in so many, followed through its stages, for TRACE; and how large the requests were.

A followed read belongs to nobody else: it is begun by its connection (`read_followed`), goes with the run that its
writes (or linearizable reads) are in, and ends when the replies have been handed to the system. While `trace-sample` is
0 a read costs one comparison more.
Units: monotonic seconds, microseconds in what is kept. Not here: what is kept (`observability.traces`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from ..engine.node import Run
from ..errors import CommandError
from ..resp.reader import RequestReader
from .dispatch import Argv
from .execution import Execution

if TYPE_CHECKING:
    from .shared import Shared


class Tracer:
    """Which reads are followed: every n-th of the whole server."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._left: float = inf
        shared.settings.subscribe("trace-sample", self._sample)
        self._sample(shared.settings.trace_sample)

    def _sample(self, every: int) -> None:
        self._every, self._left = every, 1
        self._shared.tracer = self if every else None

    def chooses(self) -> bool:
        """Whether the read that has just come is followed."""
        self._left -= 1
        if self._left > 0:
            return False
        self._left = self._every
        return True


class Journey:
    """One read on its way; times are monotonic."""

    __slots__ = ("argv", "began", "client", "executed", "held_s", "parsed", "requests")

    def __init__(self, client: Tracing, began: float, parsed: float, requests: Sequence[Argv]) -> None:
        self.client = client
        self.argv, self.requests = requests[0], len(requests)
        self.began, self.parsed = began, parsed
        self.executed = parsed  # all of it has been looked at, and answered or put into a run
        self.held_s = 0.0

    def end_at_once(self, replied: float) -> None:
        """Nothing of it had to wait for the log."""
        self._end(replied, "ok", apply=self.executed - self.parsed, reply=replied - self.executed - self.held_s)

    def end_with(self, run: Run, outcome: str, began: float, applied: float, replied: float) -> None:
        """With the run that it was in, whose turn came at `began`."""
        batch, stages = run.batch, self.client.shared.node.stages
        submitted = batch.submitted or began
        # Reads alone are not logged: they wait until it is known that nothing newer has been acknowledged elsewhere.
        logged = batch.count > 0 and outcome == "ok"
        committed = stages.committed if logged else began
        fsync = stages.fsync_s if logged else 0.0
        self._end(
            replied, outcome, queue=submitted - self.parsed - self.held_s, fsync=fsync,
            replicate=committed - submitted - fsync, apply=applied - committed, reply=replied - applied,
        )  # fmt: skip

    def _end(
        self, replied: float, outcome: str, *, apply: float, reply: float, queue: float = 0.0, fsync: float = 0.0,
        replicate: float = 0.0,
    ) -> None:  # fmt: skip
        shared = self.client.shared
        stages = (self.parsed - self.began, self.held_s, queue, fsync, replicate, apply, reply)
        shared.lateness.travelled(self, tuple(max(0, round(seconds * 1e6)) for seconds in stages), outcome)


class Followed:
    """Owner of a run in the place of its client, which does what it would have done anyway."""

    __slots__ = ("_client", "_journey")

    def __init__(self, client: Tracing, journey: Journey) -> None:
        self._client, self._journey = client, journey

    def complete(self, run: Run) -> None:
        client, now = self._client, self._client.shared.clock.now
        began = now()
        client.complete_unsent(run)
        applied = now()
        client.settle()
        self._journey.end_with(run, "ok", began, applied, now())

    def fail(self, run: Run, refusal: CommandError) -> None:
        client, now = self._client, self._client.shared.clock.now
        began = now()
        client.fail(run, refusal)
        self._journey.end_with(run, refusal.code, began, now(), now())


class Tracing(Execution):
    """A session that can follow what it reads. `connection.Connection` adds the socket."""

    __slots__ = ("_journey", "_piled", "_reader")

    _reader: RequestReader

    def __init__(self, shared: Shared, identity: int, addr: str, laddr: str, fd: int) -> None:
        self._journey: Journey | None = None  # of a read that waits in the backlog
        self._piled = 0  # bytes of a request that had begun when the last read ended
        super().__init__(shared, identity, addr, laddr, fd)

    @abstractmethod
    def take(self, requests: Sequence[Argv], size: int) -> None:
        """Execute what a read of `size` bytes has brought."""

    def read_followed(self, data: bytes) -> None:
        """As any read, with a look at the clock between its stages."""
        now = self.shared.clock.now
        began = now()
        requests = self._reader.read(data)
        if not requests:
            return
        journey = Journey(self, began, now(), requests)
        self._depth += 1
        try:
            self.take(requests, len(data))
        finally:
            self._depth -= 1
        journey.executed = now()
        if self._backlog or self.waiting is not None:
            self.flush()
            self._journey = journey
        elif self._flight:
            self.flush()
            self._follow(journey)
        else:
            self.flush()
            journey.end_at_once(now())

    def go_on_following(self) -> None:
        """Something that held a followed read up is over."""
        journey = self._journey
        if journey is None or self._backlog or self.waiting is not None:
            return
        self._journey = None
        journey.held_s = self.shared.clock.now() - journey.executed
        if self._flight:
            self._follow(journey)
        else:
            journey.end_at_once(self.shared.clock.now())

    def _follow(self, journey: Journey) -> None:
        run = self._flight[-1]
        run.owner = Followed(self, journey)

    def measure(self, requests: Sequence[Argv], size: int) -> None:
        """Requests that may be large, by the read that has completed them."""
        total, self._piled = self._piled + size, self._reader.buffered
        if requests and total >= self.shared.lateness.large_request:
            for argv in requests:
                self.shared.lateness.request_came(self, argv)
