"""A part of the state as it was at one entry: taken at once, digested later and step by step, to be compared by nodes.

A slice is keys of one database, or users and roles, by names that somebody has chosen: so it does not matter in which
order a node happens to hold them. Beside them every slice covers what is small: the counters from which versions
follow, how many keys each database has, what is staged, members, maintenance, audit heads, the cluster's version. A
key that only one node has shows in its number of keys; one that only the others have, in theirs.
Promises: equal states have equal digests, however they came about, in every process; every byte of a value, its
version, its expiry and its flags count. `take` and each `step` cost a fraction of a millisecond, whatever the values'
sizes: an item is immutable, so whoever holds it has it as it was.
Units: bytes. Not here: protection against somebody who forges a state (as `digest`); when slices are compared
(`engine.replication.digesting`). Not covered by name, only by their number: names longer than NAME_BYTES_MAX (of users
USER_NAME_BYTES_MAX), and what is staged, which is covered as soon as it is live.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import repeat, zip_longest
from struct import Struct
from typing import Final, NamedTuple

from xxhash import xxh3_128

from ..limits import KIB, MIB
from . import versions
from .keyspace import Database
from .machine import World
from .values import VERSION_BYTES, Item

SLICE_KEYS: Final = 500  # and up to as many again, which shared a bucket: under a millisecond on a busy machine
SLICE_USERS: Final = 20  # digested in one go: about as long
SLICE_NAMES_BYTES: Final = 128 * KIB  # of all names together: they travel to every node
SLICE_VALUES_BYTES: Final = 16 * MIB  # of all values together, but for one: they are held until they are digested
NAME_BYTES_MAX: Final = 64 * KIB
USER_NAME_BYTES_MAX: Final = 4 * KIB
STEP_KEYS: Final = 250
STEP_BYTES: Final = MIB  # a tenth of a millisecond
_ROW: Final = Struct(">IQqQ")  # bytes of the key, of its item (0: there is none), expiry (0: none), flags
assert NAME_BYTES_MAX <= SLICE_NAMES_BYTES >= SLICE_USERS * USER_NAME_BYTES_MAX, "names fit a slice"

Row = tuple[bytes, Item | None, int | None, int | None]  # key, item, expiry, flags


class SliceKind(IntEnum):
    """What a kind covers never changes: if it has to, that is another kind, which older nodes do not answer."""

    KEYS = 1  # of one database
    USERS = 2  # and roles, by `Accounts.names`


class Question(NamedTuple):
    """What a slice is of; `db` means nothing with USERS."""

    kind: SliceKind
    db: int
    names: tuple[bytes, ...]

    @property
    def subject(self) -> str:
        return f"keys of database {self.db}" if self.kind is SliceKind.KEYS else "users and roles"


class Slice:
    """What has been taken: `step` until that is True, then `digest`."""

    __slots__ = ("_hash", "_pieces")

    def __init__(self, head: bytes, pieces: Iterator[bytes | memoryview]) -> None:
        self._hash = xxh3_128(head)
        self._pieces = pieces

    def step(self) -> bool:
        """Digest a bit more; whether that was all."""
        piece = next(self._pieces, None)
        if piece is None:
            return True
        self._hash.update(piece)
        return False

    @property
    def digest(self) -> bytes:
        return self._hash.digest()


def take(world: World, question: Question) -> Slice:
    """As the state is now: called while the entry is applied that asks for it."""
    if question.kind is SliceKind.USERS:
        return Slice(_head(world), iter((world.accounts.part_input(question.names),)))
    db = world.databases[question.db] if question.db < len(world.databases) else Database()
    return Slice(_head(world), _pieces(_rows(db, question.names), _versions(db)))


def _head(world: World) -> bytes:
    """What every slice covers. (Not how many databases there are: that of those which are empty is a node's own.)"""
    accounts = world.accounts
    counters = (
        world.sequence, world.now_ms, world.top_version, world.deleted_version, accounts.version, len(accounts.users),
        len(accounts.roles),
    )  # fmt: skip
    words = [b"%d," % counter for counter in counters]
    words += [b"db%d:%b" % (number, _sizes(db)) for number, db in enumerate(world.databases) if db.items]
    for name, staging in sorted(world.staged.items()):
        words.append(b"staged%d:%b" % (len(name), name))
        words += [b"db%d:%b" % (number, _sizes(db)) for number, db in sorted(staging.databases.items())]
    parts = world.maintenance, world.audit_heads, world.nodes
    words += [versions.digest_input(world), *(part.digest_input() for part in parts)]
    return b"".join(words)


def _sizes(db: Database) -> bytes:
    return b"%d,%d,%d;" % (len(db.items), len(db.expires), len(db.flags))


def _rows(db: Database, names: Sequence[bytes]) -> Iterator[Row]:
    found = list(map(db.items.get, names))
    expiries = list(map(db.expires.get, names)) if db.expires else ()
    marks = list(map(db.flags.get, names)) if db.flags else ()
    return zip_longest(names, found, expiries, marks)


def _versions(db: Database) -> Database:
    """What makes versions of the heads of its items, as it is now."""
    kept = Database()
    kept.floor, kept.heads = db.floor, dict(db.heads)
    return kept


def _pieces(rows: Iterator[Row], versions: Database) -> Iterator[bytes | memoryview]:
    """What a digest of these keys covers, in pieces that take about the same time."""
    piece: list[bytes] = []
    size = 0
    for key, item, expiry, flags in rows:
        piece.append(_ROW.pack(len(key), 0 if item is None else len(item), expiry or 0, flags or 0))
        piece.append(key)
        value: bytes | memoryview = item or b""
        if versions.floor and item is not None:
            piece.append(versions.version(item).to_bytes(VERSION_BYTES, "big"))
            value = memoryview(item)[VERSION_BYTES:]
        size += len(key) + len(value)
        if len(value) <= STEP_BYTES:
            piece.append(value)  # type: ignore[arg-type]  # join takes both
            if size < STEP_BYTES and len(piece) < 3 * STEP_KEYS:
                continue
            value = b""
        yield b"".join(piece)
        piece, size = [], 0
        for at in range(0, len(value), STEP_BYTES):
            yield memoryview(value)[at : at + STEP_BYTES]
    if piece:
        yield b"".join(piece)


class Walk:
    """Questions, one after the other, until all of a state has been asked for; then from the start. Of one node: its
    order is its own, as nobody else has to know it."""

    __slots__ = ("_at", "_cursor", "_left", "rounds")

    def __init__(self) -> None:
        self.rounds = 0  # how often all has been asked for
        self._at = 0  # the database; behind the last: users
        self._cursor = 0  # within it
        self._left: list[bytes] = []  # names of what was scanned last that did not fit

    def next(self, world: World) -> Question:
        while self._at < len(world.databases):
            number = self._at
            db = world.databases[number]
            if not (self._left or db.items):
                self._at, self._cursor = number + 1, 0
                continue
            names = tuple(self._keys(db))
            if not (self._left or self._cursor):
                self._at += 1
            if names:
                return Question(SliceKind.KEYS, number, names)
        names, self._cursor = world.accounts.names(self._cursor, SLICE_USERS)
        if not self._cursor:
            self._at = 0
            self.rounds += 1
        return Question(SliceKind.USERS, 0, tuple(name for name in names if len(name) <= USER_NAME_BYTES_MAX))

    def _keys(self, db: Database) -> list[bytes]:
        """The next names that fit a slice: at least one, unless all are too long or there are none."""
        if not self._left:
            self._cursor, self._left = db.scan(self._cursor, SLICE_KEYS)
            if not self._left:
                return []
        chosen = self._left[: -2 * SLICE_KEYS - 1 : -1]
        sizes = list(map(len, map(db.items.get, chosen, repeat(b""))))
        lengths = list(map(len, chosen))
        fine = sum(lengths) <= SLICE_NAMES_BYTES and sum(sizes) <= SLICE_VALUES_BYTES and max(lengths) <= NAME_BYTES_MAX
        if not fine:
            return self._fitting(list(zip(chosen, lengths, sizes, strict=True)))
        del self._left[-len(chosen) :]
        return chosen

    def _fitting(self, rows: list[tuple[bytes, int, int]]) -> list[bytes]:
        chosen: list[bytes] = []
        names = values = 0
        for key, length, size in rows:
            if length <= NAME_BYTES_MAX:
                names += length
                values += size
                if chosen and (names > SLICE_NAMES_BYTES or values > SLICE_VALUES_BYTES):
                    break
                chosen.append(key)
            self._left.pop()
        return chosen
