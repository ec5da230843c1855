"""Whole databases: choose one, count, empty and exchange them, carry a key into another.

FLUSHDB and FLUSHALL empty in one stroke whatever the size: the contents are put aside and the server's tick frees
them in steps, so ASYNC and SYNC mean the same.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import SYNTAX, CommandError
from ..resp.reply import OK
from ..state.views import ReadView, WriteTx
from .arguments import bounded
from .keys import INT32_MAX, INT32_MIN, SAME_OBJECT, copy_item, database, in_range
from .ports import Client
from .spec import Argv, KeySpec, Kind, command

_FLUSH_TIPS: Final = ("request_policy:all_shards", "response_policy:all_succeeded")
_FLUSH_HISTORY: Final = (
    ("4.0.0", "Added the `ASYNC` flushing mode modifier."),
    ("6.2.0", "Added the `SYNC` flushing mode modifier."),
)


@command("SELECT", arity=2, kind=Kind.SESSION, flags="loading stale fast early", group="connection", syntax="index")
def select(client: Client, argv: Argv) -> Any:
    """Choose the database that later commands of this connection mean."""
    client.db = in_range(database(argv[1]), len(client.server.machine.world.databases))
    return OK


@command(
    "DBSIZE", arity=1, kind=Kind.READ, flags="readonly fast", group="server", categories="keyspace",
    tips=("request_policy:all_shards", "response_policy:agg_sum"),
)  # fmt: skip
def dbsize(view: ReadView, argv: Argv) -> Any:
    """Return the number of keys in this database."""
    return view.size()


def _check_flush(argv: Argv) -> None:
    if len(argv) > 2 or (len(argv) == 2 and argv[1].upper() not in (b"ASYNC", b"SYNC")):
        raise CommandError(SYNTAX)


@command(
    "FLUSHDB", arity=-1, kind=Kind.WRITE, flags="write", group="server", categories="keyspace dangerous",
    tips=_FLUSH_TIPS, check=_check_flush, plain=1, syntax="[ASYNC | SYNC]", history=_FLUSH_HISTORY,
    complexity="O(1); memory is freed later, O(N) where N is the number of keys in the database.",
)  # fmt: skip
def flushdb(tx: WriteTx, argv: Argv) -> Any:
    """Remove every key of this database."""
    _check_flush(argv)
    tx.flush()
    return OK


@command(
    "FLUSHALL", arity=-1, kind=Kind.WRITE, flags="write", group="server", categories="keyspace dangerous",
    tips=_FLUSH_TIPS, check=_check_flush, plain=1, syntax="[ASYNC | SYNC]", history=_FLUSH_HISTORY,
    complexity="O(1); memory is freed later, O(N) where N is the number of keys in all databases.",
)  # fmt: skip
def flushall(tx: WriteTx, argv: Argv) -> Any:
    """Remove every key of every database."""
    _check_flush(argv)
    for number in range(len(tx.world.databases)):
        tx.other(number).flush()
    return OK


def _check_swapdb(argv: Argv) -> tuple[int, int]:
    first = bounded(argv[1], INT32_MIN, INT32_MAX, "ERR invalid first DB index")
    return first, bounded(argv[2], INT32_MIN, INT32_MAX, "ERR invalid second DB index")


def swapped_databases(argv: Argv, databases: int) -> tuple[int, int]:
    first, second = _check_swapdb(argv)
    return in_range(first, databases), in_range(second, databases)


@command(
    "SWAPDB", arity=3, kind=Kind.WRITE, flags="write fast", group="server", since="4.0.0",
    categories="keyspace dangerous", check=_check_swapdb, syntax="index1 index2",
    complexity="O(N) where N is the count of clients watching keys of both databases.",
)  # fmt: skip
def swapdb(tx: WriteTx, argv: Argv) -> Any:
    """Exchange the contents of two databases."""
    first, second = swapped_databases(argv, len(tx.world.databases))
    if first != second:
        tx.other(first).swap(second)
    return OK


def _check_move(argv: Argv) -> None:
    database(argv[2])


@command(
    "MOVE", arity=3, kind=Kind.WRITE, flags="write fast", group="generic", keys=KeySpec("RW access update"),
    check=_check_move, syntax="key db",
)  # fmt: skip
def move(tx: WriteTx, argv: Argv) -> Any:
    """Carry a key into another database unless that one has such a key."""
    key, number = argv[1], in_range(database(argv[2]), len(tx.world.databases))
    if number == tx.index:
        raise CommandError(SAME_OBJECT)
    item, target = tx.item(key), tx.other(number)
    if item is None or target.exists(key):
        return 0
    copy_item(tx, key, item, target, key)
    tx.delete(key)
    tx.event("g", "move_from", key)
    target.event("g", "move_to", key)
    return 1
