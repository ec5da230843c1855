"""The audit's files: appending records, sealing a file when it is full, and deleting old ones as the directive says.

    audit/audit.jsonl                                  being written
    audit/audit-<first>-<last>.jsonl                   sealed: its last record says so
    audit/audit-<first>-<last>.broken.jsonl            put aside by a start that was told to go on

Promise: `append` returns when its records are durable; only the last append can ever be torn, because each is begun
after the fsync of the one before. A failed fsync is final: this process never writes to an audit again.
Not here: checking what is there at a start (`recovery`), threads (`log`), the form of a record (`security.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ...clock import Clock
from ...commands.points import iso
from ...security import audit
from ...security.audit import CURRENT, FileName, Head
from ...storage.disk import NO_SPACE, Disk, File, join

DIRECTORY: Final = "audit"

# A record but for its place in the chain; or what makes one when the head in front of it is known.
Fields = Mapping[str, Any]
Composer = Callable[[Head], Fields]


class NoRoom(Exception):
    """Definite: nothing of it is in the file, which can be used again."""


class Failed(Exception):
    """Nobody knows what the disk has; only a new start can find out."""


class AuditFiles:
    """The writer. `head` is durable; `first` is 0 while the current file has no record."""

    def __init__(
        self, disk: Disk, root: str, node: str, clock: Clock, *, head: Head, file: File | None, size: int = 0,
        first: int = 0, began_ms: int = 0,
    ) -> None:  # fmt: skip
        self.disk, self.node, self.head, self.size, self.first = disk, node, head, size, first
        self.directory = join(root, DIRECTORY)
        self.rotate_bytes = 64 << 20
        self.rotate_age_s = 0  # 0: by size only
        self.retain = 0  # sealed files that are kept; 0: all
        self._clock = clock
        self._file = file
        self._began_ms = began_ms

    @property
    def path(self) -> str:
        return join(self.directory, CURRENT)

    def fields(self, event: str, outcome: str = "ok", **more: Any) -> dict[str, Any]:
        return audit.fields(event, outcome, iso(self._clock.wall_ms()), self.node, **more)

    def append(self, records: Sequence[Fields | Composer]) -> bool:
        """All of them, durably, in one write. Whether the file was full and has been sealed. Raises NoRoom, Failed."""
        self._write(records)
        if not self.is_due:
            return False
        self.rotate()
        return True

    @property
    def is_due(self) -> bool:
        if not self.first:
            return False
        age_ms = self._clock.wall_ms() - self._began_ms
        return self.size >= self.rotate_bytes or 0 < self.rotate_age_s * 1000 <= age_ms

    def rotate(self) -> None:
        """Seal the current file, which has records, and go on in a new one. Raises NoRoom, Failed."""
        self._write([self.fields(audit.SEALED)])
        assert self._file is not None
        self._file.close()
        self._file = None
        name = str(FileName(self.first, self.head.sequence))
        try:
            self.disk.rename(self.path, join(self.directory, name))
        except OSError as cause:
            raise Failed(f"{name}: {cause.strerror or cause}") from cause
        self.size = self.first = 0
        self._prune()

    def _prune(self) -> None:
        """Delete what `audit-retain` does not keep. The record that explains the gap is durable before."""
        if not self.retain:
            return
        names = sorted(parsed for name in self._names() if (parsed := audit.parse_name(name)) is not None)
        sealed = [name for name in names if not name.broken]
        if len(sealed) <= self.retain:
            return
        last = sealed[-self.retain - 1]
        tail = last_record(self.disk, join(self.directory, str(last)))
        if tail is None:
            return  # damaged: what is left of it is evidence, and `verify` names it
        details = {"through": tail.sequence, "hash": tail.hash}
        self._write([self.fields(audit.PRUNED, details=details)])
        try:
            for name in names:
                if name <= last:
                    self.disk.unlink(join(self.directory, str(name)))
        except OSError as cause:
            raise Failed(f"{last}: {cause.strerror or cause}") from cause

    def _names(self) -> list[str]:
        try:
            return self.disk.listdir(self.directory)
        except OSError as cause:
            raise Failed(f"{self.directory}: {cause.strerror or cause}") from cause

    def _write(self, records: Sequence[Fields | Composer]) -> None:
        file = self._opened()
        head, batch, lines = self.head, self.head.sequence + 1, []
        for record in records:
            line, head = audit.seal(head, batch, record(head) if callable(record) else record)
            lines.append(line)
        data = b"".join(lines)
        try:
            file.pwrite(data, self.size)
        except OSError as cause:
            if cause.errno not in NO_SPACE:
                raise Failed(f"{self.path}: {cause.strerror or cause}") from cause
            self._take_back(file)
            raise NoRoom(f"{self.path}: {cause.strerror or cause}") from cause
        try:
            file.fdatasync()
        except OSError as cause:
            raise Failed(f"{self.path}: {cause.strerror or cause}") from cause
        if not self.first:
            self.first, self._began_ms = batch, self._clock.wall_ms()
        self.head, self.size = head, self.size + len(data)

    def _opened(self) -> File:
        if self._file is None:
            try:
                self._file = self.disk.create(self.path)
            except OSError as cause:
                kind = NoRoom if cause.errno in NO_SPACE else Failed
                raise kind(f"{self.path}: {cause.strerror or cause}") from cause
            self.size = self.first = 0
        return self._file

    def _take_back(self, file: File) -> None:
        """What was written of a batch before the disk was full, durably: its bytes must not show up again later."""
        try:
            file.truncate(self.size)
            file.fdatasync()
        except OSError as cause:
            raise Failed(f"{self.path}: {cause.strerror or cause}") from cause

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def last_record(disk: Disk, path: str) -> audit.Line | None:
    """The last record of a sealed file, if it is intact and says that the file ends there."""
    file = disk.open(path)
    try:
        size = file.size()
        tail = file.pread(audit.RECORD_BYTES_MAX, max(0, size - audit.RECORD_BYTES_MAX))
    finally:
        file.close()
    if not tail.endswith(b"\n"):
        return None
    raw = tail[:-1].rpartition(b"\n")[2]
    return audit.read(raw) if audit.is_event(raw, audit.SEALED) else None
