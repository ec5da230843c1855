"""The load of `bench.cluster`: the closed loop of bench.loader, for Redis with a WAIT behind each batch of writes.

redis-benchmark cannot send WAIT, and one generator for both sides makes their figures comparable. It runs in a process
of its own, which is all that this process does meanwhile: `cpu_share` near 1.0 says that it was the limit.

A write that Redis has answered is on one disk; `WAIT 1` behind it makes it two of three, which is what our +OK means.
One WAIT stands behind all writes of a batch, not behind each: a client that pipelines would not wait sixteen times,
and the last reply means the same. WAIT answers ":0" when its time is over; such batches are counted, not hidden.

Not here: who is asked (`speed`); the loop itself, and what a latency is (`bench.loader`).
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from bench.loader import Batch, Generator, build_batches
from bench.points import Point

WAIT_MS = 100
WAIT = b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$3\r\n%d\r\n" % WAIT_MS
NOBODY_HAS_IT = b":0\r\n"
ANSWER_SECONDS_MAX = 60.0  # beyond the run itself; a generator that stalls says so before


@dataclass(frozen=True, slots=True)
class Job:
    port: int
    point: Point  # "set" or "get"
    keys: int
    seconds: float
    wait: bool  # a WAIT 1 behind each batch


@dataclass(frozen=True, slots=True)
class Result:
    requests: int  # without the WAITs
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_share: float  # of the generator, of one core
    unconfirmed: int  # batches that one disk had, and nobody else within WAIT_MS


class WaitingGenerator(Generator):
    """Looks at the end of what comes as well: a WAIT stands there."""

    def __init__(self, port: int, clients: int, batches: list[Batch]) -> None:
        super().__init__(port, clients, batches)
        self.unconfirmed = 0
        self._ends = dict.fromkeys(self.sockets, b"")

    def _receive(self, fd: int) -> bytes:
        piece = super()._receive(fd)
        self._ends[fd] = (self._ends[fd] + piece)[-len(NOBODY_HAS_IT) :]
        self.unconfirmed += self._ends[fd] == NOBODY_HAS_IT
        return piece


def batches_for(job: Job) -> list[Batch]:
    share = 1.0 if job.point.workload == "set" else 0.0
    batches = build_batches(job.point.pipeline, job.point.value_bytes, job.keys, share)
    if not job.wait:
        return batches
    return [Batch(one.request + WAIT, one.requests, one.reply_bytes + len(NOBODY_HAS_IT)) for one in batches]


def run(job: Job) -> Result:
    """In this process; its keys have to be there, with values of that size."""
    generator = WaitingGenerator(job.port, job.point.clients, batches_for(job))
    try:
        load = generator.run(lambda _batches, elapsed: elapsed < job.seconds)
    finally:
        generator.close()
    return Result(
        load.requests, load.rps, load.percentile_ms(0.5), load.percentile_ms(0.99), load.cpu_share,
        generator.unconfirmed,
    )  # fmt: skip


class LoadProcess:
    """The process that runs jobs, one at a time."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, job: Job) -> Result:
        return self._pool.submit(run, job).result(job.seconds + ANSWER_SECONDS_MAX)
