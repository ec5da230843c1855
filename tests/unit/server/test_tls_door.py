"""The doors for TLS with real sockets, on both event loops: bounds of handshakes, reloads, and what the log says."""

import asyncio
import logging
import socket
import ssl
from types import SimpleNamespace

import pytest
import uvloop

from tests.patience import PATIENCE_S
from tests.unit.security import pki
from vaylix_resp.errors import CommandError
from vaylix_resp.observability import logs
from vaylix_resp.security.tls import Keeper, Options
from vaylix_resp.server import tls_door
from vaylix_resp.server.tls_door import LINES_PER_SECOND, Door

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


class Settings:
    """The directives that a door asks for."""

    tcp_backlog = 128

    def __init__(self, **changes):
        self.subscribers = {}
        self.values = {
            "tls-key-file-pass": "", "tls-ca-cert-file": "", "tls-ca-cert-dir": "", "tls-auth-clients": "no",
            "tls-auth-clients-user": "off", "tls-protocols": "", "tls-ciphers": "", "tls-ciphersuites": "",
            "tls-prefer-server-ciphers": False, "tls-session-caching": True, "tls-session-cache-size": 20480,
            "tls-session-cache-timeout": 300, "tls-auto-reload-interval": 0, "tls-handshake-timeout": 30,
            "tls-handshakes-max": 100, **changes,
        }  # fmt: skip

    def value(self, name):
        return self.values[name]

    def subscribe(self, name, subscriber):
        self.subscribers[name] = subscriber

    def set(self, **changes):
        """CONFIG SET, as `config.Settings.set_many` does it: all of them, then each subscriber; undone when refused."""
        changes = {f"tls-{name.replace('_', '-')}": value for name, value in changes.items()}
        old = {name: self.values[name] for name in changes}
        self.values.update(changes)
        for at, name in enumerate(changes):
            try:
                self.subscribers[name](changes[name])
            except ValueError as refused:
                self.values.update(old)
                for told in list(changes)[: at + 1]:
                    self.subscribers[told](old[told])
                raise CommandError(str(refused)) from refused


class Clock:
    def __init__(self):
        self.s = pki.NOW_S

    def wall_ms(self):
        return self.s * 1000


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Stage:
    """One door with one listening socket."""

    def __init__(self, directory, **changes):
        self.directory = directory
        cert, key = pki.put(directory, "server", pki.issued())
        self.settings = Settings(**{"tls-cert-file": cert, "tls-key-file": key, **changes})
        self.clock = Clock()
        self.keeper = Keeper(Options.of(self.settings), self.clock)

    async def open(self):
        self.door = Door(self.settings, self.keeper, Echo)
        await self.door.listen("127.0.0.1", 0)
        (sock,) = self.door._sockets
        self.port = sock.getsockname()[1]
        return self

    async def connect(self, context=None):
        context = context or pki.client_context()
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname="localhost")

    def silent(self):
        """A client that opens TCP and says nothing."""
        return socket.create_connection(("127.0.0.1", self.port))

    def info(self, name):
        return self.door.info()[f"tls_{name}"]


async def echo(ends, text=b"hello"):
    reader, writer = ends
    writer.write(text)
    return await reader.readexactly(len(text)) == text


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


@pytest.fixture
def lines():
    """What the log got, at notice and above."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(
                " ".join([record.getMessage(), *(f"{k}={v}" for k, v in getattr(record, "fields", {}).items())])
            )

    logger, handler = logging.getLogger(f"{logs.ROOT}.tls"), Handler(logs.NOTICE)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logs.DEBUG)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(params=LOOPS)
def run(request, tmp_path):
    """Run `scenario(stage)` with a stage for these directives, closed at the end."""

    def runner(scenario, **changes):
        async def main():
            stage = await Stage(tmp_path, **{name.replace("_", "-"): value for name, value in changes.items()}).open()
            try:
                await asyncio.wait_for(scenario(stage), PATIENCE_S)
            finally:
                stage.door.close()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return runner


def test_clients_come_and_go(run):
    async def scenario(stage):
        ends = [await stage.connect() for _ in range(5)]
        assert all([await echo(one) for one in ends])
        assert (stage.info("connections"), stage.info("handshakes_completed"), stage.info("handshakes_in_flight")) == (
            5,
            5,
            0,
        )
        for _, writer in ends:
            writer.close()
        await until(lambda: stage.info("connections") == 0)

    run(scenario)


def test_silent_clients_make_room(run, monkeypatch, lines):
    """The bound holds, and whoever comes next gets in all the same."""
    monkeypatch.setattr(tls_door, "SILENCE_S", 0.2)

    async def scenario(stage):
        silent = [stage.silent() for _ in range(4)]
        await until(lambda: stage.info("handshakes_in_flight") == 4)
        most = []
        task = asyncio.ensure_future(stage.connect())
        while not task.done():
            most.append(stage.info("handshakes_in_flight"))
            await asyncio.sleep(0.01)
        assert await echo(await task)
        assert max(most) == 4 and stage.info("handshakes_evicted") == 1
        for one in silent:
            one.close()
        await until(lambda: stage.info("handshakes_in_flight") == 0)

    run(scenario, tls_handshakes_max=4)
    assert [line for line in lines if "it was silent while others waited" in line]


def test_more_clients_than_may_shake_hands_at_once_all_get_in(run):
    """A storm of reconnects: the kernel keeps those who wait, nobody is turned away."""

    async def scenario(stage):
        ends = await asyncio.gather(*(stage.connect() for _ in range(40)))
        assert all(await asyncio.gather(*(echo(one) for one in ends)))
        assert (stage.info("handshakes_completed"), stage.info("handshakes_failed")) == (40, 0)

    run(scenario, tls_handshakes_max=3)


def test_a_handshake_takes_too_long(run, lines):
    async def scenario(stage):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"\x16\x03\x01")  # the beginning of a record, and nothing more
        with pytest.raises(ConnectionError):
            assert await reader.read() == b""
            raise ConnectionResetError  # asyncio says it with an empty read or with an error
        assert (stage.info("handshakes_timed_out"), stage.info("handshakes_in_flight")) == (1, 0)

    run(scenario, tls_handshake_timeout=0.1)
    assert [line for line in lines if "longer than tls-handshake-timeout" in line]


def test_plain_text_gets_a_clear_answer(run, lines):
    async def scenario(stage):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"*1\r\n$4\r\nPING\r\n")
        assert await reader.read() == b"-ERR this port speaks TLS only; connect with TLS, or to the plain port\r\n"
        writer.close()
        await until(lambda: stage.info("handshakes_in_flight") == 0)
        assert stage.info("handshakes_failed") == 1

    run(scenario)
    (line,) = lines
    assert line.startswith("a TLS handshake failed: it speaks plain text") and "addr=127.0.0.1:" in line


def test_a_flood_of_failures_does_not_fill_the_log(run, lines):
    """Each kind has its own room, so that a flood of one hides no other."""
    plain = "a TLS handshake failed: it speaks plain text; this port is for TLS"

    async def scenario(stage):
        loop, stage.door._loop = stage.door._loop, SimpleNamespace(time=lambda: now)  # all within one second
        now = 100.0
        for _ in range(500):
            stage.door._say(plain, addr="a")
        stage.door._say("something else", addr="b")
        assert len(lines) == LINES_PER_SECOND + 1
        now = 101.0
        stage.door._say(plain, addr="c")
        stage.door._loop = loop

    run(scenario)
    assert lines[-3:] == [
        "something else addr=b",
        f"{plain} ({500 - LINES_PER_SECOND} more times in one second)",
        f"{plain} addr=c",
    ]


def test_who_is_inside_stays_through_reloads_and_new_ones_see_the_new_certificate(run, lines):
    async def scenario(stage):
        inside = [await stage.connect() for _ in range(10)]
        serials, stop = [], asyncio.Event()

        async def load(ends):
            count = 0
            while not stop.is_set():
                assert await echo(ends, b"x" * 1000)
                count += 1
            return count

        tasks = [asyncio.ensure_future(load(ends)) for ends in inside]
        for name in ("one", "two", "three"):
            pki.put(stage.directory, "server", pki.issued(name))
            assert stage.door.reload("SIGHUP")
            _, writer = await stage.connect()
            peer = writer.get_extra_info("ssl_object").getpeercert()
            serials.append(dict(pair[0] for pair in peer["subject"])["commonName"])
            writer.close()
        stop.set()
        assert min(await asyncio.gather(*tasks)) > 0
        assert serials == ["one", "two", "three"] and stage.info("reloads") == 3
        await until(lambda: stage.info("connections") == 10)

    run(scenario)
    assert len([line for line in lines if "reloaded (SIGHUP)" in line]) == 3


def test_a_bad_reload(run, lines):
    async def scenario(stage):
        serial = stage.info("server_cert_serial")
        pki.put(stage.directory, "server", (pki.issued("other")[0], pki.issued()[1]))
        assert not stage.door.reload("SIGHUP")
        assert (stage.info("server_cert_serial"), stage.info("last_reload_status")) == (serial, "failed")
        assert await echo(await stage.connect())

    run(scenario)
    assert "not the key of the certificate" in lines[0] and "the ones in force stay" in lines[0]


def test_config_set(run, tmp_path):
    async def scenario(stage):
        cert, key = pki.put(tmp_path, "other", pki.issued("other"))
        ca = pki.put_file(tmp_path / "ca.crt", pki.ca_pem())
        serial = stage.info("server_cert_serial")
        with pytest.raises(CommandError, match="not the key of"):
            stage.settings.set(cert_file=cert)
        with pytest.raises(CommandError, match="neither tls-ca-cert-file"):
            stage.settings.set(auth_clients="yes")
        assert (stage.info("server_cert_serial"), stage.info("reloads")) == (serial, 0)
        assert stage.settings.value("tls-cert-file") != cert
        stage.settings.set(cert_file=cert, key_file=key)
        assert stage.info("server_cert_serial") != serial and stage.info("reloads") == 1
        stage.settings.set(ca_cert_file=ca, auth_clients="yes")
        with pytest.raises(ssl.SSLError):
            await echo(await stage.connect())
        pair = pki.put(tmp_path, "alice", pki.issued("alice", "client"))
        assert await echo(await stage.connect(pki.client_context(pair=pair)))

    run(scenario)


def test_config_set_to_the_same_value_reloads(run):
    async def scenario(stage):
        path = stage.settings.value("tls-cert-file")
        stage.settings.set(cert_file=path)
        assert stage.info("reloads") == 0, "nothing has changed"
        pki.put(stage.directory, "server", pki.issued("renewed"))
        stage.settings.set(cert_file=path)
        assert stage.info("reloads") == 1
        pki.put(stage.directory, "server", (b"rubbish", b"rubbish"))
        with pytest.raises(CommandError, match="no usable certificate"):
            stage.settings.set(cert_file=path)
        assert await echo(await stage.connect())

    run(scenario)


def test_files_that_change_are_noticed_once_they_are_settled(run, lines):
    async def scenario(stage):
        certificate, key = pki.issued("renewed")
        settled = await stage.door.look(None)
        pki.put_file(stage.directory / "server.crt", certificate)  # its key is still on its way
        settled = await stage.door.look(settled)
        assert stage.info("reloads") == 0 and stage.info("last_reload_status") == "ok" and lines == []
        pki.put_file(stage.directory / "server.key", key)
        settled = await stage.door.look(settled)
        settled = await stage.door.look(settled)
        assert stage.info("reloads") == 1
        pki.put_file(stage.directory / "server.crt", b"rubbish")
        for _ in range(5):
            settled = await stage.door.look(settled)
        assert stage.info("reloads") == 1 and stage.info("last_reload_status") == "failed"
        assert await echo(await stage.connect())

    run(scenario)
    assert "reloaded (the files have changed)" in lines[0]
    assert "not reloaded (the files have changed)" in lines[1] and len(lines) == 2, "said once"


def test_a_look_that_config_set_overtakes(run, tmp_path, monkeypatch):
    """What was loaded for the old directives is thrown away."""

    async def scenario(stage):
        cert, key = pki.put(tmp_path, "other", pki.issued("other"))
        pki.put(stage.directory, "server", pki.issued("renewed"))
        settled = await stage.door.look(None)
        slow = asyncio.ensure_future(stage.door.look(settled))
        await asyncio.sleep(0)
        stage.settings.set(cert_file=cert, key_file=key)
        await slow
        assert stage.keeper.material.server.subject == "CN=other"

    run(scenario)


def test_the_job_looks_by_itself_and_tells_of_the_end(run, lines, monkeypatch):
    monkeypatch.setattr(tls_door, "WATCH_S", 0.01)

    async def scenario(stage):
        job = asyncio.ensure_future(stage.door.run())
        pki.put(stage.directory, "server", pki.issued("renewed"))
        await until(lambda: stage.info("reloads") == 1)
        stage.clock.s += 95 * 86_400
        await until(lambda: any("has 5 days left" in line for line in lines))
        assert stage.info("server_cert_days_left") == 5
        job.cancel()

    run(scenario, tls_auto_reload_interval=0.01)


def test_after_the_end_nobody_new_is_let_in(run, lines):
    async def scenario(stage):
        inside = await stage.connect()
        stage.clock.s += 101 * 86_400
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await stage.connect()
        assert await echo(inside)
        assert stage.info("server_cert_expires_in_seconds") == 0 > stage.info("server_cert_days_left")

    run(scenario)
    assert any("our certificate has expired" in line for line in lines)


def test_a_certificate_that_maps_to_nobody_is_told_of(run, tmp_path, lines):
    ca = pki.put_file(tmp_path / "ca.crt", pki.ca_pem())
    pair = pki.put(tmp_path, "client", pki.issued("x" * 64, "client", uris=("urn:a\0b",)))

    async def scenario(stage):
        assert await echo(await stage.connect(pki.client_context(pair=pair)))

    run(scenario, tls_ca_cert_file=ca, tls_auth_clients="optional", tls_auth_clients_user="URI")
    (line,) = lines
    assert line.startswith("a client's certificate maps to no user: its alternative name (URI)") and "\0" not in line


def test_no_descriptor_left(run, monkeypatch, lines):
    """Nothing breaks, and accepting goes on by itself."""
    monkeypatch.setattr(tls_door, "RETRY_S", 0.05)

    async def scenario(stage):
        class Spent:
            """The listening socket while the process has no descriptor left, once."""

            failed = False

            def accept(self):
                if not Spent.failed:
                    Spent.failed = True
                    raise OSError(24, "Too many open files")
                return stage.door._sockets[0].accept()

        stage.door._accept(Spent())
        assert not stage.door._accepting
        assert await echo(await stage.connect())

    run(scenario)
    assert len(lines) == 1 and lines[0].startswith("no TLS client can be accepted: Too many open files; it is tried again")


def test_closing(run):
    async def scenario(stage):
        inside = await stage.connect()
        assert await echo(inside)
        silent = stage.silent()
        await until(lambda: stage.info("handshakes_in_flight") == 1)
        stage.door.close()
        assert await echo(inside), "who is inside may stay"
        with pytest.raises(OSError):
            stage.silent()
        silent.close()
        await until(lambda: stage.info("handshakes_in_flight") == 0)

    run(scenario)


def test_an_address_in_use(run):
    async def scenario(stage):
        with pytest.raises(OSError):
            await Door(stage.settings, stage.keeper, Echo).listen("127.0.0.1", stage.port)

    run(scenario)
