"""SUBSCRIBE to PUBSUB HELP: what a client sees, byte for byte as redis-server 7.0.15 sends it."""

import pytest

from tests.unit.fake_server import FakeServer
from vaylix_resp.commands.spec import DECLARED
from vaylix_resp.limits import SUBSCRIPTION_BYTES_MAX

CONVERSATION = [
    ("SUBSCRIBE a b a", "*3|$9|subscribe|$1|a|:1|*3|$9|subscribe|$1|b|:2|*3|$9|subscribe|$1|a|:2|"),
    ("PSUBSCRIBE x*", "*3|$10|psubscribe|$2|x*|:3|"),
    ("SSUBSCRIBE s", "*3|$10|ssubscribe|$1|s|:1|"),
    ("UNSUBSCRIBE a other", "*3|$11|unsubscribe|$1|a|:2|*3|$11|unsubscribe|$5|other|:2|"),
    ("PUNSUBSCRIBE", "*3|$12|punsubscribe|$2|x*|:1|"),
    ("SUNSUBSCRIBE", "*3|$12|sunsubscribe|$1|s|:0|"),
    ("UNSUBSCRIBE", "*3|$11|unsubscribe|$1|b|:0|"),
    ("UNSUBSCRIBE", "*3|$11|unsubscribe|$-1|:0|"),
    ("PUNSUBSCRIBE", "*3|$12|punsubscribe|$-1|:0|"),
    ("SUNSUBSCRIBE", "*3|$12|sunsubscribe|$-1|:0|"),
]


@pytest.mark.parametrize("proto", [2, 3])
def test_confirmations_come_one_for_each_name(proto):
    client = FakeServer().connect(proto)
    for line, wire in CONVERSATION:
        expected = wire.replace("|", "\r\n")
        if proto == 3:
            expected = expected.replace("*3", ">3").replace("$-1", "_")
        assert client.run(line) == expected.encode(), line


def test_a_publisher_hears_itself_before_the_count():
    client = FakeServer().connect(3)
    client.run("SUBSCRIBE a")
    client.run("PSUBSCRIBE a*")
    assert client.run("PUBLISH a hi") == (
        b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
        b">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$2\r\nhi\r\n:2\r\n"
    )
    assert client.run("PUBLISH nobody hi") == b":0\r\n"
    client.run("SSUBSCRIBE a")
    assert client.run("SPUBLISH a hi") == b">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$2\r\nhi\r\n:1\r\n"


def test_introspection():
    server = FakeServer()
    one, two, asker = server.connect(), server.connect(), server.connect()
    one.call("SUBSCRIBE", "news", "sport")
    two.call("SUBSCRIBE", "news")
    two.call("PSUBSCRIBE", "n*", "m*")
    one.call("PSUBSCRIBE", "n*")
    one.call("SSUBSCRIBE", "shard")
    assert asker.call("PUBSUB", "CHANNELS") == [b"news", b"sport"]
    assert asker.call("PUBSUB", "CHANNELS", "n*") == [b"news"]
    assert asker.call("PUBSUB", "NUMSUB", "news", "none", "news") == [b"news", 2, b"none", 0, b"news", 2]
    assert asker.call("PUBSUB", "NUMSUB") == []
    assert asker.call("PUBSUB", "NUMPAT") == 2
    assert asker.call("PUBSUB", "SHARDCHANNELS") == [b"shard"]
    assert asker.call("PUBSUB", "SHARDNUMSUB", "shard", "news") == [b"shard", 1, b"news", 0]


@pytest.mark.parametrize("sub", ["CHANNELS", "SHARDCHANNELS"])
def test_one_pattern_at_most(sub):
    assert FakeServer().connect().call("PUBSUB", sub, "a", "b") == (
        f"ERR unknown subcommand or wrong number of arguments for '{sub}'. Try PUBSUB HELP."
    )


@pytest.mark.parametrize("verb, sub", [("SUBSCRIBE", "channels"), ("SSUBSCRIBE", "shard_channels")])
def test_too_many_names_are_refused_before_any_is_taken(verb, sub):
    client = FakeServer().connect()
    size = SUBSCRIPTION_BYTES_MAX // 4
    names = [bytes([n]) * size for n in b"abcd"]
    assert client.call(verb, *names[:3]) is not None
    assert len(getattr(client, sub)) == 3
    assert client.call(verb, b"x", names[3]).startswith("ERR too many subscriptions")
    assert len(getattr(client, sub)) == 3
    client.call(f"{verb[0]}UNSUBSCRIBE" if verb[0:2] == "SS" else "UNSUBSCRIBE", names[0])
    client.call(verb, names[3])
    assert len(getattr(client, sub)) == 3


def test_costly_patterns_are_refused_before_any_is_taken():
    client = FakeServer().connect()
    assert client.call("PSUBSCRIBE", "a", *(b"?" * 4000 + b"%d" % n for n in range(10))).startswith(
        "ERR the patterns of one request are longer"
    )
    assert client.call("PSUBSCRIBE", "a", b"?" * 5000).startswith("ERR the pattern is longer")
    assert not client.patterns
    client.call("PSUBSCRIBE", *(b"%04d" % n * 100 + b"*" for n in range(1000)))
    assert len(client.patterns) == 1000


def test_a_client_that_vanishes_while_it_subscribes_leaves_nothing():
    server = FakeServer()
    client = server.connect()
    client.vanish_after = 3
    client.call("SUBSCRIBE", *(f"c{n}" for n in range(10)))
    assert client.killed
    assert len(server.pubsub.channels) == 0
    assert server.pubsub.held == {}


def test_help_begins_and_ends_like_every_help():
    lines = [line.text for line in FakeServer().connect().call("PUBSUB", "HELP")]
    assert lines[0] == "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    assert lines[-2:] == ["HELP", "    Prints this help."]
    for name in ("CHANNELS", "NUMPAT", "NUMSUB", "SHARDCHANNELS", "SHARDNUMSUB"):
        assert any(line.startswith(name) for line in lines), name


def test_categories_are_those_of_redis():
    assert DECLARED["subscribe"].categories == {"pubsub", "slow"}
    assert DECLARED["publish"].categories == {"pubsub", "fast"}
    assert DECLARED["pubsub"].categories == DECLARED["pubsub|help"].categories == {"slow"}
    assert DECLARED["pubsub|numsub"].categories == {"pubsub", "slow"}
    assert DECLARED["ssubscribe"].keys_of((b"ssubscribe", b"a", b"b")) == [(b"a", "not_key"), (b"b", "not_key")]
