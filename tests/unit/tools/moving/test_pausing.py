"""Whether the source's writers were paused all the time is known."""

from types import SimpleNamespace

import pytest

from vaylix_resp.tools.moving.pausing import Pause

MS = 60_000


class Control:
    """A source that takes `seconds` to answer."""

    def __init__(self):
        self.now, self.takes, self.asked, self.run_id = 100.0, 0.0, 0, "a"

    def all(self, db, requests, refused):
        assert requests == [(b"CLIENT", b"PAUSE", b"60000", b"WRITE")]
        self.now += self.takes
        self.asked += 1


@pytest.fixture
def control():
    return Control()


def begun(control, wanted=True):
    pause = Pause(control, "there", SimpleNamespace(pause_source=wanted, pause_ms=MS), lambda: control.now)
    pause.begin()
    return pause


@pytest.mark.parametrize("passes_s, takes_s, whole", [(59.0, 0.0, True), (61.0, 0.0, False), (59.0, 2.0, False)])
def test_a_pause_that_was_over_is_noticed(control, passes_s, takes_s, whole):
    pause = begun(control)
    control.now += passes_s
    assert pause.over is (passes_s > 60)
    control.takes = takes_s  # it may have reached the source at the end of that time only
    pause.hold()
    assert pause.whole is whole
    pause.hold()
    assert pause.whole is whole
    pause.begin()
    assert pause.whole


def test_a_source_that_was_started_again_has_paused_nobody_meanwhile(control):
    pause = begun(control)
    control.run_id = "b"
    pause.hold()
    assert not pause.whole
    pause.begin()
    pause.hold()
    assert pause.whole


def test_it_is_renewed_when_half_of_it_is_over(control):
    pause = begun(control)
    for passes_s, asked in ((29.0, 1), (2.0, 2), (2.0, 2)):
        control.now += passes_s
        pause.renew()
        assert control.asked == asked


def test_nobody_is_paused_unless_that_was_asked_for(control):
    pause = begun(control, wanted=False)
    control.now += 1000
    assert not pause.over
    pause.renew()
    pause.hold()
    assert control.asked == 0 and pause.whole
