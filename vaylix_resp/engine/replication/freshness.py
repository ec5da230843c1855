"""How old what a node has applied may be: since when it is known to have had all that was acknowledged by then.

Now and then the core is asked for a read index, as for a client's read. When its answer has been applied, the state is
no older than the question. Heartbeats would not do: they speak only of what a follower has acknowledged, so one that
gets nothing else (its appends are stuck, a snapshot is on its way) would take itself for up to date; and those that
waited while a process was stopped are old when they are read. So a leader asks as well.
Promise: `since` is never later than the moment from which on something may be missing.
Units: monotonic seconds; sequences. Pure, but for `ask`. Not here: what is too old (`server.shared`).
Source: Raft (Ongaro, 2014), section 6.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from ...raft.types import Refused

TOKEN: Final = 0  # of the question; those of clients' reads are greater
ASK_S: Final = 0.25
ANSWERS_MAX: Final = 64  # confirmed, not applied so far


class Freshness:
    """`ask` is the core's `read_index`."""

    def __init__(self, ask: Callable[[int], Refused | None]) -> None:
        self._ask = ask
        self._asked: float | None = None  # when; None: no question is under way
        self._again = 0.0
        self._answers: deque[tuple[float, int]] = deque()  # when it was asked; what has to be applied
        self.since: float | None = None  # None: never known so far

    def look(self, now: float, applied: int) -> bool:
        """With each tick; whether a question has been asked."""
        while self._answers and self._answers[0][1] <= applied:
            self.since = self._answers.popleft()[0]
        if self._asked is not None or now < self._again or len(self._answers) >= ANSWERS_MAX:
            return False
        if self._ask(TOKEN) is not None:
            return False
        self._asked, self._again = now, now + ASK_S
        return True

    def answer(self, index: int | None) -> None:
        """What has to be applied; None: nobody could say."""
        asked, self._asked = self._asked, None
        if asked is not None and index is not None:
            self._answers.append((asked, index))
