"""ACL's questions: replies in Redis's shapes."""

import pytest

from tests.unit.acl_server import CATALOG, AclServer
from vaylix_resp.commands.spec import CATEGORIES
from vaylix_resp.resp.reply import OK, SetOf, Simple
from vaylix_resp.resp.writer import encode


@pytest.fixture
def server():
    server = AclServer()
    server.accounts.set_role("r", [b"~r*", b"+get", b"(+ping)"])
    server.accounts.set_user("u", [b"on", b"~a*", b"+set", b"&c", b"(+get %R~b)", b"role=r", b"db=0,2"])
    return server


@pytest.fixture
def client(server):
    return server.connect()


MISUSE = "ERR unknown subcommand or wrong number of arguments for '{}'. Try ACL HELP."


@pytest.mark.parametrize("line, reply", [
    ("WHOAMI", b"default"), ("USERS", [b"default", b"u"]), ("ROLES", [b"r"]), ("GETUSER nosuch", None),
    ("GETROLE nosuch", None), ("CAT", list(CATEGORIES)), ("CAT nosuch", "ERR Unknown category 'nosuch'"),
    ("CAT read x", MISUSE.format("CAT")), ("GENPASS 5 5", MISUSE.format("GENPASS")), ("LOG 1 2", MISUSE.format("LOG")),
    ("GENPASS 0", "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"),
    ("GENPASS 4097", "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"),
    ("GENPASS x", "ERR value is not an integer or out of range"), ("LOG x", "ERR value is not an integer or out of range"),
    ("GENPASS 1", b"0"), ("GENPASS 5", b"01"), ("GENPASS 12", b"010"), ("LOG", []), ("LOG -5", []), ("LOG reset", OK),
    ("LIST", [b"role r ~r* resetchannels -@all +get (resetchannels -@all +ping)",
              b"user default on nopass sanitize-payload ~* &* +@all",
              b"user u on sanitize-payload role=r ~a* resetchannels &c db=0,2 -@all +set (%R~b resetchannels -@all +get)"]),
])  # fmt: skip
def test_answers(client, line, reply):
    assert client.call("ACL", *line.split()) == reply


def test_cat_names_the_commands_of_a_category(client):
    names = client.call("ACL", "CAT", "TRANSACTION")
    assert sorted(names) == ["discard", "exec", "multi", "unwatch", "watch"]
    assert "config|get" in client.call("ACL", "CAT", "dangerous")


def test_genpass_without_bits_is_as_long_as_a_hash(client):
    assert len(client.call("ACL", "GENPASS")) == 64


def test_getuser(client):
    assert client.call("ACL", "GETUSER", "u") == {
        "flags": SetOf(["on", "sanitize-payload"]),
        "passwords": [],
        "commands": b"-@all +set", "keys": b"~a*", "channels": b"&c", "databases": b"db=0,2",
        "roles": ["r"], "expire": None,
        "selectors": [{"commands": b"-@all +get", "keys": b"%R~b", "channels": b"", "databases": b"alldbs"}],
    }  # fmt: skip


def test_getuser_of_one_that_ends(server, client):
    server.accounts.set_user("u", [b"expireat", b"99"])
    assert client.call("ACL", "GETUSER", "u")["expire"] == 99_000


def test_getrole(client):
    assert client.call("ACL", "GETROLE", "r") == {
        "commands": b"-@all +get", "keys": b"~r*", "channels": b"", "databases": b"alldbs",
        "selectors": [{"commands": b"-@all +ping", "keys": b"", "channels": b"", "databases": b"alldbs"}],
        "users": [b"u"],
    }  # fmt: skip


@pytest.mark.parametrize("line, reply", [
    ("u SET a1 x", OK), ("u GET b", OK), ("u GET r1", OK), ("u PING", OK),
    ("u SET b x", b"User u has no permissions to access the 'b' key"),
    ("u FLUSHALL", b"User u has no permissions to run the 'flushall' command"),
    ("u CONFIG GET x", b"User u has no permissions to run the 'config|get' command"),
    ("default PUBLISH c m", OK),
    ("nobody GET a", "ERR User 'nobody' not found"), ("u NOSUCH", "ERR Command 'NOSUCH' not found"),
    ("u CONFIG NOSUCH", "ERR Command 'CONFIG' not found"),
    ("u GET", "ERR wrong number of arguments for 'get' command"),
    ("u CONFIG", "ERR wrong number of arguments for 'config' command"),
])  # fmt: skip
def test_dryrun(client, line, reply):
    assert client.call("ACL", "DRYRUN", *line.split()) == reply


def test_dryrun_is_about_the_database_chosen(server, client):
    server.accounts.set_user("u", [b"reset", b"+@all", b"~*", b"db=1"])
    assert client.call("ACL", "DRYRUN", "u", "GET", "a") == b"User u has no permissions to access database GET"
    client.db = 1
    assert client.call("ACL", "DRYRUN", "u", "GET", "a") == OK


def test_log(server, client):
    server.clock.seconds = 1000.0
    server.acl_log.note("key", b"k", b"u", b"id=1", 1_000_000, context="multi", limit=128)
    server.clock.seconds = 1002.5
    assert client.call("ACL", "LOG", "1") == [{
        "count": 1, "reason": "key", "context": "multi", "object": b"k", "username": b"u", "age-seconds": 2.5,
        "client-info": b"id=1", "entry-id": 0, "timestamp-created": 1_000_000, "timestamp-last-updated": 1_000_000,
    }]  # fmt: skip
    assert client.call("ACL", "LOG", "RESET") == OK
    assert client.call("ACL", "LOG") == []


def test_names_and_patterns_of_any_bytes_can_be_sent(server, client):
    server.accounts.set_user("u\udcff", [b"~\xff", b"&\xfe"])
    name = b"u\xff"
    assert client.call("ACL", "USERS") == [b"default", b"u", name]
    for proto in (2, 3):
        for words in (("GETUSER", name), ("LIST",), ("DRYRUN", name, "GET", b"\xfd"), ("DRYRUN", b"\xff", "GET", "x")):
            reply = client.call("ACL", *words)
            encode(reply if not isinstance(reply, str) else reply.encode(), proto)


def test_help_names_every_subcommand(client):
    shown = {line.text.split()[0] for line in client.call("ACL", "HELP")[1:] if not line.text.startswith(" ")}
    assert shown == {name.upper() for name in CATALOG.find([b"acl"]).subcommands}
    assert client.call("ACL", "HELP")[0] == Simple("ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
