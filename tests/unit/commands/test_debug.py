"""DEBUG: refused unless allowed; then what tests of servers and clients expect of it."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.debug import POPULATE_ENTRY_KEYS, REFUSED
from vaylix_resp.commands.ports import Later
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK, Simple
from vaylix_resp.resp.writer import encode

MISUSE = "ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP."
POSITIVE = "ERR value is out of range, must be positive"


@pytest.fixture
def client():
    return FakeAdmin(enable_debug_command="yes").connect()


@pytest.mark.parametrize(
    "setting, addr, allowed",
    [
        ("no", "127.0.0.1:1", False),
        ("yes", "10.0.0.1:1", True),
        ("local", "127.0.0.1:1", True),
        ("local", "127.8.0.1:1", True),
        ("local", "[::1]:1", True),
        ("local", "/run/vaylix.sock:0", True),
        ("local", "10.127.0.1:1", False),
        ("local", "[::2]:1", False),
    ],
)
def test_who_may(setting, addr, allowed):
    client = FakeAdmin(enable_debug_command=setting).connect(addr=addr)
    assert client.call("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", "1") == (OK if allowed else REFUSED)
    assert (client.call("DEBUG", "nosuch") == REFUSED) == (not allowed)


@pytest.mark.parametrize(
    "line, reply",
    [
        ("foo", MISUSE.format("foo")),
        ("sleep", MISUSE.format("sleep")),
        ("SLEEP 1 2", MISUSE.format("SLEEP")),
        ("digest x", MISUSE.format("digest")),
        ("SLEEP 0", OK),
        ("SLEEP abc", OK),
        ("SLEEP nan", OK),
        ("SLEEP -1", OK),
        ("OBJECT nosuch", "ERR no such key"),
        ("ERROR foo", "foo"),
        ("POPULATE a", POSITIVE),
        ("POPULATE -1", POSITIVE),
        ("POPULATE 1 x y", POSITIVE),
        ("POPULATE 1 x 99999999999", POSITIVE),
        ("PROTOCOL foo", "ERR Wrong protocol type name. Please use one of the following: "
         "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"),
        ("DIGEST", Simple("0" * 40)),
        ("DIGEST-VALUE nosuch", [Simple("0" * 40)]),
        ("DIGEST-VALUE", []),
    ],
)  # fmt: skip
def test_answers(client, line, reply):
    assert client.call("DEBUG", *line.split()) == reply


def test_sleep_makes_only_its_caller_wait_and_is_noted_as_slow():
    server = FakeAdmin(enable_debug_command="yes")
    client, other = server.connect(), server.connect()
    reply = client.call("DEBUG", "SLEEP", "0.5")
    assert isinstance(reply, Later) and not reply.done
    assert other.call("TIME")
    assert server.took == []
    server.advance(0.6)
    assert reply.reply == OK
    assert server.took == [((b"DEBUG", b"SLEEP", b"0.5"), 0.5)]


def test_a_sleeper_that_goes_leaves_no_timer(client):
    client.call("DEBUG", "SLEEP", "inf").cancel()
    assert client.server.timers == []


@pytest.mark.parametrize("word", ["RELOAD", "LOADAOF"])
@pytest.mark.parametrize("outcome", [OK, CommandError("ERR the state in memory differs")])
def test_reload_answers_what_the_comparison_says(client, word, outcome):
    reply = client.call("DEBUG", word)
    assert not reply.done
    client.server.compared.resolve(outcome)
    assert reply.reply == outcome


def test_digests_follow_the_data(client):
    server = client.server
    server.apply("SET", "a", "1")
    one = client.call("DEBUG", "DIGEST")
    assert one == Simple("00000001" + client.call("DEBUG", "DIGEST-VALUE", "a")[0].text[8:])
    server.apply("SET", "b", "1")
    assert client.call("DEBUG", "DIGEST") != one


def test_an_expired_key_has_no_digest(client):
    client.server.apply("SET", "a", "1", "PX", "1000")
    assert client.call("DEBUG", "DIGEST-VALUE", "a") != [Simple("0" * 40)]
    client.server.advance(1.1)
    assert client.call("DEBUG", "DIGEST-VALUE", "a") == [Simple("0" * 40)]


# Lengths as redis-server 7.0.15 gives them.
@pytest.mark.parametrize(
    "value, encoding, length",
    [("1", "int", 2), ("70000", "int", 5), ("1234567890123", "int", 14), ("hello", "embstr", 6),
     ("x1" + "abcdefghijklmnopqrstuvwxyz" * 3, "raw", None)],
)  # fmt: skip
def test_object(client, value, encoding, length):
    client.server.apply("SET", "k", value)
    text = client.call("DEBUG", "OBJECT", "k").text
    fields = dict(part.split(":") for part in text.split()[1:])
    assert fields["encoding"] == encoding
    assert length is None or fields["serializedlength"] == str(length)
    assert fields["version"] == "1"
    assert {"at", "refcount", "lru_seconds_idle"} <= fields.keys()


def test_populate_writes_through_the_log_in_pieces(client):
    server = client.server
    server.apply("SET", "foo:1", "mine")
    count = POPULATE_ENTRY_KEYS * 2 + 1
    assert client.call("DEBUG", "POPULATE", count, "foo", "10").reply == OK
    assert len(server.proposed) == 3
    view = server.view(0)
    assert view.size() == count
    assert view.string(b"foo:1") == b"mine"
    assert view.string(b"foo:2") == b"value:2\0\0\0"
    assert view.string(b"foo:2000") == b"value:2000"


def test_populate_in_the_database_of_the_client(client):
    client.db = 3
    assert client.call("DEBUG", "POPULATE", "2").reply == OK
    assert client.server.view(3).string(b"key:1") == b"value:1"
    assert client.server.view(0).size() == 0


def test_populate_of_nothing(client):
    assert client.call("DEBUG", "POPULATE", "0").reply == OK
    assert client.server.proposed == []


def test_populate_stops_where_the_log_refuses(client):
    client.server.refusal = CommandError("MISCONF full")
    assert client.call("DEBUG", "POPULATE", "5000").reply.text == "MISCONF full"
    assert len(client.server.proposed) == 1


def test_active_expiry(client):
    for word, on in (("0", False), ("1", True)):
        assert client.call("DEBUG", "SET-ACTIVE-EXPIRE", word) == OK
        assert client.server.active_expire == on


# Recorded from redis-server 7.0.15.
@pytest.mark.parametrize(
    "kind, resp2, resp3",
    [
        ("string", b"$11\r\nHello World\r\n", b"$11\r\nHello World\r\n"),
        ("integer", b":12345\r\n", b":12345\r\n"),
        ("double", b"$5\r\n3.141\r\n", b",3.141\r\n"),
        ("bignum", b"$37\r\n1234567999999999999999999999999999999\r\n",
         b"(1234567999999999999999999999999999999\r\n"),
        ("null", b"$-1\r\n", b"_\r\n"),
        ("array", b"*3\r\n:0\r\n:1\r\n:2\r\n", b"*3\r\n:0\r\n:1\r\n:2\r\n"),
        ("set", b"*3\r\n:0\r\n:1\r\n:2\r\n", b"~3\r\n:0\r\n:1\r\n:2\r\n"),
        ("map", b"*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n", b"%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"),
        ("attrib", b"$39\r\nSome real reply following the attribute\r\n",
         b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n$39\r\nSome real reply following the attribute\r\n"),  # noqa: E501
        ("push", b"-ERR RESP2 is not supported by this command\r\n",
         b">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$40\r\nSome real reply following the push reply\r\n"),
        ("verbatim", b"$25\r\nThis is a verbatim\nstring\r\n", b"=29\r\ntxt:This is a verbatim\nstring\r\n"),
        ("true", b":1\r\n", b"#t\r\n"),
        ("false", b":0\r\n", b"#f\r\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("proto", [2, 3])
def test_every_type_of_the_protocol(kind, resp2, resp3, proto):
    client = FakeAdmin(enable_debug_command="yes").connect(proto)
    reply = client.call("DEBUG", "PROTOCOL", kind.upper())
    wire = client.take() + encode(CommandError(reply) if isinstance(reply, str) else reply, proto)
    assert wire == (resp3 if proto == 3 else resp2)


@pytest.mark.parametrize("value", ["v", "", "\xff"])
def test_flip_changes_a_value_here_and_tells_nobody(client, value):
    server = client.server
    server.apply("SET", "k", value)
    version, sequence = server.machine.world.views[0].version(b"k"), server.machine.applied
    before = client.call("DEBUG", "DIGEST-VALUE", "k")
    assert client.call("DEBUG", "FLIP", "k") == OK
    assert client.call("DEBUG", "DIGEST-VALUE", "k") != before
    assert server.machine.world.views[0].version(b"k") == version and server.machine.applied == sequence
    assert client.call("DEBUG", "FLIP", "nobody") == "ERR no such key"
