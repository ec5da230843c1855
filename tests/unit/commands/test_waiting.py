"""WAIT and WAITAOF: never a number that is not so; alone, and in a cluster."""

from dataclasses import replace

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import FakeView
from vaylix_resp.commands.ports import Later
from vaylix_resp.errors import CommandError

NOT_INT = "ERR value is not an integer or out of range"
BAD_TIMEOUT = "ERR timeout is not an integer or out of range"


@pytest.fixture
def client():
    return FakeAdmin().connect()


@pytest.mark.parametrize(
    "line, reply",
    [
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
    ],
)
def test_answers(client, line, reply):
    assert client.call(*line.split()) == reply


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


# In a cluster: a reply has already meant two disks of three.


def member(me=1, have=1, **settings):
    server = FakeAdmin(**settings)
    server.cluster = FakeView(me=me)
    server.cluster.have = have
    return server.connect()


@pytest.mark.parametrize(
    "me, have, line, reply",
    [
        (1, 1, "WAIT 0 0", 1),
        (1, 1, "WAIT 1 0", 1),
        (1, 2, "WAIT 1 0", 2),
        (1, 2, "WAIT 2 0", 2),
        (1, 0, "WAIT 1 0", 1),  # the leader does not know it of any one of them, but it is committed
        (2, 0, "WAIT 1 0", 1),
        (2, 0, "WAIT 0 0", 1),
        (1, 2, "WAITAOF 1 2 0", [1, 2]),
        (1, 1, "WAITAOF 0 0 0", [1, 1]),
        (2, 0, "WAITAOF 1 1 0", [1, 1]),
        (1, 1, "WAIT a 0", NOT_INT),
        (1, 1, "WAIT 3 -1", "ERR timeout is negative"),
        (1, 1, "WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
    ],
)
def test_what_is_known_is_answered_at_once(me, have, line, reply):
    client = member(me, have)
    assert client.call(*line.split()) == reply
    assert client.server.cluster.asked == []


@pytest.mark.parametrize("line", ["WAIT 2 100", "WAITAOF 1 2 100"])
@pytest.mark.parametrize("counted, shown", [(2, 2), (1, 1), (0, 1)])
def test_for_more_the_followers_are_waited_for(line, counted, shown):
    client = member()
    reply = client.call(*line.split())
    assert isinstance(reply, Later) and reply.blocking and not reply.done
    assert client.server.cluster.asked == [("wait", 90, 2, 0.1)]
    client.server.cluster.later.resolve(counted)
    assert reply.reply == (shown if line.startswith("WAIT ") else [1, shown])


def test_an_error_ends_the_wait():
    client = member()
    reply = client.call("WAIT", "2", "0")
    client.server.cluster.later.resolve(CommandError("ERR no"))
    assert reply.reply.text == "ERR no"


def test_who_is_unblocked_hears_what_is_known_and_nobody_counts_for_it_any_more():
    client = member()
    reply = client.call("WAITAOF", "1", "2", "0")
    reply.unblock(reply.timeout_reply)
    assert reply.reply == [1, 1]
    assert client.server.cluster.later.done


def test_a_follower_says_that_it_does_not_know():
    client = member(me=2, have=0)
    assert client.call("WAIT", "2", "0") == (
        "ERR this node knows of a majority only; to wait for more nodes, ask the leader at 10.0.0.1:6379"
    )
    client.server.cluster.lead(None)
    assert client.call("WAIT", "2", "0").endswith("ask the leader")


def test_an_acknowledged_write_is_on_a_majority_whatever_the_mode():
    """`local` means `majority`."""
    for mode in ("majority", "all", "local"):
        assert member(have=0, write_ack_mode=mode).call("WAIT", "0", "0") == 1


def majority(voters):
    return voters // 2 + 1


@pytest.mark.parametrize(("voters", "certain"), [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2), (7, 3)])
def test_what_is_certain_holds_for_the_membership_before_as_well(voters, certain):
    """Nobody knows by which of two memberships the last entry was committed, nor whether who has it has been removed."""
    before = [(majority(voters + 1), 1), (majority(max(voters - 1, 1)), 0), (majority(voters), 0)]
    assert certain <= min(max(0, nodes - 1 - gone) for nodes, gone in before)
    client = member(me=2, have=0)
    view = client.server.cluster
    view.members = tuple(replace(view.members[0], id=number + 1) for number in range(voters))
    view.members += (replace(view.members[0], id=99, voter=False),) if voters else ()
    assert client.call("WAIT", "0", "0") == certain


def test_what_is_not_on_this_disk_is_not_counted():
    client = member()
    client.server.node.wal.durable = 6
    assert client.call("WAITAOF", "0", "1", "0") == [0, 1]
