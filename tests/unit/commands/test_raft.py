"""RAFT and RedisRaft's dotted names."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView, member
from vaylix_resp.commands.cluster_view import Address, Comparison
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK
from vaylix_resp.resp.writer import encode
from vaylix_resp.state.versions import CURRENT


def connect(view=None):
    server = FakeAdmin()
    server.cluster = view
    return server.connect()


def test_status():
    found = connect(FakeView(me=2)).call("RAFT", "STATUS")
    members = found.pop(b"members")
    assert found == {
        b"id": b"%d" % IDS[2], b"name": b"node-2", b"cluster-id": b"c" * 32, b"role": b"follower", b"term": 7,
        b"leader": b"node-1", b"leader-id": b"%d" % IDS[1], b"leader-address": b"10.0.0.1:6379", b"last": 100,
        b"committed": 90, b"applied": 90, b"durable": 7, b"staleness-ms": 100, b"fsync-avg-us": 25, b"fsync-max-us": 60,
        b"log": b"ok", b"cluster-version": 1, b"understands": CURRENT, b"data": b"ok",
    }  # fmt: skip
    assert members[1] == {
        b"id": b"%d" % IDS[2], b"address": b"10.0.0.2:6379", b"leader": b"false", b"name": b"node-2",
        b"raft-address": b"10.0.0.2:16379", b"voter": b"true", b"state": b"replicate", b"match": 90, b"lag": 10,
        b"last-contact-ms": 250, b"understands": CURRENT,
    }  # fmt: skip
    assert [one[b"leader"] for one in members] == [b"true", b"false", b"false"]


def test_without_a_majority_no_leader_is_named():
    view = FakeView(me=2)
    view.lead(None)
    view.staleness_s = None
    client = connect(view)
    found = client.call("RAFT", "STATUS")
    assert found[b"leader"] is found[b"leader-id"] is found[b"leader-address"] is found[b"staleness-ms"] is None
    assert [one[b"leader"] for one in found[b"members"]] == [b"false"] * 3
    assert client.call("RAFT", "LEADER") is None


@pytest.mark.parametrize("failure, full, log", [("EIO", False, b"failed"), (None, True, b"full"), (None, False, b"ok")])
def test_status_says_when_the_log_takes_nothing(failure, full, log):
    client = connect(FakeView())
    client.server.node.failure, client.server.node.full = failure, full
    assert client.call("RAFT", "STATUS")[b"log"] == log


def test_the_leader_tells_what_it_has_compared():
    view = FakeView()
    client = connect(view)
    view.comparison = Comparison(0, "", None, frozenset(), frozenset(), {}, 0, 0)
    found = client.call("RAFT", "DIGEST")
    nodes = found.pop(b"nodes")
    assert found == {b"sequence": None, b"compared": b"", b"age-ms": None, b"comparisons": 0, b"rounds": 0}
    assert [one[b"last"] for one in nodes] == [b"unknown"] * 3
    one, two, three = IDS.values()
    view.comparison = Comparison(88, "keys", 1.5, frozenset({one}), frozenset({three}), {three: 80, two: 7}, 9, 2)
    found = client.call("RAFT", "DIGEST")
    nodes = found.pop(b"nodes")
    assert found == {b"sequence": 88, b"compared": b"keys", b"age-ms": 1500, b"comparisons": 9, b"rounds": 2}
    assert [tuple(node.values()) for node in nodes] == [
        (b"%d" % one, b"node-1", b"agrees", None), (b"%d" % two, b"node-2", b"unknown", 7),
        (b"%d" % three, b"node-3", b"differs", 80),
    ]  # fmt: skip
    for proto in (2, 3):
        encode(client.call("RAFT", "DIGEST"), proto)


@pytest.mark.parametrize("leader, text", [
    (1, "NOTLEADER the leader compares the nodes' states: ask node-1 at 10.0.0.1:6379"),
    (None, "NOTLEADER the leader compares the nodes' states: nobody is known to lead"),
])  # fmt: skip
def test_nobody_else_knows_what_was_compared(leader, text):
    assert connect(FakeView(me=2, leader=leader)).call("RAFT", "DIGEST") == text
    assert str(connect().call("RAFT", "DIGEST")).startswith("NOCLUSTER")


def test_status_says_that_the_data_differ():
    view = FakeView(me=2)
    view.stopped = CommandError("MISCONF they differ")
    assert connect(view).call("RAFT", "STATUS")[b"data"] == b"differs"


def test_a_server_alone_is_its_own_leader():
    client = connect()
    found = client.call("RAFT", "STATUS")
    assert (found[b"role"], found[b"term"], found[b"last"], found[b"staleness-ms"]) == (b"leader", 2, 7, 0)
    assert client.call("RAFT", "LEADER") == b"127.0.0.1:6379"
    assert len(client.call("RAFT", "SERVER", "LIST")) == 1


def test_info_is_a_section_as_a_map():
    client = connect(FakeView())
    found = client.call("RAFT", "INFO")
    assert found[b"raft_role"] == b"leader" and found[b"raft_node3"].startswith(b"id=")
    assert client.call("RAFT", "INFO", "raft_num_*") == {b"raft_num_nodes": b"3", b"raft_num_voting_nodes": b"3"}


def test_leader_and_list():
    client = connect(FakeView(me=3))
    assert client.call("RAFT", "LEADER") == b"10.0.0.1:6379"
    listed = client.call("RAFT", "SERVER", "LIST")
    assert [list(one)[:3] for one in listed] == [[b"id", b"address", b"leader"]] * 3, "uhaha's fields come first"
    for proto in (2, 3):
        encode(listed, proto)
        encode(client.call("RAFT", "STATUS"), proto)


@pytest.mark.parametrize(
    "line, asked",
    [
        ("RAFT SERVER ADD a:1", ("add", Address("a", 1))),
        ("RAFT SERVER REMOVE node-2", ("remove", IDS[2], False)),
        ("RAFT SERVER PROMOTE node-3", ("promote", IDS[3])),
        ("RAFT TRANSFER node-2", ("transfer", IDS[2], 0.0)),
        ("RAFT SERVER DEMOTE node-2", ("demote", IDS[2])),
        ("RAFT.CLUSTER JOIN a:1", ("add", Address("a", 1))),
        ("RAFT.NODE REMOVE node-2", ("remove", IDS[2], False)),
        (f"RAFT.TRANSFER_LEADER {IDS[3]}", ("transfer", IDS[3], 0.0)),
    ],
)
def test_changes(line, asked):
    view = FakeView()
    view.change(3, voter=False)
    reply = connect(view).call(*line.split())
    assert view.asked == [asked]
    view.later.resolve(OK)
    assert reply.reply == OK


def test_redis_rafts_add_answers_with_ids():
    view = FakeView()
    reply = connect(view).call("RAFT.NODE", "ADD", "0", "10.0.0.4:16379")
    assert view.asked == [("add", Address("10.0.0.4", 16379))]
    view.members += (member(4 - 1, id=77, raft=Address("10.0.0.4", 16379)),)
    view.later.resolve(OK)
    assert reply.reply == [b"77", b"c" * 32]


@pytest.mark.parametrize(
    "line, refused",
    [
        ("RAFT SERVER DEMOTE node-3", "ERR node-3 has no vote"),
        ("RAFT SERVER FOO", "ERR unknown subcommand or wrong number of arguments for 'FOO'. Try RAFT HELP."),
        ("RAFT SERVER ADD", "ERR unknown subcommand or wrong number of arguments for 'ADD'. Try RAFT HELP."),
        ("RAFT SERVER ADD a", "ERR Invalid address 'a'"),
        ("RAFT SERVER PROMOTE node-2", "ERR node-2 has a vote already"),
        ("RAFT TRANSFER node-1", "ERR a node cannot hand over to itself"),
        ("RAFT TRANSFER nosuch", "ERR Unknown node nosuch"),
        ("RAFT TRANSFER a b", "ERR wrong number of arguments for 'raft|transfer' command"),
        ("RAFT INFO a b", "ERR wrong number of arguments for 'raft|info' command"),
        ("RAFT.CLUSTER INIT", "ERR Already cluster member"),
        ("RAFT.NODE ADD 5 a:1", "ERR a node brings its own id: give 0"),
        ("RAFT.TRANSFER_LEADER a b", "ERR wrong number of arguments for 'raft.transfer_leader' command"),
    ],
)
def test_refusals(line, refused):
    view = FakeView()
    view.change(3, voter=False)
    assert connect(view).call(*line.split()).startswith(refused)
    assert view.asked == []


@pytest.mark.parametrize("line", ["RAFT SERVER ADD a:1", "RAFT TRANSFER", "RAFT.CLUSTER INIT", "RAFT.CLUSTER JOIN a:1"])
def test_a_server_alone_has_nobody_to_change(line):
    assert connect().call(*line.split()).startswith("NOCLUSTER No Raft Cluster")
