"""PING to RESET: what the connection itself answers."""

import pytest

from tests.unit.fake_cluster import FakeView
from tests.unit.fake_server import FakeServer
from vaylix_resp import identity
from vaylix_resp.commands.connection import HELLO_NO_AUTH, NO_PASSWORD
from vaylix_resp.errors import WRONG_PASS, CommandError
from vaylix_resp.resp.reply import OK, PONG, RESET


@pytest.mark.parametrize("proto, subscribe, line, reply", [
    (2, "", "PING", PONG),
    (2, "", "PING x", b"x"),
    (2, "SUBSCRIBE c", "PING", [b"pong", b""]),
    (2, "SUBSCRIBE c", "PING x", [b"pong", b"x"]),
    (2, "PSUBSCRIBE c", "PING x", [b"pong", b"x"]),
    (2, "SSUBSCRIBE c", "PING x", [b"pong", b"x"]),
    (3, "SUBSCRIBE c", "PING", PONG),
    (3, "SUBSCRIBE c", "PING x", b"x"),
    (2, "", "PING x y", "ERR wrong number of arguments for 'ping' command"),
    (2, "", "ECHO x", b"x"),
])  # fmt: skip
def test_ping_and_echo(proto, subscribe, line, reply):
    client = FakeServer().connect(proto)
    if subscribe:
        client.run(subscribe)
    assert client.call(*line.split()) == reply


@pytest.mark.parametrize("password, line, reply", [
    ("", "AUTH x", NO_PASSWORD),
    ("", "AUTH default anything", OK),
    ("", "AUTH other x", WRONG_PASS),
    ("", "AUTH a b c", "ERR syntax error"),
    ("sesame", "AUTH sesame", OK),
    ("sesame", "AUTH default sesame", OK),
    ("sesame", "AUTH other sesame", WRONG_PASS),
    ("sesame", "AUTH default", WRONG_PASS),
    ("sesame", "AUTH Sesame", WRONG_PASS),
    ("sesame", "AUTH sesame2", WRONG_PASS),
    ("sesame", "AUTH DEFAULT sesame", WRONG_PASS),
])  # fmt: skip
def test_auth(password, line, reply):
    client = FakeServer(requirepass=password).connect()
    before = client.authenticated
    assert client.call(*line.split()) == reply
    assert client.authenticated is (before or reply is OK)


@pytest.mark.parametrize("line, denied", [
    ("AUTH wrong", 1), ("AUTH default wrong", 1), ("AUTH other sesame", 1), ("HELLO 3 AUTH default wrong", 1),
    ("AUTH sesame", 0), ("HELLO 3 AUTH default sesame", 0), ("AUTH a b c", 0), ("HELLO 3", 0), ("HELLO 4 AUTH a b", 0),
])  # fmt: skip
def test_refused_log_ins_are_counted(line, denied):
    client = FakeServer(requirepass="sesame").connect()
    client.call(*line.split())
    assert client.server.stats.acl_access_denied_auth == denied


def test_a_password_may_be_any_bytes():
    client = FakeServer(requirepass=b"\xff\x00p".decode("utf-8", "surrogateescape")).connect()
    assert client.call("AUTH", b"\xff\x00q") == WRONG_PASS
    assert client.call("AUTH", b"\xff\x00p") is OK


@pytest.mark.parametrize("line, reply", [
    ("HELLO 4", "NOPROTO unsupported protocol version"),
    ("HELLO 1", "NOPROTO unsupported protocol version"),
    ("HELLO 03", "ERR Protocol version is not an integer or out of range"),
    ("HELLO 3.0", "ERR Protocol version is not an integer or out of range"),
    ("HELLO 3 foo", "ERR Syntax error in HELLO option 'foo'"),
    ("HELLO 3 auth a", "ERR Syntax error in HELLO option 'auth'"),
    ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
    ("HELLO 3 AUTH default wrong SETNAME n", WRONG_PASS),
    ("HELLO 3 AUTH default sesame SETNAME \x01", "ERR Client names cannot contain spaces, newlines or "
                                                  "special characters."),
    ("HELLO 3", HELLO_NO_AUTH),
    ("HELLO", HELLO_NO_AUTH),
])  # fmt: skip
def test_a_refused_hello_changes_nothing(line, reply):
    client = FakeServer(requirepass="sesame").connect()
    assert client.call(*line.split(" ")) == reply
    assert (client.proto, client.name, client.authenticated) == (2, b"", False)


def test_hello_does_everything_at_once():
    client = FakeServer(requirepass="sesame").connect()
    assert client.call("HELLO", "3", "SETNAME", "n", "AUTH", "default", "sesame") == {
        "server": "redis", "version": identity.REDIS_VERSION, "proto": 3, "id": client.id, "mode": "standalone",
        "role": "master", "modules": [],
    }  # fmt: skip
    assert (client.proto, client.name, client.authenticated) == (3, b"n", True)
    assert client.call("HELLO")["proto"] == 3
    assert client.call("HELLO", "2")["proto"] == client.proto == 2


def test_quit_answers_first():
    client = FakeServer().connect()
    assert client.call("QUIT", "whatever") is OK
    assert client.closing and not client.killed


def test_reset_leaves_what_a_new_connection_has():
    server = FakeServer(requirepass="sesame")
    client = server.connect()
    for line in (
        "AUTH sesame", "HELLO 3 SETNAME n", "CLIENT SETINFO LIB-NAME lib", "CLIENT NO-EVICT on", "SUBSCRIBE a",
        "PSUBSCRIBE b", "SSUBSCRIBE c", "CLIENT TRACKING ON BCAST", "MONITOR", "CLIENT NO-TOUCH ON",
        "CLIENT CAPA redirect", "CLIENT REPLY OFF",
    ):  # fmt: skip
        client.run(line)
    client.db, client.dirty = 3, True
    assert client.call("RESET") == RESET
    fresh = server.connect()
    differ = {
        name for name in fresh.__slots__ if getattr(fresh, name, None) != getattr(client, name, None)
    }
    assert differ == {"id", "addr", "lib_name"}
    assert client.unwatched
    assert len(server.pubsub.channels) == len(server.pubsub.patterns) == len(server.pubsub.shards) == 0
    assert not server.tracking.active and not server.monitors.active


def test_a_node_whose_data_differ_does_not_say_that_it_is_well():
    client = FakeServer().connect()
    client.server.cluster = view = FakeView(me=2)
    assert client.call("PING") == PONG
    view.stopped = CommandError("MISCONF its data differ")
    assert client.call("PING") == client.call("PING", "x") == "MISCONF its data differ"
    assert client.call("ECHO", "x") == b"x"
