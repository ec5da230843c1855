"""Many seeds from the command line, for a check that takes a generator; the seed that fails is printed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from random import Random


def main(description: str | None, check: Callable[[Random], None]) -> None:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1000)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    options = parser.parse_args()
    for seed in range(options.seed, options.seed + options.inputs):
        try:
            check(Random(seed))
        except BaseException:
            print(f"seed {seed}")
            raise
