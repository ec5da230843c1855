"""When a key was last used, or how often: what `maxmemory-policy` chooses keys by.

An observer's knowledge, of one process, and no part of the state: it is neither logged nor in snapshots, so each node
knows the reads that it has served itself and every write, and begins anew with each start.
Each database keeps one integer per key that was used (`Database.uses`), and many keys share one object: about 45 bytes
a key. Not here: who is chosen (`candidates`); what counts as a use (`views`).
Units: `Recency` monotonic seconds; `Frequency` (minute << 8 | counter), the counter up to 255.
Source: the logarithmic counter (Morris, 1978) with decay and its parameters are those of Redis's LFU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from itertools import repeat
from random import Random
from typing import Final

COUNTER_MAX: Final = 255
COUNTER_NEW: Final = 5  # of a key that was just made: it needs time to show what it is worth
SECONDS_A_MINUTE: Final = 60


class Usage(ABC):
    """The uses of keys by one measure. `now`: monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.tick(now)

    @abstractmethod
    def tick(self, now: float) -> None:
        """Time goes on: called several times a second."""

    @abstractmethod
    def note(self, uses: dict[bytes, int], keys: Collection[bytes]) -> None:
        """These keys of a database have been used. Hot: once per row."""

    @abstractmethod
    def ranks(self, uses: Mapping[bytes, int], keys: Collection[bytes]) -> list[int]:
        """How much each of these keys is worth keeping: the lowest goes first."""

    def rank(self, uses: Mapping[bytes, int], key: bytes) -> int:
        """Of one key."""
        return self.ranks(uses, (key,))[0]


class Recency(Usage):
    """Least recently used first. What has not been used since the counting began is as old as that."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._began = self._second

    def tick(self, now: float) -> None:
        self._second = int(now)

    def note(self, uses: dict[bytes, int], keys: Collection[bytes]) -> None:
        uses.update(zip(keys, repeat(self._second)))

    def ranks(self, uses: Mapping[bytes, int], keys: Collection[bytes]) -> list[int]:
        return [*map(uses.get, keys, repeat(self._began))]

    def idle_s(self, uses: Mapping[bytes, int], key: bytes) -> int:
        """OBJECT IDLETIME."""
        return max(0, self._second - self.rank(uses, key))


class Frequency(Usage):
    """Least frequently used first: a counter that grows ever more slowly and decays with time.

    `log_factor`: the larger, the more uses until a counter is full; `decay_minutes`: how long until it falls by one;
    0: it never does.
    """

    def __init__(self, now: float, rng: Random) -> None:
        self._codes: list[int] = []  # of this minute, by counter: shared by all keys that have them
        self._minute = -1
        super().__init__(now)
        self.log_factor, self.decay_minutes = 10, 1  # Redis's defaults
        self._random = rng.random
        self._first = self._codes[COUNTER_NEW]

    def tick(self, now: float) -> None:
        minute = int(now) // SECONDS_A_MINUTE
        if minute != self._minute:
            self._minute = minute
            self._codes = [minute << 8 | counter for counter in range(COUNTER_MAX + 1)]

    def note(self, uses: dict[bytes, int], keys: Collection[bytes]) -> None:
        codes, minute, factor, random = self._codes, self._minute, self.log_factor, self._random
        for key in keys:
            code = uses.get(key)
            if code is None:
                uses[key] = codes[COUNTER_NEW]
                continue
            counter = code & COUNTER_MAX
            if code >> 8 != minute:
                counter = self._decayed(code)
            elif counter == COUNTER_MAX:
                continue
            above = counter - COUNTER_NEW
            if counter < COUNTER_MAX and (above <= 0 or random() * (above * factor + 1) < 1):
                counter += 1
            elif code >> 8 == minute:
                continue
            uses[key] = codes[counter]

    def ranks(self, uses: Mapping[bytes, int], keys: Collection[bytes]) -> list[int]:
        """OBJECT FREQ, too."""
        return [self._decayed(uses.get(key, self._first)) for key in keys]

    def _decayed(self, code: int) -> int:
        if not self.decay_minutes:
            return code & COUNTER_MAX
        return max(0, (code & COUNTER_MAX) - (self._minute - (code >> 8)) // self.decay_minutes)
