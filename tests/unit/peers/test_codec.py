"""Messages to bytes and back; bytes that no node sends."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.peers.worlds import BY_CLASS, FRM, TO, messages
from vaylix_resp.limits import BATCH_BODY_BYTES_MAX
from vaylix_resp.peers import codec
from vaylix_resp.peers import messages as driver
from vaylix_resp.peers.codec import ROWS, decode, encode, fits
from vaylix_resp.peers.fields import ENTRIES_MAX, MEMBERS_MAX, WireError
from vaylix_resp.raft import messages as raft
from vaylix_resp.raft.types import Entry, EntryId, EntryKind

KINDS = [row.kind for row in ROWS]


def body_of(message):
    kind, pieces = encode(message)
    return kind, b"".join(pieces)


@pytest.mark.parametrize("cls", BY_CLASS, ids=lambda cls: cls.__name__)
@settings(max_examples=20)
@given(st.data())
def test_every_message_comes_back(cls, data):
    message = data.draw(BY_CLASS[cls])
    assert decode(*body_of(message), FRM, TO) == message


@given(messages, st.data())
def test_a_message_that_is_cut_or_longer_is_refused(message, data):
    kind, body = body_of(message)
    cut = data.draw(st.integers(0, len(body)))
    for other in (body[:cut], body + b"\0"):
        if other != body:
            with pytest.raises(WireError):
                decode(kind, other, FRM, TO)


@settings(max_examples=200)
@given(st.sampled_from([*KINDS, 0, 31, 255]), st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_wire_error(kind, body):
    try:
        message = decode(kind, body, FRM, TO)
    except WireError as bad:
        assert "\n" not in str(bad)
    else:
        assert body_of(message) == (kind, body), "one message has one form"


@settings(max_examples=200)
@given(messages, st.data())
def test_a_flipped_byte_gives_a_message_or_a_wire_error(message, data):
    kind, body = body_of(message)
    if not body:
        return
    at = data.draw(st.integers(0, len(body) - 1))
    flipped = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    try:
        again = decode(kind, flipped, FRM, TO)
    except WireError:
        return
    assert body_of(again) == (kind, flipped)


def test_who_sent_it_is_what_the_connection_says():
    kind, body = body_of(raft.TimeoutNow(FRM, TO, 3))
    assert decode(kind, body, 5, 6) == raft.TimeoutNow(5, 6, 3)
    kind, body = body_of(driver.Forward(FRM, 1, 2, 3, 4, b"x"))
    assert decode(kind, body, 5, 6).origin == 5


E = Entry(EntryKind.NORMAL, 6, 2, 3, 0, 0, b"")


PREV = EntryId(5, 3)


def append(*entries, term=3, prev=PREV):
    return raft.Append(FRM, TO, term, 1, prev, b"", entries, 0)


@pytest.mark.parametrize(
    "message, fault",
    [
        (append(Entry(EntryKind.NORMAL, 7, 1, 3, 0, 0, b"")), "begins at 7, behind one that ends at 5"),
        (append(E, Entry(EntryKind.NORMAL, 7, 1, 3, 0, 0, b"")), "begins at 7, behind one that ends at 7"),
        (append(E, Entry(EntryKind.NORMAL, 8, 1, 2, 0, 0, b"")), "term 2 behind one of term 3"),
        (append(Entry(EntryKind.NORMAL, 6, 1, 4, 0, 0, b"")), "term 4 from a leader of term 3"),
        (append(prev=EntryId(5, 4)), "term 4 from a leader of term 3"),
        (driver.SnapshotChunk(1, 0, b"x", driver.chunk_checksum(b"y")), "checksum"),
        (driver.SnapshotChunk(1, 0, b"", driver.chunk_checksum(b"")), "checksum"),
        (driver.Found(b"d" * 32, driver.Stage.PROMISED, ()), "disorder"),
        (
            driver.Found(b"d" * 32, driver.Stage.FOUNDED, (driver.Founder("b", 1, 1), driver.Founder("a", 2, 2))),
            "disorder",
        ),
        (
            driver.Found(b"d" * 32, driver.Stage.FOUNDED, (driver.Founder("a", 1, 1), driver.Founder("b", 1, 2))),
            "disorder",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(message, fault):
    with pytest.raises(WireError, match=fault):
        decode(*body_of(message), FRM, TO)


def raw_entry(kind=1, first=6, count=1, term=3, length=0):
    return struct.pack(">BQIQQQI", kind, first, count, term, 0, 0, length)


HEAD = struct.pack(">QQQQI", 3, 1, 5, 3, 0)  # term, number, prev, no chain


@pytest.mark.parametrize(
    "entries, fault",
    [
        (b"\0\1" + raw_entry(kind=2), "unknown kind 2"),
        (b"\0\1" + raw_entry(count=0), "out of range"),
        (b"\0\1" + raw_entry(first=0), "out of range"),
        (b"\0\1" + raw_entry(first=1 << 63), "out of range"),
        (b"\0\1" + raw_entry(term=0), "out of range"),
        (b"\0\1" + raw_entry(length=BATCH_BODY_BYTES_MAX + 1), "are the most"),
        (b"\0\1" + raw_entry(length=9), "ends within an entry"),
        (struct.pack(">H", ENTRIES_MAX + 1), "are the most"),
        (b"\xff\xff", "are the most"),
        (b"\0\2" + raw_entry(), "ends within a field"),
    ],
)
def test_entries_are_believed_only_as_far_as_they_go(entries, fault):
    with pytest.raises(WireError, match=fault):
        decode(5, HEAD + entries + bytes(8) * ("within a field" not in fault), FRM, TO)


def test_an_entry_made_by_hand_is_taken():
    message = decode(5, HEAD + b"\0\1" + raw_entry() + bytes(8), FRM, TO)
    assert message.entries == (Entry(EntryKind.NORMAL, 6, 1, 3, 0, 0, b""),)


def snapshot(*sets):
    body = struct.pack(">QI", 3, 0) + bytes(16)
    return body + b"".join(struct.pack(f">H{len(one)}Q", len(one), *one) for one in sets)


@pytest.mark.parametrize(
    "sets, fault",
    [
        (((2, 1), (), ()), "not in order"),
        (((1, 1), (), ()), "not in order"),
        (((1,), (1,), ()), "contradicts"),
        (((0,), (), ()), "contradicts"),
        ((range(MEMBERS_MAX + 1), (), ()), "are the most"),
    ],
)
def test_a_membership_has_one_form(sets, fault):
    assert decode(10, snapshot((1, 2), (3,), ()), FRM, TO).snapshot.membership.learners == {3}
    with pytest.raises(WireError, match=fault):
        decode(10, snapshot(*sets), FRM, TO)


@pytest.mark.parametrize(
    "kind, body, fault",
    [
        (4, bytes(8) + b"\2", "flag 2"),
        (1, b"\xff" * 24, "not in 0"),
        (1, bytes(8) + b"\xff" * 16, "beyond 63 bits"),
        (36, b"\3" + bytes(8), "PublishKind 3 is not known"),
        (38, bytes(16), "id 0"),
        (41, bytes(8) + struct.pack(">I", 17) + bytes(17), "digest of 17"),
        (40, bytes(7) + b"\1\1" + struct.pack(">I", 1) + b"\xff", "not UTF-8"),
        (40, bytes(7) + b"\1\1" + struct.pack(">I", 1) + b"\n", "control"),
        (40, bytes(7) + b"\1\1" + struct.pack(">I", 1 << 31), "are the most"),
        (44, bytes(12) + struct.pack(">H", 65), "are the most"),
    ],
)
def test_values_out_of_bounds_are_refused(kind, body, fault):
    with pytest.raises(WireError, match=fault):
        decode(kind, body, FRM, TO)


def test_a_text_is_made_fit_before_it_is_sent():
    message = driver.SnapshotDone(1, False, "a\nb" + "x" * 600)
    assert decode(*body_of(message), FRM, TO).text == "a?b" + "x" * 509


def test_who_is_no_member_may_only_say_what_guests_say():
    guests = {row.of for row in ROWS if row.guest}
    invited = {driver.JoinInvite, driver.JoinRequest, driver.JoinReply}
    assert guests == {driver.Ping, driver.Pong, driver.Found} | invited
    with pytest.raises(WireError, match="Vote from a node that is no member"):
        decode(*body_of(raft.Vote(FRM, TO, 1, EntryId(0, 0))), FRM, TO, guest=True)
    assert decode(*body_of(driver.Ping(3)), FRM, TO, guest=True) == driver.Ping(3)


def test_a_kind_that_a_node_does_not_know_yet_is_neither_sent_to_it_nor_taken(monkeypatch):
    newer = codec.Row(33, driver.Pong, codec._BY_KIND[33].fields, since=2)
    monkeypatch.setattr(codec, "_BY_KIND", {**codec._BY_KIND, 33: newer})
    monkeypatch.setattr(codec, "_BY_CLASS", {**codec._BY_CLASS, driver.Pong: newer})
    assert not fits(driver.Pong(1), 1) and fits(driver.Pong(1), 2) and fits(driver.Ping(1), 1)
    with pytest.raises(WireError, match="unknown kind 33"):
        decode(33, bytes(8), FRM, TO, version=1)
    assert decode(33, bytes(8), FRM, TO, version=2) == driver.Pong(0)
