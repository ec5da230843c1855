"""SENTINEL: every node as a Sentinel of this cluster; the shapes are those of redis-server 7.0.15 in Sentinel mode."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp.commands.cluster_view import Address
from vaylix_resp.resp.reply import NULL_ARRAY, OK, Simple
from vaylix_resp.resp.writer import encode

HEX = {number: f"{node:040x}".encode() for number, node in IDS.items()}
NO_SUCH = "ERR No such master with that name"
COMMON = (
    "name ip port runid flags link-pending-commands link-refcount last-ping-sent last-ok-ping-reply last-ping-reply"
)
MASTER = (
    COMMON
    + """ down-after-milliseconds info-refresh role-reported role-reported-time config-epoch num-slaves
    num-other-sentinels quorum failover-timeout parallel-syncs"""
)
REPLICA = (
    COMMON
    + """ down-after-milliseconds info-refresh role-reported role-reported-time master-link-down-time
    master-link-status master-host master-port slave-priority slave-repl-offset replica-announced"""
)
SENTINEL = COMMON + " down-after-milliseconds last-hello-message voted-leader voted-leader-epoch"


def connect(view=None, **settings):
    server = FakeAdmin(**settings)
    server.cluster = view
    return server.connect()


def lost(me=2):
    view = FakeView(me)
    view.lead(None)
    return view


@pytest.mark.parametrize(
    "words, fields",
    [
        ("MASTERS", MASTER),
        ("REPLICAS mymaster", REPLICA),
        ("SLAVES mymaster", REPLICA),
        ("SENTINELS mymaster", SENTINEL),
    ],
)
def test_fields_and_their_order_are_those_of_a_sentinel(words, fields):
    for found in connect(FakeView()).call("SENTINEL", *words.split()):
        assert [name.decode() for name in found] == fields.split()
        assert all(type(value) is bytes for value in found.values()), "numbers are text, too"


def test_the_master_is_the_leader():
    client = connect(FakeView(me=2, leader=3))
    (found,) = client.call("SENTINEL", "MASTERS")
    assert found == client.call("SENTINEL", "MASTER", "mymaster")
    shown = {name.decode(): value.decode() for name, value in found.items()}
    assert shown | {
        "name": "mymaster", "ip": "10.0.0.3", "port": "6379", "runid": HEX[3].decode(), "flags": "master",
        "config-epoch": "7", "num-slaves": "2", "num-other-sentinels": "2", "quorum": "2", "last-ping-reply": "500",
    } == shown  # fmt: skip
    assert client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") == [b"10.0.0.3", b"6379"]


@pytest.mark.parametrize("me", [1, 2])
def test_without_a_majority_no_master_is_named(me):
    client = connect(lost(me))
    found = client.call("SENTINEL", "MASTER", "mymaster")
    assert (found[b"ip"], found[b"port"], found[b"runid"]) == (b"", b"0", b"")
    assert found[b"flags"] == b"s_down,o_down,master,disconnected"
    assert b"s-down-time" in found and b"o-down-time" in found
    assert client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") is NULL_ARRAY
    assert client.call("SENTINEL", "CKQUORUM", "mymaster").startswith("NOQUORUM 1 usable Sentinels.")
    for replica in client.call("SENTINEL", "REPLICAS", "mymaster"):
        assert replica[b"flags"] == b"s_down,slave,disconnected" and replica[b"master-host"] == b"?"
        assert replica[b"master-link-status"] == b"err"


def test_a_leader_whose_address_is_not_known_is_not_named():
    view = FakeView(me=2)
    view.change(1, client=None)
    client = connect(view)
    assert client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") is NULL_ARRAY
    assert b"o_down" in client.call("SENTINEL", "MASTER", "mymaster")[b"flags"]


def test_replicas():
    view = FakeView()
    view.change(2, client=Address("two.example", 7), voter=False)
    view.change(3, state="unreachable")
    two, three = connect(view).call("SENTINEL", "REPLICAS", "mymaster")
    assert (two[b"name"], two[b"ip"], two[b"port"], two[b"flags"]) == (b"two.example:7", b"two.example", b"7", b"slave")
    assert (two[b"slave-priority"], two[b"slave-repl-offset"]) == (b"0", b"90")
    assert (two[b"master-host"], two[b"master-port"], two[b"master-link-status"]) == (b"10.0.0.1", b"6379", b"ok")
    assert three[b"flags"] == b"s_down,slave,disconnected" and three[b"slave-priority"] == b"100"


def test_sentinels_are_the_other_nodes():
    view = FakeView(me=2)
    view.change(3, last_contact_s=60.0)
    one, three = connect(view).call("SENTINEL", "SENTINELS", "mymaster")
    assert (one[b"name"], one[b"runid"], one[b"flags"]) == (HEX[1], HEX[1], b"sentinel")
    assert (three[b"port"], three[b"flags"]) == (b"6379", b"s_down,sentinel,disconnected")


@pytest.mark.parametrize(
    "me, down, usable",
    [(1, {}, 3), (1, {3: "unreachable"}, 2), (1, {3: "lost"}, 2), (2, {}, 2)],
    ids=["leader", "one is down", "one has lost its data", "a follower knows of a majority"],
)
def test_ckquorum(me, down, usable):
    view = FakeView(me)
    for number, state in down.items():
        view.change(number, state=state)
    expected = Simple(f"OK {usable} usable Sentinels. Quorum and failover authorization can be reached")
    assert connect(view).call("SENTINEL", "CKQUORUM", "mymaster") == expected


@pytest.mark.parametrize(
    "line, reply",
    [
        ("MASTER foo", NO_SUCH),
        ("REPLICAS foo", NO_SUCH),
        ("SLAVES foo", NO_SUCH),
        ("SENTINELS foo", NO_SUCH),
        ("CKQUORUM foo", NO_SUCH),
        ("FAILOVER foo", NO_SUCH),
        ("FAILOVER mymaster FORCE", "ERR syntax error"),
        ("GET-MASTER-ADDR-BY-NAME foo", NULL_ARRAY),
        ("MYID", HEX[1]),
        ("PENDING-SCRIPTS", []),
        ("FLUSHCONFIG", OK),
        ("RESET my*", 1),
        ("RESET foo", 0),
        ("IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 0 *", [0, b"*", 0]),
        ("IS-MASTER-DOWN-BY-ADDR 10.0.0.2 6379 0 *", [1, b"*", 0]),
        ("IS-MASTER-DOWN-BY-ADDR 10.0.0.1 a 0 *", "ERR value is not an integer or out of range"),
        ("CONFIG GET resolve*", {b"resolve-hostnames": b"yes"}),
        ("CONFIG GET nosuch", {}),
        ("CONFIG foo a", "ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported."),
    ],
)
def test_answers(line, reply):
    assert connect(FakeView()).call("SENTINEL", *line.split()) == reply


@pytest.mark.parametrize(
    "line", ["CONFIG SET a b", "MONITOR a 1.1.1.1 1 2", "REMOVE mymaster", "SET mymaster quorum 1"]
)
def test_what_is_watched_cannot_be_changed(line):
    assert connect(FakeView()).call("SENTINEL", *line.split()).startswith("ERR this is no Sentinel")


def test_nobody_hands_over_when_nobody_could_take_over():
    view = FakeView()
    view.members = view.members[:1]
    assert connect(view).call("SENTINEL", "FAILOVER", "mymaster") == "NOGOODSLAVE No suitable replica to promote"


def test_the_name_is_a_setting():
    client = connect(FakeView(), sentinel_master_name="orders")
    assert client.call("SENTINEL", "MASTERS")[0][b"name"] == b"orders"
    assert client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "orders") == [b"10.0.0.1", b"6379"]
    assert client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") is NULL_ARRAY


def test_a_server_alone_is_the_master():
    client = connect()
    assert client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") == [b"127.0.0.1", b"6379"]
    (found,) = client.call("SENTINEL", "MASTERS")
    assert (found[b"flags"], found[b"quorum"], found[b"num-slaves"]) == (b"master", b"1", b"0")
    assert client.call("SENTINEL", "REPLICAS", "mymaster") == client.call("SENTINEL", "SENTINELS", "mymaster") == []


@pytest.mark.parametrize("word", ["MASTERS", "MASTER mymaster", "REPLICAS mymaster", "SENTINELS mymaster", "HELP"])
def test_maps_in_resp3_and_flat_lists_in_resp2(word):
    reply = connect(FakeView()).call("SENTINEL", *word.split())
    assert b"%" not in encode(reply, 2)
    assert (b"%" in encode(reply, 3)) == (word != "HELP")
