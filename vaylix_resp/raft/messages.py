"""What the nodes of a group say to each other about the log. Frozen values; a message may be lost, late, twice.

Each names who sends it, to whom, and the term it belongs to. No message leaves its node before that term is durable
there, and votes and acknowledgements not before what they promise is (`ready.Ready.send` has only what may go).
Units: indexes and terms as in `types`; a batch end wherever an index names a place.
Not here: forwarded proposals and the stream of a snapshot, which are the driver's; bytes (`peers.wire`).
Source: Raft (Ongaro, 2014), figure 3.1; sections 3.10 (TimeoutNow), 5.1 (InstallSnapshot), 6.4 (reads), 9.6 (pre-vote).
"""

from __future__ import annotations

from .types import NOTHING, Entry, EntryId, SnapshotMeta, value


@value
class PreVote:
    """Would you vote for me in `term`? Nobody's term moves, whatever the answer."""

    frm: int
    to: int
    term: int  # the one after the sender's own
    last: EntryId


@value
class PreVoteReply:
    frm: int
    to: int
    term: int  # granted: the term asked for; refused: that of the refuser
    granted: bool


@value
class Vote:
    """Vote for me. `transfer`: the leader of the term before has asked me to, so that it need not time out first."""

    frm: int
    to: int
    term: int
    last: EntryId
    transfer: bool = False


@value
class VoteReply:
    frm: int
    to: int
    term: int
    granted: bool


@value
class Append:
    """The batches behind `prev`, or none: then a probe, or news of `commit`."""

    frm: int
    to: int
    term: int
    # Rises with every append of a leader, and comes back in the reply: tells old replies from new ones. 0: it only
    # brings `commit`, to a node that is known to have the log up to `prev` or to be about to; no reply is wanted.
    number: int
    prev: EntryId
    prev_chain: bytes  # 16 bytes, see `chain`; b"": the sender does not know it
    entries: tuple[Entry, ...]
    commit: int  # of the leader; may lie behind the end of `entries`


@value
class AppendReply:
    """To append `number`. Taken: the sender's log is durable and equal to the leader's up to `index`.

    Rejected: `index` is the `prev` that did not match; `hint` is the last place of the sender's log that may match.
    """

    frm: int
    to: int
    term: int
    number: int
    index: int
    rejected: bool = False
    hint: EntryId = NOTHING


@value
class Heartbeat:
    """I lead. `round` counts the rounds of a leader in its term: a reply proves that it still led when it began."""

    frm: int
    to: int
    term: int
    commit: int  # not behind what the receiver has acknowledged
    round: int


@value
class HeartbeatReply:
    frm: int
    to: int
    term: int
    round: int


@value
class TimeoutNow:
    """Stand for election at once: you have all of my log."""

    frm: int
    to: int
    term: int


@value
class InstallSnapshot:
    """The snapshot that I have streamed to you is complete: put it in the place of your log."""

    frm: int
    to: int
    term: int
    snapshot: SnapshotMeta


@value
class SnapshotReply:
    """`ok`: the sender's log is durable and equal to the leader's up to `index`. Else: stream it again."""

    frm: int
    to: int
    term: int
    index: int
    ok: bool


@value
class ReadIndex:
    """A follower asks its leader how far it must have applied to serve reads that have come until now."""

    frm: int
    to: int
    term: int
    number: int  # 63 bits; rises; the first one of a process is random, so that no reply outlives a restart


@value
class ReadIndexReply:
    """`ok` false: whoever was asked does not lead, or cannot say."""

    frm: int
    to: int
    term: int
    number: int
    index: int
    ok: bool = True


Message = (
    PreVote
    | PreVoteReply
    | Vote
    | VoteReply
    | Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | TimeoutNow
    | InstallSnapshot
    | SnapshotReply
    | ReadIndex
    | ReadIndexReply
)
