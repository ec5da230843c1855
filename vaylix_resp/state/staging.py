"""Keys that are put aside until one entry makes all of them live: how a change larger than an entry is atomic.

Promises: nothing staged is seen by any request; publishing gives every key one and the same version, above any that a
key has ever had, and takes about 10 ms for 100,000 keys to merge and less than that to replace everything;
what is staged is part of the state: the same in a replay, in a snapshot and in the digest.
Instead of a version a staged item begins with a head that no version can be: a mark and the sequence of the entry that
began the staging. What version that means is known when it is published, and no item is touched then.
Not here: the entries' words (`commands.operations`), who proposes them (`engine.publication`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from .keyspace import Database
from .values import VERSION_BYTES

if TYPE_CHECKING:
    from .machine import World

MARK: Final = 1 << 63  # of a head that stands for a version to come; sequences stay below
INDEX_FROM: Final = 1000  # keys; fewer are taken into the scan order when they are published, in a millisecond
REWRITE_BYTES_MAX: Final = 1 << 20  # as few keys that are no larger get their version at once, and no head is left

Row = tuple[bytes, bytes, int | None, int]  # key, value, expiry in ms since the epoch or None, EX flags


class Staging:
    """What one publication has put aside so far. A database in it holds at least one key."""

    __slots__ = ("databases", "head")

    def __init__(self, sequence: int) -> None:
        self.head = MARK | sequence
        self.databases: dict[int, Database] = {}

    def put(self, number: int, rows: Iterable[Row]) -> None:
        """Keys of database `number`; the later of two rows of a key counts."""
        db = self.databases.get(number) or Database()
        items, head = db.items, self.head.to_bytes(VERSION_BYTES, "big")
        created: list[bytes] = []
        held = 0
        for key, value, at_ms, flags in rows:
            old = items.get(key)
            if old is None:
                created.append(key)
                held += len(key)
            else:
                held -= len(old)
            items[key] = head + value
            held += VERSION_BYTES + len(value)
            if at_ms is not None or db.expires:
                db.set_expiry(key, at_ms)
            if flags:
                db.flags[key] = flags
            elif db.flags:
                db.flags.pop(key, None)
        if not items:
            return
        assert db.held is not None
        db.held += held
        self.databases[number] = db
        self.index(db, created)

    def index(self, db: Database, created: Iterable[bytes]) -> None:
        """Take keys into the scan order as they come, if they are many."""
        if db.order:
            db.order.add(created)
        elif len(db.items) > INDEX_FROM:
            db.order.add(db.items)


def stage(world: World, name: bytes, number: int, rows: Iterable[Row]) -> None:
    """Put rows aside under the name of their publication."""
    staging = world.staged.get(name) or Staging(world.sequence)
    staging.put(number, rows)
    if staging.databases:
        world.staged[name] = staging


def unstage(world: World, name: bytes) -> None:
    """Throw away what is staged under a name, if anything is."""
    staging = world.staged.pop(name, None)
    if staging is not None:
        for db in staging.databases.values():
            world.throw_away(db)


def merge(world: World, name: bytes) -> int:
    """Make the staged keys live; what other keys there are stays. How many."""
    staging = world.staged.pop(name, None)
    if staging is None:
        return 0
    version = _new_version(world)
    total = 0
    for number, staged in sorted(staging.databases.items()):
        total += len(staged.items)
        if world.events is not None:
            world.events += [("g", "restore", key, number) for key in staged.items]
        _give_version(staged, staging.head, version)
        world.databases[number].absorb(staged)
        world.unsettled = True
        world.throw_away(staged)
        if world.touched is not None:
            world.touched.append((number, None))
    return total


def replace(world: World, name: bytes) -> int:
    """Make the staged keys live, and nothing else. How many."""
    staging = world.staged.pop(name, None)
    staged = staging.databases if staging is not None else {}
    world.deleted_version = max(world.deleted_version, world.top_version)
    version = _new_version(world)
    for number, live in enumerate(world.databases):
        if live.items:
            world.throw_away(live.clear())
        if number in staged and staging is not None:
            _give_version(staged[number], staging.head, version)
            live.absorb(staged[number])
        if world.touched is not None:
            world.touched.append((number, None))
    return sum(len(db.items) for db in world.databases)


def _new_version(world: World) -> int:
    """For very many keys at once, whatever versions they and others have had."""
    world.top_version = max(world.top_version + 1, world.sequence)
    return world.top_version


def _give_version(staged: Database, head: int, version: int) -> None:
    if not staged.order and sum(map(len, staged.items.values())) <= REWRITE_BYTES_MAX:
        raw = version.to_bytes(VERSION_BYTES, "big")
        for key, item in staged.items.items():
            staged.items[key] = raw + item[VERSION_BYTES:]
    else:
        staged.heads[head] = version
