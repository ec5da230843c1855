"""Conditional writes: the grammar, what each condition says of each state, and the commands around it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from vaylix_resp.commands.conditional import BAD_CONDITION, BAD_DIGEST, SET_WORDS, Options, parse_options
from vaylix_resp.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from vaylix_resp.resp.reply import OK

# Digests that Redis's own tests name: XXH3-64, leading zeros kept.
ZEROS_IN_FRONT = (
    "v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd"
)
DIGEST_OF_A = "e6c632b61e964e1f"
DIGEST_OF_B = "4b6f4e8f1d5f6b0a"  # of nothing in these tests

# The condition, and whether it holds when the key is missing, is "a", is "b".
CONDITIONS = [
    ("", True, True, True),
    ("NX", True, False, False),
    ("XX", False, True, True),
    ("IFEQ a", False, True, False),
    ("IFNE a", True, False, True),
    (f"IFDEQ {DIGEST_OF_A}", False, True, False),
    (f"IFDEQ {DIGEST_OF_A.upper()}", False, True, False),
    (f"IFDNE {DIGEST_OF_A}", True, False, True),
    (f"IFDNE {DIGEST_OF_B}", True, True, True),
    ("ifeq a", False, True, False),
    ("IF VERSION 0", True, False, False),
    ("if version 9999", False, False, False),
]


@pytest.mark.parametrize("condition, verdicts", [(row[0], row[1:]) for row in CONDITIONS])
@pytest.mark.parametrize("with_get", [False, True])
def test_set_on_a_condition(box: Any, condition: str, verdicts: tuple[bool, ...], with_get: bool) -> None:
    for before, holds in zip((None, b"a", b"b"), verdicts, strict=True):
        box("DEL", "k")
        if before is not None:
            box("SET", "k", before, "EX", "10")
        reply = box("SET", "k", "new", *condition.split(), *(["GET"] if with_get else []))
        assert reply == (before if with_get else OK if holds else None)
        assert box("GET", "k") == (b"new" if holds else before)
        assert box.db().expiry(b"k") == (box.now + 10_000 if before is not None and not holds else None)


def test_set_if_version(box: Any) -> None:
    box("SET", "k", "a")
    seen = box.db().version(b"k")
    assert box("SET", "k", "b", "IF", "VERSION", str(seen), "EX", "5") == OK
    assert box("SET", "k", "c", "IF", "VERSION", str(seen)) is None
    assert box.db().version(b"k") > seen
    assert box("GET", "k") == b"b"


def test_a_version_never_passes_again_after_deletion(box: Any) -> None:
    box("SET", "k", "a")
    seen = box.db().version(b"k")
    box("DEL", "k")
    box("SET", "k", "a")
    assert box("SET", "k", "b", "IF", "VERSION", str(seen)) is None


def test_version_0_means_missing_also_when_it_has_expired(box: Any) -> None:
    box("SET", "k", "a", "PX", "5")
    box.now += 5
    assert box("SET", "k", "b", "IF", "VERSION", "0") == OK


WORDS = {
    "NX": "condition", "XX": "condition", "IFEQ a": "condition", "IFNE a": "condition",
    "IFDEQ a": "condition", "IFDNE a": "condition", "IF VERSION 1": "condition", "EX 1": "expiry",
    "PX 1": "expiry", "EXAT 1": "expiry", "PXAT 1": "expiry", "KEEPTTL": "expiry", "GET": "get",
}  # fmt: skip


def read(line: str) -> Options:
    return parse_options([b"SET", b"k", b"v", *line.encode().split()], 3, SET_WORDS)


def test_of_one_group_a_request_may_name_one_word() -> None:
    for (first, group), (second, other) in permutations(WORDS.items(), 2):
        if group == other:
            with pytest.raises(CommandError, match="syntax error"):
                read(f"{first} {second}")
        else:
            both, one, two = read(f"{first} {second}"), read(first), read(second)
            assert both.condition == one.condition + two.condition
            assert both.expiry == one.expiry + two.expiry
            assert both.get == (one.get or two.get)


def test_a_word_may_be_repeated() -> None:
    for word in WORDS:
        once, twice = read(word), read(f"{word.lower()} {word}")
        assert all(getattr(once, name) == getattr(twice, name) for name in Options.__slots__), word


@pytest.mark.parametrize(
    "line, text",
    [
        ("SET k v IFEQ", SYNTAX),
        ("SET k v IF", SYNTAX),
        ("SET k v IF VERSION", SYNTAX),
        ("SET k v IF VER 1", SYNTAX),
        ("SET k v IF VERSION x", NOT_AN_INTEGER),
        ("SET k v IF VERSION -1", NOT_AN_INTEGER),
        ("SET k v IFDEQ 123", BAD_DIGEST),
        ("SET k v IFDNE 0e6c632b61e964e1f", BAD_DIGEST),
        ("SET k v IFDEQ e6c632b61e964e1g", BAD_DIGEST),
        ("DELEX k IFDNE 123", BAD_DIGEST),
        ("DELEX k IFEQ", "ERR wrong number of arguments for 'delex' command"),
        ("DELEX k IFEQ a b", "ERR wrong number of arguments for 'delex' command"),
        ("DELEX k NX 1", BAD_CONDITION),
        ("MSETEX x k v", "ERR invalid numkeys value"),
        ("MSETEX 0 k v", "ERR invalid numkeys value"),
        ("MSETEX 2147483648 k v", "ERR invalid numkeys value"),
        ("MSETEX 2147483647 k v", "ERR wrong number of key-value pairs"),
        ("MSETEX 2 k v j", "ERR wrong number of key-value pairs"),
        ("MSETEX 1 k v FOO", SYNTAX),
        ("MSETEX 1 k v NX XX", SYNTAX),
        ("MSETEX 1 k v EX 1 KEEPTTL", SYNTAX),
        ("MSETEX 1 k v IFEQ a", SYNTAX),
        ("MSETEX 1 k v EX 0", "ERR invalid expire time in 'msetex' command"),
    ],
)
def test_refusals(box: Any, line: str, text: str) -> None:
    box("SET", "k", "a")
    assert box(*line.split()) == text
    assert box.refused is (text != BAD_DIGEST)


def test_a_digest_is_looked_at_only_when_it_is_compared(box: Any) -> None:
    assert box("SET", "k", "v", "IFDEQ", "123") is None
    assert box("SET", "k", "v", "IFDNE", "123") == OK
    assert box("DELEX", "missing", "IFDEQ", "123") == 0


def test_digest(box: Any) -> None:
    box("MSET", "a", "a", "z", ZEROS_IN_FRONT, "empty", "")
    assert box("DIGEST", "a") == DIGEST_OF_A.encode()
    assert box("DIGEST", "z") == b"00006c38adf31777"
    assert box("DIGEST", "empty") == b"2d06800538d394c2"
    assert box("DIGEST", "missing") is None


@pytest.mark.parametrize("condition, missing, equal, other", CONDITIONS[3:9])
def test_delex(box: Any, condition: str, missing: bool, equal: bool, other: bool) -> None:
    box.listen()
    assert box("DELEX", "k", *condition.split()) == 0
    for value, holds in ((b"a", equal), (b"b", other)):
        box("SET", "k", value)
        box.listen()
        assert box("DELEX", "k", *condition.split()) == int(holds)
        assert box("GET", "k") == (None if holds else value)
        assert ("g del k" in box.events) is holds


def test_delex_without_a_condition_and_delifeq(box: Any) -> None:
    box("MSET", "a", "1", "b", "2")
    assert [box("DELEX", "a"), box("DELEX", "a")] == [1, 0]
    assert [box("DELIFEQ", "b", "1"), box("DELIFEQ", "b", "2"), box("DELIFEQ", "b", "2")] == [0, 1, 0]


def test_msetex_is_all_or_nothing(box: Any) -> None:
    box.listen()
    assert box("MSETEX", "2", "a", "1", "b", "2", "NX", "EX", "10") == 1
    assert box.events == [
        "n new a", "$ set a", "g expire a", "n new b", "$ set b", "g expire b",
    ]  # fmt: skip
    before = box.contents()
    assert box("MSETEX", "2", "b", "9", "c", "9", "NX") == 0
    assert box("MSETEX", "2", "b", "9", "c", "9", "XX") == 0
    assert box.contents() == before
    assert box("MSETEX", "2", "a", "3", "b", "4", "xx", "KEEPTTL") == 1
    assert (box("MGET", "a", "b"), box.db().expiry(b"b")) == ([b"3", b"4"], box.now + 10_000)
    assert box("MSETEX", "1", "a", "5") == 1
    assert box.db().expiry(b"a") is None


def test_msetex_keepttl_does_not_keep_what_has_expired(box: Any) -> None:
    box("SET", "k", "a", "PX", "5")
    box.now += 5
    assert box("MSETEX", "1", "k", "v", "KEEPTTL") == 1
    assert box.db().expiry(b"k") is None
