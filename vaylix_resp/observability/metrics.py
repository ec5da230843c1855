"""Counters: what the server has done since it started or since CONFIG RESETSTAT.

Plain integer slots that their owners raise in bulk, once per read from a socket rather than once per request:

    record(stats.command("get"), n, seconds, failed)      the dispatcher, n requests in `seconds` together
    stats.error("WRONGTYPE")                              for each error reply
    stats.tick(now)                                       housekeeping, about every 100 ms

Not here: keyspace hits, misses and expired keys, which the state machine counts (`state.machine.World`); what
batches go through (`engine.stages`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..errors import CommandError
from .histogram import NS_SHIFT, Histogram

BUCKETS: Final = 21  # from 1 us on; the last takes everything from half a second up
SAMPLES: Final = 16  # a rate is the mean of so many ticks, which smooths it over 1.6 s as in Redis
TICK_SECONDS_MIN: Final = 0.1
ERROR_CODES_MAX: Final = 128  # different codes counted one by one; DEBUG ERROR can invent any number of them
OTHER_ERRORS: Final = "OTHER"


class CommandStats(Histogram):
    """What one command has cost: a histogram of nanoseconds, `total` is all the time it took."""

    __slots__ = ("calls", "failed_calls", "name", "rejected_calls")

    def __init__(self, name: str) -> None:
        super().__init__(BUCKETS, NS_SHIFT)
        self.name = name  # "get", "config|set"
        self.calls = 0
        self.rejected_calls = 0  # refused before execution: arity, NOAUTH, MISCONF
        self.failed_calls = 0  # executed, and the reply was an error

    @property
    def usec(self) -> int:
        return self.total // 1000

    def reset(self) -> None:
        super().reset()
        self.calls = self.rejected_calls = self.failed_calls = 0


def record(stats: CommandStats, calls: int, seconds: float, failed: int = 0) -> None:
    """Count `calls` executions that took `seconds` together and are taken to have cost the same each."""
    spent = int(seconds * 1e9)
    stats.calls += calls
    stats.total += spent
    stats.failed_calls += failed
    each = spent // calls
    at = (each - (each > 0) >> NS_SHIFT).bit_length()  # `add`, without the call
    stats.buckets[at if at < BUCKETS else -1] += calls


def bucket_top_usec(index: int) -> int:
    """The highest duration a bucket stands for, as LATENCY HISTOGRAM names it: 1, 2, 4, 8, 16, 33, 66, 132...

    Redis keeps 128 steps between powers of two and names a bucket by the end of the step at its top, which is
    where 33 rather than 32 comes from; tools compare the numbers.
    """
    top = 1 << NS_SHIFT + index
    return (top + top // 128 - 1) // 1000


def cumulative(stats: CommandStats) -> dict[int, int]:
    """LATENCY HISTOGRAM's distribution: duration in us -> calls up to it; buckets that add nothing are left out."""
    found: dict[int, int] = {}
    total = 0
    for index, count in enumerate(stats.buckets):
        if count:
            total += count
            found[bucket_top_usec(index)] = total
    return found


class Rate:
    """Events per second, as the mean of the last few samples of a counter that only rises."""

    __slots__ = ("_at", "_last", "_samples", "_seen")

    def __init__(self) -> None:
        self._last = 0
        self._at: float | None = None
        self._samples = [0.0] * SAMPLES
        self._seen = 0

    def sample(self, now: float, counter: int) -> None:
        if self._at is not None and now > self._at:
            self._samples[self._seen % SAMPLES] = (counter - self._last) / (now - self._at)
            self._seen += 1
        self._at, self._last = now, counter

    @property
    def value(self) -> float:
        return sum(self._samples) / SAMPLES


class Stats:
    """All counters of one server. Fields are named as in INFO; raise them directly."""

    __slots__ = (
        "_last_tick", "acl_access_denied_auth", "acl_access_denied_channel", "acl_access_denied_cmd",
        "acl_access_denied_db", "acl_access_denied_key", "acl_access_denied_tls_cert",
        "client_output_buffer_limit_disconnections",
        "client_query_buffer_limit_disconnections", "commands", "errors", "evicted_clients", "input_rate",
        "limit_ended_transactions", "limit_ended_watches", "limit_refused_sizes", "ops_rate", "output_rate",
        "rejected_connections", "total_connections_received", "total_error_replies",
        "total_net_input_bytes", "total_net_output_bytes", "total_reads_processed", "total_writes_processed",
        "unexpected_error_replies",
    )  # fmt: skip

    def __init__(self) -> None:
        self.commands: dict[str, CommandStats] = {}
        self._zero()

    def _zero(self) -> None:
        self.total_connections_received = self.rejected_connections = self.evicted_clients = 0
        self.total_net_input_bytes = self.total_net_output_bytes = 0
        self.total_reads_processed = self.total_writes_processed = 0  # reads from and writes to sockets
        self.client_query_buffer_limit_disconnections = self.client_output_buffer_limit_disconnections = 0
        self.acl_access_denied_auth = 0  # failed AUTH and HELLO AUTH
        self.acl_access_denied_cmd = self.acl_access_denied_key = self.acl_access_denied_channel = 0
        self.acl_access_denied_db = 0
        self.acl_access_denied_tls_cert = 0  # certificates that name no user who may log in
        self.limit_refused_sizes = 0  # requests with too many keys, or with one or a value that is too large
        self.limit_ended_transactions = self.limit_ended_watches = 0  # by transaction-seconds-max, watch-seconds-max
        self.total_error_replies = self.unexpected_error_replies = 0
        self.errors: dict[str, int] = {}
        self.ops_rate, self.input_rate, self.output_rate = Rate(), Rate(), Rate()
        self._last_tick: float | None = None

    @property
    def total_commands_processed(self) -> int:
        """Added up here, so that executing a request has one counter less to raise."""
        return sum(stats.calls for stats in self.commands.values())

    def command(self, name: str) -> CommandStats:
        """The counters of a command by its full lower-case name; the object stays the same for the server's life."""
        found = self.commands.get(name)
        if found is None:
            found = self.commands[name] = CommandStats(name)
        return found

    def executed(self, name: str, reply: object) -> None:
        """Count a request of a transaction, whose time nobody has measured by itself."""
        stats = self.commands[name]
        stats.calls += 1
        if isinstance(reply, CommandError):
            stats.failed_calls += 1
            self.error(reply.code)

    def error(self, code: str) -> None:
        """Count one error reply by its code, the first word."""
        self.total_error_replies += 1
        errors = self.errors
        if code not in errors and len(errors) >= ERROR_CODES_MAX:
            code = OTHER_ERRORS
        errors[code] = errors.get(code, 0) + 1

    def tick(self, now: float) -> None:
        """Take the samples that rates are made of; more often than every 100 ms is ignored."""
        if self._last_tick is not None and now - self._last_tick < TICK_SECONDS_MIN * 0.9:
            return
        self._last_tick = now
        self.ops_rate.sample(now, self.total_commands_processed)
        self.input_rate.sample(now, self.total_net_input_bytes)
        self.output_rate.sample(now, self.total_net_output_bytes)

    def reset(self) -> None:
        """CONFIG RESETSTAT. CommandStats objects stay, because the dispatcher holds them."""
        self._zero()
        for stats in self.commands.values():
            stats.reset()

    def used(self) -> Sequence[CommandStats]:
        """The commands that were called or refused at least once."""
        return [s for s in self.commands.values() if s.calls or s.rejected_calls]
