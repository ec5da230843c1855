"""Counters: sums and their bounds, what counts as a number, what stays of the key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.commands.arguments import INT64_MAX, INT64_MIN
from vaylix_resp.errors import NOT_A_FLOAT, NOT_AN_INTEGER

OVERFLOW = "ERR increment or decrement would overflow"
NOT_FINITE = "ERR increment would produce NaN or Infinity"


@pytest.mark.parametrize(
    "before, request_words, reply",
    [
        (None, ("INCR", "k"), 1),
        (None, ("DECR", "k"), -1),
        (b"-1", ("INCR", "k"), 0),
        (b"10", ("INCRBY", "k", "-20"), -10),
        (b"10", ("DECRBY", "k", "20"), -10),
        (b"10", ("INCRBY", "k", "0"), 10),
        (b"%d" % (INT64_MAX - 1), ("INCR", "k"), INT64_MAX),
        (b"%d" % INT64_MAX, ("INCR", "k"), OVERFLOW),
        (b"%d" % INT64_MIN, ("DECR", "k"), OVERFLOW),
        (b"-1", ("INCRBY", "k", str(INT64_MIN)), OVERFLOW),
        (b"0", ("INCRBY", "k", str(INT64_MIN)), INT64_MIN),
        (b"1", ("DECRBY", "k", str(INT64_MIN)), "ERR decrement would overflow"),
        (b"1", ("DECRBY", "k", str(INT64_MAX)), 1 - INT64_MAX),
        (b"1", ("INCRBY", "k", str(INT64_MAX + 1)), NOT_AN_INTEGER),
        (b"1", ("INCRBY", "k", "1.5"), NOT_AN_INTEGER),
        (None, ("INCRBYFLOAT", "k", "10.5"), b"10.5"),
        (b"10.50", ("INCRBYFLOAT", "k", "0.1"), b"10.6"),
        (b"5.0e3", ("INCRBYFLOAT", "k", "2.0e2"), b"5200"),
        (b"3", ("INCRBYFLOAT", "k", "1.1"), b"4.1"),
        (b"1", ("INCRBYFLOAT", "k", "-1"), b"0"),
        (b"-0.0", ("INCRBYFLOAT", "k", "-1e-30"), b"0"),
        (b"1", ("INCRBYFLOAT", "k", "abc"), NOT_A_FLOAT),
        (b"1", ("INCRBYFLOAT", "k", "nan"), NOT_A_FLOAT),
        (b"abc", ("INCRBYFLOAT", "k", "inf"), NOT_A_FLOAT),
        (b"1", ("INCRBYFLOAT", "k", "-Infinity"), NOT_FINITE),
        (b"inf", ("INCRBYFLOAT", "k", "1"), NOT_FINITE),
        (b"1e4932", ("INCRBYFLOAT", "k", "1e4932"), NOT_FINITE),
    ],
)
def test_sum(box: Any, before: bytes | None, request_words: tuple[str, ...], reply: Any) -> None:
    if before is not None:
        box("SET", "k", before)
    assert box(*request_words) == reply
    if isinstance(reply, str):
        assert box("GET", "k") == before
    else:
        assert box("GET", "k") == (reply if isinstance(reply, bytes) else b"%d" % reply)


@pytest.mark.parametrize(
    "text",
    [
        b"", b" 1", b"1 ", b"+1", b"01", b"00", b"-0", b"-01", b"1.0", b"0x1", b"1_0", b"\xd9\xa1", b"9" * 19,
        b"-9223372036854775809", b"1" * 20, b"9" * 5000, b"-", b"\0",
    ],
)  # fmt: skip
def test_what_is_no_integer(box: Any, text: bytes) -> None:
    box("SET", "k", text)
    for name in ("INCR", "DECR"):
        assert box(name, "k") == NOT_AN_INTEGER
    assert not box.refused
    assert box("INCRBY", "k", text) == box("DECRBY", "k", text) == NOT_AN_INTEGER
    assert box.refused


@given(start=st.integers(INT64_MIN, INT64_MAX), amount=st.integers(INT64_MIN, INT64_MAX))
def test_incrby_is_exact_or_refused(new_box: Any, start: int, amount: int) -> None:
    box = new_box(databases=1)
    box("SET", "k", str(start))
    total = start + amount
    reply = box("INCRBY", "k", str(amount))
    assert reply == (total if INT64_MIN <= total <= INT64_MAX else OVERFLOW)


def test_expiry_and_flags_stay(box: Any) -> None:
    for request_words in (("INCR", "k"), ("DECRBY", "k", "3"), ("INCRBYFLOAT", "k", "1")):
        box("EXSET", "k", "1", "FLAGS", "9", "EX", "10")
        box(*request_words)
        assert box.db().expiry(b"k") == box.now + 10_000
        assert box.db().flags(b"k") == 9


@pytest.mark.parametrize("line", ["INCRBYFLOAT k abc", "INCRBYFLOAT k nan", f"DECRBY k {INT64_MIN}"])
def test_what_needs_no_state_is_refused_before_the_log(box: Any, line: str) -> None:
    box(*line.split())
    assert box.refused


def test_an_expired_counter_starts_again(box: Any) -> None:
    box("SET", "k", "41", "PX", "5")
    box.now += 5
    assert box("INCR", "k") == 1
    assert box.db().expiry(b"k") is None


def test_events(box: Any) -> None:
    box.listen()
    box("INCR", "k")
    box("DECRBY", "k", "2")
    box("INCRBYFLOAT", "k", "1")
    assert box.events == ["n new k", "$ incrby k", "$ incrby k", "$ incrbyfloat k"]
    assert (box.machine.world.hits, box.machine.world.misses) == (0, 0)  # a write counts neither, as in Redis
