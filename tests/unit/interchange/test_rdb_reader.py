"""RDB files of every type and version, however their bytes arrive; damage of every kind. About three seconds."""

from __future__ import annotations

import tracemalloc

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.unit.interchange.rdb_files import LATER, OF_REDIS, OF_VALKEY, crc64, keys_of, numbers, text, whole
from vaylix_resp.errors import EX_DATA
from vaylix_resp.interchange.rdb_reader import (
    Aux,
    End,
    Header,
    Key,
    RdbError,
    RdbReader,
    Record,
    Resize,
    Select,
    Unsupported,
)
from vaylix_resp.interchange.rdb_strings import write_string
from vaylix_resp.interchange.rdb_writer import VERSION_MAX, VERSION_MIN, BadVersion, RdbWriter
from vaylix_resp.limits import KIB, MIB

MODULE_AUX = b"\xf7" + LATER[7][1][:9] + numbers(2, 1, 1, 5, 0)  # id, when, and one number


def read_all(*chunks: bytes, limit: int = MIB) -> list[Record]:
    reader = RdbReader("dump.rdb", limit)
    records = [record for chunk in chunks for record in reader.feed(chunk)]
    reader.close(alone=True)
    return records


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def string_key(name: bytes, value: bytes) -> bytes:
    return b"\0" + text(name) + text(value)


EVERYTHING = whole(
    b"\xfa" + text(b"redis-ver") + text(b"7.4.1")
    + b"\xfa" + text(b"redis-bits") + text(b"64")
    + b"\xf5" + text(b"#!lua name=lib" + b"x" * 100)
    + MODULE_AUX
    + b"\xfe\x00\xfb\x05\x02"
    + b"\xf4" + numbers(16383, 70000, 5)
    + string_key(b"plain", b"value")
    + b"\xfc" + (1_800_000_000_123).to_bytes(8, "little") + string_key(b"ms", b"-129")
    + b"\xfd" + (1_800_000_000).to_bytes(4, "little") + string_key(b"s", b"")
    + b"\xf8" + numbers(70_000) + string_key(b"idle", b"x" * 500)
    + b"\xfc" + (-5).to_bytes(8, "little", signed=True) + b"\xf9\xff" + string_key(b"", bytes(range(256)))
    + b"\xfe" + numbers(300) + b"\xfb\x00\x00"
    + b"\xfc" + b"\x01" + b"\0" * 7 + keys_of(OF_REDIS | LATER)
)  # fmt: skip

RECORDS = [
    Header(12, "redis"),
    Aux(b"redis-ver", b"7.4.1"),
    Aux(b"redis-bits", b"64"),
    Unsupported(0, "function", None),
    Unsupported(0, "module data EjRWeJq83", None),
    Select(0),
    Resize(5, 2),
    Key(0, b"plain", b"value", None, None, None),
    Key(0, b"ms", b"-129", 1_800_000_000_123, None, None),
    Key(0, b"s", b"", 1_800_000_000_000, None, None),
    Key(0, b"idle", b"x" * 500, None, 70_000, None),
    Key(0, b"", bytes(range(256)), -5, None, 255),
    Select(300),
    Resize(0, 0),
    Unsupported(300, "list", b"type-1", 1),
    *(
        Unsupported(300, kind, b"type-%d" % number)
        for number, (kind, _) in list((OF_REDIS | LATER).items())[1:]
    ),
    End(True),
]  # fmt: skip


def test_every_record_there_is() -> None:
    assert read_all(EVERYTHING) == RECORDS


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 500])
def test_how_the_bytes_arrive_makes_no_difference(size: int) -> None:
    assert read_all(*pieces(EVERYTHING, size)) == RECORDS


def test_records_that_nobody_has_asked_for_come_with_the_next_bytes() -> None:
    reader = RdbReader("x")
    half = len(EVERYTHING) // 2
    reader.feed(EVERYTHING[:half])
    first = next(reader.feed(EVERYTHING[half:]))
    assert [first, *reader.feed(b"")] == RECORDS


def test_bytes_behind_a_file_that_should_be_alone() -> None:
    with pytest.raises(RdbError, match=f"offset {len(EVERYTHING)}: expected the end of the file, there is more"):
        read_all(EVERYTHING, b"x")


def test_what_follows_the_file_is_left_alone() -> None:
    for size in (1, 10, 10_000):
        reader = RdbReader("x")
        data = EVERYTHING + b"*1\r\n$4\r\nPING\r\n"
        records = [record for chunk in pieces(data, size) for record in reader.feed(chunk)]
        assert records == RECORDS
        assert reader.done and reader.rest == b"*1\r\n$4\r\nPING\r\n"
        assert reader.position == len(EVERYTHING)
        reader.close()
        assert list(reader.feed(b"more")) == [] and reader.rest.endswith(b"PING\r\nmore")


@pytest.mark.parametrize("size", [1, 10_000])
def test_positions_are_where_records_end(size: int) -> None:
    data = whole(string_key(b"a", b"b") + keys_of({1: OF_REDIS[1]}))
    reader, found = RdbReader("x"), list[int]()
    for chunk in pieces(data, size):
        found += [reader.position for _ in reader.feed(chunk)]
    assert found == [9, 14, len(data) - 9, len(data)]


@pytest.mark.parametrize("version", range(1, 13))
def test_versions_of_redis(version: int) -> None:
    body = string_key(b"k", b"v") + b"\xff"
    data = b"REDIS%04d" % version + body
    end = End(False)
    if version >= 5:
        data, end = data + crc64(data).to_bytes(8, "little"), End(True)
    for size in (1, 100):
        assert read_all(*pieces(data, size)) == [Header(version, "redis"), Key(0, b"k", b"v", None, None, None), end]


def test_valkey_has_types_and_opcodes_of_its_own() -> None:
    body = b"\xf3" + text(b"job") + numbers(2, 0, 100, 200, 300) + keys_of(OF_VALKEY)
    assert read_all(whole(body, b"VALKEY080")) == [
        Header(80, "valkey"),
        Unsupported(0, "slot import", None),
        Unsupported(0, "hash", b"type-22"),
        End(True),
    ]


def test_no_checksum_is_said() -> None:
    assert read_all(whole(string_key(b"k", b"v"), checksum=False))[-1] == End(False)


@pytest.mark.parametrize(
    "data, offset, expected",
    [
        (b"*1\r\n$4\r\nPING\r\n", 0, "REDIS and a version"),
        (b"REDISabcd", 0, "REDIS and a version"),
        (b"REDIS0000", 0, "version 1 to 12 of Redis or 80 of Valkey, not 0 of redis"),
        (b"REDIS0013", 0, "not 13 of redis"),
        (b"REDIS0080", 0, "not 80 of redis"),
        (b"VALKEY011", 0, "not 11 of valkey"),
        (b"VALKEY081", 0, "not 81 of valkey"),
        (b"REDIS0011\x06\x01k", 9, "a type or an opcode of version 11, not 6"),
        (b"REDIS0011\x08\x01k", 9, "not 8"),
        (b"REDIS0011\x1a\x01k", 9, "not 26"),
        (b"REDIS0011\xf6", 9, "not 246"),
        (b"REDIS0011\xf3", 9, "not 243"),
        (b"REDIS0011\xfc" + bytes(8) + b"\xfe\x00", 18, "a key behind its expiry or age, not the opcode 254"),
        (b"REDIS0011\xf9\x05\xff", 11, "a key behind its expiry"),
        (b"REDIS0011" + (b"\xfc" + bytes(8)) * 5, 9, "a key behind at most 3 expiries and ages"),
        (b"REDIS0011\xfe\xc0\x00", 10, "a length, not the byte 0xc0"),
        (b"REDIS0011\xfe\x82", 10, "a length, not the byte 0x82"),
        (b"REDIS0011\x00\xc4", 10, "a string, not the byte 0xc4"),
        (b"REDIS0011\x00\x01k\xc3\x02\x05\x00a", 15, "LZF data of a string of 5 bytes"),
        (b"REDIS0011\x00\x01k\xc3\x00\x00", 15, "LZF data of a string of 0 bytes"),
        (b"REDIS0011\x00\x81" + b"\xff" * 8, 10, "a name of at most"),
        (b"REDIS0011\x07\x01k\x00\x06", 13, "a part of a module's value, not 6"),
        (b"REDIS0011\x04\x01k\x01\xc4", 13, "a length, not the byte 0xc4"),
        (b"REDIS0011\xff\x01\0\0\0\0\0\0\0", 10, "the checksum"),
    ],
)
def test_what_is_wrong_is_named_with_its_offset(data: bytes, offset: int, expected: str) -> None:
    for size in (1, len(data)):
        with pytest.raises(RdbError) as caught:
            read_all(*pieces(data, size))
        assert caught.value.offset == offset, caught.value
        assert expected in caught.value.expected
        assert str(caught.value).startswith(f"dump.rdb: offset {offset}: expected ")
        assert caught.value.exit_code == EX_DATA


def test_a_file_cut_anywhere_is_not_taken_for_whole() -> None:
    for size in range(len(EVERYTHING)):
        with pytest.raises(RdbError, match="the file is cut short") as caught:
            read_all(EVERYTHING[:size])
        assert caught.value.offset == size


@pytest.mark.parametrize("shift", [0, 1])
def test_any_changed_bit_is_noticed(shift: int) -> None:
    """One of each byte, in turn; with 1 it is the one that makes of version 12 the version 2, which has no checksum."""
    for at in range(len(EVERYTHING)):
        changed = bytearray(EVERYTHING)
        changed[at] ^= 1 << (at + shift) % 8
        with pytest.raises(RdbError):
            read_all(bytes(changed))


def test_a_string_that_is_too_long_is_stepped_over() -> None:
    long, packed = bytes(range(256)) * 8, b"x" * 5000
    data = whole(
        b"\xfc" + b"\x09" + b"\0" * 7 + string_key(b"long", long) + string_key(b"packed", packed)
        + b"\xfa" + text(b"lua") + text(long) + string_key(b"k", b"v")
    )  # fmt: skip
    for size in (1, 100, len(data)):
        assert read_all(*pieces(data, size), limit=1000) == [
            Header(12, "redis"),
            Unsupported(0, "string", b"long", 9, 2048),
            Unsupported(0, "string", b"packed", None, 5000),
            Aux(b"lua", None),
            Key(0, b"k", b"v", None, None, None),
            End(True),
        ]


def test_memory_does_not_grow_with_what_is_stepped_over() -> None:
    element = write_string(bytes(range(200)) * 5)
    count = 2000
    body = b"\x02" + text(b"set") + numbers(count) + element * count
    body += b"\x0e" + text(b"huge") + numbers(1) + b"\x80" + (4 * MIB).to_bytes(4, "big") + b"x" * (4 * MIB)
    chunks = pieces(whole(body), 16 * KIB)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        records = read_all(*chunks, limit=KIB)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert [record.kind for record in records[1:-1] if isinstance(record, Unsupported)] == ["set", "list"]
    assert peak < 256 * KIB, peak


def test_a_count_that_nobody_can_mean_takes_neither_time_nor_memory() -> None:
    consumer = numbers(0, 0, 0, 0, 1) + text(b"g") + numbers(0, 0, 0, 1) + text(b"c") + bytes(8)
    endless = b"\x0f" + text(b"s") + consumer + b"\x81" + b"\xff" * 8
    reader = RdbReader("x")
    assert list(reader.feed(b"REDIS0010" + endless)) == [Header(10, "redis")]
    with pytest.raises(RdbError, match="cut short"):
        reader.close()


NAMES = st.binary(max_size=40) | st.integers(-(1 << 40), 1 << 40).map(lambda n: b"%d" % n)
VALUES = NAMES | st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 20_000)).map(lambda t: t[0] * t[1])
ENDS = st.none() | st.integers(-(1 << 63), (1 << 63) - 1)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.dictionaries(st.integers(0, 70_000), st.dictionaries(NAMES, st.tuples(VALUES, ENDS), max_size=5), max_size=3),
    version=st.integers(VERSION_MIN, VERSION_MAX),
    size=st.integers(1, 3000),
)
def test_what_the_writer_writes_is_what_is_read(
    rows: dict[int, dict[bytes, tuple[bytes, int | None]]], version: int, size: int
) -> None:
    writer, expected = RdbWriter(version), list[Record]([Header(version, "redis"), Aux(b"ctime", b"1700000000")])
    parts = [writer.begin({"ctime": 1_700_000_000})]
    for db, keys in rows.items():
        expiring = sum(1 for _, at_ms in keys.values() if at_ms is not None)
        parts.append(writer.select(db, len(keys), expiring))
        expected += [Select(db), Resize(len(keys), expiring)]
        for name, (value, at_ms) in keys.items():
            parts.append(writer.key(name, value, at_ms))
            expected.append(Key(db, name, value, at_ms, None, None))
    parts.append(writer.end())
    assert read_all(*pieces(b"".join(parts), size)) == [*expected, End(True)]


@pytest.mark.parametrize("version", [0, 6, 13])
def test_versions_that_are_not_written(version: int) -> None:
    with pytest.raises(BadVersion, match="expected 7 to 12"):
        RdbWriter(version)
