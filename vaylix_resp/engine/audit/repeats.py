"""The same failure over and over becomes one record a second with a count, so that a flood fills no disk.

    first of its kind           recorded at once
    again within the window     counted; `due` gives it with its count when the window ends

Promise: of each event with one outcome at most KEYS_MAX kinds are told apart; what comes beyond that in one window is
counted together. So nobody's many refusals hide who has logged in.
Pure; the time is given. Units: seconds. Not here: what makes two failures the same (the caller's key).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

WINDOW_S: Final = 1.0
KEYS_MAX: Final = 128


class Repeated(NamedTuple):
    """`what` is what `first` was given with the last of them; None where different ones were counted together."""

    event: str
    what: Any
    times: int


class _Window:
    __slots__ = ("count", "ends", "what")

    def __init__(self, ends: float, what: Any) -> None:
        self.ends, self.what, self.count = ends, what, 0


class Repeats:
    """Of one server."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, ...], _Window] = {}
        self._kinds: Counter[tuple[str, ...]] = Counter()  # windows, by event and outcome

    def first(self, key: tuple[str, ...], what: Any, now: float) -> bool:
        """Whether this one is to be recorded now; `key` begins with the event and its outcome."""
        window = self._windows.get(key)
        if window is None and self._kinds[key[:2]] >= KEYS_MAX:
            key, what = key[:2], None
            window = self._windows.get(key)
            if window is None:
                window = self._windows[key] = _Window(now + WINDOW_S, None)
                self._kinds[key] += 1
        if window is None:
            self._windows[key] = _Window(now + WINDOW_S, what)
            self._kinds[key[:2]] += 1
            return True
        window.count += 1
        window.what = what
        return False

    def due(self, now: float) -> list[Repeated]:
        """What was counted in the windows that have ended."""
        found = []
        for key, window in list(self._windows.items()):
            if now < window.ends:
                continue
            if not window.count:
                del self._windows[key]
                self._kinds[key[:2]] -= 1
                continue
            found.append(Repeated(key[0], window.what, window.count))
            window.count, window.ends = 0, now + WINDOW_S
        return found
