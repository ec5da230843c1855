"""Counters, rates, and histograms that say what they were told."""

import pytest

from vaylix_resp.observability.metrics import (
    BUCKETS,
    ERROR_CODES_MAX,
    OTHER_ERRORS,
    CommandStats,
    Rate,
    Stats,
    bucket_top_usec,
    cumulative,
    record,
)

# As redis-server names them; 33 rather than 32 is its own rounding.
REDIS_BUCKETS = [1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908, 33816, 67633, 135266, 270532,
                 541065, 1082130]  # fmt: skip


def test_buckets_have_the_names_that_redis_gives_them():
    assert [bucket_top_usec(index) for index in range(BUCKETS)] == REDIS_BUCKETS


@pytest.mark.parametrize(
    "microseconds, bucket",
    [(0, 1), (0.5, 1), (1.5, 2), (7, 8), (8.2, 16), (17, 33), (63, 66), (100, 132), (180, 264), (1e6, 1082130),
     (5e6, 1082130)],
)  # fmt: skip
def test_a_call_is_counted_in_the_bucket_of_its_duration(microseconds, bucket):
    stats = CommandStats("get")
    record(stats, 1, microseconds / 1e6)
    assert cumulative(stats) == {bucket: 1}


def test_a_run_is_shared_out_evenly():
    stats = CommandStats("get")
    record(stats, 10, 50e-6, failed=3)
    record(stats, 1, 100e-6)
    assert (stats.calls, stats.usec, stats.failed_calls) == (11, 150, 3)
    assert cumulative(stats) == {8: 10, 132: 11}


def test_durations_below_a_microsecond_add_up():
    stats = CommandStats("get")
    for _ in range(1000):
        record(stats, 1, 0.4e-6)
    assert stats.usec == 400


@pytest.mark.parametrize("percentile, low, high", [(50, 4, 8.2), (90, 4, 8.2), (99, 65, 131.1), (100, 131, 131.1)])
def test_a_percentile_lies_in_the_bucket_of_its_call(percentile, low, high):
    stats = CommandStats("get")
    record(stats, 95, 95 * 6e-6)
    record(stats, 5, 5 * 100e-6)
    assert low <= stats.percentile(percentile) / 1000 <= high


def test_no_calls_have_no_percentile():
    assert CommandStats("get").percentile(99) == 0.0


def test_a_rate_is_the_mean_of_its_samples():
    rate = Rate()
    for step in range(33):
        rate.sample(step * 0.1, step * 50)
    assert rate.value == pytest.approx(500)
    for step in range(33, 49):
        rate.sample(step * 0.1, 32 * 50)
    assert rate.value == pytest.approx(0)


def test_ticks_that_come_too_often_are_ignored():
    stats = Stats()
    for step in range(3300):
        stats.command("get").calls = step
        stats.tick(step * 0.001)
    assert stats.ops_rate.value == pytest.approx(1000)


def test_codes_are_counted_and_their_number_is_bounded():
    stats = Stats()
    for number in range(ERROR_CODES_MAX + 50):
        stats.error(f"E{number}")
    stats.error("E0")
    assert stats.errors["E0"] == 2
    assert stats.errors[OTHER_ERRORS] == 50
    assert len(stats.errors) == ERROR_CODES_MAX + 1
    assert stats.total_error_replies == ERROR_CODES_MAX + 51


def test_reset_keeps_the_objects_that_the_dispatcher_holds():
    stats = Stats()
    get = stats.command("get")
    record(get, 2, 1e-6)
    stats.total_net_input_bytes = 30
    stats.error("ERR")
    stats.reset()
    assert stats.command("get") is get
    assert (get.calls, get.usec, cumulative(get), stats.errors, stats.total_commands_processed) == (0, 0, {}, {}, 0)
    assert stats.total_net_input_bytes == 0
    assert stats.used() == []


def test_a_command_that_was_only_refused_was_used():
    stats = Stats()
    stats.command("get").rejected_calls += 1
    assert [one.name for one in stats.used()] == ["get"]


def test_the_total_is_that_of_all_commands():
    stats = Stats()
    record(stats.command("get"), 2, 1e-6)
    record(stats.command("set"), 3, 1e-6)
    stats.command("set").rejected_calls += 1
    assert stats.total_commands_processed == 5
