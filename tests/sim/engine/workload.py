"""What clients and the server itself do in one life, drawn from a seed: one call is one step.

Values are small, segments smaller, so that a life of some tens of steps meets rotation, spares, snapshots and pruning.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.sim.engine.world import Life, Operation
from vaylix_resp.commands.operations import expiry, in_database, transaction

KEYS = (b"a", b"b", b"c", b"counter", b"list-of-x")
TIMES_MS = (1, 500, 2000, 60_000)


def steps(life: Life, rng: Random, count: int) -> Iterator[None]:
    """The life of one process; yields behind each step."""
    for number in range(count):
        match rng.randrange(12):
            case 0 if number > 3:
                life.snapshot()
            case 1:
                life.prepare_spare()
            case 2:
                life.clock.ms += rng.choice((1, 100, 5000, -3000))
                life.write(*runs(life, rng))
            case 3:
                life.probe()
                life.write(*runs(life, rng))
            case 4:
                life.sync()
            case _:
                life.write(*runs(life, rng))
        yield


def runs(life: Life, rng: Random) -> list[list[Operation]]:
    return [[operation(life, rng) for _ in range(rng.randrange(1, 4))] for _ in range(rng.choice((1, 1, 2, 4)))]


def operation(life: Life, rng: Random) -> Operation:
    """One entry: a request in some database, a transaction, or what the server proposes itself."""
    db = rng.choice((0, 0, 0, 1, 2, 3))
    roll = rng.random()
    if roll < 0.15:
        return block(life, rng)
    if roll < 0.2:
        found = life.machine.world.databases[db].due(life.clock.ms, 10)
        return expiry(db, found or [b"a"])
    return in_database(db, request(rng))


def request(rng: Random) -> list[bytes]:
    key, other = rng.choice(KEYS), rng.choice(KEYS)
    time = b"%d" % rng.choice(TIMES_MS)
    size = rng.choice((1, 20, 200)) if rng.random() < 0.97 else rng.choice((3000, 9000, 20_000))
    filler = rng.choice((b"x", b"\0", b"\r\n*1\r\n")) * size
    number = b"%d" % rng.randrange(100)
    return rng.choice((
        [b"SET", key, number],
        [b"SET", key, filler[:size]],
        [b"SET", key, number, b"PX", time],
        [b"SET", key, number, b"NX", b"GET"],
        [b"INCR", b"counter"],
        [b"INCRBY", key, number],
        [b"APPEND", b"list-of-x", filler[: rng.randrange(1, 60)]],
        [b"PEXPIRE", key, time],
        [b"PERSIST", key],
        [b"DEL", key, other],
        [b"EXSET", key, number, b"FLAGS", number],
        [b"RENAME", key, other],
        [b"COPY", key, other, b"DB", b"%d" % rng.randrange(6), b"REPLACE"],
        [b"MOVE", key, b"%d" % rng.randrange(4)],
        [b"SETRANGE", key, number, b"zz"],
        [b"GETEX", key, b"PX", time],
        [b"SWAPDB", b"%d" % rng.randrange(4), b"%d" % rng.randrange(4)] if rng.random() < 0.3 else [b"INCR", key],
        [b"FLUSHDB"] if rng.random() < 0.2 else [b"SET", key, b""],
    ))  # fmt: skip


def block(life: Life, rng: Random) -> Operation:
    """MULTI ... EXEC; sometimes with a watched key that has moved, so that nothing of it happens."""
    watched = []
    for _ in range(rng.choice((0, 0, 1, 2))):
        db, key = rng.randrange(4), rng.choice(KEYS)
        watched.append((db, key, life.machine.world.views[db].version(key) + (rng.random() < 0.2)))
    return transaction(watched, [(rng.randrange(4), request(rng)) for _ in range(rng.randrange(1, 5))])
