"""Messages of every kind, and nodes, for the tests of peers."""

from __future__ import annotations

from hypothesis import strategies as st

from vaylix_resp.limits import MIB
from vaylix_resp.peers import messages as driver
from vaylix_resp.peers.codec import ROWS
from vaylix_resp.peers.hello import NO_CLUSTER, Identity
from vaylix_resp.raft import messages as raft
from vaylix_resp.raft.types import Entry, EntryId, EntryKind, Membership, SnapshotMeta

FRM, TO = 11, 22

number = st.integers(0, (1 << 63) - 1)
small = st.integers(0, 1 << 40)
ids = st.integers(1, (1 << 64) - 1)
place = st.builds(EntryId, number, number)
data = st.binary(max_size=300)
name = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=64)
word = st.text("ABCDEF", max_size=32)
ascii_text = st.text("abc.- :1", max_size=60)
digest = st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32)


@st.composite
def appends(draw):
    index, term = draw(small), draw(st.integers(0, 50))
    prev, found = EntryId(index, term), []
    for _ in range(draw(st.integers(0, 4))):
        count, term = draw(st.integers(1, 1 << 20)), max(1, term) + draw(st.integers(0, 3))
        kind, time, seed = draw(st.sampled_from(EntryKind)), draw(small), draw(ids)
        found.append(Entry(kind, index + 1, count, term, time, seed, draw(data)))
        index += count
    chain = draw(st.sampled_from([b"", b"c" * 16]))
    return raft.Append(FRM, TO, term + draw(st.integers(0, 3)), draw(number), prev, chain, tuple(found), draw(number))


@st.composite
def memberships(draw):
    everyone = draw(st.lists(ids, max_size=6, unique=True))
    kinds = [draw(st.integers(0, 2)) for _ in everyone]
    return Membership(*(frozenset(n for n, k in zip(everyone, kinds, strict=True) if k == want) for want in range(3)))


@st.composite
def chunks(draw):
    body = draw(st.binary(min_size=1, max_size=300))
    return driver.SnapshotChunk(draw(ids), draw(number), body, driver.chunk_checksum(body))


@st.composite
def founds(draw):
    names = sorted(draw(st.lists(name, min_size=1, max_size=4, unique=True)))
    nodes = draw(st.lists(ids, min_size=len(names), max_size=len(names), unique=True))
    table = tuple(driver.Founder(n, node, draw(ids)) for n, node in zip(names, nodes, strict=True))
    stage = draw(st.sampled_from(driver.Stage))
    return driver.Found(
        draw(st.binary(min_size=32, max_size=32)), stage, () if stage == driver.Stage.GATHERING else table
    )


def of(cls, *fields):
    return st.builds(cls, st.just(FRM), st.just(TO), *fields)


flags = st.booleans()
members = st.lists(st.builds(driver.Member, ids, name, ascii_text, st.integers(1, 65535)), max_size=3).map(tuple)
BY_CLASS = {
    driver.JoinInvite: st.builds(driver.JoinInvite, members),
    driver.MembersRequest: st.builds(driver.MembersRequest, number, st.integers(0, 9), ids, flags),
    driver.MembersReply: st.builds(driver.MembersReply, number, ascii_text),
    driver.Everywhere: st.builds(driver.Everywhere, number),
    raft.PreVote: of(raft.PreVote, number, place),
    raft.PreVoteReply: of(raft.PreVoteReply, number, flags),
    raft.Vote: of(raft.Vote, number, place, flags),
    raft.VoteReply: of(raft.VoteReply, number, flags),
    raft.Append: appends(),
    raft.AppendReply: of(raft.AppendReply, number, number, number, flags, place),
    raft.Heartbeat: of(raft.Heartbeat, number, number, number),
    raft.HeartbeatReply: of(raft.HeartbeatReply, number, number),
    raft.TimeoutNow: of(raft.TimeoutNow, number),
    raft.InstallSnapshot: of(raft.InstallSnapshot, number, st.builds(SnapshotMeta, name, place, memberships())),
    raft.SnapshotReply: of(raft.SnapshotReply, number, number, flags),
    raft.ReadIndex: of(raft.ReadIndex, number, number),
    raft.ReadIndexReply: of(raft.ReadIndexReply, number, number, number, flags),
    driver.Ping: st.builds(driver.Ping, number),
    driver.Pong: st.builds(driver.Pong, number),
    driver.Forward: st.builds(driver.Forward, st.just(FRM), ids, number, number, st.integers(0, 1000), data),
    driver.Publish: st.builds(driver.Publish, st.sampled_from(driver.PublishKind), data, data),
    driver.SnapshotOffer: st.builds(driver.SnapshotOffer, ids, name, place, number, number, digest),
    driver.SnapshotWant: st.builds(driver.SnapshotWant, ids, number),
    driver.SnapshotChunk: chunks(),
    driver.SnapshotDone: st.builds(driver.SnapshotDone, ids, flags, ascii_text),
    driver.DigestAsk: st.builds(
        driver.DigestAsk, ids, st.integers(1, 2), st.integers(0, 15), st.lists(data, max_size=5).map(tuple)
    ),
    driver.Digest: st.builds(driver.Digest, number, digest),
    driver.Info: st.builds(driver.Info, ascii_text, word, *[st.integers(0, 65535)] * 2, *[number] * 6),
    driver.JoinRequest: st.builds(driver.JoinRequest, name, ascii_text, st.integers(1, 65535), ascii_text, word),
    driver.JoinReply: st.builds(driver.JoinReply, word, ascii_text, st.sampled_from([b"", b"c" * 16]), members),
    driver.Found: founds(),
}
assert set(BY_CLASS) == {row.of for row in ROWS}, "a strategy for every kind of message"
messages = st.one_of(*BY_CLASS.values())


def identity(number: int = 1, **changes) -> Identity:
    """Node `number` of the test cluster, in its first life."""
    given = {
        "cluster": b"C" * 16, "node": number, "name": f"node-{number}", "store": 100 + number, "incarnation": 1,
        "boot": 1000 + number,
    }  # fmt: skip
    return Identity(**{**given, **changes})


def stranger(number: int = 9, **changes) -> Identity:
    return identity(number, **{"cluster": NO_CLUSTER, **changes})


def big_append(frm: int, to: int, size: int = 2 * MIB, number: int = 1) -> raft.Append:
    entry = Entry(EntryKind.NORMAL, 1, 1, 1, 0, 0, b"x" * size)
    return raft.Append(frm, to, 1, number, EntryId(0, 0), b"", (entry,), 0)
