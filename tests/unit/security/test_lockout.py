"""Tries, failures and locks, told as stories on a clock that the test moves; then floods, with a seed."""

from random import Random

import pytest

from vaylix_resp.security import lockout as module
from vaylix_resp.security.lockout import (
    ADDRESS,
    ADDRESS_RULE,
    LOCAL,
    PAIR,
    USER,
    USER_RULE,
    Lockout,
    Rule,
    Try,
    address_of,
)

THREE = Rule(limit=3, window_s=10, lock_s=30, lock_s_max=100)
NEVER = Rule(limit=0, window_s=10, lock_s=30, lock_s_max=100)
FIVE = Rule(limit=5, window_s=10, lock_s=30, lock_s_max=100)
KNOWN = {"alice", "bob", "carol"}


class Door:
    """A server that looks at a try only if the lockout lets it; a password is right if it says so."""

    def __init__(self, user_rule=THREE, address_rule=FIVE):
        self.lockout = Lockout(user_rule, address_rule)
        self.now = 1000.0

    def knock(self, user, address, right, *, verified=False):
        """ "in", "wrong", "user" (locked, and so on); with a + for each lock that it sets."""
        one = Try(user, user in KNOWN, address)
        refused = self.lockout.refusal(one, self.now, verified=verified)
        if refused is not None:
            assert refused.code == "LOCKED" and "ACL UNLOCK" in refused.text
            return {"(login-address-limit)": ADDRESS}.get(
                next(word for word in refused.text.split() if word.startswith("(")).rstrip("."), PAIR if "this user from this" in refused.text else USER
            )
        if right:
            self.lockout.passed(one)
            return "in"
        return "wrong" + "".join(f" +{lock.kind}" for lock in self.lockout.failed(one, self.now))


# Each line: seconds passed, user, address, right?, what happens. `*` behind the user: credentials verified before.
STORIES = {
    "three failures lock the user everywhere, for 30 s": """
        0 alice a1 no wrong
        0 alice a2 no wrong
        0 alice a3 no wrong +user
        0 alice a1 yes user
        29.9 alice a4 yes user
        0.2 alice a4 yes in
    """,
    "failures that are long ago do not count": """
        0 alice a1 no wrong
        0 alice a1 no wrong
        10 alice a1 no wrong
        9.9 alice a1 no wrong
        0.2 alice a1 no wrong
        0 alice a1 no wrong +user
    """,
    "each further lock is twice as long, up to the limit; quiet makes it short again": """
        0 alice a1 no wrong
        0 alice a2 no wrong
        0 alice a3 no wrong +user
        30 alice a4 no wrong
        0 alice a5 no wrong
        0 alice a6 no wrong +user
        59.9 alice a7 yes user
        0.1 alice a7 no wrong
        0 alice a8 no wrong
        0 alice a9 no wrong +user
        99.9 alice b1 no user
        0.1 alice b1 no wrong
        100 alice b2 no wrong
        0 alice b3 no wrong
        0 alice b4 no wrong +user
        30 alice b5 yes in
    """,
    "refused tries count for nothing: a lock ends when it said": """
        0 alice a1 no wrong
        0 alice a1 no wrong
        0 alice a1 no wrong +user
        10 alice a1 no user
        10 alice a1 no user
        9.9 alice a1 no user
        0.2 alice a2 yes in
    """,
    "a user that does not exist is locked like one that does": """
        0 nobody a1 no wrong
        0 nobody a2 no wrong
        0 nobody a3 no wrong +user
        0 nobody a4 no user
        30 nobody a4 no wrong
    """,
    "an address that tries many users is locked for all who are not known there": """
        0 alice a1 yes in
        0 u1 a1 no wrong
        0 u2 a1 no wrong
        0 u3 a1 no wrong
        0 u4 a1 no wrong
        0 u5 a1 no wrong +address
        0 u6 a1 no address
        0 bob a1 yes address
        0 bob* a1 yes address
        0 bob a2 yes in
        0 alice a1 yes in
        30 bob a1 yes in
    """,
    "a flood on a user does not lock out where it has logged in before": """
        0 alice home yes in
        0 alice a1 no wrong
        0 alice a2 no wrong
        0 alice a3 no wrong +user
        0 alice home yes in
        0 alice home no wrong
        0 alice home yes in
        0 alice a4 yes user
    """,
    "verified credentials pass a locked user from a clean address, once it has failed no more": """
        0 alice a1 no wrong
        0 alice a2 no wrong
        0 alice a3 no wrong +user
        0 alice* a1 yes user
        0 alice* a2 no user
        0 alice* a4 yes in
        0 bob a5 no wrong
        0 alice* a5 yes user
        9.9 alice* a5 yes user
        10 alice* a5 yes in
        0 alice* a5 yes in
        0 alice a6 yes user
    """,
    "guessing from a trusted address locks that user there, and only there": """
        0 alice home yes in
        0 bob home yes in
        0 alice home no wrong
        0 alice home no wrong
        0 alice home no wrong +pair
        0 alice home yes pair
        0 alice* home yes pair
        0 bob home yes in
        0 alice office yes in
        30 alice home yes in
    """,
    "failures at a trusted address count for the address": """
        0 alice home yes in
        0 alice home no wrong
        0 alice home no wrong
        0 u1 home no wrong
        0 u2 home no wrong
        0 u3 home no wrong +address
        0 bob home yes address
        0 alice home yes in
    """,
    "a success takes no failure back": """
        0 mallory a1 no wrong
        0 alice a1 no wrong
        0 alice a1 no wrong
        0 bob a1 yes in
        0 alice a1 no wrong +user
        0 carol a1 no wrong +address
    """,
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_stories(story):
    door = Door()
    for line in story.strip().splitlines():
        seconds, user, address, right, *expected = line.split()
        door.now += float(seconds)
        happened = door.knock(user.rstrip("*"), address, right == "yes", verified=user.endswith("*"))
        assert happened == " ".join(expected), line


def test_the_text_says_how_long_and_which_directive():
    door = Door()
    for _ in range(3):
        door.knock("alice", "a1", False)
    door.now += 10.4
    refused = door.lockout.refusal(Try("alice", True, "a2"), door.now)
    assert refused.text == (
        "LOCKED Too many failed log-ins for this user (login-user-limit). Try again in 20 s, "
        "or have an administrator run ACL UNLOCK"
    )


@pytest.mark.parametrize("rules, outcomes", [((NEVER, NEVER), {"wrong"}), ((NEVER, FIVE), {"wrong", "wrong +address", ADDRESS}), ((THREE, NEVER), {"wrong", "wrong +user", USER})])
def test_a_limit_of_0_locks_nobody(rules, outcomes):
    door = Door(*rules)
    assert {door.knock("alice", "a1", False) for _ in range(1000)} == outcomes


def test_a_limit_that_becomes_0_lifts_locks():
    door = Door()
    assert [door.knock("alice", "a1", False) for _ in range(4)][-1] == USER
    door.lockout.user_rule = NEVER
    assert door.knock("alice", "a1", True) == "in"


def test_tries_under_way_when_the_lock_is_set_do_not_lock_again():
    door = Door(address_rule=NEVER)
    one = Try("alice", True, "a1")
    locks = [lock for _ in range(10) for lock in door.lockout.failed(one, door.now)]
    assert [(lock.kind, lock.name, lock.until, lock.strikes) for lock in locks] == [(USER, "alice", door.now + 30, 1)]


def lock_all(door):
    for number in range(3):
        door.knock("alice", f"a{number}", False)
    door.lockout.passed(Try("bob", True, "home"))
    for _ in range(3):
        door.knock("bob", "home", False)
    for number in range(3):
        door.knock(f"u{number}", "home", False)
    assert {(lock.kind, lock.name) for lock in door.lockout.locked(door.now)} == {(USER, "alice"), (PAIR, "bob home"), (ADDRESS, "home")}


@pytest.mark.parametrize(
    "unlock, found, left",
    [
        (("user", "alice"), True, {(PAIR, "bob home"), (ADDRESS, "home")}),
        (("user", "bob"), True, {(USER, "alice"), (ADDRESS, "home")}),
        (("address", "home"), True, {(USER, "alice")}),
        (("user", "carol"), False, {(USER, "alice"), (PAIR, "bob home"), (ADDRESS, "home")}),
        (("user", "u1"), False, {(USER, "alice"), (PAIR, "bob home"), (ADDRESS, "home")}),
        (("address", "a1"), False, {(USER, "alice"), (PAIR, "bob home"), (ADDRESS, "home")}),
        (("address", "nowhere"), False, {(USER, "alice"), (PAIR, "bob home"), (ADDRESS, "home")}),
    ],
)
def test_an_administrator_unlocks(unlock, found, left):
    door = Door()
    lock_all(door)
    kind, name = unlock
    assert getattr(door.lockout, f"unlock_{kind}")(name, door.now) is found
    assert {(lock.kind, lock.name) for lock in door.lockout.locked(door.now)} == left


def test_a_lock_that_is_over_was_not_lifted_by_anybody():
    door = Door()
    lock_all(door)
    door.now += 30
    assert not door.lockout.unlock_user("alice", door.now) and not door.lockout.locked(door.now)


def test_unlocking_begins_anew():
    door = Door(address_rule=NEVER)
    for _ in range(3):
        door.knock("alice", "a1", False)
    door.now += 30
    for _ in range(3):
        door.knock("alice", "a1", False)
    door.lockout.unlock_user("alice", door.now)
    assert [door.knock("alice", "a1", False) for _ in range(3)] == ["wrong", "wrong", "wrong +user"]
    assert door.lockout.locked(door.now)[0].until == door.now + 30


def test_a_deleted_user_leaves_nothing_to_one_of_the_same_name():
    door = Door()
    lock_all(door)
    door.lockout.forget_users({"alice", "bob"})
    assert {(lock.kind, lock.name) for lock in door.lockout.locked(door.now)} == {(ADDRESS, "home")}
    assert door.knock("bob", "home", True) == ADDRESS  # no longer trusted there


def test_counters_for_info():
    door = Door()
    lock_all(door)
    door.knock("alice", "a9", True)
    assert door.lockout.info(door.now) == {
        "login_failures": 8,
        "login_refused_user_locked": 1, "login_refused_address_locked": 1, "login_refused_pair_locked": 0,
        "login_locks_user": 1, "login_locks_address": 1, "login_locks_pair": 1,
        "login_locked_user_now": 1, "login_locked_address_now": 1, "login_locked_pair_now": 1,
        "login_records": 9, "login_records_forgotten": 0,
    }  # fmt: skip
    door.now += 1000
    assert door.lockout.info(door.now)["login_locked_user_now"] == 0


@pytest.mark.parametrize(
    "endpoint, address",
    [
        ("192.0.2.7:50000", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:50000", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[2001:db8:1:2:3:4:5:6]:50000", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:ffff::]:1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),  # as ACL UNLOCK is given what was shown
        ("[fe80::1%eth0]:50000", "fe80::/64"),
        ("[::1]:50000", "::1"),
        ("127.0.0.1:50000", "127.0.0.1"),
        ("/run/vaylix.sock:0", LOCAL),
        (LOCAL, LOCAL),
        ("?:0", "?"),
        ("", ""),
    ],
)
def test_the_address_that_counts(endpoint, address):
    assert address_of(endpoint) == address


def test_memory_is_bounded_and_made_up_names_push_out_no_user(monkeypatch):
    monkeypatch.setattr(module, "RECORDS_MAX", 50)
    door = Door(address_rule=NEVER)
    for _ in range(3):
        door.knock("alice", "a1", False)
    for number in range(500):
        assert door.knock(f"made up {number}", f"a{number}", False) == "wrong"
    assert door.knock("alice", "a1", True) == USER
    info = door.lockout.info(door.now)
    assert (info["login_records"], info["login_records_forgotten"]) == (1 + 50 + 50, 450 + 450 + 1)  # the last: that of a1, which came back
    for number in range(500):
        assert door.knock("bob", f"b{number}", True) == "in"
    assert door.lockout.info(door.now)["login_records"] == 1 + 50 + 50 + 50


def test_what_was_used_longest_ago_is_forgotten(monkeypatch):
    monkeypatch.setattr(module, "RECORDS_MAX", 2)
    door = Door(user_rule=NEVER, address_rule=Rule(2, 10, 30, 30))
    happened = [door.knock("alice", address, False) for address in ("a1", "a2", "a1", "a3", "a2", "a2")]
    assert happened == ["wrong", "wrong", "wrong +address", "wrong", "wrong", "wrong +address"]
    assert door.knock("bob", "a2", True) == ADDRESS


# Floods.


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("addresses", [1, 10, 400])
def test_a_flood_gets_few_guesses_and_those_who_are_known_come_in(seed, addresses):
    """100 guesses a second at one user for 8 minutes, while the user reconnects from home and from new machines.

    The machines have the password that is known; nobody has failed from their addresses.
    """
    rng = Random(seed)
    door = Door(USER_RULE, ADDRESS_RULE)
    assert door.knock("alice", "home", True) == "in"
    seconds, guesses, known = 480, 0, 0
    for second in range(seconds):
        for _ in range(100):
            door.now += 0.01
            happened = door.knock("alice", f"bot {rng.randrange(addresses)}", False)
            guesses += happened.startswith("wrong")
        if rng.random() < 0.1:
            known += 1
            assert door.knock("alice", "home", True) == "in"
            assert door.knock("alice", f"machine {second}", True, verified=True) == "in"
    # Locks of 30, 60, 120, 240 s, with 10 guesses before each.
    locks = door.lockout.info(door.now)["login_locks_user"]
    assert known > 20
    assert locks <= 5 and guesses <= 10 * (locks + 1)
    if addresses > 1:
        assert door.lockout.info(door.now)["login_locked_user_now"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_spraying_many_users_from_one_address_locks_nobody_else(seed):
    """One address tries a few passwords for each of 1,000 users, real ones among them."""
    rng = Random(seed)
    door = Door(USER_RULE, ADDRESS_RULE)
    for user in KNOWN:
        assert door.knock(user, f"home of {user}", True) == "in"
    guesses = 0
    for _ in range(10_000):
        door.now += 0.01
        user = rng.choice([*KNOWN, f"made up {rng.randrange(1000)}"])
        guesses += door.knock(user, "bot", False).startswith("wrong")
    assert guesses <= ADDRESS_RULE.limit * 4
    for user in KNOWN:
        assert door.knock(user, f"home of {user}", True) == "in"
        assert door.knock(user, "a new place", True) == "in"


@pytest.mark.parametrize("first_guess_right", [True, False])
def test_one_guess_an_address_and_window_is_what_verified_credentials_leave_to_a_flood(first_guess_right):
    """The user is locked, and the server remembers the right password. Each bot guesses once a second."""
    door = Door(USER_RULE, ADDRESS_RULE)
    for number in range(USER_RULE.limit):
        door.knock("alice", f"first {number}", False)
    happened = [door.knock("alice", f"bot {bot}", first_guess_right, verified=first_guess_right) for bot in range(50)]
    assert set(happened) == {"in" if first_guess_right else USER}
    if not first_guess_right:  # from now on they are right, and have no way to learn it
        for _ in range(20):
            door.now += 1
            assert {door.knock("alice", f"bot {bot}", True, verified=True) for bot in range(50)} == {USER}
