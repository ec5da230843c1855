"""The way in: who is let in, who is not, in which order it is decided, and what it costs."""

from types import SimpleNamespace

import pytest

from tests.unit.engine.test_password_pool import CHEAP, Bench, form
from vaylix_resp.engine.log_in import BUSY, LOCKED, RIGHT, STRANGER_CHARS_MAX, WRONG, LogIn, Result
from vaylix_resp.engine.password_pool import SOURCE_MAX, PasswordPool, Ticket
from vaylix_resp.errors import WRONG_PASS
from vaylix_resp.security.lockout import PAIR, USER, Lockout, Rule

HOME, AWAY = "192.0.2.1:5000", "192.0.2.2:5000"
A, B = form(b"a"), form(b"b")
RULE = Rule(limit=3, window_s=10, lock_s=30, lock_s_max=30)


def user(*passwords, enabled=True, nopass=False, expires_at_s=0):
    return SimpleNamespace(passwords=[*passwords], enabled=enabled, nopass=nopass, expires_at_s=expires_at_s)


class House:
    def __init__(self, **users):
        self.users = users
        self.now, self.wall_s = 1000.0, 1_700_000_000
        self.bench = Bench(1)
        self.pool = PasswordPool(self.bench, lambda: [one.passwords for one in self.users.values() if one.passwords], CHEAP)
        self.lockout = Lockout(RULE, RULE)
        clock = SimpleNamespace(now=lambda: self.now, wall_ms=lambda: self.wall_s * 1000)
        self.log_in = LogIn(self.users.get, self.pool, self.lockout, clock)
        self.told = []

    def begin(self, name, password, endpoint=HOME):
        return self.log_in.begin(name, password, endpoint, self.told.append)

    def knock(self, name, password, endpoint=HOME):
        """(outcome, derivations it took)."""
        began = self.pool.derived
        result = self.begin(name, password, endpoint)
        if isinstance(result, Ticket):
            self.bench.all()
            result = self.told.pop()
        assert isinstance(result, Result) and (result.refusal is None) == (result.outcome == RIGHT)
        return result.outcome, self.pool.derived - began


@pytest.mark.parametrize(
    "account, password, expected",
    [
        (user(A), b"a", (RIGHT, 1)),
        (user(A, B), b"b", (RIGHT, 1)),
        (user(A), b"b", (WRONG, 1)),
        (user(A), b"", (WRONG, 1)),
        (user(A, enabled=False), b"a", (WRONG, 1)),
        (user(A, expires_at_s=1_700_000_000), b"a", (WRONG, 1)),
        (user(A, expires_at_s=1_700_000_001), b"a", (RIGHT, 1)),
        (user(), b"a", (WRONG, 1)),
        (user(nopass=True), b"anything", (RIGHT, 0)),
        (user(nopass=True, enabled=False), b"anything", (WRONG, 1)),
        (user(nopass=True, expires_at_s=1), b"anything", (WRONG, 1)),
        (None, b"a", (WRONG, 1)),
    ],
)
def test_who_is_let_in(account, password, expected):
    house = House(alice=account) if account is not None else House()
    house.users["bob"] = user(B)
    assert house.knock(b"alice", password) == expected


def test_one_answer_for_everything_that_is_wrong():
    house = House(alice=user(A), off=user(A, enabled=False), late=user(A, expires_at_s=1), empty=user())
    for name, password in [(b"alice", b"x"), (b"off", b"a"), (b"late", b"a"), (b"empty", b"a"), (b"nobody", b"a"), (b"\xff\0", b"a")]:
        house.begin(name, password, f"192.0.2.{len(house.told) + 9}:1")
        house.bench.all()
    assert {(result.outcome, result.refusal.text) for result in house.told} == {(WRONG, WRONG_PASS)}
    assert len(house.told) == 6


def test_long_names_of_nobody_are_not_kept():
    house = House(bob=user(B))
    for number in range(2):
        assert house.knock(b"%d" % number + b"n" * (1 << 20), b"x", f"192.0.2.{number}:1") == (WRONG, 1)
    assert sum(map(len, house.lockout._strangers.records)) == 2 * STRANGER_CHARS_MAX


def test_a_name_too_long_to_be_kept_does_not_become_a_user_s():
    house = House()
    long = b"n" * (STRANGER_CHARS_MAX + 1)
    house.begin(long, b"b")
    house.users["n" * STRANGER_CHARS_MAX] = user(B)
    house.bench.all()
    assert [result.outcome for result in house.told] == [WRONG]


def test_what_was_right_is_right_at_once_until_the_password_goes():
    house = House(alice=user(A))
    assert [house.knock(b"alice", b"a") for _ in range(3)] == [(RIGHT, 1), (RIGHT, 0), (RIGHT, 0)]
    house.users["alice"].enabled = False
    assert house.knock(b"alice", b"a") == (WRONG, 0)
    house.users["alice"] = user(B)
    assert house.knock(b"alice", b"a") == (WRONG, 1)
    house.users["alice"] = user(A, B)
    assert house.knock(b"alice", b"a") == (RIGHT, 0)
    del house.users["alice"]
    assert house.knock(b"alice", b"a", AWAY) == (WRONG, 1)


@pytest.mark.parametrize("change", [lambda house: house.users.pop("alice"), lambda house: house.users.update(alice=user(B)), lambda house: setattr(house.users["alice"], "enabled", False)])
def test_a_password_that_goes_while_it_is_being_verified_is_wrong(change):
    house = House(alice=user(A))
    house.begin(b"alice", b"a")
    change(house)
    house.bench.all()
    assert [result.outcome for result in house.told] == [WRONG]


def test_a_lock_is_part_of_the_result_and_holds_before_anything_is_computed():
    house = House(alice=user(A))
    for _ in range(3):
        house.begin(b"alice", b"x")
        house.bench.all()
    assert [[(lock.kind, lock.name) for lock in result.locks] for result in house.told] == [[], [], [("address", "192.0.2.1"), (USER, "alice")]]
    assert house.knock(b"alice", b"a") == (LOCKED, 0)
    assert house.knock(b"alice", b"a", AWAY) == (LOCKED, 0)
    house.now += 30
    assert house.knock(b"alice", b"a") == (RIGHT, 1)


def test_guesses_that_wait_are_given_up_when_the_lock_comes():
    house = House(alice=user(A), bob=user(B))
    for number in range(SOURCE_MAX):
        house.begin(b"alice", b"guess %d" % number)
    house.begin(b"bob", b"b", AWAY)
    house.bench.all()
    assert sorted(result.outcome for result in house.told) == [LOCKED] * (SOURCE_MAX - 3) + [RIGHT] + [WRONG] * 3
    assert house.pool.derived == 4


def test_a_flood_leaves_those_in_who_were_here_before():
    house = House(alice=user(A))
    assert house.knock(b"alice", b"a", HOME) == (RIGHT, 1)
    for number in range(9):
        house.knock(b"alice", b"guess %d" % number, f"198.51.100.{number}:1")
    assert house.knock(b"alice", b"guess", "198.51.100.77:1") == (LOCKED, 0)
    assert house.knock(b"alice", b"a", HOME) == (RIGHT, 0)
    assert house.knock(b"alice", b"a", AWAY) == (RIGHT, 0)  # a new machine that knows what is remembered
    house.users["alice"] = user(A, B)
    assert house.knock(b"alice", b"b", HOME) == (RIGHT, 1)  # a new password, where alice is known
    assert house.knock(b"alice", b"b", "198.51.100.78:1") == (RIGHT, 0)


def test_guessing_at_home_locks_alice_there():
    house = House(alice=user(A), bob=user(B))
    assert house.knock(b"alice", b"a")[0] == house.knock(b"bob", b"b")[0] == RIGHT
    for number in range(3):
        house.begin(b"alice", b"guess %d" % number)
        house.bench.all()
    assert PAIR in [lock.kind for lock in house.told[-1].locks]
    assert house.knock(b"alice", b"a") == (LOCKED, 0)
    assert house.knock(b"bob", b"b") == (RIGHT, 0)


def test_busy_is_no_failure():
    house = House(alice=user(A))
    house.lockout.user_rule = house.lockout.address_rule = Rule(100, 10, 30, 30)
    results = [house.begin(b"alice", b"guess %d" % number) for number in range(SOURCE_MAX + 4)]
    refused = [result for result in results if isinstance(result, Result)]
    assert [(result.outcome, result.refusal.code) for result in refused] == [(BUSY, "BUSY")] * 3
    assert house.lockout.failures == 0
    house.bench.all()
    assert house.lockout.failures == SOURCE_MAX + 1


def test_who_hangs_up_is_counted_if_the_password_was_looked_at():
    house = House(alice=user(A))
    house.begin(b"alice", b"guess 1").cancel()  # runs
    house.begin(b"alice", b"guess 2").cancel()  # waits
    house.bench.all()
    assert house.pool.derived == house.lockout.failures == len(house.told) == 1
