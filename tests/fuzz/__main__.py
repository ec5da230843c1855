"""`python -m tests.fuzz`: every target in turn with new inputs, each for a while; the seed of a failure is printed.

    python -m tests.fuzz --seconds 60
    python -m tests.fuzz rdb_reader --seed N --seconds 0    that one again
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from random import Random


def targets() -> dict[str, str]:
    """Names of the targets and their modules."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    return {file.stem.removeprefix("test_"): f"tests.fuzz.{file.stem}" for file in files}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Every fuzz target in turn.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (60); 0: one input")
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1000)
    parser.add_argument("only", nargs="*", metavar="TARGET", help=f"some of: {', '.join(targets())}")
    options = parser.parse_args()
    for name, module in targets().items():
        if options.only and name not in options.only:
            continue
        check, seed = import_module(module).check, options.seed
        until = time.monotonic() + options.seconds
        while seed == options.seed or time.monotonic() < until:
            try:
                check(Random(seed))
            except BaseException:
                print(f"{name}: seed {seed}", file=sys.stderr)
                raise
            seed += 1
        print(f"{name}: {seed - options.seed:,} inputs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
