"""Operations that no client can name: the `@` entries of the log, and how they are written.

An entry is `[name, argument...]`. A request in database 0 stands in the log as it came; these wrap the rest:

    @in db request...                                a request in another database
    @exec n (db key version)*n (db words request)*   a transaction with what it watched
    @expire db key*                                  keys whose time has come by the entry's time
    @evict db (key version)*                         keys that make room, each if it is still at this version
    @noop format databases                           first entry of a term
    @stage id db (key value expiry flags)*           keys put aside; expiry in ms since the epoch, empty for none
    @publish id merge|replace                        makes them live; replies with their number
    @unstage id                                      throws them away
    @acl verb argument...                            users and roles: see `acl_operations`
    @maintenance on|off ...                          see `maintenance`
    @audit head node sequence hash                   see `audit_operations`
    @from, @members, @version                        see `cluster_operations`
    @digest mark|differ ...                          see `digest_operations`
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..errors import CommandError
from ..resp.reply import NULL_ARRAY, OK
from ..state import staging
from ..state.machine import Handler
from ..state.views import WriteTx
from .block_replies import BlockReplies
from .spec import Argv

IN: Final = b"@in"
EXEC: Final = b"@exec"
EXPIRE: Final = b"@expire"
EVICT: Final = b"@evict"
NOOP: Final = b"@noop"
STAGE: Final = b"@stage"
PUBLISH: Final = b"@publish"
UNSTAGE: Final = b"@unstage"


class UnknownOperation(LookupError):
    """An operation holds a request that this version does not know; `name` is the request's."""

    def __init__(self, name: bytes) -> None:
        super().__init__(name)
        self.name = name


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


def eviction(db: int, keys: Iterable[tuple[bytes, int]]) -> tuple[bytes, ...]:
    """`keys` with the versions at which they were chosen."""
    entry = [EVICT, b"%d" % db]
    for key, version in keys:
        entry += (key, b"%d" % version)
    return tuple(entry)


def stage(name: bytes, db: int, rows: Iterable[staging.Row]) -> tuple[bytes, ...]:
    entry = [STAGE, name, b"%d" % db]
    for key, value, at_ms, flags in rows:
        entry += (key, value, b"" if at_ms is None else b"%d" % at_ms, b"%d" % flags if flags else b"")
    return tuple(entry)


def publish(name: bytes, mode: str) -> tuple[bytes, ...]:
    return PUBLISH, name, mode.encode()


def unstage(name: bytes) -> tuple[bytes, ...]:
    return UNSTAGE, name


def _handler(tx: WriteTx, name: bytes) -> Handler:
    handler = tx.world.handlers.get(name)
    if handler is None:
        raise UnknownOperation(name)
    return handler


def _in(tx: WriteTx, argv: Argv) -> Any:
    return _handler(tx, argv[2])(tx.other(int(argv[1])), argv[2:])


def _exec(tx: WriteTx, argv: Argv) -> Any:
    """Every request of the block in order, or a null array if a watched key has moved."""
    at = 2
    for _ in range(int(argv[1])):
        db, key, version = argv[at : at + 3]
        if tx.other(int(db)).version(key) != int(version):
            return NULL_ARRAY
        at += 3
    replies = BlockReplies()
    while at < len(argv):
        target, words = tx.other(int(argv[at])), int(argv[at + 1])
        request = argv[at + 2 : at + 2 + words]
        at += 2 + words
        handler = _handler(tx, request[0])
        try:
            replies.add(handler(target, request))
        except CommandError as refused:
            replies.add(refused.with_traceback(None))  # which leads here, and so back to itself
        except MemoryError:
            raise
        except Exception as bug:  # as for a request that stands alone; the others of the block go on
            replies.add(tx.world.failed(request[0], bug))
    return replies.kept


def _expire(tx: WriteTx, argv: Argv) -> Any:
    """Remove those of the keys that are due; one that was written meanwhile stays."""
    db = tx.other(int(argv[1]))
    for key in argv[2:]:
        db.item(key)
    return OK


def _evict(tx: WriteTx, argv: Argv) -> Any:
    """Remove the keys, but for those that were written since they were chosen: they are in use."""
    db, words = tx.other(int(argv[1])), iter(argv[2:])
    for key, version in zip(words, words, strict=True):
        db.evict(key, int(version))
    return OK


def _noop(tx: WriteTx, argv: Argv) -> Any:
    return OK


def _stage(tx: WriteTx, argv: Argv) -> Any:
    number, words = int(argv[2]), iter(argv[3:])
    if number >= len(tx.world.databases):
        raise CommandError("ERR DB index is out of range")
    staging.stage(
        tx.world, argv[1], number,
        [(key, value, int(at_ms) if at_ms else None, int(flags) if flags else 0)
         for key, value, at_ms, flags in zip(words, words, words, words, strict=True)],
    )  # fmt: skip
    return OK


def _publish(tx: WriteTx, argv: Argv) -> Any:
    world, name = tx.world, argv[1]
    staged = world.staged.get(name)
    if staged is not None and max(staged.databases) >= len(world.databases):
        raise CommandError("ERR DB index is out of range")  # there are fewer since it was staged
    return staging.replace(world, name) if argv[2] == b"replace" else staging.merge(world, name)


def _unstage(tx: WriteTx, argv: Argv) -> Any:
    staging.unstage(tx.world, argv[1])
    return OK


OPERATIONS: Final = {
    IN: _in, EXEC: _exec, EXPIRE: _expire, EVICT: _evict, NOOP: _noop, STAGE: _stage, PUBLISH: _publish,
    UNSTAGE: _unstage,
}  # fmt: skip
