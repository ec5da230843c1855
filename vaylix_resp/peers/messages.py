"""What nodes say to each other beside Raft: forwarded writes, published messages, snapshots, joining, founding.

Frozen values. Any of them may be lost; none comes twice or out of order on one connection. Raft's own messages are in
`raft.messages`; both kinds travel the same way.
Units: a sequence counts operations, as everywhere; offsets and sizes in bytes; node, store and boot are random 64-bit
numbers, never 0.
Not here: bytes (`codec`), when they are sent (`engine`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import xxhash

from ..limits import MIB
from ..raft.types import EntryId

SNAPSHOT_CHUNK_BYTES = MIB  # one step of a stream: between two of them others have their turn


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? Everything sent before it on the same connection has arrived when its Pong comes."""

    number: int


@dataclass(frozen=True, slots=True)
class Pong:
    number: int


@dataclass(frozen=True, slots=True)
class Forward:
    """A follower's sealed open batch, for the leader of `term` to propose; any other leader refuses it.

    `origin` is the sender, `boot` its process, `number` rises from 1 by one within (boot, term): a leader takes each
    once and in order, so it may be sent again. Without operations it only uses up its number (see
    `engine.replication.outbox`).
    """

    origin: int
    boot: int
    term: int
    number: int
    count: int
    body: bytes


class PublishKind(IntEnum):
    CHANNEL = 1
    SHARD = 2


@dataclass(frozen=True, slots=True)
class Publish:
    """A message of PUBLISH or SPUBLISH, for the subscribers of the receiver."""

    kind: PublishKind
    channel: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class SnapshotOffer:
    """A snapshot that the receiver needs; it asks for what it lacks."""

    stream: int  # names this transfer
    name: str
    last: EntryId
    timestamp_ms: int  # of its last entry
    size: int
    digest: bytes  # of the whole file


@dataclass(frozen=True, slots=True)
class SnapshotWant:
    """Send from `offset` on: at the begin, or where an interrupted stream ended."""

    stream: int
    offset: int


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    stream: int
    offset: int
    data: bytes
    checksum: int  # chunk_checksum(data), made when the chunk was read from the file


@dataclass(frozen=True, slots=True)
class SnapshotDone:
    """The receiver has all of it, durable and checked (`ok`), or gives up for the reason in `text`."""

    stream: int
    ok: bool
    text: str


def chunk_checksum(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data)


@dataclass(frozen=True, slots=True)
class DigestAsk:
    """What to digest when `@digest mark number` is applied: see `state.slices.Question`."""

    number: int
    kind: int  # of state.slices.SliceKind
    db: int
    names: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of a slice of the sender's state when it had applied `sequence`."""

    sequence: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Info:
    """What a node tells about itself now and then, for others' answers and for `cluster status`."""

    client_addr: str  # host:port
    version: str
    cluster_version: int  # highest that it understands; gates new kinds of entries
    role: int
    term: int
    last: int
    persisted: int
    committed: int
    applied: int
    fsync_us: int  # of the last one


@dataclass(frozen=True, slots=True)
class Member:
    """Where a node of the group is found."""

    node: int
    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A node that belongs to no group asks to be let in as a learner. `host` is empty: use the one you see."""

    name: str
    host: str
    port: int
    client_addr: str
    version: str


@dataclass(frozen=True, slots=True)
class JoinReply:
    """`code` empty: taken, and committed. Otherwise refused; LEADER: `text` is the address to ask instead."""

    code: str
    text: str
    cluster: bytes
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class JoinInvite:
    """A member asks a node that it visits to join its cluster, by asking one of these. Answered by a JoinReply."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class MembersRequest:
    """A member asks the leader for a change of the membership."""

    number: int  # of the sender; 0: no answer is wanted
    kind: int  # of raft.types.ChangeKind
    node: int
    force: bool


@dataclass(frozen=True, slots=True)
class MembersReply:
    """`text` empty: made, and committed. Otherwise what a client is told."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Everywhere:
    """Every voter has the log durable up to this sequence, which is committed: true for ever, whoever says so."""

    sequence: int


class Stage(IntEnum):
    """How far a node has come in the founding of its group; see `founding`."""

    GATHERING = 1
    PROMISED = 2
    FOUNDED = 3


@dataclass(frozen=True, slots=True)
class Founder:
    """One row of the table that a group is founded on."""

    name: str
    node: int
    store: int


@dataclass(frozen=True, slots=True)
class Found:
    """Where the sender stands in the founding of its group, and the table that it has promised or founded."""

    list_digest: bytes  # of cluster-peers
    stage: Stage
    table: tuple[Founder, ...]


DriverMessage = (
    Forward
    | Publish
    | SnapshotOffer
    | SnapshotWant
    | SnapshotChunk
    | SnapshotDone
    | DigestAsk
    | Digest
    | Info
    | JoinRequest
    | JoinReply
    | JoinInvite
    | MembersRequest
    | MembersReply
    | Everywhere
    | Found
)
LinkMessage = Ping | Pong
