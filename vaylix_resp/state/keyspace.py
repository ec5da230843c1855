"""One database: its keys, when they expire, and an order to scan them in.

Promises: no operation's time grows with the number of keys (except `keys`, which visits them all);
a key that stays from the start of a scan to its end is returned by it.
Not here: who may see an expired key (`views`), what a change means for versions (`views`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Protocol

from sortedcontainers import SortedList

from .values import VERSION_BYTES, Item

SCAN_BUCKETS: Final = 1 << 16  # at ten million keys a bucket, the least that one SCAN step returns, holds 150
WHEEL_MS: Final = 1000  # keys that expire within the same second share a slot of the wheel
SLOT_LIST_MAX: Final = 32  # a slot of more keys is a set: quick to leave, but five times the memory of a list
UNIFORM_SAMPLE_MAX: Final = 4096  # up to here walking to a random position is cheaper than drawing until one hits
NOT_EXPIRING: Final = 1 << 63  # later than any time of expiry


class Rng(Protocol):
    """What `random.Random` has and a random key needs."""

    def randrange(self, stop: int, /) -> int: ...


class Database:
    """A dictionary of items with the indexes that keep every operation short."""

    __slots__ = ("_buckets", "_occupied", "_slots", "_wheel", "expires", "expires_sum", "flags", "floor", "items")

    def __init__(self) -> None:
        self.items: dict[bytes, Item] = {}
        self.expires: dict[bytes, int] = {}  # key -> ms since the epoch
        self.flags: dict[bytes, int] = {}  # key -> the EX* family's FLAGS, where not 0
        self.expires_sum = 0  # of all values of `expires`: INFO's avg_ttl without a walk
        self.floor = 0  # no key's version is below it; raised by SWAPDB, which cannot visit every key
        self._buckets: list[list[bytes] | None] = []
        self._occupied = bytearray()
        self._wheel: dict[int, list[bytes] | set[bytes]] = {}  # time of expiry // WHEEL_MS -> keys
        self._slots: SortedList[int] = SortedList()  # the wheel's keys; exact, so that no churn of expiries grows it

    def current(self, item: Item) -> Item:
        """An item as it counts: its version raised to the floor."""
        if self.floor and int.from_bytes(item[:VERSION_BYTES], "big") < self.floor:
            return self.floor.to_bytes(VERSION_BYTES, "big") + item[VERSION_BYTES:]
        return item

    def index(self, keys: Iterable[bytes]) -> None:
        """Take keys that `items` has just gained into the scan order."""
        if not self._buckets:
            self._buckets = [None] * SCAN_BUCKETS
            self._occupied = bytearray(SCAN_BUCKETS)
        buckets, mask = self._buckets, SCAN_BUCKETS - 1
        for key in keys:
            slot = hash(key) & mask
            bucket = buckets[slot]
            if bucket is None:
                buckets[slot] = [key]
                self._occupied[slot] = 1
            else:
                bucket.append(key)

    def remove(self, key: bytes) -> Item:
        """Take a key out with everything known about it; KeyError if it is not there."""
        item = self.items.pop(key)
        slot = hash(key) & (SCAN_BUCKETS - 1)
        bucket = self._buckets[slot]
        assert bucket is not None, "every key is in the scan order"
        bucket.remove(key)
        if not bucket:
            self._buckets[slot] = None
            self._occupied[slot] = 0
        if key in self.expires:
            self.set_expiry(key, None)
        if self.flags:
            self.flags.pop(key, None)
        return item

    def set_expiry(self, key: bytes, at_ms: int | None) -> None:
        """Move or (None) remove a key's expiry."""
        old = self.expires.get(key)
        if old is not None:
            if old == at_ms:
                return
            self.expires_sum -= old
            self._leave_slot(key, old // WHEEL_MS)
        if at_ms is None:
            self.expires.pop(key, None)
            return
        self.expires[key] = at_ms
        self.expires_sum += at_ms
        slot = at_ms // WHEEL_MS
        keys = self._wheel.get(slot)
        if keys is None:
            self._wheel[slot] = [key]
            self._slots.add(slot)
        elif isinstance(keys, set):
            keys.add(key)
        else:
            keys.append(key)
            if len(keys) > SLOT_LIST_MAX:
                self._wheel[slot] = set(keys)

    def _leave_slot(self, key: bytes, slot: int) -> None:
        keys = self._wheel[slot]
        keys.remove(key)
        if not keys:
            del self._wheel[slot]
            self._slots.remove(slot)

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """At most `limit` keys whose time has come, roughly the oldest first.

        Called again after their removal it finds the rest; the last of very many keys that share a slot may be
        found as late as WHEEL_MS after their time, as only `limit` of a slot are looked at.
        """
        expires, wheel = self.expires, self._wheel
        found: list[bytes] = []
        for slot in self._slots:  # every slot but the last holds keys that are due, so these are at most `limit`
            if slot * WHEEL_MS > now_ms or len(found) >= limit:
                break
            found += [key for key in islice(wheel[slot], limit) if expires[key] <= now_ms]
        return found[:limit]

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """The keys of the next buckets, `count` of them or a bucket more, and where to go on (0: the end).

        Cursors are valid in this process only, as the hash is seeded at its start.
        """
        found: list[bytes] = []
        at = cursor
        while len(found) < count:
            at = self._occupied.find(1, at)
            if at < 0:
                return 0, found
            bucket = self._buckets[at]
            assert bucket is not None, "occupied marks the buckets that hold keys"
            found += bucket
            at += 1
        return (at if at < SCAN_BUCKETS and self._occupied.find(1, at) >= 0 else 0), found

    def random_key(self, rng: Rng) -> bytes | None:
        """Any key, each as likely as the others."""
        count = len(self.items)
        if count <= UNIFORM_SAMPLE_MAX:
            return next(islice(self.items, rng.randrange(count), None)) if count else None
        # Draw places from a rectangle that is as high as a bucket practically ever is, until one holds a key.
        height = 2 * count // SCAN_BUCKETS + 16
        while True:
            bucket = self._buckets[rng.randrange(SCAN_BUCKETS)]
            if bucket is not None:
                place = rng.randrange(max(height, len(bucket)))
                if place < len(bucket):
                    return bucket[place]

    def keys(self) -> Iterator[bytes]:
        return iter(self.items)

    def swap(self, other: Database) -> None:
        """Exchange the contents; views stay bound to their database number."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs)
            setattr(other, name, mine)

    def clear(self) -> Database:
        """Empty this database at once; the contents come back in a database of their own, to be freed in steps."""
        old = Database()
        old.swap(self)
        return old

    def empty(self) -> None:
        """Remove every key one by one: for few keys cheaper than `clear`, as the scan order's tables stay."""
        for key in list(self.items):
            self.remove(key)
        self.floor = 0

    def release(self, limit: int) -> bool:
        """Free about `limit` keys of a cleared database; True when nothing is left. Its indexes no longer hold.

        The items go last and in the order in which they came: in the order of the indexes, which is random, every
        arena of the allocator would become empty at the very end and go back to the system in one long pause.
        """
        self._release_wheel(limit)
        self._release_buckets(limit)
        for table in (self.expires, self.flags):
            _pop_items(table, limit)
        if not (self.expires or self.flags or self._wheel or self._slots or self._buckets):
            _pop_items(self.items, limit)
        return not (self.items or self._buckets)

    def _release_wheel(self, limit: int) -> None:
        for _ in range(min(limit, len(self._slots))):
            self._slots.pop()
        while self._wheel and limit > 0:
            slot, keys = self._wheel.popitem()
            for _ in range(min(limit, len(keys))):
                keys.pop()
                limit -= 1
            if keys:
                self._wheel[slot] = keys
            limit -= 1

    def _release_buckets(self, limit: int) -> None:
        """An empty bucket costs a sixteenth of what a key does."""
        buckets, budget = self._buckets, 16 * limit
        while buckets and budget > 0:
            bucket = buckets.pop()
            budget -= 16 * len(bucket) if bucket else 1


def _pop_items(table: dict[bytes, int] | dict[bytes, Item], limit: int) -> None:
    for _ in range(min(limit, len(table))):
        table.popitem()
