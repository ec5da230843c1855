"""`vaylix healthcheck`: what it asks, with and without TLS, and the one line it prints."""

import contextlib
import socket
import ssl
import threading

import pytest

from tests.unit.security import pki
from vaylix_resp import cli

pytestmark = pytest.mark.usefixtures("clean_environment")


def run(capsys, *words):
    """(exit code, what went to standard output, what went to standard error)."""
    code = cli.main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def peer():
    """A server on loopback that answers each request with the next of `answers`; None closes. `tls`: its context."""
    listener = socket.create_server(("127.0.0.1", 0))
    answers, received, contexts = [], [], []

    def serve():
        connection, _ = listener.accept()
        with contextlib.suppress(OSError), connection:  # a client that does not trust us leaves in the middle
            if contexts:
                connection = contexts[0].wrap_socket(connection, server_side=True)
            with connection:
                for answer in answers:
                    received.append(connection.recv(4096))
                    if answer is None:
                        return
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)

    def start(*given, tls=None):
        answers.extend(given)
        contexts.extend([tls] if tls else [])
        thread.start()
        return listener.getsockname()[1], received

    yield start
    listener.close()
    if thread.ident:
        thread.join(5)


@pytest.mark.parametrize(
    "answer, code, text",
    [
        (b"+PONG\r\n", 0, "healthy"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", 1, "not healthy: -LOADING Redis is loading"),
        (b"-NOAUTH Authentication required.\r\n", 1, "not healthy: -NOAUTH"),
        (b"+PO", 1, "not healthy: closed the connection"),
        (None, 1, "not healthy: closed the connection"),
        (b"x" * 5000, 1, "not healthy: xxx"),
    ],
)
def test_healthcheck_asks_for_pong(capsys, peer, answer, code, text):
    port, _ = peer(answer)
    got, out, err = run(capsys, "healthcheck", "--port", str(port))
    assert got == code
    assert f"127.0.0.1:{port}: {text}" in out + err


def test_healthcheck_takes_address_and_password_from_the_configuration(capsys, peer, tmp_path, monkeypatch):
    port, received = peer(b"+OK\r\n", b"+PONG\r\n")
    file = tmp_path / "v.conf"
    file.write_text(f"bind *\nport {port}\n")
    monkeypatch.setenv("VAYLIX_REQUIREPASS", "hush")
    assert run(capsys, "healthcheck", str(file)) == (0, f"127.0.0.1:{port}: healthy\n", "")
    assert received == [b"*2\r\n$4\r\nAUTH\r\n$4\r\nhush\r\n", b"*1\r\n$4\r\nPING\r\n"]


def test_healthcheck_of_nobody_is_unhealthy(capsys, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refused, and nobody else can take it
        port = unused.getsockname()[1]
        assert run(capsys, "healthcheck", "--port", str(port))[0] == 1
    assert run(capsys, "healthcheck", "--port", "99999")[0] == 1
    file = tmp_path / "v.conf"
    file.write_text(f"port 0\nunixsocket {tmp_path}/absent\n")
    code, _, err = run(capsys, "healthcheck", str(file))
    assert (code, err) == (1, f"vaylix: {tmp_path}/absent: not healthy: No such file or directory\n")


def test_healthcheck_does_not_wait_for_ever(capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, _, err = run(capsys, "healthcheck", "--port", str(silent.getsockname()[1]), "--wait", "0.05")
    assert code == 1 and "timed out" in err


# ---- TLS


def context(place, auth=ssl.CERT_NONE, **how):
    """Of a server whose certificate is for localhost and 127.0.0.1 unless `how` says otherwise."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*pki.put(place, "server", pki.issued(**how)))
    made.load_verify_locations(cadata=pki.ca_pem().decode())
    made.verify_mode = auth
    return made


@pytest.fixture
def ca(tmp_path):
    return pki.put_file(tmp_path / "ca.crt", pki.ca_pem())


def test_it_speaks_tls(capsys, peer, tmp_path, ca):
    port, received = peer(b"+PONG\r\n", tls=context(tmp_path))
    words = ("healthcheck", "--tls", "--cacert", ca, "--host", "127.0.0.1", "--port", str(port))
    assert run(capsys, *words) == (0, f"127.0.0.1:{port}: healthy\n", "")
    assert received == [b"*1\r\n$4\r\nPING\r\n"]


def test_the_configuration_says_that_there_is_only_tls(capsys, peer, tmp_path, ca):
    """Its address is this machine, whatever name the certificate is for; the CA is the one of the clients."""
    port, _ = peer(b"+PONG\r\n", tls=context(tmp_path, name="cache", hosts=("cache.example.org",)))
    file = tmp_path / "v.conf"
    file.write_text(f"port 0\ntls-port {port}\ntls-ca-cert-file {ca}\n")
    assert run(capsys, "healthcheck", str(file)) == (0, f"127.0.0.1:{port}: healthy\n", "")


def test_a_certificate_is_shown(capsys, peer, tmp_path, ca):
    port, _ = peer(b"+PONG\r\n", tls=context(tmp_path, ssl.CERT_REQUIRED))
    cert, key = pki.put(tmp_path, "client", pki.issued("probe", "client"))
    words = ("healthcheck", "--tls", "--cacert", ca, "--cert", cert, "--key", key, "--port", str(port))
    assert run(capsys, *words)[0] == 0


@pytest.mark.parametrize(
    "how, words, text",
    [
        ({}, ["--sni", "elsewhere.example.org"], "its certificate is refused: Hostname mismatch"),
        ({}, ["--host", "127.0.0.1", "--sni", "127.0.0.2"], "its certificate is refused: IP address mismatch"),
        ({"start_days": -9, "days": 8}, [], "its certificate is refused: certificate has expired"),
        ({"ca": "another CA"}, [], "its certificate is refused: unable to get local issuer certificate"),
        ({"auth": ssl.CERT_REQUIRED}, [], "it asks for a client's certificate (tls-auth-clients): give --cert"),
    ],
)
def test_tls_that_fails_is_unhealthy(capsys, peer, tmp_path, ca, how, words, text):
    port, _ = peer(b"+PONG\r\n", tls=context(tmp_path, **how))
    code, out, err = run(capsys, "healthcheck", "--tls", "--cacert", ca, "--port", str(port), *words)
    assert (code, out) == (1, "") and f"not healthy: {text}" in err and err.count("\n") == 1


@pytest.mark.parametrize("how", [{"start_days": -9, "days": 8}, {"ca": "another CA"}, {"hosts": ("elsewhere",)}])
def test_insecure_takes_any_certificate(capsys, peer, tmp_path, how):
    port, _ = peer(b"+PONG\r\n", tls=context(tmp_path, **how))
    words = ("healthcheck", "--tls", "--insecure", "--host", "127.0.0.1", "--port", str(port))
    assert run(capsys, *words)[0] == 0


def test_tls_to_a_plain_port(capsys, peer, ca):
    port, _ = peer(b"-ERR unknown command\r\n")
    code, _, err = run(capsys, "healthcheck", "--tls", "--cacert", ca, "--port", str(port))
    assert code == 1 and err == f"vaylix: 127.0.0.1:{port}: not healthy: it does not speak TLS\n"


@pytest.mark.parametrize("words", [["--cacert", "absent"], ["--cert", "absent"], ["--cacert", "empty"]])
def test_files_that_cannot_be_used(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    code, _, err = run(capsys, "healthcheck", "--tls", "--port", "1", *words)
    assert code == 78 and err.startswith(f"vaylix: {words[1]}") and err.count("\n") == 1
