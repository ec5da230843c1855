"""`python -m bench.cluster`: three nodes on this machine beside redis-server with two replicas and WAIT 1.

    python -m bench.cluster                                   all of it, about 10 minutes
    python -m bench.cluster --quick                           a look in about 3 minutes
    python -m bench.cluster --skip speed,returns --repetitions 100       nothing but failover, with a true p99
    python -m bench.cluster --only set:50:1:64 --skip failover,returns   one point

Writes cluster.json and CLUSTER.md to --out, if given. Six servers and a generator share the cores: the figures say how
the two compare here, not what either does on three machines.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import TimeoutExpired

from bench.cluster.catchup import measure_returns
from bench.cluster.failover import FAULTS, OPTIONS, LostWrite, measure_failover
from bench.cluster.load import LoadProcess
from bench.cluster.nodes import our_nodes, redis_nodes
from bench.cluster.report import Results, as_json, gaps_line, page, return_line, row_line
from bench.cluster.speed import POINTS, Speed
from bench.loader import WrongReply
from bench.machine import describe_machine
from bench.points import KEYS, Point, parse_point
from bench.processes import ServerFailed, turn_sigterm_into_interrupt
from bench.redis_benchmark import BenchmarkFailed

SPEED, FAILOVER, RETURNS = PARTS = ("speed", "failover", "returns")


def points_of(text: str) -> tuple[Point, ...]:
    points = tuple(parse_point(part) for part in text.split(","))
    if any(point.workload not in ("set", "get") for point in points):
        raise argparse.ArgumentTypeError("only set and get are measured here")
    return points


def some_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """Reads names out of `known`, separated by commas."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if not set(names) <= set(known):
            raise argparse.ArgumentTypeError(f"{text!r}: of {', '.join(known)}")
        return names

    return read


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description="Measure three nodes on this machine.")
    parser.add_argument("--quick", action="store_true", help="1 short round, 2 repetitions, 16 MB")
    parser.add_argument("--only", type=points_of, default=POINTS, help="points such as set:50:16:64, by commas")
    parser.add_argument("--rounds", type=int, help="runs of each side per point (default 3)")
    parser.add_argument("--seconds", type=float, help="length of one run (default 1.5)")
    parser.add_argument("--keys", type=int, default=KEYS, help="of SET and GET (default %(default)s)")
    parser.add_argument("--repetitions", type=int, help="of each fault (default 5; p99 wants 100)")
    parser.add_argument("--faults", type=some_of(FAULTS), default=FAULTS, help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--megabytes", type=float, help="that a node misses while it is away (default 64)")
    parser.add_argument("--skip", type=some_of(PARTS), default=(), help=f"parts to leave out: {', '.join(PARTS)}")
    parser.add_argument("--us-option", action="append", default=[], help="one more word for our command lines")
    parser.add_argument("--out", type=Path, help="where cluster.json and CLUSTER.md go; nowhere by default")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, results: Results) -> None:
    """Fills in `results`; each part has servers of its own, so that one does not find the other's leftovers."""
    quick = arguments.quick
    if SPEED not in arguments.skip:
        with LoadProcess() as load, redis_nodes() as redis, our_nodes(*arguments.us_option) as us:
            speed = Speed(redis, us, load, arguments.keys)
            rounds = arguments.rounds or (1 if quick else 3)
            seconds = arguments.seconds or (0.6 if quick else 1.5)
            results.rows = speed.measure(arguments.only, rounds, seconds, lambda row: print(row_line(row), flush=True))
    if FAILOVER not in arguments.skip:
        with our_nodes(*OPTIONS, *arguments.us_option) as us:
            repetitions = arguments.repetitions or (2 if quick else 5)
            results.gaps = measure_failover(
                us, arguments.faults, repetitions, lambda gaps: print(gaps_line(gaps), flush=True)
            )
    if RETURNS not in arguments.skip:
        megabytes = arguments.megabytes or (16.0 if quick else 64.0)
        results.returns = measure_returns(megabytes, lambda back: print(return_line(back), flush=True))


def write(results: Results, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "cluster.json").write_text(json.dumps(as_json(results), indent=1) + "\n")
    (out / "CLUSTER.md").write_text(page(results))
    print(f"written: {out}/cluster.json, CLUSTER.md")


def main() -> int:
    arguments = parse_arguments()
    turn_sigterm_into_interrupt()
    machine = describe_machine()
    machine["load before"] = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print("".join(f"{name}: {value}\n" for name, value in machine.items()), flush=True)
    results = Results(machine, " ".join(sys.argv[1:]) or "default")
    began = time.monotonic()
    try:
        measure(arguments, results)
    except (ServerFailed, BenchmarkFailed, WrongReply, LostWrite, OSError, TimeoutExpired) as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; servers stopped, nothing written", file=sys.stderr)
        return 130
    if arguments.out is not None:
        write(results, arguments.out)
    print(f"took {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
