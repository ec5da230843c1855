"""python -m tests.sim --seed N | --seeds N [--from S]: a simulated cluster under faults; a failing seed is printed.

python -m tests.sim --mutations [NAME] [--seeds N]: each deliberate mistake, and the first seed that finds it.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from collections import Counter

from tests.sim.cluster.mutations import hunt_all
from tests.sim.cluster.play import play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one, and show how it fails")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="start", help="the first")
    parser.add_argument("--seconds", type=float, help="of trouble, simulated; as the seed has it")
    parser.add_argument("--memory", action="store_true", help="logs in memory instead of the store on a simulated disk")
    parser.add_argument("--mutations", nargs="?", const="", metavar="NAME", help="hunt for each deliberate mistake")
    options = parser.parse_args()
    if options.mutations is not None:
        return hunt_all(options.seeds, options.mutations)
    if options.seed is not None:
        print(play(options.seed, options.seconds, real_disk=not options.memory))
        return 0
    return play_many(range(options.start, options.start + options.seeds), options.seconds, real_disk=not options.memory)


def play_many(seeds: range, trouble: float | None, *, real_disk: bool) -> int:
    began, failed, simulated, done = time.process_time(), 0, 0.0, 0
    counts: Counter[str] = Counter()
    gc.disable()  # what a story leaves goes between two of them
    for seed in seeds:
        gc.collect()
        try:
            outcome = play(seed, trouble, real_disk=real_disk)
        except BaseException as problem:  # a Halt is none of Exception, and a finding all the same
            if isinstance(problem, KeyboardInterrupt):
                raise
            failed += 1
            place = traceback.extract_tb(problem.__traceback__)[-1]
            print(f"seed {seed}: {type(problem).__name__}: {problem} ({place.filename}:{place.lineno})", flush=True)
            continue
        simulated += outcome.seconds
        done += outcome.done
        counts += outcome.counts
    rate = simulated / (time.process_time() - began)
    print(f"{len(seeds)} seeds, {failed} failed; {simulated:.0f} simulated s, {rate:.0f} per CPU second; {done} requests")
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
