"""The whole state as a sequence of plain objects, and back: what a snapshot holds.

Promise: `load` of everything that `dump` yields makes an equal state machine, with as many databases. Each object is
small enough to be handled in one go (about a thousand keys or a few MiB). Not here: files (`storage.snapshot`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from . import versions
from .keyspace import Database
from .machine import StateMachine
from .staging import MARK, Staging

META, ITEMS, EXPIRES, FLAGS = 1, 2, 3, 4
STAGED, STAGED_EXPIRES, STAGED_FLAGS = 5, 6, 7  # the same of keys that are put aside
ACCOUNTS = 8  # users and roles; absent until one of them has been changed
MAINTENANCE = 9  # absent while it is off
AUDIT_HEADS = 10  # absent until one has been committed
NODES = 11  # absent on a node that has never been in a cluster
VERSION = 12  # of the cluster, in force; absent in the first
DIFFERING = 13  # nodes whose data differs; absent while there is none
# What is no key, by its name in logical backups. Not the nodes: what is restored is not a member of their cluster.
PARTS: Final = {
    VERSION: "cluster_version", ACCOUNTS: "accounts", MAINTENANCE: "maintenance", AUDIT_HEADS: "audit_heads"
}  # fmt: skip
CHUNK_KEYS: Final = 1000
CHUNK_BYTES: Final = 4 << 20  # values in a chunk; a single larger value makes a chunk of its own


def dump(machine: StateMachine) -> Iterator[tuple[int, list[Any]]]:
    """(kind, object) in the order in which they have to be loaded. The machine must not change meanwhile."""
    world = machine.world
    yield META, [machine.applied, machine.time_ms, world.top_version, world.deleted_version, len(world.databases)]
    yield from dump_parts(machine)
    if world.nodes.cluster_id:
        yield NODES, world.nodes.dump()
    if world.nodes.differing:
        yield DIFFERING, world.nodes.dump_differing()
    for number, db in enumerate(world.databases):
        yield from _database(db, (ITEMS, EXPIRES, FLAGS), [number])
    for name, staging in world.staged.items():
        for number, db in staging.databases.items():
            place = [number, name, staging.head ^ MARK]
            yield from _database(db, (STAGED, STAGED_EXPIRES, STAGED_FLAGS), place)


def dump_parts(machine: StateMachine) -> Iterator[tuple[int, list[Any]]]:
    """Those of `dump` that are no keys: one object for each kind of PARTS that is there. The version is the first:
    whoever does not understand it must not look at the rest."""
    world = machine.world
    if world.cluster_version > versions.FIRST:
        yield VERSION, versions.dump(world)
    if world.accounts.version:
        yield ACCOUNTS, world.accounts.dump()
    if world.maintenance.on:
        yield MAINTENANCE, world.maintenance.dump()
    if world.audit_heads.nodes:
        yield AUDIT_HEADS, world.audit_heads.dump()


def _database(db: Database, kinds: tuple[int, int, int], place: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    for keys, items in _chunks(db):
        yield kinds[0], [*place, keys, items]
    for kind, table in ((kinds[1], db.expires), (kinds[2], db.flags)):
        for keys, numbers in _numbers(table):
            yield kind, [*place, keys, numbers]


def _chunks(db: Database) -> Iterator[tuple[list[bytes], list[bytes]]]:
    keys: list[bytes] = []
    values: list[bytes] = []
    size = 0
    for key, item in db.items.items():
        item = db.current(item)  # its version as it counts: a database is loaded without a floor
        keys.append(key)
        values.append(item)
        size += len(key) + len(item)
        if len(keys) >= CHUNK_KEYS or size >= CHUNK_BYTES:
            yield keys, values
            keys, values, size = [], [], 0
    if keys:
        yield keys, values


def _numbers(table: dict[bytes, int]) -> Iterator[tuple[list[bytes], list[int]]]:
    """As `_chunks`: a client may give keys names as long as values."""
    keys: list[bytes] = []
    size = 0
    for key in table:
        keys.append(key)
        size += len(key)
        if len(keys) >= CHUNK_KEYS or size >= CHUNK_BYTES:
            yield keys, [table[k] for k in keys]
            keys, size = [], 0
    if keys:
        yield keys, [table[k] for k in keys]


class TooFewDatabases(ValueError):
    """The state has `needed` databases, the machine may have fewer."""

    def __init__(self, needed: int, allowed: int) -> None:
        super().__init__(f"the data has {needed} databases, `databases` allows {allowed}")
        self.needed, self.allowed = needed, allowed


def load(machine: StateMachine, kind: int, obj: list[Any]) -> None:
    """One object of `dump`, into a machine that has been empty before the first.

    RuleError if a user has a right that this version does not know, TooNew if all of it is of a newer one.
    """
    world = machine.world
    if kind == META:
        applied, time_ms, world.top_version, world.deleted_version, databases = obj
        if databases > len(world.databases):
            raise TooFewDatabases(databases, len(world.databases))
        machine.resize(databases)
        machine.seek(applied, time_ms)
        return
    if kind == VERSION:
        versions.load(world, obj)
        return
    if kind == ACCOUNTS:
        world.accounts.load(obj)
        return
    if kind == MAINTENANCE:
        world.maintenance.load(obj)
        return
    if kind == AUDIT_HEADS:
        world.audit_heads.load(obj)
        return
    if kind == NODES:
        world.nodes.load(obj)
        return
    if kind == DIFFERING:
        world.nodes.load_differing(obj)
        return
    number, *staged, keys, values = obj
    if kind in (STAGED, STAGED_EXPIRES, STAGED_FLAGS):
        name, sequence = staged
        staging = world.staged.setdefault(name, Staging(sequence))
        db = staging.databases.setdefault(number, Database())
    else:
        db = world.databases[number]
    if kind == ITEMS:
        db.items.update(zip(keys, values, strict=True))
        db.order.add(keys)
    elif kind == STAGED:
        db.items.update(zip(keys, values, strict=True))
        assert db.held is not None
        db.held += sum(map(len, keys)) + sum(map(len, values))
        staging.index(db, keys)
    elif kind in (EXPIRES, STAGED_EXPIRES):
        for key, at_ms in zip(keys, values, strict=True):
            db.set_expiry(key, at_ms)
    else:
        assert kind in (FLAGS, STAGED_FLAGS), kind
        db.flags.update(zip(keys, values, strict=True))
