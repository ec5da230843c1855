"""Figures for people."""

import pytest

from vaylix_resp.observability.figures import duration, number, size, size_per_second, span


@pytest.mark.parametrize(
    "say, value, text",
    [
        (number, 0, "0"), (number, 0.25, "0.2"), (number, 3.0, "3"), (number, 9999, "9,999"),
        (number, 12_345, "12.3k"), (number, 999_900, "1000k"), (number, 2_500_000, "2.5M"),
        (number, 7e9, "7G"), (size, 0, "0 B"), (size, 1023, "1 KiB"), (size, 1536, "1.5 KiB"),
        (size, 5 << 50, "5120 TiB"), (size_per_second, 2048, "2 KiB/s"), (duration, 0.4, "0 µs"),
        (duration, 850, "850 µs"), (duration, 1234, "1.2 ms"), (duration, 250_000, "250 ms"),
        (duration, 3_000_000, "3 s"), (span, 0, "0 s"), (span, 59.9, "59 s"),
        (span, 3600, "1 h"), (span, 3725, "1 h 2 min"), (span, 90_061, "1 d 1 h"),
        (span, 86_405, "1 d"),
    ],
)  # fmt: skip
def test_figures_for_people(say, value, text):
    assert say(value) == text
