"""What a leader knows of a follower: states, the window, and what a reply may change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.raft.progress import Inflight, Progress, State
from vaylix_resp.raft.ready import Config
from vaylix_resp.raft.types import InvariantBroken

CONFIG = Config(1, inflight_messages=3, inflight_bytes=100)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 60)),
        st.tuples(st.just("free"), st.integers(0, 40)),
        st.tuples(st.just("first"), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_window_beside_a_plain_list(steps: list[tuple[str, int]]) -> None:
    window, slow, last = Inflight(3, 100), [], 0
    for what, value in steps:
        if what == "add":
            full = len(slow) >= 3 or sum(size for _, size in slow) >= 100
            assert window.full == full
            if full:
                with pytest.raises(InvariantBroken):
                    window.add(last + 1, value)
                continue
            last += 1
            window.add(last, value)
            slow.append((last, value))
        elif what == "free":
            window.free(value)
            slow = [one for one in slow if one[0] > value]
        else:
            window.free_first()
            slow = slow[1:]
        assert (len(window), window.bytes) == (len(slow), sum(size for _, size in slow))


def test_the_window_does_not_go_backwards() -> None:
    window = Inflight(3, 100)
    window.add(5, 1)
    with pytest.raises(InvariantBroken):
        window.add(4, 1)


def probing(last: int = 10) -> Progress:
    return Progress(CONFIG, last, 0)


def test_one_probe_at_a_time() -> None:
    peer = probing()
    assert peer.sends and peer.next == 11
    peer.sent(10, 0)
    assert not peer.sends
    peer.paused = False
    assert peer.sends


def test_replicating_runs_ahead_within_the_window() -> None:
    peer = probing()
    assert peer.matched(4, 1, 0, 10)
    peer.become(State.REPLICATE, 1)
    assert peer.next == 5
    for last in (5, 6, 7):
        assert peer.sends
        peer.sent(last, 10)
    assert not peer.sends and peer.next == 8
    peer.sent(7, 0)  # nothing in it: it takes no room
    assert peer.matched(6, 2, 0, 10)
    assert peer.sends and len(peer.inflight) == 1 and peer.next == 8


@pytest.mark.parametrize("index, news", [(3, False), (4, False), (5, True)])
def test_match_only_rises(index: int, news: bool) -> None:
    peer = probing()
    peer.matched(4, 1, 0, 10)
    assert peer.matched(index, 2, 0, 10) == news
    assert peer.match == max(4, index) and peer.next > peer.match


def test_nobody_has_more_than_the_leader() -> None:
    with pytest.raises(InvariantBroken):
        probing().matched(11, 1, 0, 10)


@pytest.mark.parametrize(
    "state, since, number, stale",
    [
        (State.PROBE, 0, 1, False),
        (State.PROBE, 3, 3, True),
        (State.PROBE, 3, 4, False),
        (State.REPLICATE, 3, 3, True),
        (State.REPLICATE, 3, 4, False),
        (State.SNAPSHOT, 3, 4, True),
        (State.LOST, 3, 4, True),
    ],
)
def test_a_rejection_of_before_tells_nothing(state: State, since: int, number: int, stale: bool) -> None:
    peer = probing()
    peer.become(state, since)
    assert peer.is_stale(number) == stale


@pytest.mark.parametrize(
    "number, hint, lost",
    [
        (5, 3, False),  # sent before the match was known: it may have been behind it then
        (6, 3, True),
        (6, 4, False),
        (6, 9, False),
    ],
)
def test_who_lacks_what_it_has_acknowledged_has_lost_it(number: int, hint: int, lost: bool) -> None:
    peer = probing()
    peer.matched(4, 5, 0, 10)
    assert peer.has_lost(number, hint) == lost
    assert peer.durable == 4
    peer.become(State.LOST, 6)
    assert peer.durable == 0 and peer.match == 4 and not peer.sends


@pytest.mark.parametrize("match, index, following", [(0, 7, 8), (4, 2, 5), (0, -1, 1)])
def test_a_retreat_stays_behind_the_match(match: int, index: int, following: int) -> None:
    peer = probing()
    peer.matched(match, 1, 0, 10)
    peer.retreat(index, 9)
    assert (peer.state, peer.next, peer.state_number) == (State.PROBE, following, 9)


@pytest.mark.parametrize(
    "acks, ticks",
    [
        ([(10, 3)], 3),  # all that there was when it came, after 3 ticks
        ([(5, 3)], None),
        ([(5, 3), (10, 50)], 50),
        ([(10, 50), (20, 55)], 5),  # slow at first, and then not any more
    ],
)
def test_a_learner_is_timed_by_how_long_it_takes_to_catch_up(acks: list[tuple[int, int]], ticks: int | None) -> None:
    peer = probing(10)
    for index, tick in acks:
        peer.matched(index, 1, tick, 20)
    assert peer.span_ticks == ticks
