"""The doors: addresses, the unix socket, and what is said when one cannot be opened. With real sockets."""

import asyncio
import os
import socket
import stat

import pytest

from bench.processes import free_port
from tests.patience import PATIENCE_S
from tests.unit.security import pki
from tests.unit.server.front import Stage, pack
from vaylix_resp.errors import EX_CONFIG, Halt
from vaylix_resp.security.tls import TlsError
from vaylix_resp.server.listener import Listener, cannot_listen, display


@pytest.fixture
async def opened():
    """Open a listener for these settings; closed at the end."""
    listeners = []

    async def start(**settings):
        stage = Stage(**{"port": 0, "bind": (), **settings})
        listener = Listener(stage.shared)
        listeners.append(listener)
        await listener.open()
        return stage, listener

    yield start
    for listener in listeners:
        await listener.close()


@pytest.fixture
def certificates(tmp_path):
    """The directives of a server that asks for certificates; its clock stands in the past, so these begin there."""
    long_ago = {"start_days": -20_000, "days": 30_000}
    cert, key = pki.put(tmp_path, "server", pki.issued(**long_ago))
    ca = pki.put_file(tmp_path / "ca.crt", pki.ca_pem())
    return {"tls_cert_file": cert, "tls_key_file": key, "tls_ca_cert_file": ca, "tls_auth_clients": "optional"}


async def ask(reader, writer, *lines):
    writer.write(pack(*lines))
    return await asyncio.wait_for(reader.readline(), PATIENCE_S)


async def test_tcp(opened):
    port = free_port()
    stage, listener = await opened(port=port, bind=("127.0.0.1", "-::1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await ask(reader, writer, "PING") == b"+PONG\r\n"
    (client,) = stage.shared.clients
    assert client.laddr == f"127.0.0.1:{port}" and client.fd > 0
    sock = client._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == stage.settings.tcp_keepalive
    await listener.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    assert await ask(reader, writer, "PING") == b"+PONG\r\n", "who is inside may stay"
    writer.close()


async def test_an_address_in_use(opened):
    port = free_port()
    await opened(port=port, bind=("127.0.0.1",))
    with pytest.raises(Halt) as halt:
        await opened(port=port, bind=("127.0.0.1",))
    assert halt.value.exit_code == EX_CONFIG
    assert str(halt.value).startswith(f"cannot listen on 127.0.0.1:{port}: ") and "choose another" in str(halt.value)
    await opened(port=port, bind=("-127.0.0.1",))  # an optional address is passed over


def test_a_port_that_only_root_may_have():
    said = str(cannot_listen("127.0.0.1:80", PermissionError(13, "Permission denied"), "bind", "port"))
    assert said == (
        "cannot listen on 127.0.0.1:80: Permission denied; choose a `port` above 1023, or give the server "
        "CAP_NET_BIND_SERVICE"
    )


async def test_no_port_no_tcp(opened):
    _, listener = await opened(port=0, bind=("127.0.0.1",))
    assert listener._servers == []


async def connect(port, *pair):
    context = pki.client_context(pair=pair or None)
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")


async def test_tls_beside_plain(opened, certificates):
    port, tls_port = free_port(), free_port()
    stage, listener = await opened(port=port, tls_port=tls_port, bind=("127.0.0.1",), **certificates)
    for reader, writer in (await asyncio.open_connection("127.0.0.1", port), await connect(tls_port)):
        assert await ask(reader, writer, "PING") == b"+PONG\r\n"
    plain, tls = stage.shared.clients
    assert tls.laddr == f"127.0.0.1:{tls_port}" and plain.laddr == f"127.0.0.1:{port}" and tls.fd > 0
    assert stage.shared.tls.info()["tls_connections"] == 1
    await listener.close()
    assert await ask(reader, writer, "PING") == b"+PONG\r\n", "who is inside may stay"
    writer.close()


async def test_tls_with_an_address_in_use_or_no_certificate(opened, certificates):
    port = free_port()
    await opened(tls_port=port, bind=("127.0.0.1",), **certificates)
    with pytest.raises(Halt, match="another `bind` or `tls-port`"):
        await opened(tls_port=port, bind=("127.0.0.1",), **certificates)
    with pytest.raises(TlsError, match="tls-cert-file is not set") as refused:
        await opened(tls_port=free_port(), bind=("127.0.0.1",))
    assert refused.value.exit_code == EX_CONFIG


@pytest.mark.parametrize(
    "name, field, answer, denied",
    [
        ("default", "CN", b"+PONG\r\n", 0),
        ("default", "off", b"-NOAUTH Authentication required.\r\n", 0),
        ("nobody", "CN", b"-NOAUTH Authentication required.\r\n", 1),
        ("default", "URI", b"-NOAUTH Authentication required.\r\n", 1),
        (None, "CN", b"-NOAUTH Authentication required.\r\n", 0),
    ],
)
async def test_a_user_by_certificate(opened, certificates, tmp_path, name, field, answer, denied):
    port = free_port()
    stage, _ = await opened(
        tls_port=port, bind=("127.0.0.1",), requirepass="swordfish", tls_auth_clients_user=field, **certificates
    )
    pair = pki.put(tmp_path, "client", pki.issued(name, "client")) if name else ()
    reader, writer = await connect(port, *pair)
    assert await ask(reader, writer, "PING") == answer
    assert stage.shared.stats.acl_access_denied_tls_cert == denied
    assert await ask(reader, writer, "AUTH swordfish") == b"+OK\r\n"
    writer.close()


async def test_a_slow_reader_over_tls(opened, certificates):
    """What it was not sent counts; nothing is lost, and others are served meanwhile."""
    port = free_port()
    stage, _ = await opened(tls_port=port, bind=("127.0.0.1",), **certificates)
    filler = stage.connect()
    filler.ask(("SET", "big", b"x" * (1 << 20)))
    slow_reader, slow_writer = await connect(port)
    slow_writer.transport.pause_reading()
    slow_writer.write(pack(*["GET big"] * 40))
    reader, writer = await connect(port)
    while not stage.shared.buffering:
        assert await ask(reader, writer, "PING") == b"+PONG\r\n"
    (client,) = stage.shared.buffering
    assert 0 < client.output_bytes < 4 << 20
    slow_writer.transport.resume_reading()
    expected = 40 * len(b"$1048576\r\n" + bytes(1 << 20) + b"\r\n")
    assert len(await asyncio.wait_for(slow_reader.readexactly(expected), PATIENCE_S)) == expected
    assert not stage.shared.buffering
    for one in (writer, slow_writer):
        one.close()


async def test_unix_socket(opened, tmp_path):
    path = str(tmp_path / "vaylix.sock")
    stage, listener = await opened(unixsocket=path, unixsocketperm=0o700)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    reader, writer = await asyncio.open_unix_connection(path)
    assert await ask(reader, writer, "PING") == b"+PONG\r\n"
    (client,) = stage.shared.clients
    assert client.addr == client.laddr == f"{path}:0"
    writer.close()
    await listener.close()
    assert not os.path.exists(path)
    await listener.close()


async def test_what_an_earlier_server_left_is_replaced(opened, tmp_path):
    path = str(tmp_path / "vaylix.sock")
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    await opened(unixsocket=path)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await ask(reader, writer, "PING") == b"+PONG\r\n"
    writer.close()


async def test_no_file_is_deleted_for_a_unix_socket(opened, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(Halt, match="no socket"):
        await opened(unixsocket=str(path))
    assert path.read_text() == "data"


async def test_a_unix_socket_that_cannot_be_made(opened, tmp_path):
    path = str(tmp_path / "nosuch" / "vaylix.sock")
    with pytest.raises(Halt) as halt:
        await opened(unixsocket=path)
    assert halt.value.exit_code == EX_CONFIG and path in str(halt.value)


async def test_pressure_on_a_real_socket(opened):
    """A reader that does not read, then does: nothing is lost, and others are served meanwhile."""
    port = free_port()
    stage, _ = await opened(port=port, bind=("127.0.0.1",))
    filler = stage.connect()
    filler.ask(("SET", "big", b"x" * (1 << 20)))
    count = 40
    slow = socket.create_connection(("127.0.0.1", port))
    slow.sendall(pack(*["GET big"] * count))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(100):
        assert await ask(reader, writer, "PING") == b"+PONG\r\n"
    (client,) = stage.shared.buffering
    assert client.output_bytes < 4 << 20 and stage.shared.stats.commands["get"].calls < count
    expected = count * len(b"$1048576\r\n" + bytes(1 << 20) + b"\r\n")
    slow.setblocking(False)
    loop, got = asyncio.get_running_loop(), 0
    while got < expected:
        got += len(await asyncio.wait_for(loop.sock_recv(slow, 1 << 20), PATIENCE_S))
    assert got == expected and not stage.shared.buffering
    slow.close()
    writer.close()


async def test_half_a_close_on_a_real_socket(opened):
    port = free_port()
    stage, _ = await opened(port=port, bind=("127.0.0.1",))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(pack("SET a 1", "PUBLISH c m", "GET a"))
    writer.write_eof()
    await asyncio.sleep(0.05)
    stage.commit()
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"+OK\r\n:0\r\n$1\r\n1\r\n"
    writer.close()


@pytest.mark.parametrize(
    "host, shown", [("127.0.0.1", "127.0.0.1:1"), ("-::1", "[::1]:1"), ("::1", "[::1]:1"), ("*", "*:1")]
)
def test_display(host, shown):
    assert display(host, 1) == shown
