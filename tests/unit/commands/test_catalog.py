"""The table as access control sees it. Rights of keys for random requests: compat/test_acl.py."""

import pytest

from tests.unit.acl_server import CATALOG
from vaylix_resp.commands.catalog import made_up_keys
from vaylix_resp.commands.spec import CATEGORIES
from vaylix_resp.security.access import Channel, Grants, Key
from vaylix_resp.security.acl import BOTH, READ, WRITE, Selector


def names(mask):
    return {spec.name for spec in CATALOG.all() if CATALOG.command(spec.name).bit & mask}


def test_each_command_and_subcommand_has_a_bit_of_its_own():
    bits = [CATALOG.command(spec.name).bit for spec in CATALOG.all()]
    assert len(set(bits)) == len(bits) and all(bit.bit_count() == 1 for bit in bits)
    assert sum(bits) & ~CATALOG.everything == 0
    for spec in CATALOG.all():
        found = CATALOG.command(spec.name)
        assert names(found.mask) == {spec.name, *(sub.name for sub in spec.subcommands.values())}
        assert (found.container, found.sub) == (bool(spec.subcommands), "|" in spec.name)


def test_a_category_of_a_container_reaches_its_subcommands():
    for category in CATEGORIES:
        expected = set()
        for spec in CATALOG.all():
            if category in spec.categories:
                expected |= {spec.name, *(sub.name for sub in spec.subcommands.values())}
        assert names(CATALOG.category(category)) == expected
        assert set(CATALOG.names_in(category)) == {s.name for s in CATALOG.all() if category in s.categories}
    assert CATALOG.category("nosuch") is None and CATALOG.names_in("all") is None


@pytest.mark.parametrize("line, name", [
    ("get", "get"), ("GET a", "get"), ("CONFIG GET x", "config|get"), ("Config gEt", "config|get"), ("config", "config"),
    ("config nosuch", None), ("nosuch", None), ("get|x", None), ("config|get", None),
])  # fmt: skip
def test_find(line, name):
    found = CATALOG.find(line.encode().split())
    assert (found and found.name) == name


def request(line):
    argv = line.encode().split()
    return CATALOG.request(CATALOG.find(argv), argv, 0)


@pytest.mark.parametrize("line, keys", [
    ("GET a", [(b"a", READ, 1)]), ("SET a 1", [(b"a", WRITE, 1)]), ("SET a 1 GET", [(b"a", BOTH, 1)]),
    ("DEL a b", [(b"a", WRITE, 1), (b"b", WRITE, 2)]), ("EXISTS a", [(b"a", 0, 1)]), ("APPEND a x", [(b"a", WRITE, 1)]),
    ("MSET a 1 b 2", [(b"a", WRITE, 1), (b"b", WRITE, 3)]), ("RENAME a b", [(b"a", BOTH, 1), (b"b", WRITE, 2)]),
    ("COPY a b", [(b"a", READ, 1), (b"b", WRITE, 2)]), ("BITOP AND d a", [(b"d", WRITE, 2), (b"a", READ, 3)]),
    ("BITFIELD a GET u8 0", [(b"a", READ, 1)]), ("BITFIELD a SET u8 0 1", [(b"a", BOTH, 1)]),
    ("SORT a BY x* GET y* STORE d", [(b"a", READ, 1), (b"d", WRITE, 7)]), ("OBJECT ENCODING a", [(b"a", 0, 2)]),
    ("MSETEX 2 a 1 b 2", [(b"a", WRITE, 2), (b"b", WRITE, 4)]), ("MSETEX x a 1", []), ("PING", []), ("KEYS *", []),
    ("SSUBSCRIBE c", []), ("FLASHBACK GET a 5", [(b"a", READ, 2)]),
])  # fmt: skip
def test_keys_and_the_rights_they_need(line, keys):
    assert request(line).keys == [Key(*key) for key in keys]


@pytest.mark.parametrize("line, channels", [
    ("PUBLISH c m", [(b"c", False, 1)]), ("SPUBLISH c m", [(b"c", False, 1)]),
    ("SUBSCRIBE a b", [(b"a", False, 1), (b"b", False, 2)]), ("SSUBSCRIBE a", [(b"a", False, 1)]),
    ("PSUBSCRIBE a* b", [(b"a*", True, 1), (b"b", True, 2)]), ("UNSUBSCRIBE a", []), ("PUNSUBSCRIBE a", []),
    ("SUNSUBSCRIBE a", []), ("PUBSUB NUMSUB a", []),
])  # fmt: skip
def test_channels(line, channels):
    assert request(line).channels == [Channel(*channel) for channel in channels]


def test_every_command_of_pub_sub_that_names_channels_is_known():
    """Whoever adds one has to say what its channels are."""
    without = {"unsubscribe", "punsubscribe", "sunsubscribe", "pubsub"}
    for spec in CATALOG.all():
        if spec.group == "pubsub" and "|" not in spec.name and spec.name not in without:
            argv = [spec.name.encode(), *([b"c"] * (abs(spec.arity) - 1))]
            assert CATALOG.request(spec, argv, 0).channels, spec.name


@pytest.mark.parametrize("line, first", [("GET a", b"a"), ("PING", None), ("CONFIG GET x", b"GET")])
def test_the_first_word(line, first):
    assert request(line).first == first


@pytest.mark.parametrize("line, option", [
    ("SORT a", ""), ("SORT a BY nosort", ""), ("SORT a BY w*", "BY"), ("SORT a BY nosort GET #", "GET"),
    ("SORT a STORE BY", ""), ("SORT a LIMIT GET BY", ""), ("SORT_RO a GET x", "GET"), ("SORT a BY", ""),
    ("SORT a ALPHA by x*", "BY"), ("GET BY w*", ""),
])  # fmt: skip
def test_options_that_make_up_names_of_keys(line, option):
    argv = line.encode().split()
    assert made_up_keys(CATALOG.find(argv), argv) == option


def test_the_quick_way_for_one_key():
    found = {spec.name: CATALOG.one_key(spec) for spec in CATALOG.all()}
    assert (found["get"], found["set"], found["setex"], found["getdel"], found["type"]) == (READ, BOTH, WRITE, BOTH, 0)
    more = ("mget", "del", "copy", "move", "sort", "sort_ro", "ssubscribe", "spublish", "publish", "ping", "bitop")
    assert [found[name] for name in (*more, "object|encoding", "flashback|get", "msetex")] == [None] * (len(more) + 3)


def test_the_quick_way_is_never_wider_than_the_slow_one():
    """For every command with a quick way, and users that are short of one thing each."""
    users = ("+@all ~*", "+@all %R~*", "+@all %W~*", "+@all ~a", "+@all ~* db=3", "-@all ~*", "+@all ~* -@write")
    yes = 0
    for rules in users:
        selector = Selector()
        for rule in rules.split():
            selector.apply(rule.encode(), CATALOG)
        grants = Grants([selector])
        for spec in CATALOG.all():
            rights = CATALOG.one_key(spec)
            for key in (b"a", b"b") if rights is not None else ():
                argv = [*spec.name.encode().split(b"|"), key, *[b"GET"] * (abs(spec.arity) - 2)]
                if grants.allows_one_key(CATALOG.command(spec.name).bit, key, rights):
                    yes += 1
                    assert grants.check(CATALOG.request(spec, argv, 0)) is None, (rules, argv)
    assert yes > 100
