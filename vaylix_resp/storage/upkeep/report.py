"""What a verification found: one report per file, and the verdict that follows from all of them.

Promise: `Report.whole` is true only if nothing at all was wrong; what can be restored is said only of bytes that were
read and found right.
Units: sequences from 1; offsets and sizes in bytes; times in ms since the epoch.
Not here: reading files (`verify`), how it is printed (`tools`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from vaylix_resp.errors import EX_DATA, EX_IO, EX_OK


class Status(Enum):
    """Of one file. The first three are in order; the others are reasons for an exit code that is not 0."""

    OK = "ok"
    TORN = "torn"  # the append that a crash interrupted, or one that is just being written: cut at the next start
    LEFTOVER = "leftover"  # of a crash or of an operator; no part of the data
    UNCHECKED = "unchecked"  # sealed, and the keyring that opens it is damaged
    MISSING = "missing"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"  # the disk does not give the bytes back


FINE = (Status.OK, Status.TORN, Status.LEFTOVER)


@dataclass(frozen=True, slots=True)
class Problem:
    """One place that is not as it was written."""

    text: str  # what was expected there
    offset: int | None = None
    sequence: int | None = None

    def __str__(self) -> str:
        place = "" if self.offset is None else f"byte {self.offset}: "
        return place + ("" if self.sequence is None else f"sequence {self.sequence}: ") + self.text


@dataclass(slots=True)
class FileReport:
    """`first` to `last`: sequences of a segment; of a snapshot both are its own. `path`: relative to the directory."""

    path: str
    kind: str
    status: Status = Status.OK
    bytes: int = 0
    first: int | None = None
    last: int | None = None
    entries: int | None = None
    batches: int | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    sealed: bool | None = None
    note: str = ""
    problems: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem, status: Status = Status.DAMAGED) -> None:
        """One more problem; the graver status stays."""
        self.problems.append(problem)
        if list(Status).index(status) > list(Status).index(self.status):
            self.status = status


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sequences first..last of which every batch is right and follows the one before it."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Restorable:
    """Every sequence from the base (a snapshot; 0: the empty state) to `last` can be restored."""

    base: int
    last: int
    snapshot: str | None


@dataclass(slots=True)
class Report:
    """The whole directory."""

    root: str
    files: list[FileReport] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)  # in order
    snapshots: dict[int, str] = field(default_factory=dict)  # those that are right: sequence -> file
    end: int = 0  # the last sequence that this directory is known to have had
    warnings: list[str] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)  # what was shown by loading and replaying

    def add_batch(self, first: int, last: int, *, follows: bool) -> None:
        """A right batch; `follows`: it names the one before it as its predecessor."""
        if follows and self.stretches and self.stretches[-1].last + 1 == first:
            first = self.stretches.pop().first
        self.stretches.append(Stretch(first, last))

    @property
    def whole(self) -> bool:
        return all(file.status in FINE for file in self.files)

    @property
    def bad(self) -> list[FileReport]:
        return [file for file in self.files if file.status not in FINE]

    @property
    def exit_code(self) -> int:
        """Damage before bytes that could not be read: it is certain, the others may be good."""
        if self.whole:
            return EX_OK
        return EX_IO if all(file.status is Status.UNREADABLE for file in self.bad) else EX_DATA

    def restorable(self) -> list[Restorable]:
        """What the right files lead to, without overlaps, oldest first."""
        bases: list[tuple[int, str | None]] = [(0, None)] if any(s.first == 1 for s in self.stretches) else []
        bases += sorted(self.snapshots.items())
        found: list[Restorable] = []
        for base, file in bases:
            last = next((s.last for s in self.stretches if s.first <= base + 1 <= s.last), base)
            if not found or base > found[-1].last:
                found.append(Restorable(base, last, file))
        return found

    def verdict(self) -> str:
        """For people, in one or two sentences."""
        ranges = self.restorable()
        reach = ranges[-1].last if ranges else None
        if self.whole:
            return f"Everything is whole up to sequence {self.end}."
        bad = self.bad
        text = f"{len(bad)} of {len(self.files)} files are not whole. "
        if reach is None:
            return text + "Nothing can be restored from this directory: restore from a backup."
        spans = ", ".join(_span(one) for one in ranges)
        text += f"What can be restored: {spans}."
        if reach < self.end:
            text += f" Sequences {reach + 1} to {self.end} are lost here: a backup or an archive may have them."
        return text

    def as_dict(self) -> dict[str, Any]:
        files = [{**asdict(file), "status": file.status.value} for file in self.files]
        return {
            "data_dir": self.root, "whole": self.whole, "exit_code": self.exit_code, "last_sequence": self.end,
            "verdict": self.verdict(), "restorable": [asdict(one) for one in self.restorable()],
            "warnings": self.warnings, "proofs": self.proofs, "files": files,
        }  # fmt: skip


def _span(one: Restorable) -> str:
    base = f"snapshot {one.base}" if one.snapshot else "the empty state"
    if one.last == one.base:
        return f"sequence {one.base} ({base})"
    return f"sequences {one.base} to {one.last} (from {base} and the log)"
