"""`python -m tests.soak`: half an hour of mixed traffic beside snapshots, rotations and a client that leaks connections.

    python -m tests.soak                     30 minutes; ends with 1 if something grows
    python -m tests.soak --minutes 5

One server with everything on: audit, encryption, restore window, HTTP port, tracing, latency monitor. Segments and
snapshots are made small and frequent, so that half an hour sees as many rotations as a week. Memory, descriptors,
threads, disk and latency are sampled; `verdict` says what counts as flat. Samples are also written as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path

from bench.processes import Server, free_port, turn_sigterm_into_interrupt, us_program
from tests.patience import PATIENCE_S
from tests.soak import traffic
from tests.soak.verdict import judge
from tests.soak.watch import Sample, Watch

SAMPLE_S = 5.0
SHOWN_EACH = 12  # samples: a line per minute
IDLE_S = 20  # the server's `timeout`


def options(http_port: int) -> tuple[str, ...]:
    return (
        "--wal-segment-size", "4mb", "--snapshot-log-size", "24mb", "--snapshot-interval", "60", "--pitr-window", "120",
        "--timeout", str(IDLE_S), "--audit", "yes", "--latency-monitor-threshold", "1", "--slowlog-log-slower-than", "1000",
        "--http-port", str(http_port), "--trace-sample", "100",
    )  # fmt: skip


def clients(port: int) -> list[traffic.Client]:
    return [
        *(traffic.Mixed(port, seed, 10) for seed in range(4)),
        traffic.Reconnecting(port, 10, 5),
        traffic.Listener(port, 11, 5),
        traffic.Leaking(port, 12, 2),
        traffic.Operator(port, 13, 0.2),
    ]


def scrape(http_port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/metrics", timeout=PATIENCE_S) as reply:
        assert reply.status == 200 and reply.read().endswith(b"\n")


def soak(server: Server, http_port: int, seconds: float, log: Path) -> tuple[list[Sample], list[str], int]:
    """The samples, what failed, and how many requests there were."""
    watch, running = Watch(server), clients(server.port)
    samples: list[Sample] = []
    until = time.monotonic() + seconds
    try:
        with log.open("w") as out:
            while time.monotonic() < until and not any(one.failure for one in running):
                samples.append(watch.sample(SAMPLE_S))
                scrape(http_port)
                out.write(json.dumps(asdict(samples[-1])) + "\n")
                out.flush()
                if len(samples) % SHOWN_EACH == 0:
                    print(samples[-1].row(), flush=True)
    finally:
        for one in running:
            one.stop()
        watch.close()
    return samples, [one.failure for one in running if one.failure], sum(one.requests for one in running)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Does anything grow?")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--samples", type=Path, default=Path("soak.jsonl"), help="where the samples go (soak.jsonl)")
    arguments = parser.parse_args()
    turn_sigterm_into_interrupt()
    http_port = free_port()
    with Server(us_program(), options(http_port)) as server:
        server.start()
        samples, failures, requests = soak(server, http_port, arguments.minutes * 60, arguments.samples)
        warnings = [line for line in server.log_path.read_text().splitlines() if " warning " in line]
        stopped = server.stop()
    for line in warnings[-20:]:
        print(f"server: {line}")
    for failure in failures:
        print(f"FAILED {failure}")
    if failures:
        return 1
    findings = judge(samples)
    for finding in findings:
        print(finding.row())
    flat = all(finding.flat for finding in findings)
    print(
        f"{requests:,} requests, slowest answer {max(sample.slowest_ms for sample in samples):.1f} ms, exit code {stopped}"
    )
    return 0 if flat and stopped == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
