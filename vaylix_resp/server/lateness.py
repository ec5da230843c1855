"""Who is told that a request was slow or large, or that the server was late.

    SLOWLOG, COMMANDLOG   requests that took long, came in many bytes, or were answered with many
    LATENCY               events: requests, and what the engine and the loop report
    TRACE                 reads that were followed (`tracing`)
    audit                 requests slower than `audit-slower-than`

Promise: nothing is kept of a request but what `commands.redaction` lets through. As long as nothing is late, a row of
requests costs a comparison or two. Units: seconds in arguments, bytes as on the wire.
Not here: the rings (`observability.slowlog`, `latency`, `traces`), timing (`completion`, `dispatch`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final

from ..commands.operations import EXEC, IN
from ..commands.ports import Client
from ..commands.redaction import redacted
from ..errors import CommandError
from ..observability import slowlog
from ..observability.histogram import durations
from ..observability.latency import LatencyMonitor
from ..observability.traces import Traces

if TYPE_CHECKING:
    from .shared import Shared
    from .tracing import Journey

Argv = Sequence[bytes]

# Slow-log thresholds below this need every request timed by itself; above, those of constant cost cannot reach it.
SLOW_EACH_US: Final = 1000
LARGE_REPLY_MIN: Final = 1100  # bytes; smaller replies are sent without a look at their size


class Lateness:
    """One per server."""

    def __init__(self, shared: Shared) -> None:
        settings = shared.settings
        self._shared = shared
        self.slowlog = slowlog.slow(settings)
        self.large_requests = slowlog.large_requests(settings)
        self.large_replies = slowlog.large_replies(settings)
        self.latency = LatencyMonitor(settings)
        self.traces = Traces(settings)
        self.loop = durations()  # how late the loop turned, ten times a second
        for name in ("latency-monitor-threshold", "commandlog-request-larger-than", "commandlog-reply-larger-than"):
            settings.subscribe(name, self._limits)
        shared.node.stages.on_late = self.event
        self._limits()

    def _limits(self, _: Any = None) -> None:
        """Thresholds as the hot path compares them: switched off is out of reach."""
        settings = self._shared.settings
        threshold_ms = settings.latency_monitor_threshold
        self.late_s = threshold_ms / 1000 if threshold_ms > 0 else inf
        self._shared.node.stages.late_s = self.late_s
        self.large_request = _reachable(settings.commandlog_request_larger_than)
        self.large_reply = max(LARGE_REPLY_MIN, _reachable(settings.commandlog_reply_larger_than))

    @property
    def each(self) -> bool:
        """Whether the threshold of SLOWLOG is so low that every request has to be timed by itself."""
        return 0 <= self._shared.settings.slowlog_log_slower_than < SLOW_EACH_US

    def turned(self, late_s: float) -> None:
        """The loop has, so much later than it was asked to."""
        self.loop.add(max(0, int(late_s * 1e9)))
        self.event("loop", late_s)

    def event(self, kind: str, seconds: float) -> None:
        """For LATENCY; kept if it reaches the threshold."""
        if seconds >= self.late_s:
            self.latency.note(kind, seconds * 1000, self._now_s())

    def request_took(self, client: Client, argv: Argv, seconds: float) -> None:
        """A request, or the operation that was made of it, has been executed."""
        audit = self._shared.audit
        took_us = int(seconds * 1e6)
        if self.slowlog.wants(took_us):
            self._note(self.slowlog, client, argv, took_us)
        if seconds >= audit.slow_s:
            audit.slow(client, _request_of(argv), seconds)
        if seconds >= self.late_s:
            self.event(self._kind(argv), seconds)

    def row_took(self, seconds: float) -> None:
        """So many requests of constant cost at once that others have waited for them, or a page that was not there."""
        self.event("fast-command", seconds)

    def request_came(self, client: Client, argv: Argv) -> None:
        """It may be large."""
        size = wire_size(argv)
        if self.large_requests.wants(size):
            self._note(self.large_requests, client, argv, size)

    def reply_was(self, client: Client, argv: Argv, size: int) -> None:
        """It was large."""
        if self.large_replies.wants(size):
            self._note(self.large_replies, client, argv, size)

    def travelled(self, journey: Journey, stages: tuple[int, ...], outcome: str) -> None:
        """A read that was followed has been answered."""
        if not self.traces.wants(sum(stages)):
            return
        client, argv = journey.client, self._as_asked(journey.argv)
        self.traces.note(
            slowlog.shorten(argv if argv is not None else (b"?",)), stages, unix_s=self._now_s(),
            requests=journey.requests, addr=client.addr, name=client.name, outcome=outcome,
        )  # fmt: skip

    def _note(self, log: slowlog.RequestLog, client: Client, argv: Argv, value: int) -> None:
        shown = self._as_asked(argv)
        if shown is not None:
            log.note(shown, value, self._now_s(), client.addr, client.name)

    def _as_asked(self, argv: Argv) -> Argv | None:
        """A request, or the operation that was made of it, as the client wrote it, without secrets; None: nobody knows
        which of its words are."""
        argv = _request_of(argv)
        if argv[0] == EXEC:
            return (b"EXEC",)
        try:
            return redacted(self._shared.table.find(argv).spec, argv)
        except CommandError:
            return None

    def _kind(self, argv: Argv) -> str:
        """Redis's two names of requests: those that should never be slow, and the others."""
        argv = _request_of(argv)
        if argv[0] == EXEC:
            return "command"
        return "fast-command" if "fast" in self._shared.table.find(argv).spec.flags else "command"

    def _now_s(self) -> int:
        return self._shared.clock.wall_ms() // 1000


def _request_of(operation: Argv) -> Argv:
    """Without the database that an operation may name in front."""
    return operation[2:] if operation[0] == IN else operation


def _reachable(threshold: int) -> int:
    return threshold if threshold >= 0 else sys.maxsize


def wire_size(argv: Argv) -> int:
    """The bytes of a request, sent as an array of bulk strings."""
    return len(b"*%d\r\n" % len(argv)) + sum([len(word) + len(b"$%d\r\n\r\n" % len(word)) for word in argv])
