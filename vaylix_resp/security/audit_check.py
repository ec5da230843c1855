"""All files of an audit together: is it whole, from its first record to the head that the log has committed? Pure.

    check = Check(committed=head, public_key=key)
    for name, data in files:                    in the order of `in_order`
        check.add(name, data)
    report = check.end()

A start of the chain that is missing is explained by a record that says which files were deleted; a record that says
that the server was told to go on behind damage explains the break, which stays a fault.
Promise: the first fault of each file is named with its file, line, byte and record.
Not here: reading files (`engine.audit.files`), what a start does about a fault (the same).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from .audit import (
    BEGIN,
    BREAK,
    CHECKPOINT,
    CURRENT,
    GENESIS,
    PRUNED,
    START,
    Fault,
    FileName,
    Head,
    Line,
    is_torn,
    of_the_chain,
    parse_name,
    read,
    scan,
)
from .audit_signing import PublicKey, verified

FAULTS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class FileFault:
    """`line` and `offset` are 0 where a whole file or the end of the chain is meant."""

    file: str
    line: int
    offset: int
    sequence: int
    problem: str

    def __str__(self) -> str:
        place = f"line {self.line} (byte {self.offset}): " if self.line else ""
        return f"audit/{self.file}: {place}record {self.sequence}: {self.problem}"


@dataclass(slots=True)
class Report:
    """`torn`: the end may be an append that a crash interrupted, or one that is being made right now."""

    files: list[tuple[str, int]] = field(default_factory=list)  # name, sound records
    records: int = 0
    first: int = 0
    head: Head = START
    committed: Head | None = None
    checkpoints: int = 0  # signed
    signed_through: int = 0  # the newest record that a verified signature covers
    torn: bool = False
    faults: list[FileFault] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        return {
            "whole": self.whole, "records": self.records, "first_sequence": self.first,
            "sequence": self.head.sequence, "hash": self.head.hash,
            "committed_sequence": self.committed.sequence if self.committed else 0,
            "committed_hash": self.committed.hash if self.committed else "",
            "checkpoints": self.checkpoints, "signed_through": self.signed_through, "torn": self.torn,
            "files": [{"name": name, "records": records} for name, records in self.files],
            "faults": [
                {"file": one.file, "line": one.line, "offset": one.offset, "sequence": one.sequence,
                 "problem": one.problem} for one in self.faults
            ],
        }  # fmt: skip


def in_order(names: Iterable[str]) -> list[str]:
    """The files of the audit among these names: sealed ones by their first record, the current one last."""
    found = sorted((parsed, name) for name in names if (parsed := parse_name(name)) is not None)
    return [name for _, name in found] + [name for name in names if name == CURRENT]


class Check:
    """Takes files in order; `committed` is the head in the log, `public_key` whose signatures count.

    `durable`: what a running server has written for certain; behind it an append may be under way.
    """

    def __init__(
        self, committed: Head | None = None, public_key: PublicKey | None = None, durable: Head | None = None
    ) -> None:
        self.report = Report(committed=committed)
        self._committed, self._key, self._durable = committed, public_key, durable
        self._head: Head | None = None  # None: whatever comes next
        self._began = False
        self._before: Head = START  # what the first record there is says of the one before it
        self._pruned: set[Head] = set()
        self._explained = False  # by a chain that was begun in a new place
        self._missed = 0  # where the last file was damaged: the record its name ends with
        self._met_committed: str | None = None
        self._met_durable: str | None = None
        self._name = ""

    def add(self, name: str, data: bytes) -> None:
        """The next file."""
        parsed = parse_name(name)
        if parsed is not None and parsed.broken:
            self.report.files.append((name, 0))
            return  # what is wrong with it stands in the record that was written when it was put aside
        self._name = name
        head = self._joint(name, data, parsed)
        found = scan(data, head, self._line)
        if name == CURRENT and self._durable is not None and found.head.sequence >= self._durable.sequence:
            found = replace(found, fault=None)
        self.report.files.append((name, found.records))
        self.report.records += found.records
        if found.fault is not None:
            self._fault(found.fault)
            if name == CURRENT:
                self.report.torn = is_torn(data, found)
            self._head, self._missed = None, parsed.last if parsed is not None else 0
        elif found.records:
            self._head = found.head
            self.report.head = found.head
            if parsed is not None and (parsed.first, parsed.last) != (found.first, found.head.sequence):
                problem = f"its name promises records {parsed.first} to {parsed.last}, it holds {found.first} to here"
                self._note(name, found.head.sequence, problem)
                self._missed = parsed.last
        elif parsed is not None:
            self._note(name, parsed.first, f"records {parsed.first} to {parsed.last} are missing: the file is empty")

    def end(self) -> Report:
        """After the last file."""
        report = self.report
        # A crash while files were being deleted leaves some of those that the record names.
        deleted = any(gone == self._before or gone.sequence > self._before.sequence for gone in self._pruned)
        if report.first > 1 and not (self._explained or deleted):
            first = report.files[0][0] if report.files else CURRENT
            text = f"records 1 to {report.first - 1} are missing, and no record says that they were deleted"
            self._note(first, 1, text)
        durable, met = self._durable, self._met_durable
        if durable is not None and report.whole:
            if report.head.sequence < durable.sequence or (met is not None and met != durable.hash):
                text = "it is missing, or another one than this server has written"
                self._note(self._name or CURRENT, durable.sequence, text)
        committed = self._committed
        if committed is not None and committed.sequence:
            if not self._reaches(committed):
                last = report.head.sequence
                text = f"the end is missing: the log has committed up to record {committed.sequence}"
                self._note(self._name or CURRENT, last + 1, text)
            elif self._met_committed is not None and self._met_committed != committed.hash:
                text = "it is another record than the one whose hash the log has committed: the audit was rewritten"
                self._note(self._name, committed.sequence, text)
        return report

    def _reaches(self, committed: Head) -> bool:
        if self._met_committed is not None:
            return True
        return committed.sequence <= max(self.report.head.sequence, self._before.sequence)

    def _joint(self, name: str, data: bytes, parsed: FileName | None) -> Head | None:
        """What the first record of a file has to follow; None where that cannot be known."""
        first = _first_line(data)
        if first is None:
            return self._head
        line, record = first
        event = record.get("event") if record is not None else None
        if not self._began:
            self._began = True
            self.report.first, self._before = line.sequence, Head(line.sequence - 1, line.previous)
            self._explained = event == BEGIN
            return START if line.sequence == 1 and line.previous == GENESIS else None
        if event == BREAK:
            return None
        if self._head is None and self._missed and line.sequence != self._missed + 1:
            self._note(name, self._missed + 1, f"record {line.sequence} begins the file: those before are missing")
        return self._head

    def _line(self, line: Line, raw: bytes) -> None:
        if self._committed is not None and line.sequence == self._committed.sequence:
            self._met_committed = line.hash
        if self._durable is not None and line.sequence == self._durable.sequence:
            self._met_durable = line.hash
        self.report.head = line.head
        if not of_the_chain(raw):
            return
        record = json.loads(raw)
        event, details = record["event"], record.get("details") or {}
        if event == PRUNED:
            self._pruned.add(Head(details.get("through", 0), details.get("hash", "")))
        elif event == BREAK:
            text = f"the server was told to go on behind a break: {details.get('problem', '')}"
            self._note(self._name, line.sequence, text)
        elif event == CHECKPOINT and "signature" in details:
            self._signature(line, details)

    def _signature(self, line: Line, details: dict[str, Any]) -> None:
        self.report.checkpoints += 1
        if self._key is None:
            return
        if verified(self._key, Head(line.sequence - 1, line.previous), details["signature"]):
            self.report.signed_through = line.sequence - 1
        else:
            self._note(self._name, line.sequence, "its signature is not one of this key over the record before it")

    def _fault(self, fault: Fault) -> None:
        if len(self.report.faults) < FAULTS_MAX:
            found = FileFault(self._name, fault.line, fault.offset, fault.sequence, fault.problem)
            self.report.faults.append(found)

    def _note(self, name: str, sequence: int, problem: str) -> None:
        if len(self.report.faults) < FAULTS_MAX:
            self.report.faults.append(FileFault(name, 0, 0, sequence, problem))


def _first_line(data: bytes) -> tuple[Line, dict[str, Any] | None] | None:
    raw = data.partition(b"\n")[0]
    line = read(raw)
    if line is None:
        return None
    return line, json.loads(raw) if of_the_chain(raw) else None
