"""Is a history of one key linearizable? Wing and Gong's search with Lowe's memory of what was tried.

An operation is (call, return, kind, arguments, reply); one whose outcome nobody knows has no return and any reply. Kinds:
set, get, incr, cas, append; pset is a set, vcas a cas, exec a cas that does not mind a key that is not there. The
value is None or bytes.
Source: Wing & Gong (1993); Lowe, "Testing for linearizability" (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = object()  # the reply of an operation of which nobody knows whether it happened
NEVER = float("inf")


@dataclass(frozen=True)
class Call:
    client: str
    began: float
    ended: float  # NEVER: nobody knows
    kind: str
    arguments: tuple[bytes | None, ...]
    reply: Any

    def __str__(self) -> str:
        reply = "?" if self.reply is UNKNOWN else self.reply
        return f"[{self.began:.6f} {self.ended:.6f}] {self.client} {self.kind} {self.arguments} -> {reply}"


def step(value: bytes | None, call: Call) -> tuple[bytes | None, Any]:
    """The value afterwards, and the reply."""
    match call.kind:
        case "get":
            return value, value
        case "set" | "pset":
            return call.arguments[0], "OK"
        case "incr":
            number = int(value or b"0") + 1
            return b"%d" % number, number
        case "append":
            joined = (value or b"") + (call.arguments[0] or b"")
            return joined, len(joined)
        case "cas" | "vcas" | "exec":
            old, new = call.arguments
            if value is None and call.kind != "exec":
                return None, -1
            return (new, 1) if value == old else (value, 0)
    raise AssertionError(call.kind)


def violation(calls: Sequence[Call], start: bytes | None = None, tries_max: int = 2_000_000) -> str | None:
    """None if there is an order in which all of it makes sense; else a line about how far one gets."""
    calls = sorted(calls, key=lambda call: call.began)
    known = [call for call in calls if call.ended != NEVER]
    open_ones = [call for call in calls if call.ended == NEVER]  # each may have happened once, or not at all
    everything = (1 << len(known)) - 1
    seen: set[tuple[int, int, bytes | None]] = set()
    stack: list[tuple[int, int, bytes | None]] = [(0, 0, start)]
    best = 0
    while stack:
        place = stack.pop()
        done, used, value = place
        if done == everything:
            return None
        if place in seen:
            continue
        seen.add(place)
        if len(seen) > tries_max:
            raise RuntimeError("too hard to check: fewer clients or shorter histories")
        best = max(best, done, key=int.bit_count)
        # What began before the first end of what is left may come next; anything later may not.
        limit, next_ones = NEVER, []
        for at in range((~done & (done + 1)).bit_length() - 1, len(known)):
            call = known[at]
            if call.began > limit:
                break
            if not done >> at & 1:
                next_ones.append((at, call))
                limit = min(limit, call.ended)
        for at, call in enumerate(open_ones):  # below, so that they are tried last
            if call.began <= limit and not used >> at & 1:
                after, _ = step(value, call)
                if after != value:
                    stack.append((done, used | 1 << at, after))
        for at, call in reversed(next_ones):
            if call.began <= limit:
                after, reply = step(value, call)
                if call.reply == reply:
                    stack.append((done | 1 << at, used, after))
    stuck = [str(call) for at, call in enumerate(known) if not best >> at & 1]
    return f"{best.bit_count()} of {len(known)} fit; then nothing does: " + "; ".join(stuck[:8])
