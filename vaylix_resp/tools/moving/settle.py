"""The last step behind a stream: expiries that were shifted become what they are.

Promise: it can be done again when it was interrupted; the mark says that it has begun, so that no stream is applied
after it. Units: milliseconds. Not here: why they are shifted (`meaning`), what happens when the target goes away
meanwhile (`side`).
"""

from __future__ import annotations

from collections.abc import Callable

from ..output import Progress
from .meaning import SHIFT_MS, deadline
from .side import Side
from .target import Target
from .verify import portions

REFUSED = "an expiry could not be set"


def settle(target: Target, now_ms: Callable[[], int], meanwhile: Callable[[], None] = lambda: None) -> int:
    """How many keys got their expiry back. `meanwhile` is called now and then."""
    assert target.mark is not None
    target.mark.phase = "settle"
    target.put_mark()
    settled = 0
    progress = Progress("setting expiries", 0, "keys")
    with Side(target.address, target.patience, now_ms) as side:
        for db in side.sizes():
            for _, names in side.pages(db, anew=True):
                for portion in portions(names):
                    settled += _portion(side, db, portion)
                progress.say(settled)
                meanwhile()
    progress.end(settled)
    return settled


def _portion(side: Side, db: int, names: list[bytes]) -> int:
    ends = side.all(db, [(b"PEXPIRETIME", name) for name in names], REFUSED)
    shifted = [(name, end) for name, end in zip(names, ends, strict=True) if end >= SHIFT_MS]
    side.all(db, [(b"PEXPIREAT", name, b"%d" % deadline(end), b"LT") for name, end in shifted], REFUSED)
    return len(shifted)
