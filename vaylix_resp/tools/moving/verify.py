"""Is the target what the source is? Every key's value and expiry, and that there is nothing else.

Promise: `full` reads every value on both sides; `sample` every key's name and a hundredth of the values, chosen by the
name, so that a second run looks at the same ones. Keys that have expired by now are not there, on either side.
Units: milliseconds since the epoch. Not here: what is done about a difference.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ...errors import printable
from ...limits import KIB, MIB
from .side import ABSENT, PAGE, Held, Side

SAMPLE: Final = 100  # one in so many
SHOWN_MAX: Final = 10  # differences that are named
PAGE_BYTES: Final = 64 * KIB  # of their names: what the sockets hold while the other side answers
VALUES_BYTES: Final = 8 * MIB  # of a page of a file: bounds the memory
# A source that knows no PEXPIRETIME (before Redis 7) says how long a key still lives, and the reply takes its time.
TOLERANCE_MS: Final = 2000


@dataclass(slots=True)
class Verdict:
    """How many keys were compared, and what differs. `moving`: what was written too often to be compared."""

    keys: int = 0
    values: int = 0
    differences: int = 0
    moving: int = 0
    shown: list[str] = field(default_factory=list)

    def differs(self, db: int, name: bytes, how: str) -> None:
        self.differences += 1
        if len(self.shown) < SHOWN_MAX:
            self.shown.append(f"database {db}, key '{printable(name, 60)}': {how}")


def same(one: Held, other: Held, tolerance_ms: int) -> bool:
    if one.value != other.value:
        return False
    if one.expire_at_ms is None or other.expire_at_ms is None:
        return one.expire_at_ms == other.expire_at_ms
    return abs(one.expire_at_ms - other.expire_at_ms) <= tolerance_ms


def how(source: Held, target: Held) -> str:
    """In words."""
    if source.value is None:
        return "is not at the source" if not source.kind else f"is {source.kind} at the source"
    if target.value is None:
        return "is not at the target"
    if source.value != target.value:
        return f"its value differs ({len(source.value)} and {len(target.value)} bytes)"
    return f"expires at {source.expire_at_ms} at the source, at {target.expire_at_ms} at the target"


def portions(names: Sequence[bytes]) -> Iterator[list[bytes]]:
    """So many that requests for them fit into the sockets."""
    portion: list[bytes] = []
    size = 0
    for name in names:
        if portion and size + len(name) > PAGE_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(name)
        size += len(name) + 64
    if portion:
        yield portion


def chosen(names: Sequence[bytes], sample: bool) -> list[bytes]:
    return [name for name in names if zlib.crc32(name) % SAMPLE == 0] if sample else list(names)


class Difference(NamedTuple):
    """`how` in words; `missing`: the target has no such key."""

    db: int
    name: bytes
    how: str
    missing: bool


def differences(
    source: Side, target: Side, databases: Sequence[int], *, sample: bool, others: bool, verdict: Verdict,
    said: Callable[[int], None],
) -> Iterator[Difference]:  # fmt: skip
    """All keys that are not the same on two servers. `others`: also what only the target has.

    Between two of them both connections are free.
    """
    for db in databases:
        for _, names in source.pages(db):
            verdict.keys += len(names)
            for portion in portions(chosen(names, sample)):
                verdict.values += len(portion)
                again: list[bytes] = []  # one may have expired between the two reads, and then be gone on both sides
                for name, one, other in _both(source, target, db, portion):
                    if not same(one, other, _tolerance_ms(source)):
                        again.append(name)
                    elif one.kind:  # what cannot be kept, and is not there
                        verdict.keys -= 1
                        verdict.values -= 1
                yield from unequal(source, target, db, again)
            said(verdict.keys)
        if others:
            known: set[bytes] = set()  # they are few, and their names may come twice
            for _, names in target.pages(db, anew=True):
                for portion in portions(names):
                    types = source.types(db, portion)
                    alone = [name for name, kind in zip(portion, types, strict=True) if kind != "string"]
                    yield from unequal(source, target, db, [name for name in alone if name not in known])
                    known.update(alone)


def unequal(source: Side, target: Side, db: int, names: Sequence[bytes]) -> list[Difference]:
    """Those among these keys that are not the same."""
    return [
        Difference(db, name, how(one, other), other.value is None)
        for name, one, other in _both(source, target, db, names)
        if not same(one, other, _tolerance_ms(source))
    ]


def _both(source: Side, target: Side, db: int, names: Sequence[bytes]) -> Iterator[tuple[bytes, Held, Held]]:
    return zip(names, source.read(db, names), target.read(db, names), strict=True)


def _tolerance_ms(source: Side) -> int:
    return 0 if source.exact else TOLERANCE_MS


class Against:
    """Keys of a file, a page at a time, against the target. `presence`: only whether they are there."""

    def __init__(
        self, target: Side, verdict: Verdict, *, sample: bool, presence: bool, now_ms: Callable[[], int]
    ) -> None:
        self._target, self._verdict, self._now_ms = target, verdict, now_ms
        self._sample, self._presence = sample, presence
        self._page: list[tuple[bytes, Held]] = []
        self._bytes = self._db = 0

    def key(self, db: int, name: bytes, value: bytes, expire_at_ms: int | None) -> None:
        if self._sample and zlib.crc32(name) % SAMPLE:
            return
        if db != self._db or self._bytes > VALUES_BYTES or len(self._page) >= PAGE:
            self.flush()
        self._db = db
        self._page.append((name, Held(value, expire_at_ms)))
        self._bytes += len(value) + len(name)

    def flush(self) -> None:
        page, self._page, self._bytes = self._page, [], 0
        held = dict(page)  # of a name that stands twice the later one
        for portion in portions(list(held)):
            for name, other in zip(portion, self._target.read(self._db, portion), strict=True):
                one = held[name]
                self._verdict.values += 1
                expired = one.expire_at_ms is not None and one.expire_at_ms <= self._now_ms()
                if other.value is None and expired:
                    continue
                if expired and not self._presence:
                    one = ABSENT
                if other.value is None or not (self._presence or same(one, other, 0)):
                    self._verdict.differs(self._db, name, how(one, other))
