"""The file that holds the process id while clients are served (`pidfile`), for supervisors that look for one.

Promise: it appears whole, and is removed at the stop if it is still ours: a second start with the same configuration,
which is refused, takes nobody's file away. One that cannot be written is a warning and no reason to stop.
"""

from __future__ import annotations

import os

from .observability import logs

log = logs.get_log("server")


class PidFile:
    """`path` may be empty: then there is none."""

    def __init__(self, path: str, pid: int) -> None:
        self._path = os.path.abspath(path) if path else ""
        self._text = f"{pid}\n"
        self._written = False

    def write(self) -> None:
        if not self._path:
            return
        new = f"{self._path}.new"
        try:
            with open(new, "w", encoding="ascii") as file:
                file.write(self._text)
            os.replace(new, self._path)
        except OSError as problem:
            log.warning(f"pidfile {self._path} cannot be written: {problem.strerror or problem}")
        else:
            self._written = True

    def remove(self) -> None:
        if not self._written:
            return
        try:
            with open(self._path, encoding="ascii") as file:
                ours = file.read() == self._text
            if ours:
                os.unlink(self._path)
        except (OSError, UnicodeError) as problem:
            log.warning(f"pidfile {self._path} is left where it is: {problem}")
