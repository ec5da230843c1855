"""TRACE: where the time of single reads from clients went. Ours; see docs/latency.md.

What is followed is `server.tracing`'s, keeping it `observability.traces`'.
"""

from __future__ import annotations

from typing import Final

from ..observability.traces import STAGES, Trace
from ..resp.reply import OK, Reply
from .arguments import INT64_MAX, bounded, help_reply, subcommand_syntax
from .ports import Client
from .spec import Argv, Kind, command, container

container("TRACE", group="server", since="1.0.0", summary="Where the time of single requests went, stage by stage.")

_ADMIN: Final = "admin loading stale"
_NEWEST: Final = 10  # entries of a plain TRACE GET


@command(
    "TRACE|GET", arity=-2, kind=Kind.SESSION, flags=_ADMIN, group="server", syntax="[count]",
    complexity="O(N) where N is the number of entries returned",
)  # fmt: skip
def trace_get(client: Client, argv: Argv) -> Reply:
    """The newest traces: each what was asked, by whom, and microseconds of each stage."""
    if len(argv) > 3:
        raise subcommand_syntax(argv)
    count = _NEWEST
    if len(argv) == 3:
        count = bounded(argv[2], -1, INT64_MAX, "ERR count should be greater than or equal to -1")
    return [_shown(trace) for trace in client.server.lateness.traces.newest(count)]


def _shown(trace: Trace) -> dict[bytes, Reply]:
    return {
        b"id": trace.id,
        b"time": trace.unix_s,
        b"total-us": trace.total_us,
        b"command": list(trace.argv),
        b"requests": trace.requests,
        b"client": trace.addr,
        b"name": trace.name,
        b"outcome": trace.outcome,
        **{f"{stage}-us".encode(): us for stage, us in zip(STAGES, trace.stages, strict=True)},
    }


@command("TRACE|LEN", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server")
def trace_len(client: Client, argv: Argv) -> Reply:
    """How many traces are kept."""
    return len(client.server.lateness.traces)


@command("TRACE|RESET", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server")
def trace_reset(client: Client, argv: Argv) -> Reply:
    """Forget all traces."""
    client.server.lateness.traces.reset()
    return OK


@command("TRACE|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server")
def trace_help(client: Client, argv: Argv) -> Reply:
    """The forms of TRACE."""
    return help_reply(
        "TRACE",
        "GET [<count>]",
        "    Return the newest traces (default: 10, -1: all), with microseconds of each stage.",
        "    `CONFIG SET trace-sample 1` follows every read from a client, n one in n; 0 none.",
        "    `CONFIG SET trace-slower-than 5000` keeps those of 5 ms and longer.",
        "LEN",
        "    Return how many traces are kept.",
        "RESET",
        "    Forget all traces.",
    )
