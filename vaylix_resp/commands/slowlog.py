"""SLOWLOG: the slow requests of late. Keeping them is `observability.slowlog`'s."""

from __future__ import annotations

from ..resp.reply import OK, Reply
from .arguments import INT64_MAX, bounded, help_reply, subcommand_syntax
from .ports import Client
from .spec import Argv, Kind, command, container

container("SLOWLOG", group="server", since="2.2.12", summary="Requests that took long to execute.")

_ADMIN = "admin loading stale"
_NEWEST = 10  # entries of a plain SLOWLOG GET


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
    count = _NEWEST
    if len(argv) == 3:
        count = bounded(argv[2], -1, INT64_MAX, "ERR count should be greater than or equal to -1")
    return [
        [entry.id, entry.unix_s, entry.usec, list(entry.argv), entry.addr, entry.name]
        for entry in client.server.slowlog.newest(count)
    ]


@command(
    "SLOWLOG|LEN", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.2.12",
    tips=("request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"),
)  # fmt: skip
def slowlog_len(client: Client, argv: Argv) -> Reply:
    """How many slow requests are kept."""
    return len(client.server.slowlog)


@command(
    "SLOWLOG|RESET", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.2.12",
    complexity="O(N) where N is the number of entries in the slowlog",
    tips=("request_policy:all_nodes", "response_policy:all_succeeded"),
)  # fmt: skip
def slowlog_reset(client: Client, argv: Argv) -> Reply:
    """Forget all slow requests."""
    client.server.slowlog.reset()
    return OK


@command("SLOWLOG|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server", since="6.2.0")
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
