"""KEYS and SCAN: what is returned, and what a cursor may look like."""

import pytest

from vaylix_resp.errors import NOT_AN_INTEGER, SYNTAX

BAD_CURSOR = "ERR invalid cursor"


def fill(box, count):
    for n in range(count):
        box("SET", b"key:%d" % n, "v")


def scan_all(box, *options):
    cursor, found = b"0", []
    while True:
        cursor, some = box("SCAN", cursor, *options)
        found += some
        if cursor == b"0":
            return found


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 1000])
@pytest.mark.parametrize("options", [(), ("COUNT", "1"), ("COUNT", "1000000"), ("count", "7", "MATCH", "*")])
def test_a_scan_returns_every_key_once(box, count, options):
    fill(box, count)
    assert sorted(scan_all(box, *options)) == sorted(b"key:%d" % n for n in range(count))


@pytest.mark.parametrize(
    "options, expected",
    [
        (("MATCH", "key:?"), 10),
        (("MATCH", "key:1*"), 11),
        (("MATCH", "key:?", "MATCH", "key:1*"), 11),
        (("MATCH", "none"), 0),
        (("TYPE", "string"), 100),
        (("type", "STRING"), 100),
        (("TYPE", "list"), 0),
        (("TYPE", "none"), 0),
        (("TYPE", "anything"), 0),
        (("TYPE", "string", "MATCH", "key:5*", "COUNT", "3"), 11),
    ],
)
def test_options(box, options, expected):
    fill(box, 100)
    assert len(scan_all(box, *options)) == expected


@pytest.mark.parametrize(
    "words, error",
    [
        (("0", "COUNT", "0"), SYNTAX),
        (("0", "COUNT", "-1", "NONSENSE", "x"), SYNTAX),
        (("0", "COUNT", "x"), NOT_AN_INTEGER),
        (("0", "COUNT"), SYNTAX),
        (("0", "MATCH"), SYNTAX),
        (("0", "TYPE"), SYNTAX),
        (("0", "NONSENSE", "1"), SYNTAX),
        (("x", "NONSENSE"), BAD_CURSOR),
    ],
)
def test_errors(box, words, error):
    assert box("SCAN", *words) == error


@pytest.mark.parametrize(
    "cursor", [b"", b"+0", b"-0", b"00", b"\0", b"0\0abc", b"-1", b"18446744073709551615", b"0" * 100_000]
)
def test_cursors_that_strtoul_takes(box, cursor):
    fill(box, 3)
    reply = box("SCAN", cursor)
    assert reply[0] == b"0"
    assert len(reply[1]) == (0 if cursor in (b"-1", b"18446744073709551615") else 3)


@pytest.mark.parametrize(
    "cursor",
    [b"abc", b"+", b" 1", b"1 ", b"0x10", b"1.5", b"18446744073709551616", b"-18446744073709551616", b"9" * 100_000],
)
def test_cursors_that_it_does_not_take(box, cursor):
    assert box("SCAN", cursor) == BAD_CURSOR


def test_keys(box):
    fill(box, 20)
    assert len(box("KEYS", "*")) == 20
    assert sorted(box("KEYS", "key:1?")) == [b"key:%d" % n for n in range(10, 20)]
    assert box("KEYS", "none*") == []
    assert box("KEYS", "*", db=1) == []


def test_the_empty_key_is_found_by_a_lone_star_only(box):
    box("SET", "", "v")
    assert box("KEYS", "*") == [b""]
    assert box("KEYS", "**") == []
    assert box("SCAN", "0", "MATCH", "*")[1] == [b""]
    assert box("SCAN", "0", "MATCH", "**")[1] == []


def test_expired_keys_are_not_shown(box):
    fill(box, 3)
    box("SET", "gone", "v", "PX", "10")
    box.now += 10
    assert len(box("KEYS", "*")) == len(scan_all(box)) == 3


def test_what_stays_is_returned_although_the_keyspace_changes(box):
    fill(box, 300)
    cursor, seen, turn = b"0", set(), 0
    while True:
        cursor, found = box("SCAN", cursor, "COUNT", "5")
        seen.update(found)
        box("DEL", b"key:%d" % (2 * turn))
        box("SET", b"new:%d" % turn, "v")
        box("SET", b"key:%d" % (2 * turn % 300 + 1), "changed", "EX", "100")
        turn += 1
        if cursor == b"0":
            break
    assert {b"key:%d" % n for n in range(1, 300, 2)} <= seen


def test_a_pattern_that_is_too_long_is_refused(box):
    assert box("KEYS", "?" * 5000) == "ERR the pattern is longer than 4096 bytes"
    assert box("SCAN", "0", "MATCH", "?" * 5000) == "ERR the pattern is longer than 4096 bytes"
