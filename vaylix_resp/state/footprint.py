"""What a key costs in memory, as the interpreter and its allocator lay it out.

Promise: within a few bytes of what the process really gains per key; no answer takes longer with more keys.
Units: bytes.
"""

from __future__ import annotations

from sys import getsizeof
from typing import Final

from .keyspace import SCAN_BUCKETS, Database

_SMALL_MAX: Final = 512  # up to here pymalloc, above it the C library's malloc
_ALIGN: Final = 16
_MALLOC_HEAD: Final = 8
_INTEGER: Final = 32  # an int above 2^30, such as an expiry
_SHARE_OF_SLOT: Final = 8  # the wheel's set itself is shared by the keys of its second; this is a pointer's worth
_LIST: Final = getsizeof([])
_POINTER: Final = 8


def allocated(size: int) -> int:
    """What an object of `size` bytes takes from the allocator."""
    if size <= _SMALL_MAX:
        return (size + _ALIGN - 1) // _ALIGN * _ALIGN
    return (size + _MALLOC_HEAD + _ALIGN - 1) // _ALIGN * _ALIGN


def key_bytes(db: Database, key: bytes) -> int:
    """One key that is there: its two objects and its shares of the tables it stands in."""
    total = allocated(getsizeof(key)) + allocated(getsizeof(db.items[key])) + _share(db.items) + _scan_share(db)
    if key in db.expires:
        # The wheel's set keeps a hash and a pointer per key, in a table that is filled to three fifths at most.
        total += _INTEGER + _share(db.expires) + 2 * _POINTER * 5 // 3 + _SHARE_OF_SLOT
    if key in db.flags:
        total += _INTEGER + _share(db.flags)
    return total


def index_bytes(db: Database) -> tuple[int, int]:
    """(tables of the keys, tables of the expiries): everything but the keys, the values and the expiries themselves."""
    keys, expiring = len(db.items), len(db.expires)
    main = getsizeof(db.items) + keys * _scan_share(db) if keys else 0
    return main, (expiring * (_share(db.expires) + 2 * _POINTER * 5 // 3 + _SHARE_OF_SLOT) if expiring else 0)


def _share(table: dict[bytes, object] | dict[bytes, int] | dict[bytes, bytes]) -> int:
    """One entry's part of a dictionary."""
    return getsizeof(table) // max(len(table), 1)


def _scan_share(db: Database) -> int:
    """One key's part of the scan order: its pointer, and its part of the bucket's list."""
    per_bucket = max(1, len(db.items) // SCAN_BUCKETS)
    return (allocated(_LIST) + allocated(4 * _POINTER)) // per_bucket + _POINTER
