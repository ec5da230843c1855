"""What a start finds in audit/: the end of the chain, a torn append, or a break.

The current file is read whole, of the sealed one before it only the end, and the file that holds the record whose hash
the log has committed. Everything else is for `vaylix audit verify`.

    sound                                        go on behind it
    torn at the end, and nothing committed gone  cut into quarantine/, and a record says so
    anything else                                Broken; with `alarm` put aside, a record says so, and the chain goes on

Promise: whatever a crash leaves is not a break, also a crash in here; what the log has committed is there, or is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from ...clock import Clock
from ...commands.points import parse_iso
from ...errors import EX_DATA
from ...security import audit
from ...security.audit import CURRENT, START, FileName, Head, Line, Scan
from ...storage.disk import Disk, File, join
from ...storage.errors import IoFailed, StorageError, Unreadable
from ...storage.listing import QUARANTINE
from .files import DIRECTORY, AuditFiles, Fields, last_record

ADVICE: Final = (
    "keep the directory as it is and look at it with 'vaylix audit verify'; 'audit-on-break alarm' starts all the "
    "same, and a record says so"
)


class Broken(StorageError):
    """The audit is not what was written. `problem` for a record, without the path."""

    exit_code = EX_DATA

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}; to continue: {ADVICE}")


@dataclass(slots=True)
class Opened:
    """`owed`: records to be written before any other. `alarm`: the break that this start goes on behind."""

    files: AuditFiles
    owed: list[Fields] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    alarm: str = ""


@dataclass(frozen=True, slots=True)
class Current:
    """The current file as it was found."""

    data: bytes
    scan: Scan
    began_ms: int


class Opening:
    """One start. `committed`: the head in the log for this node, or None; `copied`: this is a backup's copy."""

    def __init__(
        self, disk: Disk, root: str, node: str, clock: Clock, committed: Head | None, *, copied: bool = False
    ) -> None:
        self._disk, self._root, self._node, self._clock = disk, root, node, clock
        self._directory = join(root, DIRECTORY)
        self._path = join(self._directory, CURRENT)
        self._committed = committed
        self._copied = copied
        self._current: Current | None = None
        self._met: str | None = None  # hash of the committed record, where the current file has it
        self._sealed: list[FileName] = []

    def open(self, *, alarm: bool, follows: Mapping[str, Any] | None = None) -> Opened:
        """Raises Broken (unless `alarm`), Unreadable, IoFailed. `follows`: for the first record of a chain."""
        try:
            self._disk.mkdir(self._directory)
            self._disk.fsync_dir(self._directory)  # a process that was killed leaves names that may still go
            try:
                return self._begin(self._look(), follows)
            except Broken as broken:
                if not alarm:
                    raise
                return self._go_on(broken)
        except OSError as cause:
            raise IoFailed(self._directory, cause) from cause

    # Looking.

    def _look(self) -> Head:
        """Where the chain ends; changes nothing. Raises Broken."""
        names = self._disk.listdir(self._directory)
        self._sealed = sorted(parsed for name in names if (parsed := audit.parse_name(name)) is not None)
        before = self._end_of_sealed()
        if CURRENT in names:
            data = self._read(self._path)
            self._current = self._scan(data, before)
            if (fault := self._current.scan.fault) is not None and not audit.is_torn(data, self._current.scan):
                raise Broken(self._path, str(fault))
            if self._current.scan.records:
                before = self._current.scan.head
        if self._sealed and before is None:
            raise Broken(self._directory, f"{self._sealed[-1]} was put aside, and no record says so")
        return self._compared(before)

    def _end_of_sealed(self) -> Head | None:
        """None: there are none, or the last one was put aside."""
        if not self._sealed or self._sealed[-1].broken:
            return None
        name = self._sealed[-1]
        path = join(self._directory, str(name))
        try:
            line = last_record(self._disk, path)
        except OSError as cause:
            raise Unreadable(path, 0, cause, advice=ADVICE) from cause
        if line is None or line.sequence != name.last:
            raise Broken(path, f"record {name.last}: the file does not end with the record that sealed it")
        return line.head

    def _scan(self, data: bytes, before: Head | None) -> Current:
        first = data.partition(b"\n")[0]
        line = audit.read(first)
        if line is None:
            # The first append of a file may be torn as any other; in a copy it goes on where the original was.
            begins = self._committed if self._copied and not self._sealed else None
            return Current(data, audit.scan(data, before or begins or START, self._seen), 0)
        new = audit.is_event(first, audit.BREAK) or (before is None and audit.is_event(first, audit.BEGIN))
        if before is None and not new:
            earlier = f"record {line.sequence}: it is the first one there: the files before it are missing"
            raise Broken(self._path, earlier)
        if self._sealed and before is None and not audit.is_event(first, audit.BREAK):
            raise Broken(self._path, f"record {line.sequence}: it begins a new chain behind one that was put aside")
        found = audit.scan(data, None if new else before, self._seen)
        return Current(data, found, _time_of(first))

    def _seen(self, line: Line, raw: bytes) -> None:
        if self._committed is not None and line.sequence == self._committed.sequence:
            self._met = line.hash

    def _compared(self, head: Head | None) -> Head:
        """The head, if it is not before what the log has committed and has the same record there."""
        committed = self._committed
        if committed is None:
            return head or START
        if head is None and self._copied:
            return committed
        if head is None and self._current is None:
            text = f"record {committed.sequence}: the audit is missing, though the log has committed up to this record"
            raise Broken(self._directory, text)
        end = head.sequence if head is not None else 0
        if end < committed.sequence:
            text = f"record {end + 1}: the end is missing: the log has committed up to record {committed.sequence}"
            raise Broken(self._path, text)
        met = self._met or self._met_in_sealed(committed.sequence)
        if met is not None and met != committed.hash:
            text = f"record {committed.sequence}: the log has committed another hash: the audit was rewritten"
            raise Broken(self._path, text)
        assert head is not None
        return head

    def _met_in_sealed(self, sequence: int) -> str | None:
        """None if the file has been deleted, as audit-retain allows; or was put aside."""
        for name in self._sealed:
            if name.first <= sequence <= name.last and not name.broken:
                path = join(self._directory, str(name))
                found = audit.scan(self._read(path), None, self._seen)
                if found.fault is not None:
                    raise Broken(path, str(found.fault))
                return self._met
        return None

    def _read(self, path: str) -> bytes:
        try:
            return self._disk.read_file(path)
        except OSError as cause:
            raise Unreadable(path, 0, cause, advice=ADVICE) from cause

    # Going on.

    def _begin(self, head: Head, follows: Mapping[str, Any] | None) -> Opened:
        warnings: list[str] = []
        if self._current is None:
            opened = Opened(self._files(head, None))
        else:
            found = self._current.scan
            file = self._disk.open(self._path, write=True)
            if found.fault is not None:
                warnings.append(self._cut(file, self._current))
            if found.records:  # what a killed process wrote and did not sync is visible, and may be on no disk
                file.pwrite(self._current.data[found.last_append : found.size], found.last_append)
                file.fdatasync()
            first = found.first
            opened = Opened(self._files(head, file, found.size, first, self._current.began_ms))
            if found.records and self._ends_sealed(found):
                self._finish_rotation(opened.files)
        opened.warnings = warnings
        files = opened.files
        if not self._sealed and not (self._current is not None and self._current.scan.records):
            details = {"continues": {"sequence": head.sequence, "hash": head.hash}} if head != START else {}
            opened.owed.append(files.fields(audit.BEGIN, details=details | ({"follows": follows} if follows else {})))
        opened.owed += self._notes_of_cuts(files, head.sequence + 1)
        return opened

    def _files(self, head: Head, file: File | None, size: int = 0, first: int = 0, began_ms: int = 0) -> AuditFiles:
        return AuditFiles(
            self._disk, self._root, self._node, self._clock, head=head, file=file, size=size, first=first,
            began_ms=began_ms,
        )  # fmt: skip

    def _ends_sealed(self, found: Scan) -> bool:
        assert self._current is not None
        last = self._current.data[: found.size - 1].rpartition(b"\n")[2]
        return audit.is_event(last, audit.SEALED)

    def _finish_rotation(self, files: AuditFiles) -> None:
        """A crash came between the record that seals a file and its new name."""
        files.close()
        self._disk.rename(self._path, join(self._directory, str(FileName(files.first, files.head.sequence))))
        files.size = files.first = 0

    def _cut(self, file: File, current: Current) -> str:
        """The torn append into quarantine/, durably, before it goes."""
        found = current.scan
        torn, sequence = current.data[found.size :], found.head.sequence + 1
        self._disk.mkdir(join(self._root, QUARANTINE))
        number, base = 0, join(self._root, QUARANTINE, f"{DIRECTORY}-{sequence}")
        path = base + ".torn"
        while self._disk.exists(path) and self._disk.read_file(path) != torn:
            number += 1
            path = f"{base}-{number}.torn"
        self._disk.replace_file(path, torn)
        file.truncate(found.size)
        file.fsync()
        return (
            f"{self._path}: {len(torn)} bytes from byte {found.size} on, of an append that a crash interrupted at "
            f"record {sequence}, were cut into {path}; nobody had been told that they were written"
        )

    def _notes_of_cuts(self, files: AuditFiles, sequence: int) -> list[Fields]:
        """For each torn append that was cut where the next record goes: also for one that an earlier start has cut and
        died before it could write this."""
        directory = join(self._root, QUARANTINE)
        if not self._disk.exists(directory):
            return []
        notes: list[Fields] = []
        for name in self._disk.listdir(directory):
            if name.endswith(".torn") and name.split(".")[0].split("-")[:2] == [DIRECTORY, str(sequence)]:
                torn = self._disk.read_file(join(directory, name))
                details = {"file": f"{QUARANTINE}/{name}", "bytes": len(torn), "sha256": sha256(torn).hexdigest()}
                notes.append(files.fields(audit.CUT, details=details))
        return notes

    def _go_on(self, broken: Broken) -> Opened:
        """Put the current file aside and begin one that says why."""
        found = self._current.scan if self._current is not None else None
        data = b""
        if self._disk.exists(self._path):
            data = self._current.data if self._current is not None else self._read(self._path)
        committed = self._committed or START
        last = max([committed.sequence, *(name.last for name in self._sealed)])
        details: dict[str, Any] = {"problem": broken.problem, "file": broken.path.rpartition("/")[2]}
        if data:
            seen = [line.sequence for raw in data.split(b"\n") if (line := audit.read(raw)) is not None]
            first = found.first if found is not None and found.first else last + 1
            last = max([last, first, *seen])
            name = str(FileName(first, last, broken=True))
            self._disk.rename(self._path, join(self._directory, name))
            details |= {"put_aside": name, "sha256": sha256(data).hexdigest()}
        elif self._disk.exists(self._path):
            self._disk.unlink(self._path)
        if committed.sequence:
            details |= {"committed_sequence": committed.sequence, "committed_hash": committed.hash}
        digest = found.head.hash if found is not None and found.records else START.hash
        files = self._files(Head(last, digest), None)
        return Opened(files, [files.fields(audit.BREAK, "broken", details=details)], [], str(broken))


def _time_of(raw: bytes) -> int:
    """When an intact record was made."""
    return parse_iso(json.loads(raw)["time"]) or 0
