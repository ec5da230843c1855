"""The pause of the source's writers while the last of it is brought over.

Promise: a pause that would end before the work does is made longer in time, and if it was not, that is known (`whole`);
it is never ended by us, since who writes to the source after the cut-over writes what the target does not get.
Units: milliseconds; the clock is monotonic.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .options import Options
from .side import Side


class Pause:
    """`CLIENT PAUSE ... WRITE`; nothing, if it was not asked for. `whole`: nobody has written since it began."""

    def __init__(self, control: Side, where: str, options: Options, now: Callable[[], float] = time.monotonic) -> None:
        self._control, self._options, self._now = control, options, now
        self._refused = f"{where}: CLIENT PAUSE ... WRITE is refused (Redis knows it since 6.2)"
        self._asked: float | None = None  # when the last one was sent; it ends `pause_ms` later, or after that
        self._run_id = ""  # of the process that has it: a source that is started again pauses nobody
        self.whole = True

    @property
    def over(self) -> bool:
        """Whether writers may write again by now; never, if they were not to be paused."""
        return self._asked is not None and (self._now() - self._asked) * 1000 > self._options.pause_ms

    def begin(self) -> None:
        """From now on for `pause_ms`."""
        self._asked, self.whole = None, True
        self.hold()

    def hold(self) -> None:
        """For `pause_ms` again."""
        if not self._options.pause_source:
            return
        before, asked = self._asked, self._now()
        self._control.all(0, [(b"CLIENT", b"PAUSE", b"%d" % self._options.pause_ms, b"WRITE")], self._refused)
        lapsed = before is not None and (self._now() - before) * 1000 > self._options.pause_ms
        if lapsed or (before is not None and self._control.run_id != self._run_id):
            self.whole = False
        self._asked, self._run_id = asked, self._control.run_id

    def renew(self) -> None:
        """Again, when half of it is over."""
        if self._asked is not None and (self._now() - self._asked) * 2000 > self._options.pause_ms:
            self.hold()
