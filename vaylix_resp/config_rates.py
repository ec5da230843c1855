"""The kind of `user-limit`: how much the connections of a user may ask for.

A line is a subject and pairs: `alice requests 100 burst 200 bytes 1mb connections 10`. The subject is a user,
`role:<name>` or `*`. A later line of the same source for the same subject takes the earlier one's place.
Not here: what the rates do (`security.limits`), other kinds (`config_values`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vaylix_resp.config_values import INT32_MAX, BadValue, Integer, Memory, size_text
from vaylix_resp.config_words import Words

ROWS_MAX = 1024  # subjects with limits of their own


@dataclass(frozen=True, slots=True)
class Rates:
    """What one subject may do; 0 is no limit. `burst`: requests at once after a pause, 0: as many as in a second."""

    requests: int = 0
    burst: int = 0
    bytes: int = 0
    connections: int = 0

    def __or__(self, other: Rates) -> Rates:
        """Of each the larger one; no limit is the largest."""
        return Rates(
            _larger(self.requests, other.requests),
            max(self.burst or self.requests, other.burst or other.requests),
            _larger(self.bytes, other.bytes),
            _larger(self.connections, other.connections),
        )


def _larger(one: int, other: int) -> int:
    return max(one, other) if one and other else 0


class Row(NamedTuple):
    """`user-limit`: rates of a user, of whoever has a role, or of everybody without a row."""

    subject: str  # "alice", "role:batch", "*"
    rates: Rates


_COUNT = Integer(1, INT32_MAX)
_PAIRS = {"requests": _COUNT, "burst": _COUNT, "bytes": Memory(1, INT32_MAX), "connections": _COUNT}


@dataclass(frozen=True, slots=True)
class UserLimits(Words[tuple[Row, ...]]):
    """Rows of `user-limit`; `""` means none."""

    def parse(self, words: Sequence[str], base: tuple[Row, ...], again: bool) -> tuple[Row, ...]:
        rows = {row.subject: row for row in base} if again else {}
        at, given = 0, [] if list(words) == [""] else list(words)
        if not given:
            return ()
        while at < len(given):
            subject, pairs = given[at], {}
            at += 1
            while at < len(given) and given[at].lower() in _PAIRS:
                name = given[at].lower()
                if at + 1 == len(given) or name in pairs:
                    raise BadValue(f"'{name}' needs one value for each subject")
                pairs[name] = _PAIRS[name].parse_word(given[at + 1])
                at += 2
            if not pairs.keys() - {"burst"} or ("burst" in pairs and "requests" not in pairs):
                raise BadValue("each subject needs requests, bytes or connections; burst needs requests")
            if not subject or any(c.isspace() or not c.isprintable() for c in subject):
                raise BadValue("a subject is a user, role:<name> or *")
            rows[subject] = Row(subject, Rates(**pairs))
        if len(rows) > ROWS_MAX:
            raise BadValue(f"at most {ROWS_MAX} subjects are possible")
        return tuple(rows.values())

    def lines(self, value: tuple[Row, ...]) -> list[list[str]]:
        return [_words(row) for row in value] or [[""]]

    def render(self, value: tuple[Row, ...]) -> str:
        return " ".join(" ".join(_words(row)) for row in value)

    def describe(self) -> str:
        return (
            '"<user|role:name|*> [requests <n>] [burst <n>] [bytes <size>] [connections <n>]", '
            'such as "alice requests 100 burst 200 bytes 1mb connections 10"'
        )


def _words(row: Row) -> list[str]:
    rates = row.rates
    pairs = {
        "requests": str(rates.requests or ""),
        "burst": str(rates.burst or ""),
        "bytes": size_text(rates.bytes) if rates.bytes else "",
        "connections": str(rates.connections or ""),
    }
    return [row.subject, *(word for name, number in pairs.items() if number for word in (name, number))]
