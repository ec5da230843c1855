"""`python -m bench`: one command that measures us beside redis-server and writes what it found.

    python -m bench                     the default grid, 3 rounds, about 12 minutes, and the 1 M key figures
    python -m bench --quick             a look in under 90 seconds
    python -m bench --full              every point, 5 rounds
    python -m bench --only set:50:16:64,get:50:16:64 --rounds 7 --skip-startup

Writes results.json, results.svg and RESULTS.md to --out. --us redis puts a second redis-server in our
place: its ratios say how much of a difference is noise on this machine.
Three nodes, and what a failover costs: `python -m bench.cluster`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from subprocess import TimeoutExpired

from bench.chart import svg_chart
from bench.loader import WrongReply
from bench.machine import describe_machine
from bench.measure import Row, measure_all
from bench.points import Point, default_grid, full_grid, parse_point, quick_grid
from bench.processes import (
    Program,
    ServerFailed,
    redis_program,
    running,
    turn_sigterm_into_interrupt,
    us_program,
)
from bench.redis_benchmark import BenchmarkFailed
from bench.report import as_json, line, readme_table, results_page, scale_table
from bench.scale import Scale, ScaleFailed, measure_scale

QUICK_KEYS, FULL_KEYS = 100_000, 1_000_000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Vaylix RESP beside redis-server on this machine."
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few points, 2 rounds, under 90 seconds")
    size.add_argument("--full", action="store_true", help="every point, 5 rounds")
    parser.add_argument("--rounds", type=int, help="pairs per point (default 3)")
    parser.add_argument("--seconds", type=float, help="length of one run (default 1.5)")
    parser.add_argument("--only", help="points such as set:50:16:64, separated by commas")
    parser.add_argument("--skip-startup", action="store_true", help="leave out the figures with 1 M keys")
    parser.add_argument("--only-startup", action="store_true", help="nothing but the figures with 1 M keys")
    parser.add_argument("--keys", type=int, help="keys for memory and start-up (default 1 M)")
    parser.add_argument("--us", help='how to start us; "redis" for a second redis-server')
    parser.add_argument("--us-option", action="append", default=[], help="one more word for our command line")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the results go")
    parser.add_argument("--readme", action="store_true", help="print the table for the README at the end")
    return parser.parse_args()


def choose_points(arguments: argparse.Namespace) -> list[Point]:
    if arguments.only_startup:
        return []
    if arguments.only:
        return [parse_point(text) for text in arguments.only.split(",")]
    if arguments.quick:
        return quick_grid()
    return full_grid() if arguments.full else default_grid()


def measure_points(programs: tuple[Program, Program], arguments: argparse.Namespace) -> list[Row]:
    points = choose_points(arguments)
    if not points:
        return []
    rounds = arguments.rounds or (2 if arguments.quick else 5 if arguments.full else 3)
    seconds = arguments.seconds or (0.6 if arguments.quick else 1.5)
    with running(programs[0]) as redis, running(programs[1], *arguments.us_option) as us:
        return measure_all((redis, us), points, rounds, seconds, lambda row: print(line(row), flush=True))


def measure_scales(programs: tuple[Program, Program], arguments: argparse.Namespace) -> tuple[Scale, Scale]:
    keys = arguments.keys or (QUICK_KEYS if arguments.quick else FULL_KEYS)
    quiet_seconds = 1.0 if arguments.quick else 4.0
    redis = measure_scale(programs[0], (), keys, quiet_seconds)
    us = measure_scale(programs[1], tuple(arguments.us_option), keys, quiet_seconds)
    print(scale_table((redis, us)), flush=True)
    return redis, us


def write_results(
    arguments: argparse.Namespace,
    machine: dict[str, str],
    rows: list[Row],
    scales: tuple[Scale, Scale] | None,
) -> None:
    settings = " ".join(sys.argv[1:]) or "default"
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(as_json(machine, settings, rows, scales), indent=1) + "\n")
    (out / "RESULTS.md").write_text(results_page(machine, settings, rows, scales))
    if rows:
        subtitle = f"{machine['cpu']}, {machine['date']}; ratio (redis-server, Vaylix RESP)"
        (out / "results.svg").write_text(svg_chart(rows, subtitle))
    print(f"written: {out}/results.json, RESULTS.md" + (", results.svg" if rows else ""))
    if arguments.readme:
        print(readme_table(machine, rows, scales))


def main() -> int:
    arguments = parse_arguments()
    turn_sigterm_into_interrupt()
    programs = (redis_program(), us_program(arguments.us))
    machine = describe_machine()
    print("".join(f"{name}: {value}\n" for name, value in machine.items()), flush=True)
    began = time.monotonic()
    try:
        rows = measure_points(programs, arguments)
        scales = None if arguments.skip_startup else measure_scales(programs, arguments)
    except (ServerFailed, BenchmarkFailed, WrongReply, ScaleFailed, OSError, TimeoutExpired) as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; servers stopped, nothing written", file=sys.stderr)
        return 130
    write_results(arguments, machine, rows, scales)
    print(f"took {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
