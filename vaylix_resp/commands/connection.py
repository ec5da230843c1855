"""The connection itself: PING, ECHO, HELLO, AUTH, QUIT, RESET. CLIENT has modules of its own.

There is one user, `default`, whose password is `requirepass`; ACL users will join it here.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from .. import identity
from ..errors import SYNTAX, WRONG_PASS, CommandError, error, printable, wrong_arity
from ..resp.reply import OK, PONG, RESET, Reply
from .arguments import check_attribute, integer
from .ports import Client
from .spec import Argv, Kind, command

DEFAULT_USER: Final = b"default"

NO_PASSWORD: Final = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
HELLO_NO_AUTH: Final = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
    "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and "
    "select the RESP protocol version at the same time"
)

# What a client may send before it is authenticated, and during anything.
_HANDSHAKE: Final = "noscript loading stale fast no_auth allow_busy"


@command(
    "PING", arity=-1, kind=Kind.SESSION, flags="fast early", group="connection", syntax="[message]",
    tips=("request_policy:all_shards", "response_policy:all_succeeded"),
)  # fmt: skip
def ping(client: Client, argv: Argv) -> Reply:
    """Returns the server's liveliness response."""
    if len(argv) > 2:
        raise wrong_arity("ping")
    if client.proto == 2 and (client.channels or client.patterns or client.shard_channels):
        return [b"pong", argv[1] if len(argv) == 2 else b""]  # there, everything looks like a message
    return argv[1] if len(argv) == 2 else PONG


@command("ECHO", arity=2, kind=Kind.SESSION, flags="loading stale fast early", group="connection",
         syntax="message")  # fmt: skip
def echo(client: Client, argv: Argv) -> Reply:
    """Returns the given string."""
    return argv[1]


def right_password(client: Client, user: bytes, password: bytes) -> bool:
    """Takes the same time for a wrong user, a wrong password and a right one."""
    required = client.server.settings.requirepass
    expected = hashlib.sha256(required.encode("utf-8", "surrogateescape")).digest()
    same = hmac.compare_digest(hashlib.sha256(password).digest(), expected)
    known = hmac.compare_digest(hashlib.sha256(user).digest(), hashlib.sha256(DEFAULT_USER).digest())
    return known & (same | (not required))


def _log_in(client: Client, user: bytes, password: bytes) -> None:
    if not right_password(client, user, password):
        client.server.stats.acl_access_denied_auth += 1
        raise CommandError(WRONG_PASS)
    client.user = "default"
    client.authenticated = True


@command(
    "AUTH", arity=-2, kind=Kind.SESSION, flags=_HANDSHAKE, group="connection", syntax="[username] password",
    complexity="O(N) where N is the number of passwords defined for the user",
    history=(("6.0.0", "Added ACL style (username and password)."),),
)  # fmt: skip
def auth(client: Client, argv: Argv) -> Reply:
    """Authenticates the connection."""
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    if len(argv) == 2:
        if not client.server.settings.requirepass:
            raise CommandError(NO_PASSWORD)
        _log_in(client, DEFAULT_USER, argv[1])
    else:
        _log_in(client, argv[1], argv[2])
    return OK


@command(
    "HELLO", arity=-1, kind=Kind.SESSION, flags=_HANDSHAKE, group="connection", since="6.0.0",
    syntax="[protover [AUTH username password] [SETNAME clientname]]",
    history=(
        ("6.2.0", "`protover` made optional; when called without arguments the command reports the current "
                  "connection's context."),
    ),
)  # fmt: skip
def hello(client: Client, argv: Argv) -> Reply:
    """Handshakes with the server: protocol, user and name in one request."""
    proto = _protocol(argv[1]) if len(argv) > 1 else client.proto
    credentials, name = _hello_options(argv)
    if credentials is not None:
        _log_in(client, *credentials)
    if not client.authenticated:
        raise CommandError(HELLO_NO_AUTH)
    if name is not None:
        client.name = name
    client.proto = proto
    return {
        "server": identity.HELLO_SERVER,
        "version": identity.REDIS_VERSION,
        "proto": proto,
        "id": client.id,
        "mode": identity.MODE,
        "role": "master",
        "modules": [],
    }


def _protocol(word: bytes) -> int:
    proto = integer(word, "ERR Protocol version is not an integer or out of range")
    if proto not in (2, 3):
        raise CommandError("NOPROTO unsupported protocol version")
    return proto


def _hello_options(argv: Argv) -> tuple[tuple[bytes, bytes] | None, bytes | None]:
    """(user, password) and name, where given; of a repeated option the last one counts."""
    credentials: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    at = 2
    while at < len(argv):
        word, more = argv[at].upper(), len(argv) - 1 - at
        if word == b"AUTH" and more >= 2:
            credentials = argv[at + 1], argv[at + 2]
            at += 3
        elif word == b"SETNAME" and more >= 1:
            name = check_attribute(argv[at + 1], "Client names")
            at += 2
        else:
            raise error(f"Syntax error in HELLO option '{printable(argv[at])}'")
    return credentials, name


@command(
    "QUIT", arity=-1, kind=Kind.SESSION, flags=_HANDSHAKE, group="connection", doc_flags=("deprecated",),
    deprecated_since="7.2.0", replaced_by="just closing the connection",
)  # fmt: skip
def quit_(client: Client, argv: Argv) -> Reply:
    """Closes the connection."""
    client.close_after_reply()
    return OK


@command("RESET", arity=1, kind=Kind.SESSION, flags=_HANDSHAKE, group="connection", since="6.2.0")
def reset(client: Client, argv: Argv) -> Reply:
    """Resets the connection."""
    server = client.server
    server.unwatch(client)
    server.pubsub.drop(client)
    server.tracking.drop(client)
    server.monitors.drop(client)
    library = client.lib_name, client.lib_ver  # the software at the other end is the same
    client.fresh()
    client.lib_name, client.lib_ver = library
    server.refresh()
    return RESET
