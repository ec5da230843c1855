"""Mutated requests and noise to the RESP reader: nothing but ProtocolError comes out, and what the slow twin says.

In CI a few thousand inputs; `python -m tests.fuzz resp_reader --seconds 600` for longer.
"""

from __future__ import annotations

from random import Random

from tests.fuzz import mutation
from tests.unit.resp.test_reader import ERRORS, SMUGGLED, WHOLE
from tests.unit.resp.twin import cut, pack, quick_read, slow_read

CORPUS = [wire for wire, *_ in (*WHOLE, *ERRORS) if len(wire) < 2000] + SMUGGLED
TOKENS = [*map(bytes, zip(b"*$\n\r+-:%~>|=(,019\"' \0\xff", strict=True))]
TOKENS += [b"\r\n", b"XX", b"#t\r\n", b"_\r\n", b"*1\r\n", b"$1\r\na\r\n", b"$-1\r\n", b"*0\r\n", b"*99999\r\n"]
TOKENS += [b"\\x41", b"$4\r\nPING\r\n", b"PING\r\n"]


def mutated(rng: Random) -> bytes:
    """Some inputs behind each other, then a few bytes removed, changed, repeated or put in."""
    data = bytearray(b"".join(rng.choices(CORPUS, k=rng.randrange(1, 4))))
    if rng.random() < 0.3:
        data += pack(*[rng.randbytes(rng.randrange(6)) for _ in range(rng.randrange(1, 5))])
    if rng.random() < 0.3:  # a pipeline of requests of one shape, which is read in a way of its own
        values = [rng.choice((b"", b"\r\n", b"\r", b"$1", b"$1\r\na", b"x" * 9, b"y" * 10)) for _ in range(4)]
        data += b"".join(pack(b"SET", b"k", value) for value in values)
    return mutation.mutated(rng, bytes(data), TOKENS, (0, 1, 1, 2, 5))


def check(rng: Random) -> None:
    data = mutated(rng)
    trusted = rng.random() < 0.8
    expected = slow_read(data, trusted=trusted)
    pieces = cut(data, [rng.randrange(5000) for _ in range(rng.choice((0, 0, 1, 3, 10)))])
    found = quick_read(pieces, trusted=trusted)
    assert found == expected, (trusted, pieces, found, expected)




def test_mutated_requests() -> None:
    for seed in range(6000):
        check(Random(seed))
