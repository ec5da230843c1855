"""A child writes no faster than it may, and says how far it is, not more often than anybody wants to know."""

from __future__ import annotations

import json

import pytest

from vaylix_resp.engine import pace


class Time:
    """Stands still, but for those who sleep."""

    def __init__(self) -> None:
        self.now, self.slept = 100.0, 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(pace, "time", fake)
    return fake


@pytest.mark.parametrize("rate", [0, -1])
def test_no_limit(rate: int) -> None:
    assert pace.throttled(rate) is None


def test_the_limit_holds_from_the_start(time: Time) -> None:
    wait = pace.throttled(1000)
    assert wait is not None
    for _ in range(4):
        wait(500)
    assert time.slept == pytest.approx(2.0)
    time.now += 10  # slow work: what was not used may be made up for
    wait(10_000)
    assert time.slept == pytest.approx(2.0)
    wait(1000)
    assert time.slept == pytest.approx(3.0)


def test_progress(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = pace.Reporter()
    for done in range(11):
        reporter.say(done, 10)
        time.now += 0.2
    time.now += 1
    reporter.say(5, 0)  # nobody knows how much there is
    reporter.say(30, 10)
    lines = [json.loads(line)["progress"] for line in capsys.readouterr().out.splitlines()]
    assert lines == [0.0, 0.3, 0.6, 0.9, 1.0]
