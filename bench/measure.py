"""The rounds: every point against both servers, interleaved, the order turning from round to round.

A machine's speed drifts, so a figure of ours only means something beside the peer's of the same minute:
each round gives one pair, and the ratio is the median of the pairs' ratios, not a ratio of medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.loader import fill, run_load
from bench.points import KEYS, Point
from bench.processes import Server
from bench.redis_benchmark import run_benchmark

CALIBRATE_REQUESTS = 1_000  # times the pipeline: a tenth of a second on the slowest point
RUN_SECONDS_MAX = 60.0
SET_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """One run at one point against one server."""

    rps: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of the server, per request
    generator_cpu_share: float | None = None  # only where the generator is ours


@dataclass(frozen=True, slots=True)
class Row:
    """One point over all rounds: (redis, us) pairs in the order they were measured."""

    point: Point
    pairs: tuple[tuple[Sample, Sample], ...]

    def median(self, which: int, figure: str) -> float:
        return float(statistics.median(getattr(pair[which], figure) for pair in self.pairs))

    def ratio(self, figure: str) -> float:
        """us / redis: throughput above 1 is good, p99 and CPU below 1 are good."""
        ratios = (getattr(us, figure) / max(getattr(redis, figure), 1e-9) for redis, us in self.pairs)
        return float(statistics.median(ratios))


def sample(server: Server, point: Point, requests: int, seconds: float) -> Sample:
    """One run; the CPU figure is the server's clock ticks before and after it."""
    cpu_before = server.cpu_seconds()
    if point.workload == "mix":
        load = run_load(
            server.port, point.clients, point.pipeline, point.value_bytes, KEYS, SET_SHARE,
            lambda _batches, elapsed: elapsed < seconds,
        )  # fmt: skip
        cpu_us = (server.cpu_seconds() - cpu_before) / load.requests * 1e6
        return Sample(load.rps, load.percentile_ms(0.5), load.percentile_ms(0.99), cpu_us, load.cpu_share)
    run = run_benchmark(server.port, point, requests, RUN_SECONDS_MAX)
    cpu_us = (server.cpu_seconds() - cpu_before) / requests * 1e6
    return Sample(run.rps, run.p50_ms, run.p99_ms, cpu_us)


def requests_for(servers: tuple[Server, Server], point: Point, seconds: float) -> int:
    """How many requests make a run of about `seconds` on the faster server; both get the same number."""
    if point.workload == "mix":
        return 0  # our generator stops by the clock
    count = CALIBRATE_REQUESTS * point.pipeline
    fastest = max(run_benchmark(server.port, point, count, RUN_SECONDS_MAX).rps for server in servers)
    return max(count, int(fastest * seconds))


def measure_point(servers: tuple[Server, Server], point: Point, rounds: int, seconds: float) -> Row:
    """`rounds` pairs at one point; even rounds start with redis, odd ones with us."""
    for server in servers:
        fill(server.port, KEYS, point.value_bytes)
    requests = requests_for(servers, point, seconds)
    pairs = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        samples = {which: sample(servers[which], point, requests, seconds) for which in order}
        pairs.append((samples[0], samples[1]))
    return Row(point, tuple(pairs))


def measure_all(
    servers: tuple[Server, Server],
    points: list[Point],
    rounds: int,
    seconds: float,
    show: Callable[[Row], None],
) -> list[Row]:
    rows = []
    for point in points:
        row = measure_point(servers, point, rounds, seconds)
        show(row)
        rows.append(row)
    return rows
