"""Operations that no client can name: the `@` entries of the log, and how they are written.

An entry is `[name, argument...]`. A request in database 0 stands in the log as it came; these wrap the rest:

    @in db request...                                a request in another database
    @exec n (db key version)*n (db words request)*   a transaction with what it watched
    @expire db key*                                  keys whose time has come by the entry's time
    @noop format databases                           first entry of a term
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..errors import CommandError
from ..resp.reply import NULL_ARRAY, OK
from ..state.views import WriteTx
from .spec import Argv

IN: Final = b"@in"
EXEC: Final = b"@exec"
EXPIRE: Final = b"@expire"
NOOP: Final = b"@noop"


def in_database(db: int, argv: Argv) -> tuple[bytes, ...]:
    """The entry for a request; `argv[0]` is the canonical name."""
    return tuple(argv) if db == 0 else (IN, b"%d" % db, *argv)


def transaction(
    watched: Iterable[tuple[int, bytes, int]], requests: Iterable[tuple[int, Argv]]
) -> tuple[bytes, ...]:
    words: list[bytes] = []
    count = 0
    for db, key, version in watched:
        words += (b"%d" % db, key, b"%d" % version)
        count += 1
    entry = [EXEC, b"%d" % count, *words]
    for db, argv in requests:
        entry += (b"%d" % db, b"%d" % len(argv), *argv)
    return tuple(entry)


def expiry(db: int, keys: Iterable[bytes]) -> tuple[bytes, ...]:
    return (EXPIRE, b"%d" % db, *keys)


def _in(tx: WriteTx, argv: Argv) -> Any:
    return tx.world.handlers[argv[2]](tx.other(int(argv[1])), argv[2:])


def _exec(tx: WriteTx, argv: Argv) -> Any:
    """Every request of the block in order, or a null array if a watched key has moved."""
    at = 2
    for _ in range(int(argv[1])):
        db, key, version = argv[at : at + 3]
        if tx.other(int(db)).version(key) != int(version):
            return NULL_ARRAY
        at += 3
    replies: list[Any] = []
    while at < len(argv):
        target, words = tx.other(int(argv[at])), int(argv[at + 1])
        request = argv[at + 2 : at + 2 + words]
        at += 2 + words
        try:
            replies.append(tx.world.handlers[request[0]](target, request))
        except CommandError as refused:
            replies.append(refused.with_traceback(None))  # which leads here, and so back to itself
    return replies


def _expire(tx: WriteTx, argv: Argv) -> Any:
    """Remove those of the keys that are due; one that was written meanwhile stays."""
    db = tx.other(int(argv[1]))
    for key in argv[2:]:
        db.item(key)
    return OK


def _noop(tx: WriteTx, argv: Argv) -> Any:
    return OK


OPERATIONS: Final = {IN: _in, EXEC: _exec, EXPIRE: _expire, NOOP: _noop}
