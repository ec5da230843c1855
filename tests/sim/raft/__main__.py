"""python -m tests.sim.raft --seeds N [--from S] [--seed S]: many runs, one line for each that fails.

Mutations: python -m tests.sim.raft --mutations [--seeds N]: each deliberate mistake, and the first seed that finds it.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from vaylix_resp.raft.types import InvariantBroken

from .checks import Violation
from .story import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.raft", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, metavar="N")
    parser.add_argument("--from", type=int, default=0, metavar="S", dest="begin")
    parser.add_argument("--seed", type=int, metavar="S", help="one run, with the place where it fails")
    parser.add_argument("--mutations", action="store_true")
    options = parser.parse_args()
    if options.mutations:
        from .mutations import hunt_all

        return hunt_all(options.seeds)
    if options.seed is not None:
        print(run(options.seed))
        return 0
    began = time.perf_counter()
    failed = messages = completed = 0
    simulated = 0.0
    for seed in range(options.begin, options.begin + options.seeds):
        try:
            report = run(seed)
        except (Violation, InvariantBroken, AssertionError) as problem:
            failed += 1
            where = traceback.extract_tb(problem.__traceback__)[-1]
            print(f"seed {seed}: {problem} ({where.filename.rpartition('/')[2]}:{where.lineno})", flush=True)
            continue
        simulated += report.seconds
        messages += report.messages
        completed += report.completed
    seconds = time.perf_counter() - began
    print(
        f"{options.seeds} seeds, {failed} failed; {simulated:.0f} simulated s, {messages} messages, "
        f"{completed} operations in {seconds:.1f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
