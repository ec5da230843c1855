"""Strings: what each command answers, leaves behind and tells listeners; times and sizes at their edges."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.commands import strings
from vaylix_resp.commands.arguments import INT64_MAX
from vaylix_resp.commands.operations import transaction
from vaylix_resp.commands.spec import DECLARED
from vaylix_resp.errors import NOT_AN_INTEGER, SYNTAX
from vaylix_resp.limits import VALUE_BYTES_MAX
from vaylix_resp.resp.reply import OK

NOW = 1_700_000_000_000  # what a new box starts at

TOO_LARGE = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
BAD_SET_TIME = "ERR invalid expire time in 'set' command"


def words(line: str) -> list[str]:
    return ["" if word == '""' else word for word in line.split()]


# Each row: what is there before, the request, its reply, the value of k afterwards, the events.
ANSWERS: list[tuple[str, str, Any, bytes | None, str]] = [
    ("", "GET k", None, None, "m keymiss k"),
    ("SET k v", "GET k", b"v", b"v", ""),
    ("", "SET k v", OK, b"v", "n new k, $ set k"),
    ("SET k old", "SET k v", OK, b"v", "$ set k"),
    ("", "SET k v NX", OK, b"v", "n new k, $ set k"),
    ("SET k old", "SET k v NX", None, b"old", ""),
    ("", "SET k v XX", None, None, ""),
    ("SET k old", "SET k v xx", OK, b"v", "$ set k"),
    ("SET k old", "SET k v GET", b"old", b"v", "$ set k"),
    ("", "SET k v GET", None, b"v", "m keymiss k, n new k, $ set k"),
    ("SET k old", "SET k v NX GET", b"old", b"old", ""),
    ("", "SET k v XX GET", None, None, "m keymiss k"),
    ("", "SET k v EX 10", OK, b"v", "n new k, $ set k, g expire k"),
    ("", "SET k v EXAT 1", OK, None, "n new k, $ set k, g expire k"),
    ("", "SETNX k v", 1, b"v", "n new k, $ set k"),
    ("SET k old", "SETNX k v", 0, b"old", ""),
    ("", "SETEX k 10 v", OK, b"v", "n new k, $ set k, g expire k"),
    ("", "PSETEX k 10 v", OK, b"v", "n new k, $ set k, g expire k"),
    ("", "GETSET k v", None, b"v", "m keymiss k, n new k, $ set k"),
    ("SET k old", "GETSET k v", b"old", b"v", "$ set k"),
    ("", "GETDEL k", None, None, "m keymiss k"),
    ("SET k old", "GETDEL k", b"old", None, "g del k"),
    ("", "GETEX k EX 10", None, None, "m keymiss k"),
    ("SET k old", "GETEX k", b"old", b"old", ""),
    ("SET k old", "GETEX k PX 10", b"old", b"old", "g expire k"),
    ("SET k old", "GETEX k PXAT 1", b"old", None, "g del k"),
    ("SET k old", f"GETEX k PXAT {NOW}", b"old", None, "g del k"),
    ("SET k old", f"GETEX k PXAT {NOW + 1}", b"old", b"old", "g expire k"),
    ("SET k old", "GETEX k PERSIST", b"old", b"old", ""),
    ("SET k old EX 10", "GETEX k PERSIST", b"old", b"old", "g persist k"),
    ("SET k 1", "MGET k x k", [b"1", None, b"1"], b"1", "m keymiss x"),
    ("", "MSET k 1 k 2 x 3", OK, b"2", "n new k, $ set k, $ set k, n new x, $ set x"),
    ("", "MSETNX k 1 k 2", 1, b"2", "n new k, $ set k, $ set k"),
    ("SET x 1", "MSETNX k 1 x 2", 0, None, ""),
    ("", "APPEND k ab", 2, b"ab", "n new k, $ append k"),
    ("SET k ab", "APPEND k cd", 4, b"abcd", "$ append k"),
    ("", 'APPEND k ""', 0, b"", "n new k, $ append k"),
    ("", "STRLEN k", 0, None, "m keymiss k"),
    ("SET k abc", "STRLEN k", 3, b"abc", ""),
    ("SET k abc", "SETRANGE k 1 X", 3, b"aXc", "$ setrange k"),
    ("SET k abc", "SETRANGE k 2 XYZ", 5, b"abXYZ", "$ setrange k"),
    ("SET k abc", "SETRANGE k 5 X", 6, b"abc\0\0X", "$ setrange k"),
    ("", "SETRANGE k 2 X", 3, b"\0\0X", "n new k, $ setrange k"),
    ("", 'SETRANGE k 2 ""', 0, None, ""),
    ("SET k abc", 'SETRANGE k 9 ""', 3, b"abc", ""),
]


@pytest.mark.parametrize("before, request_line, reply, after, events", ANSWERS)
def test_answer_and_what_is_left(
    box: Any, before: str, request_line: str, reply: Any, after: bytes | None, events: str
) -> None:
    if before:
        box(*words(before))
    box.listen()
    assert box(*words(request_line)) == reply
    assert ", ".join(box.events) == events
    assert box("GET", "k") == after


REFUSED = [
    ("SET k v FOO", SYNTAX),
    ("SET k v NX XX", SYNTAX),
    ("SET k v EX", SYNTAX),
    ("SET k v EX 10 PX 10", SYNTAX),
    ("SET k v EX 10 KEEPTTL", SYNTAX),
    ("SET k v PERSIST", SYNTAX),
    ("SET k v EX ten", NOT_AN_INTEGER),
    ("SET k v EX 0", BAD_SET_TIME),
    ("SET k v PX -1", BAD_SET_TIME),
    (f"SET k v EX {INT64_MAX // 1000 + 1}", BAD_SET_TIME),
    (f"SET k v EX {INT64_MAX // 1000}", BAD_SET_TIME),  # fits, but not counted from now
    (f"SET k v PX {INT64_MAX}", BAD_SET_TIME),
    ("SETEX k 0 v", "ERR invalid expire time in 'setex' command"),
    ("SETEX k x v", NOT_AN_INTEGER),
    ("PSETEX k -5 v", "ERR invalid expire time in 'psetex' command"),
    ("GETEX old EX 0", "ERR invalid expire time in 'getex' command"),
    ("GETEX old KEEPTTL", SYNTAX),
    ("GETEX old EX 1 PERSIST", SYNTAX),
    ("GETEX missing FOO", SYNTAX),
    ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
    ("MSETNX a 1 b", "ERR wrong number of arguments for 'msetnx' command"),
    ("SETRANGE k -1 v", "ERR offset is out of range"),
    ("SETRANGE k x v", NOT_AN_INTEGER),
    ("GETRANGE k 0 x", NOT_AN_INTEGER),
    ("LCS k old LEN IDX", "ERR If you want both the length and indexes, please just use IDX."),
    ("LCS k old MINMATCHLEN", SYNTAX),
    ("LCS k old MINMATCHLEN x", NOT_AN_INTEGER),
]


@pytest.mark.parametrize("line, text", REFUSED)
def test_refusals_change_nothing(box: Any, line: str, text: str) -> None:
    box("SET", "old", "1")
    assert box(*words(line)) == text
    assert [key for _, key in box.contents()] == [b"old"]


@pytest.mark.parametrize("line", [line for line, _ in REFUSED if line.split()[0] not in ("LCS", "GETRANGE")])
def test_what_needs_no_state_is_refused_before_the_log(box: Any, line: str) -> None:
    box(*words(line))
    too_late = f"EX {INT64_MAX // 1000}" in line or f"PX {INT64_MAX}" in line  # only from now on
    assert box.refused is not (too_late or line == "GETEX old EX 0")


def test_a_time_is_not_read_for_a_key_that_is_not_there(box: Any) -> None:
    assert box("GETEX", "missing", "EX", "x") is None


def test_the_last_of_two_equal_words_counts(box: Any) -> None:
    box("SET", "k", "v", "PX", "5", "PX", "9")
    assert box.db().expiry(b"k") == NOW + 9


# What the request does to the expiry a key has had at NOW + 10 s; None: there is none afterwards.
@pytest.mark.parametrize(
    "line, expiry",
    [
        ("SET k v", None),
        ("SET k v KEEPTTL", NOW + 10_000),
        ("SET k v EX 3", NOW + 3_000),
        ("SET k v PX 3", NOW + 3),
        (f"SET k v EXAT {NOW // 1000 + 7}", NOW + 7_000),
        (f"SET k v PXAT {NOW + 7}", NOW + 7),
        (f"SET k v PXAT {INT64_MAX}", INT64_MAX),
        ("SETEX k 3 v", NOW + 3_000),
        ("PSETEX k 3 v", NOW + 3),
        ("GETSET k v", None),
        ("MSET k v", None),
        ("GETEX k", NOW + 10_000),
        ("GETEX k EX 3", NOW + 3_000),
        ("GETEX k PERSIST", None),
        ("APPEND k v", NOW + 10_000),
        ("SETRANGE k 0 v", NOW + 10_000),
        ("SETNX k v", NOW + 10_000),
    ],
)
def test_expiry(box: Any, line: str, expiry: int | None) -> None:
    box("SET", "k", "old", "EX", "10")
    box(*words(line))
    assert box.db().expiry(b"k") == expiry


@pytest.mark.parametrize(
    "line", ["SET k v KEEPTTL", "APPEND k v", "SETRANGE k 0 v", "SETNX k v", "MSETNX k v"]
)
def test_what_has_expired_is_gone_for_every_write(box: Any, line: str) -> None:
    box("SET", "k", "old", "PX", "5")
    box.now += 5
    box.listen()
    box(*words(line))
    assert box("GET", "k") == b"v"
    assert box.db().expiry(b"k") is None
    assert box.events[0] == "x expired k"


def test_expired_keys_are_hidden_and_counted_as_missing(box: Any) -> None:
    box("SET", "k", "old", "PX", "5")
    box.now += 4
    assert box("GET", "k") == b"old"
    box.now += 1
    for line, reply in (("GET k", None), ("STRLEN k", 0), ("GETRANGE k 0 -1", b""), ("MGET k", [None])):
        assert box(*words(line)) == reply
    assert (box.machine.world.hits, box.machine.world.misses) == (1, 4)


def test_flags_of_the_ex_family_leave_with_a_new_value_and_stay_with_a_changed_one(box: Any) -> None:
    for line, flags in (("APPEND k x", 7), ("SETRANGE k 0 x", 7), ("SET k x KEEPTTL", 0), ("SET k x", 0)):
        box("EXSET", "k", "v", "FLAGS", "7")
        box(*words(line))
        assert box.db().flags(b"k") == flags, line


def test_a_value_never_grows_beyond_the_bound(box: Any) -> None:
    assert box("SETRANGE", "k", str(VALUE_BYTES_MAX), "x") == TOO_LARGE
    assert box("SETRANGE", "k", str(INT64_MAX), "x") == TOO_LARGE
    assert box("SETRANGE", "k", str(VALUE_BYTES_MAX - 1), "x") == VALUE_BYTES_MAX
    assert box("APPEND", "k", "x") == TOO_LARGE
    assert box("APPEND", "k", "") == VALUE_BYTES_MAX


@pytest.mark.parametrize(
    "start, end, part",
    [
        (0, 3, b"This"), (-3, -1, b"ing"), (0, -1, b"This is a string"), (10, 100, b"string"),
        (5, 3, b""), (-5000, 10000, b"This is a string"), (0, -100, b"T"), (1, -100, b""), (-1, -100, b""),
        (-100, -99, b"T"), (-100, -100, b"T"), (-100, -101, b""), (16, 20, b""), (15, 15, b"g"),
        (-INT64_MAX, INT64_MAX, b"This is a string"),
    ],
)  # fmt: skip
def test_getrange_as_redis_counts(box: Any, start: int, end: int, part: bytes) -> None:
    box("SET", "k", "This is a string")
    assert box("GETRANGE", "k", str(start), str(end)) == part
    assert box("SUBSTR", "k", str(start), str(end)) == part
    assert box("GETRANGE", "missing", str(start), str(end)) == b""


@given(old=st.none() | st.binary(max_size=12), offset=st.integers(0, 16), patch=st.binary(max_size=8))
def test_setrange_equals_its_slow_twin(
    new_box: Any, old: bytes | None, offset: int, patch: bytes
) -> None:
    box = new_box(databases=1)
    if old is not None:
        box("SET", "k", old)
    expected = bytearray(old or b"")
    for at, byte in enumerate(patch, start=offset):
        expected += bytes(max(at + 1 - len(expected), 0))
        expected[at] = byte
    assert box("SETRANGE", "k", str(offset), patch) == len(expected)
    assert box("GET", "k") == (bytes(expected) if old is not None or patch else None)


def test_lcs_replies(box: Any) -> None:
    box("MSET", "a", "ohmytext", "b", "mynewtext")
    assert box("LCS", "a", "b") == b"mytext"
    assert box("LCS", "a", "b", "LEN") == 6
    text, my = [[4, 7], [5, 8]], [[2, 3], [0, 1]]
    assert box("LCS", "a", "b", "IDX") == {b"matches": [text, my], b"len": 6}
    assert box("LCS", "a", "b", "IDX", "MINMATCHLEN", "4") == {b"matches": [text], b"len": 6}
    assert box("LCS", "a", "b", "idx", "withmatchlen", "minmatchlen", "-1") == {
        b"matches": [[*text, 4], [*my, 2]],
        b"len": 6,
    }
    assert box("LCS", "a", "missing") == b""
    assert box("LCS", "a", "missing", "IDX") == {b"matches": [], b"len": 0}


def test_plain_set_needs_no_check_and_one_look_at_events(box: Any) -> None:
    assert DECLARED["set"].plain == 3
    assert strings.set_(box.machine.world.transactions[0], (b"SET", b"k", b"v")) is OK


def test_a_write_moves_the_version_once(box: Any) -> None:
    for line in ("SET k v EX 10", "SETEX k 10 v", "APPEND k v", "GETEX k EX 20", "GETSET k w"):
        box(*words(line))
        assert box.db().version(b"k") == box.machine.applied, line


@pytest.mark.parametrize("keys, answered", [(["k"] * 8, True), (["k", "gone", "k"] * 5, True), (["k"] * 11, False)])
def test_mget_answers_no_more_than_fits(box: Any, monkeypatch: pytest.MonkeyPatch, keys: list[str], answered: bool) -> None:
    """Each time a key is named its value is copied: a small request could ask for more than there is memory."""
    monkeypatch.setattr(strings, "REPLY_BYTES_MAX", 1000)
    value = b"x" * 100
    box("SET", "k", value)
    reply = box("MGET", *keys)
    if answered:
        assert reply == [value if key == "k" else None for key in keys]
    else:
        assert reply == strings.REPLY_TOO_LARGE


def test_mget_in_a_block_removes_what_has_expired_however_much_it_asks_for(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that knew no bound did, and the same log has to make the same state."""
    monkeypatch.setattr(strings, "REPLY_BYTES_MAX", 1000)
    box("SET", "k", b"x" * 1100)
    box("SET", "late", "1", "PX", "5")
    box.now += 10
    box.machine.begin_batch(box.now, 1)
    (refused,) = box.machine.apply(transaction([], [(0, (b"MGET", *[b"k"] * 20, b"late"))]))
    assert refused.text == strings.REPLY_TOO_LARGE
    assert b"late" not in box.machine.world.databases[0].items
