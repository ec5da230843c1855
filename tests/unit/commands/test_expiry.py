"""Expiry: the exact moment, the four conditions, and the ends of 64 bits."""

import itertools

import pytest

START_MS = 1_700_000_000_000
BAD_TIME = "ERR invalid expire time in '{}' command"
NOT_INT = "ERR value is not an integer or out of range"
NX = "ERR NX and XX, GT or LT options at the same time are not compatible"
GTLT = "ERR GT and LT options at the same time are not compatible"
MAX = 9223372036854775807


@pytest.fixture
def one(box):
    box("SET", "k", "v")
    return box


@pytest.mark.parametrize(
    "request_, at_ms",
    [
        (("EXPIRE", "k", "10"), START_MS + 10_000),
        (("PEXPIRE", "k", "10"), START_MS + 10),
        (("EXPIREAT", "k", "1700000010"), START_MS + 10_000),
        (("PEXPIREAT", "k", "1700000000010"), START_MS + 10),
        (("PEXPIREAT", "k", "1700000000001"), START_MS + 1),
        (("PEXPIRE", "k", str(MAX - START_MS)), MAX),
        (("EXPIREAT", "k", "9223372036854775"), 9223372036854775000),
    ],
)
def test_an_expiry_is_kept_in_milliseconds(one, request_, at_ms):
    assert one(*request_) == 1
    assert one("PEXPIRETIME", "k") == at_ms


@pytest.mark.parametrize(
    "request_",
    [
        ("EXPIRE", "k", "0"),
        ("EXPIRE", "k", "-1"),
        ("PEXPIRE", "k", "-9223372036854775808"),
        ("EXPIREAT", "k", "1700000000"),
        ("EXPIREAT", "k", "0"),
        ("PEXPIREAT", "k", "1700000000000"),
        ("PEXPIREAT", "k", "-5"),
        ("EXPIRE", "k", "-9223372036854775"),
    ],
)
def test_an_end_that_has_come_removes_the_key(one, request_):
    one.listen()
    assert one(*request_) == 1
    assert one.events == ["g del k"]
    assert one("EXISTS", "k") == 0


@pytest.mark.parametrize(
    "request_, error",
    [
        (("EXPIRE", "k", "9223372036854776"), BAD_TIME.format("expire")),
        (("EXPIRE", "k", "-9223372036854776"), BAD_TIME.format("expire")),
        (("EXPIRE", "k", str(MAX)), BAD_TIME.format("expire")),
        (("EXPIRE", "none", str(MAX)), BAD_TIME.format("expire")),
        (("EXPIRE", "k", "9223372036854775"), BAD_TIME.format("expire")),
        (("PEXPIRE", "k", str(MAX)), BAD_TIME.format("pexpire")),
        (("PEXPIRE", "k", str(MAX - START_MS + 1)), BAD_TIME.format("pexpire")),
        (("EXPIREAT", "k", "9223372036854776"), BAD_TIME.format("expireat")),
        (("pexpireat", "k", str(MAX + 1)), NOT_INT),
        (("EXPIRE", "k", "abc"), NOT_INT),
        (("EXPIRE", "k", "1.5"), NOT_INT),
        (("EXPIRE", "k", " 1"), NOT_INT),
        (("EXPIRE", "k", ""), NOT_INT),
        (("EXPIRE", "k", "10", "FOO"), "ERR Unsupported option FOO"),
        (("EXPIRE", "k", "abc", "foo", "NX", "XX"), "ERR Unsupported option foo"),
        (("EXPIRE", "k", "10", "NX", "XX"), NX),
        (("EXPIRE", "k", "10", "LT", "nx"), NX),
        (("EXPIRE", "k", "abc", "GT", "LT", "NX"), NX),
        (("EXPIRE", "k", "abc", "GT", "LT"), GTLT),
        (("EXPIRE", "k", "10", "XX", "GT", "LT"), GTLT),
    ],
)
def test_errors(one, request_, error):
    assert one(*request_) == error
    assert one("PTTL", "k") == -1


def expected(conditions, old, new):
    """Redis's words on the four options; no expiry counts as an endless one."""
    endless = float("inf")
    before = endless if old is None else old
    rules = {"NX": old is None, "XX": old is not None, "GT": new > before, "LT": new < before}
    return int(all(rules[c] for c in conditions))


CONDITIONS = [(), ("NX",), ("XX",), ("GT",), ("LT",), ("XX", "GT"), ("lt", "xx"), ("NX", "NX"), ("GT", "GT")]


@pytest.mark.parametrize("conditions, old, new", list(itertools.product(CONDITIONS, (None, 1000, 2000, 3000), (2000,))))
def test_conditions(one, conditions, old, new):
    if old is not None:
        one("PEXPIRE", "k", str(old))
    one.listen()
    reply = one("PEXPIRE", "k", str(new), *conditions)
    assert reply == expected([c.upper() for c in conditions], old, new)
    assert one.events == (["g expire k"] if reply else [])
    assert one("PTTL", "k") == (new if reply else -1 if old is None else old)


def test_a_condition_is_asked_before_the_end_is_looked_at(one):
    one("EXPIRE", "k", "100")
    assert one("EXPIRE", "k", "-1", "GT") == 0
    assert one("EXPIRE", "k", "-1", "NX") == 0
    assert one("EXPIRE", "k", "-1", "LT") == 1
    assert one("EXISTS", "k") == 0


def test_no_key(box):
    for name in ("EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"):
        assert box(name, "none", "100") == 0
    for name in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"):
        assert box(name, "none") == -2
    assert box("PERSIST", "none") == 0


@pytest.mark.parametrize(
    "left, ttl, at_s",
    [(10_000, 10, 1_700_000_010), (1500, 2, 1_700_000_002), (1499, 1, 1_700_000_001), (499, 0, 1_700_000_000)],
)
def test_seconds_are_rounded_to_the_nearest(one, left, ttl, at_s):
    one("PEXPIRE", "k", str(left))
    assert (one("PTTL", "k"), one("TTL", "k"), one("EXPIRETIME", "k")) == (left, ttl, at_s)


def test_time_passes(one):
    one("PEXPIRE", "k", "1000")
    one.now += 999
    assert one("PTTL", "k") == 1
    one.now += 1
    assert one("PTTL", "k") == -2
    assert one("GET", "k") is None


def test_without_an_expiry(one):
    for name in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"):
        assert one(name, "k") == -1


def test_persist(one):
    assert one("PERSIST", "k") == 0
    one("EXPIRE", "k", "10")
    version = one("OBJECT", "VERSION", "k")
    one.listen()
    assert one("PERSIST", "k") == 1
    assert one.events == ["g persist k"]
    assert one("PTTL", "k") == -1
    assert one("OBJECT", "VERSION", "k") > version
    one.now += 100_000
    assert one("GET", "k") == b"v"


def test_persist_of_an_expired_key(one):
    one("PEXPIRE", "k", "10")
    one.now += 10
    assert one("PERSIST", "k") == 0
    assert one("EXISTS", "k") == 0


def test_the_value_survives_a_new_expiry(one):
    one("EXPIRE", "k", "10")
    one("EXPIRE", "k", "20")
    assert one("GET", "k") == b"v"
    assert one("TTL", "k") == 20
