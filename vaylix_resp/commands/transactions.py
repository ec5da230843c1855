"""MULTI, EXEC, DISCARD, WATCH, UNWATCH: a block becomes one entry with the versions that were watched.

Promise: every replica decides alike whether a watched key has moved, because the entry carries the versions seen.
A key that is created and removed again between WATCH and EXEC has no version to compare: for it, as in Redis, the
server marks the session (`dirty`) when it sees the key touched.
Not here: what may be queued (`server.gate`), who appends the entry (`Client.submit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import EXEC_ABORT, CommandError, error
from ..limits import TRANSACTION_BYTES_MAX
from ..resp.reply import NULL_ARRAY, OK, Reply
from .operations import transaction
from .ports import Client
from .spec import Argv, CommandSpec, KeySpec, Kind, command


class Queue:
    """What a session has queued since MULTI. `db` follows SELECTs inside the block."""

    __slots__ = ("aborted", "bytes", "db", "has_writes", "requests")

    def __init__(self, db: int) -> None:
        self.requests: list[tuple[CommandSpec, tuple[bytes, ...], int]] = []
        self.db = db
        self.bytes = 0  # of all words
        self.has_writes = False
        self.aborted = False  # a request was refused while queueing: EXEC will refuse the block

    def __len__(self) -> int:
        return len(self.requests)

    def add(self, spec: CommandSpec, argv: Sequence[bytes]) -> None:
        """Queue a request; CommandError (and the block is aborted) when the block would be too large."""
        self.bytes += sum(map(len, argv))
        if self.bytes > TRANSACTION_BYTES_MAX:
            self.requests.clear()
            raise error(f"transaction is too large: more than {TRANSACTION_BYTES_MAX} bytes are queued")
        name = spec.name.partition("|")[0].upper().encode()
        self.requests.append((spec, (name, *argv[1:]), self.db))
        self.has_writes |= spec.kind is Kind.WRITE
        if spec.name == "select" and argv[1].isdigit() and len(argv[1]) <= 4:
            self.db = int(argv[1])

    def operation(self, watched: dict[tuple[int, bytes], int]) -> tuple[bytes, ...]:
        """The entry: everything on data, in order."""
        return transaction(
            [(db, key, version) for (db, key), version in watched.items()],
            [(db, argv) for spec, argv, db in self.requests if spec.kind is not Kind.SESSION],
        )


@command(
    "MULTI", arity=1, kind=Kind.SESSION, flags="noscript loading stale fast allow_busy early", group="transactions",
    since="1.2.0",
)  # fmt: skip
def multi(client: Client, argv: Argv) -> Reply:
    """Begin a transaction: queue what follows until EXEC or DISCARD."""
    if client.multi is not None:
        raise error("MULTI calls can not be nested")
    client.multi = Queue(client.db)
    return OK


@command(
    "EXEC", arity=1, kind=Kind.SESSION, flags="noscript loading stale skip_slowlog early", group="transactions",
    since="1.2.0", complexity="Depends on commands in the transaction",
)  # fmt: skip
def exec_(client: Client, argv: Argv) -> Reply:
    """Execute all that was queued since MULTI, as one entry."""
    queue, watched, dirty = client.multi, client.watched, client.dirty
    if queue is None:
        raise error("EXEC without MULTI")
    _leave(client)
    if queue.aborted:
        raise CommandError(EXEC_ABORT)
    if dirty:
        return NULL_ARRAY
    requests = queue.requests

    def finish(applied: Any) -> Reply:
        """Put the replies of the entry and those of session commands back into the block's order."""
        if applied is None:
            if _moved(client, watched):
                return NULL_ARRAY
        elif not isinstance(applied, list):  # a null array: a watched key has moved; or a refusal
            return applied
        done = iter(applied or ())
        replies = [
            next(done) if applied is not None and spec.kind is not Kind.SESSION else client.run_queued(spec, words, db)
            for spec, words, db in requests
        ]
        if client.tracking is not None:
            for spec, words, _ in requests:
                client.server.tracking.remember(client, spec, words)
        return replies

    barrier = any(spec.kind is Kind.SESSION for spec, _, _ in requests)
    return client.submit(queue.operation(watched) if queue.has_writes else None, finish, barrier=barrier)


def _moved(client: Client, watched: dict[tuple[int, bytes], int]) -> bool:
    """For a block that only reads and so needs no entry: the same question, asked of applied state."""
    return any(client.server.view(db).version(key) != version for (db, key), version in watched.items())


@command(
    "DISCARD", arity=1, kind=Kind.SESSION, flags="noscript loading stale fast allow_busy early", group="transactions",
    since="2.0.0", complexity="O(N), when N is the number of queued commands",
)  # fmt: skip
def discard(client: Client, argv: Argv) -> Reply:
    """Forget what was queued since MULTI."""
    if client.multi is None:
        raise error("DISCARD without MULTI")
    _leave(client)
    return OK


@command(
    "WATCH", arity=-2, kind=Kind.SESSION, flags="noscript loading stale fast allow_busy", group="transactions",
    keys=KeySpec("RO", last=-1), syntax="key [key ...]", since="2.2.0", complexity="O(1) for every key.",
)  # fmt: skip
def watch(client: Client, argv: Argv) -> Reply:
    """Make the next EXEC depend on these keys staying as they are now."""
    if client.multi is not None:
        raise error("WATCH inside MULTI is not allowed")
    view = client.server.view(client.db)
    for key in argv[1:]:
        if (client.db, key) not in client.watched:
            client.watched[client.db, key] = view.version(key)
            client.server.watch(client, client.db, key)
    return OK


@command(
    "UNWATCH", arity=1, kind=Kind.SESSION, flags="noscript loading stale fast allow_busy early", group="transactions",
    since="2.2.0",
)  # fmt: skip
def unwatch(client: Client, argv: Argv) -> Reply:
    """Forget all watched keys."""
    _forget(client)
    return OK


def _leave(client: Client) -> None:
    client.multi = None
    _forget(client)


def _forget(client: Client) -> None:
    client.server.unwatch(client)
    client.watched = {}
    client.dirty = False
