"""Messages between nodes and their bytes: one table, a row for each kind of message.

    kind, pieces = encode(message)             # pieces are joined by whoever writes them
    message = decode(kind, body, frm, to)      # WireError, and nothing else, for anything that no node of ours sends

Promises: decode(*encode(m)) == m, and every body that decodes is that of exactly one message (no bytes are left over).
Who sent a message and to whom is not in its bytes: the connection has proved it, so it cannot be forged or mixed up.
A kind never changes its meaning or its number. A field is added at the end of a new kind, with the version of the
protocol since which nodes understand it; who speaks with an older node does not send it (`fits`).
Not here: fields (`fields`), frames and checksums (`wire`).
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from ..config_cluster import HOST_CHARS_MAX
from ..limits import BATCH_BODY_BYTES_MAX, KIB, REQUEST_BYTES_MAX
from ..raft import messages as raft
from . import messages as driver
from .fields import (
    CHAIN_BYTES,
    ENTRIES,
    FLAG,
    ID,
    NAME,
    NUMBER,
    PLACE,
    PORT,
    SMALL,
    SNAPSHOT,
    SUM,
    Field,
    Pieces,
    WireError,
    blob,
    digest,
    many,
    names,
    one_of,
    text,
)

Message = raft.Message | driver.DriverMessage | driver.LinkMessage

VERSION_MIN, VERSION_MAX = 1, 2  # of the protocol that this build speaks
NAMES_BYTES_MAX: Final = 256 * KIB  # of one question about the state

_TEXT: Final = text(512)
_WORD: Final = text(32)
_HOST: Final = text(HOST_CHARS_MAX)
_ADDRESS: Final = text(HOST_CHARS_MAX + 8)
_DIGEST: Final = digest(16, 32)
_MEMBERS: Final = many((ID, NAME, _HOST, PORT), driver.Member, ("node", "name", "host", "port"), 64)
_FOUNDERS: Final = many((NAME, ID, ID), driver.Founder, ("name", "node", "store"), 64)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of message: its fields in the order of its class, but for the two that the connection knows."""

    kind: int
    of: type[Any]
    fields: tuple[Field, ...]
    check: Callable[[Any], str] | None = None  # what no field can see alone: "" or what is wrong
    guest: bool = False  # may come from a node that is no member
    since: int = 1


def _append_fault(message: raft.Append) -> str:
    at, term = message.prev.index, message.prev.term
    for one in message.entries:
        if one.first != at + 1:
            return f"an entry begins at {one.first}, behind one that ends at {at}"
        if one.term < term:
            return f"an entry of term {one.term} behind one of term {term}"
        at, term = one.last, one.term
    return f"an entry of term {term} from a leader of term {message.term}" if term > message.term else ""


def _chunk_fault(message: driver.SnapshotChunk) -> str:
    fine = driver.chunk_checksum(message.data) == message.checksum and message.data
    return "" if fine else "a piece of a snapshot does not match its checksum"


def _table_fault(message: driver.Found) -> str:
    names = [one.name for one in message.table]
    nodes = [one.node for one in message.table]
    fine = names == sorted(set(names)) and len(set(nodes)) == len(nodes)
    return "" if fine and (names or message.stage == driver.Stage.GATHERING) else "a table of founders is in disorder"


ROWS: Final = (
    Row(1, raft.PreVote, (NUMBER, PLACE)),
    Row(2, raft.PreVoteReply, (NUMBER, FLAG)),
    Row(3, raft.Vote, (NUMBER, PLACE, FLAG)),
    Row(4, raft.VoteReply, (NUMBER, FLAG)),
    Row(5, raft.Append, (NUMBER, NUMBER, PLACE, digest(0, CHAIN_BYTES), ENTRIES, NUMBER), _append_fault),
    Row(6, raft.AppendReply, (NUMBER, NUMBER, NUMBER, FLAG, PLACE)),
    Row(7, raft.Heartbeat, (NUMBER, NUMBER, NUMBER)),
    Row(8, raft.HeartbeatReply, (NUMBER, NUMBER)),
    Row(9, raft.TimeoutNow, (NUMBER,)),
    Row(10, raft.InstallSnapshot, (NUMBER, SNAPSHOT)),
    Row(11, raft.SnapshotReply, (NUMBER, NUMBER, FLAG)),
    Row(12, raft.ReadIndex, (NUMBER, NUMBER)),
    Row(13, raft.ReadIndexReply, (NUMBER, NUMBER, NUMBER, FLAG)),
    Row(32, driver.Ping, (NUMBER,), guest=True),
    Row(33, driver.Pong, (NUMBER,), guest=True),
    Row(34, driver.Forward, (ID, NUMBER, NUMBER, NUMBER, blob(BATCH_BODY_BYTES_MAX))),
    Row(36, driver.Publish, (one_of(driver.PublishKind), blob(REQUEST_BYTES_MAX), blob(REQUEST_BYTES_MAX))),
    Row(37, driver.SnapshotOffer, (ID, NAME, PLACE, NUMBER, NUMBER, _DIGEST)),
    Row(38, driver.SnapshotWant, (ID, NUMBER)),
    Row(39, driver.SnapshotChunk, (ID, NUMBER, blob(driver.SNAPSHOT_CHUNK_BYTES), SUM), _chunk_fault),
    Row(40, driver.SnapshotDone, (ID, FLAG, _TEXT)),
    Row(41, driver.Digest, (NUMBER, _DIGEST)),
    Row(42, driver.Info, (_ADDRESS, _WORD, SMALL, SMALL, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER)),
    Row(43, driver.JoinRequest, (NAME, _HOST, PORT, _ADDRESS, _WORD), guest=True),
    Row(44, driver.JoinReply, (_WORD, _TEXT, digest(0, 16), _MEMBERS), guest=True),
    Row(45, driver.Found, (digest(32), one_of(driver.Stage), _FOUNDERS), _table_fault, guest=True),
    Row(46, driver.JoinInvite, (_MEMBERS,), guest=True),
    Row(47, driver.MembersRequest, (NUMBER, SMALL, ID, FLAG)),
    Row(48, driver.MembersReply, (NUMBER, _TEXT)),
    Row(49, driver.Everywhere, (NUMBER,)),
    Row(50, driver.DigestAsk, (ID, SMALL, NUMBER, names(NAMES_BYTES_MAX)), since=2),
)  # fmt: skip
RAFT_KIND_MAX: Final = 31  # greater kinds are the driver's
IMPLIED: Final = {"frm": "frm", "to": "to", "origin": "frm"}  # fields that the connection knows


def _names(row: Row) -> tuple[str, ...]:
    return tuple(one.name for one in dataclasses.fields(row.of))


def _writer(row: Row) -> Callable[[Any], Pieces]:
    steps = [
        (attrgetter(name), field.write)
        for name, field in zip((n for n in _names(row) if n not in IMPLIED), row.fields, strict=True)
    ]

    def write(message: Any) -> Pieces:
        out: Pieces = []
        for get, put in steps:
            put(get(message), out)
        return out

    return write


def _reader(row: Row) -> Callable[[bytes, int, int], Any]:
    names, make, reads, check = _names(row), row.of, [field.read for field in row.fields], row.check
    # Implied fields come first in each class, so that the others can be given in their order.
    implied = [IMPLIED[name] for name in names if name in IMPLIED]
    assert all(name in IMPLIED for name in names[: len(implied)]), names

    def read(body: bytes, frm: int, to: int) -> Any:
        values: list[Any] = [frm if which == "frm" else to for which in implied]
        at = 0
        for one in reads:
            value, at = one(body, at)
            values.append(value)
        if at != len(body):
            raise WireError(f"{len(body) - at} bytes too many")
        message = make(*values)
        fault = check(message) if check is not None else ""
        if fault:
            raise WireError(fault)
        return message

    return read


_BY_KIND: Final[Mapping[int, Row]] = {row.kind: row for row in ROWS}
_BY_CLASS: Final[Mapping[type[Any], Row]] = {row.of: row for row in ROWS}
_WRITERS: Final = {row.of: (row.kind, _writer(row)) for row in ROWS}
_READERS: Final = {row.kind: _reader(row) for row in ROWS}
assert len(_BY_KIND) == len(_BY_CLASS) == len(ROWS), "a kind and a class have one row"
assert all(VERSION_MIN <= VERSION_MAX and row.since <= VERSION_MAX for row in ROWS)


def encode(message: Message) -> tuple[int, Pieces]:
    """The kind and the pieces of the body, in order."""
    kind, write = _WRITERS[type(message)]
    return kind, write(message)


def fits(message: Message, version: int) -> bool:
    """Whether a node that speaks `version` knows this kind."""
    return _BY_CLASS[type(message)].since <= version


def decode(kind: int, body: bytes, frm: int, to: int, *, version: int = VERSION_MAX, guest: bool = False) -> Message:
    """The message in a frame from node `frm` to node `to`. Raises WireError."""
    row = _BY_KIND.get(kind)
    if row is None or row.since > version:
        raise WireError(f"a message of the unknown kind {kind}")
    if guest and not row.guest:
        raise WireError(f"{row.of.__name__} from a node that is no member")
    try:
        message: Message = _READERS[kind](body, frm, to)
    except struct.error as short:
        raise WireError(f"{row.of.__name__}: it ends within a field") from short
    except WireError as bad:
        raise WireError(f"{row.of.__name__}: {bad}") from bad
    return message


def size_of(pieces: Sequence[bytes]) -> int:
    return sum(map(len, pieces))
