"""The audit's records: their form, the chain of their hashes, and what can be told of a damaged file. Pure.

A file is lines; a line is one JSON object, ASCII, that begins with version, sequence, batch and previous, and ends with

    ,"hash":"<64 hex digits>"}    SHA-256 of the bytes of the line before that, so no JSON has to be rebuilt to check it

`previous` is the hash of the record before (zeros for the first), `batch` the sequence of the first record of the same
append. Each append is written after the fsync of the one before it has returned; hence only the last can be torn.
Promise: no change of a byte, no removed, added or swapped record passes `scan`; a cut end shows by its head.
Not here: files (`engine.audit.files`), checking all of them together (`audit_check`), signatures (`audit_signing`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple

FORMAT: Final = 1
GENESIS: Final = "0" * 64
CURRENT: Final = "audit.jsonl"
SECTOR: Final = 512  # what a disk writes whole or not at all
RECORD_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = RECORD_BYTES_MAX - 512  # what the chain adds, and to spare
SHORTENED_CHARS: Final = (128, 32)  # of each text in a record that is too large, in this order

# Events of the chain itself.
BEGIN: Final = "audit.begin"  # the first record of a chain
CUT: Final = "audit.cut"  # a torn append was taken away
BREAK: Final = "audit.break"  # what came before is damaged, and the server was told to go on
SEALED: Final = "audit.sealed"  # the last record of a file
PRUNED: Final = "audit.pruned"  # old files were deleted, as audit-retain says
CHECKPOINT: Final = "audit.checkpoint"  # signed
LOST: Final = "audit.lost"  # records that could not be written

_HEAD: Final = re.compile(
    rb'\{"version":1,"sequence":([1-9][0-9]{0,18}),"batch":([1-9][0-9]{0,18}),"previous":"([0-9a-f]{64})","event":"'
)
_TAIL: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TAIL_BYTES: Final = len(',"hash":""}') + 64
_NAME: Final = re.compile(r"audit-(\d{16})-(\d{16})(\.broken)?\.jsonl", re.ASCII)
_OF_THE_CHAIN: Final = b'"event":"audit.'
_HEAD_BYTES_MAX: Final = 192  # by then the event's name has begun


class Head(NamedTuple):
    """Where a chain ends: the sequence and hash of its last record."""

    sequence: int
    hash: str


START: Final = Head(0, GENESIS)


class Line(NamedTuple):
    """What the chain needs to know of an intact record."""

    sequence: int
    batch: int
    previous: str
    hash: str

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.hash)


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing in a file that is not as it was written. `sequence`: of the record that should be there."""

    offset: int
    line: int  # from 1
    sequence: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.line} (byte {self.offset}): record {self.sequence}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds up to its first fault."""

    first: int  # sequence; 0: no record
    head: Head
    records: int
    size: int  # bytes
    last_append: int  # where it begins, in bytes
    fault: Fault | None


class FileName(NamedTuple):
    """Of a file that is sealed, or (`broken`) was put aside."""

    first: int
    last: int
    broken: bool = False

    def __str__(self) -> str:
        return f"audit-{self.first:016d}-{self.last:016d}{'.broken' if self.broken else ''}.jsonl"


def fields(
    event: str, outcome: str, time: str, node: str, *, connection: int | None = None, address: str | None = None,
    user: str | None = None, command: str | None = None, keys: int | None = None, key_names: Sequence[str] = (),
    code: str | None = None, latency_us: int | None = None, details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A record but for its place in the chain, with every field in its order."""
    found: dict[str, Any] = {
        "event": event, "outcome": outcome, "time": time, "node": node, "connection": connection, "address": address,
        "user": user, "command": command, "keys": keys, "code": code, "latency_us": latency_us,
    }  # fmt: skip
    if key_names:
        found["key_names"] = list(key_names)
    found["details"] = dict(details or {})
    return found


def parse_name(name: str) -> FileName | None:
    match = _NAME.fullmatch(name)
    return FileName(int(match[1]), int(match[2]), match[3] is not None) if match else None


def seal(head: Head, batch: int, fields: Mapping[str, Any]) -> tuple[bytes, Head]:
    """The line of the next record, and the head it makes. `fields` begin with the event."""
    assert next(iter(fields)) == "event", fields
    sequence = head.sequence + 1
    body = _encode(fields)
    if len(body) > BODY_BYTES_MAX:
        body = _fitting(fields, len(body))
    begun = (
        f'{{"version":{FORMAT},"sequence":{sequence},"batch":{batch},"previous":"{head.hash}",{body[1:-1]}'
    ).encode("ascii")
    digest = sha256(begun).hexdigest()
    return begun + b',"hash":"%b"}\n' % digest.encode(), Head(sequence, digest)


def _fitting(fields: Mapping[str, Any], size: int) -> str:
    """Of a record that is too large, because names of users and keys may have any length. The event always stays."""
    for most in SHORTENED_CHARS:
        body = _encode(_shortened(fields, most))
        if len(body) <= BODY_BYTES_MAX:
            return body
    few = {name: value for name, value in fields.items() if name != "key_names"} | {"details": {"too_large": size}}
    body = _encode(_shortened(few, SHORTENED_CHARS[-1]))
    assert len(body) <= BODY_BYTES_MAX, len(body)
    return body


def _shortened(value: Any, most: int) -> Any:
    """With its long texts cut; a hash of the whole text takes the place of what is missing."""
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]}...{sha256(value.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    if isinstance(value, Mapping):
        return {name: _shortened(one, most) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(one, most) for one in value]
    return value


_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def read(line: bytes) -> Line | None:
    """A line (without its end) if it is intact by itself."""
    begun, tail = _HEAD.match(line), _TAIL.fullmatch(line, max(0, len(line) - _TAIL_BYTES))
    if begun is None or tail is None:
        return None
    digest = sha256(line[: tail.start()]).hexdigest()
    if digest.encode() != tail[1]:
        return None
    return Line(int(begun[1]), int(begun[2]), begun[3].decode(), digest)


def of_the_chain(line: bytes) -> bool:
    """Whether an intact record is about the audit itself: BEGIN, SEALED and the others above."""
    return _OF_THE_CHAIN in line[:_HEAD_BYTES_MAX]


def is_event(line: bytes, event: str) -> bool:
    return b'"event":"%b"' % event.encode() in line[:_HEAD_BYTES_MAX]


def scan(data: bytes, head: Head | None, on_line: Callable[[Line, bytes], None] | None = None) -> Scan:
    """Follow the chain behind `head`; None takes the first record's word for what came before.

    `on_line` is told every record that follows.
    """
    at = number = first = append = 0
    while at < len(data):
        number += 1
        end = data.find(b"\n", at)
        raw = data[at:] if end < 0 else data[at:end]
        line = read(raw) if end >= 0 else None
        problem = _problem(line, head, raw, whole=end >= 0)
        if problem:
            expected = head.sequence + 1 if head is not None else line.sequence if line is not None else 1
            return Scan(first, head or START, number - 1, at, append, Fault(at, number, expected, problem))
        assert line is not None
        if on_line is not None:
            on_line(line, raw)
        if line.batch == line.sequence:
            append = at
        first, head = first or line.sequence, line.head
        at = end + 1
    return Scan(first, head or START, number, at, append, None)


def _problem(line: Line | None, head: Head | None, raw: bytes, *, whole: bool) -> str:
    if line is None:
        if not whole:
            return "the line has no end: it was cut off, or its end was changed"
        return "its content does not match its own hash" if _HEAD.match(raw) else "this is no record"
    if line.batch > line.sequence:
        return f"it says that its append begins behind it, at record {line.batch}"
    if head is None:
        return ""
    if line.sequence != head.sequence + 1:
        return f"record {line.sequence} stands in its place: records were removed, added or exchanged"
    if line.previous != head.hash:
        return f"it does not follow record {head.sequence}: one of the two was rewritten"
    return ""


def is_torn(data: bytes, found: Scan) -> bool:
    """Whether the fault can be the append that a crash interrupted, which nobody had been told of.

    No if a later append is there: the damaged one had then been made durable. And yes only if the file ends inside the
    next record, or if a sector is missing of what was appended: nothing else is left behind by a crash.
    """
    assert found.fault is not None
    rest, expected = data[found.size :], found.head.sequence + 1
    if any((line := read(raw)) is not None and line.batch > expected for raw in rest.split(b"\n")):
        return False
    if _lacks_a_sector(rest, found.size):
        return True
    # A write that ended too early leaves a piece of the next record. A whole record of which only the end is another
    # one (or the last byte of a line that was) is nothing that a crash does.
    begins = b'{"version":%d,"sequence":%d,"batch":' % (FORMAT, expected)
    return (
        b"\n" not in rest
        and len(rest) < RECORD_BYTES_MAX
        and rest[: len(begins)] == begins[: len(rest)]
        and read(rest[:-1]) is None
    )


def _lacks_a_sector(rest: bytes, offset: int) -> bool:
    """Whether a sector, or as much of it as belongs to the rest, has nothing but zeros: records hold none."""
    at = 0
    while at < len(rest):
        end = min(len(rest), ((offset + at) // SECTOR + 1) * SECTOR - offset)
        if not any(rest[at:end]):
            return True
        at = end
    return False
