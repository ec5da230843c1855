"""What is tried again, and for how long: a server that refuses for now, a connection that was lost.

Promises: what fails is tried again for `retry_s` from its first failure on, with growing pauses, and what is waited for
is said once; then GivenUp, with the last reason. Each success begins the time anew.
Units: seconds. Not here: what is tried (`target`, `side`), what an answer means to whoever asked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from ...errors import EX_IO, Refused
from ..reach import told

PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 3.0
RETRY_S: Final = 300.0
FOR_NOW: Final = frozenset(
    """
    MISCONF OOM LOADING READONLY NOREPLICAS CLUSTERDOWN MASTERDOWN NOMASTERLINK TRYAGAIN INDETERMINATE MAINTENANCE BUSY
    """.split()
)
_DISCARDED: Final = "EXECABORT Transaction discarded because of: "  # in front of the reason why EXEC was refused

Result = TypeVar("Result")


class GivenUp(Refused):
    """The server did not help for too long, or will not at all. What was answered before is there."""

    exit_code = EX_IO


class ForNow(OSError):
    """It did not happen, and may be tried again."""


def _nothing() -> None:
    """What is done meanwhile, unless somebody says more."""


def is_for_now(answer: str) -> bool:
    """Whether the same request may be granted in a moment."""
    return answer.removeprefix(_DISCARDED).partition(" ")[0] in FOR_NOW


class Patience:
    """With one server."""

    def __init__(
        self, where: str, retry_s: float = RETRY_S, *,
        sleep: Callable[[float], None] = time.sleep, now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.where = where
        self._meanwhile: Callable[[], None] = _nothing
        self._retry_s, self._sleep, self._now = retry_s, sleep, now
        self._since: float | None = None  # the first failure behind the last success
        self._pause_s = PAUSE_S_MIN

    def until(self, attempt: Callable[[bool], Result]) -> Result:
        """What `attempt` gives, which is told whether it is not the first one. GivenUp when there is no hope."""
        again = False
        while True:
            try:
                result = attempt(again)
            except OSError as problem:
                self.failed(problem)
                again = True
            else:
                self.well()
                return result

    def failed(self, problem: OSError) -> None:
        """Wait before the next attempt, or GivenUp."""
        if self._since is None:
            self._since = self._now()
            print(f"{self.where}: waiting: {told(problem)}", file=sys.stderr, flush=True)
        if self._now() - self._since >= self._retry_s:
            raise GivenUp(f"{self.where}: no answer that helps for {self._retry_s:g} s: {told(problem)}") from problem
        self._sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        self._meanwhile()

    @contextmanager
    def doing(self, meanwhile: Callable[[], None]) -> Iterator[None]:
        """`meanwhile` is called before each attempt that is not the first, for as long as this lasts."""
        self._meanwhile = meanwhile
        try:
            yield
        finally:
            self._meanwhile = _nothing

    def well(self) -> None:
        """Something has come through."""
        if self._since is not None:
            self._since, self._pause_s = None, PAUSE_S_MIN
