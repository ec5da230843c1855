"""SLOWLOG, and COMMANDLOG as in Valkey 8.1: requests of late that were slow, large, or had a large reply.

Keeping them is `observability.slowlog`'s.
"""

from __future__ import annotations

from typing import Final

from ..errors import CommandError
from ..observability.slowlog import RequestLog
from ..resp.reply import OK, Reply
from .arguments import INT64_MAX, bounded, help_reply, subcommand_syntax
from .ports import Client
from .spec import Argv, Kind, command, container

container("SLOWLOG", group="server", since="2.2.12", summary="Requests that took long to execute.")
container("COMMANDLOG", group="server", since="8.1.0", summary="Requests that were slow, large, or had a large reply.")

_ADMIN: Final = "admin loading stale"
_HELP: Final = "loading stale early"
_NEWEST: Final = 10  # entries of a plain SLOWLOG GET
_TYPE: Final = "<SLOW | LARGE-REQUEST | LARGE-REPLY>"
_LEN_TIPS: Final = ("request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output")
_RESET_TIPS: Final = ("request_policy:all_nodes", "response_policy:all_succeeded")


def _count(word: bytes) -> int:
    return bounded(word, -1, INT64_MAX, "ERR count should be greater than or equal to -1")


def _entries(log: RequestLog, count: int) -> Reply:
    return [
        [entry.id, entry.unix_s, entry.value, list(entry.argv), entry.addr, entry.name] for entry in log.newest(count)
    ]


def _log(client: Client, word: bytes) -> RequestLog:
    lateness, name = client.server.lateness, word.lower()
    logs: dict[bytes, RequestLog] = {
        b"slow": lateness.slowlog, b"large-request": lateness.large_requests, b"large-reply": lateness.large_replies,
    }  # fmt: skip
    if name not in logs:
        raise CommandError("ERR type should be one of the following: slow, large-request, large-reply")
    return logs[name]


@command(
    "SLOWLOG|GET", arity=-2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.2.12", syntax="[count]",
    complexity="O(N) where N is the number of entries returned",
    tips=("request_policy:all_nodes", "nondeterministic_output"),
    history=(("4.0.0", "Added client IP address, port and name to the reply."),),
)  # fmt: skip
def slowlog_get(client: Client, argv: Argv) -> Reply:
    """The newest slow requests."""
    if len(argv) > 3:
        raise subcommand_syntax(argv)
    return _entries(client.server.lateness.slowlog, _count(argv[2]) if len(argv) == 3 else _NEWEST)


@command(
    "SLOWLOG|LEN", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.2.12", tips=_LEN_TIPS
)
def slowlog_len(client: Client, argv: Argv) -> Reply:
    """How many slow requests are kept."""
    return len(client.server.lateness.slowlog)


@command(
    "SLOWLOG|RESET", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.2.12",
    complexity="O(N) where N is the number of entries in the slowlog", tips=_RESET_TIPS,
)  # fmt: skip
def slowlog_reset(client: Client, argv: Argv) -> Reply:
    """Forget all slow requests."""
    client.server.lateness.slowlog.reset()
    return OK


@command("SLOWLOG|HELP", arity=2, kind=Kind.SESSION, flags=_HELP, group="server", since="6.2.0")
def slowlog_help(client: Client, argv: Argv) -> Reply:
    """The forms of SLOWLOG."""
    return help_reply(
        "SLOWLOG",
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
    )


@command(
    "COMMANDLOG|GET", arity=4, kind=Kind.SESSION, flags=_ADMIN, group="server", since="8.1.0",
    syntax=f"count {_TYPE}", complexity="O(N) where N is the number of entries returned",
    tips=("request_policy:all_nodes", "nondeterministic_output"),
)  # fmt: skip
def commandlog_get(client: Client, argv: Argv) -> Reply:
    """The newest requests that were slow, large, or had a large reply."""
    count = _count(argv[2])
    return _entries(_log(client, argv[3]), count)


@command(
    "COMMANDLOG|LEN", arity=3, kind=Kind.SESSION, flags=_ADMIN, group="server", since="8.1.0", syntax=_TYPE,
    tips=_LEN_TIPS,
)  # fmt: skip
def commandlog_len(client: Client, argv: Argv) -> Reply:
    """How many such requests are kept."""
    return len(_log(client, argv[2]))


@command(
    "COMMANDLOG|RESET", arity=3, kind=Kind.SESSION, flags=_ADMIN, group="server", since="8.1.0", syntax=_TYPE,
    complexity="O(N) where N is the number of entries in the commandlog", tips=_RESET_TIPS,
)  # fmt: skip
def commandlog_reset(client: Client, argv: Argv) -> Reply:
    """Forget them."""
    _log(client, argv[2]).reset()
    return OK


@command("COMMANDLOG|HELP", arity=2, kind=Kind.SESSION, flags=_HELP, group="server", since="8.1.0")
def commandlog_help(client: Client, argv: Argv) -> Reply:
    """The forms of COMMANDLOG."""
    return help_reply(
        "COMMANDLOG",
        "GET <count> <type>",
        "    Return the newest <count> entries of a <type>: slow, large-request or large-reply (-1: all).",
        "    Each is: id, timestamp, microseconds (slow) or bytes (large-request, large-reply),",
        "    arguments array, client IP and port, client name",
        "LEN <type>",
        "    Return how many entries of a <type> there are.",
        "RESET <type>",
        "    Forget the entries of a <type>.",
    )
