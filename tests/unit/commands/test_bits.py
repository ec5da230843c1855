"""Bits: every command against the obvious version, one bit at a time; edges and refusals as in Redis."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaylix_resp.commands import bits
from vaylix_resp.errors import NOT_AN_INTEGER, SYNTAX
from vaylix_resp.limits import MIB, VALUE_BYTES_MAX

BITS_MAX = VALUE_BYTES_MAX * 8
UNIFORM = st.lists(st.sampled_from([0, 255, 255, 0, 1, 128, 254]), max_size=12).map(bytes)
VALUES = st.binary(max_size=12) | UNIFORM
INDEX = st.integers(-110, 110)


def bits_in(value: bytes) -> list[int]:
    return [byte >> shift & 1 for byte in value for shift in range(7, -1, -1)]


def bytes_of(many: list[int]) -> bytes:
    padded = many + [0] * (-len(many) % 8)
    return bytes(int("".join(map(str, padded[at : at + 8])), 2) for at in range(0, len(padded), 8))


def redis_range(start: int, end: int, total: int) -> range:
    """Indexes from start to end, both included, as Redis takes them."""
    if start < 0:
        start = max(total + start, 0)
    if end < 0:
        end = max(total + end, 0)
    return range(start, min(end, total - 1) + 1)


@given(value=st.none() | VALUES, offset=st.integers(0, 120), bit=st.integers(0, 1))
def test_setbit_and_getbit(new_box: Any, value: bytes | None, offset: int, bit: int) -> None:
    box = new_box(databases=1)
    if value is not None:
        box("SET", "k", value)
    many = bits_in(value or b"")
    many += [0] * (offset + 1 - len(many))
    assert box("GETBIT", "k", str(offset)) == many[offset]
    box.listen()
    before = box.db().version(b"k")
    assert box("SETBIT", "k", str(offset), str(bit)) == many[offset]
    many[offset] = bit
    expected = bytes_of(many)
    assert box("GET", "k") == expected
    written = expected != value
    assert ("$ setbit k" in box.events) is written
    assert (box.db().version(b"k") > before) is written
    assert box("GETBIT", "k", str(offset)) == bit


@given(value=VALUES, start=INDEX, end=INDEX, unit=st.sampled_from(["BYTE", "bit"]))
def test_bitcount(new_box: Any, value: bytes, start: int, end: int, unit: str) -> None:
    box = new_box(databases=1)
    box("SET", "k", value)
    assert box("BITCOUNT", "k") == sum(bits_in(value))
    many = bits_in(value) if unit == "bit" else [sum(bits_in(bytes((byte,)))) for byte in value]
    expected = sum(many[at] for at in redis_range(start, end, len(many)))
    if start < 0 and end < 0 and start > end:
        expected = 0  # Redis says so before it counts from the end, where both may become the first byte
    assert box("BITCOUNT", "k", str(start), str(end), unit) == expected
    if unit == "BYTE":
        assert box("BITCOUNT", "k", str(start), str(end)) == expected


def test_a_range_that_lies_before_the_string_in_the_wrong_order(box: Any) -> None:
    box("SET", "k", b"\xff")
    assert [box("BITCOUNT", "k", "-9", "-8"), box("BITCOUNT", "k", "-8", "-9")] == [8, 0]


@given(value=VALUES, bit=st.integers(0, 1), start=INDEX, end=INDEX, unit=st.sampled_from(["BYTE", "bit"]))
def test_bitpos_in_a_range(new_box: Any, value: bytes, bit: int, start: int, end: int, unit: str) -> None:
    box = new_box(databases=1)
    box("SET", "k", value)
    many = bits_in(value)
    if unit == "bit":
        looked_at = list(redis_range(start, end, len(many)))
    else:
        looked_at = [8 * at + i for at in redis_range(start, end, len(value)) for i in range(8)]
    expected = next((at for at in looked_at if many[at] == bit), -1)
    assert box("BITPOS", "k", str(bit), str(start), str(end), unit) == expected


@given(value=VALUES, bit=st.integers(0, 1), start=st.integers(-14, 14))
def test_bitpos_with_an_open_end(new_box: Any, value: bytes, bit: int, start: int) -> None:
    """Zeros follow the string, but not where nothing of it was looked at."""
    box = new_box(databases=1)
    box("SET", "k", value)
    many = bits_in(value)
    from_start = 8 * (start if start >= 0 else max(len(value) + start, 0))
    for options, first in (((), 0), ((str(start),), from_start)):
        found = [at for at in range(first, len(many)) if many[at] == bit]
        if found:
            expected = found[0]
        else:
            expected = len(many) if bit == 0 and first < len(many) else -1
        assert box("BITPOS", "k", str(bit), *options) == expected


@pytest.mark.parametrize("size", [bits._SEARCH_BLOCK - 1, bits._SEARCH_BLOCK, 3 * bits._SEARCH_BLOCK + 5])
def test_counting_and_searching_across_blocks(box: Any, size: int) -> None:
    for other, value in ((1, bytes(size)), (0, b"\xff" * size)):
        box("SET", "k", value)
        assert box("BITCOUNT", "k") == (0 if other else 8 * size)
        assert box("BITPOS", "k", str(other), "0", "-1") == -1
        at = 8 * size - 3
        box("SETBIT", "k", str(at), str(other))
        assert box("BITPOS", "k", str(other)) == at
        assert box("BITCOUNT", "k") == (1 if other else 8 * size - 1)


OPERATIONS: dict[str, Any] = {
    "AND": lambda column: int(all(column)),
    "OR": lambda column: int(any(column)),
    "XOR": lambda column: sum(column) % 2,
}


@given(
    name=st.sampled_from(["AND", "or", "XOR"]), values=st.lists(st.none() | VALUES, min_size=1, max_size=4)
)
def test_bitop(new_box: Any, name: str, values: list[bytes | None]) -> None:
    box = new_box(databases=1)
    box("SET", "to", "old", "EX", "10")
    for at, value in enumerate(values):
        if value is not None:
            box("SET", f"k{at}", value)
    size = max(len(value or b"") for value in values)
    columns = zip(*(bits_in((value or b"").ljust(size, b"\0")) for value in values), strict=True)
    expected = bytes_of([OPERATIONS[name.upper()](column) for column in columns])
    assert box("BITOP", name, "to", *(f"k{at}" for at in range(len(values)))) == size
    assert box("GET", "to") == (expected or None)
    assert box.db().expiry(b"to") is None


@given(VALUES)
def test_bitop_not(new_box: Any, value: bytes) -> None:
    box = new_box(databases=1)
    box("SET", "k", value)
    assert box("BITOP", "NOT", "k", "k") == len(value)
    assert box("GET", "k") == (bytes_of([1 - bit for bit in bits_in(value)]) or None)


def test_bitop_holds_one_value_at_a_time(box: Any) -> None:
    """It is in the log: what takes more memory than there is would keep every start from succeeding."""
    box("SET", "k", b"x" * MIB)
    tracemalloc.start()
    box("BITOP", "AND", "to", *["k"] * 60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert box("GET", "to") == b"x" * MIB and peak < 10 * MIB


def test_bitop_events(box: Any) -> None:
    box("MSET", "a", "x", "to", "old")
    box.listen()
    box("BITOP", "AND", "to", "a")
    box("BITOP", "AND", "to", "missing")
    box("BITOP", "AND", "to", "missing")
    assert box.events == ["$ set to", "m keymiss missing", "g del to", "m keymiss missing"]


def slow_bitfield(value: bytes, steps: list[tuple[str, str, int, int, int, str]]) -> tuple[list[Any], bytes]:
    """One bit at a time. A step: what, sign, width, offset, amount, overflow."""
    many, replies = bits_in(value), list[Any]()
    for what, _, width, offset, _, _ in steps:
        if what != "GET":
            reach = offset + width
            many += [0] * (reach + -reach % 8 - len(many))
    for what, sign, width, offset, amount, overflow in steps:
        seen = (many + [0] * (offset + width))[offset : offset + width]
        old = sum(bit << at for at, bit in enumerate(reversed(seen)))
        if sign == "i" and seen[0]:
            old -= 1 << width
        if what == "GET":
            replies.append(old)
            continue
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if sign == "i" else (0, (1 << width) - 1)
        number = old + amount if what == "INCRBY" else amount
        if what == "SET" and sign == "u":
            number %= 1 << 64
        if not low <= number <= high:
            if overflow == "FAIL":
                replies.append(None)
                continue
            if overflow == "SAT":
                far_below = what == "SET" and sign == "i" and number <= high - (1 << 63)
                number = high if number > high or far_below else low
            else:
                number = (number - low) % (1 << width) + low
        replies.append(number if what == "INCRBY" else old)
        many[offset : offset + width] = [number >> at & 1 for at in range(width - 1, -1, -1)]
    return replies, bytes_of(many)


STEP = st.sampled_from("iu").flatmap(
    lambda sign: st.tuples(
        st.sampled_from(["GET", "SET", "INCRBY", "INCRBY"]),
        st.just(sign),
        st.integers(1, 64 if sign == "i" else 63),
        st.integers(0, 90),
        st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-300, 300),
        st.sampled_from(["WRAP", "SAT", "FAIL"]),
    )
)


@settings(max_examples=400)
@given(value=st.none() | VALUES, steps=st.lists(STEP, max_size=4))
def test_bitfield_equals_its_slow_twin(
    new_box: Any, value: bytes | None, steps: list[tuple[str, str, int, int, int, str]]
) -> None:
    box = new_box(databases=1)
    if value is not None:
        box("SET", "k", value)
    request = ["BITFIELD", "k"]
    for what, sign, width, offset, amount, overflow in steps:
        request += ["OVERFLOW", overflow, what, f"{sign}{width}", str(offset)]
        request += [] if what == "GET" else [str(amount)]
    replies, expected = slow_bitfield(value or b"", steps)
    assert box(*request) == replies
    writes = any(what != "GET" for what, *_ in steps)
    assert box("GET", "k") == (expected if writes else value)
    if not writes:
        assert box("BITFIELD_RO", *request[1:]) == replies


def test_bitfield_counts_fields_with_a_hash(box: Any) -> None:
    box("SET", "k", "abcd")
    assert box("BITFIELD", "k", "GET", "u8", "#1", "GET", "u16", "#1", "GET", "u8", "8") == [98, 0x6364, 98]


@pytest.mark.parametrize("steps, last", [
    (f"SET i8 0 {-(1 << 63)}", 127), (f"SET i8 0 {127 - (1 << 63)}", 127), (f"SET i8 0 {128 - (1 << 63)}", -128),
    (f"SET i63 0 {-(1 << 63)}", (1 << 62) - 1), (f"SET i64 0 {-(1 << 63)}", -(1 << 63)),
    (f"SET i8 0 -5 INCRBY i8 0 {-(1 << 63)}", -128), ("SET i8 0 -129", -128), ("SET u8 0 -1", 255),
])  # fmt: skip
def test_saturation_is_that_of_redis(box: Any, steps: str, last: int) -> None:
    """What a SET is from the top is worked out in 64 bits there: far below looks like above."""
    width = steps.split()[1]
    assert box("BITFIELD", "k", "OVERFLOW", "SAT", *steps.split(), "GET", width, "0")[-1] == last


def test_bitfield_tells_of_a_change_only(box: Any) -> None:
    box("SET", "k", b"\x07")
    box.listen()
    version = box.db().version(b"k")
    assert box("BITFIELD", "k", "SET", "u8", "0", "7") == [7]
    assert box("BITFIELD", "k", "OVERFLOW", "FAIL", "INCRBY", "u3", "5", "1") == [None]
    assert (box.events, box.db().version(b"k")) == ([], version)
    assert box("BITFIELD", "k", "INCRBY", "u3", "5", "-7") == [0]
    assert box.events == ["$ setbit k"]


def test_bitfield_grows_the_string_even_if_it_fails(box: Any) -> None:
    box.listen()
    assert box("BITFIELD", "k", "OVERFLOW", "FAIL", "SET", "u4", "8", "99") == [None]
    assert box("GET", "k") == b"\0\0"
    assert box.events == ["n new k"]
    assert box("BITFIELD", "k", "SET", "u4", "16", "0") == [0]  # the same bits, but more of them
    assert box.events == ["$ setbit k"]


BAD_OFFSET, BAD_BIT, BAD_TYPE = bits.BAD_OFFSET, bits.BAD_BIT, bits.BAD_TYPE


@pytest.mark.parametrize(
    "line, text",
    [
        ("SETBIT k -1 1", BAD_OFFSET), ("SETBIT k #1 1", BAD_OFFSET), (f"SETBIT k {BITS_MAX} 1", BAD_OFFSET),
        ("SETBIT k x 1", BAD_OFFSET), ("SETBIT k 0 2", BAD_BIT), ("SETBIT k 0 01", BAD_BIT),
        (f"GETBIT k {BITS_MAX}", BAD_OFFSET), ("GETBIT k -1", BAD_OFFSET), ("BITCOUNT k 0", SYNTAX),
        ("BITCOUNT k 0 1 FOO", SYNTAX), ("BITCOUNT k 0 x", NOT_AN_INTEGER), ("BITCOUNT k 0 1 BIT 2", SYNTAX),
        ("BITPOS k 2", "ERR The bit argument must be 1 or 0."), ("BITPOS k x", NOT_AN_INTEGER),
        ("BITPOS k 1 x", NOT_AN_INTEGER), ("BITPOS k 1 0 x", NOT_AN_INTEGER), ("BITPOS k 1 0 1 FOO", SYNTAX),
        ("BITPOS k 1 0 x FOO", SYNTAX), ("BITPOS k 1 0 1 BIT 2", SYNTAX),
        ("BITPOS missing 2 x", "ERR The bit argument must be 1 or 0."), ("BITOP FOO to k", SYNTAX),
        ("BITOP NOT to k k", "ERR BITOP NOT must be called with a single source key."),
        ("BITFIELD k GET u64 0", BAD_TYPE), ("BITFIELD k GET i65 0", BAD_TYPE),
        ("BITFIELD k GET u0 0", BAD_TYPE), ("BITFIELD k GET I8 0", BAD_TYPE),
        ("BITFIELD k GET 8 0", BAD_TYPE), ("BITFIELD k GET u8 #-1", BAD_OFFSET),
        ("BITFIELD k GET u8 -1", BAD_OFFSET), (f"BITFIELD k GET u8 {BITS_MAX}", BAD_OFFSET),
        (f"BITFIELD k SET u8 {BITS_MAX - 7} 1", BAD_OFFSET), ("BITFIELD k SET u8 0", SYNTAX),
        ("BITFIELD k SET u8 0 x", NOT_AN_INTEGER), ("BITFIELD k FOO u8 0", SYNTAX),
        ("BITFIELD k GET u8", SYNTAX), ("BITFIELD k OVERFLOW FOO", "ERR Invalid OVERFLOW type specified"),
        ("BITFIELD k OVERFLOW", SYNTAX),
        ("BITFIELD_RO k SET u8 0 1", "ERR BITFIELD_RO only supports the GET subcommand"),
    ],
)  # fmt: skip
def test_refusals(box: Any, line: str, text: str) -> None:
    box("SET", "k", "a")
    assert box(*line.split()) == text
    assert box.refused is (line.split()[0] in ("SETBIT", "BITOP", "BITFIELD"))  # writes: before the log


def test_the_last_bit_a_value_can_have(box: Any) -> None:
    assert box("SETBIT", "k", str(BITS_MAX - 1), "1") == 0
    assert box("STRLEN", "k") == VALUE_BYTES_MAX
    assert box("BITPOS", "k", "1") == BITS_MAX - 1
    assert box("BITFIELD", "k", "GET", "u8", str(BITS_MAX - 1)) == [128]  # zeros follow


def test_missing_keys(box: Any) -> None:
    lines = ("GETBIT k 5", "BITCOUNT k 0 -1", "BITPOS k 0", "BITPOS k 1")
    assert [box(*line.split()) for line in lines] == [0, 0, 0, -1]
    assert box("BITFIELD", "k", "GET", "i5", "0") == box("BITFIELD_RO", "k", "GET", "i5", "0") == [0]
    assert not box.db().exists(b"k")


@pytest.mark.parametrize("line, reply", [
    ("BITCOUNT missing 0", 0), ("BITCOUNT missing a b", 0), ("BITCOUNT missing 0 1 FOO 2", 0),
    ("BITPOS missing 1 x", -1), ("BITPOS missing 0 x", 0), ("BITPOS missing 1 0 1 FOO 2", -1),
    ("BITCOUNT k -1 -2 FOO", 0),
])  # fmt: skip
def test_a_range_is_looked_at_when_it_is_needed(box: Any, line: str, reply: int) -> None:
    """As redis-server 7.0.15 answers; Redis 8.0 began to check all arguments first."""
    box("SET", "k", "abc")
    world = box.machine.world
    before = world.hits, world.misses
    assert box(*line.split()) == reply
    assert (world.hits - before[0], world.misses - before[1]) == ((0, 1) if "missing" in line else (1, 0))
