"""The points behind the charts of /status: differences of counters, and never more of them than fit."""

from dataclasses import replace

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.server.recent import PERIOD_S, POINTS_MAX, Totals, between, gone_by, percentile_us

BEFORE = Totals(at=100.0, requests=1000, executed=(5, 5, 0), fsync=(0, 2, 0), commit=(0, 0, 2), received=10_000, sent=20_000)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


def test_a_point_is_what_happened_since_the_last_one():
    after = Totals(105.0, 1500, (5, 105, 0), (0, 2, 8), (0, 0, 3), 15_000, 120_000)
    point = between(BEFORE, after, 7, 4096)
    assert (point.at, point.requests_s, point.received_s, point.sent_s) == (105.0, 100.0, 1000.0, 20_000.0)
    assert (point.connections, point.memory) == (7, 4096)
    assert 1.024 < point.executed_p99_us < 2.048  # the second bucket: from 1,024 to 2,048 ns
    assert 2.048 < point.fsync_p50_us < point.fsync_p99_us < 4.096
    assert 2.048 < point.commit_p99_us < 4.096


def test_what_did_not_happen_has_no_percentile():
    point = between(BEFORE, replace(BEFORE, at=105.0), 0, 0)
    assert (point.requests_s, point.executed_p99_us, point.fsync_p50_us, point.commit_p99_us) == (0.0, None, None, None)


@pytest.mark.parametrize(
    "facts", [{"at": 100.0}, {"requests": 0, "at": 105.0}, {"received": 0, "at": 105.0}, {"sent": 0, "at": 105.0}], ids=str
)
def test_counters_that_fell_make_no_point(facts):
    assert between(BEFORE, replace(BEFORE, **facts), 0, 0) is None


def test_a_histogram_that_was_reset_says_nothing():
    assert percentile_us(gone_by((5, 5), (1, 7)), 99) is None


def test_a_server_takes_points_of_its_traffic(stage):
    client, recent = stage.connect(), stage.shared.recent
    client.ask("SET k v")
    stage.clock.ms += round(PERIOD_S * 1000)
    recent.take()
    (point,) = recent.points
    assert (point.requests_s, point.connections) == (1 / PERIOD_S, 1)
    assert point.received_s > 0 and point.fsync_p99_us is not None and point.executed_p99_us is not None


def test_no_more_points_than_fit(stage):
    for _ in range(POINTS_MAX + 5):
        stage.clock.ms += 1000
        stage.shared.recent.take()
    points = stage.shared.recent.points
    assert len(points) == POINTS_MAX and points[0].at < points[-1].at == stage.clock.now()


def test_resetting_the_statistics_costs_one_point(stage):
    client, recent = stage.connect(), stage.shared.recent
    client.ask("SET k v", "GET k")
    stage.clock.ms += 5000
    recent.take()
    client.ask("CONFIG RESETSTAT")
    stage.clock.ms += 5000
    recent.take()
    stage.clock.ms += 5000
    recent.take()
    assert len(recent.points) == 2
