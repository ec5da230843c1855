"""How the tools reach a running server: where it is, TLS, and what went wrong, in one line.

Promises: nothing waits longer than was asked for per step; 78 when a certificate of ours cannot be used.
Units: seconds. Not here: what is asked of the server (`healthcheck`, `cluster`).
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import Settings
from ..errors import EX_CONFIG, Refused

if TYPE_CHECKING:
    import ssl


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
    """Where the server is, and how long to wait for it."""
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


def target_of(arguments: argparse.Namespace, settings: Settings) -> Target:
    """Raises Unusable."""
    named = arguments.host or arguments.port
    tls = arguments.tls or (not named and not settings.port and settings.tls_port)
    port = arguments.port or (settings.tls_port if tls else 0) or settings.port
    if not (named or tls or port):
        return Target(settings.unixsocket)
    address = arguments.host or _reachable(settings.bind)
    if not tls:
        return Target(address, port)
    return Target(address, port, context_of(arguments, settings), arguments.sni or arguments.host or address)


def _reachable(bind: Sequence[str]) -> str:
    """An address at which a server bound to `bind` answers from here."""
    first = bind[0].removeprefix("-") if bind else "127.0.0.1"
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "::*": "::1"}.get(first, first)


def context_of(arguments: argparse.Namespace, settings: Settings) -> ssl.SSLContext:
    """How to speak TLS, by the options of the command and the settings of the server. Raises Unusable."""
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


def connected(target: Target, wait_s: float) -> socket.socket:
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


def told(error: Exception) -> str:
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


def plain(value: Any) -> Any:
    """Text for bytes, all the way down."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {plain(name): plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value
