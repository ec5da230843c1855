"""The order in which SCAN and RANDOMKEY walk a database: buckets by hash, each a short list of keys.

Promises: a key that stays from the start of a scan to its end is returned by it; taking in another order takes the same
time for one key and for a million, as its buckets are joined one by one: when they are met, or by `settle`.
So it is with the keys that a start of the server has found: they wait in a list that scans visit first, and `settle`
moves them to their buckets; cursors from SCAN_BUCKETS on are places in that list.
Cursors are valid in this process only, as the hash is seeded at its start. Not here: who may see a key (`views`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

SCAN_BUCKETS: Final = 1 << 16  # at ten million keys a bucket, the least that one SCAN step returns, holds 150
FEW: Final = 16  # keys of a bucket that are looked through faster than a set of them is made

Bucket = list[bytes] | None


class Rng(Protocol):
    """What `random.Random` has and a random key needs."""

    def randrange(self, stop: int, /) -> int: ...


class ScanOrder:
    """The caller adds a key once, when it comes into being, and removes it once."""

    __slots__ = ("_buckets", "_gone", "_layers", "_occupied", "_waited", "_waiting")

    def __init__(self, waiting: list[bytes] | None = None) -> None:
        """`waiting`: keys that are there already, given up by the caller."""
        self._buckets: list[Bucket] = []  # none before the first key: most databases stay empty
        self._occupied = bytearray()  # a byte per bucket: it holds keys, here or in a layer
        self._waiting = waiting or []
        self._waited = bool(waiting)
        self._gone: set[bytes] = set()  # removed while keys wait: those of them that wait do so no longer
        if self._waiting:
            self.add(())
        # Buckets of orders taken in. A key may stand in several of them at once, but is always one of the database's.
        self._layers: list[list[Bucket]] = []

    def __bool__(self) -> bool:
        """Whether it has ever had keys."""
        return bool(self._buckets)

    @property
    def settled(self) -> bool:
        return not (self._layers or self._waiting)

    def add(self, keys: Iterable[bytes]) -> None:
        """Keys that are new."""
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

    def remove(self, key: bytes) -> None:
        slot = hash(key) & (SCAN_BUCKETS - 1)
        bucket = self._joined(slot) if self._layers else self._buckets[slot]
        if self._waiting:
            self._gone.add(key)
            if bucket is None or key not in bucket:
                return
        assert bucket is not None, "every key is in the scan order"
        bucket.remove(key)
        if not bucket:
            self._buckets[slot] = None
            self._occupied[slot] = 0

    def absorb(self, other: ScanOrder) -> None:
        """Take in all keys of `other`, which is spent; those that are here already stay as they are."""
        assert not other._waiting, "only what is live has waited"
        if not other._buckets:
            return
        if not self._buckets:
            self._buckets, self._occupied, self._layers = other._buckets, other._occupied, other._layers
        else:
            self._layers += [other._buckets, *other._layers]
            either = int.from_bytes(self._occupied, "big") | int.from_bytes(other._occupied, "big")
            self._occupied = bytearray(either.to_bytes(len(self._occupied), "big"))
        other._buckets, other._occupied, other._layers = [], bytearray(), []

    def settle(self, limit: int) -> bool:
        """Bring about `limit` keys to their buckets; True when all are there."""
        budget = 16 * limit
        while self._layers and budget > 0:
            layer = self._layers[-1]
            while layer and budget > 0:
                bucket = layer[-1]
                if bucket is not None:
                    budget -= 16 * len(bucket)
                    self._joined(len(layer) - 1)
                layer.pop()
                budget -= 1
            if not layer:
                self._layers.pop()
        self._seat(budget // 16)
        return self.settled

    def _seat(self, limit: int) -> None:
        """Move `limit` keys that wait to their buckets, the last first."""
        waiting, gone = self._waiting, self._gone
        for _ in range(min(limit, len(waiting))):
            key = waiting.pop()
            if self._waits(key):
                self.add((key,))
            gone.discard(key)
        if not waiting:
            gone.clear()

    def _joined(self, slot: int) -> Bucket:
        """The bucket with what the layers have of it."""
        bucket = self._buckets[slot]
        for layer in self._layers:
            more = layer[slot] if slot < len(layer) else None
            if more is None:
                continue
            layer[slot] = None
            if bucket is None:
                bucket = self._buckets[slot] = more
            else:
                known = bucket if len(bucket) <= FEW else set(bucket)
                bucket += [key for key in more if key not in known]
        return bucket

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """The keys of the next buckets, `count` of them or a bucket more, and where to go on (0: the end)."""
        if cursor >= SCAN_BUCKETS and not self._waited:
            return 0, []
        if cursor >= SCAN_BUCKETS or self._waiting and cursor == 0:
            end = min(cursor - SCAN_BUCKETS if cursor else len(self._waiting), len(self._waiting))
            if end > 0:  # what `settle` has moved from behind is met in its bucket
                start = max(0, end - count)
                return SCAN_BUCKETS + start, [key for key in self._waiting[start:end] if key not in self._gone]
            cursor = 0
        found: list[bytes] = []
        at = cursor
        while len(found) < count:
            at = self._occupied.find(1, at)
            if at < 0:
                return 0, found
            bucket = self._joined(at) if self._layers else self._buckets[at]
            assert bucket is not None, "occupied marks the buckets that hold keys"
            found += bucket
            at += 1
        return (at if at < SCAN_BUCKETS and self._occupied.find(1, at) >= 0 else 0), found

    def random_key(self, rng: Rng, count: int) -> bytes | None:
        """Any of its `count` keys, which are many, each as likely as the others."""
        # Draw places from a rectangle that is as high as a bucket practically ever is, until one holds a key.
        height = 2 * count // SCAN_BUCKETS + 16
        while True:
            if self._waiting:  # as many places more, beside the rectangle
                place = rng.randrange(len(self._waiting) + SCAN_BUCKETS * height)
                if place < len(self._waiting):
                    if self._waits(self._waiting[place]):
                        return self._waiting[place]
                    continue
            slot = rng.randrange(SCAN_BUCKETS)
            bucket = self._joined(slot) if self._layers else self._buckets[slot]
            if bucket is not None:
                place = rng.randrange(max(height, len(bucket)))
                if place < len(bucket):
                    return bucket[place]

    def some(self, rng: Rng, count: int) -> list[bytes]:
        """At most `count` keys that stand together at a random place, at least one if there is any in a bucket."""
        if self._waiting and rng.randrange(2):
            at = rng.randrange(len(self._waiting))
            return [key for key in self._waiting[at : at + count] if self._waits(key)]
        found: list[bytes] = []
        start = rng.randrange(SCAN_BUCKETS)
        for begin, end in ((start, SCAN_BUCKETS), (0, start)):
            at = self._occupied.find(1, begin, end)
            while at >= 0 and len(found) < count:
                found += self._joined(at) or ()
                at = self._occupied.find(1, at + 1, end)
        spare = len(found) - count
        skipped = rng.randrange(spare + 1) if spare > 0 else 0
        return found[skipped : skipped + count]

    def _waits(self, key: bytes) -> bool:
        """Whether a key of the list is one still, and is not in its bucket: it may have been published meanwhile."""
        slot = hash(key) & (SCAN_BUCKETS - 1)
        bucket = self._joined(slot) if self._layers else self._buckets[slot]
        return key not in self._gone and (bucket is None or key not in bucket)

    def release(self, limit: int) -> bool:
        """Free what holds about `limit` keys; True when nothing is left. An empty bucket costs a sixteenth of a key."""
        budget = 16 * limit
        while (self._layers or self._buckets) and budget > 0:
            buckets = self._layers[-1] if self._layers else self._buckets
            while buckets and budget > 0:
                bucket = buckets.pop()
                budget -= 16 * len(bucket) if bucket else 1
            if not buckets and self._layers:
                self._layers.pop()
        del self._waiting[-limit:]
        for _ in range(min(limit, len(self._gone))):
            self._gone.pop()
        return not (self._layers or self._buckets or self._waiting or self._gone)


class Unindexed(ScanOrder):
    """Of a database that nobody scans: a state in the making. What is asked all the same is asked by a transaction
    that is replayed, and whose replies nobody reads."""

    __slots__ = ()

    def add(self, keys: Iterable[bytes]) -> None:
        """Whoever ends the making gives all keys to a real order."""

    def remove(self, key: bytes) -> None:
        """As `add`."""

    def absorb(self, other: ScanOrder) -> None:
        """As `add`."""

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        return 0, []

    def random_key(self, rng: Rng, count: int) -> bytes | None:
        return None

    def some(self, rng: Rng, count: int) -> list[bytes]:
        return []
