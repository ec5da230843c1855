"""FLASHBACK: what keys were at a point in the past, and bringing them back.

The history is read from log and snapshots by a process of its own; the client waits, the others are served.
A point is a sequence or a time (`points`); both subcommands look at the selected database only. Bringing back is one
new entry: nothing in the past is changed, so a FLASHBACK can itself be taken back.
Promise: keys that exist now and did not then stay; a key that had expired then, or has since, is not brought back.
"""

from __future__ import annotations

from typing import Final

from ..errors import SYNTAX, CommandError, printable
from ..glob import matcher
from ..resp.reply import Reply
from .arguments import help_reply, matches
from .points import Point, parse_point
from .ports import Client
from .spec import Argv, KeySpec, Kind, command, container

NO_POINT: Final = (
    "ERR '{given}' is no point in time: give a sequence (1234), ms:<unix ms>, an ISO 8601 time or an age (-90s, -5m)"
)

container(
    "FLASHBACK", group="server", since="1.0.0", categories="dangerous",
    summary="A container for commands that look into the past of the data.",
)  # fmt: skip


def _point(client: Client, raw: bytes) -> Point:
    point = parse_point(raw.decode("utf-8", "replace"), client.server.clock.wall_ms())
    if point is None:
        raise CommandError(NO_POINT.format(given=printable(raw)))
    return point


@command(
    "FLASHBACK|GET", arity=4, kind=Kind.SESSION, flags="readonly noscript no_multi", group="server",
    categories="keyspace dangerous", keys=KeySpec("RO access", begin=2), syntax="key point",
    complexity="O(N) where N is the size of a snapshot and of the log behind it, in a process of its own",
)  # fmt: skip
def get(client: Client, argv: Argv) -> Reply:
    """Return what a key was at a point in the past."""
    return client.server.history.get(client.db, argv[2], _point(client, argv[3]))


@command(
    "FLASHBACK|RESTORE", arity=-4, kind=Kind.SESSION, flags="noscript no_multi denyoom", group="server",
    categories="write keyspace dangerous", syntax="<key | pattern> point [DRYRUN]",
    complexity="O(N) where N is the size of a snapshot and of the log behind it, in a process of its own",
)  # fmt: skip
def restore(client: Client, argv: Argv) -> Reply:
    """Bring a key, or every key that matches, back to what it was at a point in the past."""
    dry_run = len(argv) == 5 and matches(argv[4], b"DRYRUN")
    if len(argv) > 5 or (len(argv) == 5 and not dry_run):
        raise CommandError(SYNTAX)
    point = _point(client, argv[3])
    matcher(argv[2])  # refuses a pattern that is too long
    if not dry_run and client.server.node.refusal is not None:
        raise CommandError(client.server.node.refusal.text)  # a fresh one: this would gather tracebacks
    return client.server.history.restore(client.db, argv[2], point, dry_run=dry_run)


@command("FLASHBACK|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server")
def help_(client: Client, argv: Argv) -> Reply:
    """Print the subcommands."""
    return help_reply(
        "FLASHBACK",
        "GET <key> <point>",
        "    Return a map of what <key> was: type, value, version, expire_at_ms (-1: none), and the",
        "    sequence and timestamp_ms of the state that was looked at; nil if it did not exist.",
        "RESTORE <key|pattern> <point> [DRYRUN]",
        "    Bring back <key>, or every key that matches, as one new entry; the number of keys.",
        "    Keys that did not exist then are left alone. Keys whose time has come since stay away.",
        "    DRYRUN changes nothing and returns a map: restored, expired, keys (the first ten),",
        "    sequence, timestamp_ms.",
        "    A <point> is a sequence (1234 or seq:1234), unix milliseconds (13 digits or ms:1234), an",
        "    ISO 8601 time (2026-11-22T10:15:00Z; UTC without a zone), or an age (-90s, -5m, -2h).",
        "    Only the selected database is looked at. How far back: INFO, pitr_oldest_sequence.",
    )
