"""The first reason against a request is the one that counts, in Redis's order. (What MULTI queues: test_server_gate)"""

import itertools

import pytest

from tests.unit.fake_cluster import FakeView
from tests.unit.server.front import Stage
from vaylix_resp.errors import NO_AUTH, CommandError
from vaylix_resp.server import gate

MISCONF = CommandError("MISCONF a test's own")

# What stands against a request, the first one first, and how its refusal begins.
REASONS = {
    "arity": "ERR wrong number of arguments for 'set' command",
    "log-in": NO_AUTH,
    "rights": "NOPERM User u has no permissions to run the 'set' command",
    "leader": "MOVED 15495 10.0.0.1:6379",
    "log": MISCONF.text,
    "subscriber": "ERR Can't execute 'set': only (P|S)SUBSCRIBE",
}


def session_against_which(reasons):
    stage = Stage(cluster_enabled="emulate", follower_writes="redirect")
    stage.shared.cluster = FakeView(me=2 if "leader" in reasons else 1)
    client = stage.connect(*(["SUBSCRIBE c"] if "subscriber" in reasons else []))
    if "rights" in reasons:
        stage.shared.accounts.set_user("u", [b"on", b"nopass"])
        client.session.become("u")
    client.session.authenticated = "log-in" not in reasons
    return client.session


@pytest.mark.parametrize(
    "reasons", [some for count in range(len(REASONS) + 1) for some in itertools.combinations(REASONS, count)], ids=",".join
)
def test_the_first_reason_counts(reasons):
    session = session_against_which(reasons)
    argv = [b"SET", b"a"] + ([] if "arity" in reasons else [b"1"])
    bound = session.shared.table.find(argv)
    found = gate.refusal(session, bound, argv, MISCONF if "log" in reasons else None)
    expected = next((text for reason, text in REASONS.items() if reason in reasons), None)
    assert (found is None) == (expected is None)
    assert found is None or found.text.startswith(expected)


@pytest.mark.parametrize(
    "line, writes",
    [("SET a 1", True), ("GET a", False), ("PING", False), ("EXEC", False), ("EXPIRE a 1", True), ("SORT a", True),
     ("SORT_RO a", False), ("CONFIG GET port", False)],
)  # fmt: skip
def test_what_writes(line, writes):
    session = Stage().connect().session
    argv = line.encode().split()
    assert gate.writes(session, session.shared.table.find(argv).spec) == writes


def test_exec_writes_if_its_block_does():
    stage = Stage()
    client = stage.connect("MULTI", "GET a")
    exec_ = stage.shared.table.by_name[b"EXEC"].spec
    assert not gate.writes(client.session, exec_)
    client.ask("SET a 1")
    assert gate.writes(client.session, exec_)


@pytest.mark.parametrize("name", ["exec", "discard", "multi", "watch", "quit", "reset"])
def test_what_ends_or_belongs_to_a_transaction_is_not_queued(name):
    stage = Stage()
    client = stage.connect("MULTI")
    assert not gate.queued(client.session, stage.shared.commands[name])
    assert gate.queued(client.session, stage.shared.commands["get"])


@pytest.mark.parametrize(
    "proto, line, refused",
    [(2, "GET a", True), (2, "PING", False), (2, "QUIT", False), (2, "RESET", False), (2, "UNSUBSCRIBE", False),
     (2, "SSUBSCRIBE d", False), (2, "MULTI", True), (2, "NOSUCH", True), (3, "GET a", False), (3, "MULTI", False)],
)  # fmt: skip
def test_subscriber_mode(proto, line, refused):
    client = Stage().connect(f"HELLO {proto}", "SUBSCRIBE c")
    assert client.ask(line)[-1].startswith("-ERR") == refused


def test_forbidden_inside_a_transaction():
    client = Stage().connect("MULTI")
    assert client.ask("SAVE") == ["-ERR Command not allowed inside a transaction"]


def test_exec_waits_for_own_writes_only_if_something_is_watched():
    stage = Stage()
    client = stage.connect("WATCH a")
    exec_, get = stage.shared.table.by_name[b"EXEC"], stage.shared.table.by_name[b"GET"]
    assert gate.must_land_first(client.session, exec_) and not gate.must_land_first(client.session, get)
    client.ask("UNWATCH")
    assert not gate.must_land_first(client.session, exec_)
