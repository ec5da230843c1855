"""Series of late events: what is kept of them."""

from types import SimpleNamespace

import pytest

from vaylix_resp.observability.latency import KINDS_MAX, SAMPLES_MAX, LatencyMonitor, Series, analyse


def monitor(threshold=10):
    return LatencyMonitor(SimpleNamespace(latency_monitor_threshold=threshold))


@pytest.mark.parametrize("threshold, ms, kept", [(10, 9.9, False), (10, 10, True), (0, 1000, False), (1, 1, True)])
def test_only_what_reaches_the_threshold_is_kept(threshold, ms, kept):
    latency = monitor(threshold)
    latency.note("command", ms, 100)
    assert ("command" in latency.series) == kept


def test_the_worst_of_each_second():
    latency = monitor()
    for unix_s, ms in ((1, 20), (1, 50), (1, 30), (2, 11)):
        latency.note("command", ms, unix_s)
    assert latency.series["command"].samples == [(1, 50), (2, 11)]
    assert latency.series["command"].max_ms == 50


def test_old_samples_go_but_the_worst_is_remembered():
    series = Series()
    series.add(0, 999)
    for unix_s in range(1, SAMPLES_MAX + 10):
        series.add(unix_s, 10)
    assert len(series.samples) == SAMPLES_MAX
    assert series.samples[0] == (10, 10)
    assert series.max_ms == 999


def test_the_number_of_kinds_is_bounded():
    latency = monitor()
    for number in range(KINDS_MAX + 5):
        latency.note(f"kind{number}", 100, 1)
    assert len(latency.series) == KINDS_MAX


@pytest.mark.parametrize(
    "kinds, gone, left",
    [(None, 2, set()), (["command"], 1, {"fsync"}), (["nosuch"], 0, {"command", "fsync"}),
     (["fsync", "fsync"], 1, {"command"})],
)  # fmt: skip
def test_reset(kinds, gone, left):
    latency = monitor()
    latency.note("command", 100, 1)
    latency.note("fsync", 100, 1)
    assert latency.reset(kinds) == gone
    assert set(latency.series) == left


def test_the_figures_of_the_doctor():
    series = Series()
    for unix_s, ms in ((100, 50), (101, 1200), (102, 11)):
        series.add(unix_s, ms)
    found = analyse(series, 102)
    assert (found.count, found.mean_ms, found.deviation_ms, found.worst_ms) == (3, 420, 519, 1200)
    assert found.period_s == pytest.approx(0.67, abs=0.01)
