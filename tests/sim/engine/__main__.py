"""`python -m tests.sim.engine --seeds N [--seed FIRST] [--lives L]`: long stories, one line for each failing seed."""

from __future__ import annotations

import argparse
import time
import traceback

from tests.sim.engine.play import long_story


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.engine", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="the first (default 1)")
    parser.add_argument("--lives", type=int, default=30, help="of each story (default 30)")
    options = parser.parse_args()
    began, failed, runs, warnings, problems = time.monotonic(), [], 0, 0, 0
    for seed in range(options.seed, options.seed + options.seeds):
        try:
            story = long_story(seed, options.lives)
        except Exception:
            traceback.print_exc()
            print(f"FAILED: python -m tests.sim.engine --seed {seed} --seeds 1 --lives {options.lives}", flush=True)
            failed.append(seed)
        else:
            runs += len(story.book.runs)
            warnings += story.warnings
            problems += len(story.problems)
    print(
        f"{options.seeds} seeds, {runs} runs of clients, {warnings} torn batches cut, {problems} failures of the disk, "
        f"{len(failed)} seeds failed {failed[:20]}, {time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
