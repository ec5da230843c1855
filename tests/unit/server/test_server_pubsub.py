"""The hub: who gets what, in which order, and what happens when they vanish."""

import pytest

from tests.unit.fake_server import FakeServer
from vaylix_resp.commands.spec import DECLARED
from vaylix_resp.server.pubsub import refused_in_subscriber_mode


def test_own_subscribers_before_those_of_patterns_in_the_order_of_subscribing():
    server = FakeServer()
    order = []
    clients = [server.connect() for _ in range(4)]
    for client in clients:
        client.push_wire = lambda wire, client=client: order.append((client.id, wire.split(b"\r\n")[2]))
    for client, name in zip(reversed(clients), ["c*", "c", "c*", "c"], strict=True):
        topics = server.pubsub.patterns if "*" in name else server.pubsub.channels
        list(topics.add(client, [name.encode()]))
    assert server.pubsub.publish(b"c", b"x") == 4
    assert order == [(3, b"message"), (1, b"message"), (4, b"pmessage"), (2, b"pmessage")]


def test_each_subscriber_gets_its_own_protocol():
    server = FakeServer()
    old, new = server.connect(2), server.connect(3)
    for client in (old, new):
        client.run("SUBSCRIBE c")
    server.pubsub.publish(b"c", b"hello")
    assert old.take() == b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"
    assert new.take() == b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"


def test_a_message_is_encoded_once_for_all():
    server = FakeServer()
    clients = [server.connect(2 + n % 2) for n in range(6)]
    for client in clients:
        client.run("SUBSCRIBE c")
    server.pubsub.publish(b"c", b"hello")
    assert len({id(client.wires[0]) for client in clients}) == 2


@pytest.mark.parametrize("vanishing", [0, 1, 2])
def test_a_client_that_vanishes_during_a_message_harms_nobody(vanishing):
    server = FakeServer()
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.run("SUBSCRIBE c")
        client.run("PSUBSCRIBE c*")
    clients[vanishing].vanish_after = 1
    assert server.pubsub.publish(b"c", b"x") >= 5
    for client in clients:
        messages = client.take().count(b"message")
        assert messages == (1 if client is clients[vanishing] else 2)
    assert server.pubsub.publish(b"c", b"x") == 4
    assert server.pubsub.subscribed_clients() == 2


def test_whoever_kills_all_others_while_being_told():
    server = FakeServer()
    clients = [server.connect() for _ in range(4)]
    for client in clients:
        client.run("SUBSCRIBE c")
        client.run("PSUBSCRIBE *")

    def push_wire(wire):
        for other in clients:
            other.kill()

    clients[0].push_wire = push_wire
    server.pubsub.publish(b"c", b"x")
    assert not server.pubsub.channels.subscribers
    assert not server.pubsub.patterns.subscribers and not server.pubsub.patterns.tests


PATTERNS = [
    (b"a*", b"a", True), (b"a*", b"abc", True), (b"a*", b"b", False), (b"*", b"x", True), (b"a", b"a", True),
    (b"a", b"ab", False), (b"h?llo", b"hello", True), (b"h?llo", b"hllo", False), (b"h[ae]llo", b"hallo", True),
    (b"a\\*", b"a*", True), (b"a\\*", b"ab", False), (b"*a*", b"bab", True), (b"a**", b"ab", True),
    (b"a*", b"", False),
]  # fmt: skip


@pytest.mark.parametrize("pattern, channel, fits", PATTERNS)
def test_patterns(pattern, channel, fits):
    server = FakeServer()
    server.connect().call("PSUBSCRIBE", pattern)
    assert server.pubsub.publish(channel, b"x") == int(fits)


def test_channels_and_shard_channels_are_apart():
    server = FakeServer()
    client = server.connect()
    client.run("SUBSCRIBE c")
    assert server.pubsub.publish_shard(b"c", b"x") == 0
    client.run("SSUBSCRIBE c")
    client.run("PSUBSCRIBE *")
    assert server.pubsub.publish_shard(b"c", b"x") == 1
    assert client.take() == b"*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"


def test_nothing_stays_of_a_client_that_goes():
    server = FakeServer()
    client, other = server.connect(), server.connect()
    for line in ("SUBSCRIBE a b", "PSUBSCRIBE a* [b]", "SSUBSCRIBE s"):
        client.run(line)
    other.run("SUBSCRIBE a")
    assert server.pubsub.subscribed_clients() == 2
    server.pubsub.drop(client)
    server.pubsub.drop(client)
    assert client.subscriptions == 0
    assert list(server.pubsub.channels.subscribers) == [b"a"]
    assert not server.pubsub.patterns.subscribers and not server.pubsub.patterns.tests
    assert list(server.pubsub.held) == [other]


# Keyspace events: the setting, the class of an event, and how it is published.
EVENTS = [
    ("", "$", ""),
    ("KE", "$", ""),
    ("A", "$", ""),
    ("K$", "$", "s"),
    ("E$", "$", "e"),
    ("KE$", "$", "se"),
    ("KE$", "g", ""),
    ("KEA", "g", "se"),
    ("KEA", "x", "se"),
    ("KEA", "m", ""),
    ("KEA", "n", ""),
    ("AKEm", "m", "se"),
    ("AnKE", "n", "se"),
    ("Egx", "x", "e"),
]


@pytest.mark.parametrize("flags, kind, published", EVENTS)
def test_keyspace_events(flags, kind, published):
    server = FakeServer()
    client = server.connect()
    client.run("PSUBSCRIBE __key*")
    server.pubsub.configure_events(flags)
    server.pubsub.publish_event(kind, "set", b"k\xff", 3)
    wire = {
        "s": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$17\r\n__keyspace@3__:k\xff\r\n$3\r\nset\r\n",
        "e": b"*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$18\r\n__keyevent@3__:set\r\n$2\r\nk\xff\r\n",
    }
    assert client.take() == b"".join(wire[letter] for letter in published)


@pytest.mark.parametrize("flags, wanted", [
    ("", False), ("KE", False), ("A", False), ("$g", False), ("K$", True), ("EA", True), ("Km", True),
])  # fmt: skip
def test_events_are_collected_only_when_they_can_be_published(flags, wanted):
    hub = FakeServer().pubsub
    hub.configure_events("KEA")
    hub.configure_events(flags)
    assert hub.wants_events is wanted


@pytest.mark.parametrize("proto, line, name, refused", [
    (2, "SUBSCRIBE c", "get", True),
    (2, "PSUBSCRIBE c", "client|id", True),
    (2, "SSUBSCRIBE c", "publish", True),
    (3, "SUBSCRIBE c", "get", False),
    (2, "PING", "get", False),
    *((2, "SUBSCRIBE c", name, False) for name in (
        "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe", "ping", "quit", "reset",
    )),
])  # fmt: skip
def test_subscriber_mode(proto, line, name, refused):
    client = FakeServer().connect(proto)
    client.run(line)
    error = refused_in_subscriber_mode(client, DECLARED[name])
    assert (error is not None) is refused
    if error is not None:
        assert error.text == (
            f"ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
            "this context"
        )
