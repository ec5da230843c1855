"""CLIENT: what may be said of and done to connections, with Redis's texts."""

import pytest

from tests.unit.fake_server import FakeServer
from vaylix_resp.commands.ports import Later
from vaylix_resp.resp.reply import NO_REPLY, OK

NAME = "cannot contain spaces, newlines or special characters."


@pytest.mark.parametrize("words, reply", [
    (("CLIENT", "SETNAME", "a b"), "ERR Client names " + NAME),
    (("CLIENT", "SETNAME", b"\xff"), "ERR Client names " + NAME),
    (("CLIENT", "SETNAME", "x" * 5000), "ERR Client names cannot be longer than 4096 bytes"),
    (("CLIENT", "SETINFO", "Lib-Ver", "a\n"), "ERR Lib-Ver " + NAME),
    (("CLIENT", "SETINFO", "lib-foo", "a"), "ERR Unrecognized option 'lib-foo'"),
    (("CLIENT", "LIST", "TYPE", "foo"), "ERR Unknown client type 'foo'"),
    (("CLIENT", "LIST", "TYPE"), "ERR syntax error"),
    (("CLIENT", "LIST", "ID"), "ERR syntax error"),
    (("CLIENT", "LIST", "foo"), "ERR syntax error"),
    (("CLIENT", "LIST", "ID", "x"), "ERR Invalid client ID"),
    (("CLIENT", "KILL", "1.1.1.1:1"), "ERR No such client"),
    (("CLIENT", "KILL", "ID"), "ERR No such client"),
    (("CLIENT", "KILL", "ID", "0"), "ERR client-id should be greater than 0"),
    (("CLIENT", "KILL", "ID", "x"), "ERR client-id should be greater than 0"),
    (("CLIENT", "KILL", "TYPE", "foo"), "ERR Unknown client type 'foo'"),
    (("CLIENT", "KILL", "USER", "nobody"), "ERR No such user 'nobody'"),
    (("CLIENT", "KILL", "SKIPME", "maybe"), "ERR syntax error"),
    (("CLIENT", "KILL", "ID", "1", "SKIPME"), "ERR syntax error"),
    (("CLIENT", "KILL", "MAXAGE", "x"), "ERR maxage is not an integer or out of range"),
    (("CLIENT", "KILL", "MAXAGE", "0"), "ERR maxage should be greater than 0"),
    (("CLIENT", "KILL", "MAXAGE", "-5"), "ERR maxage should be greater than 0"),
    (("CLIENT", "PAUSE", "abc"), "ERR timeout is not an integer or out of range"),
    (("CLIENT", "PAUSE", "-1"), "ERR timeout is negative"),
    (("CLIENT", "PAUSE", "1", "foo"), "ERR CLIENT PAUSE mode must be WRITE or ALL"),
    (("CLIENT", "PAUSE", str((1 << 63) - 1)), "ERR timeout is out of range"),
    (("CLIENT", "pause", "1", "WRITE", "x"),
     "ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP."),
    (("CLIENT", "UNBLOCK", "x"), "ERR value is not an integer or out of range"),
    (("CLIENT", "UNBLOCK", "1", "foo"), "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    (("CLIENT", "UNBLOCK", "x", "foo"), "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    (("CLIENT", "unblock", "1", "ERROR", "x"),
     "ERR unknown subcommand or wrong number of arguments for 'unblock'. Try CLIENT HELP."),
    (("CLIENT", "REPLY", "foo"), "ERR syntax error"),
    (("CLIENT", "NO-EVICT", "foo"), "ERR syntax error"),
    (("CLIENT", "NO-TOUCH", "foo"), "ERR syntax error"),
    (("CLIENT", "MAINT_NOTIFICATIONS", "ON"), "ERR CLIENT MAINT_NOTIFICATIONS is not supported: this server sends "
                                              "no maintenance notifications"),
    (("CLIENT", "MAINT_NOTIFICATIONS", "OFF"), OK),
])  # fmt: skip
def test_refusals_kill_nobody(words, reply):
    server = FakeServer()
    client, other = server.connect(), server.connect()
    assert client.call(*words) == reply
    assert not (client.closing or client.killed or other.killed)
    assert not server.clients.pause_kind(server.clock.now())


def test_names():
    client = FakeServer().connect()
    assert client.call("CLIENT", "GETNAME") is None
    assert client.call("CLIENT", "SETNAME", "me!~") is OK
    assert client.call("CLIENT", "GETNAME") == b"me!~"
    assert client.call("CLIENT", "SETNAME", "") is OK
    assert client.call("CLIENT", "GETNAME") is None
    client.call("CLIENT", "SETINFO", "lib-name", "redis-py(x)")
    client.call("CLIENT", "SETINFO", "LIB-VER", "8.0")
    assert b" lib-name=redis-py(x) lib-ver=8.0\n" in client.call("CLIENT", "INFO").text


def kill_party():
    """1 asks; 2 and 3 are ordinary, 3 is older than all; 4 subscribes."""
    server = FakeServer()
    clients = [server.connect(addr=f"10.0.0.{n}:1") for n in (1, 2, 3, 4)]
    clients[3].call("SUBSCRIBE", "c")
    for client in clients:
        client.created -= 10
    clients[2].created -= 90
    return clients


@pytest.mark.parametrize("words, gone, reply", [
    ("10.0.0.2:1", {2}, OK),
    ("10.0.0.1:1", {1}, OK),
    ("ID 3", {3}, 1),
    ("ID 1", set(), 0),
    ("ID 1 SKIPME no", {1}, 1),
    ("ADDR 10.0.0.2:1", {2}, 1),
    ("LADDR 127.0.0.1:6379", {2, 3, 4}, 3),
    ("TYPE normal", {2, 3}, 2),
    ("TYPE PUBSUB", {4}, 1),
    ("TYPE master", set(), 0),
    ("TYPE slave", set(), 0),
    ("USER default", {2, 3, 4}, 3),
    ("USER default SKIPME NO", {1, 2, 3, 4}, 4),
    ("MAXAGE 100", {3}, 1),
    ("MAXAGE 101", set(), 0),
    ("TYPE normal ID 4", set(), 0),
    ("id 2 ID 3", {3}, 1),
    ("SKIPME yes", {2, 3, 4}, 3),
])  # fmt: skip
def test_kill(words, gone, reply):
    clients = kill_party()
    assert clients[0].call("CLIENT", "KILL", *words.split()) == reply
    assert {client.id for client in clients if client.killed or client.closing} == gone
    assert not clients[0].killed, "one's own reply is sent first"


def test_lists_choose():
    server = FakeServer()
    one, two, three = server.connect(), server.connect(), server.connect()
    two.call("SUBSCRIBE", "c")

    def ids(*words):
        return [int(line.split()[0][3:]) for line in one.call("CLIENT", "LIST", *words).text.splitlines()]

    assert ids() == [1, 2, 3]
    assert ids("TYPE", "pubsub") == [2]
    assert ids("type", "NORMAL") == [1, 3]
    assert ids("TYPE", "replica") == []
    assert ids("ID", "3", "99", "1") == [3, 1]
    assert one.call("CLIENT", "INFO").text.startswith(b"id=1 ")
    assert three.call("CLIENT", "ID") == 3


def test_reply_modes():
    client = FakeServer().connect()
    assert client.call("CLIENT", "REPLY", "SKIP") is NO_REPLY and client.reply_mode == "skip"
    assert client.call("CLIENT", "REPLY", "off") is NO_REPLY and client.reply_mode == "off"
    assert client.call("CLIENT", "REPLY", "SKIP") is NO_REPLY and client.reply_mode == "off"
    assert client.call("CLIENT", "REPLY", "ON") is OK and client.reply_mode == "on"


def test_pause_and_unpause():
    server = FakeServer()
    client = server.connect()
    assert client.call("CLIENT", "PAUSE", "1000", "WRITE") is OK
    assert server.clients.pause_kind(server.clock.now()) == "write"
    assert server.refreshed, "the server has to look"
    assert client.call("CLIENT", "UNPAUSE") is OK
    assert server.clients.pause_kind(server.clock.now()) == ""
    client.call("CLIENT", "PAUSE", "1000")
    assert server.clients.pause_kind(server.clock.now()) == "all"


@pytest.mark.parametrize("words, reply", [
    ((), "timed out"),
    (("TIMEOUT",), "timed out"),
    (("error",), "UNBLOCKED client unblocked via CLIENT UNBLOCK"),
])  # fmt: skip
def test_unblock(words, reply):
    server = FakeServer()
    client, other = server.connect(), server.connect()
    assert client.call("CLIENT", "UNBLOCK", other.id) == 0
    cancelled, replies = [], []
    other.waiting = Later(on_cancel=lambda: cancelled.append(1), blocking=True, timeout_reply="timed out")
    other.waiting.listen(replies.append)
    assert client.call("CLIENT", "UNBLOCK", other.id, *words) == 1
    assert cancelled == [1]
    assert [getattr(got, "text", got) for got in replies] == [reply]
    assert client.call("CLIENT", "UNBLOCK", other.id, *words) == 0
    assert client.call("CLIENT", "UNBLOCK", 99) == 0


def test_only_blocking_waits_can_be_unblocked():
    server = FakeServer()
    client, other = server.connect(), server.connect()
    other.waiting = Later()
    assert client.call("CLIENT", "UNBLOCK", other.id) == 0
    assert not other.waiting.done


def test_capabilities():
    client = FakeServer().connect()
    assert client.call("CLIENT", "CAPA", "something") is OK and not client.capa_redirect
    assert client.call("CLIENT", "CAPA", "something", "Redirect") is OK and client.capa_redirect


def test_help_names_every_subcommand():
    from vaylix_resp.commands.spec import DECLARED

    text = "\n".join(line.text for line in FakeServer().connect().call("CLIENT", "HELP"))
    for name in DECLARED:
        if name.startswith("client|") and name != "client|maint_notifications":
            assert f"\n{name[7:].upper()}" in text, name
