"""What comes in by sentinel-port is a Sentinel's client and nothing else."""

import asyncio

import pytest
import redis.asyncio

from tests.unit.fake_cluster import FakeView
from tests.unit.security import pki
from tests.unit.server.front import Peer, Stage, Wire
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.server.listener import Listener
from vaylix_resp.server.sentinel_door import SERVED, SentinelConnection


def enter(stage):
    """A client at the sentinel port."""
    client = Peer.__new__(Peer)
    wire = Wire(stage, ("127.0.0.1", 51000))
    session = SentinelConnection(stage.shared, stage.shared.table.only(SERVED))
    client.stage, client.wire, client.session = stage, wire, session
    wire.protocol = session
    session.connection_made(wire)
    stage.peers.append(client)
    return client


@pytest.fixture
def stage():
    found = Stage()
    found.shared.cluster = FakeView(me=2)
    yield found
    found.close()


@pytest.mark.parametrize(
    "line, reply",
    [
        ("PING", "+PONG"),
        ("SENTINEL get-master-addr-by-name mymaster", "[10.0.0.1 6379]"),
        ("ROLE", "[sentinel [mymaster]]"),
        ("ACL WHOAMI", "default"),
        ("CLIENT SETNAME x", "+OK"),
        ("CLIENT SETINFO LIB-NAME x", "+OK"),
        ("RESET", "+RESET"),
        ("SET a 1", "-ERR unknown command 'SET', with args beginning with: 'a' '1' "),
        ("GET a", "-ERR unknown command 'GET', with args beginning with: 'a' "),
        ("MULTI", "-ERR unknown command 'MULTI', with args beginning with: "),
        ("SHUTDOWN", "-ERR unknown command 'SHUTDOWN', with args beginning with: "),
        ("PUBLISH +switch-master x", "-ERR unknown command 'PUBLISH', with args beginning with: '+switch-master' 'x' "),
        ("CONFIG GET port", "-ERR unknown command 'CONFIG', with args beginning with: 'GET' 'port' "),
        ("CLUSTER SLOTS", "-ERR unknown command 'CLUSTER', with args beginning with: 'SLOTS' "),
    ],
)  # fmt: skip
def test_answers(stage, line, reply):
    assert enter(stage).ask(line) == [reply]


def test_no_request_goes_in_rows(stage):
    """Rows look commands up in the whole table."""
    client = enter(stage)
    assert [reply[:12] for reply in client.ask("SET a 1", "SET b 2", "PING", "SET c 3")] == [
        "-ERR unknown", "-ERR unknown", "+PONG", "-ERR unknown",
    ]  # fmt: skip
    client.ask("RESET", "HELLO 3")
    assert client.ask("SET a 1")[0].startswith("-ERR unknown command")
    assert stage.logged() == []


def test_nothing_that_is_served_reads_or_writes_data():
    """But for COMMAND and its like, which need no state: so no key, and no kind but a session's."""
    for name in SERVED:
        for spec in (COMMANDS[name], *COMMANDS[name].subcommands.values()):
            assert spec.kind.name == "SESSION" and not spec.keys, spec.name


def test_the_audit_and_the_counters_see_the_same_commands(stage):
    whole = stage.shared.table
    assert all(bound is whole.by_name[name] for name, bound in whole.only(SERVED).by_name.items())
    assert {bound.name for bound in whole.only(SERVED).by_name.values()} == SERVED
    assert b"SET" in whole.by_name


def test_hello_says_what_it_is(stage):
    (reply,) = enter(stage).ask("HELLO 3")
    assert "mode sentinel role master" in reply


def test_info_says_what_it_is(stage):
    (there,), (here,) = enter(stage).ask("INFO server"), stage.connect().ask("INFO server")
    assert "redis_mode:sentinel\r\n" in there and "redis_mode:standalone\r\n" in here


@pytest.mark.parametrize(
    "asked, sections",
    [
        ("INFO", "server clients stats cpu sentinel"),
        ("INFO all", "server clients stats cpu sentinel"),
        ("INFO sentinel keyspace", "sentinel"),
        ("INFO keyspace", "none"),
    ],
)
def test_info_has_a_sentinels_sections(stage, asked, sections):
    stage.shared.info = " ".join  # which ones are asked for
    assert enter(stage).ask(asked) == [sections]


def test_subscribers_here_hear_of_a_switch(stage):
    client = enter(stage)
    client.ask("SUBSCRIBE +switch-master")
    stage.shared.cluster.lead(3)
    assert client.heard() == ["[message +switch-master mymaster 10.0.0.1 6379 10.0.0.3 6379]"]


def test_it_asks_for_the_same_password():
    stage = Stage(requirepass="secret")
    stage.shared.cluster = FakeView()
    client = enter(stage)
    assert client.ask("SENTINEL MASTERS") == ["-NOAUTH Authentication required."]
    assert client.ask("AUTH secret", "SENTINEL MYID")[0] == "+OK"
    stage.close()


async def test_the_port_is_opened_beside_the_others(unused_tcp_port_factory):
    port, sentinel_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    stage = Stage(port=port, sentinel_port=sentinel_port)
    listener = Listener(stage.shared)
    await listener.open()
    try:
        async with redis.asyncio.Redis(port=sentinel_port) as client:
            assert await client.ping()
            with pytest.raises(redis.ResponseError, match="unknown command"):
                await client.get("a")
        async with redis.asyncio.Redis(port=port) as client:
            assert await client.get("a") is None
    finally:
        await listener.close()
        await asyncio.sleep(0)


async def test_the_port_speaks_tls_where_clients_have_no_other_door(unused_tcp_port_factory, tmp_path):
    """Or passwords would go through it in the clear."""
    port, sentinel_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    cert, key = pki.put(tmp_path, "server", pki.issued())
    stage = Stage(
        port=0, tls_port=port, sentinel_port=sentinel_port, tls_cert_file=str(cert), tls_key_file=str(key),
        tls_auth_clients="no",
    )  # fmt: skip
    stage.clock.ms = pki.NOW_S * 1000
    listener = Listener(stage.shared)
    await listener.open()
    try:
        for at, answers in ((sentinel_port, False), (port, True)):
            async with redis.asyncio.Redis(port=at, ssl=True, ssl_cert_reqs="none", retry=None) as client:
                assert await client.ping()
                if answers:
                    assert await client.get("a") is None
                else:
                    with pytest.raises(redis.ResponseError, match="unknown command"):
                        await client.get("a")
    finally:
        await listener.close()
        await asyncio.sleep(0)
