"""How long a server is waited for."""

import pytest

from vaylix_resp.tools.moving.patience import ForNow, GivenUp, Patience, is_for_now


class Time:
    def __init__(self):
        self.now_s, self.naps = 0.0, []

    def nap(self, seconds):
        self.naps.append(seconds)
        self.now_s += seconds


@pytest.fixture
def time():
    return Time()


def patience(time, retry_s=10.0):
    return Patience("there", retry_s, sleep=time.nap, now=lambda: time.now_s)


def failing(times):
    left = iter([ForNow("LOADING")] * times)

    def attempt(again):
        problem = next(left, None)
        if problem is not None:
            raise problem
        return again

    return attempt


def test_pauses_grow_and_each_success_begins_the_time_anew(time, capsys):
    one = patience(time)
    for _ in range(3):
        assert one.until(failing(6)) is True
        assert time.naps == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0]
        time.naps.clear()
    assert one.until(failing(0)) is False
    assert capsys.readouterr().err == "there: waiting: LOADING\n" * 3
    with pytest.raises(GivenUp, match="there: no answer that helps for 10 s: LOADING"):
        one.until(failing(99))
    assert 10 <= sum(time.naps) < 13


def test_what_is_done_meanwhile_ends_with_its_block(time):
    one, done = patience(time), []
    with one.doing(lambda: done.append(1)):
        one.until(failing(2))
    one.until(failing(2))
    assert done == [1, 1]


@pytest.mark.parametrize("answer, expected", [
    ("LOADING", True), ("CLUSTERDOWN no leader", True), ("NOPERM BUSY", False), ("", False), ("ERR LOADING", False),
])  # fmt: skip
def test_which_refusals_may_end(answer, expected):
    assert is_for_now(answer) is expected
