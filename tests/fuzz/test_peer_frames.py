"""What arrives on the port between nodes: frames come out alike however the bytes are cut, and each is a message in its
one form or a WireError.

The corpus has a body of every kind, its kind as the first byte. Seals are made right again behind most mutations: that
is a node of the cluster that has gone mad, the only one who gets so far. In CI some thousand inputs;
`python -m tests.fuzz peer_frames --seconds 600` for longer.
"""

from __future__ import annotations

import struct
from random import Random

from tests.fuzz.mutation import corpus, mutated
from vaylix_resp.peers.codec import ROWS, decode, encode
from vaylix_resp.peers.fields import WireError
from vaylix_resp.peers.wire import GUEST_BODY_MAX, HEADER_BYTES, Checksum, Frame, FrameReader, frame

FRM, TO = 11, 22
BODIES = [(raw[0], raw[1:]) for raw in corpus("peer").values()]
TOKENS = [bytes(4), bytes(8), b"\xff" * 4, b"\xff" * 8, b"\0\0\0\1", b"\x7f" + b"\xff" * 7, b"\0", b"\1", b"\x80", b"a"]


def sealed(bodies: list[tuple[int, bytes]]) -> bytes:
    seal = Checksum()
    return b"".join(b"".join(frame(kind, (body,), seal)) for kind, body in bodies)


def read(pieces: list[bytes]) -> tuple[list[Frame], str]:
    """The frames, and what ended it."""
    reader, found = FrameReader(), []
    reader.body_max = GUEST_BODY_MAX
    for piece in pieces:
        reader.feed(piece)
        try:
            while (one := reader.next()) is not None:
                found.append(one)
        except WireError as bad:
            return found, str(bad)
    return found, ""


def understood(kind: int, body: bytes, *, guest: bool) -> bool:
    try:
        message = decode(kind, body, FRM, TO, guest=guest)
    except WireError as bad:
        assert "\n" not in str(bad)
        return False
    again, pieces = encode(message)
    assert (again, b"".join(pieces)) == (kind, body), "one message has one form"
    return True


def check_messages(rng: Random) -> None:
    kind, body = rng.choice(BODIES)
    changed = mutated(rng, body, TOKENS)
    if rng.random() < 0.1:
        kind = rng.choice([row.kind for row in ROWS] + [0, 255])
    understood(kind, changed[:GUEST_BODY_MAX], guest=rng.random() < 0.2)


def check_frames(rng: Random) -> None:
    bodies = rng.choices(BODIES, k=rng.randrange(1, 5))
    wire = sealed(bodies)
    if rng.random() < 0.8:
        wire = mutated(rng, wire, [*TOKENS, struct.pack(">I", rng.randrange(1 << 17)), wire[:HEADER_BYTES]])
    cuts = sorted(rng.randrange(len(wire) + 1) for _ in range(rng.choice((0, 1, 3, 10))))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    found = read(pieces)
    assert found == read([wire]), "it depends on how the bytes arrive"
    told = [Frame(kind, body) for kind, body in bodies]
    same = 0
    while same < min(len(told), len(found[0])) and found[0][same] == told[same]:
        same += 1
    assert len(found[0]) == same, "a frame whose seal is not that of its place"


def check(rng: Random) -> None:
    check_messages(rng)
    check_frames(rng)


def test_the_corpus_has_every_kind() -> None:
    assert {kind for kind, _ in BODIES} == {row.kind for row in ROWS}
    assert all(understood(kind, body, guest=False) for kind, body in BODIES)


def test_mutated_frames() -> None:
    for seed in range(5000):
        check(Random(seed))
