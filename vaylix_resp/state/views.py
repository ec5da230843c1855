"""All that a handler can touch: `ReadView` for reads, `WriteTx` for what an entry does.

Promises: a view hides what has expired; only a WriteTx removes it. Every change through a WriteTx moves the
key's version to max(previous + 1, sequence of the entry), so a version never comes back, not even after DEL.
Not here: argument parsing (`commands`), time (`now` is set by whoever lends the view).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from .keyspace import Database
from .values import VERSION_BYTES, Item
from .wheel import NOT_EXPIRING

if TYPE_CHECKING:
    from .machine import World

EMPTY_KEYS_MAX: Final = 1000  # as many are removed on the spot, within a millisecond or two
ROW_BYTES_MAX: Final = 1 << 20  # of values copied at once; beyond, one by one, with a look at the output in between
RANDOM_TRIES: Final = 100  # expired keys that `random_key` may hit before it gives up, as Redis does on replicas


class ReadView:
    """One database as of `world.now_ms`."""

    __slots__ = ("db", "index", "world")

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.index = index
        self.db: Database = world.databases[index]

    @property
    def now(self) -> int:
        """Milliseconds since the epoch: the local clock for a read, the entry's time inside an entry."""
        return self.world.now_ms

    def item(self, key: bytes) -> Item | None:
        """The live item of a key, version and all; counts neither hit nor miss."""
        db = self.db
        item = db.items.get(key)
        if item is None or (db.expires and db.expires.get(key, NOT_EXPIRING) <= self.world.now_ms):
            return None
        return self._current(key, item) if db.floor else item

    def _current(self, key: bytes, item: Item) -> Item:
        """The item as it counts. It is kept like that, as building it copies the value."""
        current = self.db.current(item)
        if current is not item:
            self.db.items[key] = current
        return current

    def lookup(self, key: bytes, *, uses: bool = True) -> Item | None:
        """As `item`, counted as a keyspace hit or miss: what a command that reads a key calls.

        `uses`: unless it only asks about the key, such as for its type, that keeps the key from being evicted.
        """
        item, world = self.item(key), self.world
        if item is not None:
            world.hits += 1
            if uses and world.usage is not None:
                world.usage.note(self.db.uses, (key,))
            return item
        world.misses += 1
        self.event("m", "keymiss", key)
        return None

    def string(self, key: bytes) -> bytes | None:
        """The string at `key`; counts a keyspace hit or miss, as GET does."""
        db, world = self.db, self.world
        item = db.items.get(key)
        if item is None or (db.expires and db.expires.get(key, NOT_EXPIRING) <= world.now_ms):
            world.misses += 1
            self.event("m", "keymiss", key)
            return None
        world.hits += 1
        if world.usage is not None:
            world.usage.note(db.uses, (key,))
        return item[VERSION_BYTES:]

    def strings(self, keys: Sequence[bytes]) -> list[bytes] | None:
        """`string` for many keys, if all of them are there and none can expire or be in need of more; else None."""
        db = self.db
        if db.expires:
            return None
        items = [*map(db.items.get, keys)]
        if None in items or sum(map(len, items)) > ROW_BYTES_MAX:  # type: ignore[arg-type]
            return None
        world = self.world
        world.hits += len(items)
        if world.usage is not None:
            world.usage.note(db.uses, keys)
        return [item[VERSION_BYTES:] for item in items]  # type: ignore[index]

    def exists(self, key: bytes) -> bool:
        return self.item(key) is not None

    def version(self, key: bytes) -> int:
        """0 when the key does not exist."""
        item = self.item(key)
        return 0 if item is None else int.from_bytes(item[:VERSION_BYTES], "big")

    def expiry(self, key: bytes) -> int | None:
        """Milliseconds since the epoch; None for a key without one (ask `exists` first)."""
        return self.db.expires.get(key)

    def flags(self, key: bytes) -> int:
        return self.db.flags.get(key, 0)

    def size(self) -> int:
        """Keys, those included that have expired and not been removed yet (as DBSIZE in Redis)."""
        return len(self.db.items)

    def keys(self) -> Iterator[bytes]:
        """Every live key."""
        db, now = self.db, self.world.now_ms
        if not db.expires:
            return db.keys()
        expires = db.expires
        return (key for key in db.items if expires.get(key, NOT_EXPIRING) > now)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Live keys of the next part of the scan order, and the cursor to go on with (0: the end)."""
        after, found = self.db.scan(cursor, count)
        expires, now = self.db.expires, self.world.now_ms
        if expires:
            found = [key for key in found if expires.get(key, NOT_EXPIRING) > now]
        return after, found

    def random_key(self) -> bytes | None:
        """A live key; None if there is none, or if too many were hit that have expired and are not removed yet."""
        for _ in range(RANDOM_TRIES):
            key = self.db.random_key(self.world.rng)
            if key is None or self.exists(key):
                return key
        return None

    def event(self, kind: str, name: str, key: bytes) -> None:
        """A keyspace event: `kind` is its letter in notify-keyspace-events (g generic, $ string, x expired...)."""
        events = self.world.events
        if events is not None:
            events.append((kind, name, key, self.index))

    def other(self, index: int) -> ReadView:
        """The same moment in another database."""
        return self.world.views[index]


class WriteTx(ReadView):
    """One database inside an entry. A handler looks first and writes after, so an error leaves nothing behind."""

    __slots__ = ()

    def _next_version(self, old: Item | None) -> bytes:
        """For a key whose raw item is `old`; `put` and `update` have the usual case of it spelled out."""
        world = self.world
        sequence = world.sequence
        if world.top_version < sequence:  # nothing has a version as high yet
            world.top_version = sequence
            return world.version
        # Several writes in one entry: go past this key's version, or past what a deleted key may have had.
        if old is None:
            previous = world.deleted_version
        else:
            previous = self.db.version(old)
        version = max(previous + 1, sequence)
        world.top_version = max(world.top_version, version)
        return version.to_bytes(VERSION_BYTES, "big")

    def item(self, key: bytes) -> Item | None:
        """As in a read, but what has expired by the entry's time is removed on the way, on every replica alike."""
        db = self.db
        if db.expires and db.expires.get(key, NOT_EXPIRING) <= self.world.now_ms:
            self.expire(key)
            return None
        item = db.items.get(key)
        return self._current(key, item) if item is not None and db.floor else item

    def string(self, key: bytes) -> bytes | None:
        """The string at `key`, counted as in a read; like `item` it removes what has expired."""
        item = self.lookup(key)
        return None if item is None else item[VERSION_BYTES:]

    def put(self, key: bytes, value: bytes) -> None:
        """Make `key` this string, without expiry and without flags, whatever it was."""
        db, world = self.db, self.world
        if db.expires and key in db.expires and self.item(key) is not None:
            db.set_expiry(key, None)
        if db.flags:
            db.flags.pop(key, None)
        # From here on as `update`: a call less for every SET.
        items = db.items
        if world.top_version < world.sequence:
            world.top_version = world.sequence
            version = world.version
        else:
            version = self._next_version(items.get(key))
        if db.held is not None or world.usage is not None:
            self._account(key, value)
        count = len(items)
        items[key] = version + value
        if len(items) != count:
            self._created(key)
        if world.touched is not None:
            world.touched.append((self.index, key))

    def put_row(self, entries: Sequence[Sequence[bytes]]) -> bool:
        """`put` for (name, key, value) of consecutive entries; `world.sequence` is that of the first.

        False, and nothing done, where one of them would have to do more than to store: look at an expiry, tell
        somebody, or reckon with versions given before. A test holds it against `put`, entry by entry.
        """
        db, world = self.db, self.world
        sequence = world.sequence
        if (
            db.expires or db.flags or world.top_version >= sequence or world.events is not None
            or world.touched is not None
        ):  # fmt: skip
            return False
        items = db.items
        count = len(items)
        created = []
        if db.held is not None:
            created = db.store(entries, sequence)
            sequence += len(entries)
        else:
            for _, key, value in entries:
                items[key] = sequence.to_bytes(VERSION_BYTES, "big") + value
                sequence += 1
                if len(items) != count:
                    count += 1
                    created.append(key)
        if created:
            db.order.add(created)
        if world.usage is not None:
            world.usage.note(db.uses, [entry[1] for entry in entries])
        world.sequence = world.top_version = sequence - 1
        world.version = world.sequence.to_bytes(VERSION_BYTES, "big")
        return True

    def update(self, key: bytes, value: bytes) -> None:
        """Make `key` this string and keep its expiry and flags. The caller has looked at the key in this entry."""
        db, world = self.db, self.world
        items = db.items
        if world.top_version < world.sequence:
            world.top_version = world.sequence
            version = world.version
        else:
            version = self._next_version(items.get(key))
        if db.held is not None or world.usage is not None:
            self._account(key, value)
        count = len(items)
        items[key] = version + value
        if len(items) != count:
            self._created(key)
        if world.touched is not None:
            world.touched.append((self.index, key))

    def _account(self, key: bytes, value: bytes) -> None:
        """The key is about to hold `value`: what that adds to the memory in use, and that it is a use."""
        db, usage = self.db, self.world.usage
        if db.held is not None:
            old = db.items.get(key)
            db.held += VERSION_BYTES + len(value) + (len(key) if old is None else -len(old))
        if usage is not None:
            usage.note(db.uses, (key,))

    def _created(self, key: bytes) -> None:
        self.db.order.add((key,))
        self.event("n", "new", key)

    def set_expiry(self, key: bytes, at_ms: int | None, *, moves_version: bool = True) -> None:
        """Give an existing key an expiry (ms since the epoch) or None for no expiry."""
        db = self.db
        db.set_expiry(key, at_ms)
        if moves_version:
            item = db.items[key]
            db.items[key] = self._next_version(item) + item[VERSION_BYTES:]
        if self.world.touched is not None:
            self.world.touched.append((self.index, key))

    def set_flags(self, key: bytes, flags: int) -> None:
        """The EX* family's FLAGS; travels with the write that follows or precedes it in the same handler."""
        if flags:
            self.db.flags[key] = flags
        else:
            self.db.flags.pop(key, None)

    def delete(self, key: bytes) -> bool:
        """Remove a live key; False if there was none."""
        if self.item(key) is None:
            return False
        self._remove(key)
        return True

    def expire(self, key: bytes) -> None:
        """Remove a key because its time has come."""
        self._remove(key)
        self.world.expired += 1
        self.event("x", "expired", key)

    def evict(self, key: bytes, version: int) -> None:
        """Remove a key to make room, unless it has been written since it was chosen at this version."""
        item = self.db.items.get(key)
        if item is not None and self.db.version(item) == version:
            self._remove(key)
            self.world.evicted += 1
            self.event("e", "evicted", key)

    def _remove(self, key: bytes) -> None:
        db, world = self.db, self.world
        version = db.version(db.remove(key))
        if version > world.deleted_version:
            world.deleted_version = version
        if world.touched is not None:
            world.touched.append((self.index, key))

    def flush(self) -> int:
        """Remove every key of this database; returns how many. Memory is given back in steps, later."""
        world, count = self.world, len(self.db.items)
        if count:
            world.deleted_version = max(world.deleted_version, world.top_version)
            if count <= EMPTY_KEYS_MAX:
                self.db.empty()
            else:
                world.throw_away(self.db.clear())
        if world.touched is not None:
            world.touched.append((self.index, None))
        return count

    def swap(self, other: int) -> None:
        """Exchange this database with another one. Every key of both counts as written, so no version falls."""
        world = self.world
        theirs = world.databases[other]
        self.db.swap(theirs)
        world.top_version = max(world.top_version + 1, world.sequence)
        # For either place the keys of the other are new and its own are gone: later ones start above both.
        self.db.floor = theirs.floor = world.deleted_version = world.top_version
        if world.touched is not None:
            world.touched += [(self.index, None), (other, None)]

    def other(self, index: int) -> WriteTx:
        return self.world.transactions[index]
