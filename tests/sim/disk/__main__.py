"""`python -m tests.sim.disk --seeds N [--seed FIRST] [--lives L] [--mistake NAME]`: one line for each failing seed.

`--member` tells those of a member of a cluster (`member_story`).
`--every-call` cuts the power at each call of a fixed workload instead, and looks at what each mode of loss leaves.
`--mistake` puts one of the deliberate mistakes into the product and says which seed finds it; `--mistakes` lists them.
"""

from __future__ import annotations

import argparse
import time
import traceback
from collections import Counter
from contextlib import nullcontext
from random import Random

from tests.sim.disk.member_story import MemberStory
from tests.sim.disk.mutations import MUTATIONS, injected
from tests.sim.disk.simdisk import MODES, Fault, SimDisk
from tests.sim.disk.story import LIVES, Known, Story
from tests.sim.disk.workload import World, count_calls, relaxed_workload, run_until_power_cut, workload


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.disk", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="the first (default 1)")
    parser.add_argument("--lives", type=int, default=LIVES, help=f"of each story (default {LIVES})")
    parser.add_argument("--mistake", choices=sorted(MUTATIONS), help="to be found; stops at the first seed that does")
    parser.add_argument("--every-call", action="store_true", help="a power cut at each call of a fixed workload")
    parser.add_argument("--member", action="store_true", help="the log of a member of a cluster")
    parser.add_argument("--mistakes", action="store_true", help="list them")
    options = parser.parse_args()
    if options.mistakes:
        print("\n".join(sorted(MUTATIONS)))
        return 0
    if options.every_call:
        return every_call()
    began, counts, failed = time.monotonic(), Counter[str](), []
    with injected(options.mistake) if options.mistake else nullcontext():
        for seed in range(options.seed, options.seed + options.seeds):
            story = MemberStory(seed) if options.member else Story(seed)
            try:
                story.tell(options.lives)
            except Exception:
                traceback.print_exc()
                member = "--member " if options.member else ""
                print(f"FAILED: python -m tests.sim.disk {member}--seed {seed} --seeds 1 --lives {options.lives}", flush=True)
                failed.append(seed)
            counts += story.counts
            if failed and options.mistake:
                break
    told = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
    print(f"{told}\n{options.seeds} seeds, {len(failed)} failed {failed[:20]}, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def every_call() -> int:
    began, cuts = time.monotonic(), 0
    for steps in (workload, relaxed_workload):
        calls = count_calls(SimDisk, steps, stop=True)
        for call in range(1, calls + 1):
            disk = SimDisk()
            disk.faults[call] = Fault("crash")
            before = World(disk)
            run_until_power_cut(before, steps, stop=True)
            for mode in (*MODES, None):
                after = World(disk.crash(Random(call), mode)).open()
                Known(before.acknowledged, before.in_flight).check(after.state, powered=False)
                after.store.abandon()
                cuts += 1
        print(f"{steps.__name__}: {calls} calls, each the last one, {len(MODES) + 1} ways of losing what was not synced")
    print(f"{cuts} starts found what was promised, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
