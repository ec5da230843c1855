"""CLIENT: what a connection says of itself, and what one may do to another. The registry is `server.clients`.

Not here: CLIENT TRACKING, TRACKINGINFO, CACHING and GETREDIR (`tracking`).
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import SYNTAX, CommandError, error, printable
from ..resp.reply import NO_REPLY, OK, Reply, Verbatim
from ..security.acl import text_of
from .arguments import INT64_MAX, bounded, check_attribute, help_reply, integer, subcommand_syntax
from .ports import Client
from .spec import Argv, Kind, command, container

container("CLIENT", group="connection", since="2.4.0", categories="-connection",
          summary="A container for client connection commands.")  # fmt: skip

_FLAGS: Final = "noscript loading stale"
_OWN: Final = "noscript loading stale early"  # touches nothing but the session
_ADMIN: Final = "admin noscript loading stale"

TYPES: Final = {
    b"NORMAL": "normal", b"MASTER": "master", b"REPLICA": "replica", b"SLAVE": "replica", b"PUBSUB": "pubsub",
}  # fmt: skip
UNBLOCKED: Final = "UNBLOCKED client unblocked via CLIENT UNBLOCK"


def _on_off(argv: Argv) -> bool:
    word = argv[2].upper()
    if word not in (b"ON", b"OFF"):
        raise CommandError(SYNTAX)
    return word == b"ON"


def _type(word: bytes) -> str:
    try:
        return TYPES[word.upper()]
    except KeyError:
        raise error(f"Unknown client type '{printable(word)}'") from None


@command("CLIENT|ID", arity=2, kind=Kind.SESSION, flags=_OWN, group="connection", since="5.0.0")
def client_id(client: Client, argv: Argv) -> Reply:
    """Returns the unique client ID of the connection."""
    return client.id


@command("CLIENT|INFO", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="connection", since="6.2.0",
         tips=("nondeterministic_output",))  # fmt: skip
def client_info(client: Client, argv: Argv) -> Reply:
    """Returns information about the connection."""
    return Verbatim(client.server.clients.listing([client]))


@command(
    "CLIENT|LIST", arity=-2, kind=Kind.SESSION, flags=_ADMIN, group="connection", since="2.4.0",
    syntax="[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
    complexity="O(N) where N is the number of client connections", tips=("nondeterministic_output",),
    history=(
        ("2.8.12", "Added unique client `id` field."),
        ("5.0.0", "Added optional `TYPE` filter."),
        ("6.0.0", "Added `user` field."),
        ("6.2.0", "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the optional `ID` filter."),
        ("7.0.0", "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."),
        ("7.0.3", "Added `ssub` field."),
    ),
)  # fmt: skip
def client_list(client: Client, argv: Argv) -> Reply:
    """Lists open connections."""
    clients = client.server.clients
    option = argv[2].upper() if len(argv) > 2 else b""
    if len(argv) == 2:
        chosen = list(clients)
    elif option == b"TYPE" and len(argv) == 4:
        chosen = clients.select(kind=_type(argv[3]))
    elif option == b"ID" and len(argv) > 3:
        ids = [integer(word, "ERR Invalid client ID") for word in argv[3:]]
        chosen = [found for found in map(clients.get, ids) if found is not None]
    else:
        raise CommandError(SYNTAX)
    return Verbatim(clients.listing(chosen))


@command("CLIENT|GETNAME", arity=2, kind=Kind.SESSION, flags=_OWN, group="connection", since="2.6.9")
def client_getname(client: Client, argv: Argv) -> Reply:
    """Returns the name of the connection."""
    return client.name or None


@command("CLIENT|SETNAME", arity=3, kind=Kind.SESSION, flags=_OWN, group="connection", since="2.6.9",
         syntax="connection-name")  # fmt: skip
def client_setname(client: Client, argv: Argv) -> Reply:
    """Sets the connection name."""
    client.name = check_attribute(argv[2], "Client names")
    return OK


@command(
    "CLIENT|SETINFO", arity=4, kind=Kind.SESSION, flags=_OWN, group="connection", since="7.2.0",
    syntax="<LIB-NAME libname | LIB-VER libver>",
)  # fmt: skip
def client_setinfo(client: Client, argv: Argv) -> Reply:
    """Sets information specific to the client or connection."""
    option, value = argv[2].upper(), argv[3]
    if option == b"LIB-NAME":
        client.lib_name = check_attribute(value, printable(argv[2]))
    elif option == b"LIB-VER":
        client.lib_ver = check_attribute(value, printable(argv[2]))
    else:
        raise error(f"Unrecognized option '{printable(argv[2])}'")
    return OK


@command(
    "CLIENT|KILL", arity=-3, kind=Kind.SESSION, flags=_ADMIN, group="connection", since="2.4.0",
    syntax="<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | "
    "[USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | [MAXAGE maxage] [...]>>",
    complexity="O(N) where N is the number of client connections",
    history=(
        ("2.8.12", "Added new filter format."),
        ("2.8.12", "`ID` option."),
        ("3.2.0", "Added `master` type in for `TYPE` option."),
        ("5.0.0", "Replaced `slave` `TYPE` with `replica`. `slave` still supported for backward "
                  "compatibility."),
        ("6.2.0", "`LADDR` option."),
        ("7.4.0", "`MAXAGE` option."),
    ),
)  # fmt: skip
def client_kill(client: Client, argv: Argv) -> Reply:
    """Terminates open connections."""
    clients = client.server.clients
    if len(argv) == 3:  # the old form: an address, which may be one's own
        chosen = clients.select(addr=_text(argv[2]))
        if not chosen:
            raise error("No such client")
    else:
        chosen = clients.select(**_kill_filters(client, argv))
    for target in chosen:
        if target is client:
            client.close_after_reply()
        else:
            target.kill()
    return OK if len(argv) == 3 else len(chosen)


def _kill_filters(client: Client, argv: Argv) -> dict[str, Any]:
    """Keyword arguments of Clients.select; of a repeated option the last one counts, as in Redis."""
    found: dict[str, Any] = {"skip": client}
    if len(argv) % 2:
        raise CommandError(SYNTAX)
    for option, value in zip(argv[2::2], argv[3::2], strict=True):
        match option.upper():
            case b"ID":
                found["identity"] = bounded(value, 1, INT64_MAX, "ERR client-id should be greater than 0")
            case b"TYPE":
                found["kind"] = _type(value)
            case b"USER":
                if (name := text_of(value)) not in client.server.accounts.users:
                    raise error(f"No such user '{printable(value)}'")
                found["user"] = name
            case b"ADDR":
                found["addr"] = _text(value)
            case b"LADDR":
                found["laddr"] = _text(value)
            case b"MAXAGE":
                found["min_age_s"] = integer(value, "ERR maxage is not an integer or out of range")
                if found["min_age_s"] < 1:
                    raise error("maxage should be greater than 0")
            case b"SKIPME" if value.upper() in (b"YES", b"NO"):
                found["skip"] = client if value.upper() == b"YES" else None
            case _:
                raise CommandError(SYNTAX)
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@command(
    "CLIENT|PAUSE", arity=-3, kind=Kind.SESSION, flags=_ADMIN, group="connection", since="2.9.50",
    syntax="timeout [WRITE | ALL]",
    history=(("6.2.0", "`CLIENT PAUSE WRITE` mode added along with the `mode` option."),),
)  # fmt: skip
def client_pause(client: Client, argv: Argv) -> Reply:
    """Suspends commands processing."""
    if len(argv) > 4:
        raise subcommand_syntax(argv)
    mode = argv[3].upper() if len(argv) == 4 else b"ALL"
    if mode not in (b"WRITE", b"ALL"):
        raise error("CLIENT PAUSE mode must be WRITE or ALL")
    milliseconds = integer(argv[2], "ERR timeout is not an integer or out of range")
    if milliseconds < 0:
        raise error("timeout is negative")
    if milliseconds > INT64_MAX - client.server.clock.wall_ms():
        raise error("timeout is out of range")
    client.server.clients.pause(mode.decode().lower(), milliseconds)
    client.server.refresh()
    return OK


@command("CLIENT|UNPAUSE", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="connection", since="6.2.0",
         complexity="O(N) Where N is the number of paused clients")  # fmt: skip
def client_unpause(client: Client, argv: Argv) -> Reply:
    """Resumes processing commands from paused clients."""
    client.server.clients.unpause()
    client.server.refresh()
    return OK


@command("CLIENT|REPLY", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="connection", since="3.2.0",
         syntax="<ON | OFF | SKIP>")  # fmt: skip
def client_reply(client: Client, argv: Argv) -> Reply:
    """Instructs the server whether to reply to commands."""
    match argv[2].upper():
        case b"ON":
            client.reply_mode = "on"
            return OK
        case b"OFF":
            client.reply_mode = "off"
        case b"SKIP":
            if client.reply_mode != "off":
                client.reply_mode = "skip"  # the next reply; the dispatcher turns it back on
        case _:
            raise CommandError(SYNTAX)
    return NO_REPLY


@command("CLIENT|NO-EVICT", arity=3, kind=Kind.SESSION, flags=_ADMIN, group="connection", since="7.0.0",
         syntax="<ON | OFF>")  # fmt: skip
def client_no_evict(client: Client, argv: Argv) -> Reply:
    """Sets the client eviction mode of the connection."""
    client.no_evict = _on_off(argv)
    return OK


@command("CLIENT|NO-TOUCH", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="connection", since="7.2.0",
         syntax="<ON | OFF>")  # fmt: skip
def client_no_touch(client: Client, argv: Argv) -> Reply:
    """Controls whether commands sent by the client affect the LRU/LFU of accessed keys."""
    client.no_touch = _on_off(argv)
    return OK


@command(
    "CLIENT|UNBLOCK", arity=-3, kind=Kind.SESSION, flags=_ADMIN, group="connection", since="5.0.0",
    syntax="client-id [TIMEOUT | ERROR]", complexity="O(log N) where N is the number of client connections",
)  # fmt: skip
def client_unblock(client: Client, argv: Argv) -> Reply:
    """Unblocks a client blocked by a blocking command from a different connection."""
    if len(argv) > 4:
        raise subcommand_syntax(argv)
    how = argv[3].upper() if len(argv) == 4 else b"TIMEOUT"
    if how not in (b"TIMEOUT", b"ERROR"):
        raise error("CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    target: Client | None = client.server.clients.get(integer(argv[2]))
    waiting = None if target is None else target.waiting
    if waiting is None or not waiting.blocking or waiting.done:
        return 0
    waiting.unblock(CommandError(UNBLOCKED) if how == b"ERROR" else waiting.timeout_reply)
    return 1


@command("CLIENT|CAPA", arity=-3, kind=Kind.SESSION, flags=_OWN, group="connection", since="8.0.0",
         syntax="capability [capability ...]")  # fmt: skip
def client_capa(client: Client, argv: Argv) -> Reply:
    """A client claims its capability; unknown ones are ignored, so that clients may name what is to come."""
    if any(word.upper() == b"REDIRECT" for word in argv[2:]):
        client.capa_redirect = True
    return OK


@command(
    "CLIENT|MAINT_NOTIFICATIONS", arity=-3, kind=Kind.SESSION, flags=_OWN, group="connection", since="8.0.0",
    syntax="<ON | OFF> [parameter value [parameter value ...]]",
)  # fmt: skip
def client_maint_notifications(client: Client, argv: Argv) -> Reply:
    """Asks for notice of maintenance, which this server does not give: OFF succeeds, ON is refused."""
    if not _on_off(argv):
        return OK
    raise error("CLIENT MAINT_NOTIFICATIONS is not supported: this server sends no maintenance notifications")


@command("CLIENT|HELP", arity=2, kind=Kind.SESSION, flags="loading stale", group="connection", since="5.0.0")
def client_help(client: Client, argv: Argv) -> Reply:
    """Returns helpful text about the different subcommands."""
    return help_reply("CLIENT", *HELP)


HELP: Final = (
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "CAPA <capability> [<capability> ...]",
    "    Tell the server what this client can handle: redirect.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * ID <client-id>",
    "      Kill connections by client id.",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * MAXAGE <maxage>",
    "      Kill connections older than the specified age.",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
)
