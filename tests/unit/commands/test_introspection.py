"""COMMAND: shapes and answers as Redis gives them, for every command that is declared."""

import hiredis
import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.introspection import describe, describe_argument, describe_keys, document, legacy_range
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.commands.spec import KeySpec
from vaylix_resp.commands.syntax import parse
from vaylix_resp.resp.reply import SetOf, Simple
from vaylix_resp.resp.writer import encode


@pytest.fixture
def client():
    return FakeAdmin().connect()


def states(*names):
    return SetOf(Simple(name) for name in names)


def test_get_in_resp3_is_what_redis_sends(client):
    wire = encode(client.call("COMMAND", "INFO", "GET"), 3)
    assert wire == (
        b"*1\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~3\r\n+@read\r\n+@string\r\n"
        b"+@fast\r\n~0\r\n~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n"
        b"$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n"
        b"$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n~0\r\n"
    )


def test_time_in_resp2_is_what_redis_sends(client):
    wire = encode(client.call("COMMAND", "DOCS", "time"), 2)
    summary = COMMANDS["time"].summary.encode()
    assert wire == (
        b"*2\r\n$4\r\ntime\r\n*8\r\n$7\r\nsummary\r\n$%d\r\n%b\r\n$5\r\nsince\r\n$5\r\n2.6.0\r\n$5\r\ngroup\r\n$6\r\nserver"
        b"\r\n$10\r\ncomplexity\r\n$4\r\nO(1)\r\n" % (len(summary), summary)
    )


@pytest.mark.parametrize("spec", list(COMMANDS.values()), ids=lambda spec: spec.name)
def test_every_command_can_be_described(spec):
    """Whatever is declared can be sent, in both protocols, and says something."""
    described = describe(spec)
    assert len(described) == 10
    for proto in (2, 3):
        encode(described, proto)
        encode(document(spec), proto)
    assert document(spec)["summary"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("get", (1, 1, 1)), ("mset", (1, -1, 2)), ("del", (1, -1, 1)), ("rename", (1, 2, 1)), ("bitop", (2, -1, 1)),
        ("ping", (0, 0, 0)), ("sort", (1, 1, 1)), ("memory", (0, 0, 0)), ("msetex", (0, 0, 0)),
    ],
)  # fmt: skip
def test_old_clients_find_the_keys(name, expected):
    assert legacy_range(COMMANDS[name]) == expected


@pytest.mark.parametrize(
    "keys, expected",
    [
        (
            KeySpec("update RW access", notes="why", last=-1, step=2),
            {
                "notes": "why",
                "flags": states("RW", "access", "update"),
                "begin_search": {"type": "index", "spec": {"index": 1}},
                "find_keys": {"type": "range", "spec": {"lastkey": -1, "keystep": 2, "limit": 0}},
            },
        ),
        (
            KeySpec("RW incomplete", keyword="KEYS", begin=-2, last=-1),
            {
                "flags": states("RW", "incomplete"),
                "begin_search": {"type": "keyword", "spec": {"keyword": "KEYS", "startfrom": -2}},
                "find_keys": {"type": "range", "spec": {"lastkey": -1, "keystep": 1, "limit": 0}},
            },
        ),
        (
            KeySpec("RO", begin=2, keynum=0, first=1),
            {
                "flags": states("RO"),
                "begin_search": {"type": "index", "spec": {"index": 2}},
                "find_keys": {"type": "keynum", "spec": {"keynumidx": 0, "firstkey": 1, "keystep": 1}},
            },
        ),
        (
            KeySpec("OW", unknown=True),
            {
                "flags": states("OW"),
                "begin_search": {"type": "unknown", "spec": {}},
                "find_keys": {"type": "unknown", "spec": {}},
            },
        ),
    ],
)
def test_key_specifications(keys, expected):
    assert describe_keys(keys) == expected


@pytest.mark.parametrize(
    "line, expected",
    [
        ("[GET]", {"name": "get", "type": "pure-token", "token": "GET", "flags": states("optional")}),
        (
            "[SAMPLES count]",
            {"name": "count", "type": "integer", "display_text": "count", "token": "SAMPLES",
             "flags": states("optional")},
        ),
        (
            "[GET pattern [GET pattern ...]]",
            {"name": "pattern", "type": "pattern", "display_text": "pattern", "token": "GET",
             "flags": states("optional", "multiple", "multiple_token")},
        ),
        (
            "<ON | OFF>",
            {"name": "on_off", "type": "oneof", "arguments": [
                {"name": "on", "type": "pure-token", "token": "ON"},
                {"name": "off", "type": "pure-token", "token": "OFF"}]},
        ),
        ('<a | "">', {"name": "a_empty", "type": "oneof", "arguments": [
            {"name": "a", "type": "string", "display_text": "a"},
            {"name": "empty", "type": "pure-token", "token": ""}]}),
    ],
)  # fmt: skip
def test_argument_maps(line, expected):
    (one,) = parse(line)
    assert describe_argument(one) == expected


@pytest.mark.parametrize("name, index", [("store", 2), ("key", 0)])
def test_a_key_argument_names_its_specification(name, index):
    arguments = {one["name"]: one for one in document(COMMANDS["sort"])["arguments"]}
    chosen = arguments["destination" if name == "store" else name]
    assert (chosen["type"], chosen["key_spec_index"]) == ("key", index)


@pytest.mark.parametrize(
    "words, reply",
    [
        (("GETKEYS", "set", "a"), "ERR Invalid number of arguments specified for command"),
        (("GETKEYS", "set", "a", "b"), [b"a"]),
        (("GETKEYS", "MSET", "a", "1", "b", "2"), [b"a", b"b"]),
        (("GETKEYS", "MSETEX", "9" * 5000, "a", "b"), "ERR Invalid arguments specified for command"),
        (("GETKEYS", "ping", "x"), "ERR The command has no key arguments"),
        (("GETKEYS", "spublish", "a", "b"), "ERR The command has no key arguments"),
        (("GETKEYS", "config", "get"), "ERR The command has no key arguments"),
        (("GETKEYS", "nosuch", "x"), "ERR Invalid command specified"),
        (("GETKEYS", "config", "nosuch"), "ERR Invalid command specified"),
        (("GETKEYS", "memory", "usage", "k"), [b"k"]),
        (("GETKEYS", "msetex", "x", "a", "b"), "ERR Invalid arguments specified for command"),
        (("GETKEYS", "msetex", "2", "a", "1", "b", "2"), [b"a", b"b"]),
        (("GETKEYSANDFLAGS", "get", "a"), [[b"a", states("RO", "access")]]),
        (("GETKEYSANDFLAGS", "sort", "a", "STORE", "b"),
         [[b"a", states("RO", "access")], [b"b", states("OW", "update")]]),
        (("GETKEYSANDFLAGS", "SET", "a", "b"), [[b"a", states("OW", "update")]]),
        (("GETKEYSANDFLAGS", "SET", "a", "GET"), [[b"a", states("OW", "update")]]),
        (("GETKEYSANDFLAGS", "SET", "a", "b", "EX", "get"), [[b"a", states("RW", "access", "update")]]),
        (("GETKEYSANDFLAGS", "BITFIELD", "a"), [[b"a", states("RO", "access")]]),
        (("GETKEYSANDFLAGS", "BITFIELD", "a", "get", "SET", "0", "overflow", "SET", "GET", "u8", "1"),
         [[b"a", states("RO", "access")]]),
        (("GETKEYSANDFLAGS", "BITFIELD", "a", "GET", "u8", "0", "SET", "u8", "0", "1"),
         [[b"a", states("RW", "access", "update")]]),
        (("GETKEYSANDFLAGS", "BITFIELD", "a", "GET", "u8"), [[b"a", states("RW", "access", "update")]]),
        (("GETKEYSANDFLAGS", "BITFIELD", "a", "OVERFLOW"), [[b"a", states("RW", "access", "update")]]),
        (("INFO", "nosuch", "get|x", "config|nosuch"), [None, None, None]),
        (("DOCS", "nosuch", "get|x"), {}),
        (("LIST", "x"), "ERR syntax error"),
        (("LIST", "FILTERBY", "foo", "bar"), "ERR syntax error"),
        (("LIST", "FILTERBY", "pattern"), "ERR syntax error"),
        (("LIST", "filterby", "module", "json"), []),
        (("LIST", "FILTERBY", "ACLCAT", "nosuch"), []),
        (("LIST", "FILTERBY", "ACLCAT", "@string"), []),
        (("LIST", "FILTERBY", "PATTERN", "CONFIG|GE*"), ["config|get"]),
    ],
)  # fmt: skip
def test_answers(client, words, reply):
    assert client.call("COMMAND", *words) == reply


def read(reply, proto=2):
    """A reply as a client sees it."""
    reader = hiredis.Reader()
    reader.feed(encode(reply, proto))
    return reader.gets()


@pytest.mark.parametrize("proto", [2, 3])
def test_what_is_kept_is_what_is_described(proto, client):
    """Twice, because the second answer comes from memory."""
    for _ in range(2):
        assert read(client.call("COMMAND", "DOCS", "set"), proto) == read({"set": document(COMMANDS["set"])}, proto)


def test_lists_agree(client):
    names = client.call("COMMAND", "LIST")
    assert len(names) == len(set(names)) > client.server.connect().call("COMMAND", "COUNT")
    rows = read(client.call("COMMAND", "INFO"))
    assert rows == read(client.call("COMMAND")) == read([describe(spec) for spec in COMMANDS.values()])
    assert {row[0].decode() for row in rows} == {name for name in names if "|" not in name}
    assert set(client.call("COMMAND", "DOCS")) == set(COMMANDS)
    assert "watch" in client.call("COMMAND", "LIST", "FILTERBY", "ACLCAT", "TRANSACTION")
    assert read(client.call("COMMAND", "INFO", "Config|Get"))[0][0] == b"config|get"
    assert list(client.call("COMMAND", "DOCS", "GET", "get", "SET")) == ["get", "set"]
