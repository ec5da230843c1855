"""Is the target what the source is? Every key's value and expiry, and that there is nothing else.

Promise: `full` reads every value on both sides; `sample` every key's name and a hundredth of the values, chosen by the
name, so that a second run looks at the same ones. Keys that have expired by now are not there, on either side.
Units: milliseconds since the epoch. Not here: what is done about a difference.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import hiredis

from ...errors import printable
from ...limits import KIB, MIB, VALUE_BYTES_MAX
from .channel import Channel, Denied, sizes
from .meaning import MARK_KEY, PART_KEY, deadline

SAMPLE: Final = 100  # one in so many
SHOWN_MAX: Final = 10  # differences that are named
PAGE: Final = 500  # keys in one step
PAGE_BYTES: Final = 64 * KIB  # of their names: what the sockets hold while the other side answers
VALUES_BYTES: Final = 8 * MIB  # of a page of a file: bounds the memory
OWN: Final = frozenset((MARK_KEY, PART_KEY))
# A source that knows no PEXPIRETIME (before Redis 7) says how long a key still lives, and the reply takes its time.
TOLERANCE_MS: Final = 2000
NO_KEY, NO_EXPIRY = -2, -1


class Held(NamedTuple):
    """What one side has under a name. `value` None: nothing, or (`kind`) nothing that could be kept."""

    value: bytes | None
    expire_at_ms: int | None = None
    kind: str = ""


ABSENT: Final = Held(None)


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


class Side:
    """One server to compare, over a connection of its own."""

    def __init__(self, channel: Channel, now_ms: Callable[[], int]) -> None:
        self.channel, self._now_ms = channel, now_ms
        answer = channel.ask(b"PEXPIRETIME", MARK_KEY)
        self.exact = not isinstance(answer, hiredis.ReplyError)

    def read(self, db: int, names: Sequence[bytes]) -> Iterator[Held]:
        """What it has under these names, one after the other; an expiry that is shifted as it will be.

        The connection is not free for anything else before the last one has come.
        """
        self.channel.select(db)
        ask = b"PEXPIRETIME" if self.exact else b"PTTL"
        self.channel.send([words for name in names for words in ((b"GET", name), (ask, name))])
        for _ in names:
            value, left = self.channel.reply(), self.channel.reply()
            yield self._held(value, left, self._now_ms())

    def _held(self, value: Any, left: Any, now_ms: int) -> Held:
        if isinstance(value, hiredis.ReplyError):
            if str(value).startswith("WRONGTYPE"):
                return Held(None, None, "no string")
            raise Denied(f"GET is refused: {value}")
        if isinstance(left, hiredis.ReplyError):
            raise Denied(f"PTTL or PEXPIRETIME is refused: {left}")
        if value is None or left == NO_KEY:
            return ABSENT
        if len(value) > VALUE_BYTES_MAX:
            return Held(None, None, "too long")
        if left == NO_EXPIRY:
            return Held(value)
        at_ms = deadline(left) if self.exact else left + now_ms
        return Held(value, at_ms) if at_ms > now_ms else ABSENT

    def pages(self, db: int, cursor: int = 0, count: int = PAGE) -> Iterator[tuple[int, list[bytes]]]:
        """Cursor and names, without our own; the last cursor is 0."""
        while True:
            self.channel.select(db)
            page = self.channel.ask(b"SCAN", b"%d" % cursor, b"COUNT", b"%d" % count)
            if isinstance(page, hiredis.ReplyError):
                raise Denied(f"SCAN is refused: {page}")
            cursor = int(page[0])
            yield cursor, [name for name in page[1] if name not in OWN]
            if not cursor:
                return

    def sizes(self) -> dict[int, int]:
        return sizes(self.channel)


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
                found = unequal(source, target, db, portion)
                # One may have expired between the two reads: looked at again it is gone on both sides.
                yield from unequal(source, target, db, [one.name for one in found])
            said(verdict.keys)
        if others:
            for _, names in target.pages(db):
                for portion in portions(names):
                    source.channel.select(db)
                    types = source.channel.all([(b"TYPE", name) for name in portion])
                    alone = [name for name, kind in zip(portion, types, strict=True) if kind != b"string"]
                    yield from unequal(source, target, db, alone)


def unequal(source: Side, target: Side, db: int, names: Sequence[bytes]) -> list[Difference]:
    """Those among these keys that are not the same."""
    tolerance_ms = 0 if source.exact else TOLERANCE_MS
    if not names:
        return []
    return [
        Difference(db, name, how(one, other), other.value is None)
        for name, one, other in zip(names, source.read(db, names), target.read(db, names), strict=True)
        if not same(one, other, tolerance_ms)
    ]


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
