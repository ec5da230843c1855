"""Rules: what they change, how they are described, what is refused. redis-server is asked in compat/test_acl.py."""

import pytest

from tests.unit.acl_server import CATALOG
from vaylix_resp.security.acl import (
    CHANNELS_AFTER_ALL,
    DATABASE_RANGE,
    FIRST_ARG_OF_SUB,
    KEYS_AFTER_ALL,
    PATTERN_TOO_LONG,
    SYNTAX,
    UNKNOWN,
    RuleError,
    Selector,
    merge_words,
    parse_selector,
    selectors_text,
)


def made(*rules):
    selector = Selector()
    for rule in rules:
        selector.apply(rule if isinstance(rule, bytes) else rule.encode(), CATALOG)
    return selector


NOTHING = "resetchannels -@all"


@pytest.mark.parametrize("rules, described", [
    ("", NOTHING),
    ("~*", "~* " + NOTHING), ("AllKeys", "~* " + NOTHING), ("~* resetkeys", NOTHING),
    ("~a ~b ~a", "~a ~b " + NOTHING), ("%R~a %W~b", "%R~a %W~b " + NOTHING), ("%R~a %w~a", "~a " + NOTHING),
    ("%wr~a", "~a " + NOTHING), ("~", "~ " + NOTHING), ("%R~%R~x", "%R~%R~x " + NOTHING),
    ("%R~* %W~*", "%RW~* " + NOTHING), ("%R~* ~x", "%R~* ~x " + NOTHING),
    ("&*", "&* -@all"), ("&a &b &a", "resetchannels &a &b -@all"), ("&a allchannels", "&* -@all"),
    ("&* resetchannels &a", "resetchannels &a -@all"),
    ("+@all", "resetchannels +@all"), ("ALLCOMMANDS", "resetchannels +@all"),
    ("+get +@all", "resetchannels +@all"), ("+@all nocommands", NOTHING), ("+@all -@ALL", NOTHING),
    ("+GET", NOTHING + " +get"), ("+get -get", NOTHING + " -get"), ("+get +get", NOTHING + " +get"),
    ("+@read -get +@READ", NOTHING + " -get +@read"),
    ("+config|get -config", NOTHING + " -config"), ("-config +config|get", NOTHING + " -config +config|get"),
    ("+client -client|kill +client|kill", NOTHING + " +client +client|kill"),
    ("+select|0 +select|1", NOTHING + " +select|0 +select|1"), ("+select|0 +select", NOTHING + " +select"),
    ("+Get|AbC", NOTHING + " +get|abc"), ("+get|x +get|X", NOTHING + " +get|x"),
    ("+getex +get|a +get", NOTHING + " +getex +get"),  # a longer name is another command
    ("db=1", "resetchannels db=1 -@all"), ("DB=3,1,1", "resetchannels db=1,3 -@all"),
    ("db=1 db=2", "resetchannels db=2 -@all"), ("db=1 alldbs", NOTHING), ("resetdbs", "resetchannels resetdbs -@all"),
])  # fmt: skip
def test_a_description_makes_the_same_selector_again(rules, described):
    selector = made(*rules.split())
    assert selector.describe() == described
    again = made(*described.split())
    assert again.describe() == described
    assert (again.commands, again.first_args, again.keys, again.channels, again.databases) == (
        selector.commands, selector.first_args, selector.keys, selector.channels, selector.databases
    )  # fmt: skip


@pytest.mark.parametrize("before, rule, fault", [
    ("", "", SYNTAX), ("", "nonsense", SYNTAX), ("", "on", SYNTAX), ("", "get", SYNTAX), ("", "@all", SYNTAX),
    ("~*", "~a", KEYS_AFTER_ALL), ("~*", "%X~a", KEYS_AFTER_ALL), ("&*", "&a", CHANNELS_AFTER_ALL),
    ("", "%~a", SYNTAX), ("", "%X~a", SYNTAX), ("", "%RR~a", SYNTAX), ("", "%R", SYNTAX), ("", "%", SYNTAX),
    ("", b"~a b", SYNTAX), ("", b"~a\0", SYNTAX), ("", b"&a\n", SYNTAX), ("", b"+get|a b", SYNTAX),
    ("", b"~" + b"a" * 4097, PATTERN_TOO_LONG), ("", b"&" + b"a" * 4097, PATTERN_TOO_LONG),
    ("", "+", UNKNOWN), ("", "-", UNKNOWN), ("", "+@", UNKNOWN), ("", "+@nosuch", UNKNOWN), ("", "+nosuch", UNKNOWN),
    ("", "+config|nosuch", UNKNOWN), ("", "+nosuch|get", UNKNOWN), ("", "-get|x", UNKNOWN),
    ("", "-config|nosuch", UNKNOWN), ("", "+select|0|1", UNKNOWN), ("", "+get|", SYNTAX), ("", "+config|", SYNTAX),
    ("", "+config|get|x", FIRST_ARG_OF_SUB), ("", b"+\xff", UNKNOWN), ("", b"+get\xff", UNKNOWN),
    ("", "db=", SYNTAX), ("", "db=a", SYNTAX), ("", "db=-1", SYNTAX), ("", "db=1,,2", SYNTAX),
    ("", "db=2147483648", DATABASE_RANGE), ("", "db=" + "9" * 30, DATABASE_RANGE), ("", "database", SYNTAX),
])  # fmt: skip
def test_what_is_refused_changes_nothing(before, rule, fault):
    selector = made(*before.split())
    described = selector.describe()
    with pytest.raises(RuleError) as refused:
        selector.apply(rule if isinstance(rule, bytes) else rule.encode(), CATALOG)
    assert str(refused.value) == fault
    assert selector.describe() == described


def test_a_copy_is_on_its_own():
    one = made("~a", "&c", "+get|x", "+set")
    described = one.describe()
    for rule in (b"~b", b"&d", b"+get|y", b"+@all", b"db=1"):
        one.copy().apply(rule, CATALOG)
    two = one.copy()
    two.apply(b"~b", CATALOG)
    two.apply(b"&d", CATALOG)
    two.apply(b"+get|y", CATALOG)
    assert one.describe() == described
    assert one.first_args == {CATALOG.command("get").bit: {b"x": None}}


def test_what_comes_later_belongs_to_those_who_began_with_everything():
    """Bits are of a process; the words are what stays, and a later version has more commands."""
    assert made("+@all", "-@all").commands == 0
    assert made("+@all").commands == CATALOG.everything
    assert made("+@all", "-get").describe().endswith("+@all -get")
    assert made("-@all", *(f"+@{name}" for name in ("read", "write"))).describe().endswith("-@all +@read +@write")


@pytest.mark.parametrize("words, merged", [
    ("on ~a", "on|~a"), ("(~a +get)", "(~a +get)"), ("on (~a +get ) off", "on|(~a +get )|off"),
    ("(~a) (~b", None), ("(", None), ("( )", "( )"), ("()", "()"), ("~a) +get", "~a)|+get"), ("(a (b c) d", "(a (b c)|d"),
    ("on expireat 99 off", "on|expireat 99|off"), ("EXPIREAT 99", "EXPIREAT 99"), ("expireat", "expireat"),
    ("expireat expireat 9", "expireat expireat|9"), ("(~a expireat 9) on", "(~a expireat 9)|on"),
    ("expireat 1 expireat 2", "expireat 1|expireat 2"), ("expireat=9 on", "expireat=9|on"),
])  # fmt: skip
def test_words_that_belong_together_are_one_rule(words, merged):
    if merged is None:
        with pytest.raises(RuleError, match=r"^Unmatched parenthesis in acl selector starting at '\("):
            merge_words(words.encode().split())
    else:
        assert b"|".join(merge_words(words.encode().split())).decode() == merged


def test_a_selector_in_parentheses_begins_with_nothing():
    assert parse_selector(b"( ~a\t+get )", CATALOG).describe() == "~a resetchannels -@all +get"
    assert parse_selector(b"()", CATALOG).describe() == NOTHING
    with pytest.raises(RuleError, match=SYNTAX):
        parse_selector(b"(on)", CATALOG)
    with pytest.raises(RuleError, match=SYNTAX):
        parse_selector(b"((~a))", CATALOG)
    assert selectors_text([made("~a"), made("&b")]) == f"~a {NOTHING} (resetchannels &b -@all)"
