"""What all subcommands print: results for people or as JSON, questions before what cannot be undone, progress.

Promise: progress goes to standard error, one line that rewrites itself on a terminal and plain lines otherwise, so that
standard output is the result and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

PERIOD_S = 0.2  # between two updates on a terminal
PLAIN_PERIOD_S = 5.0  # between two lines of a log


class Group(Protocol):
    """What `register` of a module gets: makes the parser of one verb, with an example in its help."""

    def __call__(self, name: str, text: str, example: str) -> argparse.ArgumentParser: ...


def print_json(result: object) -> None:
    print(json.dumps(result, indent=2))


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Columns that line up; numbers, and dashes among them, to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    right = [
        any(isinstance(row[i], int | float) for row in rows)
        and all(isinstance(row[i], int | float) or row[i] == "-" for row in rows)
        for i in range(len(head))
    ]

    def line(row: Sequence[str]) -> str:
        parts = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        return "  ".join(parts).rstrip()

    return "\n".join([line(head), *map(line, cells)])


def confirm(question: str, yes: bool) -> bool:
    """True if the operator agrees: by `--yes`, or by the word yes on a terminal."""
    if yes:
        return True
    if not sys.stdin.isatty():
        print("not done: this asks for a confirmation; repeat it with --yes", file=sys.stderr)
        return False
    print(f"{question} Type 'yes' to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"


class Progress:
    """`say(done)` as often as one likes; `total` in the same unit, 0 when nobody knows it. `before`: done by others."""

    def __init__(
        self, what: str, total: int, unit: str = "entries", stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic, *, before: int = 0,
    ) -> None:  # fmt: skip
        self._what, self._total, self._unit, self._before = what, total, unit, before
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._now = now
        self._began = self._next = now()

    def say(self, done: int, note: str = "") -> None:
        now = self._now()
        if now < self._next:
            return
        self._next = now + (PERIOD_S if self._live else PLAIN_PERIOD_S)
        self._print(done, now, note, rated=now - self._began >= PERIOD_S)

    def end(self, done: int) -> None:
        """The last word, with the rate over all."""
        self._print(done, self._now())
        if self._live:
            self._stream.write("\n")
            self._stream.flush()

    def _print(self, done: int, now: float, note: str = "", *, rated: bool = True) -> None:
        rate = (done - self._before) / max(now - self._began, 1e-9)
        text = f"{self._what}: {done:,}"
        if self._total:
            text += f" of {self._total:,}"
        text += f" {self._unit}"
        if rated:
            text += f", {rate:,.0f} a second"
        if rated and self._total > done and rate > 0:
            text += f", {(self._total - done) / rate:.0f} s to go"
        text += note
        if self._live:
            self._stream.write(f"\r{text}\x1b[K")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
