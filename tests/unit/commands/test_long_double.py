"""80-bit arithmetic: against exact fractions, at the edges of the range, and as redis-server printed it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.commands import long_double
from vaylix_resp.commands.long_double import LongDouble


def value(number: LongDouble) -> Fraction:
    return Fraction(number[0]) * Fraction(2) ** number[1]


def parsed(text: str) -> LongDouble:
    number = long_double.parse(text.encode())
    assert number is not None, text
    return number


# left, right, and what redis-server 7.0.15 on x86-64 answered to SET k left, INCRBYFLOAT k right
AS_REDIS = [
    ("0.1", "0.2", "0.3"),
    ("3", "1.1", "4.1"),
    ("675e10", "9.3", "6750000000009.30000019073486328"),
    ("738e42", "605.0005", "738000000000000000010759905536104234183819264"),
    ("-0.9553557779573523", "0.000000000000000007", "-0.95535577795735229"),
    ("0.0000004087631411681", "-55.66166674539299208", "-55.66166633662985091"),
    ("92156469871024881647.29", "3.709727e-1416", "92156469871024881648"),
    ("540e-39", "0.00000000540388011033274008063", "0.00000000540388011"),
    ("-0.23262073421992024", "999999999999999999999999999999", "1000000000000000000024696061952"),
    ("1e-5", "0", "0.00001"),
    ("0x1.8p3", "0x.8", "12.5"),
    ("5.", ".5", "5.5"),
    ("558.00000000000004", "0", "558.00000000000004002"),
]


@pytest.mark.parametrize("left, right, total", AS_REDIS)
def test_sums_as_redis_prints_them(left: str, right: str, total: str) -> None:
    result = long_double.add(parsed(left), parsed(right))
    assert result is not None
    assert long_double.text_of(result) == total.encode()


LARGEST = "1.18973149535723176502e+4932"
SMALLEST = "0x1p-16445"


@pytest.mark.parametrize(
    "text, ok",
    [
        (LARGEST, True), ("1.18973149535723176509e+4932", False), ("0x1p16383", True), ("0x1p16384", False),
        (SMALLEST, True), ("0x1p-16446", False), ("0x1.8p-16446", True), ("3e-4951", True),
        ("1e-4952", False), ("1e99999999999", False), ("1e-99999999999", False), ("0e99999999999", True),
        ("0x0p99999999999", True), ("0x1p-99999999999", False), ("1" * 4900, True), ("1" * 5119, False),
        ("0" * 5119, True), ("0" * 5120, False), ("", False), (".", False), ("+", False), ("1e", False),
        ("0x", False), ("0x.", False), ("0x1p", False), (" 1", False), ("1 ", False), ("1_0", False),
        ("nan", False), ("1\0", False), ("inf", False), ("1e5.", False), ("--1", False), ("+5", True),
        ("1E+5", True), ("0XAp-1", True),
    ],
)  # fmt: skip
def test_what_is_a_number(text: str, ok: bool) -> None:
    assert (long_double.parse(text.encode()) is not None) is ok


def test_infinite_texts() -> None:
    for text in (b"inf", b"-inf", b"+INF", b"Infinity", b"-infinity"):
        assert long_double.is_infinite(text)
    for text in (b"infinit", b"in", b" inf", b"nan", b"1"):
        assert not long_double.is_infinite(text)


def test_a_sum_beyond_the_range_is_none() -> None:
    largest = parsed(LARGEST)
    assert long_double.add(largest, largest) is None
    assert long_double.add(largest, parsed("-" + LARGEST)) == long_double.ZERO
    assert long_double.add(largest, parsed("1")) == largest


def test_the_largest_number_is_printed_in_full() -> None:
    text = long_double.text_of(parsed("-" + LARGEST))  # more digits than str() of an int allows
    assert len(text) == 1 + 4933
    assert text.startswith(b"-118973149535723176502")


FINITE = st.builds(
    lambda sign, digits, point, exponent: f"{sign}{digits[:point]}.{digits[point:]}e{exponent}",
    st.sampled_from(["", "-", "+"]),
    st.text("0123456789", min_size=1, max_size=40),
    st.integers(0, 40),
    st.integers(-60, 60),
)


def nearest(exact: Fraction) -> Fraction:
    """The slow twin: the 64-bit number nearest to a fraction, found by trying both neighbours."""
    if not exact:
        return exact
    power = 0
    while abs(exact) / Fraction(2) ** power >= 2**64:
        power += 1
    while abs(exact) / Fraction(2) ** power < 2**63:
        power -= 1
    unit = Fraction(2) ** power
    low = exact // unit
    candidates = [low * unit, (low + 1) * unit]
    return min(candidates, key=lambda c: (abs(c - exact), (c / unit) % 2))


@given(FINITE)
def test_parsing_rounds_to_nearest(text: str) -> None:
    assert value(parsed(text)) == nearest(Fraction(text))


@given(FINITE, FINITE)
def test_adding_rounds_to_nearest(left: str, right: str) -> None:
    total = long_double.add(parsed(left), parsed(right))
    assert total is not None
    assert value(total) == nearest(value(parsed(left)) + value(parsed(right)))


@given(FINITE)
def test_printing_is_the_exact_value_to_17_decimals(text: str) -> None:
    number = parsed(text)
    printed = long_double.text_of(number)
    assert abs(Fraction(printed.decode()) - value(number)) <= Fraction(1, 2 * 10**17)
    assert printed != b"-0"
    assert b"." not in printed or not printed.endswith((b"0", b"."))


@given(FINITE, FINITE)
def test_comparing(left: str, right: str) -> None:
    a, b = parsed(left), parsed(right)
    sign = (value(a) > value(b)) - (value(a) < value(b))
    compared = long_double.compare(a, b)
    assert (compared > 0) - (compared < 0) == sign
