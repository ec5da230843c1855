"""CLUSTER: what cluster clients find, and changes of the membership."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp.commands.cluster import KEYS_PER_TURN
from vaylix_resp.commands.cluster_view import Address
from vaylix_resp.commands.ports import Later
from vaylix_resp.commands.redirection import slot_of
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK
from vaylix_resp.resp.writer import encode

DISABLED = "ERR This instance has cluster support disabled"
HEX = {number: f"{node:040x}".encode() for number, node in IDS.items()}


def connect(view=None, mode="emulate", **settings):
    server = FakeAdmin(cluster_enabled=mode, **settings)
    server.cluster = view
    return server.connect()


def test_slots_name_the_leader_first():
    assert connect(FakeView(me=2, leader=3)).call("CLUSTER", "SLOTS") == [
        [0, 16383, [b"10.0.0.3", 6379, HEX[3], {}], [b"10.0.0.1", 6379, HEX[1], {}], [b"10.0.0.2", 6379, HEX[2], {}]]
    ]


@pytest.mark.parametrize(
    "facts",
    [{"client": None}, {"state": "unreachable"}, {"state": "snapshot"}, {"state": "lost"},
     {"state": "unknown", "last_contact_s": 60.0}],
    ids=str,
)
def test_nodes_that_cannot_serve_are_not_in_the_slots(facts):
    view = FakeView()
    view.change(2, **facts)
    (row,) = connect(view).call("CLUSTER", "SLOTS")
    assert [node[2] for node in row[2:]] == [HEX[1], HEX[3]]


def test_shards_say_it_in_words():
    view = FakeView()
    view.change(2, client=Address("two.example", 6380), state="snapshot")
    view.change(3, state="unreachable")
    (shard,) = connect(view).call("CLUSTER", "SHARDS")
    assert shard[b"slots"] == [0, 16383]
    one, two, three = shard[b"nodes"]
    assert one == {
        b"id": HEX[1], b"port": 6379, b"ip": b"10.0.0.1", b"endpoint": b"10.0.0.1", b"role": b"master",
        b"replication-offset": 90, b"health": b"online",
    }  # fmt: skip
    assert two == {
        b"id": HEX[2], b"port": 6380, b"ip": b"", b"endpoint": b"two.example", b"hostname": b"two.example",
        b"role": b"replica", b"replication-offset": 90, b"health": b"loading",
    }  # fmt: skip
    assert (three[b"health"], three[b"replication-offset"]) == (b"fail", 80)


def test_shards_name_the_tls_port_where_there_is_no_other():
    (shard,) = connect(FakeView(), port=0, tls_port=6379).call("CLUSTER", "SHARDS")
    assert shard[b"nodes"][0][b"tls-port"] == 6379 and b"port" not in shard[b"nodes"][0]


def nodes(client):
    return client.call("CLUSTER", "NODES").text.decode().splitlines()


def test_nodes_has_redis_lines():
    view = FakeView(me=2)
    view.change(3, client=Address("three.example", 7), state="unreachable", last_contact_s=9.0)
    assert nodes(connect(view)) == [
        f"{IDS[1]:040x} 10.0.0.1:6379@16379 master - 0 1000000 7 connected 0-16383",
        f"{IDS[2]:040x} 10.0.0.2:6379@16379 myself,slave {IDS[1]:040x} 0 0 7 connected",
        f"{IDS[3]:040x} three.example:7@16379,three.example slave,fail {IDS[1]:040x} 0 991000 7 disconnected",
    ]


def test_a_node_whose_address_is_not_known_has_none():
    view = FakeView()
    view.change(3, client=None, last_contact_s=None)
    assert nodes(connect(view))[2] == f"{IDS[3]:040x} :0@16379 slave,noaddr {IDS[1]:040x} 0 0 7 connected"


def test_replicas_are_those_of_the_leader():
    client = connect(FakeView())
    both = [line.encode() for line in nodes(client)[1:]]
    assert client.call("CLUSTER", "REPLICAS", HEX[1]) == client.call("CLUSTER", "SLAVES", "node-1") == both
    assert client.call("CLUSTER", "REPLICAS", HEX[2]) == "ERR The specified node is not a master"
    assert client.call("CLUSTER", "REPLICAS", "0" * 40) == "ERR Unknown node " + "0" * 40


def when_over(client, *words):
    """The reply when `no-leader-timeout` is over."""
    reply = client.call(*words)
    client.server.advance(1.9)
    assert not reply.done
    client.server.advance(0.2)
    assert reply.done and client.server.timers == []
    return reply.reply


def test_without_a_majority_nobody_is_called_master():
    view = FakeView(me=2)
    view.lead(None)
    client = connect(view)
    for word in ("SLOTS", "SHARDS"):
        assert when_over(client, "CLUSTER", word).text.startswith("CLUSTERDOWN No raft leader")
    lines = when_over(client, "CLUSTER", "NODES").text.decode().splitlines()
    assert len(lines) == 3
    assert all("master" not in line and "slave -" in line and "0-16383" not in line for line in lines)
    found = client.call("CLUSTER", "INFO").text
    assert b"cluster_state:fail\r\n" in found and b"cluster_slots_ok:0\r\n" in found


@pytest.mark.parametrize("word", ["SLOTS", "SHARDS", "NODES"])
def test_who_asks_during_an_election_hears_of_the_new_leader(word):
    """Client libraries give up when every node has refused to say where the slots are."""
    view = FakeView(me=2)
    view.lead(None)
    client = connect(view)
    reply = client.call("CLUSTER", word)
    assert not reply.done and (word == "NODES" or reply.timeout_reply.code == "CLUSTERDOWN"), "in a block it is refused"
    client.server.advance(1.0)
    view.lead(3)
    client.server.advance(0.05)
    assert reply.done and client.server.timers == []
    if word == "NODES":
        assert reply.reply.text.count(b"master") == 1
    else:
        assert reply.reply == client.call("CLUSTER", word) and not isinstance(reply.reply, CommandError)


def test_who_asks_and_goes_away_leaves_no_timer():
    view = FakeView(me=2, leader=None)
    client = connect(view)
    client.call("CLUSTER", "SLOTS").cancel()
    assert client.server.timers == []


def test_a_leader_whose_address_is_not_known_is_not_named():
    view = FakeView(me=2)
    view.change(1, client=None)
    assert when_over(connect(view), "CLUSTER", "SLOTS").text.startswith("CLUSTERDOWN ")


def test_info():
    found = dict(line.split(":") for line in connect(FakeView()).call("CLUSTER", "INFO").text.decode().split())
    assert found["cluster_state"] == "ok" and found["cluster_known_nodes"] == "3" and found["cluster_size"] == "1"
    assert found["cluster_slots_ok"] == found["cluster_slots_assigned"] == "16384"
    assert found["cluster_current_epoch"] == found["cluster_my_epoch"] == "7"


def test_ids():
    client = connect(FakeView(me=2))
    assert client.call("CLUSTER", "MYID") == HEX[2]
    assert client.call("CLUSTER", "MYSHARDID") == b"00000000" + b"c" * 32


@pytest.mark.parametrize(
    "settings, laddr, host, port",
    [
        ({}, "127.0.0.1:6379", b"127.0.0.1", 6379),
        ({}, "[::1]:6379", b"::1", 6379),
        ({}, "/tmp/a.sock:0", b"", 6379),
        ({"port": 0, "tls_port": 7}, "10.1.1.1:26379", b"10.1.1.1", 7),
        ({"advertise_addr": "a.example"}, "127.0.0.1:1", b"a.example", 6379),
        ({"advertise_addr": "a.example:77"}, "127.0.0.1:1", b"a.example", 77),
    ],
)
def test_a_server_alone_is_a_cluster_of_one(settings, laddr, host, port):
    client = connect(None, **settings)
    client.laddr = laddr
    assert client.call("CLUSTER", "SLOTS") == [[0, 16383, [host, port, b"ab" * 20, {}]]]
    assert client.call("CLUSTER", "MYID") == b"ab" * 20


@pytest.mark.parametrize(
    "line",
    ["SLOTS", "SHARDS", "NODES", "INFO", "MYID", "MYSHARDID", "KEYSLOT a", "COUNTKEYSINSLOT 1", "GETKEYSINSLOT 1 1"],
)
def test_without_emulation_it_is_no_cluster_for_clients(line):
    client = connect(FakeView(), mode="no")
    assert client.call("CLUSTER", *line.split()) == DISABLED
    assert not client.follows_moved


@pytest.mark.parametrize(
    "word, follows", [("SLOTS", True), ("SHARDS", True), ("NODES", True), ("INFO", False), ("MYID", False)]
)
def test_who_asks_where_slots_are_follows_moved(word, follows):
    client = connect(FakeView())
    client.call("CLUSTER", word)
    assert client.follows_moved == follows


# Slots.


@pytest.mark.parametrize(
    "key, slot",
    [
        (b"", 0), (b"foo", 12182), (b"foo{bar}", 5061), (b"bar", 5061), (b"{bar}x{foo}", 5061), (b"a", 15495),
        (b"foo{}{bar}", 8363), (b"{", 4092), (b"}{x}", 16287), (b"a{{b}}", 6215), (b"123456789", 12739),
    ],
)  # fmt: skip
def test_slots_of_keys(key, slot):
    """Values of redis-server's CLUSTER KEYSLOT; 12739 (0x31C3) is the check value of the specification."""
    assert connect().call("CLUSTER", "KEYSLOT", key) == slot


@pytest.mark.parametrize(
    "line, reply",
    [
        ("COUNTKEYSINSLOT 16384", "ERR Invalid slot"),
        ("COUNTKEYSINSLOT -1", "ERR Invalid slot"),
        ("COUNTKEYSINSLOT a", "ERR value is not an integer or out of range"),
        ("GETKEYSINSLOT 16384 1", "ERR Invalid slot or number of keys"),
        ("GETKEYSINSLOT 1 -1", "ERR Invalid slot or number of keys"),
        ("GETKEYSINSLOT a 1", "ERR value is not an integer or out of range"),
    ],
)
def test_bad_slots(line, reply):
    assert connect().call("CLUSTER", *line.split()) == reply


def test_keys_of_a_slot_are_found_a_little_at_a_time():
    client = connect()
    server, slot = client.server, slot_of(b"{t}")
    total = 2 * KEYS_PER_TURN
    for number in range(total):
        server.apply("SET", f"{{t}}{number}" if number % 4 == 0 else f"k{number}", "1")
    expected = sum(slot_of(key) == slot for key in list(server.view(0).keys()))
    assert expected >= total // 4
    counting = client.call("CLUSTER", "COUNTKEYSINSLOT", str(slot))
    getting = client.call("CLUSTER", "GETKEYSINSLOT", str(slot), "3")
    everything = client.call("CLUSTER", "GETKEYSINSLOT", str(slot), str(10 * total))
    assert isinstance(counting, Later) and not counting.done, "nobody else has to wait for this"
    server.advance(0)
    assert counting.reply == expected
    assert len(set(getting.reply)) == 3 and all(slot_of(key) == slot for key in getting.reply)
    assert len(everything.reply) == len(set(everything.reply)) == expected
    assert server.timers == []


def test_a_count_that_nobody_wants_any_more_ends():
    client = connect()
    client.call("CLUSTER", "COUNTKEYSINSLOT", "1").cancel()
    assert client.server.timers == []


# Members.


@pytest.mark.parametrize("mode", ["no", "emulate"])
@pytest.mark.parametrize(
    "line, asked",
    [
        ("JOIN 10.0.0.4:16379", ("add", Address("10.0.0.4", 16379))),
        ("JOIN [::1]:7", ("add", Address("::1", 7))),
        ("PROMOTE node-2", ("promote", IDS[2])),
        (f"PROMOTE {IDS[2]}", ("promote", IDS[2])),
        (f"PROMOTE {IDS[2]:040X}", ("promote", IDS[2])),
        ("REMOVE node-3", ("remove", IDS[3], False)),
        ("REMOVE node-3 force " + "C" * 32, ("remove", IDS[3], True)),
    ],
)
def test_changes_are_asked_for_once_and_answered_later(mode, line, asked):
    view = FakeView()
    view.change(2, voter=False)
    client = connect(view, mode)
    reply = client.call("CLUSTER", *line.split())
    assert view.asked == [asked] and not reply.done
    view.later.resolve(OK)
    assert reply.reply == OK


def alone():
    view = FakeView()
    view.members = view.members[:1]
    return view


def test_an_empty_node_joins_the_others():
    client = connect(alone())
    client.call("CLUSTER", "JOIN", "a:1", "b:2")
    assert client.server.cluster.asked == [("join", [Address("a", 1), Address("b", 2)])]


def test_a_node_alone_that_has_keys_takes_the_others_in():
    client = connect(alone())
    client.server.apply("SET", "k", "1")
    client.call("CLUSTER", "JOIN", "a:1")
    assert client.server.cluster.asked == [("add", Address("a", 1))]


@pytest.mark.parametrize(
    "line, refused",
    [
        ("JOIN a:1 b:2", "ERR one node at a time"),
        ("JOIN a", "ERR Invalid address 'a'"),
        ("JOIN a:0", "ERR Invalid address"),
        ("JOIN :1", "ERR Invalid address"),
        ("PROMOTE nosuch", "ERR Unknown node nosuch"),
        ("PROMOTE 0", "ERR Unknown node 0"),
        ("PROMOTE node-2", "ERR node-2 has a vote already"),
        ("REMOVE 99999999999999999999999999", "ERR Unknown node"),
        ("REMOVE node-3 FORCE", "ERR syntax error"),
        ("REMOVE node-3 NOW x", "ERR syntax error"),
        ("REMOVE node-3 FORCE " + "d" * 32, "ERR FORCE wants the id of this cluster"),
        ("MEET 1.1.1.1 1", "ERR CLUSTER MEET is not offered"),
        ("FORGET node-3", "ERR CLUSTER FORGET is not offered: send CLUSTER REMOVE node-3"),
        ("FAILOVER", "ERR CLUSTER FAILOVER is not offered"),
    ],
)
def test_what_cannot_be_is_refused_before_anybody_is_asked(line, refused):
    view = FakeView()
    assert connect(view).call("CLUSTER", *line.split()).startswith(refused)
    assert view.asked == []


@pytest.mark.parametrize("line", ["JOIN a:1", "PROMOTE x", "REMOVE x"])
def test_a_server_alone_has_no_members(line):
    assert connect().call("CLUSTER", *line.split()).startswith("NOCLUSTER No Raft Cluster")


@pytest.mark.parametrize("word", ["SLOTS", "SHARDS", "NODES", "INFO", "HELP"])
@pytest.mark.parametrize("proto", [2, 3])
def test_all_of_it_can_be_sent(word, proto):
    assert encode(connect(FakeView()).call("CLUSTER", word), proto)
