"""Which keys make room, by `maxmemory-policy`: some are drawn by chance, and of these the least worth keeping go.

Promise: with a volatile policy nothing is chosen that does not expire; choosing takes time by how much is chosen, not
by how many keys there are. With `volatile-ttl` nothing is drawn: the wheel knows which keys expire first.
Not here: when it is time, and the entry that removes them (`server.memory`).
Source: sampling with a pool of the best that were left over is Redis's (evict.c); here many keys are chosen at once.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import repeat
from typing import Final, NamedTuple

from .footprint import freed_bytes
from .keyspace import Database
from .machine import World
from .scan_order import Rng

KEYS_MAX: Final = 250  # chosen at once: two or three milliseconds, when very many are to go
BYTES_MAX: Final = 1 << 20  # of their names, but for the last
SHARE: Final = 16  # for so many keys candidates are drawn together: next to each other they stand by chance
KEY_BYTES_USUAL: Final = 200  # that go with a small one: fewer are drawn where few are needed
SAMPLES_MAX: Final = 64  # for each key, whatever `maxmemory-samples` says: then the choice is as good as exact
POOL: Final = 16  # good candidates that are left over from one choice, for the next
VOLATILE: Final = "volatile"
NOEVICTION: Final = "noeviction"
LRU, LFU, RANDOM, TTL = "lru", "lfu", "random", "ttl"

Candidate = tuple[int, bytes]  # database, key
Place = tuple[int, Database, Collection[bytes]]  # database and those of its keys that may go


class Policy(NamedTuple):
    """`maxmemory-policy` in its two words."""

    among: str
    measure: str

    @classmethod
    def named(cls, name: str) -> Policy | None:
        """None: nothing is ever evicted."""
        among, _, measure = name.partition("-")
        return None if name == NOEVICTION else cls(among, measure)

    def has_candidates(self, world: World) -> bool:
        """Whether there is a key that may be evicted."""
        return any(_among(self, db) for db in world.databases)


class Chosen(NamedTuple):
    """Keys of one database with their versions, and what they take, in bytes."""

    database: int
    keys: list[tuple[bytes, int]]
    bytes: int


class Candidates:
    """Of one node. `rng` is its own: replicas learn from the log what was chosen."""

    def __init__(self, world: World, rng: Rng) -> None:
        self._world, self._rng = world, rng
        self._pool: list[Candidate] = []

    def forget(self) -> None:
        """What the pool was good for is no longer asked."""
        self._pool.clear()

    def choose(
        self, policy: Policy, samples: int, needed: int, going: Collection[Candidate] = frozenset()
    ) -> list[Chosen]:
        """Keys that free about `needed` bytes, or as many as one go may take; none where there are no candidates.

        `going` have been chosen before. `samples` are drawn for each key that goes: so, however many are needed, those
        that are worth more stay.
        """
        places = [(number, db, _among(policy, db)) for number, db in enumerate(self._world.databases)]
        places = [place for place in places if place[2]]
        if not places:
            return []
        drawn: dict[Candidate, int] = {}  # with how much they are worth
        if policy.measure == TTL:
            count, left = KEYS_MAX, 0
            for place in places:
                self._add(drawn, policy, place, place[1].wheel.nearest(count))
        else:
            count, left = 0, needed
            for place in places:
                self._add(drawn, policy, place, [key for number, key in self._pool if number == place[0]])
        while left > 0 and count < KEYS_MAX:
            place = self._any(places)
            share = min(SHARE, KEYS_MAX - count, left // KEY_BYTES_USUAL + 1)
            found = self._draw(policy, place[1], share, samples)
            self._add(drawn, policy, place, found)
            if found and found[0] in place[2]:
                left -= share * freed_bytes(place[1], found[0])
            count += share
        ranked = sorted([one for one in drawn if one not in going], key=drawn.__getitem__)
        taken = self._take(ranked[:count], needed)
        self._pool = ranked[len(taken) : len(taken) + POOL]
        return self._grouped(taken)

    def _any(self, places: list[Place]) -> Place:
        """A database, each as likely as its share of the keys."""
        if len(places) > 1:
            at = self._rng.randrange(sum(len(keys) for _, _, keys in places))
            for place in places:
                at -= len(place[2])
                if at < 0:
                    return place
        return places[0]

    def _draw(self, policy: Policy, db: Database, share: int, samples: int) -> list[bytes]:
        """Enough to choose `share` keys from."""
        if policy.measure == RANDOM and policy.among != VOLATILE:
            return [key for _ in range(share) if (key := db.random_key(self._rng)) is not None]
        count = share if policy.measure == RANDOM else share * min(samples, SAMPLES_MAX)
        if policy.among != VOLATILE:
            return db.order.some(self._rng, count)
        found: list[bytes] = []
        for _ in range(count):  # often a second has but one key
            found += db.wheel.some(self._rng, min(samples, count - len(found)))
            if len(found) >= count:
                break
        return found

    def _add(self, drawn: dict[Candidate, int], policy: Policy, place: Place, keys: list[bytes]) -> None:
        """Those that may go, with how much each is worth keeping, by the policy's measure."""
        number, db, among = place
        keys = [key for key in keys if key in among]
        usage = self._world.usage
        if policy.measure == TTL:
            ranks = [db.expires[key] for key in keys]
        elif policy.measure == RANDOM or usage is None:
            ranks = [0] * len(keys)
        else:
            ranks = usage.ranks(db.uses, keys)
        drawn.update(zip(zip(repeat(number), keys, strict=False), ranks, strict=True))

    def _take(self, ranked: list[Candidate], needed: int) -> list[Candidate]:
        """The first of them, until that is enough."""
        names = 0
        for at, (number, key) in enumerate(ranked):
            if needed <= 0 or names >= BYTES_MAX:
                return ranked[:at]
            needed -= freed_bytes(self._world.databases[number], key)
            names += len(key)
        return ranked

    def _grouped(self, taken: list[Candidate]) -> list[Chosen]:
        by_database: dict[int, list[bytes]] = {}
        for number, key in taken:
            by_database.setdefault(number, []).append(key)
        chosen = []
        for number, keys in by_database.items():
            db = self._world.databases[number]
            versions = [(key, db.version(db.items[key])) for key in keys]
            chosen.append(Chosen(number, versions, sum([freed_bytes(db, key) for key in keys])))
        return chosen


def _among(policy: Policy, db: Database) -> Collection[bytes]:
    """The keys of a database that may be evicted."""
    return db.expires if policy.among == VOLATILE else db.items
