"""Decisions: every right from one selector, and the reason that comes closest. Random ones: compat/test_acl.py."""

import pytest

from tests.unit.acl_server import CATALOG
from vaylix_resp.security.access import Denied, Grants, refusal_text
from vaylix_resp.security.acl import Selector


def grants(*selectors):
    made = []
    for rules in selectors:
        made.append(Selector())
        for rule in rules.split():
            made[-1].apply(rule.encode(), CATALOG)
    return Grants(made)


def request(line, database=0):
    argv = line.encode().split()
    return CATALOG.request(CATALOG.find(argv), argv, database)


@pytest.mark.parametrize("rules, line, denied", [
    ("", "GET a", ("command", b"")),
    ("+get", "GET a", ("key", b"a")),
    ("+get ~a", "GET a", None),
    ("+get %R~a", "GET a", None), ("+get %W~a", "GET a", ("key", b"a")),
    ("+@all %R~a %W~a?", "SET a 1", ("key", b"a")),
    ("+@all %R~a* %W~*a", "GETSET a 1", ("key", b"a")),  # two patterns do not add up
    ("+@all %W~a", "SET a 1", None), ("+@all %W~a", "SET a 1 GET", ("key", b"a")),
    ("+@all %R~a", "EXISTS a", None), ("+@all %W~a", "EXISTS a", None), ("+@all ~b", "EXISTS a", ("key", b"a")),
    ("+@all ~a", "MGET a b a", ("key", b"b")),
    ("+@all %R~s %W~d", "COPY s d", None), ("+@all %R~s %R~d", "COPY s d", ("key", b"d")),
    ("+@all %R~s %W~d", "BITOP AND d s s", None), ("+@all %R~s %W~d", "BITOP AND s d", ("key", b"s")),
    ("+@all %R~s %W~d", "SORT s STORE d", None), ("+@all %R~s", "SORT s STORE d", ("key", b"d")),
    ("+@all %R~*", "PING", None), ("+ping", "PING", None),
    ("-@all", "AUTH x", None), ("-@all", "HELLO", None), ("-@all", "RESET", None), ("-@all", "QUIT", None),
    ("+select|1", "SELECT 1", None), ("+select|1", "SELECT 2", ("command", b"")), ("+get|A ~*", "GET a", None),
    ("+config|get", "CONFIG GET x", None), ("+config|get", "CONFIG SET x y", ("command", b"")),
    ("+@all", "PUBLISH c m", ("channel", b"c")), ("+@all &c*", "PUBLISH cc m", None),
    ("+@all &c*", "SUBSCRIBE ca b", ("channel", b"b")), ("+@all &c*", "PSUBSCRIBE c*", None),
    ("+@all &c*", "PSUBSCRIBE ca*", ("channel", b"ca*")), ("+@all &*", "PSUBSCRIBE ca*", None),
    ("+@all", "UNSUBSCRIBE c", None), ("+@all", "SSUBSCRIBE c", ("channel", b"c")), ("+@all &c", "SPUBLISH c m", None),
    ("+@all ~x", "SSUBSCRIBE c", ("channel", b"c")),  # a shard channel is no key
])  # fmt: skip
def test_decisions(rules, line, denied):
    assert grants(rules).check(request(line)) == (denied and Denied(*denied))


@pytest.mark.parametrize("selectors, line, denied", [
    (("+get ~a", "+set ~b"), "SET b 1", None),
    (("+get ~a", "+set ~b"), "SET a 1", ("key", b"a")),
    (("+get ~a", "+set ~b"), "GET b", ("key", b"b")),
    (("+mget ~a", "+mget ~b"), "MGET a b", ("key", b"b")),  # one selector has to allow all
    (("+mget ~b", "+mget ~a"), "MGET a b", ("key", b"b")),  # of the same kind, the last argument
    (("+@all ~x", "-@all &c"), "GET a", ("key", b"a")),
    (("+publish &d", "-@all"), "PUBLISH c m", ("channel", b"c")),
    (("db=0 -@all", "+@all db=1 ~*"), "GET a", ("command", b"")),  # a command comes closer than a database
])  # fmt: skip
def test_several_selectors(selectors, line, denied):
    assert grants(*selectors).check(request(line)) == (denied and Denied(*denied))


@pytest.mark.parametrize("rules, line, current, denied", [
    ("db=1", "GET a", 1, None), ("db=1", "GET a", 0, b"GET"), ("db=1", "KEYS *", 0, b"KEYS"), ("db=1", "PING", 0, None),
    ("db=1", "CONFIG GET x", 0, None), ("db=1", "SELECT 1", 0, None), ("db=1", "SELECT 0", 1, b"0"),
    ("db=1", "SELECT x", 1, None), ("db=1", "WATCH a", 0, b"WATCH"), ("db=1", "AUTH x", 0, None),
    ("db=1", "MOVE a 0", 1, b"0"), ("db=1", "MOVE a 1", 0, b"MOVE"), ("db=0,1", "MOVE a 1", 0, None),
    ("db=1", "COPY a b DB 0", 1, b"0"), ("db=1", "COPY a b DB 1", 0, b"COPY"), ("db=1", "COPY a b", 1, None),
    ("db=0,1", "COPY a b db 0 DB 2", 1, b"2"), ("db=0,1", "SWAPDB 0 1", 5, None), ("db=0,1", "SWAPDB 0 2", 0, b"2"),
    ("db=0,1", "FLUSHALL", 0, b"FLUSHALL"), ("alldbs", "FLUSHALL", 0, None), ("db=1", "FLUSHDB", 1, None),
    ("db=1", "FLUSHDB", 0, b"FLUSHDB"), ("resetdbs", "get a", 0, b"get"), ("db=1", "DBSIZE", 0, b"DBSIZE"),
])  # fmt: skip
def test_databases(rules, line, current, denied):
    found = grants("+@all ~* " + rules).check(request(line, current))
    assert found == (None if denied is None else Denied("database", denied))


def test_the_quick_answer_is_never_wider_than_the_slow_one():
    """`free` may be used without taking the request apart: what is in it is allowed with any keys, anywhere."""
    cases = ("+@all ~* &*", "+@all %RW~* &*", "+get ~* &*", "+get ~*", "+@all &*", "+@all ~* &* db=0", "+select|0 ~* &*")
    freed = {}
    for rules in cases:
        one = grants(rules)
        freed[rules] = [spec.name for spec in CATALOG.all() if CATALOG.command(spec.name).bit & one.free]
        for line in ("GET any", "SET any 1", "PUBLISH any x", "SELECT 9", "FLUSHALL"):
            if request(line, 7).bit & one.free:
                assert one.check(request(line, 7)) is None, (rules, line)
    assert freed["+get ~* &*"] == ["get"]
    assert len(freed["+@all ~* &*"]) == len(list(CATALOG.all()))
    assert not any(freed[rules] for rules in cases if rules not in ("+@all ~* &*", "+get ~* &*"))
    assert grants("+get ~* &*", "+set ~* &*").free == request("GET a").bit | request("SET a b").bit


@pytest.mark.parametrize("rules, may", [
    (("+sort ~*",), True), (("+sort %R~*",), True), (("+sort ~s",), False), (("+sort %W~* %R~s",), False),
    (("+sort ~s", "+get ~*"), False), (("+sort ~s", "+sort ~* &*"), True),
])  # fmt: skip
def test_sorting_by_names_that_are_made_up_takes_every_key(rules, may):
    assert grants(*rules).roams(request("SORT s BY w*")) is may


@pytest.mark.parametrize("rules, channels, patterns, kept", [
    (("",), [], [], True), (("",), [b"a"], [], False), (("&a",), [b"a"], [], True), (("&a*",), [b"ab"], [b"a*"], True),
    (("&a*",), [], [b"ab*"], False), (("&a", "&b"), [b"a", b"b"], [], True), (("", "&*"), [b"x"], [b"y*"], True),
])  # fmt: skip
def test_which_subscriptions_may_go_on(rules, channels, patterns, kept):
    assert grants(*rules).keeps(channels, patterns) is kept


@pytest.mark.parametrize("denied, named, text", [
    (Denied("command"), False, "User u has no permissions to run the 'config|get' command"),
    (Denied("command"), True, "User u has no permissions to run the 'config|get' command"),
    (Denied("key", b"k"), False, "No permissions to access a key"),
    (Denied("key", b"k"), True, "User u has no permissions to access the 'k' key"),
    (Denied("channel", b"c"), False, "No permissions to access a channel"),
    (Denied("channel", b"c"), True, "User u has no permissions to access the 'c' channel"),
    (Denied("database", b"3"), False, "No permissions to access database"),
    (Denied("database", b"3"), True, "User u has no permissions to access database 3"),
])  # fmt: skip
def test_texts(denied, named, text):
    assert refusal_text("u", "config|get", denied, named=named) == text
