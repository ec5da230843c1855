"""Starting, stopping and failing as a whole, in this process, on a real disk and real sockets."""

import asyncio
import gc
import os
import signal
import socket

import pytest

from bench.processes import free_port
from tests.patience import PATIENCE_S
from tests.unit.server.front import pack, show
from vaylix_resp import app as module
from vaylix_resp.app import App, serve
from vaylix_resp.clock import SystemClock
from vaylix_resp.commands.ports import Later
from vaylix_resp.config import Settings
from vaylix_resp.engine import boot
from vaylix_resp.engine.checkpoint import Checkpoint
from vaylix_resp.errors import EX_CONFIG, EX_IO, EX_OK, CommandError, Halt
from vaylix_resp.server.housekeeping import Housekeeping
from vaylix_resp.storage.errors import DiskFull


@pytest.fixture(autouse=True)
def collector():
    """A server freezes and disables it for its process, which here is ours."""
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def settings(tmp_path):
    settings = Settings()
    settings.bind, settings.port, settings.dir = ("127.0.0.1",), free_port(), str(tmp_path / "data")
    settings.wal_segment_size = 1 << 20
    return settings


class Running:
    """A server in a task; `app.node` is there for tests that break something."""

    def __init__(self, settings, monkeypatch):
        self.settings = settings
        self.app = App(settings, SystemClock())
        boot = self.app._boot.alone

        def booted():
            store, self.node = boot()
            return store, self.node

        monkeypatch.setattr(self.app._boot, "alone", booted)
        self.task = asyncio.get_running_loop().create_task(self.app.run())

    async def connect(self):
        for _ in range(500):
            if self.task.done():
                self.task.result()
            try:
                return Client(*await asyncio.open_connection("127.0.0.1", self.settings.port))
            except OSError:
                await asyncio.sleep(0.01)
        raise AssertionError("the server does not listen")

    async def end(self):
        return await asyncio.wait_for(self.task, PATIENCE_S)


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, *lines):
        """One reply for each line, or the end of the connection."""
        self.writer.write(pack(*lines))
        data = b""
        while True:
            try:
                found = show(data)
            except (ValueError, AssertionError):
                found = []
            if len(found) >= len(lines):
                return found
            more = await asyncio.wait_for(self.reader.read(1 << 16), PATIENCE_S)
            if not more:
                return [*found, "closed"]
            data += more


@pytest.fixture
def start(settings, monkeypatch):
    return lambda: Running(settings, monkeypatch)


async def test_what_was_acknowledged_is_there_after_a_stop(start):
    server = start()
    client = await server.connect()
    assert await client.ask("SET a 1", "INCR a", "SELECT 3", "SET b 3") == ["+OK", ":2", "+OK", "+OK"]
    assert await client.ask("SHUTDOWN NOSAVE") == ["closed"]
    assert await server.end() == EX_OK
    server = start()
    client = await server.connect()
    assert await client.ask("GET a", "SELECT 3", "GET b") == ["2", "+OK", "3"]
    os.kill(os.getpid(), signal.SIGTERM)
    assert await server.end() == EX_OK


async def test_readiness_ends_before_clients_are_turned_away(start, monkeypatch):
    server, phases, close = start(), [], module.Listener.close

    async def closing(listener):
        phases.append(server.app._http.site.phase)
        await close(listener)

    monkeypatch.setattr(module.Listener, "close", closing)
    client = await server.connect()
    assert await client.ask("SHUTDOWN NOSAVE") == ["closed"]
    assert await server.end() == EX_OK and phases == ["stopping"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_a_busy_server(start, number):
    """Clients that never pause must not keep it from coming to rest; what it has answered is on disk."""
    server = start()
    clients = [await server.connect() for _ in range(10)]
    seen = []

    async def write(client):
        while True:
            (reply,) = await client.ask("INCR n")
            if reply == "closed":
                return
            seen.append(int(reply[1:]))

    writers = [asyncio.create_task(write(client)) for client in clients]
    while len(seen) < 200:
        await asyncio.sleep(0.001)
    os.kill(os.getpid(), number)
    assert await server.end() == EX_OK
    await asyncio.wait_for(asyncio.gather(*writers, return_exceptions=True), PATIENCE_S)
    server = start()
    client = await server.connect()
    (value,) = await client.ask("GET n")
    assert max(seen) <= int(value) <= max(seen) + len(clients)
    await client.ask("SHUTDOWN")
    await server.end()


async def test_waiting_and_paused_clients_do_not_hold_up_a_stop(start):
    server = start()
    waiting, paused, admin = [await server.connect() for _ in range(3)]
    waiting.writer.write(pack("WAIT 1 0"))
    assert await admin.ask("SET a 1", "CLIENT PAUSE 100000 WRITE") == ["+OK", "+OK"]
    paused.writer.write(pack("SET a 2"))
    assert await admin.ask("SHUTDOWN NOSAVE") == ["closed"]
    assert await server.end() == EX_OK
    assert await waiting.reader.read() in (b"", b":0\r\n") and await paused.reader.read() == b""


async def test_an_address_in_use(start, settings):
    with socket.create_server(("127.0.0.1", settings.port)), pytest.raises(Halt) as halt:
        await start().end()
    assert halt.value.exit_code == EX_CONFIG and f"127.0.0.1:{settings.port}" in str(halt.value)


async def test_a_background_job_that_ends_is_the_end(start, monkeypatch):
    async def broken(self):
        await asyncio.sleep(0.01)
        raise ZeroDivisionError("a test's own")

    monkeypatch.setattr(Housekeeping, "run", broken)
    with pytest.raises(Halt) as halt:
        await start().end()
    assert "ZeroDivisionError" in str(halt.value)


async def test_a_failed_log_is_left_as_it_is(start, monkeypatch):
    server = start()
    client = await server.connect()
    await client.ask("SET a 1")
    server.node.log_failed("a test's own")
    (refused, value) = await client.ask("SET a 2", "GET a")
    assert refused.startswith("-MISCONF Writes are refused: the log failed (a test's own)") and value == "1"
    assert await client.ask("SHUTDOWN") == ["closed"]
    assert await server.end() == EX_IO
    server = start()
    client = await server.connect()
    assert await client.ask("GET a") == ["1"]
    await client.ask("SHUTDOWN")
    await server.end()


async def test_a_broken_invariant_stops_the_server(start, monkeypatch):
    server = start()
    client = await server.connect()
    monkeypatch.setattr(server.node, "persist", lambda batch: 1 // 0)
    client.writer.write(pack("SET a 1"))  # never answered: the process ends
    with pytest.raises(Halt) as halt:
        await server.end()
    assert "ZeroDivisionError" in str(halt.value)


@pytest.mark.parametrize("force", [False, True])
async def test_shutdown_save_that_fails(start, monkeypatch, force):
    ended = Later()
    monkeypatch.setattr(Checkpoint, "start", lambda self: ended)
    server = start()
    client = await server.connect()
    ended.resolve(CommandError("ERR a test's own"))
    if force:
        assert await client.ask("SHUTDOWN SAVE FORCE") == ["closed"]
    else:
        assert await client.ask("SHUTDOWN SAVE", "PING") == ["-ERR Errors trying to SHUTDOWN. Check logs.", "+PONG"]
        assert await client.ask("SHUTDOWN NOSAVE") == ["closed"]
    assert await server.end() == EX_OK


async def test_shutdown_save_while_a_snapshot_is_being_made(start, monkeypatch):
    monkeypatch.setattr(Checkpoint, "start", lambda self: CommandError("ERR in progress"))
    server = start()
    client = await server.connect()
    assert await client.ask("SHUTDOWN SAVE", "PING") == ["-ERR in progress", "+PONG"]
    await client.ask("SHUTDOWN NOSAVE")
    assert await server.end() == EX_OK


async def test_no_room_for_the_first_entry(start, monkeypatch):
    def full(node):
        raise DiskFull("a test's own")

    monkeypatch.setattr(boot, "open_term", full)
    with pytest.raises(Halt) as halt:
        await start().end()
    assert halt.value.exit_code == EX_IO and "the log cannot be written" in str(halt.value)


def test_serve_turns_a_halt_into_an_exit_code(settings, monkeypatch, capsys):
    monkeypatch.setattr(module.logs, "configure", lambda *arguments: None)
    monkeypatch.setattr(module.posture, "raise_file_limit", lambda settings: None)
    with socket.create_server(("127.0.0.1", settings.port)):
        assert serve(settings) == EX_CONFIG
    assert capsys.readouterr().err.startswith("vaylix: cannot listen on 127.0.0.1:")
