"""FLASHBACK: how its requests are read; what comes of them is tested with the engine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.points import Point
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.errors import CommandError
from vaylix_resp.glob import TOO_LONG

NO_POINT = "ERR '{}' is no point in time: give a sequence (1234), ms:<unix ms>, an ISO 8601 time or an age (-90s, -5m)"


class FakeHistory:
    """Says what it has been asked."""

    def get(self, db, key, point):
        return ["get", db, key, point]

    def restore(self, db, pattern, point, *, dry_run):
        return ["restore", db, pattern, point, dry_run]


@pytest.fixture
def client():
    server = FakeAdmin()
    server.history = FakeHistory()
    server.node = SimpleNamespace(refusal=None)
    client = server.connect()
    client.db = 3
    return client


NOW = 1_000_000  # of the fake clock, in ms


@pytest.mark.parametrize(
    "words, reply",
    [
        (("GET", "k", "7"), ["get", 3, b"k", Point(7)]),
        (("get", "k", "-10s"), ["get", 3, b"k", Point(timestamp_ms=NOW - 10_000)]),
        (("RESTORE", "k", "ms:5"), ["restore", 3, b"k", Point(timestamp_ms=5), False]),
        (("RESTORE", "k*", "1970-01-01T00:00:01Z", "dryrun"), ["restore", 3, b"k*", Point(timestamp_ms=1000), True]),
        (("RESTORE", "k", "5", "FORCE"), "ERR syntax error"),
        (("RESTORE", "k", "5", "DRYRUN", "DRYRUN"), "ERR syntax error"),
        (("GET", "k", "yesterday"), NO_POINT.format("yesterday")),
        (("GET", "k", b"\xff\r\n"), NO_POINT.format("\\xff  ")),
        (("RESTORE", "k", "-2w"), NO_POINT.format("-2w")),
        (("RESTORE", "*" * 5000, "5"), TOO_LONG),
        (("GET", "k"), "arity of flashback|get"),
        (("GET", "k", "5", "6"), "arity of flashback|get"),
        (("RESTORE", "k"), "arity of flashback|restore"),
    ],
)
def test_requests(client, words, reply):
    assert client.call("FLASHBACK", *words) == reply


def test_a_log_that_takes_nothing_is_told_before_the_work(client):
    client.server.node.refusal = CommandError("MISCONF no room")
    assert client.call("FLASHBACK", "RESTORE", "k", "5") == "MISCONF no room"
    assert client.call("FLASHBACK", "RESTORE", "k", "5", "DRYRUN")[0] == "restore"
    assert client.call("FLASHBACK", "GET", "k", "5")[0] == "get"


def test_who_may_and_which_keys():
    get, restore = (COMMANDS["flashback"].subcommands[name] for name in ("get", "restore"))
    assert get.keys_of((b"FLASHBACK", b"GET", b"k", b"5")) == [(b"k", "RO access")]
    assert restore.keys_of((b"FLASHBACK", b"RESTORE", b"k*", b"5")) == []  # a pattern is no key
    assert {"read", "slow"} <= get.categories and "write" not in get.categories
    assert {"write", "dangerous", "slow"} <= restore.categories
    assert client_help(COMMANDS["flashback"].subcommands["help"])


def client_help(spec):
    lines = [line.text for line in spec.handler(None, (b"FLASHBACK", b"HELP"))]
    return lines[0].startswith("FLASHBACK <subcommand>") and all(len(line) <= 110 for line in lines)
