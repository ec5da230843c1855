"""The hunt for deliberate mistakes: what the simulator would find, it finds.

Not here: the mistakes (`mistakes_elections`, `mistakes_log`, `mistakes_commit`, `mistakes_members`).
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from vaylix_resp.raft.types import InvariantBroken

from . import mistakes_commit, mistakes_elections, mistakes_log, mistakes_members
from .checks import Violation
from .mistakes import MUTATIONS
from .story import run

# They fill MUTATIONS when they are imported.
MISTAKES = (mistakes_elections, mistakes_log, mistakes_commit, mistakes_members)
TROUBLE_MS = 30_000
CATCHES = (Violation, InvariantBroken, AssertionError, KeyError)

# These need a coincidence that the simulated world seldom has: the script of that name under tests/unit/raft/scripts
# is told so that it happens, and fails.
SCRIPTED = {
    "a lease outlives a transfer": "lease",
    "installs a snapshot that is older than its state": "snapshot",
    "stands for election before it has applied a change": "unapplied_change",
}


def caught_by(name: str, seed: int) -> str | None:
    """What a run with this mistake says; None: it has not noticed."""
    with ExitStack() as stack:
        mistake, certain = MUTATIONS[name]
        mistake(stack)
        try:
            run(seed, trouble_ms=TROUBLE_MS, **certain)
        except CATCHES as problem:
            return f"{type(problem).__name__}: {problem}"
    return None


def hunt_all(seeds: int) -> int:
    """The first seed that finds each mistake, for the table of the tests."""
    missed = 0
    for name in [name for name in MUTATIONS if name not in SCRIPTED]:
        began = time.perf_counter()
        for seed in range(seeds):
            found = caught_by(name, seed)
            if found:
                run(seed, trouble_ms=TROUBLE_MS, **MUTATIONS[name][1])  # the right core passes
                print(f'    "{name}": {seed},  # {time.perf_counter() - began:.1f} s: {found[:110]}', flush=True)
                break
        else:
            missed += 1
            print(f"{name}: not found by {seeds} seeds", flush=True)
    return 1 if missed else 0
