"""TLS with real clients against a real process: redis-cli, redis-py, and who must not get in.

Each refusal is looked at from both sides: what the client is told, and the line that the operator finds.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bench.processes import Server, free_port, us_program
from compat.clients import patient
from tests.e2e.tools import require
from tests.patience import PATIENCE_S
from tests.unit.security import pki


class Tls:
    """A server with certificates, its plain port for looking inside, and ways to connect."""

    def __init__(self, place: Path, *options: str) -> None:
        self.place = place
        self.read = 0  # of the log, before the test that runs now
        self.cert, self.key = pki.put(place, "server", pki.issued())
        self.ca = pki.put_file(place / "ca.crt", pki.ca_pem())
        self.port = free_port()
        self.server = Server(us_program(), (
            "--tls-port", str(self.port), "--tls-cert-file", self.cert, "--tls-key-file", self.key,
            "--tls-ca-cert-file", self.ca, "--tls-auto-reload-interval", "1", *options,
        ))  # fmt: skip

    def client(self, pair: tuple[str, str] | None = None, *, ca: str = "", **more: object) -> redis.Redis:
        certificate = {"ssl_certfile": pair[0], "ssl_keyfile": pair[1]} if pair else {}
        return patient(
            host="localhost", port=self.port, ssl=True, ssl_ca_certs=ca or self.ca, ssl_check_hostname=True,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0), **certificate, **more,
        )  # fmt: skip

    def plain(self, **more: object) -> redis.Redis:
        return patient(port=self.server.port, **more)

    def pair(self, name: str = "alice", **how: object) -> tuple[str, str]:
        return pki.put(self.place, f"client-{name}-{len(how)}", pki.issued(name, "client", **how))

    def cli(self, *words: str, pair: tuple[str, str] | None = None, ca: str = "") -> str:
        shown = ["--cert", pair[0], "--key", pair[1]] if pair else []
        where = ["-h", "localhost", "-p", str(self.port), "--tls", "--cacert", ca or self.ca]
        argv = ["redis-cli", *where, *shown, *words]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
        return (done.stdout + done.stderr).strip()

    def log(self) -> str:
        """What the test that runs now has brought about."""
        return self.server.log_path.read_text()[self.read :]

    def logs(self, text: str) -> None:
        """Wait until the log has it."""
        wait(lambda: text in self.log(), lambda: f"{text!r} is not in the log:\n{self.log()}")


def vaylix(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "vaylix_resp", *words]
    return subprocess.run(program, check=False, capture_output=True, text=True, timeout=PATIENCE_S)


def wait(condition: Callable[[], object], otherwise: Callable[[], str]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, otherwise()
        time.sleep(0.01)


@pytest.fixture
def lenient(lenient_server: Tls) -> Tls:
    lenient_server.read = len(lenient_server.server.log_path.read_text())
    return lenient_server


@pytest.fixture
def strict(strict_server: Tls) -> Tls:
    strict_server.read = len(strict_server.server.log_path.read_text())
    return strict_server


@pytest.fixture(scope="module")
def lenient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    """tls-auth-clients optional, users by CN, a password for everybody else."""
    yield from started(tmp_path_factory, "--tls-auth-clients", "optional", "--tls-auth-clients-user", "CN",
                       "--requirepass", "swordfish")  # fmt: skip


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    """Mutual TLS, Redis's default."""
    yield from started(tmp_path_factory)


def started(places: pytest.TempPathFactory, *options: str) -> Iterator[Tls]:
    tls = Tls(places.mktemp("tls"), *options)
    with tls.server as server:
        server.start()
        yield tls


# Who gets in.


def test_redis_cli(strict: Tls) -> None:
    require("redis-cli")
    pair = strict.pair()
    assert strict.cli("SET", "cli", "1", pair=pair) == "OK"
    assert strict.cli("GET", "cli", pair=pair) == "1"
    assert strict.cli("--insecure", "PING", pair=pair) == "PONG"


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_redis_py(strict: Tls, protocol: int, version: ssl.TLSVersion) -> None:
    with strict.client(strict.pair(), protocol=protocol, ssl_min_version=version) as client:
        value = os.urandom(3 << 20)
        assert client.set("big", value) and client.get("big") == value
        with client.pipeline(transaction=False) as pipeline:
            for number in range(1000):
                pipeline.set(f"k{number}", bytes([number % 256]) * number)
                pipeline.get(f"k{number}")
            answers = pipeline.execute()
        assert answers[1::2] == [bytes([number % 256]) * number for number in range(1000)]
        with client.pubsub() as hub:
            hub.subscribe("news")
            assert hub.get_message(timeout=PATIENCE_S)["type"] == "subscribe"
            assert client.publish("news", b"m") == 1
            assert hub.get_message(timeout=PATIENCE_S)["data"] == b"m"


def test_a_mapped_user_needs_no_password(lenient: Tls) -> None:
    with lenient.client(lenient.pair("default")) as client:
        assert client.ping()
    with lenient.client(password="swordfish") as client:  # without a certificate
        assert client.ping()
    for pair in (None, lenient.pair("nobody")):
        with lenient.client(pair) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
    lenient.logs("a client's certificate names no user who may log in")
    with lenient.plain(password="swordfish") as plain:
        assert int(plain.info("stats")["acl_access_denied_tls_cert"]) >= 1


def test_a_mapped_user_has_its_own_rights(lenient: Tls) -> None:
    with lenient.plain(password="swordfish") as plain:
        assert plain.execute_command("ACL", "SETUSER", "alice", "on", "~*", "+@read", "+acl|whoami")
        assert plain.set("a", "1")
        with lenient.client(lenient.pair("alice")) as client:
            assert client.execute_command("ACL", "WHOAMI") in (b"alice", "alice")
            assert client.get("a") == b"1"
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.set("a", "2")
        assert plain.execute_command("ACL", "SETUSER", "alice", "off")
        with lenient.client(lenient.pair("alice")) as client, pytest.raises(redis.AuthenticationError):
            client.get("a")
        entry = plain.acl_log()[0]
        assert (entry["reason"], entry["username"]) == ("tls-cert", "alice")


# Who does not.


REFUSALS = {
    "no certificate": (lambda t: {}, "the client has shown no certificate"),
    "a stranger's certificate": (lambda t: {"pair": t.pair(ca="another CA")}, "the client's certificate was refused"),
    "an expired certificate": (
        lambda t: {"pair": t.pair(start_days=-9, days=8)},
        "the client's certificate was refused: certificate has expired",
    ),
    "a client that trusts another CA": (
        lambda t: {"pair": t.pair(), "ca": pki.put_file(t.place / "other.crt", pki.ca_pem("another CA"))},
        "the client does not trust the CA of our certificate",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal(strict: Tls, case: str) -> None:
    how, line = REFUSALS[case]
    with strict.client(**how(strict)) as client, pytest.raises(redis.ConnectionError) as refused:
        client.ping()
    assert "alert" in str(refused.value) or "certificate verify failed" in str(refused.value), refused.value
    strict.logs(f"a TLS handshake failed: {line}")
    require("redis-cli")
    assert strict.cli("PING", **how(strict)) not in ("PONG", "")


def test_a_version_that_is_not_allowed(strict: Tls) -> None:
    with strict.plain() as plain:
        plain.config_set("tls-protocols", "TLSv1.3")
        try:
            context = pki.client_context(pair=strict.pair(), version=ssl.TLSVersion.TLSv1_2)
            with socket.create_connection(("127.0.0.1", strict.port)) as raw, pytest.raises(ssl.SSLError):
                context.wrap_socket(raw, server_hostname="localhost")
            strict.logs("the client offers no version of TLS that tls-protocols allows")
            with strict.client(strict.pair()) as allowed:
                assert allowed.ping()
        finally:
            plain.config_set("tls-protocols", "")


def test_the_wrong_host(strict: Tls) -> None:
    context = pki.client_context(pair=strict.pair())
    with socket.create_connection(("127.0.0.1", strict.port)) as raw, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(raw, server_hostname="elsewhere.example.org")
    strict.logs("the client refuses our certificate; is it for the name the client asked for?")


@pytest.mark.parametrize("data", [b"PING\r\n", b"*1\r\n$4\r\nPING\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_plain_text_to_the_tls_port(strict: Tls, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=PATIENCE_S) as raw:
        raw.sendall(data)
        answer = b"".join(iter(lambda: raw.recv(1000), b""))
    assert answer.startswith(b"-ERR this port speaks TLS only")
    strict.logs("a TLS handshake failed: it speaks plain text")


def test_tls_to_the_plain_port(strict: Tls) -> None:
    raw = socket.create_connection(("127.0.0.1", strict.server.port), timeout=PATIENCE_S)
    with raw, pytest.raises((ssl.SSLError, OSError)):
        pki.client_context().wrap_socket(raw, server_hostname="localhost")
    with strict.plain() as plain:
        assert plain.ping()


# Reloads.


def subject(tls: Tls, pair: tuple[str, str]) -> str:
    """Whose certificate a new connection sees."""
    raw = socket.create_connection(("127.0.0.1", tls.port), timeout=PATIENCE_S)
    with raw, pki.client_context(pair=pair).wrap_socket(raw, server_hostname="localhost") as wrapped:
        return dict(part[0] for part in wrapped.getpeercert()["subject"])["commonName"]  # type: ignore[index]


def test_reloads_under_load_drop_no_connection(strict: Tls) -> None:
    """By SIGHUP, by CONFIG SET and by the files alone; a bad certificate in between; clients write all the time."""
    pair = strict.pair()
    stop, failures, done = threading.Event(), [], []

    def worker(number: int) -> None:
        try:
            connection = strict.client(pair, single_connection_client=True)
            identity = connection.client_id()
            for count in itertools.count(1):
                assert connection.set(f"w{number}", count) and int(connection.get(f"w{number}")) == count
                if stop.is_set():
                    break
            assert connection.client_id() == identity, "it was dropped and has connected again"
            done.append(count)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        with strict.plain() as plain:
            pki.put(strict.place, "server", pki.issued("by-signal"))
            os.kill(strict.server.pid, signal.SIGHUP)
            strict.logs("TLS certificates reloaded (SIGHUP)")
            assert subject(strict, pair) == "by-signal"
            with pytest.raises(redis.ResponseError, match="not the key of"):
                plain.config_set("tls-cert-file", pair[0])
            assert subject(strict, pair) == "by-signal"
            other = pki.put(strict.place, "other", pki.issued("by-config"))
            plain.config_set("tls-cert-file", other[0], "tls-key-file", other[1])
            assert subject(strict, pair) == "by-config"
            pki.put(strict.place, "other", pki.issued("by-file"))
            wait(lambda: subject(strict, pair) == "by-file", strict.log)
            pki.put(strict.place, "other", pki.issued("old", start_days=-9, days=8))
            strict.logs("has expired at")
            assert subject(strict, pair) == "by-file"
            info = plain.info("tls")
            assert info["tls_last_reload_status"] == "failed" and info["tls_server_cert_days_left"] in (99, 100)
            plain.config_set("tls-cert-file", strict.cert, "tls-key-file", strict.key)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert not failures and len(done) == 6 and min(done) > 10


def test_a_hang_up_without_tls_is_ignored(tmp_path: Path) -> None:
    with Server(us_program(), directory=tmp_path / "data") as server:
        server.start()
        os.kill(server.pid, signal.SIGHUP)
        wait(lambda: "SIGHUP is ignored" in server.log_path.read_text(), server.log_path.read_text)
        with patient(port=server.port) as plain:
            assert plain.ping()


# Starting.


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda t: pki.put(t.place, "server", pki.issued("old", start_days=-9, days=8)), "CN=old has expired at"),
        (
            lambda t: pki.put(t.place, "server", (pki.issued("other")[0], pki.issued()[1])),
            "this is not the key of the certificate",
        ),
        (lambda t: os.unlink(t.key), "there is no such file"),
        (lambda t: os.unlink(t.ca), "there is no such file"),
    ],
)
def test_what_cannot_be_used_is_a_refusal_to_start(tmp_path: Path, make: Callable[[Tls], object], text: str) -> None:
    tls = Tls(tmp_path)
    make(tls)
    with tls.server as server:
        server.spawn()
        assert server.process is not None and server.process.wait(PATIENCE_S) == 78
        assert text in tls.log() and not any(server.data_directory.iterdir()), "nothing was made before the refusal"


def test_tls_instead_of_plain_and_a_passphrase_from_a_file(tmp_path: Path) -> None:
    """No plain port, an encrypted key; its passphrase shows up nowhere."""
    require("openssl")
    tls = Tls(tmp_path, "--tls-auth-clients", "no")
    sealed = str(tmp_path / "sealed.key")
    subprocess.run(["openssl", "ec", "-aes256", "-passout", "pass:swordfish", "-in", tls.key, "-out", sealed],
                   check=True, capture_output=True)  # fmt: skip
    (tmp_path / "passphrase").write_text("swordfish\n")
    tls.server.extra += ("--tls-key-file", sealed, "--port", "0")
    tls.server.environment["VAYLIX_TLS_KEY_FILE_PASS_FILE"] = str(tmp_path / "passphrase")
    with tls.server as server:
        server.spawn()
        tls.logs("is ready on")
        with tls.client() as client:
            assert client.ping() and client.info("server")["tcp_port"] == tls.port
            assert client.info("server")["listener0"]["name"] == "tls"
        assert "swordfish" not in tls.log()
        assert b"swordfish" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()


def test_example_certificates(tmp_path: Path) -> None:
    """What `vaylix tls example-certs` prints works when it is pasted."""
    require("redis-cli")
    done = vaylix("tls", "example-certs", "--dir", str(tmp_path / "t"))
    assert done.returncode == 0 and "redis-cli --tls" in done.stdout
    tls = Tls(tmp_path)
    made = tmp_path / "t"
    tls.server.extra += ("--tls-cert-file", str(made / "server.crt"), "--tls-key-file", str(made / "server.key"),
                         "--tls-ca-cert-file", str(made / "ca.crt"))  # fmt: skip
    with tls.server as server:
        server.start()
        pair = str(made / "client.crt"), str(made / "client.key")
        assert tls.cli("PING", pair=pair, ca=str(made / "ca.crt")) == "PONG"
        words = ("healthcheck", "--tls", "--port", str(tls.port), "--cacert", str(made / "ca.crt"))
        shown = ("--cert", pair[0], "--key", pair[1])
        assert vaylix(*words, *shown).stdout == f"127.0.0.1:{tls.port}: healthy\n"
        refused = vaylix(*words)
        assert refused.returncode == 1 and "it asks for a client's certificate" in refused.stderr
        assert vaylix("healthcheck", "--port", str(tls.port)).returncode == 1


def test_silent_clients_keep_nobody_out(tmp_path: Path) -> None:
    tls = Tls(tmp_path, "--tls-handshakes-max", "8", "--tls-auth-clients", "no")
    with tls.server as server:
        server.start()
        silent = [socket.create_connection(("127.0.0.1", tls.port)) for _ in range(30)]
        with tls.client() as client:
            assert client.ping()
            info = client.info("tls")
        assert info["tls_handshakes_in_flight"] <= 8 and info["tls_handshakes_evicted"] > 0
        for one in silent:
            one.close()
