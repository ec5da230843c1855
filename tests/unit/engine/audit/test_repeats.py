"""The same failure again and again: one record at once, then one a window with a count; bounded whatever comes."""

import pytest

from vaylix_resp.engine.audit.repeats import KEYS_MAX, WINDOW_S, Repeated, Repeats

KEY = ("auth", "wrong", "10.0.0.1", "bob")


@pytest.mark.parametrize(
    "times, first, due_at, found",
    [
        ([0.0], [True], 0.5, []),
        ([0.0], [True], WINDOW_S, []),
        ([0.0, 0.1, 0.9], [True, False, False], 0.95, []),
        ([0.0, 0.1, 0.9], [True, False, False], WINDOW_S, [Repeated("auth", 2, 2)]),
    ],
)
def test_a_window(times, first, due_at, found):
    repeats = Repeats()
    assert [repeats.first(KEY, number, at) for number, at in enumerate(times)] == first
    assert repeats.due(due_at) == found


def test_while_it_goes_on_there_is_one_record_a_window_and_then_it_is_over():
    repeats, records = Repeats(), 0
    for tick in range(100):
        records += repeats.first(KEY, tick, tick / 10)
        records += len(repeats.due(tick / 10))
    assert 9 <= records <= 11
    assert len(repeats.due(100.0)) == 1 and repeats.due(101.1) == []
    assert repeats.first(KEY, 0, 102.0), "after quiet it is a new one"


def test_what_differs_is_told_apart():
    repeats = Repeats()
    assert repeats.first(KEY, 1, 0.0) and repeats.first((*KEY[:-1], "eve"), 1, 0.0)


def test_a_flood_of_different_ones_is_counted_together():
    repeats = Repeats()
    at_once = sum(repeats.first(("auth", "wrong", str(number)), number, 0.0) for number in range(10_000))
    assert at_once == KEYS_MAX
    assert repeats.due(WINDOW_S) == [Repeated("auth", None, 10_000 - KEYS_MAX)]
    assert len(repeats._windows) <= KEYS_MAX + 1
    repeats.due(3.0)
    assert repeats._windows == {} and not +repeats._kinds


@pytest.mark.parametrize("other", [("auth", "ok"), ("denied", "wrong")])
def test_a_flood_of_one_kind_hides_no_other(other):
    repeats = Repeats()
    for number in range(KEYS_MAX * 2):
        repeats.first(("auth", "wrong", str(number)), number, 0.0)
    assert repeats.first((*other, "bob"), 1, 0.0)
