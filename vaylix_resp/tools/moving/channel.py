"""A connection to a server, for many requests at once, and where it is: `redis://[user:password@]host:port[/db]`.

Promises: no more requests are sent ahead of their replies than the sockets' buffers hold, as long as requests or
replies are short; the password is in no line. An error reply is a value (hiredis.ReplyError), a lost connection an
OSError, and so is a refusal for now (ForNow) of what the connection itself asks for.
Units: seconds. Not here: what is asked, and what is tried again (`patience`).
"""

from __future__ import annotations

import argparse
import os
import socket
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import hiredis

from ...config import Settings, load
from ...config_cluster import host_and_port
from ...errors import EX_USAGE, Refused
from ...limits import READ_CHUNK_BYTES
from .. import reach
from ..reach import Target, connected
from .patience import ForNow, is_for_now

WAIT_S: Final = 30.0  # for one reply: a large transaction on a slow disk
PORT: Final = 6379
Words = Sequence[bytes]


class BadAddress(Refused):
    exit_code = EX_USAGE


class Denied(Refused):
    """The server took the connection and not who we are; or it will not do what is needed."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and who we are there. `db`: the one that was named."""

    target: Target
    user: str
    password: str
    db: int | None

    @property
    def where(self) -> str:
        """For people; without the password."""
        return host_and_port(self.target.address, self.target.port) + ("" if self.db is None else f"/{self.db}")


def options(parser: argparse.ArgumentParser) -> None:
    """For rediss:// on either side."""
    parser.add_argument("--cacert", metavar="FILE", help="CAs that a rediss:// server's certificate has to be from")
    parser.add_argument("--cert", metavar="FILE", help="certificate to show")
    parser.add_argument("--key", metavar="FILE", help="its key (default: in --cert)")
    parser.add_argument("--sni", metavar="NAME", help="name that the certificate has to be for (default: the host)")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")


def address_of(url: str, arguments: argparse.Namespace, variable: str) -> Address:
    """Read a URL; the password may come from the environment instead. Raises BadAddress."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or PORT
    except ValueError:
        parts, port = urllib.parse.urlsplit(""), 0
    path = parts.path.strip("/")
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not (path.isdigit() or not path):
        expected = "redis://[user[:password]@]host:port[/database], or rediss:// for TLS"
        raise BadAddress(f"expected {expected}, not {_hidden(url)!r}")
    user = urllib.parse.unquote(parts.username or "")
    password = urllib.parse.unquote(parts.password or "") or os.environ.get(variable, "")
    context, name = None, ""
    if parts.scheme == "rediss":
        named = argparse.Namespace(**{**vars(arguments), "host": parts.hostname})
        context, name = reach.context_of(named, _no_settings()), arguments.sni or parts.hostname
    return Address(Target(parts.hostname, port, context, name), user, password, int(path) if path else None)


def _hidden(url: str) -> str:
    """Without what stands before the host."""
    scheme, slashes, rest = url.partition("://")
    return scheme + slashes + rest.rpartition("@")[2]


def _no_settings() -> Settings:
    return load(None, (), {})


def granted(answer: Any, refused: str) -> Any:
    """The answer. An error is ForNow, or Denied with `refused` in front."""
    if isinstance(answer, hiredis.ReplyError):
        raise ForNow(str(answer)) if is_for_now(str(answer)) else Denied(f"{refused}: {answer}")
    return answer


def packed(requests: Iterable[Words]) -> bytes:
    encoded: Any = map(tuple, requests)  # of bytes, which hiredis takes and its stub does not name
    return b"".join(map(hiredis.pack_command, encoded))


class Channel:
    """One connection, logged in."""

    def __init__(self, address: Address, wait_s: float = WAIT_S) -> None:
        self._socket = connected(address.target, wait_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self.db = 0
        try:
            if address.password:
                user = (address.user.encode(),) if address.user else ()
                answer = self.ask(b"AUTH", *user, address.password.encode("utf-8", "surrogateescape"))
                granted(answer, address.where)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def socket(self) -> socket.socket:
        """For what is no reply: the stream behind PSYNC."""
        return self._socket

    def close(self) -> None:
        self._socket.close()

    def send(self, requests: Iterable[Words]) -> None:
        self._socket.sendall(packed(requests))

    def reply(self) -> Any:
        """The next one; an error as a value."""
        while (reply := self._reader.gets()) is Ellipsis:
            data = self._socket.recv(READ_CHUNK_BYTES)
            if not data:
                raise ConnectionResetError("closed the connection")
            self._reader.feed(data)
        return reply

    def ask(self, *words: bytes) -> Any:
        self.send([words])
        return self.reply()

    def all(self, requests: Sequence[Words]) -> list[Any]:
        """The replies of short requests."""
        self.send(requests)
        return [self.reply() for _ in requests]

    def select(self, db: int) -> None:
        """Raises Denied: there is no such database."""
        if db != self.db:
            granted(self.ask(b"SELECT", b"%d" % db), f"database {db} cannot be used")
            self.db = db


def info(channel: Channel, section: bytes) -> dict[str, str]:
    """The fields of a section of INFO; Denied if it is refused."""
    text = granted(channel.ask(b"INFO", section), f"INFO {section.decode()} is refused")
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def sizes(fields: Mapping[str, str]) -> dict[int, int]:
    """How many keys each database has that has any, by INFO's section keyspace."""
    return {
        int(name[2:]): int(value.removeprefix("keys=").partition(",")[0])
        for name, value in fields.items()
        if name.startswith("db") and name[2:].isdigit() and value.startswith("keys=")
    }
