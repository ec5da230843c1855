"""Kinds of fields in a message between nodes: from a value to bytes and back, each with its bounds.

A field writes by appending to a list of pieces, so that the body of a batch is never copied; it reads from the bytes of
one frame at an offset and returns the value and where the next field begins.
Promises: what is read is within its bounds, or WireError; no memory is taken ahead of the bytes that are there (a count
is believed only as far as its items follow). A `struct.error` means that the bytes ended early: `codec` makes it one
WireError for all.
Units: big-endian. Not here: which message has which fields (`codec`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, pairwise
from struct import Struct
from typing import Any, Final

from ..limits import BATCH_BODY_BYTES_MAX
from ..raft.types import Entry, EntryId, EntryKind, Membership, SnapshotMeta

U8, U16, U32, U64 = Struct(">B"), Struct(">H"), Struct(">I"), Struct(">Q")
_PLACE = Struct(">QQ")
_ENTRY = Struct(">BQIQQQI")  # kind, first, count, term, timestamp_ms, seed, length of the body
INT63_MAX: Final = (1 << 63) - 1
ENTRIES_MAX: Final = 4096  # of one append; leaders send 1,000 at most
MEMBERS_MAX: Final = 4096  # ids of one kind in a membership; retired ones are never forgotten
CHAIN_BYTES: Final = 16

Pieces = list[bytes]


class WireError(ValueError):
    """Bytes that no node of ours sends; whoever sent them is not listened to any more. One line."""


@dataclass(frozen=True, slots=True)
class Field:
    """How one field is written and read."""

    write: Callable[[Any, Pieces], None]
    read: Callable[[bytes, int], tuple[Any, int]]


def _number(layout: Struct, low: int, high: int, what: str) -> Field:
    def write(value: int, out: Pieces) -> None:
        assert low <= value <= high, (what, value)
        out.append(layout.pack(value))

    def read(data: bytes, at: int) -> tuple[int, int]:
        (value,) = layout.unpack_from(data, at)
        if not low <= value <= high:
            raise WireError(f"{what} {value} is not in {low}..{high}")
        return value, at + layout.size

    return Field(write, read)


NUMBER: Final = _number(U64, 0, INT63_MAX, "number")  # a sequence, a term, a size
ID: Final = _number(U64, 1, (1 << 64) - 1, "id")
SUM: Final = _number(U64, 0, (1 << 64) - 1, "checksum")
COUNT: Final = _number(U32, 0, (1 << 32) - 1, "count")
SMALL: Final = _number(U16, 0, (1 << 16) - 1, "number")
PORT: Final = _number(U16, 1, (1 << 16) - 1, "port")


def flag() -> Field:
    def write(value: bool, out: Pieces) -> None:
        out.append(b"\1" if value else b"\0")

    def read(data: bytes, at: int) -> tuple[bool, int]:
        (value,) = U8.unpack_from(data, at)
        if value > 1:
            raise WireError(f"flag {value} is neither 0 nor 1")
        return value == 1, at + 1

    return Field(write, read)


def one_of(kinds: type[IntEnum]) -> Field:
    known = {int(kind): kind for kind in kinds}

    def write(value: IntEnum, out: Pieces) -> None:
        out.append(U8.pack(value))

    def read(data: bytes, at: int) -> tuple[IntEnum, int]:
        (value,) = U8.unpack_from(data, at)
        if value not in known:
            raise WireError(f"{kinds.__name__} {value} is not known")
        return known[value], at + 1

    return Field(write, read)


def blob(bytes_max: int) -> Field:
    """Bytes behind their length."""

    def write(value: bytes, out: Pieces) -> None:
        assert len(value) <= bytes_max, (len(value), bytes_max)
        out.append(U32.pack(len(value)))
        out.append(value)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        (length,) = U32.unpack_from(data, at)
        at += 4
        if length > bytes_max:
            raise WireError(f"{length} bytes where {bytes_max} are the most")
        if length > len(data) - at:
            raise WireError("it ends within a field")
        return data[at : at + length], at + length

    return Field(write, read)


def digest(*sizes: int) -> Field:
    """Bytes of one of a few sizes."""
    inner = blob(max(sizes))

    def write(value: bytes, out: Pieces) -> None:
        assert len(value) in sizes, (len(value), sizes)
        inner.write(value, out)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        value, at = inner.read(data, at)
        if len(value) not in sizes:
            raise WireError(f"a digest of {len(value)} bytes")
        return value, at

    return Field(write, read)


def text(chars_max: int) -> Field:
    """Printable text; what came from elsewhere is shown to people. Shortened when written, refused when read."""
    inner = blob(4 * chars_max)

    def write(value: str, out: Pieces) -> None:
        shown = "".join(c if c.isprintable() else "?" for c in value[:chars_max])
        inner.write(shown.encode(), out)

    def read(data: bytes, at: int) -> tuple[str, int]:
        raw, at = inner.read(data, at)
        try:
            value = raw.decode()
        except UnicodeDecodeError as bad:
            raise WireError("a text is not UTF-8") from bad
        if len(value) > chars_max or not value.isprintable():
            raise WireError("a text is too long or has a control character in it")
        return value, at

    return Field(write, read)


def many(parts: Sequence[Field], make: Callable[..., Any], names: Sequence[str], items_max: int) -> Field:
    """A tuple of objects that `make` takes its fields for, in this order."""

    def write(values: Sequence[Any], out: Pieces) -> None:
        assert len(values) <= items_max, (len(values), items_max)
        out.append(U16.pack(len(values)))
        for value in values:
            for part, name in zip(parts, names, strict=True):
                part.write(getattr(value, name), out)

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        (count,) = U16.unpack_from(data, at)
        at += 2
        if count > items_max:
            raise WireError(f"{count} items where {items_max} are the most")
        found = []
        for _ in range(count):
            given = []
            for part in parts:
                value, at = part.read(data, at)
                given.append(value)
            found.append(make(*given))
        return tuple(found), at

    return Field(write, read)


def _write_place(value: EntryId, out: Pieces) -> None:
    out.append(_PLACE.pack(value.index, value.term))


def _read_place(data: bytes, at: int) -> tuple[EntryId, int]:
    index, term = _PLACE.unpack_from(data, at)
    if index > INT63_MAX or term > INT63_MAX:
        raise WireError("a place in the log is beyond 63 bits")
    return EntryId(index, term), at + _PLACE.size


def _write_entries(entries: Sequence[Entry], out: Pieces) -> None:
    assert len(entries) <= ENTRIES_MAX, len(entries)
    out.append(U16.pack(len(entries)))
    for one in entries:
        out.append(_ENTRY.pack(one.kind, one.first, one.count, one.term, one.timestamp_ms, one.seed, len(one.body)))
        out.append(one.body)


_KINDS: Final = {int(kind): kind for kind in EntryKind}


def _read_entries(data: bytes, at: int) -> tuple[tuple[Entry, ...], int]:
    (number,) = U16.unpack_from(data, at)
    at += 2
    if number > ENTRIES_MAX:
        raise WireError(f"{number} entries where {ENTRIES_MAX} are the most")
    found = []
    for _ in range(number):
        kind, first, count, term, timestamp_ms, seed, length = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        if kind not in _KINDS:
            raise WireError(f"an entry of the unknown kind {kind}")
        if not (1 <= first <= INT63_MAX - count and count and 1 <= term <= INT63_MAX and timestamp_ms <= INT63_MAX):
            raise WireError("an entry's place or time is out of range")
        if length > BATCH_BODY_BYTES_MAX:
            raise WireError(f"an entry of {length} bytes where {BATCH_BODY_BYTES_MAX} are the most")
        if length > len(data) - at:
            raise WireError("it ends within an entry")
        found.append(Entry(_KINDS[kind], first, count, term, timestamp_ms, seed, data[at : at + length]))
        at += length
    return tuple(found), at


def _write_ids(ids: frozenset[int], out: Pieces) -> None:
    assert len(ids) <= MEMBERS_MAX, len(ids)
    out.append(U16.pack(len(ids)))
    out.extend(U64.pack(one) for one in sorted(ids))


def _read_ids(data: bytes, at: int) -> tuple[frozenset[int], int]:
    (count,) = U16.unpack_from(data, at)
    at += 2
    if count > MEMBERS_MAX:
        raise WireError(f"{count} members where {MEMBERS_MAX} are the most")
    found = []
    for _ in range(count):
        (one,) = U64.unpack_from(data, at)
        found.append(one)
        at += 8
    ids = frozenset(found)
    if found != sorted(ids):  # one membership has one form
        raise WireError("members are not in order, or one is there twice")
    return ids, at


def _write_membership(value: Membership, out: Pieces) -> None:
    for ids in (value.voters, value.learners, value.retired):
        _write_ids(ids, out)


def _read_membership(data: bytes, at: int) -> tuple[Membership, int]:
    voters, at = _read_ids(data, at)
    learners, at = _read_ids(data, at)
    retired, at = _read_ids(data, at)
    try:
        return Membership(voters, learners, retired), at
    except ValueError as bad:
        raise WireError("a membership contradicts itself") from bad


def names(bytes_max: int) -> Field:
    """Very many short byte strings: their lengths first, so that they are read a thousand at a time."""

    def write(value: tuple[bytes, ...], out: Pieces) -> None:
        assert sum(map(len, value)) <= bytes_max, (sum(map(len, value)), bytes_max)
        out.append(struct.pack(f">{len(value) + 1}I", len(value), *map(len, value)))
        out.extend(value)

    def read(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
        (count,) = U32.unpack_from(data, at)
        at += 4
        if 4 * count > len(data) - at:
            raise WireError("it ends within a field")
        lengths = struct.unpack_from(f">{count}I", data, at)
        at += 4 * count
        total = sum(lengths)
        if total > bytes_max:
            raise WireError(f"{total} bytes of names where {bytes_max} are the most")
        if total > len(data) - at:
            raise WireError("it ends within a field")
        ends = list(accumulate(lengths, initial=at))
        return tuple([data[begin:end] for begin, end in pairwise(ends)]), ends[-1]

    return Field(write, read)


PLACE: Final = Field(_write_place, _read_place)
ENTRIES: Final = Field(_write_entries, _read_entries)
FLAG: Final = flag()
NAME: Final = text(64)


def _write_snapshot(value: SnapshotMeta, out: Pieces) -> None:
    NAME.write(value.name, out)
    _write_place(value.last, out)
    _write_membership(value.membership, out)


def _read_snapshot(data: bytes, at: int) -> tuple[SnapshotMeta, int]:
    name, at = NAME.read(data, at)
    last, at = _read_place(data, at)
    membership, at = _read_membership(data, at)
    return SnapshotMeta(name, last, membership), at


SNAPSHOT: Final = Field(_write_snapshot, _read_snapshot)
