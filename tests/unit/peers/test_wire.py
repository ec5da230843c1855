"""Frames: however the bytes arrive, whatever is done to them on the way."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.limits import BATCH_BODY_BYTES_MAX
from vaylix_resp.peers.fields import WireError
from vaylix_resp.peers.wire import (
    BODY_MAX,
    FORMAT,
    HEADER_BYTES,
    HELLO_BODY_MAX,
    Checksum,
    Frame,
    FrameReader,
    Keyed,
    frame,
    stranger,
)

KEY = b"k" * 32
SEALS = {"checksum": Checksum, "keyed": lambda: Keyed(KEY)}
FRAMES = [Frame(1, b""), Frame(2, b"x"), Frame(255, b"y" * 1000), Frame(7, b"z" * HELLO_BODY_MAX), Frame(1, b"")]


def written(frames, seal):
    return b"".join(b"".join(frame(one.kind, [one.body[:3], one.body[3:]], seal)) for one in frames)


def reader(seal=None):
    one = FrameReader()
    if seal is not None:
        one.seal = seal
    return one


def read_all(one, *pieces):
    found = []
    for piece in pieces:
        one.feed(piece)
        while (got := one.next()) is not None:
            found.append(got)
    return found


@pytest.mark.parametrize("kind", SEALS)
@pytest.mark.parametrize("size", [1, 2, 7, HEADER_BYTES, HEADER_BYTES + 1, 1 << 20])
def test_the_reader_does_not_care_how_the_bytes_arrive(kind, size):
    wire = written(FRAMES, SEALS[kind]())
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert read_all(reader(SEALS[kind]()), *pieces) == FRAMES


@given(st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(1, 40), max_size=20))
def test_bodies_come_back_in_order(bodies, cuts):
    frames = [Frame(number + 1, body) for number, body in enumerate(bodies)]
    wire, pieces = written(frames, Checksum()), []
    for cut in cuts:
        pieces, wire = [*pieces, wire[:cut]], wire[cut:]
    assert read_all(reader(), *pieces, wire) == frames


@pytest.mark.parametrize("kind", SEALS)
@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_no_flipped_byte_goes_unnoticed(kind, at, flip):
    frames = [Frame(1, b"one"), Frame(2, b"two" * 20)]
    wire = bytearray(written(frames, SEALS[kind]()))
    wire[at % len(wire)] ^= flip
    one, found = reader(SEALS[kind]()), []
    try:
        found = read_all(one, bytes(wire))
    except WireError:
        return
    assert found == frames[: len(found)] and len(found) < 2  # a longer length: it waits for what never comes


@pytest.mark.parametrize("kind", SEALS)
@pytest.mark.parametrize(
    "what, order",
    [("repeated", [0, 0]), ("left out", [1]), ("moved", [1, 0])],
)
def test_a_frame_that_is_repeated_left_out_or_moved_is_noticed(kind, what, order):
    seal = SEALS[kind]()
    wires = [written([one], seal) for one in (Frame(1, b"a"), Frame(1, b"a"))]  # equal but for their number
    assert wires[0] != wires[1]
    with pytest.raises(WireError, match="damaged, forged or repeated"):
        read_all(reader(SEALS[kind]()), *(wires[number] for number in order))


def test_nobody_makes_a_seal_without_the_key():
    for seal in (Checksum(), Keyed(b"K" * 32)):
        with pytest.raises(WireError, match="forged"):
            read_all(reader(Keyed(KEY)), written([Frame(1, b"a")], seal))


def start(length, form=FORMAT, zero=0):
    return struct.pack(">IBBH", length, form, 1, zero)


@pytest.mark.parametrize(
    "begin, fault",
    [
        (start(HEADER_BYTES - 5), "a frame of 19 bytes"),
        (start(0), "a frame of 0 bytes"),
        (start(HEADER_BYTES - 4 + HELLO_BODY_MAX + 1), "are the most"),
        (start((1 << 32) - 1), "are the most"),
        (start(20, form=2), "format 2"),
        (start(20, zero=1), "format 1"),
        (b"GET / HTTP/1.1\r\n", "are the most"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "are the most"),
        (b"*1\r\n$4\r\nPING\r\n", "are the most"),
    ],
)
def test_a_header_is_refused_before_anything_is_gathered_for_it(begin, fault):
    with pytest.raises(WireError, match=fault):
        read_all(reader(), begin)


def test_trust_brings_room_between_two_frames():
    one = reader()
    wire = written([Frame(1, b"")], Checksum())
    assert read_all(one, wire) == [Frame(1, b"")]
    one.body_max, one.seal = BODY_MAX, Keyed(KEY)
    assert read_all(one, written([Frame(2, b"x" * 100_000)], Keyed(KEY))) == [Frame(2, b"x" * 100_000)]


def test_the_largest_batch_fits():
    assert BODY_MAX > BATCH_BODY_BYTES_MAX + 1024
    with pytest.raises(AssertionError):
        frame(1, [bytes(BODY_MAX + 1)], Checksum())


@pytest.mark.parametrize(
    "first, who",
    [(b"\x16\x03\x01", "TLS"), (b"\x15\x03\x01", "TLS"), (b"*1\r\n", "client of Redis"), (b"GET / ", "HTTP"),
     (b"-ERR", "server for clients"), (b"\0\0\0\x14", ""), (b"", "")],
)  # fmt: skip
def test_common_mistakes_have_a_name(first, who):
    assert (who in stranger(first)) and bool(who) == bool(stranger(first))
