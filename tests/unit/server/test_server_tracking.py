"""Client-side caching: who is told of which change, in which form, and that memory stays bounded."""

import random

import pytest

from tests.unit.fake_server import FakeServer
from vaylix_resp.commands.spec import DECLARED
from vaylix_resp.server import tracking as module
from vaylix_resp.server.tracking import STALE_IDS_SPARED


def told(*keys):
    """An invalidation in RESP3; no keys: all of them."""
    body = b"*%d\r\n" % len(keys) + b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in keys) if keys else b"_\r\n"
    return b">2\r\n$10\r\ninvalidate\r\n" + body


def read(client, *keys, name="get"):
    argv = (name.encode(), *keys)
    client.server.tracking.after(client, DECLARED[name], argv)


def tracker(server, options="", proto=3):
    client = server.connect(proto)
    assert client.run(f"CLIENT TRACKING ON {options}") == b"+OK\r\n"
    return client


def test_one_read_one_invalidation():
    server = FakeServer()
    client, writer = tracker(server), server.connect()
    read(client, b"k")
    server.tracking.invalidate([(0, b"other")], writer)
    assert client.take() == b""
    server.tracking.invalidate([(3, b"k")], writer)
    assert client.take() == told(b"k"), "by name alone, whatever the database"
    server.tracking.invalidate([(0, b"k")], writer)
    assert client.take() == b""


def test_every_key_of_a_command_is_tracked_and_channels_are_no_keys():
    server = FakeServer()
    client = tracker(server)
    read(client, b"a", b"b", name="mget")
    read(client, b"c", b"v", name="set")
    server.tracking.after(client, DECLARED["spublish"], (b"spublish", b"d", b"x"))
    server.tracking.invalidate([(0, key) for key in (b"a", b"b", b"c", b"d", b"a")], None)
    assert client.take() == told(b"a") + told(b"b")


@pytest.mark.parametrize("mode, said, tracked", [
    ("", None, True),
    ("OPTIN", None, False),
    ("OPTIN", "YES", True),
    ("OPTOUT", None, True),
    ("OPTOUT", "NO", False),
])  # fmt: skip
def test_opting(mode, said, tracked):
    server = FakeServer()
    client = tracker(server, mode)
    if said:
        argv = (b"client", b"caching", said.encode())
        client.run(f"CLIENT CACHING {said}")
        server.tracking.after(client, DECLARED["client|caching"], argv)
        server.tracking.after(client, DECLARED["client|id"], (b"client", b"id"))
    read(client, b"k")
    read(client, b"later")
    server.tracking.invalidate([(0, b"k")], None)
    assert bool(client.take()) is tracked
    server.tracking.invalidate([(0, b"later")], None)
    assert bool(client.take()) is (mode != "OPTIN"), "CLIENT CACHING holds for one command"


def test_caching_holds_for_a_whole_transaction():
    server = FakeServer()
    client = tracker(server, "OPTIN")
    client.run("CLIENT CACHING YES")
    client.multi = []
    server.tracking.after(client, DECLARED["ping"], (b"multi",))
    for key in (b"a", b"b"):
        server.tracking.remember(client, DECLARED["get"], (b"get", key))
    client.multi = None
    server.tracking.after(client, DECLARED["ping"], (b"exec",))
    read(client, b"c")
    server.tracking.invalidate([(0, b"a"), (0, b"b"), (0, b"c")], None)
    assert client.take() == told(b"a") + told(b"b")


@pytest.mark.parametrize("options", ["NOLOOP", "BCAST NOLOOP", "NOLOOP OPTOUT"])
def test_noloop(options):
    server = FakeServer()
    client, other = tracker(server, options), server.connect()
    read(client, b"k")
    server.tracking.invalidate([(0, b"k")], client)
    assert client.take() == b""
    read(client, b"k")
    server.tracking.invalidate([(0, b"k")], other)
    assert client.take() == told(b"k")
    server.tracking.invalidate([(0, None)], client)
    assert client.take() == told(), "a flush is told to everybody, as in Redis"


def test_broadcast_in_the_order_of_prefixes_and_keys():
    server = FakeServer()
    everything, some = tracker(server, "BCAST"), tracker(server, "BCAST PREFIX c PREFIX a")
    keys = [b"c2", b"c1", b"a", b"zz", b"c2"]
    server.tracking.invalidate([(0, key) for key in keys], None)
    assert everything.take() == told(b"a", b"c1", b"c2", b"zz")
    assert some.take() == told(b"a") + told(b"c1", b"c2")
    read(some, b"k")
    server.tracking.invalidate([(0, b"k")], None)
    assert some.take() == b"", "reads do not matter in this mode"


def test_a_flush_is_told_once_and_forgets_everything():
    server = FakeServer()
    clients = [tracker(server), tracker(server, "BCAST PREFIX x"), tracker(server, "OPTIN")]
    read(clients[0], b"k")
    server.tracking.invalidate([(n, None) for n in range(16)], None)
    assert [client.take() for client in clients] == [told()] * 3
    server.tracking.invalidate([(0, b"k")], None)
    assert clients[0].take() == b""
    assert server.tracking.counts()["tracking_total_items"] == 0
    assert server.tracking.release(100)


REDIRECTED = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"


@pytest.mark.parametrize("proto, line, key_wire, flush_wire", [
    (2, "SUBSCRIBE __redis__:invalidate", REDIRECTED + b"*1\r\n$1\r\nk\r\n", REDIRECTED + b"$-1\r\n"),
    (2, "SUBSCRIBE something", REDIRECTED + b"*1\r\n$1\r\nk\r\n", REDIRECTED + b"$-1\r\n"),
    (2, "PING", b"", b""),
    (3, "PING", told(b"k"), told()),
])  # fmt: skip
@pytest.mark.parametrize("own_proto", [2, 3])
def test_redirection(proto, line, key_wire, flush_wire, own_proto):
    server = FakeServer()
    target = server.connect(proto)
    target.run(line)
    client = tracker(server, f"REDIRECT {target.id}", own_proto)
    read(client, b"k")
    server.tracking.invalidate([(0, b"k")], None)
    assert target.take() == key_wire
    server.tracking.invalidate([(0, None)], None)
    assert target.take() == flush_wire
    assert client.take() == b""


@pytest.mark.parametrize("proto, wire", [(2, b""), (3, b">2\r\n$21\r\ntracking-redir-broken\r\n:1\r\n")])
def test_a_redirection_to_a_client_that_is_gone(proto, wire):
    server = FakeServer()
    target = server.connect(3)
    client = tracker(server, f"REDIRECT {target.id}", proto)
    read(client, b"k")
    target.kill()
    server.tracking.invalidate([(0, b"k")], None)
    assert client.take() == wire
    assert "broken_redirect" in client.tracking.flags()
    client.run("CLIENT TRACKING ON")
    assert "broken_redirect" not in client.tracking.flags()


def test_resp2_alone_has_no_way_to_be_told():
    server = FakeServer()
    client = tracker(server, proto=2)
    client.run("SUBSCRIBE __redis__:invalidate")
    read(client, b"k")
    server.tracking.invalidate([(0, b"k"), (0, None)], None)
    assert client.take() == b""


@pytest.mark.parametrize("messages", [1, 2])
@pytest.mark.parametrize("options", ["", "BCAST"])
def test_clients_that_vanish_while_they_are_told(options, messages):
    server = FakeServer()
    clients = [tracker(server, options) for _ in range(3)]
    for touched in ([(0, b"k")], [(0, None)]):
        for client in clients[1:]:
            read(client, b"k")
        clients[1].vanish_after = messages
        server.tracking.invalidate(touched, None)
    assert clients[1].killed
    assert server.tracking.counts()["tracking_clients"] == 2
    for client in clients:
        client.kill()
    assert not server.tracking.active
    assert server.tracking.counts()["tracking_total_prefixes"] == 0


def test_the_oldest_keys_are_given_up_beyond_the_limit():
    server = FakeServer(tracking_table_max_keys=3)
    client = tracker(server, "NOLOOP")
    for key in (b"a", b"b", b"c"):
        read(client, key)
    assert client.take() == b""
    read(client, b"a")
    read(client, b"d")
    assert client.take() == told(b"a")
    assert server.tracking.counts()["tracking_total_keys"] == 3
    read(client, *b"efgh".split(), name="mget")
    read(client, *(b"%d" % n for n in range(10)), name="mget")
    assert server.tracking.counts()["tracking_total_keys"] == 3


def test_no_limit_on_the_number():
    server = FakeServer(tracking_table_max_keys=0)
    client = tracker(server)
    for n in range(50):
        read(client, b"%d" % n)
    assert client.take() == b""


def test_long_keys_are_bounded_by_bytes(monkeypatch):
    monkeypatch.setattr(module, "TRACKING_KEYS_BYTES_MAX", 10_000)
    server = FakeServer()
    client = tracker(server)
    for n in range(20):
        read(client, b"%04d" % n * 250)
    assert server.tracking.counts()["tracking_total_keys"] == 8
    assert client.take().count(b"invalidate") == 12


def test_ids_of_gone_clients_are_purged_from_a_key_that_many_read():
    server = FakeServer()
    watcher = tracker(server)
    read(watcher, b"k")
    for _ in range(200):
        client = tracker(server)
        read(client, b"k")
        client.kill()
    assert server.tracking.counts()["tracking_total_items"] <= 2 * 2 + STALE_IDS_SPARED
    server.tracking.invalidate([(0, b"k")], None)
    assert watcher.take() == told(b"k")


def test_forgotten_tables_are_freed_in_steps():
    server = FakeServer()
    client = tracker(server)
    for n in range(500):
        read(client, b"%d" % n)
    server.tracking.invalidate([(0, None)], None)
    assert not server.tracking.release(200)
    assert not server.tracking.release(200)
    assert server.tracking.release(200)


class SlowTwin:
    """For each client, the plain set of keys that it was told."""

    def __init__(self, clients):
        self.known = {client: set() for client in clients}

    def read(self, client, key):
        self.known[client].add(key)

    def write(self, key):
        told_now = [client for client in self.known if key in self.known[client]]
        for client in told_now:
            self.known[client].discard(key)
        return told_now


@pytest.mark.parametrize("seed", range(20))
def test_a_slow_twin_agrees(seed):
    rng = random.Random(seed)
    server = FakeServer()
    clients = [tracker(server) for _ in range(5)]
    twin = SlowTwin(clients)
    for _ in range(500):
        key = b"%d" % rng.randrange(10)
        if rng.random() < 0.6:
            client = rng.choice(clients)
            read(client, key)
            twin.read(client, key)
        else:
            server.tracking.invalidate([(0, key)], None)
            assert [client for client in clients if client.take() == told(key)] == twin.write(key)
        counts = server.tracking.counts()
        assert counts["tracking_total_items"] == sum(map(len, twin.known.values()))
        assert counts["tracking_total_keys"] == len(set().union(*twin.known.values()))
