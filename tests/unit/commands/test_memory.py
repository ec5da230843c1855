"""MEMORY: what keys cost, and where the process's memory goes."""

import pytest

from tests.unit.fake_admin import MIB, FakeAdmin
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.errors import CommandError
from vaylix_resp.observability.process import Memory
from vaylix_resp.resp.reply import OK

SYNTAX = "ERR syntax error"


@pytest.fixture
def client():
    server = FakeAdmin()
    server.apply("SET", "k", "x" * 100)
    server.apply("SET", "big", "x" * 10_000)
    server.apply("SET", "mortal", "x" * 100, "EX", "100")
    return server.connect()


def usage(client, *words):
    spec = COMMANDS["memory"].subcommands["usage"]
    try:
        return spec.handler(client.server.view(0), [b"MEMORY", b"USAGE", *(word.encode() for word in words)])
    except CommandError as refused:
        return refused.text


@pytest.mark.parametrize(
    "words, reply",
    [
        (("nosuch",), None),
        (("nosuch", "SAMPLES", "x"), "ERR value is not an integer or out of range"),
        (("k", "SAMPLES"), SYNTAX),
        (("k", "SAMPLES", "-1"), SYNTAX),
        (("k", "SAMPLES", "5", "x"), SYNTAX),
        (("k", "foo", "5"), SYNTAX),
    ],
)
def test_usage_answers(client, words, reply):
    assert usage(client, *words) == reply


def test_usage_counts_the_value_and_the_expiry(client):
    plain = usage(client, "k")
    assert 100 < plain < 400
    assert 9_900 <= usage(client, "big") - plain <= 9_950
    assert usage(client, "k", "SAMPLES", "0") == usage(client, "k", "samples", "5", "SAMPLES", "1") == plain
    assert 40 < usage(client, "mortal") - plain < 600


def test_an_expired_key_takes_nothing(client):
    client.server.advance(101)
    assert usage(client, "mortal") is None


def test_the_figures_add_up(client):
    figures = client.call("MEMORY", "STATS")
    assert figures["total.allocated"] == 10 * MIB
    assert figures["startup.allocated"] == 2 * MIB
    assert figures["keys.count"] == 3
    assert figures["keys.bytes-per-key"] == 8 * MIB // 3
    assert figures["overhead.total"] + figures["dataset.bytes"] == figures["total.allocated"]
    assert figures["dataset.percentage"] == pytest.approx(100, abs=1)
    assert figures["peak.percentage"] == 50.0
    assert figures["fragmentation"] == 1.5
    assert figures["aof.buffer"] == 11
    assert figures["db.0"]["overhead.hashtable.main"] > 0
    assert figures["db.0"]["overhead.hashtable.expires"] > 0
    assert "db.1" not in figures


def test_an_empty_server_divides_by_nothing():
    server = FakeAdmin()
    server.process.figures = Memory(used=server.process.startup, resident=MIB, peak=0)
    figures = server.connect().call("MEMORY", "STATS")
    assert (figures["keys.bytes-per-key"], figures["dataset.bytes"]) == (0, 0)


def test_buffers_of_clients_are_overhead(client):
    before = client.call("MEMORY", "STATS")["overhead.total"]
    client.output_bytes = 1000
    after = client.call("MEMORY", "STATS")
    assert after["clients.normal"] == 1000
    assert after["overhead.total"] - before == 1000


@pytest.mark.parametrize(
    "used, peak, output, says",
    [
        (10 * MIB, 20 * MIB, 0, "too little data"),
        (100 * MIB, 110 * MIB, 0, "- values: "),
        (100 * MIB, 400 * MIB, 0, "- peak: "),
        (100 * MIB, 110 * MIB, 30 * MIB, "- clients: "),
    ],
)
def test_the_doctor_sees(client, used, peak, output, says):
    client.server.process.figures = Memory(used=used, resident=used, peak=peak)
    client.output_bytes = output
    assert says in client.call("MEMORY", "DOCTOR").text.decode()


@pytest.mark.parametrize("policy, says", [("noeviction", "writes are refused"), ("allkeys-lru", "keys are deleted")])
def test_the_doctor_sees_a_limit_that_is_near(client, policy, says):
    client.server.process.figures = Memory(used=100 * MIB, resident=100 * MIB, peak=110 * MIB)
    client.server.settings.maxmemory, client.server.settings.maxmemory_policy = 100 * MIB, policy
    client.server.memory.used = 95 * MIB
    assert f"the keys take {95 * MIB} of {100 * MIB} bytes; at the limit {says}" in client.call("MEMORY", "DOCTOR").text.decode()


def test_the_doctor_sees_nothing(client):
    client.server.process.figures = Memory(used=100 * MIB, resident=100 * MIB, peak=110 * MIB)
    for number in range(2000):
        client.server.apply("SET", f"more{number}", "x")
    assert client.call("MEMORY", "DOCTOR").text == b"Nothing unusual.\n"


def test_the_rest(client):
    assert client.call("MEMORY", "PURGE") == OK
    assert client.server.process.purged == 1
    assert client.call("MEMORY", "MALLOC-STATS").text == b"allocator facts\n"
