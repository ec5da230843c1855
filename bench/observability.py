"""What it costs to be watched: `python -m bench.observability`.

Two servers take turns, round by round, with redis-benchmark at 50 clients: one that counts and times nothing
(`bench.blind`), and one with everything on that an operator would leave on: counters and histograms, SLOWLOG and
COMMANDLOG, the latency monitor, one request in a hundred traced, and /metrics fetched every five seconds. A third, the
blind one again, shows what the noise of this machine is. Figures are medians of the rounds' ratios to the blind server;
the goal is 0.97 or more for throughput.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from bench.loader import fill
from bench.measure import Sample, requests_for, sample
from bench.points import KEYS, Point, parse_point
from bench.processes import Program, Server, free_port, turn_sigterm_into_interrupt, us_program

GOAL = 0.97
SCRAPE_S = 5.0
BLIND = "{python} -m bench.blind serve --port {port} --dir {dir}"
CLOSED = (
    "--slowlog-log-slower-than", "-1", "--latency-monitor-threshold", "0", "--latency-tracking", "no",
    "--trace-sample", "0",
)  # fmt: skip
OPEN = (
    "--slowlog-log-slower-than", "10000", "--latency-monitor-threshold", "100", "--latency-tracking", "yes",
    "--trace-sample", "100",
)  # fmt: skip
DEFAULT_POINTS = ("set:50:1:64", "get:50:1:64", "set:50:16:64", "get:50:16:64")


@contextmanager
def scraping(port: int) -> Iterator[None]:
    """A Prometheus at work, as far as the server can tell."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(SCRAPE_S):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
                reply.read()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(servers: dict[str, Server], point: Point, rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Every server in every round; each round begins one further on."""
    names = list(servers)
    for server in servers.values():
        fill(server.port, KEYS, point.value_bytes)
    requests = requests_for((servers["blind"], servers["watched"]), point, seconds)
    found: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(rounds):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            found[name].append(sample(servers[name], point, requests, seconds))
    return found


def line(point: Point, name: str, found: dict[str, list[Sample]]) -> tuple[str, float]:
    def ratio(figure: str) -> float:
        pairs = zip(found[name], found["blind"], strict=True)
        return statistics.median(getattr(one, figure) / max(getattr(other, figure), 1e-9) for one, other in pairs)

    rps = statistics.median(one.rps for one in found[name])
    figures = f"throughput x{ratio('rps'):.3f}   CPU per request x{ratio('cpu_us'):.3f}"
    return f"{point!s:28} {name:12} {rps:11,.0f}/s   {figures}", ratio("rps")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.observability", description="What watching costs.")
    parser.add_argument("--point", type=parse_point, action="append", help=f"default {', '.join(DEFAULT_POINTS)}")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one run")
    arguments = parser.parse_args()
    turn_sigterm_into_interrupt()
    http_port = free_port()
    blind = Program("blind", BLIND)
    watched = (*OPEN, "--http-port", str(http_port))
    ratios = []
    with Server(blind, CLOSED) as one, Server(blind, CLOSED) as again, Server(us_program(), watched) as seen:
        servers = {"blind": one, "blind again": again, "watched": seen}
        for server in servers.values():
            server.start()
        with scraping(http_port):
            for point in arguments.point or map(parse_point, DEFAULT_POINTS):
                found = measure(servers, point, arguments.rounds, arguments.seconds)
                for name in ("blind again", "watched"):
                    text, ratio = line(point, name, found)
                    print(text, flush=True)
                ratios.append(ratio)
    print(f"watched: mean of the points x{statistics.fmean(ratios):.3f}; goal {GOAL} or more")
    return 0 if statistics.fmean(ratios) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
