"""Commands about the server as a whole: time, stopping, modules (none), a picture.

Not here: INFO (`info`), who leads (`replication`), acknowledgement (`waiting`), snapshots (`persistence`), diagnostics
(`latency`, `memory`, `slowlog`, `debug`).
"""

from __future__ import annotations

from ..errors import SYNTAX, CommandError, error
from ..identity import REDIS_VERSION, VAYLIX_VERSION
from ..resp.reply import Reply, Verbatim
from .arguments import help_reply, integer, matches
from .ports import Client
from .spec import Argv, Kind, command, container


@command(
    "TIME", arity=1, kind=Kind.SESSION, flags="loading stale fast", group="server", since="2.6.0",
    tips=("nondeterministic_output",),
)  # fmt: skip
def time(client: Client, argv: Argv) -> Reply:
    """The server's clock: seconds since the epoch, and microseconds within the second."""
    seconds, micros = divmod(client.server.clock.wall_us(), 1_000_000)
    return [b"%d" % seconds, b"%d" % micros]


# Stopping.


@command(
    "SHUTDOWN", arity=-1, kind=Kind.SESSION, flags="admin noscript loading stale no_multi allow_busy",
    group="server", syntax="[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
    complexity="O(N) when saving, where N is the total number of keys in all databases, otherwise O(1)",
    history=(("7.0.0", "Added the `NOW`, `FORCE` and `ABORT` modifiers."),),
)  # fmt: skip
def shutdown(client: Client, argv: Argv) -> Reply:
    """Stop in order: what is acknowledged is durable already, so saving means one more snapshot."""
    words = [word.upper() for word in argv[1:]]
    known = {b"SAVE", b"NOSAVE", b"NOW", b"FORCE", b"ABORT"}
    if not set(words) <= known or {b"SAVE", b"NOSAVE"} <= set(words):
        raise CommandError(SYNTAX)
    if b"ABORT" in words:
        if set(words) != {b"ABORT"}:
            raise CommandError(SYNTAX)
        raise error("No shutdown in progress.")
    save = True if b"SAVE" in words else False if b"NOSAVE" in words else None
    return client.server.shutdown(save=save, now=b"NOW" in words, force=b"FORCE" in words)


# Modules and art.

container("MODULE", group="server", since="4.0.0", summary="Modules, of which there are none.")


@command(
    "MODULE|LIST", arity=2, kind=Kind.SESSION, flags="admin noscript", group="server", since="4.0.0",
    complexity="O(N) where N is the number of loaded modules.", tips=("nondeterministic_output_order",),
)  # fmt: skip
def module_list(client: Client, argv: Argv) -> Reply:
    """The modules that are loaded: none, and none can be."""
    return []


@command("MODULE|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server", since="5.0.0")
def module_help(client: Client, argv: Argv) -> Reply:
    """The forms of MODULE."""
    return help_reply("MODULE", "LIST", "    Return a list of loaded modules.")


ART_COLUMNS, ART_ROWS = 64, 24


def rule_30(seed: int) -> list[str]:
    """Wolfram's automaton from a row of 64 cells: every cell becomes left XOR (itself OR right)."""
    ones = (1 << ART_COLUMNS) - 1
    row, rows = seed & ones or 1, []
    for _ in range(ART_ROWS):
        rows.append(f"{row:0{ART_COLUMNS}b}".replace("0", " ").replace("1", "#").rstrip())
        left = (row >> 1 | row << (ART_COLUMNS - 1)) & ones
        right = (row << 1 | row >> (ART_COLUMNS - 1)) & ones
        row = left ^ (row | right)
    return rows


@command(
    "LOLWUT", arity=-1, kind=Kind.SESSION, flags="readonly fast", group="server", since="5.0.0", complexity="",
    syntax="[VERSION version]",
)  # fmt: skip
def lolwut(client: Client, argv: Argv) -> Reply:
    """A picture grown from the length of the log, and the version."""
    if len(argv) >= 3 and matches(argv[1], b"VERSION"):
        integer(argv[2])
    rows = rule_30(client.server.node.last_sequence * 0x9E3779B97F4A7C15 | 1 << (ART_COLUMNS // 2))
    text = "\n".join([*rows, "", f"Vaylix RESP ver. {VAYLIX_VERSION}, as Redis ver. {REDIS_VERSION}", ""])
    return Verbatim(text.encode())
