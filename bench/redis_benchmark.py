"""One run of the stock redis-benchmark, its CSV line parsed.

Random keys (-r) so that every request is not the same key; the size of a run is given in requests because
redis-benchmark has no duration. Latency is what it reports: batch sent until its last reply, in ms.
"""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from bench.points import KEYS, Point


class BenchmarkFailed(Exception):
    """redis-benchmark ended with an error, an error reply or without a result."""


@dataclass(frozen=True, slots=True)
class Run:
    rps: float
    p50_ms: float
    p99_ms: float


def argv(port: int, point: Point, requests: int) -> list[str]:
    return [
        "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-t", point.workload, "-n", str(requests),
        "-c", str(point.clients), "-P", str(point.pipeline), "-d", str(point.value_bytes),
        "-r", str(KEYS), "--csv",
    ]  # fmt: skip


def run_benchmark(port: int, point: Point, requests: int, seconds_max: float, options: Sequence[str] = ()) -> Run:
    """Run it to its end, or kill it after seconds_max. `options` are more words for its command line."""
    command = [*argv(port, point, requests), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds_max)
    # It prints an error reply, counts it as a success and goes on: a run with one is not a result.
    if done.returncode != 0 or "rror" in done.stdout + done.stderr:
        raise BenchmarkFailed(f"{point}: exit {done.returncode}: {(done.stdout + done.stderr)[-400:]}")
    return parse_csv(done.stdout)


def parse_csv(text: str) -> Run:
    """The header line and one line of figures; column names, not positions, since versions add columns."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    if len(rows) != 1:
        raise BenchmarkFailed(f"expected one result, got {text[-400:]!r}")
    row = rows[0]
    return Run(float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]))
