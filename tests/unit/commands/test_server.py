"""TIME, ROLE, WAIT, WAITAOF, SHUTDOWN, and what replication would be."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.ports import Later
from vaylix_resp.commands.server import ART_COLUMNS, ART_ROWS, rule_30
from vaylix_resp.resp.reply import OK

SYNTAX = "ERR syntax error"
NOT_INT = "ERR value is not an integer or out of range"
BAD_TIMEOUT = "ERR timeout is not an integer or out of range"
NO_REPLICAS = "ERR FAILOVER requires connected replicas."


@pytest.fixture
def client():
    return FakeAdmin().connect()


@pytest.mark.parametrize(
    "line, reply",
    [
        ("ROLE", [b"master", 7, []]),
        ("MODULE LIST", []),
        ("WAIT 0 0", 0),
        ("WAIT -1 0", 0),
        ("WAIT a 0", NOT_INT),
        ("WAIT 0 a", BAD_TIMEOUT),
        ("WAIT 0 -1", "ERR timeout is negative"),
        ("WAITAOF 0 0 0", [1, 0]),
        ("WAITAOF 1 0 0", [1, 0]),
        ("WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF 1 -1 0", "ERR value is out of range, must be positive"),
        ("WAITAOF 1 0 a", BAD_TIMEOUT),
        ("WAITAOF 1 0 -1", "ERR timeout is negative"),
        ("REPLICAOF no one", OK),
        ("SLAVEOF NO ONE", OK),
        ("REPLICAOF host port", "ERR Invalid master port"),
        ("REPLICAOF host 65536", "ERR Invalid master port"),
        ("SHUTDOWN foo", SYNTAX),
        ("SHUTDOWN SAVE NOSAVE", SYNTAX),
        ("SHUTDOWN ABORT", "ERR No shutdown in progress."),
        ("SHUTDOWN ABORT NOW", SYNTAX),
        ("FAILOVER", NO_REPLICAS),
        ("FAILOVER TO a 1", NO_REPLICAS),
        ("FAILOVER FORCE TIMEOUT 1", NO_REPLICAS),
        ("FAILOVER ABORT", "ERR No failover in progress."),
        ("FAILOVER TO a", SYNTAX),
        ("FAILOVER TO a 1 TO b 2", SYNTAX),
        ("FAILOVER TO a 1 ABORT", SYNTAX),
        ("FAILOVER TIMEOUT 0", "ERR FAILOVER timeout must be greater than 0"),
        ("FAILOVER TIMEOUT x", NOT_INT),
        ("LOLWUT VERSION a", NOT_INT),
    ],
)
def test_answers(client, line, reply):
    assert client.call(*line.split()) == reply


@pytest.mark.parametrize("line", ["REPLICAOF host 6379", "SLAVEOF host 6379", "SYNC", "PSYNC ? -1"])
def test_what_is_not_offered_is_refused_in_words(client, line):
    assert client.call(*line.split()).startswith("ERR ")


def test_time_counts_microseconds(client):
    client.server.clock.seconds = 1234.567891
    assert client.call("TIME") == [b"1234", b"567891"]


def test_wait_for_replicas_ends_with_its_time(client):
    reply = client.call("WAIT", "1", "200")
    assert isinstance(reply, Later) and reply.blocking and reply.timeout_reply == 0
    client.server.advance(0.19)
    assert not reply.done
    client.server.advance(0.02)
    assert (reply.done, reply.reply) == (True, 0)


def test_wait_without_a_time_waits_for_ever_and_leaves_nothing_behind(client):
    reply = client.call("WAIT", "1", "0")
    client.server.advance(3600)
    assert not reply.done
    reply = client.call("WAIT", "1", "5000")
    reply.cancel()
    assert client.server.timers == []


def test_waitaof_waits_for_the_disk(client):
    client.server.node.wal.durable = 6
    reply = client.call("WAITAOF", "1", "0", "0")
    client.server.advance(5)
    assert not reply.done and reply.timeout_reply == [0, 0]
    client.server.node.applied = 9  # what comes after is not waited for
    client.server.node.wal.durable = 7
    client.server.advance(0.02)
    assert reply.reply == [1, 0]
    assert client.server.timers == []


@pytest.mark.parametrize("durable, reply", [(6, [0, 0]), (7, [1, 0])])
def test_waitaof_for_replicas_tells_what_holds_in_the_end(client, durable, reply):
    client.server.node.wal.durable = durable
    waiting = client.call("WAITAOF", "1", "1", "100")
    client.server.advance(0.09)
    assert not waiting.done
    client.server.advance(0.02)
    assert waiting.reply == reply


def test_a_client_that_goes_leaves_no_timer(client):
    client.call("WAITAOF", "1", "1", "100000").cancel()
    assert client.server.timers == []


@pytest.mark.parametrize(
    "line, how",
    [
        ("SHUTDOWN", {"save": None, "now": False, "force": False}),
        ("SHUTDOWN NOSAVE", {"save": False, "now": False, "force": False}),
        ("SHUTDOWN save NOW force", {"save": True, "now": True, "force": True}),
    ],
)
def test_shutdown_passes_on_what_was_asked(client, line, how):
    client.call(*line.split())
    assert client.server.stopped_with == how


def test_rule_30():
    """The first rows from a single cell, as Wolfram printed them."""
    rows = rule_30(1 << (ART_COLUMNS // 2))
    middle = ART_COLUMNS // 2 - 1
    assert [row.ljust(ART_COLUMNS)[middle - 3 : middle + 4] for row in rows[:4]] == [
        "   #   ",
        "  ###  ",
        " ##  # ",
        "## ####",
    ]
    assert len(rows) == ART_ROWS


def test_lolwut_names_the_version(client):
    text = client.call("LOLWUT", "VERSION", "5").text.decode()
    assert text.endswith("as Redis ver. 7.2.4\n") and "#" in text
