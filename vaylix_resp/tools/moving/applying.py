"""Records of a file and commands of a stream into the target, each once, with the mark behind them; and the survey.

Promise: what cannot be taken is never passed over in silence: it ends the import, or is counted if that was asked for.
Not here: where records and commands come from (`from_rdb`, `from_aof`, `from_stream`), what they mean (`meaning`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ...errors import EX_DATA, Refused, printable
from ...interchange.command_stream import Command, StreamError
from ...interchange.rdb_reader import Key, Record, Unsupported
from ...limits import VALUE_BYTES_MAX
from ..output import table
from .meaning import Act, Meaning, Operation, Unknown, set_pieces, shifted, too_large
from .target import Mark, Target

TOO_LARGE: Final = f"string of more than {VALUE_BYTES_MAX >> 20} MiB"
NAMES_MAX: Final = 5  # of each kind in the table


class Unwanted(Refused):
    """The source holds what this server cannot keep."""

    exit_code = EX_DATA


@dataclass(slots=True)
class Survey:
    """What a source holds, before anything is written."""

    keys: int = 0  # strings, those that have expired among them
    records: int = 0
    commands: int = 0
    databases: set[int] = field(default_factory=set)
    unsupported: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def record(self, record: Record) -> None:
        if isinstance(record, Key):
            self.keys += 1
            self.records += 1
            self.databases.add(record.db)
        elif isinstance(record, Unsupported):
            self.records += 1
            self.leave_out(record.kind, record.name or b"")

    def leave_out(self, kind: str, name: bytes) -> None:
        self.unsupported[kind] = self.unsupported.get(kind, 0) + 1
        if name and len(names := self.names.setdefault(kind, [])) < NAMES_MAX:
            names.append(printable(name, 40))

    def command(self, meaning: Meaning, command: Command) -> Act:
        act = understood(meaning, command)
        self.commands += 1
        self.databases.update(operation.db for operation in act.operations)
        if act.unknown is not None:
            self.leave_out(act.unknown.kind, act.unknown.key)
        return act

    def refuse(self, skip: bool) -> None:
        """Raises Unwanted, unless what cannot be taken is to be left out."""
        if self.unsupported and not skip:
            counted = ", ".join(f"{count} {kind}" for kind, count in sorted(self.unsupported.items()))
            raise Unwanted(f"nothing was written: the source holds what this server cannot keep: {counted}; "
                           "--skip-unsupported goes on without it")  # fmt: skip

    def rows(self) -> str:
        """The table for people."""
        rows = [
            (kind, count, ", ".join(self.names.get(kind, []))) for kind, count in sorted(self.unsupported.items())
        ]
        return table(rows, ("cannot be kept", "count", "for example"))

    def as_data(self) -> dict[str, Any]:
        return {"unsupported": self.unsupported, "examples": self.names}


def understood(meaning: Meaning, command: Command) -> Act:
    """What a command comes to. StreamError: its words are not those of such a command."""
    try:
        act = meaning.of(command.words)
    except (ValueError, IndexError, StopIteration):
        name = printable(command.words[0], 40)
        raise StreamError("the stream", command.end, f"the words of a {name} before here") from None
    if act.operations and too_large(command.words):
        return Act(unknown=Unknown(TOO_LARGE, command.words[1], meaning.db))
    return act


class Applier:
    """Writes through `target`, whose mark it moves. `shift`: a stream follows, no key may expire yet."""

    def __init__(self, target: Target, mark: Mark, *, skip: bool, shift: bool, now_ms: Callable[[], int]) -> None:
        self._target, self._skip, self._shift, self._now_ms = target, skip, shift, now_ms
        self.mark = target.mark = mark
        self.meaning = Meaning(mark.db, now_ms(), skip)
        self._nx = (b"NX",) if mark.policy == "skip" else ()
        self._place = 0

    def begin_file(self) -> None:
        """Records are counted from here on; `mark.keys` of them are done."""
        self._place = 0

    def record(self, record: Record) -> None:
        """The next record of a file; one that the mark has is passed by."""
        if not isinstance(record, Key | Unsupported):
            return
        self._place += 1
        if self._place <= self.mark.keys:
            return
        if isinstance(record, Key):
            self.key(record.db, record.name, record.value, record.expire_at_ms)
        else:
            self.leave_out(record.kind, record.name or b"")
        self.mark.keys, self.mark.piece = self._place, 0  # a key may have expired with some of its pieces there

    def key(self, db: int, name: bytes, value: bytes, expire_at_ms: int | None) -> None:
        """One string, unless it has expired and nothing can come that changes this."""
        until: tuple[bytes, ...] = ()
        if expire_at_ms is not None:
            if not self._shift and expire_at_ms <= self._now_ms():
                self.mark.expired += 1
                return
            until = (b"PXAT", b"%d" % (shifted(expire_at_ms) if self._shift else expire_at_ms))
        self._target.add(set_pieces(db, name, value, self._nx + until))
        self.mark.written += 1

    def command(self, command: Command) -> Act:
        """One command of a stream; those of a transaction stay together if they are few enough."""
        act = understood(self.meaning, command)
        if act.unknown is not None:
            self.leave_out(act.unknown.kind, act.unknown.key, command.end)
            self._add(act.unknown.instead)
        if act.begins or act.ends:
            self._target.inside = act.begins
        self._add(act.operations)
        mark = self.mark
        mark.offset, mark.db = command.end, self.meaning.db
        mark.commands += 1
        return act

    def _add(self, operations: tuple[Operation, ...]) -> None:
        if operations:
            self._target.add(operations)

    def leave_out(self, kind: str, name: bytes, offset: int = 0) -> None:
        """What cannot be kept: counted, or the end of the import (Unwanted)."""
        if not self._skip:
            self._target.flush()
            place = f" before offset {offset}" if offset else ""
            raise Unwanted(f"the source holds what this server cannot keep: {kind}, key '{printable(name, 60)}'{place};"
                           " with --skip-unsupported the same command goes on without it")  # fmt: skip
        self.mark.unsupported[kind] = self.mark.unsupported.get(kind, 0) + 1
