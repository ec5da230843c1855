"""Histograms with buckets that double."""

import pytest

from vaylix_resp.observability.histogram import COUNTS, DURATIONS, Histogram, counts, durations


@pytest.mark.parametrize(
    "value, top",
    [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 4),
        (4, 4),
        (5, 8),
        (1024, 1024),
        (1025, 2048),
        (1 << 25, 1 << 25),
        ((1 << 25) + 1, None),
    ],
)
def test_a_value_is_in_the_first_bucket_whose_top_it_does_not_pass(value: int, top: int | None) -> None:
    histogram = counts()
    histogram.add(value)
    before = [up_to for edge, up_to in histogram.cumulative() if edge is not None and (top is None or edge < top)]
    assert sum(before) == 0
    assert dict(histogram.cumulative())[top] == dict(histogram.cumulative())[None] == 1


@pytest.mark.parametrize(
    "nanoseconds, top", [(0, 1024), (1024, 1024), (1025, 2048), (10**9, 1 << 30), (1 << 33, 1 << 33), (10**12, None)]
)
def test_durations_begin_at_a_microsecond(nanoseconds: int, top: int | None) -> None:
    histogram = durations()
    histogram.add(nanoseconds)
    assert next(edge for edge, up_to in histogram.cumulative() if up_to) == top


def test_it_adds_up() -> None:
    histogram = Histogram(8)
    for value in (3, 3, 3, 3, 3, 100):
        histogram.add(value)
    histogram.add(10**6)
    assert (histogram.count, histogram.total) == (7, 15 + 100 + 10**6)
    assert histogram.cumulative() == [(1, 0), (2, 0), (4, 5), (8, 5), (16, 5), (32, 5), (64, 5), (None, 7)]
    buckets = histogram.buckets
    histogram.reset()
    assert (histogram.count, histogram.total) == (0, 0) and histogram.buckets is buckets


@pytest.mark.parametrize("percentile, low, high", [(0, 2, 4), (50, 2, 4), (90, 2, 4), (99, 64, 128), (100, 64, 128)])
def test_a_percentile_lies_in_the_bucket_of_its_value(percentile: float, low: int, high: int) -> None:
    histogram = counts()
    for value in [3] * 95 + [100] * 5:
        histogram.add(value)
    assert low <= histogram.percentile(percentile) <= high
    assert counts().percentile(percentile) == 0


def test_one_takes_in_what_another_has_counted() -> None:
    both, one, other = counts(), counts(), counts()
    for values, histogram in (((1, 2, 1000), one), ((2, 1 << 40), other)):
        for value in values:
            histogram.add(value)
            both.add(value)
    held = one.buckets
    one.include(other)
    assert (one.buckets, one.total) == (both.buckets, both.total) and one.buckets is held
    assert other.count == 2
    for stranger in (durations(), Histogram(COUNTS, 1), Histogram(3)):
        with pytest.raises((AssertionError, ValueError)):
            one.include(stranger)


def test_what_the_sizes_are_said_to_reach() -> None:
    assert (durations().cumulative()[-2][0], counts().cumulative()[-2][0]) == (1 << 10 + DURATIONS - 2, 1 << COUNTS - 2)
