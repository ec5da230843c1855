"""The pause of the source's writers while the last of it is brought over.

Promise: a pause that would end before the work does is made longer in time; it is never ended by us, since who writes
to the source after the cut-over writes what the target does not get. Units: milliseconds; the clock is monotonic.
"""

from __future__ import annotations

import time

import hiredis

from .channel import Channel, Denied
from .options import Options


class Pause:
    """`CLIENT PAUSE ... WRITE` over a connection that does nothing else meanwhile; nothing, if it was not asked for."""

    def __init__(self, control: Channel, where: str, options: Options) -> None:
        self._control, self._where, self._options = control, where, options
        self._began: float | None = None

    def begin(self) -> None:
        """From now on for `pause_ms`."""
        if not self._options.pause_source:
            return
        answer = self._control.ask(b"CLIENT", b"PAUSE", b"%d" % self._options.pause_ms, b"WRITE")
        if isinstance(answer, hiredis.ReplyError):
            raise Denied(f"{self._where}: CLIENT PAUSE ... WRITE is refused (Redis knows it since 6.2): {answer}")
        self._began = time.monotonic()

    def renew(self) -> None:
        """Again, when half of it is over."""
        if self._began is not None and (time.monotonic() - self._began) * 2000 > self._options.pause_ms:
            self.begin()
