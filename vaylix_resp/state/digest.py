"""A digest of the state that does not depend on the order of keys: do two machines hold the same?

The XXH3-128 of each key with everything that belongs to it (database, type, version, value, expiry, EX flags), summed
modulo 2^128. Equal states have equal digests on every build and in every process; versions are part of the state,
so two histories that end in equal values still differ.
Not here: protection against somebody who forges a state (XXH3 is no cryptographic hash; snapshots are sealed).
"""

from __future__ import annotations

from typing import Final

from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from . import versions
from .keyspace import Database
from .machine import StateMachine, World

NOTHING: Final = "0" * 40  # of a key that does not exist, and of a world without keys
_STRING: Final = b"s"  # the type, the only one so far
_MODULUS: Final = 1 << 128
_NO_EXPIRY_NO_FLAGS: Final = bytes(16)


def key_digest(db: Database, number: int, key: bytes) -> int:
    """Of one key that is there, by whatever the database `number` knows of it."""
    item = db.current(db.items[key])
    return xxh3_128_intdigest(_head(number) + _aside(db, key) + len(key).to_bytes(4, "big") + key + item)


def database_digest(db: Database, number: int) -> int:
    head = _head(number)
    plain = head + _NO_EXPIRY_NO_FLAGS
    if not (db.expires or db.flags or db.floor):
        total = sum(
            [xxh3_128_intdigest(b"%b%b%b%b" % (plain, len(k).to_bytes(4, "big"), k, v)) for k, v in db.items.items()]
        )
    else:
        total = sum([key_digest(db, number, key) for key in db.items])
    return total % _MODULUS


def keys_digest_hex(world: World) -> str:
    """Of all keys of all databases: their number modulo 2^32, then the sum; 40 digits, as Redis's DEBUG DIGEST."""
    total = sum(database_digest(db, number) for number, db in enumerate(world.databases)) % _MODULUS
    count = sum(len(db.items) for db in world.databases) & 0xFFFFFFFF
    return f"{count:08x}{total:032x}"


def digest_hex(machine: StateMachine) -> str:
    """Of the whole machine: all that is not a key as well, and the counters later versions follow from; 40 digits."""
    world = machine.world
    keys = keys_digest_hex(world)
    counters = (machine.applied, machine.time_ms, world.top_version, world.deleted_version)
    numbers = b"".join(n.to_bytes(16, "big") for n in counters)
    mixed = xxh3_64_intdigest(numbers + keys.encode() + _staged(world) + parts_input(world)) & 0xFFFFFFFF
    return f"{mixed:08x}{keys[8:]}"


def parts_input(world: World) -> bytes:
    """What a digest covers of what is no key; nothing of a new world."""
    parts = world.accounts, world.maintenance, world.audit_heads, world.nodes
    return versions.digest_input(world) + b"".join([part.digest_input() for part in parts])


def _staged(world: World) -> bytes:
    """Nothing if nothing is staged."""
    parts = []
    for name, staging in sorted(world.staged.items()):
        for number, db in sorted(staging.databases.items()):
            parts += [len(name).to_bytes(4, "big"), name, database_digest(db, number).to_bytes(16, "big")]
    return b"".join(parts)


def value_digest_hex(db: Database, number: int, key: bytes) -> str:
    """DEBUG DIGEST-VALUE of one key that is there."""
    return f"{1:08x}{key_digest(db, number, key):032x}"


def _head(number: int) -> bytes:
    return number.to_bytes(4, "big") + _STRING


def _aside(db: Database, key: bytes) -> bytes:
    """Expiry and flags, 0 where there is none; a real expiry is never 0, as time 0 is long past."""
    return db.expires.get(key, 0).to_bytes(8, "big", signed=True) + db.flags.get(key, 0).to_bytes(8, "big")
