"""Token buckets on a clock that the test moves: what passes, what is refused with which text, who shares a meter."""

from random import Random

import pytest

from vaylix_resp.config_rates import Rates, Row
from vaylix_resp.errors import CommandError
from vaylix_resp.security import limits as module
from vaylix_resp.security.limits import EVERYBODY, NO_RATES, Limiter, Limits

NOW = 1000.0


def limiter(connection=NO_RATES, user=NO_RATES):
    limits = Limits(connection, [Row("alice", user)])
    found = limits.limiter(limits.enter("alice", (), NOW), NOW)
    assert isinstance(found, Limiter)
    return found


# Each step: seconds passed, requests in the read, its bytes, how many may run.
FLOWS = {
    "a second's requests at once, then as time goes by": (Rates(requests=10), [(0, 4, 0, 4), (0, 10, 0, 6), (0, 1, 0, 0), (0.1, 5, 0, 1), (0.05, 1, 0, 0), (0.05, 1, 0, 1), (100, 50, 0, 10)]),
    "the burst is what may come after a pause": (Rates(requests=10, burst=25), [(0, 30, 0, 25), (1, 30, 0, 10), (9, 30, 0, 25)]),
    "a burst smaller than a second": (Rates(requests=10, burst=2), [(0, 5, 0, 2), (1, 5, 0, 2), (0.1, 5, 0, 1)]),
    "bytes are there or not, for all that a read brings": (Rates(bytes=1000), [(0, 3, 900, 3), (0, 3, 900, 3), (0, 1, 1, 0), (0.7, 1, 1, 0), (0.2, 1, 1, 1)]),
    "a request larger than a second's bytes passes, and is paid for": (Rates(bytes=1000), [(0, 0, 2000, 0), (0, 0, 2000, 0), (0, 1, 1000, 1), (3.9, 1, 10, 0), (0.2, 1, 10, 1)]),
    "refused requests are not charged": (Rates(bytes=1000), [(0, 1, 1500, 1), (0, 1, 5000, 0), (0.6, 1, 10, 1)]),
    "whichever is tighter": (Rates(requests=5, bytes=100), [(0, 3, 150, 3), (0, 1, 1, 0), (1, 8, 10, 5), (0, 1, 1, 0), (0.2, 1, 1, 1)]),
    "a clock that stands or goes back gives nothing": (Rates(requests=1), [(0, 1, 0, 1), (0, 1, 0, 0), (-5, 1, 0, 0), (5, 1, 0, 0), (1, 1, 0, 1)]),
}  # fmt: skip


@pytest.mark.parametrize("rates, flow", FLOWS.values(), ids=FLOWS.keys())
@pytest.mark.parametrize("whose", ["connection", "user"])
def test_flows(whose, rates, flow):
    one, now = limiter(**{whose: rates}), NOW
    for seconds, count, size, expected in flow:
        now += seconds
        assert one.admit(count, size, now) == expected, (seconds, count, size)
        assert (one.refused is not None) == (expected < count)


@pytest.mark.parametrize(
    "connection, user, text",
    [
        (Rates(requests=20), NO_RATES, "LIMIT more than 20 requests per second for this connection (client-requests-per-second); wait 50 ms"),
        (Rates(bytes=500), NO_RATES, "LIMIT more than 500 bytes per second for this connection (client-bytes-per-second); wait 1002 ms"),
        (NO_RATES, Rates(requests=20), "LIMIT more than 20 requests per second for user 'alice' (user-limit); wait 50 ms"),
        (NO_RATES, Rates(bytes=500), "LIMIT more than 500 bytes per second for user 'alice' (user-limit); wait 1002 ms"),
        (Rates(requests=30), Rates(requests=20), "LIMIT more than 20 requests per second for user 'alice' (user-limit); wait 50 ms"),
        (Rates(requests=20), Rates(requests=30), "LIMIT more than 20 requests per second for this connection (client-requests-per-second); wait 50 ms"),
        (Rates(bytes=500), Rates(requests=30), "LIMIT more than 500 bytes per second for this connection (client-bytes-per-second); wait 1002 ms"),
    ],
)  # fmt: skip
def test_the_text_names_the_limit_its_directive_and_the_wait(connection, user, text):
    one = limiter(connection, user)
    one.admit(20, 1000, NOW)
    assert one.admit(100, 1, NOW) < 100
    assert one.refused.text == text


@pytest.mark.parametrize("rates", [Rates(requests=7), Rates(requests=1000, burst=5), Rates(bytes=300)])
def test_after_the_wait_that_the_text_names_a_request_passes(rates):
    one = limiter(rates)
    while one.admit(1, 100, NOW):
        assert one.refused is None
    wait_ms = int(one.refused.text.split()[-2])
    assert one.admit(1, 100, NOW + wait_ms / 1000) == 1


@pytest.mark.parametrize("seed", range(5))
def test_over_time_no_more_passes_than_the_rate_and_the_burst(seed):
    """Reads of random sizes at random moments, against the sum that a bucket stands for."""
    rng = Random(seed)
    rates = Rates(requests=rng.randrange(1, 200), burst=rng.randrange(1, 400))
    one, now, passed, asked = limiter(rates), NOW, 0, 0
    for _ in range(3000):
        now += rng.expovariate(100)
        count = rng.randrange(1, 10)
        asked += count
        passed += one.admit(count, 0, now)
        assert passed <= rates.burst + (now - NOW) * rates.requests + 1e-6
    assert passed >= min(asked, (now - NOW) * rates.requests * 0.5)


def test_the_connections_of_a_user_share_a_meter():
    limits = Limits(rows=[Row("alice", Rates(requests=10))])
    one, two = (limits.limiter(limits.enter("alice", (), NOW), NOW) for _ in range(2))
    assert (one.admit(7, 0, NOW), two.admit(7, 0, NOW), one.admit(1, 0, NOW)) == (7, 3, 0)
    assert limits.refused == 5


def test_connections_have_meters_of_their_own():
    limits = Limits(Rates(requests=10))
    one, two = (limits.limiter(limits.enter("alice", (), NOW), NOW) for _ in range(2))
    assert (one.admit(7, 0, NOW), two.admit(7, 0, NOW), limits.limiter(None, NOW).admit(20, 0, NOW)) == (7, 7, 10)


def test_nothing_is_spent_of_the_wider_limit_by_what_the_tighter_refuses():
    limits = Limits(Rates(requests=2), [Row("alice", Rates(requests=10))])
    sessions = [limits.limiter(limits.enter("alice", (), NOW), NOW) for _ in range(6)]
    assert [one.admit(9, 0, NOW) for one in sessions] == [2, 2, 2, 2, 2, 0]


@pytest.mark.parametrize("connection, rows", [(NO_RATES, []), (NO_RATES, [Row("bob", Rates(1, 1, 1, 1))]), (NO_RATES, [Row("alice", Rates(connections=5))]), (Rates(connections=3), [])])
def test_who_is_not_limited_has_no_limiter(connection, rows):
    limits = Limits(connection, rows)
    assert limits.limiter(limits.enter("alice", (), NOW), NOW) is None and limits.limiter(None, NOW) is None


SLOW, FAST, WIDE, STAR = Rates(10, 20, 1000, 5), Rates(100, 0, 0, 2), Rates(50, 500, 5000, 0), Rates(7)
ROWS = [Row("alice", SLOW), Row("role:batch", FAST), Row("role:web", SLOW), Row("role:wide", WIDE), Row(EVERYBODY, STAR)]


@pytest.mark.parametrize(
    "user, roles, rates",
    [
        ("alice", (), SLOW),
        ("alice", ("batch",), SLOW),  # the own row comes first
        ("bob", ("batch",), FAST),
        ("bob", ("unlimited role",), STAR),
        ("bob", (), STAR),
        ("bob", ("batch", "web"), Rates(100, 100, 0, 5)),  # of each the larger; no limit of bytes is the largest
        ("bob", ("web", "batch"), Rates(100, 100, 0, 5)),
        ("bob", ("web", "wide"), Rates(50, 500, 5000, 0)),
        ("role:batch", (), STAR),  # a user who is called so
        ("*", (), STAR),
    ],
)
def test_whose_row_counts(user, roles, rates):
    assert Limits(rows=ROWS).rates_of(user, roles) == rates


def test_connections_of_a_user_are_counted():
    limits = Limits(rows=[Row("alice", Rates(connections=2))])
    meters = [limits.enter("alice", (), NOW) for _ in range(3)]
    assert meters[0] is meters[1]
    assert isinstance(meters[2], CommandError)
    assert meters[2].text == "LIMIT user 'alice' already has 2 connections (user-limit)"
    assert not isinstance(limits.enter("bob", (), NOW), CommandError)
    limits.leave(meters[0], NOW)
    assert limits.enter("alice", (), NOW) is meters[0]
    assert limits.refused_connections == 1


def test_a_name_is_fit_to_be_printed():
    limits = Limits(rows=[Row(EVERYBODY, Rates(connections=1))])
    limits.enter("a\x1bb\udcff" + "c" * 1000, (), NOW)
    text = limits.enter("a\x1bb\udcff" + "c" * 1000, (), NOW).text
    assert text.startswith("LIMIT user 'a b\\xffccc") and len(text) < 250


def test_reconnecting_does_not_fill_the_bucket():
    limits = Limits(rows=[Row("alice", Rates(requests=10))])
    passed = 0
    for _ in range(10):
        meter = limits.enter("alice", (), NOW)
        passed += limits.limiter(meter, NOW).admit(10, 0, NOW)
        limits.leave(meter, NOW)
    assert passed == 10


def test_meters_of_those_who_are_gone_are_few(monkeypatch):
    monkeypatch.setattr(module, "METERS_MAX", 10)
    limits = Limits(rows=[Row(EVERYBODY, Rates(requests=10))])
    stays = limits.enter("stays", (), NOW)
    for number in range(100):
        meter = limits.enter(f"user {number}", (), NOW)
        limits.limiter(meter, NOW).admit(5, 0, NOW)
        limits.leave(meter, NOW)
    assert sorted(limits._meters) == sorted(["stays", *(f"user {number}" for number in range(90, 100))])
    for number in range(100):  # buckets that are full again need not be kept
        meter = limits.enter(f"user {number}", (), NOW + 10)
        limits.leave(meter, NOW + 10)
    assert [*limits._meters] == ["stays"]
    assert limits.enter("stays", (), NOW) is stays


def test_new_rates_are_in_force_at_once_for_those_who_are_connected():
    limits = Limits(rows=[Row("alice", Rates(requests=10)), Row("bob", Rates(requests=10))])
    alice, bob = limits.enter("alice", (), NOW), limits.enter("bob", (), NOW)
    of_alice, of_bob = limits.limiter(alice, NOW), limits.limiter(bob, NOW)
    assert (of_alice.admit(10, 0, NOW), of_bob.admit(4, 0, NOW)) == (10, 4)
    limits.configure(Rates(requests=3), [Row("role:web", Rates(requests=20)), Row("bob", Rates(requests=10))], {"alice": ["web"]}, NOW)
    assert (of_alice.admit(100, 0, NOW), of_bob.admit(100, 0, NOW)) == (20, 6)  # unchanged rates keep what was used
    assert limits.limiter(alice, NOW).admit(100, 0, NOW + 1) == 3  # a session asks for a new limiter
    limits.configure(NO_RATES, [], {}, NOW)
    assert of_alice.admit(100, 0, NOW) == 100 and limits.limiter(alice, NOW) is None
    limits.leave(alice, NOW)
    limits.leave(bob, NOW)
    assert limits._meters == {}


def test_new_rates_hold_for_those_who_come_back_as_well():
    limits = Limits(rows=[Row("alice", Rates(requests=10)), Row("bob", Rates(requests=10))])
    for user in ("alice", "bob"):
        meter = limits.enter(user, (), NOW)
        limits.limiter(meter, NOW).admit(10, 0, NOW)
        limits.leave(meter, NOW)
    limits.configure(NO_RATES, [Row("alice", Rates(requests=5)), Row("bob", Rates(requests=10))], {}, NOW)
    found = {user: limits.limiter(limits.enter(user, (), NOW), NOW).admit(10, 0, NOW) for user in ("alice", "bob")}
    assert found == {"alice": 5, "bob": 0}, "unchanged rates keep what was used"


def test_the_meter_of_a_connection_outlives_a_log_in():
    limits = Limits(Rates(requests=10))
    before = limits.limiter(None, NOW)
    before.admit(7, 0, NOW)
    after = limits.limiter(limits.enter("alice", (), NOW), NOW, before)
    assert after.admit(10, 0, NOW) == 3
    limits.configure(Rates(requests=20), [], {}, NOW)
    assert limits.limiter(None, NOW, after).admit(30, 0, NOW) == 20
