"""CONFIG over the settings: what it passes on, what it refuses."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.observability.metrics import record
from vaylix_resp.resp.reply import OK


@pytest.fixture
def client():
    return FakeAdmin().connect()


def test_what_redis_benchmark_asks(client):
    assert client.call("CONFIG", "GET", "save") == {b"save": b""}
    assert client.call("CONFIG", "GET", "appendonly") == {b"appendonly": b"yes"}


def test_get_takes_patterns_and_answers_each_name_once(client):
    found = client.call("CONFIG", "GET", "slowlog-*", "SLOWLOG-MAX-LEN", "nosuch")
    assert found == {b"slowlog-log-slower-than": b"10000", b"slowlog-max-len": b"128"}


def test_set_changes_all_or_nothing(client):
    assert client.call("CONFIG", "SET", "maxclients", "5", "timeout", "7") == OK
    assert (client.server.settings.maxclients, client.server.settings.timeout) == (5, 7)
    refused = client.call("CONFIG", "SET", "maxclients", "6", "timeout", "abc")
    assert refused.startswith("ERR CONFIG SET failed (possibly related to argument 'timeout') - ")
    assert (client.server.settings.maxclients, client.server.settings.timeout) == (5, 7)


def test_values_that_are_not_utf8_come_back_as_they_went_in(client):
    assert client.call("CONFIG", "SET", "tls-cert-file", b"p\xff\xfe") == OK
    assert client.call("CONFIG", "GET", "tls-cert-file") == {b"tls-cert-file": b"p\xff\xfe"}


def test_of_a_secret_is_shown_only_that_there_is_one(client):
    assert client.call("CONFIG", "GET", "requirepass") == {b"requirepass": b""}
    assert client.call("CONFIG", "SET", "requirepass", b"p\xff\xfe") == OK
    assert client.server.settings.requirepass == "p\udcff\udcfe"
    assert client.call("CONFIG", "GET", "requirep*") == {b"requirepass": b"(redacted)"}
    assert b"p\xff\xfe" not in client.call("CONFIG", "GET", "*").values()
    refused = client.call("CONFIG", "SET", "timeout", "9", "RequirePass", "(redacted)")
    assert refused == "ERR CONFIG GET shows (redacted) in place of a secret: it cannot be set to that"
    assert client.server.settings.requirepass == "p\udcff\udcfe" and client.server.settings.timeout != 9


@pytest.mark.parametrize(
    "words, reply",
    [
        (("SET", "a", "b", "c"), "ERR syntax error"),
        (("SET", "nosuch", "b"), "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        (("GET", "nosuch"), {}),
        (("REWRITE",), "ERR The server is running without a config file"),
    ],
)
def test_answers(client, words, reply):
    assert client.call("CONFIG", *words) == reply


def test_resetstat_clears_every_counter_that_info_shows(client):
    server = client.server
    world = server.machine.world
    world.hits = world.misses = world.expired = server.clients.rejected = 3
    record(server.stats.command("get"), 1, 0.001)
    server.stats.error("ERR")
    assert client.call("CONFIG", "RESETSTAT") == OK
    text = server.info(["stats", "commandstats", "errorstats"])
    for field in ("keyspace_hits:0", "keyspace_misses:0", "expired_keys:0", "rejected_connections:0",
                  "total_commands_processed:0"):  # fmt: skip
        assert f"{field}\r\n" in text
    assert "cmdstat_" not in text and "errorstat_" not in text
