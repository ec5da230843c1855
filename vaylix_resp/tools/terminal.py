"""A terminal that is drawn on as a whole, and single keys from it; plain escape sequences that every terminal knows.

    with Terminal(sys.stdin, sys.stdout) as terminal:
        terminal.draw(rows)
        key = terminal.key(wait_s)

Promise: what was on the screen, the cursor and the way of typing are as they were when the block ends, by SIGTERM,
SIGHUP and Ctrl-C, too, and while it is stopped by Ctrl-Z. Not here: what is drawn.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import termios
import tty
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, Self, TextIO

from .top_frame import Row

ENTER: Final = "\x1b[?1049h\x1b[?25l"  # the second screen, no cursor
LEAVE: Final = "\x1b[0m\x1b[?25h\x1b[?1049l"
HOME: Final = "\x1b[H"
END_OF_LINE: Final = "\x1b[K"
BELOW: Final = "\x1b[J"
STYLES: Final = {"": "", "head": "\x1b[1m", "bad": "\x1b[31m", "soft": "\x1b[2m"}
PLAIN: Final = "\x1b[0m"
ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)
WATCHED: Final = (*ENDINGS, signal.SIGTSTP, signal.SIGWINCH)


class Terminal:
    """`source` and `screen` are the two directions of one terminal; keys come only from a source that is one."""

    CLOSED: Final = "closed"  # instead of a key: nobody will press one any more

    def __init__(self, source: TextIO, screen: TextIO) -> None:
        self._source, self._screen = source, screen
        self._typed: list[Any] | None = None  # how typing was set up
        self._before: dict[signal.Signals, Any] = {}
        self._wake, self._woken = -1, -1

    def __enter__(self) -> Self:
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        for number in WATCHED:
            self._before[number] = signal.signal(number, self._signalled)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._give_back()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._wake)
        os.close(self._woken)

    def size(self) -> tuple[int, int]:
        """Columns and lines, as of now."""
        found = shutil.get_terminal_size()
        return found.columns, found.lines

    def draw(self, rows: Sequence[Row]) -> None:
        """Over what is there, so that nothing flickers. Each line is cleared before it is written: behind a line that
        fills the screen the cursor stands on its last character."""
        lines = [f"{STYLES[row.kind]}{row.text}{PLAIN if row.kind else ''}" for row in rows]
        clear = [END_OF_LINE] * (len(lines) - 1) + [BELOW]
        self._screen.write(HOME + "\n".join(empty + line for empty, line in zip(clear, lines, strict=True)))
        self._screen.flush()

    def key(self, wait_s: float | None) -> str:
        """The next one; "" after so many seconds, or when the screen has to be drawn anew."""
        sources = [self._wake] if self._typed is None else [self._source.fileno(), self._wake]
        ready, _, _ = select.select(sources, [], [], wait_s)
        if self._wake in ready:
            os.read(self._wake, 64)
            return ""
        if not ready:
            return ""
        return os.read(self._source.fileno(), 1).decode("ascii", "replace") or self.CLOSED

    def _take(self) -> None:
        if self._source.isatty():
            self._typed = termios.tcgetattr(self._source)
            tty.setcbreak(self._source)
        self._screen.write(ENTER)
        self._screen.flush()

    def _give_back(self) -> None:
        self._screen.write(LEAVE)
        self._screen.flush()
        if self._typed is not None:
            termios.tcsetattr(self._source, termios.TCSADRAIN, self._typed)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        """An end: as Ctrl-C. Ctrl-Z: give the terminal back, stop, and take it again when told to go on."""
        if number in ENDINGS:
            raise KeyboardInterrupt
        if number == signal.SIGTSTP:
            self._give_back()
            os.kill(os.getpid(), signal.SIGSTOP)
            self._take()
        try:
            os.write(self._woken, b"!")
        except BlockingIOError:
            return  # it will wake up anyway
