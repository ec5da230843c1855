"""MULTI, EXEC, DISCARD, WATCH, UNWATCH: a block becomes one entry with the versions that were watched.

Promise: every replica decides alike whether a watched key has moved, because the entry carries the versions seen.
A key that is created and removed again between WATCH and EXEC has no version to compare: for it, as in Redis, the
server marks the session (`dirty`) when it sees the key touched.
A transaction or WATCH that is open for too long ends with an error of EXEC, not with the null that says "a key has
changed": whoever believes that begins again at once, and would do so for ever.
Not here: what may be queued (`server.gate`), who appends the entry (`Client.submit`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NoReturn

from ..config import Settings
from ..errors import EXEC_ABORT, LIMIT_OPEN, LIMIT_TRANSACTION, LIMIT_WATCHED, CommandError, error
from ..resp.reply import NULL_ARRAY, OK, Reply
from .arguments import parse_int
from .block_replies import BlockReplies
from .operations import transaction
from .ports import Client, then
from .redirection import CODES
from .spec import Argv, CommandSpec, KeySpec, Kind, command

WORD_BYTES: Final = 16  # a word in the log besides itself, or more: `$65536` and two line ends
WATCH_BYTES: Final = 256  # what a watched key costs besides its name, here and in the log


class Queue:
    """What a session has queued since MULTI. `db` follows SELECTs inside the block."""

    __slots__ = ("_added", "_databases", "_settings", "aborted", "began", "bytes", "db", "has_writes", "requests")

    def __init__(self, db: int, databases: int, settings: Settings, began: float) -> None:
        self._settings = settings  # whose limits may change while the block is open
        self.began = began  # monotonic seconds
        self.requests: list[tuple[CommandSpec, Argv, int]] = []
        self.db, self._databases = db, databases
        self._added = 0  # of which `requests` keeps none once the block is too large
        self.bytes = 0  # of the entry that the requests would make
        self.has_writes = False
        self.aborted = False  # a request was refused while queueing: EXEC will refuse the block

    def __len__(self) -> int:
        return len(self.requests)

    def add(self, spec: CommandSpec, argv: Sequence[bytes]) -> None:
        """Queue a request; CommandError (and the caller aborts the block) when the block would be too large."""
        self.bytes += sum(map(len, argv)) + WORD_BYTES * (len(argv) + 2)
        settings = self._settings
        self._added += 1
        if self.bytes > settings.transaction_bytes_max:
            self._refuse("bytes", settings.transaction_bytes_max)
        if 0 < settings.transaction_commands_max < self._added:
            self._refuse("commands", settings.transaction_commands_max)
        self.requests.append((spec, argv, self.db))
        self.has_writes |= spec.kind is Kind.WRITE
        if spec.name == "select":
            number = parse_int(argv[1])
            if number is not None and 0 <= number < self._databases:  # otherwise it will fail
                self.db = number

    def _refuse(self, what: str, most: int) -> NoReturn:
        self.requests.clear()  # what will never be executed is not kept either
        raise CommandError(LIMIT_TRANSACTION.format(what=what, most=most, directive=f"transaction-{what}-max"))

    def operation(
        self, watched: dict[tuple[int, bytes], int], refused: Collection[int] = ()
    ) -> tuple[bytes, ...]:
        """The entry: everything on data, in order, but for the requests at the places `refused`."""
        return transaction(
            [(db, key, version) for (db, key), version in watched.items()],
            [
                (db, (spec.name.partition("|")[0].upper().encode(), *argv[1:]))
                for at, (spec, argv, db) in enumerate(self.requests)
                if spec.kind is not Kind.SESSION and at not in refused
            ],
        )


@command(
    "MULTI", arity=1, kind=Kind.SESSION, flags="noscript loading stale fast allow_busy early", group="transactions",
    since="1.2.0",
)  # fmt: skip
def multi(client: Client, argv: Argv) -> Reply:
    """Begin a transaction: queue what follows until EXEC or DISCARD."""
    if client.multi is not None:
        raise error("MULTI calls can not be nested")
    server = client.server
    client.multi = Queue(client.db, len(server.machine.world.databases), server.settings, server.clock.now())
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
    end_overdue(client, client.server.clock.now())
    if client.overdue is not None:
        raise discarded(client, client.overdue)
    _leave(client)
    if queue.aborted:
        raise CommandError(EXEC_ABORT)
    if dirty:
        return NULL_ARRAY
    requests = queue.requests
    refused, accounts = client.recheck(requests), client.server.accounts
    user, rights = client.user, accounts.version
    caching = client.tracking is not None and client.tracking.caching  # by the time of `finish` it is used up

    def finish(applied: Any) -> Reply:
        """Put the replies of the entry and those of session commands back into the block's order."""
        if applied is None:
            if _moved(client, watched):
                return NULL_ARRAY
            if accounts.version != rights:  # it has waited, and reads what was written since then
                refused.update(client.recheck(requests))
        elif not isinstance(applied, list):  # a null array: a watched key has moved; or a refusal
            if isinstance(applied, CommandError):  # what was asked for may be in the log all the same
                client.server.audit.block(client, user, requests, [applied] * len(requests))
            return applied
        done, block = iter(applied or ()), BlockReplies()
        for at, (spec, words, db) in enumerate(requests):
            if at in refused:
                block.add(refused[at])
            elif applied is not None and spec.kind is not Kind.SESSION:
                block.add(next(done))
            else:
                block.add(client.run_queued(spec, words, db))
        replies = block.kept
        if client.tracking is not None:
            for spec, words, _ in requests:
                client.server.tracking.remember(client, spec, words, caching)
        for (spec, _, _), reply in zip(requests, replies, strict=True):
            client.server.stats.executed(spec.name, reply)
        record = client.server.audit.block(client, user, requests, replies)
        return replies if record is None else then(record, lambda durable: replies)

    barrier = client.server.audit.holds(requests) or any(spec.kind is Kind.SESSION for spec, _, _ in requests)
    writes = queue.has_writes and any(
        spec.kind is Kind.WRITE for at, (spec, _, _) in enumerate(requests) if at not in refused
    )
    return client.submit(queue.operation(watched, refused) if writes else None, finish, barrier=barrier)


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
    keys = [key for key in dict.fromkeys(argv[1:]) if (client.db, key) not in client.watched]
    size = client.watched_bytes + sum(map(len, keys)) + WATCH_BYTES * len(keys)
    most = client.server.settings.transaction_bytes_max
    if size > most:
        raise CommandError(LIMIT_WATCHED.format(most=most, directive="transaction-bytes-max"))
    client.watched_bytes = size
    if not client.watched:
        client.watched_since = client.server.clock.now()
    for key in keys:
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


def end_overdue(client: Client, now: float) -> None:
    """Free what a transaction or WATCH holds that is open for too long; its EXEC, which may still come, will fail."""
    queue = client.multi
    if client.overdue is None:
        settings, stats = client.server.settings, client.server.stats
        if queue is not None and 0 < settings.transaction_seconds_max < now - queue.began:
            stats.limit_ended_transactions += 1
            client.overdue = _overdue("the transaction was open", settings.transaction_seconds_max, "transaction")
        elif client.watched and 0 < settings.watch_seconds_max < now - client.watched_since:
            stats.limit_ended_watches += 1
            client.overdue = _overdue("keys were watched", settings.watch_seconds_max, "watch")
        else:
            return
    if queue is not None:
        queue.requests.clear()
    _release(client)


def _overdue(what: str, most: int, kind: str) -> CommandError:
    return CommandError(LIMIT_OPEN.format(what=what, most=most, directive=f"{kind}-seconds-max"))


def discarded(client: Client, why: CommandError) -> CommandError:
    """EXEC itself was refused: as in Redis that ends the transaction, so that nothing more is queued unawares."""
    _leave(client)
    if why.code in CODES:  # where to make it again: clients act on these, whatever they were doing
        return why
    return CommandError(f"EXECABORT Transaction discarded because of: {why.text.removeprefix('ERR ')}")


def _leave(client: Client) -> None:
    client.multi = None
    _forget(client)


def _forget(client: Client) -> None:
    client.overdue = None
    _release(client)


def _release(client: Client) -> None:
    client.server.unwatch(client)
    client.watched = {}
    client.watched_bytes = 0
    client.dirty = False
