"""What clients asked in one round, what they were told, and when: all that a judgement may be based on.

Outcomes: ok; refused (a definite error: nothing has happened, and the history relies on that); unknown (-INDETERMINATE,
a connection that broke, silence). Reads of unknown outcome say nothing and are left out.

Units: monotonic seconds. Pure. Not here: whether it makes sense (`judge`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.sim.cluster.linear import UNKNOWN, Call


@dataclass
class History:
    calls: dict[bytes, list[Call]] = field(default_factory=dict)  # of keys that everybody uses, in order of their end
    written: dict[bytes, bytes] = field(default_factory=dict)  # keys that are written once: acknowledged
    unsure: dict[bytes, bytes] = field(default_factory=dict)  # the same: written, perhaps
    refused: dict[bytes, bytes] = field(default_factory=dict)  # the same: not written
    tallies: dict[bytes, list[bytes]] = field(default_factory=dict)  # counter -> keys set together with a count
    outcomes: dict[str, int] = field(default_factory=dict)
    acknowledged_at: list[float] = field(default_factory=list)  # writes, in order
    findings: list[str] = field(default_factory=list)  # replies that should not exist

    def add(
        self, client: str, began: float, ended: float, kind: str, key: bytes, words: tuple[Any, ...], reply: Any
    ) -> None:
        """`reply` as `linear.step` says it, or UNKNOWN, which has no end."""
        if reply is UNKNOWN and kind == "get":
            return
        kind = "exec" if kind == "watched" else kind
        call = Call(client, began, ended, kind, words, reply)
        self.calls.setdefault(key, []).append(call)

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    @property
    def keys(self) -> list[bytes]:
        """All that may be there at the end."""
        tallies = [key for counter, marks in self.tallies.items() for key in (counter, *marks)]
        return sorted({*self.calls, *self.written, *self.unsure, *self.refused, *tallies})

    def longest_gap(self, began: float, ended: float) -> float:
        """The longest time in which no write was acknowledged."""
        times = [began, *[at for at in self.acknowledged_at if began < at < ended], ended]
        return max(after - before for before, after in zip(times, times[1:], strict=False))

    def lines(self) -> list[str]:
        """For whoever looks into a violation."""
        lines = [f"{key.decode()} {call}" for key, calls in sorted(self.calls.items()) for call in calls]
        lines += [f"{key.decode()} written {value.decode()}" for key, value in sorted(self.written.items())]
        lines += [f"{key.decode()} refused {value.decode()}" for key, value in sorted(self.refused.items())]
        lines += [f"{key.decode()} unsure {value.decode()}" for key, value in sorted(self.unsure.items())]
        return lines + [
            f"{key.decode()} with {b' '.join(marks).decode()}" for key, marks in sorted(self.tallies.items())
        ]
