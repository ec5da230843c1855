"""One database: its keys, when they expire, and an order to scan them in.

Promise: no operation's time grows with the number of keys, except that of `keys` and `weigh`, which visit them all, and
that of `absorb`, which moves them at the speed of a dictionary's own `update`, and once that of `random_key` when very
many keys have gone: 10 ms for a million.
Not here: who may see an expired key (`views`), what a change means for versions (`views`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from sys import getsizeof
from typing import Final

from .scan_order import Rng, ScanOrder
from .values import VERSION_BYTES, Item
from .wheel import Wheel

UNIFORM_SAMPLE_MAX: Final = 4096  # up to here walking to a random position is cheaper than drawing until one hits
SPARSE_BYTES: Final = 1 << 20  # of a table of so few keys: four times what it takes at most that never held more
EXPIRIES_AT_ONCE_MAX: Final = 2000  # expiries that `absorb` takes off one by one: about 5 ms


class Database:
    """A dictionary of items with the indexes that keep every operation short."""

    __slots__ = ("expires", "expires_sum", "flags", "floor", "heads", "held", "items", "order", "uses", "wheel")

    def __init__(self) -> None:
        self.items: dict[bytes, Item] = {}
        self.expires: dict[bytes, int] = {}  # key -> ms since the epoch
        self.flags: dict[bytes, int] = {}  # key -> the EX* family's FLAGS, where not 0
        self.expires_sum = 0  # of all values of `expires`: INFO's avg_ttl without a walk
        self.held: int | None = 0  # bytes of all names and items; None: nobody wants to know (`weigh`)
        self.uses: dict[bytes, int] = {}  # when or how often keys were used here, for whom `usage` counts; no state
        # An item's first eight bytes are its version, unless that was given to very many keys at once:
        self.floor = 0  # no key's version is below it; raised by SWAPDB, which cannot visit every key
        self.heads: dict[int, int] = {}  # what stands there instead of a version -> the version; then `floor` is not 0
        self.order = ScanOrder()
        self.wheel = Wheel()

    def current(self, item: Item) -> Item:
        """An item as it counts, with its version in front."""
        head = int.from_bytes(item[:VERSION_BYTES], "big")
        version = max(self.heads.get(head, head), self.floor)
        return item if version == head else version.to_bytes(VERSION_BYTES, "big") + item[VERSION_BYTES:]

    def version(self, item: Item) -> int:
        """Of an item, which it does not copy."""
        head = int.from_bytes(item[:VERSION_BYTES], "big")
        return max(self.heads.get(head, head), self.floor) if self.floor else head

    def weigh(self, *, wanted: bool) -> None:
        """Have `held` counted from now on, or no longer: a visit to every key, some 60 ms for a million."""
        self.held = self.bytes_of(self.items) if wanted else None

    def bytes_of(self, keys: Collection[bytes]) -> int:
        """Of the names and items of these keys, as far as they are there."""
        if keys is self.items:
            return sum(map(len, keys)) + sum(map(len, self.items.values()))
        found = [(key, item) for key in keys if (item := self.items.get(key)) is not None]
        return sum([len(key) + len(item) for key, item in found])

    def store(self, entries: Iterable[Sequence[bytes]], sequence: int) -> list[bytes]:
        """Put (name, key, value) with versions from `sequence` on, and count what they hold; the keys that are new."""
        items, held, created = self.items, self.held or 0, []
        for _, key, value in entries:
            old = items.get(key)
            if old is None:
                created.append(key)
                held += len(key) + VERSION_BYTES + len(value)
            else:
                held += VERSION_BYTES + len(value) - len(old)
            items[key] = sequence.to_bytes(VERSION_BYTES, "big") + value
            sequence += 1
        self.held = held
        return created

    def index(self, keys: Iterable[bytes]) -> None:
        """Take keys that `items` has just gained into the scan order."""
        self.order.add(keys)

    def remove(self, key: bytes) -> Item:
        """Take a key out with everything known about it; KeyError if it is not there."""
        item = self.items.pop(key)
        self.order.remove(key)
        if key in self.expires:
            self.set_expiry(key, None)
        if self.flags:
            self.flags.pop(key, None)
        if self.uses:
            self.uses.pop(key, None)
        if self.held is not None:
            self.held -= len(key) + len(item)
        return item

    def set_expiry(self, key: bytes, at_ms: int | None) -> None:
        """Move or (None) remove a key's expiry."""
        old = self.expires.get(key)
        if old is not None:
            if old == at_ms:
                return
            self.expires_sum -= old
            self.wheel.leave(key, old)
        if at_ms is None:
            self.expires.pop(key, None)
            return
        self.expires[key] = at_ms
        self.expires_sum += at_ms
        self.wheel.add(key, at_ms)

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """At most `limit` keys whose time has come: see `Wheel.due`."""
        return self.wheel.due(now_ms, limit, self.expires)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """A part of the keys, and where to go on (0: the end): see `ScanOrder.scan`."""
        return self.order.scan(cursor, count)

    def random_key(self, rng: Rng) -> bytes | None:
        """Any key, each as likely as the others."""
        count = len(self.items)
        if count <= UNIFORM_SAMPLE_MAX:
            if getsizeof(self.items) > SPARSE_BYTES:  # it once held very many: a walk would visit all their places
                self.items = dict(self.items)
            return next(islice(self.items, rng.randrange(count), None)) if count else None
        return self.order.random_key(rng, count)

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
        old.order = type(self.order)()
        old.swap(self)
        if old.held is None:
            self.held = None
        return old

    def empty(self) -> None:
        """Remove every key one by one: for few keys cheaper than `clear`, as the scan order's tables stay."""
        for key in list(self.items):
            self.remove(key)
        self.floor = 0
        self.heads.clear()

    # Taking in another database.

    def absorb(self, other: Database) -> None:
        """Take in all keys of `other`: where both have a key, this one's is replaced. What is left of `other` is trash.

        100,000 keys take some 10 ms, be those here few or a million: the smaller dictionary goes into the larger, and
        the indexes are joined later (`settle`).
        """
        if self.held is not None:
            assert other.held is not None, "what is staged is weighed"
            few, many = sorted((self.items, other.items), key=len)
            self.held += other.held - self.bytes_of([key for key in few if key in many])
        self._absorb_expiries(other)
        if self.flags:
            for key in self.flags.keys() & other.items.keys():
                del self.flags[key]
        self.flags.update(other.flags)
        if other.order:
            self.order.absorb(other.order)
        else:
            self.order.add([key for key in other.items if key not in self.items])
        if other.heads:
            self.heads.update(other.heads)
            self.floor = self.floor or 1  # which is below every version, but has `current` called
        mine, theirs = self.items, other.items
        if len(theirs) > len(mine):
            missing = [key for key in mine if key not in theirs]
            theirs.update(zip(missing, map(mine.__getitem__, missing), strict=True))
            self.items, other.items = theirs, mine
        else:
            mine.update(theirs)

    def _absorb_expiries(self, other: Database) -> None:
        # Lists, as iterating over a set of keys would visit them in random order: three times the time.
        mine, theirs = self.expires, other.items
        replaced = [k for k in mine if k in theirs] if len(mine) < len(theirs) else [k for k in theirs if k in mine]
        if len(replaced) <= EXPIRIES_AT_ONCE_MAX:
            for key in replaced:
                self.set_expiry(key, None)
            stay = len(mine) >= len(other.expires)
        else:  # what they leave in this wheel is found out while it is emptied
            self.expires_sum -= sum(map(mine.pop, replaced))
            stay = False
        if not stay:
            self.wheel, other.wheel = other.wheel, self.wheel
        self.wheel.absorb(other.wheel)
        if len(mine) < len(other.expires):
            self.expires, other.expires = other.expires, mine
        self.expires.update(other.expires)
        self.expires_sum += other.expires_sum

    def settle(self, limit: int) -> bool:
        """Join the next part, about `limit` keys, of the indexes of databases taken in; True when that is done."""
        if self.order.settled and self.wheel.settled:
            return True
        return self.order.settle(limit) and self.wheel.settle(limit, self.expires)

    def release(self, limit: int) -> bool:
        """Free about `limit` keys of a cleared database; True when nothing is left. Its indexes no longer hold.

        The items go last and in the order in which they came: in the order of the indexes, which is random, every
        arena of the allocator would become empty at the very end and go back to the system in one long pause.
        """
        indexes_gone = self.wheel.release(limit)
        indexes_gone &= self.order.release(limit)
        for table in (self.expires, self.flags, self.uses):
            _pop_items(table, limit)
        if not (self.expires or self.flags or self.uses) and indexes_gone:
            _pop_items(self.items, limit)
        return indexes_gone and not self.items


def _pop_items(table: dict[bytes, int] | dict[bytes, Item], limit: int) -> None:
    for _ in range(min(limit, len(table))):
        table.popitem()
