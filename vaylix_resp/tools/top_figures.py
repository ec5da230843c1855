"""What one node did between two looks at it, out of METRICS, RAFT STATUS and CLIENT LIST: pure.

    figures = between(before, after)       rates are per second of the time in between

Promise: a counter that fell (CONFIG RESETSTAT, a restart) gives no rate, and never a negative one.
Units: seconds, microseconds where the name says so, bytes. Not here: asking (`top`), what it looks like (`top_frame`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Metrics = Mapping[str, float]
Buckets = Sequence[tuple[float, float]]  # (upper bound, values up to it), bounds rising


@dataclass(frozen=True, slots=True)
class Sample:
    """What a node said at one moment; with `problem` it said nothing."""

    name: str
    address: str
    at: float  # monotonic
    unix_s: float = 0.0  # the same moment by the wall clock
    metrics: Metrics = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)  # RAFT STATUS
    clients: Sequence[Mapping[str, str]] = ()  # CLIENT LIST, of the node that was asked first
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    calls_s: float
    share: float  # of one core's time that executing it took, 0 to 1
    mean_us: float | None
    failed_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """None: unknown, or nothing happened that it could be of."""

    requests_s: float | None
    errors_s: float | None
    hit_rate: float | None
    executed_p50_us: float | None
    executed_p99_us: float | None
    fsync_p50_us: float | None
    fsync_p99_us: float | None
    commit_p99_us: float | None
    batches_s: float | None
    writes_per_batch: float | None
    received_s: float | None
    sent_s: float | None
    expired_s: float | None
    evicted_s: float | None
    cpu: float | None  # cores in use
    clients: float | None
    blocked: float | None
    memory: float | None
    memory_limit: float | None
    keys: float | None
    log_size: float | None
    disk_free: float | None
    snapshot_age_s: float | None
    restore_s: float | None
    uptime_s: float | None
    commands: tuple[Command, ...]


def between(before: Sample, after: Sample) -> Figures:
    seconds = after.at - before.at
    old, new = before.metrics, after.metrics

    def rate(name: str) -> float | None:
        rose = gone_by(total(old, name), total(new, name))
        return None if rose is None or seconds <= 0 else rose / seconds

    def p(name: str, percent: float) -> float | None:
        return percentile_us(buckets(old, name), buckets(new, name), percent)

    def mean(name: str) -> float | None:
        count = gone_by(total(old, f"{name}_count"), total(new, f"{name}_count"))
        values = gone_by(total(old, f"{name}_sum"), total(new, f"{name}_sum"))
        return values / count if count and values is not None else None

    started = total(new, "vaylix_process_start_time_seconds")
    hits, misses = rate("vaylix_keyspace_hits_total"), rate("vaylix_keyspace_misses_total")
    asked = (hits or 0.0) + (misses or 0.0)
    return Figures(
        requests_s=rate("vaylix_commands_total"),
        errors_s=rate("vaylix_errors_total") if total(new, "vaylix_errors_total") is not None else 0.0 if new else None,
        hit_rate=hits / asked if hits is not None and asked else None,
        executed_p50_us=p("vaylix_command_duration_seconds", 50),
        executed_p99_us=p("vaylix_command_duration_seconds", 99),
        fsync_p50_us=p("vaylix_fsync_duration_seconds", 50),
        fsync_p99_us=p("vaylix_fsync_duration_seconds", 99),
        commit_p99_us=p("vaylix_commit_duration_seconds", 99),
        batches_s=rate("vaylix_batch_entries_count"),
        writes_per_batch=mean("vaylix_batch_entries"),
        received_s=rate("vaylix_network_received_bytes_total"),
        sent_s=rate("vaylix_network_sent_bytes_total"),
        expired_s=rate("vaylix_keys_expired_total"),
        evicted_s=rate("vaylix_keys_evicted_total"),
        cpu=rate("vaylix_process_cpu_seconds_total"),
        clients=total(new, "vaylix_connections"),
        blocked=total(new, "vaylix_connections_blocked"),
        memory=total(new, "vaylix_memory_used_bytes"),
        memory_limit=total(new, "vaylix_memory_limit_bytes"),
        keys=total(new, "vaylix_keys"),
        log_size=total(new, "vaylix_log_size_bytes"),
        disk_free=total(new, "vaylix_disk_free_bytes"),
        snapshot_age_s=total(new, "vaylix_snapshot_age_seconds"),
        restore_s=total(new, "vaylix_restore_window_seconds"),
        uptime_s=None if started is None else max(after.unix_s - started, 0.0),
        commands=commands(old, new, seconds),
    )


def gone_by(before: float | None, after: float | None) -> float | None:
    """A counter that is not there yet has counted nothing."""
    if after is None or after < (before or 0):
        return None
    return after - (before or 0)


def total(metrics: Metrics, name: str) -> float | None:
    """Of all samples of that name, whatever their labels; None: there is none."""
    found = [value for key, value in metrics.items() if key.partition("{")[0] == name]
    return sum(found) if found else None


def labelled(metrics: Metrics, name: str, label: str) -> dict[str, float]:
    """The samples of that name by the value of a label, added up over the other labels."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        if key.startswith(name + "{"):
            word = dict(_LABEL.findall(key))[label]
            found[word] = found.get(word, 0) + value
    return found


def buckets(metrics: Metrics, name: str) -> dict[float, float]:
    """Of a histogram: bound -> values up to it."""
    return {
        inf if bound == "+Inf" else float(bound): count
        for bound, count in labelled(metrics, f"{name}_bucket", "le").items()
    }


def percentile_us(before: Mapping[float, float], after: Mapping[float, float], percent: float) -> float | None:
    """What that share of the new values stayed within, interpolated inside its bucket."""
    found = [(bound, count - before.get(bound, 0)) for bound, count in sorted(after.items())]
    if not found or found[-1][1] <= 0 or min(count for _, count in found) < 0:
        return None
    wanted = found[-1][1] * percent / 100
    low = passed = 0.0
    for bound, count in found:
        if count >= wanted and count > passed:
            top = 2 * low if bound == inf else bound  # as the buckets go on: each twice as wide
            return 1e6 * (low + (top - low) * (wanted - passed) / (count - passed))
        low, passed = bound, count
    raise AssertionError("the last bucket has all")


def commands(before: Metrics, after: Metrics, seconds: float) -> tuple[Command, ...]:
    """Those that were called or refused in between."""
    if seconds <= 0:
        return ()
    names = ("", "_duration_seconds", "_failed", "_rejected")
    old, new = ([labelled(one, f"vaylix_commands{name}_total", "command") for name in names] for one in (before, after))
    found = []
    for name in sorted(new[0]):
        calls, spent, failed, rejected = (
            gone_by(then.get(name), now.get(name, 0)) for then, now in zip(old, new, strict=True)
        )
        if calls is None or spent is None or failed is None or rejected is None or not calls + rejected:
            continue
        mean_us = 1e6 * spent / calls if calls else None
        found.append(Command(name, calls / seconds, spent / seconds, mean_us, (failed + rejected) / seconds))
    return tuple(found)
