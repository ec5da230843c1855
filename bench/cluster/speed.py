"""SET and GET on three nodes: Redis with WAIT 1, our leader, our follower, and redis-benchmark on our leader.

Each round has each of them once, one further on at the beginning; ratios are medians over the rounds, as everywhere
here. Asking a follower is asked of ours only: a Redis replica takes no writes, and what it answers a GET may be old.

RedisRaft's figures are redis-benchmark's of another day, on two such cores with fsync: for orientation only, beside
redis-benchmark's on our leader.
Units: requests per second, ms per batch of the pipeline, microseconds of CPU of all three servers together per request.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench import measure
from bench.cluster.load import Job, LoadProcess
from bench.cluster.nodes import Group, require_up
from bench.loader import WrongReply, fill
from bench.measure import RUN_SECONDS_MAX
from bench.points import Point
from bench.processes import Server
from bench.redis_benchmark import BenchmarkFailed, run_benchmark

VALUE_BYTES = 64
SHAPES = ((1, 1), (50, 1), (200, 1), (50, 16))
POINTS = tuple(Point(workload, *shape, VALUE_BYTES) for workload in ("set", "get") for shape in SHAPES)
REDISRAFT_RPS = {
    ("set", 1, 1): 2_500, ("set", 50, 1): 20_000, ("set", 200, 1): 39_000, ("set", 50, 16): 39_000,
    ("get", 1, 1): 11_000, ("get", 50, 1): 50_000, ("get", 200, 1): 86_000, ("get", 50, 16): 97_000,
}  # fmt: skip
REDIS, LEADER, FOLLOWER, STOCK = WHO = ("redis", "leader", "follower", "redis-benchmark")
ATTEMPTS_MAX = 5  # of one run: the leader may lose its place on a machine that others use as well
CALIBRATE_REQUESTS = 500


@dataclass(frozen=True, slots=True)
class Sample(measure.Sample):
    """One run; the CPU is that of all three servers."""

    unconfirmed: int = 0  # batches for which WAIT had no answer in time


@dataclass(frozen=True, slots=True)
class Row:
    """One point: for each of WHO a sample per round, in the order they were measured."""

    point: Point
    samples: dict[str, tuple[Sample, ...]]

    def median(self, who: str, figure: str) -> float:
        return float(statistics.median(getattr(one, figure) for one in self.samples[who]))

    def ratio(self, who: str, figure: str = "rps") -> float:
        """To Redis in the same round."""
        pairs = zip(self.samples[who], self.samples[REDIS], strict=True)
        return float(statistics.median(getattr(us, figure) / max(getattr(redis, figure), 1e-9) for us, redis in pairs))

    def unconfirmed(self) -> int:
        return sum(one.unconfirmed for one in self.samples[REDIS])

    def redisraft(self) -> float:
        """Our redis-benchmark figure / RedisRaft's; 0 where there is none."""
        theirs = REDISRAFT_RPS.get((self.point.workload, self.point.clients, self.point.pipeline))
        return self.median(STOCK, "rps") / theirs if theirs else 0.0


class Speed:
    """Both groups, filled with the same keys."""

    def __init__(self, redis: Group, us: Group, load: LoadProcess, keys: int) -> None:
        self.redis, self.us, self.load, self.keys = redis, us, load, keys
        for group in (redis, us):
            fill(group.leader().port, keys, VALUE_BYTES)
            group.wait_in_step()

    def measure(self, points: tuple[Point, ...], rounds: int, seconds: float, show: Callable[[Row], None]) -> list[Row]:
        rows = []
        for point in points:
            found: dict[str, list[Sample]] = {who: [] for who in WHO}
            for number in range(rounds):
                at = number % len(WHO)
                for who in WHO[at:] + WHO[:at]:
                    found[who].append(self._sample(who, point, seconds))
            row = Row(point, {who: tuple(samples) for who, samples in found.items()})
            show(row)
            rows.append(row)
        return rows

    def _sample(self, who: str, point: Point, seconds: float) -> Sample:
        """One run with one leader; a run in which it changed is no result and is made again."""
        group = self.redis if who == REDIS else self.us
        problem: Exception | None = None
        for _ in range(ATTEMPTS_MAX):
            require_up(group)
            leader = group.leader()
            server = group.follower() if who == FOLLOWER else leader
            try:
                made = self._run(group, server, who, point, seconds)
            except (WrongReply, BenchmarkFailed, OSError) as failure:
                problem = failure
                continue
            if group.leader() is leader:
                return made
        raise BenchmarkFailed(f"{who} {point}: {problem or 'the leader changed'} in each of {ATTEMPTS_MAX} runs")

    def _run(self, group: Group, server: Server, who: str, point: Point, seconds: float) -> Sample:
        if who == STOCK:
            count = CALIBRATE_REQUESTS * point.pipeline
            count = max(count, int(run_benchmark(server.port, point, count, RUN_SECONDS_MAX).rps * seconds))
            before = group.cpu_seconds()
            run = run_benchmark(server.port, point, count, RUN_SECONDS_MAX)
            return Sample(run.rps, run.p50_ms, run.p99_ms, (group.cpu_seconds() - before) / count * 1e6)
        before = group.cpu_seconds()
        wait = who == REDIS and point.workload == "set"
        done = self.load.run(Job(server.port, point, self.keys, seconds, wait))
        cpu_us = (group.cpu_seconds() - before) / done.requests * 1e6
        return Sample(done.rps, done.p50_ms, done.p99_ms, cpu_us, done.cpu_share, done.unconfirmed)
