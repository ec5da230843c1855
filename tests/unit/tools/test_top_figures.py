"""What `vaylix top` makes of two looks at METRICS."""

from math import inf

import pytest

from vaylix_resp.tools.top_figures import Command, Sample, between, buckets, labelled, percentile_us, total

BEFORE = {
    'vaylix_commands_total{command="get"}': 100, 'vaylix_commands_total{command="set"}': 50,
    'vaylix_commands_duration_seconds_total{command="get"}': 0.5, 'vaylix_commands_duration_seconds_total{command="set"}': 1.0,
    'vaylix_commands_failed_total{command="get"}': 0, 'vaylix_commands_rejected_total{command="get"}': 1,
    'vaylix_commands_failed_total{command="set"}': 2, 'vaylix_commands_rejected_total{command="set"}': 0,
    "vaylix_keyspace_hits_total": 10, "vaylix_keyspace_misses_total": 10,
    'vaylix_fsync_duration_seconds_bucket{le="0.001"}': 5, 'vaylix_fsync_duration_seconds_bucket{le="0.002"}': 5,
    'vaylix_fsync_duration_seconds_bucket{le="+Inf"}': 5, "vaylix_batch_entries_sum": 50, "vaylix_batch_entries_count": 25,
    "vaylix_process_start_time_seconds": 1000.0, 'vaylix_keys{database="0"}': 7, 'vaylix_keys{database="3"}': 5,
}  # fmt: skip
AFTER = BEFORE | {
    'vaylix_commands_total{command="get"}': 300, 'vaylix_commands_duration_seconds_total{command="get"}': 0.7,
    'vaylix_commands_failed_total{command="get"}': 4, 'vaylix_commands_total{command="del"}': 2,
    'vaylix_commands_duration_seconds_total{command="del"}': 0.001, 'vaylix_commands_failed_total{command="del"}': 0,
    'vaylix_commands_rejected_total{command="del"}': 0, "vaylix_keyspace_hits_total": 40, 'vaylix_errors_total{code="ERR"}': 4,
    'vaylix_fsync_duration_seconds_bucket{le="0.002"}': 105, 'vaylix_fsync_duration_seconds_bucket{le="+Inf"}': 105,
    "vaylix_batch_entries_sum": 90, "vaylix_batch_entries_count": 35,
}  # fmt: skip


def sample(at, metrics):
    return Sample("n", "h:1", at, unix_s=2000.0 + at, metrics=metrics)


def test_rates_are_per_second_of_the_time_in_between():
    found = between(sample(10, BEFORE), sample(12, AFTER))
    assert (found.requests_s, found.errors_s, found.hit_rate) == (101.0, 2.0, 1.0)
    assert (found.batches_s, found.writes_per_batch) == (5.0, 4.0)
    assert (found.keys, found.uptime_s) == (12, 1012.0)
    assert found.fsync_p50_us == pytest.approx(1500) and found.fsync_p99_us == pytest.approx(1990)
    assert found.commit_p99_us is None and found.memory is None


def test_commands_that_were_called():
    found = between(sample(10, BEFORE), sample(12, AFTER))
    get = next(one for one in found.commands if one.name == "get")
    assert [one.name for one in found.commands] == ["del", "get"]  # no SET in between
    assert (get.calls_s, get.failed_s) == (100.0, 2.0)
    assert get.share == pytest.approx(0.1) and get.mean_us == pytest.approx(1000)


def test_a_command_that_was_only_refused_has_no_mean():
    after = BEFORE | {'vaylix_commands_rejected_total{command="get"}': 5}
    assert between(sample(0, BEFORE), sample(2, after)).commands == (Command("get", 0.0, 0.0, None, 2.0),)


def test_counters_that_fell_give_nothing():
    found = between(sample(0, AFTER), sample(2, BEFORE))
    assert (found.requests_s, found.fsync_p99_us, found.batches_s, found.hit_rate) == (None, None, None, None)
    assert [one.name for one in found.commands] == []


def test_no_time_in_between():
    found = between(sample(5, BEFORE), sample(5, AFTER))
    assert (found.requests_s, found.commands) == (None, ())


def test_nothing_is_known_of_a_server_that_says_nothing():
    found = between(sample(0, {}), sample(2, {}))
    assert {getattr(found, name) for name in found.__slots__ if name != "commands"} == {None}


def test_samples_by_label():
    metrics = {'a_total{x="1",le="+Inf"}': 1, 'a_total{x="2",le="0.5"}': 2, "a_total_b": 9, 'a_total{x="q\\"}",le="0.5"}': 4}
    assert total(metrics, "a_total") == 7 and total(metrics, "a") is None
    assert labelled(metrics, "a_total", "le") == {"+Inf": 1, "0.5": 6}
    assert labelled(metrics, "a_total", "x") == {"1": 1, "2": 2, 'q\\"}': 4}
    assert buckets({'h_bucket{le="0.5"}': 1, 'h_bucket{le="+Inf"}': 3}, "h") == {0.5: 1, inf: 3}


@pytest.mark.parametrize(
    "before, after, percent, us",
    [
        ({}, {}, 50, None), ({}, {1.0: 0, inf: 0}, 50, None), ({1.0: 5, inf: 5}, {1.0: 5, inf: 5}, 50, None),
        ({}, {1e-6: 10, inf: 10}, 50, 0.5), ({}, {1e-6: 10, inf: 10}, 100, 1), ({}, {1e-6: 5, 2e-6: 10, inf: 10}, 75, 1.5),
        ({}, {1e-6: 0, inf: 10}, 50, 1.5), ({1e-6: 9, inf: 9}, {1e-6: 3, inf: 30}, 50, None),
    ],
)  # fmt: skip
def test_percentiles_of_what_came_in_between(before, after, percent, us):
    found = percentile_us(before, after, percent)
    assert found == (us if us is None else pytest.approx(us))
