"""The sockets of `http-port`: with real ones, before there is a server and after."""

import asyncio
import socket
import threading

import pytest

from bench.processes import free_port
from tests.patience import PATIENCE_S
from tests.unit.server.front import Stage
from tests.unit.server.metrics.test_metrics import server_of
from vaylix_resp.config import Settings
from vaylix_resp.errors import EX_CONFIG, Halt
from vaylix_resp.server.http.door import HttpDoor


@pytest.fixture
def settings():
    settings = Settings()
    settings.http_port = free_port()
    return settings


@pytest.fixture
def door(settings):
    door = HttpDoor(settings)
    yield door
    door.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "http-early"]


async def get(settings, path, host="127.0.0.1"):
    """(status, body)"""
    reader, writer = await asyncio.open_connection(host, settings.http_port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_before_there_is_a_server_and_after(settings, door):
    door.open()
    assert await get(settings, "/livez") == (200, b"ok\n")
    assert (await get(settings, "/readyz"))[0] == 503
    stage = Stage(dir=".")
    await door.serve(server_of(stage), "starting")
    assert await get(settings, "/readyz") == (503, b"not ready\n[-] process: starting\n")
    door.site.phase = ""
    assert await get(settings, "/readyz") == (200, b"ok\n")
    assert (await get(settings, "/metrics"))[1].count(b"\n# TYPE ") > 80
    stage.close()


async def test_it_answers_while_the_main_loop_is_busy(settings, door):
    door.open()
    with socket.create_connection(("127.0.0.1", settings.http_port), PATIENCE_S) as busy:  # the loop has no turn here
        busy.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert busy.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")


async def test_who_stays_connected_is_let_go_with_the_start(settings, door):
    door.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.http_port)
    await get(settings, "/livez")  # so the first has been taken in
    await door.serve(server_of(Stage(dir=".")))
    with pytest.raises(ConnectionError):
        if not await asyncio.wait_for(reader.read(), PATIENCE_S):
            raise ConnectionResetError
    writer.close()
    assert await get(settings, "/livez") == (200, b"ok\n")


async def test_closed_at_once(settings, door):
    door.open()
    door.close()
    with pytest.raises(OSError):
        await get(settings, "/livez")


async def test_without_a_port_there_is_nothing(settings, door):
    settings.http_port = 0
    door.open()
    await door.serve(server_of(Stage(dir=".")))
    assert not door._sockets and door.site.server is not None


@pytest.mark.parametrize(
    "bind, hosts",
    [
        (("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "127.0.0.2")),
        (("*",), ("127.0.0.1", "127.0.0.3")),
        (("127.0.0.1", "-192.0.2.1"), ("127.0.0.1",)),
    ],
)
async def test_addresses(settings, door, bind, hosts):
    settings.http_bind = bind
    door.open()
    for host in hosts:
        assert (await get(settings, "/livez", host))[0] == 200


@pytest.mark.parametrize("bind", [("192.0.2.1",), ("127.0.0.1", "192.0.2.1"), ("no.such.name.invalid",)])
def test_an_address_that_cannot_be_had(settings, door, bind):
    settings.http_bind = bind
    with pytest.raises(Halt, match=rf"cannot listen on {bind[-1]}:{settings.http_port}: .*`http-bind`") as halt:
        door.open()
    assert halt.value.exit_code == EX_CONFIG and not door._sockets


def test_an_address_that_somebody_has(settings, door):
    with socket.create_server(("127.0.0.1", settings.http_port)), pytest.raises(Halt, match="in use"):
        door.open()
