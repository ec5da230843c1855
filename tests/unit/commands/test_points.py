"""Points in the history: every spelling, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.commands.points import Point, iso, parse_iso, parse_point

NOW = 1_763_800_000_000


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("0", Point(0)),
        ("42", Point(42)),
        ("999999999999", Point(999999999999)),  # 12 digits
        ("1763800000000", Point(timestamp_ms=NOW)),
        ("seq:1763800000000", Point(1763800000000)),
        ("SEQ:7", Point(7)),
        ("ms:5", Point(timestamp_ms=5)),
        ("9223372036854775807", Point(timestamp_ms=(1 << 63) - 1)),
        ("-0s", Point(timestamp_ms=NOW)),
        ("-250ms", Point(timestamp_ms=NOW - 250)),
        ("-10s", Point(timestamp_ms=NOW - 10_000)),
        ("-5M", Point(timestamp_ms=NOW - 300_000)),
        ("-2h", Point(timestamp_ms=NOW - 7_200_000)),
        ("-1d", Point(timestamp_ms=NOW - 86_400_000)),
        ("1970-01-01", Point(timestamp_ms=0)),
        ("2026-11-22T10:15:00Z", Point(timestamp_ms=1795342500000)),
        ("2026-11-22 10:15:00", Point(timestamp_ms=1795342500000)),
        ("2026-11-22t10:15z", Point(timestamp_ms=1795342500000)),
        ("2026-11-22T12:15:00+02:00", Point(timestamp_ms=1795342500000)),
        ("2026-11-22T04:45:00-0530", Point(timestamp_ms=1795342500000)),
        ("2026-11-22T10:15:00.5Z", Point(timestamp_ms=1795342500500)),
        ("2026-11-22T10:15:00,1239", Point(timestamp_ms=1795342500123)),
        ("2024-02-29", Point(timestamp_ms=1709164800000)),
        ("2000-02-29", Point(timestamp_ms=951782400000)),
    ],
)
def test_what_a_point_is(text: str, point: Point) -> None:
    assert parse_point(text, NOW) == point


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "-", "-5", "5s", "+5s", "-5w", "-5 s", " 5", "5 ", "1_000", "0x5", "٣", "seq:", "ms:", "seq:-1",
        "9223372036854775808", "99999999999999999999", "-9999999999h", "2026-11-22T", "2026-11-22T10", "26-11-22",
        "2026-13-01", "2026-00-01", "2026-01-32", "2026-02-29", "1900-02-29", "2100-02-29", "2026-01-00",
        "2026-01-01T24:00", "2026-01-01T00:60", "2026-01-01T00:00:60", "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+01:60", "1969-12-31", "1970-01-01T00:00+01:00", "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z", "2026-01-01Z",
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    assert parse_point(text, NOW) is None


@given(st.integers(0, 253_402_300_799_999))  # to the end of the year 9999
def test_times_as_the_standard_library_has_them(ms: int) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert iso(ms) == at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert parse_iso(iso(ms)) == ms


def test_points_name_themselves() -> None:
    assert str(Point(7)) == "sequence 7"
    assert str(Point(timestamp_ms=1795342500250)) == "time 2026-11-22T10:15:00.250Z"
