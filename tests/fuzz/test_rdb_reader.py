"""Mutated RDB files: nothing but RdbError comes out, or records; the same however the bytes arrive.

The corpus is a value of every type in its smallest form (tests/unit/interchange/rdb_files.py), which a real redis-server
loads. Checksums are made right again behind most mutations, so that what comes behind them is reached.
In CI a thousand inputs; `python -m tests.fuzz rdb_reader --seconds 600` for longer.
"""

from __future__ import annotations

from random import Random

from tests.unit.interchange.rdb_files import LATER, OF_REDIS, OF_VALKEY, keys_of, numbers, text, whole
from vaylix_resp.interchange.rdb_reader import End, Header, Key, RdbError, RdbReader, Record

VALUE_BYTES_MAX = 300
STRINGS = [b"", b"a", b"-1", b"70000", b"x" * 100, bytes(range(200)), b"ab" * 150, b"y" * 1000]
PLAIN = b"".join(b"\0" + text(b"k%d" % i) + text(value) for i, value in enumerate(STRINGS))
FACTS = b"\xfa" + text(b"redis-ver") + text(b"7.0.15") + b"\xf5" + text(b"#!lua") + b"\xf7" + numbers(1, 2, 1, 2, 70, 0)
KEYS = b"\xfe\x03\xfb\x07\x01\xfc" + bytes(range(8)) + PLAIN + b"\xf8\x05" + keys_of(OF_REDIS) + b"\xf9\x05" + PLAIN
CORPUS = [
    (b"REDIS0010", FACTS + KEYS),
    (b"REDIS0003", PLAIN),
    (b"REDIS0012", b"\xf4" + numbers(5, 5, 5) + keys_of(OF_REDIS | LATER)),
    (b"VALKEY080", b"\xf3" + text(b"job") + numbers(1, 0, 5) + keys_of(OF_VALKEY) + PLAIN),
]
TOKENS = [
    b"\xff", b"\xfe\x00", b"\xfc" + bytes(8), b"\xfd" + bytes(4), b"\x80\x00\x00\x01\x00", b"\x81" + b"\xff" * 8, b"\xc3",
    b"\xc3\x05\x40\xff", b"\xc0\x01", b"\xc2", b"\x7f\xff", b"\x00", b"\x07", b"\x0f", b"\x15", b"\xfa", b"\xf7",
]  # fmt: skip

Outcome = tuple[list[Record], int | None]  # records, and where it went wrong


def mutated(rng: Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                del data[at : at + rng.randrange(1, 20)]
            case 1:
                data[at:at] = rng.choice(TOKENS)
            case 2:
                data[at : at + 1] = rng.randbytes(1)
            case 3:
                data[at:at] = data[at : at + rng.randrange(1, 100)]
            case 4:
                data[at : at + 1] = bytes((rng.choice((0, 1, 7, 15, 21, 24, 243, 247, 250, 252, 255)),))
            case _:
                del data[at:]
    return bytes(data)


def outcome(chunks: list[bytes]) -> Outcome:
    reader, records = RdbReader("fuzz", VALUE_BYTES_MAX), list[Record]()
    try:
        for chunk in chunks:
            records.extend(reader.feed(chunk))
        reader.close()
    except RdbError as error:
        assert error.offset <= sum(map(len, chunks))
        return records, error.offset
    return records, None


def cut(rng: Random, data: bytes) -> list[bytes]:
    size = rng.choice((1, 2, 5, 30, 200))
    chunks, at = [], 0
    while at < len(data):
        end = at + rng.randrange(1, size + 1)
        chunks.append(data[at:end])
        at = end
    return chunks


def check(rng: Random) -> None:
    head, body = rng.choice(CORPUS)
    data = whole(mutated(rng, body), head, checksum=rng.random() < 0.7)
    if rng.random() < 0.3:
        data = mutated(rng, data)
    records, wrong = found = outcome([data])
    assert outcome(cut(rng, data)) == found
    for record in records:
        if isinstance(record, Key):
            assert len(record.value) <= VALUE_BYTES_MAX
    if records:
        assert isinstance(records[0], Header)
    assert (wrong is None) == (bool(records) and isinstance(records[-1], End))


def test_mutated_files() -> None:
    for seed in range(1000):
        check(Random(seed))
