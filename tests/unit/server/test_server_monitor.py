"""MONITOR's lines: format, escapes, what is hidden, what is skipped."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fake_server import FakeServer
from vaylix_resp.commands.spec import DECLARED
from vaylix_resp.server.monitor import line, quoted, refused_while_monitoring

WHEN = 1339518083107412


@pytest.mark.parametrize("word, shown", [
    (b"keys", b'"keys"'),
    (b"", b'""'),
    (b"a b", b'"a b"'),
    (b'"\\', b'"\\"\\\\"'),
    (b"\n\r\t\a\b", b'"\\n\\r\\t\\a\\b"'),
    (b"\x00\x1f\x7f\x80\xff", b'"\\x00\\x1f\\x7f\\x80\\xff"'),
    ("é".encode(), b'"\\xc3\\xa9"'),
    (b"~!'", b'"~!\'"'),
])  # fmt: skip
def test_escapes(word, shown):
    assert quoted(word) == shown


NAMED = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t", b"\a": b"\\a", b"\b": b"\\b"}


def obvious(word):
    """Redis's `sdscatrepr`, byte by byte."""
    bytewise = [word[at : at + 1] for at in range(len(word))]
    shown = [NAMED.get(one, one if b" " <= one <= b"~" else b"\\x%02x" % ord(one)) for one in bytewise]
    return b'"' + b"".join(shown) + b'"'


@given(st.binary(max_size=40) | st.lists(st.sampled_from([b"\\", b"'", b'"', b"\a", b"\b", b"\0", b"x07", b"x"])).map(b"".join))
def test_escapes_are_redis_s(word):
    assert quoted(word) == obvious(word)


def test_no_byte_of_a_binary_value_costs_a_call():
    """A monitor of large binary values would hold everybody up."""
    calls = []
    sys.setprofile(lambda frame, event, what: calls.append(event))
    try:
        quoted(bytes(range(256)) * 100)
    finally:
        sys.setprofile(None)
    assert len(calls) < 100


@pytest.mark.parametrize("db, addr, shown", [
    (0, "127.0.0.1:60866", b'1339518083.107412 [0 127.0.0.1:60866] "keys" "*"'),
    (9, "[::1]:6", b'1339518083.107412 [9 [::1]:6] "keys" "*"'),
    (0, "/run/redis.sock:0", b'1339518083.107412 [0 unix:/run/redis.sock] "keys" "*"'),
])  # fmt: skip
def test_lines(db, addr, shown):
    assert line((b"keys", b"*"), db, addr, WHEN) == shown


def test_microseconds_keep_their_zeros():
    assert line((b"x",), 0, "a", 5_000_042).startswith(b"5.000042 ")


def test_a_line_is_bounded():
    huge = line((b"SET", b"k", b"\x00" * 70_000_000), 0, "a", WHEN)
    assert len(huge) < 1_000_000
    assert huge.endswith(b'... (69868928 more bytes)"')
    many = line([b"\xff" * 100_000] * 50, 0, "a", WHEN)
    assert len(many) < 2_000_000
    assert b'more arguments)"' in many[-40:]


@pytest.mark.parametrize("name, request_line, seen", [
    ("ping", "PING", b'"PING"'),
    ("get", "gEt k", b'"gEt" "k"'),
    ("auth", "AUTH default pw", b'"AUTH" "(redacted)" "(redacted)"'),
    ("hello", "HELLO 3 AUTH default pw", b'"HELLO" "3" "AUTH" "(redacted)" "(redacted)"'),
    ("client|id", "CLIENT ID", b'"CLIENT" "ID"'),
    ("client|list", "CLIENT LIST", None),
    ("monitor", "MONITOR", None),
])  # fmt: skip
def test_what_is_shown(name, request_line, seen):
    server = FakeServer()
    one, two = server.connect(2), server.connect(3)
    for client in (one, two):
        client.run("MONITOR")
    argv = [word.encode() for word in request_line.split()]
    server.monitors.feed(DECLARED[name], argv, 0, "127.0.0.1:1", WHEN)
    expected = b"" if seen is None else b"+1339518083.107412 [0 127.0.0.1:1] " + seen + b"\r\n"
    assert one.take() == two.take() == expected


def test_a_monitor_that_vanishes():
    server = FakeServer()
    one, two = server.connect(), server.connect()
    for client in (one, two):
        client.run("MONITOR")
    one.vanish_after = 1
    for _ in range(2):
        server.monitors.feed(DECLARED["ping"], (b"PING",), 0, "a", WHEN)
    assert (one.take().count(b"PING"), two.take().count(b"PING")) == (1, 2)
    server.monitors.drop(two)
    server.monitors.drop(two)
    assert not server.monitors.active


@pytest.mark.parametrize("monitoring, name, refused", [
    (True, "get", True), (True, "set", True), (True, "ping", False), (True, "subscribe", False), (False, "get", False),
])  # fmt: skip
def test_a_monitor_keeps_off_the_keys(monitoring, name, refused):
    client = FakeServer().connect()
    if monitoring:
        client.run("MONITOR")
    error = refused_while_monitoring(client, DECLARED[name])
    assert (error.text if error else None) == ("ERR Replica can't interact with the keyspace" if refused else None)
