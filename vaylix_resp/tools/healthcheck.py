"""`vaylix healthcheck`: does a running server answer PING, with or without TLS?

Promises: one line and exit code 0 or 1 whatever the server does, within the time that was asked for per step; 78 when
a certificate of ours cannot be used; the password is in no line. Units: seconds.
Not here: what a server would say of itself (INFO).
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..config import Settings, load
from ..errors import EX_CONFIG, EX_OK, Refused

if TYPE_CHECKING:
    import ssl

EX_UNHEALTHY: Final = 1
REPLY_BYTES_MAX: Final = 4096  # more than any answer to PING or AUTH


class Unusable(Refused):
    """A file of certificates that was named, and cannot be used."""

    exit_code = EX_CONFIG


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask. Without a port `address` is the path of a Unix socket."""

    address: str
    port: int = 0
    context: ssl.SSLContext | None = None  # TLS
    name: str = ""  # that the server's certificate has to be for, if the context asks for one

    @property
    def where(self) -> str:
        return f"{self.address}:{self.port}" if self.port else self.address


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="the server's configuration, for address and password")
    parser.add_argument("--host", help="address (default: the first of bind)")
    parser.add_argument("--port", type=int, help="TCP port (default: the directive port, with --tls tls-port)")
    parser.add_argument("--wait", type=float, default=3.0, metavar="SECONDS", help="how long to wait (default: 3)")
    parser.add_argument("--tls", action="store_true", help="speak TLS (default when FILE has tls-port and no port)")
    parser.add_argument(
        "--cacert", metavar="FILE",
        help="CAs that the server's certificate has to be from (default: tls-ca-cert-file, or those of the system)",
    )  # fmt: skip
    parser.add_argument("--cert", metavar="FILE", help="certificate to show, where tls-auth-clients wants one")
    parser.add_argument("--key", metavar="FILE", help="its key (default: in --cert)")
    parser.add_argument(
        "--sni", metavar="NAME",
        help="name that the certificate has to be for (default: --host; without --host any name will do)",
    )  # fmt: skip
    parser.add_argument("--insecure", action="store_true", help="take any certificate: alive is all that is asked")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.file, (), os.environ)
    target = _target(arguments, settings)
    try:
        problem = _ping(target, settings.requirepass, arguments.wait)
    except (OSError, OverflowError) as error:
        problem = _told(error)
    if problem:
        line = f"vaylix: {target.where}: not healthy: {problem}"
        print("".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)
        return EX_UNHEALTHY
    print(f"{target.where}: healthy")
    return EX_OK


def _target(arguments: argparse.Namespace, settings: Settings) -> Target:
    """Raises Unusable."""
    named = arguments.host or arguments.port
    tls = arguments.tls or (not named and not settings.port and settings.tls_port)
    port = arguments.port or (settings.tls_port if tls else 0) or settings.port
    if not (named or tls or port):
        return Target(settings.unixsocket)
    address = arguments.host or _reachable(settings.bind)
    if not tls:
        return Target(address, port)
    return Target(address, port, _context(arguments, settings), arguments.sni or arguments.host or address)


def _reachable(bind: Sequence[str]) -> str:
    """An address at which a server bound to `bind` answers from here."""
    first = bind[0].removeprefix("-") if bind else "127.0.0.1"
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "::*": "::1"}.get(first, first)


def _context(arguments: argparse.Namespace, settings: Settings) -> ssl.SSLContext:
    import ssl

    ca, directory = arguments.cacert or settings.tls_ca_cert_file, settings.tls_ca_cert_dir
    key = arguments.key or arguments.cert
    try:
        context = ssl.create_default_context(cafile=arguments.cacert)
        if not arguments.cacert and (ca or directory):  # of clients; the server's own may be one of the system's
            context.load_verify_locations(ca or None, directory or None)
    except (OSError, ValueError) as bad:
        raise Unusable(f"{ca or directory}: no CA certificate in it that can be read") from bad
    try:
        if arguments.cert:  # never a question on the terminal: nobody would answer it
            context.load_cert_chain(arguments.cert, key, lambda: settings.tls_key_file_pass)
    except (OSError, ValueError) as bad:
        raise Unusable(f"{arguments.cert} and {key}: no certificate with its key that can be read") from bad
    # An address out of our own configuration is this machine: its certificate is for the name that clients use.
    context.check_hostname = bool(arguments.sni or arguments.host) and not arguments.insecure
    if arguments.insecure:
        context.verify_mode = ssl.CERT_NONE
    return context


def _ping(target: Target, password: str, wait_s: float) -> str:
    """What is wrong with the server, or "". Raises OSError when it cannot be reached in time."""
    with _connected(target, wait_s) as connection:
        secret = password.encode("utf-8", "surrogateescape")
        if secret:
            answer = _answer(connection, b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(secret), secret))
            if answer != "+OK":
                return answer or "closed the connection"
        answer = _answer(connection, b"*1\r\n$4\r\nPING\r\n")
        return "" if answer == "+PONG" else answer or "closed the connection"


def _connected(target: Target, wait_s: float) -> socket.socket:
    if target.port:
        connection = socket.create_connection((target.address, target.port), wait_s)
    else:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(wait_s)
    try:
        if not target.port:
            connection.connect(target.address)
        if target.context is not None:
            return target.context.wrap_socket(connection, server_hostname=target.name)
    except BaseException:
        connection.close()
        raise
    return connection


def _answer(connection: socket.socket, request: bytes) -> str:
    """The first line of it; "" when the other side closed."""
    try:
        connection.sendall(request)
    except OSError as failure:
        # With TLS 1.3 a server refuses our certificate when we believe to be inside: its reason waits to be read.
        try:
            return _line(connection)
        except OSError as reason:
            raise reason from failure
    return _line(connection)


def _line(connection: socket.socket) -> str:
    """One line of an answer, without its end; "" when the other side closed."""
    line = bytearray()
    while not line.endswith(b"\r\n") and len(line) < REPLY_BYTES_MAX:
        byte = connection.recv(1)
        if not byte:
            return ""
        line += byte
    return line.decode("utf-8", "backslashreplace").strip()


def _told(error: Exception) -> str:
    """One line for people; OpenSSL's own names the place in its source."""
    verdict = getattr(error, "verify_message", "")
    if verdict:
        return f"its certificate is refused: {verdict}"
    reason = getattr(error, "reason", None)
    if not isinstance(reason, str):
        return str(getattr(error, "strerror", None) or error)
    if "CERTIFICATE_REQUIRED" in reason:
        return "it asks for a client's certificate (tls-auth-clients): give --cert and --key"
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS"
    return "TLS: " + reason.replace("_", " ").lower()
