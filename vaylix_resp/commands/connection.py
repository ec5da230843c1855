"""The connection itself: PING, ECHO, HELLO, AUTH, QUIT, RESET. CLIENT has modules of its own.

A password is verified off the loop, so AUTH and HELLO AUTH may answer later; what the client sends next waits.
Not here: whether it is right, and who may try (`engine.log_in`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .. import identity
from ..errors import SYNTAX, CommandError, error, printable, wrong_arity
from ..resp.reply import OK, PONG, RESET, Reply
from ..security.acl import text_of
from ..state.accounts import DEFAULT
from .arguments import check_attribute, integer
from .cluster_facts import leads, mode
from .ports import Client, then
from .spec import Argv, Kind, command

NO_PASSWORD: Final = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
NOT_IN_BLOCK: Final = "A transaction cannot wait until this password has been verified: log in before MULTI"
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
    cluster = client.server.cluster
    if cluster is not None and cluster.stopped is not None:
        raise CommandError(cluster.stopped.text)  # as in Redis with MISCONF: whoever looks after servers uses PING
    if client.proto == 2 and (client.channels or client.patterns or client.shard_channels):
        return [b"pong", argv[1] if len(argv) == 2 else b""]  # there, everything looks like a message
    return argv[1] if len(argv) == 2 else PONG


@command("ECHO", arity=2, kind=Kind.SESSION, flags="loading stale fast early", group="connection",
         syntax="message")  # fmt: skip
def echo(client: Client, argv: Argv) -> Reply:
    """Returns the given string."""
    return argv[1]


def _log_in(client: Client, user: bytes, password: bytes, word: bytes, welcome: Callable[[], Reply]) -> Reply:
    """`welcome`'s reply once these credentials have been found right; `word` is the command as it was typed."""
    proof = client.server.verify(client, user, password, word)
    if client.in_block and not proof.done:
        proof.cancel()
        raise error(NOT_IN_BLOCK)

    def proven(_: Reply) -> Reply:
        return client.log_in(text_of(user)) or welcome()

    entering = then(proof, proven)
    if isinstance(entering.reply, CommandError):
        raise entering.reply
    return entering.reply if entering.done else entering


@command(
    "AUTH", arity=-2, kind=Kind.SESSION, flags=_HANDSHAKE, group="connection", syntax="[username] password",
    complexity="O(N) where N is the number of passwords defined for the user",
    history=(("6.0.0", "Added ACL style (username and password)."),),
)  # fmt: skip
def auth(client: Client, argv: Argv) -> Reply:
    """Authenticates the connection."""
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    if len(argv) == 3:
        return _log_in(client, argv[1], argv[2], argv[0], lambda: OK)
    if client.server.accounts.users[DEFAULT].nopass:
        raise CommandError(NO_PASSWORD)
    return _log_in(client, DEFAULT.encode(), argv[1], argv[0], lambda: OK)


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

    def welcome() -> Reply:
        if name is not None:
            client.name = name
        client.proto = proto
        return {
            "server": identity.HELLO_SERVER,
            "version": identity.REDIS_VERSION,
            "proto": proto,
            "id": client.id,
            "mode": "sentinel" if client.sentinel else mode(client.server.settings),
            "role": "master" if client.sentinel or leads(client.server) else "replica",
            "modules": [],
        }

    if credentials is not None:
        return _log_in(client, *credentials, argv[0], welcome)
    if not client.authenticated:
        raise CommandError(HELLO_NO_AUTH)
    return welcome()


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
    refused = server.quotas.reset(client)
    if refused is not None:  # the default user has no room for one more
        client.close_after_reply()
        return refused
    return RESET
