"""The segments of a log checked one by one, to the last byte of each, whatever is wrong with the others.

Promises: read-only; behind damage the check goes on at the next batch that is whole, so that one flip does not hide the
rest; an active segment is judged by the same table as at a start (`damage`).
Units: offsets and sizes in bytes; sequences from 1.
Not here: which segments there are and whether all are (`verify`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from vaylix_resp.errors import Refused
from vaylix_resp.storage.batch import HEADER_BYTES, SECTOR, Batch, frame_bytes, read_header, store_salt
from vaylix_resp.storage.damage import Do, decide, describe, gather
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import Corrupt, Unreadable
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import (
    READ_BYTES,
    Chain,
    Reader,
    Scan,
    SegmentName,
    follow_segment,
    open_segment,
)
from vaylix_resp.storage.upkeep.report import FileReport, Problem, Report, Status

SEGMENT, ACTIVE = "segment", "active segment"
PROBLEMS_MAX = 20  # of one file; whoever has so many needs no more


class BadPlace(Refused):
    """Bytes that are not a batch where one has to be."""

    def __init__(self, offset: int, expected: str, sequence: int) -> None:
        super().__init__(f"byte {offset}: sequence {sequence}: expected {expected}")
        self.offset, self.expected, self.sequence = offset, expected, sequence


class NoKey(Refused):
    """A sealed file in a directory whose keyring cannot be opened."""


def problem_of(failure: Refused) -> tuple[Problem, Status]:
    """What a reader raised, as a line of the report."""
    match failure:
        case Corrupt() | BadPlace():
            return Problem(f"expected {failure.expected}", failure.offset, failure.sequence), Status.DAMAGED
        case Unreadable():
            return Problem(f"the disk cannot read it ({failure.__cause__})", failure.offset), Status.UNREADABLE
        case NoKey():
            return Problem(str(failure)), Status.UNCHECKED
        case _:
            return Problem(str(failure)), Status.DAMAGED


class LogCheck:
    """Goes through the segments in their order; `chain` is where the log stands, None behind damage."""

    def __init__(
        self, disk: Disk, directory: str, store_id: bytes, keys: Keys, anchors: Mapping[int, bytes], report: Report,
        say: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._disk, self._directory, self._store_id, self._keys = disk, directory, store_id, keys
        self.salt = store_salt(store_id)
        self._anchors, self._report, self._say = anchors, report, say
        self.chain: Chain | None = None

    def check(self, name: SegmentName, *, may_be_torn: bool) -> FileReport | None:
        """One segment; None when it has gone away. `may_be_torn`: nothing comes behind it, and no clean stop."""
        kind = ACTIVE if name.last is None else SEGMENT
        file = FileReport(f"wal/{name.name}", kind, first=name.first, last=name.last, entries=0, batches=0)
        if name.clipped:
            file.note = f"cut behind sequence {name.last}: the next start makes it shorter"
        try:
            reader, header, cipher = open_segment(self._disk, self._directory, name, self._store_id, self._keys)
        except Refused as failure:
            if isinstance(failure.__cause__, FileNotFoundError):
                return None
            file.add(*problem_of(failure))
            self.chain = None
            return file
        with closing(reader.file):
            file.bytes, file.sealed = reader.size, cipher is not None
            begins = Chain(header.first - 1, header.prev_tag)
            if self.chain is not None:
                begins = self.chain.copy()
                begins.last, begins.tag, begins.end_tag = header.first - 1, header.prev_tag, header.prev_tag
                try:
                    follow_segment(self.chain, header, reader.path)
                except Corrupt as failure:
                    file.add(*problem_of(failure))
                    self.chain = None
            scan = Scan(reader, begins, self.salt, cipher)
            _Pass(self, file, name, reader, scan, may_be_torn, follows=self.chain is not None).run()
        return file

    def found(self, file: FileReport, batch: Batch, offset: int, *, follows: bool) -> None:
        file.entries = (file.entries or 0) + batch.count
        file.batches = (file.batches or 0) + 1
        file.from_ms = batch.timestamp_ms if file.from_ms is None else file.from_ms
        file.to_ms = batch.timestamp_ms
        self._report.add_batch(batch.first, batch.last, follows=follows)
        self._report.end = max(self._report.end, batch.last)
        self._say(offset)
        anchor = self._anchors.get(batch.last)
        if anchor is not None and anchor != batch.tag:
            expected = "expected the batch that the snapshot of this sequence was made from"
            file.add(Problem(expected, offset, batch.last))

    def resume_at(self, reader: Reader, start: int) -> tuple[int, Chain] | None:
        """The next whole batch header at or behind `start`, and the chain that it continues."""
        for base in range(start, reader.size, READ_BYTES):
            piece = reader.at(base, min(READ_BYTES, reader.size - base))
            for at in range(0, len(piece), SECTOR):
                raw = piece[at : at + HEADER_BYTES]
                header = read_header(raw, self.salt) if len(raw) == HEADER_BYTES else None
                if header is not None:
                    return base + at, Chain(header.first - 1, header.prev_tag)
        return None


class _Pass:
    """One segment from its first batch to its last."""

    def __init__(
        self, check: LogCheck, file: FileReport, name: SegmentName, reader: Reader, scan: Scan, may_be_torn: bool, *,
        follows: bool,
    ) -> None:  # fmt: skip
        self._check, self._file, self._name, self._reader, self._scan = check, file, name, reader, scan
        self._may_be_torn = may_be_torn
        self._follows = follows  # whether the next batch continues the one before it

    def run(self) -> None:
        file, scan, name = self._file, self._scan, self._name
        whole, tried = not file.problems, -1
        while (damage := self._next_damage()) is not None:
            whole = False
            self._note(damage)
            # A batch that is whole but does not belong there is where the check goes on; if that fails too, behind it.
            misplaced = isinstance(damage, Corrupt) and tried != scan.offset
            resumed = self._check.resume_at(self._reader, scan.offset + (0 if misplaced else SECTOR))
            if resumed is None or len(file.problems) >= PROBLEMS_MAX:
                break
            scan.offset, scan.chain = resumed
            tried, self._follows = scan.offset, False
        if name.last is None:
            file.last = scan.chain.last if whole or file.batches else None
        self._check.chain = scan.chain if whole else None

    def _note(self, damage: Refused) -> None:
        problem, status = problem_of(damage)
        if problem.offset not in [known.offset for known in self._file.problems]:
            self._file.add(problem, status)

    def _next_damage(self) -> Refused | None:
        """Go on to the end of the segment or to the next place that is not right."""
        scan = self._scan
        try:
            for batch in scan:
                offset = scan.offset - frame_bytes(len(batch.body))
                self._check.found(self._file, batch, offset, follows=self._follows)
                self._follows = True
        except (Corrupt, Unreadable) as failure:
            return failure
        return self._at_end()

    def _at_end(self) -> Refused | None:
        """No whole batch begins here: is that right?"""
        scan, name, reader = self._scan, self._name, self._reader
        sequence = scan.chain.last + 1
        if name.last is None:
            facts, end = gather(reader, scan.offset, sequence, self._check.salt, scan.cipher)
            verdict = decide(facts)
            if verdict is Do.END:
                return None
            if verdict is Do.CUT and self._may_be_torn:
                text = f"{end - scan.offset} bytes of a batch that was not yet durable: the next start cuts it"
                self._file.add(Problem(text, scan.offset, sequence), Status.TORN)
                return None
            expected = "zeros behind the last batch" if verdict is Do.CUT else describe(facts)
            return BadPlace(scan.offset, expected, sequence)
        if scan.offset < reader.size and not name.clipped:
            return BadPlace(scan.offset, "a whole batch with right checksums", sequence)
        if scan.chain.last != name.last:
            expected = f"batches up to sequence {name.last} as in the file name, they end at {scan.chain.last}"
            return BadPlace(scan.offset, expected, sequence)
        return None
