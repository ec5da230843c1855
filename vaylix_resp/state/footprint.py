"""What a key costs in memory, as the interpreter and its allocator lay it out, and what all keys cost together.

Promise: `key_bytes` is within a few per cent of what the process really gains per key (measured: 20 thousand to a
million keys, with and without expiry); no answer takes longer with more keys. `data_bytes` depends on nothing but the
keys that are there, so it falls at once when they go, and nodes that hold the same have the same; the interpreter
gives memory back later, and its tables take between two thirds and four thirds of the share that stands for them here.
Knows the insides of `keyspace.Database`, by design. Units: bytes.
"""

from __future__ import annotations

from collections.abc import Sized
from math import exp
from sys import getsizeof
from typing import Final

from .keyspace import Database
from .machine import World
from .scan_order import SCAN_BUCKETS

_SMALL_MAX: Final = 512  # up to here pymalloc, above it the C library's malloc
_ALIGN: Final = 16
_MALLOC_HEAD: Final = 8
_POINTER: Final = 8
_INTEGER: Final = 32  # an int above 2^30, such as an expiry
_ENTRY: Final = 100  # of a dictionary whose load is unknown, and the number that is its key
_TABLE_SHARE: Final = 45  # of an entry of a large dictionary: 30 when it is full, 60 after it has grown
_OBJECTS: Final = 2 * (getsizeof(b"") + _ALIGN // 2)  # what name and item take besides their bytes, rounded up
_KEY: Final = _OBJECTS + _TABLE_SHARE
_EXPIRY: Final = _INTEGER + _TABLE_SHARE + 75  # the last of it in the wheel, where few keys share a second
_FLAGS: Final = _INTEGER + _TABLE_SHARE
_TABLE_MIN: Final = 5  # entries that the smallest dictionary holds: its first key does not pay for all of it


def allocated(size: int) -> int:
    """What an object of `size` bytes takes from the allocator."""
    head = 0 if size <= _SMALL_MAX else _MALLOC_HEAD
    return (size + head + _ALIGN - 1) // _ALIGN * _ALIGN


_BUCKET: Final = allocated(getsizeof([])) + allocated(4 * _POINTER)  # a list with room for its first four entries


def key_bytes(db: Database, key: bytes) -> int:
    """One key that is there: its two objects and its shares of the tables it stands in."""
    total = allocated(getsizeof(key)) + allocated(getsizeof(db.items[key])) + _share(db.items) + _scan_share(db)
    at_ms = db.expires.get(key)
    if at_ms is not None:
        together = db.wheel.keys_beside(at_ms)
        total += _INTEGER + _share(db.expires) + (getsizeof(together) + _ENTRY) // len(together)
    if key in db.flags:
        total += _INTEGER + _share(db.flags)
    return total


def data_bytes(world: World) -> int:
    """All keys, staged ones among them, and what is kept beside them. The databases must be weighed."""
    total = 0
    for db in world.databases:
        if db.items:
            total += _database_bytes(db)
    for staging in world.staged.values():
        total += sum(map(_database_bytes, staging.databases.values()))
    return total


def _database_bytes(db: Database) -> int:
    assert db.held is not None, "it is weighed"
    keys = len(db.items)
    return (
        db.held + keys * _KEY + int(keys * _scan_share(db)) + len(db.expires) * _EXPIRY + len(db.flags) * _FLAGS
        + len(db.uses) * _TABLE_SHARE
    )  # fmt: skip


def freed_bytes(db: Database, key: bytes) -> int:
    """By how much `data_bytes` falls at least when a key that is there goes."""
    total = len(key) + len(db.items[key]) + _KEY
    return total + _EXPIRY if key in db.expires else total


def index_bytes(db: Database) -> tuple[int, int]:
    """(tables of the keys, tables of the expiries): what there is beside the keys, the values and the times."""
    main = getsizeof(db.items) + int(len(db.items) * _scan_share(db)) if db.items else 0
    slots = len(db.wheel.slots)
    if not slots:  # no expiries, or all of them in wheels that were taken in just now
        return main, getsizeof(db.expires) if db.expires else 0
    # One slot stands for all; they differ only when expiries come in bursts.
    some = next(iter(db.wheel.slots.values()))
    wheel = getsizeof(some) * len(db.expires) // len(some) + slots * _ENTRY
    return main, getsizeof(db.expires) + wheel


def _share(table: Sized) -> int:
    """One entry's part of a dictionary."""
    return getsizeof(table) // max(len(table), _TABLE_MIN)


def _scan_share(db: Database) -> int:
    """One key's part of the scan order: its pointer, and its part of the buckets that this many keys occupy."""
    keys = len(db.items)
    occupied = SCAN_BUCKETS * (1 - exp(-keys / SCAN_BUCKETS))
    return int(_BUCKET * occupied / max(keys, 1)) + _POINTER
