"""SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF: write a snapshot now.

The four mean the same here, because a snapshot is made from the log by a process of its own: even SAVE makes only
its caller wait. What is acknowledged is durable without any of them.
"""

from __future__ import annotations

from typing import Final

from ..errors import SYNTAX, CommandError
from ..resp.reply import Reply, Simple
from .arguments import matches
from .ports import Client, Later
from .spec import Argv, Kind, command

SAVING: Final = Simple("Background saving started")
REWRITING: Final = Simple("Background append only file rewriting started")
_BUSY_SAVE: Final = "ERR Background save already in progress"
_BUSY_REWRITE: Final = "ERR Background append only file rewriting already in progress"


def _start(client: Client, busy: str) -> Later:
    """Begin a snapshot; refused when one is being made or none can be."""
    checkpoint = client.server.checkpoint
    if checkpoint.running:
        raise CommandError(busy)
    ended: Later | CommandError = checkpoint.start()
    if isinstance(ended, CommandError):
        raise ended
    return ended


@command(
    "SAVE", arity=1, kind=Kind.SESSION, flags="admin noscript no_async_loading no_multi", group="server",
    complexity="O(N) where N is the total number of keys in all databases",
)  # fmt: skip
def save(client: Client, argv: Argv) -> Reply:
    """Write a snapshot and answer when it is on disk; the others are served meanwhile."""
    return _start(client, _BUSY_SAVE)


@command(
    "BGSAVE", arity=-1, kind=Kind.SESSION, flags="admin noscript no_async_loading", group="server",
    syntax="[SCHEDULE]", history=(("3.2.2", "Added the `SCHEDULE` option."),),
)  # fmt: skip
def bgsave(client: Client, argv: Argv) -> Reply:
    """Begin a snapshot and answer at once; INFO tells how it ended."""
    if len(argv) > 2 or (len(argv) == 2 and not matches(argv[1], b"SCHEDULE")):
        raise CommandError(SYNTAX)
    _start(client, _BUSY_SAVE)
    return SAVING


@command("BGREWRITEAOF", arity=1, kind=Kind.SESSION, flags="admin noscript no_async_loading", group="server")
def bgrewriteaof(client: Client, argv: Argv) -> Reply:
    """Begin a snapshot, after which the log before it can go."""
    _start(client, _BUSY_REWRITE)
    return REWRITING


@command(
    "LASTSAVE", arity=1, kind=Kind.SESSION, flags="loading stale fast", group="server",
    categories="admin dangerous", tips=("nondeterministic_output",),
)  # fmt: skip
def lastsave(client: Client, argv: Argv) -> Reply:
    """When the newest snapshot was completed, in seconds since the epoch."""
    return int(client.server.checkpoint.last_save_unix)
