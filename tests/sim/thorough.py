"""How much of a test of every call is done: with VAYLIX_SWEEP=all every call and every way of losing what was not synced,
else an even part of the calls, each with some of the ways in turn.

Not here: random stories, whose number is said on the command line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

ALL = os.environ.get("VAYLIX_SWEEP") == "all"
STEP = 5  # odd, so that what alternates with the number of the call does so here too
FEW = 30  # so many calls are always done

Way = TypeVar("Way")


def some_calls(calls: range) -> range:
    """The first and every fifth; all of a few."""
    return calls if ALL or len(calls) <= FEW else calls[::STEP]


def some_ways(call: int, ways: Sequence[Way]) -> Sequence[Way]:
    """The first, which is to be the cruellest, and one of the others in turn."""
    return ways if ALL else (ways[0], ways[1 + call // STEP % (len(ways) - 1)])
