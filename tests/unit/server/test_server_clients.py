"""The registry of connections: the list's format, filters, pauses, maxclients."""

import re
from types import SimpleNamespace

import pytest

from tests.unit.fake_server import FakeServer
from vaylix_resp.commands.ports import Later
from vaylix_resp.commands.spec import DECLARED, Kind
from vaylix_resp.server.clients import describe, flags_of, type_of
from vaylix_resp.server.tracking import Tracking

# Redis 7.2's fields (with `watch` of 7.4), in its order.
FIELDS = (
    "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf qbuf-free argv-mem multi-mem rbs rbp obl "
    "oll omem tot-mem events cmd user redir resp lib-name lib-ver"
).split()


def fields(line):
    return dict(word.split("=", 1) for word in line.decode().split(" "))


def test_a_line_has_every_field_in_order():
    client = FakeServer().connect()
    line = describe(client, 1000.0)
    assert [word.split("=")[0] for word in line.decode().split(" ")] == FIELDS
    assert line.startswith(b"id=1 addr=127.0.0.1:50001 laddr=127.0.0.1:6379 fd=7 name= age=0 idle=0 flags=N db=0 ")
    assert line.endswith(b" cmd=NULL user=default redir=-1 resp=2 lib-name= lib-ver=")


def test_a_line_tells_the_state():
    server = FakeServer()
    client = server.connect(3)
    client.call("SUBSCRIBE", "a", "b")
    client.call("PSUBSCRIBE", "p")
    client.call("SSUBSCRIBE", "s", "t", "u")
    client.call("CLIENT", "SETNAME", "me")
    client.call("CLIENT", "TRACKING", "ON", "REDIRECT", "1")
    client.db, client.last_command = 4, "client|list"
    client.watched = {(0, b"k"): 1}
    client.multi = Block(7, 300)
    client.input_bytes, client.request_bytes, client.output_bytes = 10, 40, 20
    found = fields(describe(client, 1000.0 + 65.9))
    expected = {
        "name": "me", "age": "65", "idle": "65", "db": "4", "sub": "2", "psub": "1", "ssub": "3", "multi": "7",
        "watch": "1", "qbuf": "10", "argv-mem": "40", "multi-mem": "300", "omem": "20", "oll": "1", "events": "rw",
        "cmd": "client|list", "redir": "1", "resp": "3", "flags": "Pxt",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert int(found["tot-mem"]) > 370


class Block:
    """As `commands.transactions.Queue`."""

    def __init__(self, count, size):
        self.count, self.bytes = count, size

    def __len__(self):
        return self.count


@pytest.mark.parametrize("change, letters", [
    ({}, "N"),
    ({"monitor": True}, "O"),
    ({"channels": {b"c": None}}, "P"),
    ({"patterns": {b"c": None}}, "P"),
    ({"shard_channels": {b"c": None}}, "P"),
    ({"multi": Block(0, 0)}, "x"),
    ({"waiting": Later(blocking=True)}, "b"),
    ({"waiting": Later()}, "N"),
    ({"tracking": Tracking()}, "t"),
    ({"tracking": Tracking(bcast=True)}, "tB"),
    ({"dirty": True, "multi": Block(0, 0)}, "xd"),
    ({"addr": "/run/redis.sock:0"}, "U"),
    ({"no_evict": True, "no_touch": True}, "eT"),
])  # fmt: skip
def test_flags(change, letters):
    client = FakeServer().connect()
    for name, value in change.items():
        setattr(client, name, value)
    assert flags_of(client) == letters


def test_a_broken_redirection_shows():
    client = FakeServer().connect()
    client.tracking = Tracking(redirect=9)
    client.tracking.broken = True
    assert flags_of(client) == "tR"


def test_types():
    server = FakeServer()
    ordinary, subscriber, monitor = server.connect(), server.connect(), server.connect()
    subscriber.call("SSUBSCRIBE", "s")
    monitor.call("MONITOR")
    assert [type_of(client) for client in server.clients] == ["normal", "pubsub", "normal"]
    ordinary.waiting = Later(blocking=True)
    assert server.clients.blocked() == 1
    ordinary.waiting.resolve(None)
    assert server.clients.blocked() == 0


def test_ids_are_never_given_again():
    server = FakeServer()
    first = server.connect()
    first.kill()
    assert server.connect().id == first.id + 1
    assert server.clients.get(first.id) is None
    server.clients.remove(first)
    assert len(server.clients) == 1


def test_clients_may_come_and_go_during_a_walk():
    server = FakeServer()
    for _ in range(3):
        server.connect()
    seen = []
    for client in server.clients:
        seen.append(client.id)
        server.connect()
        client.kill()
    assert seen == [1, 2, 3]


def test_maxclients():
    server = FakeServer(maxclients=2)
    assert server.clients.refuse() is None
    server.connect(), server.connect()
    assert server.clients.refuse() == "ERR max number of clients reached"
    assert server.clients.rejected == 1
    next(iter(server.clients)).kill()
    assert server.clients.refuse() is None
    assert server.clients.rejected == 1


# Requests for a pause and when they are made; then what holds at each moment (seconds).
PAUSES = [
    ([(0, "write", 1000)], {0: "write", 0.9: "write", 1: ""}),
    ([(0, "all", 1000), (0.5, "write", 1000)], {0.6: "all", 1.4: "all", 1.5: ""}),
    ([(0, "write", 3000), (1, "all", 1)], {1: "all", 2.9: "all", 3: ""}),
    ([(0, "all", 1000), (2, "write", 1000)], {2.5: "write", 3: ""}),
    ([(0, "all", 0)], {0: ""}),
]


@pytest.mark.parametrize("pauses, moments", PAUSES)
def test_a_pause_only_widens_and_lengthens(pauses, moments):
    server = FakeServer()
    for at, kind, milliseconds in pauses:
        server.clock.seconds = 1000.0 + at
        server.clients.pause(kind, milliseconds)
    assert {at: server.clients.pause_kind(1000.0 + at) for at in moments} == moments


def test_unpause_wakes_those_who_wait_but_only_from_a_pause():
    server = FakeServer()
    woken = []
    server.clients.on_resume.append(lambda: woken.append(1))
    server.clients.unpause()
    assert woken == []
    server.clients.pause("all", 1000)
    assert server.clients.paused_until == 1001.0
    server.clients.unpause()
    assert woken == [1]


@pytest.mark.parametrize("name, writes_queued, write, everything", [
    ("set", False, True, True),
    ("get", False, False, True),
    ("publish", False, True, True),
    ("spublish", False, True, True),
    ("subscribe", False, False, True),
    ("exec", True, True, True),
    ("exec", False, False, True),
    ("client|unpause", False, False, True),
    ("get", True, False, True),
])  # fmt: skip
def test_what_a_pause_holds(name, writes_queued, write, everything):
    spec = DECLARED.get(name) or SimpleNamespace(name=name, kind=Kind.SESSION)
    for kind, held in (("", False), ("write", write), ("all", everything)):
        server = FakeServer()
        if kind:
            server.clients.pause(kind, 1000)
        assert server.clients.holds(1000.0, spec, writes_queued) is held, kind


def test_names_stay_one_word():
    server = FakeServer()
    client = server.connect()
    for name in (b"a b", b"a\nid=7", b"\xc3\xa9"):
        client.call("CLIENT", "SETNAME", name)
    client.call("CLIENT", "SETNAME", "a=b")
    assert re.search(rb" name=a=b age=", describe(client, 1000.0))
