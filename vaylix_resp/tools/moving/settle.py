"""The last step behind a stream: expiries that were shifted become what they are.

Promise: it can be done again when it was interrupted; the mark says that it has begun, so that no stream is applied
after it. Units: milliseconds. Not here: why they are shifted (`meaning`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis

from ..output import Progress
from .channel import Channel, Denied
from .meaning import SHIFT_MS, deadline
from .target import Target
from .verify import Side, portions


def settle(target: Target, now_ms: Callable[[], int]) -> int:
    """How many keys got their expiry back."""
    assert target.mark is not None
    target.mark.phase = "settle"
    target.put_mark()
    settled = 0
    progress = Progress("setting expiries", 0, "keys")
    with Channel(target.address) as channel:
        side = Side(channel, now_ms)
        for db in side.sizes():
            for _, names in side.pages(db):
                for portion in portions(names):
                    settled += _portion(channel, db, portion)
                progress.say(settled)
    return settled


def _portion(channel: Channel, db: int, names: list[bytes]) -> int:
    channel.select(db)
    ends = _done(channel.all([(b"PEXPIRETIME", name) for name in names]))
    shifted = [(name, end) for name, end in zip(names, ends, strict=True) if end >= SHIFT_MS]
    requests = [(b"PEXPIREAT", name, b"%d" % deadline(end), b"LT") for name, end in shifted]
    _done(channel.all(requests))
    return len(requests)


def _done(replies: list[Any]) -> list[Any]:
    """None of them an error."""
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise Denied(f"an expiry could not be set: {reply}; the same command goes on")
    return replies
