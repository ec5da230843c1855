"""Issue 4, limits and protected mode, as stock clients meet them on a real process; each refusal names its directive."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bench.processes import Server, free_port, us_program, wait_until
from compat.clients import patient
from tests.unit.security import pki

DENIED = b"-DENIED Vaylix is running in protected mode because protected mode is enabled and no password is set "


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    conf = tmp_path / "vaylix.conf"
    conf.write_text("client-requests-burst 0\nuser-limit alice connections 1\n")
    with Server(us_program(f"{{python}} -m vaylix_resp serve {conf} --port {{port}} --dir {{dir}}")) as server:
        server.start()
        yield server


def client(server: Server, **more: object) -> redis.Redis:
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    return patient(port=server.port, decode_responses=True, single_connection_client=True, retry=retry, **more)


def refusal(one: redis.Redis, *words: str) -> str:
    with pytest.raises(redis.ResponseError) as caught:
        one.execute_command(*words)
    return str(caught.value)


def test_rates_and_their_change_at_run_time(server: Server) -> None:
    admin, other = client(server), client(server)
    admin.config_set("client-requests-per-second", 1, "client-requests-burst", 20)
    wire = b"PING\r\n" * 200
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(wire)
        connection.shutdown(socket.SHUT_WR)
        replies = b"".join(iter(lambda: connection.recv(65536), b"")).decode().splitlines()
    passed = replies.count("+PONG")
    assert len(replies) == 200 and 20 <= passed < 100, "the burst, and what a slow machine adds"
    text = "-LIMIT more than 1 requests per second for this connection (client-requests-per-second); wait "
    assert all(reply.startswith(text) for reply in replies if reply != "+PONG")
    admin.config_set("client-requests-per-second", 0)
    assert other.ping()
    assert admin.info("stats")["limit_refused_requests"] == 200 - passed


def test_connections_of_a_user_and_a_rewritten_file(server: Server) -> None:
    admin = client(server)
    admin.execute_command("ACL", "SETUSER", "alice", "on", ">wonderland", "~*", "+@all")
    first = client(server, username="alice", password="wonderland")
    assert first.ping()
    full = "user 'alice' already has 1 connections (user-limit)"
    assert full in refusal(admin, "AUTH", "alice", "wonderland") and admin.acl_whoami() == "default"
    with pytest.raises(redis.RedisError, match="already has 1 connections"):
        client(server, username="alice", password="wonderland").ping()
    first.close()
    wait_until(lambda: admin.info("clients")["connected_clients"] == 1, 10, "the connection ends")
    assert client(server, username="alice", password="wonderland").ping()
    admin.config_set("user-limit", "alice requests 5 connections 2")
    admin.execute_command("CONFIG", "REWRITE")
    server.stop()
    server.start()
    assert client(server).config_get("user-limit") == {"user-limit": "alice requests 5 connections 2"}


def test_sizes_and_transactions(server: Server) -> None:
    one = client(server)
    one.config_set(
        "key-size-max", "8", "value-size-max", "1kb", "command-keys-max", "3", "transaction-commands-max", "2"
    )
    assert "a key of 9 bytes: at most 8 are allowed (key-size-max)" in refusal(one, "SET", "k" * 9, "1")
    assert "a value of 1025 bytes: at most 1024 are allowed (value-size-max)" in refusal(one, "SET", "k", "x" * 1025)
    assert "4 keys in one command: at most 3 are allowed (command-keys-max)" in refusal(one, "DEL", *"abcd")
    block = one.pipeline(transaction=True).set("a", 1).set("b", 2).set("c", 3)
    with pytest.raises(redis.ResponseError, match=r"more than 2 commands in a transaction \(transaction-commands-max\)"):
        block.execute()
    assert one.get("a") is None and one.info("stats")["limit_refused_sizes"] == 3


def test_a_transaction_that_is_never_ended(server: Server) -> None:
    admin, one = client(server), client(server)
    admin.config_set("transaction-seconds-max", 1, "watch-seconds-max", 1)
    assert one.execute_command("MULTI") and one.execute_command("APPEND", "a", "1") == "QUEUED"
    watcher = client(server)
    watcher.execute_command("WATCH", "a")
    ended = ("limit_ended_transactions", "limit_ended_watches")
    wait_until(lambda: [admin.info("stats")[name] for name in ended] == [1, 1], 15, "both are ended", pause=0.2)
    assert "transaction was open for more than 1 seconds (transaction-seconds-max)" in refusal(one, "EXEC")
    watcher.execute_command("MULTI")
    assert "keys were watched for more than 1 seconds (watch-seconds-max)" in refusal(watcher, "EXEC")
    assert admin.get("a") is None and one.set("a", 2)


# Protected mode, from an address of this machine that is no loopback address.


def outer_address() -> str:
    """An address that others could reach this machine by; where it has none there is nothing to protect."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the kernel only chooses the address to send from
        except OSError:
            pytest.skip("this machine has only loopback addresses")
        return str(probe.getsockname()[0])


def heard(address: str, port: int, request: bytes) -> bytes:
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(4096)


def test_protected_mode(tmp_path: Path) -> None:
    outside = outer_address()
    cert, key = pki.put(tmp_path, "server", pki.issued())
    ca = pki.put_file(tmp_path / "ca.crt", pki.ca_pem())
    tls_port = free_port()
    options = ("--bind", "127.0.0.1", outside, "--tls-port", str(tls_port), "--tls-cert-file", cert, "--tls-key-file",
               key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no")  # fmt: skip
    tls = {"ssl": True, "ssl_ca_certs": ca, "ssl_check_hostname": False, "port": tls_port}
    with Server(us_program(), options) as server:
        server.start()
        admin = client(server)
        assert heard(outside, server.port, b"PING\r\n").startswith(DENIED)
        with pytest.raises(redis.RedisError, match="protected mode"):
            patient(host=outside, **tls).ping()
        assert patient(host="127.0.0.1", **tls).ping(), "a loopback address may, with TLS, too"
        admin.execute_command("ACL", "SETUSER", "alice", "on", ">wonderland", "~*", "+@all")
        assert heard(outside, server.port, b"AUTH alice wonderland\r\n").startswith(DENIED), "as in Redis: first of all"
        admin.config_set("requirepass", "looking-glass")
        assert heard(outside, server.port, b"PING\r\n") == b"-NOAUTH Authentication required.\r\n"
        who = {"username": "alice", "password": "wonderland"}
        assert patient(host=outside, port=server.port, **who).ping()
        assert patient(host=outside, **tls, **who).ping()
        admin.execute_command("ACL", "SETUSER", "default", "resetpass", "nopass")
        assert heard(outside, server.port, b"PING\r\n").startswith(DENIED)
        admin.config_set("protected-mode", "no")
        assert heard(outside, server.port, b"PING\r\n") == b"+PONG\r\n"
        assert admin.info("stats")["rejected_connections"] == 4
