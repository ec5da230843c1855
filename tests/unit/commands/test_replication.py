"""ROLE, REPLICAOF, FAILOVER, READONLY: who leads, in Redis's words."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp.commands.ports import Later
from vaylix_resp.commands.replication import ALREADY
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK

SYNTAX = "ERR syntax error"
NOT_INT = "ERR value is not an integer or out of range"
NO_REPLICAS = "ERR FAILOVER requires connected replicas."
DISABLED = "ERR This instance has cluster support disabled"


@pytest.fixture
def client():
    return FakeAdmin().connect()


def member(me=1, mode="no"):
    server = FakeAdmin(cluster_enabled=mode)
    server.cluster = FakeView(me=me)
    return server.connect()


# Alone.


@pytest.mark.parametrize(
    "line, reply",
    [
        ("ROLE", [b"master", 7, []]),
        ("REPLICAOF no one", OK),
        ("SLAVEOF NO ONE", OK),
        ("REPLICAOF host port", "ERR Invalid master port"),
        ("REPLICAOF host 65536", "ERR Invalid master port"),
        ("FAILOVER", NO_REPLICAS),
        ("FAILOVER TO a 1", NO_REPLICAS),
        ("FAILOVER FORCE TIMEOUT 1", NO_REPLICAS),
        ("FAILOVER ABORT", "ERR No failover in progress."),
        ("FAILOVER TO a", SYNTAX),
        ("FAILOVER TO a 1 TO b 2", SYNTAX),
        ("FAILOVER TO a 1 ABORT", SYNTAX),
        ("FAILOVER TIMEOUT 0", "ERR FAILOVER timeout must be greater than 0"),
        ("FAILOVER TIMEOUT x", NOT_INT),
    ],
)
def test_answers_of_a_server_alone(client, line, reply):
    assert client.call(*line.split()) == reply


@pytest.mark.parametrize("line", ["REPLICAOF host 6379", "SLAVEOF host 6379", "SYNC", "PSYNC ? -1"])
def test_what_is_not_offered_is_refused_in_words(client, line):
    assert client.call(*line.split()).startswith("ERR ")


# In a cluster.


def test_role_of_the_leader():
    client = member()
    client.server.cluster.change(3, state="unreachable")
    assert client.call("ROLE") == [b"master", 100, [[b"10.0.0.2", b"6379", b"90"]]]


@pytest.mark.parametrize("staleness, link", [(0.1, b"connected"), (None, b"sync")])
def test_role_of_a_follower(staleness, link):
    client = member(me=2)
    client.server.cluster.staleness_s = staleness
    assert client.call("ROLE") == [b"slave", b"10.0.0.1", 6379, link, 90]


@pytest.mark.parametrize("me", [1, 2])
def test_without_a_majority_nobody_is_master(me):
    client = member(me)
    client.server.cluster.lead(None)
    assert client.call("ROLE") == [b"slave", b"", 0, b"connect", 90]


def test_role_through_the_sentinel_port(client):
    client.sentinel = True
    assert client.call("ROLE") == [b"sentinel", [b"mymaster"]]


@pytest.mark.parametrize(
    "me, mode, line, reply",
    [
        (1, "no", "REPLICAOF NO ONE", OK),
        (2, "no", "REPLICAOF 10.0.0.1 6379", ALREADY),
        (2, "no", "REPLICAOF NO ONE", "ERR this node follows the leader"),
        (2, "no", "REPLICAOF 10.0.0.3 6379", "ERR this node follows the leader"),
        (1, "no", "REPLICAOF 10.0.0.1 6379", "ERR this node follows the leader"),
        (1, "emulate", "REPLICAOF NO ONE", "ERR REPLICAOF not allowed in cluster mode."),
        (1, "emulate", "slaveof a 1", "ERR SLAVEOF not allowed in cluster mode."),
    ],
)
def test_who_leads_is_no_clients_choice(me, mode, line, reply):
    found = member(me, mode).call(*line.split())
    assert found == reply or (isinstance(found, str) and found.startswith(reply))


@pytest.mark.parametrize(
    "line, asked",
    [
        ("FAILOVER", ("transfer", None, 0.0)),
        ("FAILOVER TIMEOUT 1500", ("transfer", None, 1.5)),
        ("FAILOVER TO 10.0.0.3 6379", ("transfer", IDS[3], 0.0)),
        ("FAILOVER to 10.0.0.2 6379 timeout 10", ("transfer", IDS[2], 0.01)),
    ],
)
def test_failover_begins_and_says_so(line, asked):
    client = member()
    assert client.call(*line.split()) == OK, "as Redis: it goes on in the background"
    assert client.server.cluster.asked == [asked]


def test_failover_that_is_refused_at_once_says_so():
    client = member()
    client.server.cluster.later.resolve(CommandError("BUSY not now"))
    assert client.call("FAILOVER") == "BUSY not now"


@pytest.mark.parametrize(
    "me, line, refused",
    [
        (1, "FAILOVER TO 10.0.0.9 6379", "ERR FAILOVER target HOST and PORT is not a replica."),
        (1, "FAILOVER TO 10.0.0.1 6379", "ERR FAILOVER target HOST and PORT is not a replica."),
        (1, "FAILOVER TO 10.0.0.2 6379 FORCE TIMEOUT 1", "ERR FAILOVER FORCE is not offered"),
        (1, "FAILOVER ABORT", "ERR No failover in progress."),
        (2, "FAILOVER", "ERR FAILOVER is not valid when server is a replica."),
    ],
)
def test_failover_that_cannot_be(me, line, refused):
    client = member(me)
    assert client.call(*line.split()).startswith(refused)
    assert client.server.cluster.asked == []


def test_a_learner_does_not_take_over():
    client = member()
    client.server.cluster.change(2, voter=False)
    assert client.call("FAILOVER", "TO", "10.0.0.2", "6379").startswith("ERR FAILOVER target")
    client.server.cluster.change(3, voter=False)
    assert client.call("FAILOVER") == NO_REPLICAS


def test_one_failover_at_a_time_and_it_can_be_aborted():
    client = member()
    client.server.cluster.transferring = True
    assert client.call("FAILOVER") == "ERR FAILOVER already in progress."
    assert client.call("FAILOVER", "ABORT") == OK
    assert client.call("FAILOVER", "ABORT") == "ERR No failover in progress."


@pytest.mark.parametrize(
    "clustered, mode, reply, follows",
    [
        (True, "no", OK, False),
        (True, "emulate", OK, True),
        (False, "emulate", OK, True),
        (False, "no", DISABLED, False),
    ],
)
def test_readonly_where_there_is_a_cluster(clustered, mode, reply, follows):
    client = member(2, mode)
    if not clustered:
        client.server.cluster = None
    assert client.call("READONLY") == reply
    assert (client.readonly, client.follows_moved) == (reply == OK, follows)
    assert client.call("READWRITE") == reply
    assert not client.readonly


@pytest.mark.parametrize("mode, reply", [("no", DISABLED), ("emulate", OK)])
def test_asking(mode, reply):
    client = member(2, mode)
    assert client.call("ASKING") == reply
    assert client.follows_moved == (reply == OK)


@pytest.mark.parametrize(
    "me, mode, expected",
    [(1, "no", ("standalone", "master")), (2, "no", ("standalone", "replica")), (2, "emulate", ("cluster", "replica"))],
)
def test_hello_says_who_leads(me, mode, expected):
    found = member(me, mode).call("HELLO", "3")
    assert (found["mode"], found["role"]) == expected


@pytest.mark.parametrize(
    "line", ["RAFT TRANSFER", "RAFT.TRANSFER_LEADER", "RAFT.TRANSFER_LEADER 0", "SENTINEL FAILOVER mymaster"]
)
def test_other_words_for_it_wait_for_the_outcome(line):
    client = member()
    reply = client.call(*line.split())
    assert isinstance(reply, Later) and not reply.done
    assert client.server.cluster.asked == [("transfer", None, 0.0)]
