"""When keys expire: by the second, so that those that are due are found without a look at the others.

Promises: no call's time grows with the number of keys; no churn of expiries grows the wheel.
A wheel that was taken in (`absorb`) is emptied step by step by `settle` and may hold, until then, keys whose expiry has
moved since: they are told from the others by `expires`, which says what counts and which the caller keeps.
Units: expiries in ms since the epoch. Not here: what removes a key that is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from sortedcontainers import SortedList

from .scan_order import Rng

WHEEL_MS: Final = 1000  # keys that expire within the same second share a slot of the wheel
SLOT_LIST_MAX: Final = 32  # a slot of more keys is a set: quick to leave, but five times the memory of a list
SKIPPED_MAX: Final = 2000  # keys of a slot passed over on the way to a random one: some microseconds
NOT_EXPIRING: Final = 1 << 63  # later than any time of expiry

Keys = list[bytes] | set[bytes]


class Wheel:
    """Slots of keys, by time of expiry // WHEEL_MS."""

    __slots__ = ("_layers", "_order", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, Keys] = {}
        self._order: SortedList[int] = SortedList()  # the slots' numbers; exact, so that no churn of expiries grows it
        self._layers: list[Wheel] = []  # wheels taken in, without layers of their own

    def __bool__(self) -> bool:
        return bool(self.slots or self._layers)

    @property
    def settled(self) -> bool:
        return not self._layers

    def add(self, key: bytes, at_ms: int) -> None:
        self._put(key, at_ms // WHEEL_MS)

    def _put(self, key: bytes, slot: int) -> None:
        keys = self.slots.get(slot)
        if keys is None:
            self.slots[slot] = [key]
            self._order.add(slot)
        elif isinstance(keys, set):
            keys.add(key)
        else:
            keys.append(key)
            if len(keys) > SLOT_LIST_MAX:
                self.slots[slot] = set(keys)

    def leave(self, key: bytes, at_ms: int) -> None:
        """A key whose expiry has been `at_ms`."""
        slot = at_ms // WHEEL_MS
        keys = self.slots.get(slot)
        if self._layers and (keys is None or key not in keys):
            for layer in self._layers:
                if key in layer.slots.get(slot, ()):
                    layer._take(key, slot)
                    return
        self._take(key, slot)

    def _take(self, key: bytes, slot: int) -> None:
        keys = self.slots[slot]
        keys.remove(key)
        if not keys:
            self._drop(slot)

    def _drop(self, slot: int) -> None:
        del self.slots[slot]
        self._order.remove(slot)

    def keys_beside(self, at_ms: int) -> Keys:
        """The keys that share their second with one that expires at `at_ms`."""
        slot = at_ms // WHEEL_MS
        return next(wheel.slots[slot] for wheel in (self, *self._layers) if slot in wheel.slots)

    def due(self, now_ms: int, limit: int, expires: Mapping[bytes, int]) -> list[bytes]:
        """At most `limit` keys whose time has come, roughly the oldest first.

        Called again after their removal it finds the rest; the last of very many keys that share a slot may be
        found as late as WHEEL_MS after their time, as only `limit` of a slot are looked at.
        """
        found = self._due(now_ms, limit, expires)
        for layer in self._layers:
            found += layer._due(now_ms, limit, expires)
        return (list(dict.fromkeys(found)) if self._layers else found)[:limit]

    def _due(self, now_ms: int, limit: int, expires: Mapping[bytes, int]) -> list[bytes]:
        found: list[bytes] = []
        for slot in self._order:  # every slot but the last holds keys that are due, so these are at most `limit`
            if slot * WHEEL_MS > now_ms or len(found) >= limit:
                break
            found += [k for k in islice(self.slots[slot], limit) if expires.get(k, NOT_EXPIRING) <= now_ms]
        return found

    def some(self, rng: Rng, count: int) -> list[bytes]:
        """At most `count` keys that expire in the same second, any one. `expires` tells whether they still do."""
        wheels = [wheel for wheel in (self, *self._layers) if wheel.slots]
        if not wheels:
            return []
        wheel = wheels[rng.randrange(len(wheels))]
        keys = wheel.slots[wheel._order[rng.randrange(len(wheel._order))]]
        start = rng.randrange(min(max(1, len(keys) - count + 1), SKIPPED_MAX))
        return [*islice(keys, start, start + count)]

    def nearest(self, count: int) -> list[bytes]:
        """At least `count` keys, if there are so many, that expire first, as far as `expires` agrees."""
        found: list[bytes] = []
        for wheel in (self, *self._layers):
            most = len(found) + count
            for slot in wheel._order:
                if len(found) >= most:
                    break
                found += islice(wheel.slots[slot], count)
        return found

    def absorb(self, other: Wheel) -> None:
        """Take in a wheel, which is spent."""
        if other.slots:
            layer = Wheel()
            layer.slots, layer._order = other.slots, other._order
            self._layers.append(layer)
        self._layers += other._layers
        other.slots, other._order, other._layers = {}, SortedList(), []

    def settle(self, limit: int, expires: Mapping[bytes, int]) -> bool:
        """Move the next `limit` keys of what was taken in to where they belong; True when all are there."""
        while self._layers and limit > 0:
            layer = self._layers[-1]
            if not layer.slots:
                self._layers.pop()
                continue
            slot = layer._order[-1]
            keys = layer.slots[slot]
            while keys and limit > 0:
                key = keys.pop()
                limit -= 1
                if expires.get(key, NOT_EXPIRING) // WHEEL_MS == slot and key not in self.slots.get(slot, ()):
                    self._put(key, slot)
            if not keys:
                layer._drop(slot)
        return not self._layers

    def release(self, limit: int) -> bool:
        """Free about `limit` keys; True when nothing is left. Its order no longer holds."""
        for _ in range(min(limit, len(self._order))):
            self._order.pop()
        while self.slots and limit > 0:
            slot, keys = self.slots.popitem()
            for _ in range(min(limit, len(keys))):
                keys.pop()
                limit -= 1
            if keys:
                self.slots[slot] = keys
            limit -= 1
        if not self.slots and self._layers and limit > 0:
            if self._layers[-1].release(limit):
                self._layers.pop()
        return not (self.slots or self._order or self._layers)
