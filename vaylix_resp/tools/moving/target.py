"""The target of an import: ordinary writes in transactions, and in each of them the mark that says how far it is.

The mark is a key of the target (`{vaylix:import}`, database 0). It is watched while a transaction is on its way, so a
transaction counts only if the mark still is what it was: one that was sent twice because a connection was lost, or that
arrives late through another node of a cluster, changes nothing the second time, and an INCR is never applied twice.
What waits for an answer is one transaction; the next one is made meanwhile.

Promises: each operation is applied exactly once, whatever is lost and killed; what the target refuses for now (disk or
memory full, no leader, still loading, maintenance) is tried again for `retry_s`; anything else ends the import with the
target's own words.
Units: bytes, seconds. Not here: what is written (`meaning`), whether it has arrived as it was (`verify`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import hiredis

from ...limits import KIB, MIB, TRANSACTION_BYTES_MAX
from .channel import Address, Channel, Denied, granted, info, packed, sizes
from .meaning import MARK_KEY, OWN, PART_KEY, PIECE_BYTES, Operation
from .patience import RETRY_S, ForNow, GivenUp, Patience, is_for_now

BATCH_BYTES: Final = 256 * KIB  # of a transaction: larger ones are not faster, and others wait for the fsync of one
BATCH_OPERATIONS: Final = 1000
WHOLE_BYTES: Final = MIB  # of a transaction of the source that stays one here
WHOLE_OPERATIONS: Final = 10_000
DISTINCT: Final = ("rdb", "psync")  # methods whose keys come once; SCAN may name one twice
MSET_KEYS: Final = 100  # more are not faster, and a limit of the target (command-keys-max) may be lower than thousands
assert PIECE_BYTES + WHOLE_BYTES < TRANSACTION_BYTES_MAX, "a transaction that is not full has room for one piece"


class Overtaken(GivenUp):
    """The mark is another one: somebody else has moved it."""

    def __init__(self, told: str = "another import writes to this target: one at a time") -> None:
        super().__init__(told)


class MarkGone(Overtaken):
    """There is none any more, and so nobody knows how far the import is, nor what else has gone."""

    def __init__(self) -> None:
        super().__init__(
            f"the target has lost the mark of this import, {MARK_KEY.decode()}: somebody has emptied it, or it evicts "
            "keys (maxmemory-policy); to continue: see to that, FLUSHALL it, and begin again"
        )


@dataclass(slots=True)
class Mark:
    """How far an import is. `method` and `source` say of what; the rest is counted by that method."""

    method: str
    source: str
    policy: str
    serial: int = 0  # of the transaction: no two marks are the same
    phase: str = "keys"  # of a file, then "stream", and "settle" when only expiries are left
    keys: int = 0  # records of the file that are done
    piece: int = 0  # operations of the next record or command that are done
    file: int = 0  # of several
    offset: int = 0  # behind the last command
    db: int = 0
    cursor: int = 0
    origin: str = ""  # of a stream: the file that it goes on from, as the spool named it
    replid: str = ""  # its history, as it is called now
    written: int = 0
    commands: int = 0
    expired: int = 0
    conflicts: int = 0
    unsupported: dict[str, int] = field(default_factory=dict)
    failed: str = ""

    @property
    def done(self) -> int:
        """Records and commands."""
        return self.written + self.conflicts + self.expired + sum(self.unsupported.values()) + self.commands

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Mark:
        """Raises Denied: the key holds something else."""
        try:
            return cls(**json.loads(raw))
        except (ValueError, TypeError) as error:
            raise Denied(f"the target's key {MARK_KEY.decode()} holds no mark of an import: delete it") from error


class Transaction:
    """What is on its way: its requests, and the mark behind it (None: no mark any more).

    Plain SETs that follow each other become an MSET, which costs the server a third. In any order if no key stands
    twice among the operations (`distinct`).
    """

    def __init__(self, operations: Sequence[Operation], mark: Mark | None, *, distinct: bool = False) -> None:
        if mark is not None:
            mark.serial += 1
        self.mark = mark.encode() if mark is not None else None
        self.offset = mark.offset if mark is not None else 0
        self.operations = sorted(operations, key=_is_not_plain) if distinct else operations
        self.places: list[int] = []  # of the operations among the replies of EXEC
        requests: list[Sequence[bytes]] = [(b"MULTI",)]
        db = 0
        growing: list[bytes] = []  # the last request, if it is a SET or MSET that may take more
        for operation in self.operations:
            if operation.db != db:
                db, growing = operation.db, []
                requests.append((b"SELECT", b"%d" % db))
            if _is_not_plain(operation):
                growing = []
                requests.append(operation.words)
            elif growing and len(growing) < 2 * MSET_KEYS:
                growing[0] = b"MSET"
                growing += operation.words[1:]
            else:
                growing = [*operation.words]
                requests.append(growing)
            self.places.append(len(requests) - 2)
        if db:
            requests.append((b"SELECT", b"0"))
        ours = (b"DEL", MARK_KEY) if self.mark is None else (b"SET", MARK_KEY, self.mark)
        requests += [ours, (b"EXEC",), (b"WATCH", MARK_KEY), (b"GET", MARK_KEY)]
        self.count = len(requests)
        self.data: Final = packed(requests)


def _is_not_plain(operation: Operation) -> bool:
    """Anything but `SET key value` of a key of its own."""
    words = operation.words
    return len(words) != 3 or words[0] != b"SET" or words[1] == PART_KEY


class Target:
    """One running import into one server. `skip`: what a left-out type makes impossible is no failure."""

    def __init__(
        self, address: Address, retry_s: float = RETRY_S, *, skip: bool = False,
        sleep: Callable[[float], None] = time.sleep, now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.address = address
        self.mark: Mark | None = None  # what `cut` writes; whoever adds operations moves it
        self.durable_offset = 0  # of the mark as the target has it
        self._databases = {0}  # that are known to be there
        self.patience = Patience(address.where, retry_s, sleep=sleep, now=now)
        self._skip = skip
        self._channel: Channel | None = None
        self._stored: bytes | None = None  # the mark as the target has it
        self._sent: Transaction | None = None
        self._pending: list[Operation] = []
        self._pending_bytes = 0
        self.inside = False  # a transaction of the source has begun: do not cut it if it is small

    def open(self) -> Mark | None:
        """Connect; the mark of an import that was begun. Nothing is changed."""
        self._sent = None
        self._stored = self.patience.until(lambda again: self._look())
        return None if self._stored is None else Mark.decode(self._stored)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def sizes(self) -> dict[int, int]:
        """Keys of each database that are not the import's own."""
        return {db: count for db, count in self._held().items() if count}

    def _held(self) -> dict[int, int]:
        """The same, also for databases in which there is nothing else."""

        def attempt(again: bool) -> dict[int, int]:
            with Channel(self.address) as channel:
                found = sizes(info(channel, b"keyspace"))
                for db in found:
                    channel.select(db)
                    found[db] -= granted(channel.ask(b"EXISTS", *OWN), "EXISTS is refused")
            return found

        return self.patience.until(attempt)

    # Adding.

    def add(self, operations: Sequence[Operation]) -> None:
        """Operations of one record or command; the caller moves `mark` behind them when this has returned."""
        assert self.mark is not None
        operations = operations[self.mark.piece :]
        size = 0
        for db, words in operations:
            size += sum(map(len, words))
            if db not in self._databases:
                self.check((db,))
        most, count = (WHOLE_BYTES, WHOLE_OPERATIONS) if self.inside else (BATCH_BYTES, BATCH_OPERATIONS)
        if self._pending_bytes + size > most or len(self._pending) + len(operations) > count:
            self.cut()
        if size <= PIECE_BYTES:
            self._pending += operations
            self._pending_bytes += size
        else:
            for operation in operations:
                self._pending.append(operation)
                self.mark.piece += 1
                self.cut()
        self.mark.piece = 0

    def check(self, databases: Collection[int]) -> None:
        """Denied if one of them is not there: a SELECT that fails in a transaction does not end it."""

        def attempt(again: bool) -> None:
            with Channel(self.address) as channel:
                for db in databases:
                    channel.select(db)
                    self._databases.add(db)

        self.patience.until(attempt)

    def cut(self) -> None:
        """What was added is on its way, with `mark` as it is now."""
        assert self.mark is not None
        if self._pending:
            pending, self._pending, self._pending_bytes = self._pending, [], 0
            distinct = self.mark.phase == "keys" and self.mark.method in DISTINCT
            self._submit(Transaction(pending, self.mark, distinct=distinct))

    def flush(self) -> None:
        """All that was added is durable."""
        self.cut()
        self._finish()

    def put_mark(self) -> None:
        """`mark` by itself is durable."""
        assert self.mark is not None
        self.flush()
        self._submit(Transaction((), self.mark))
        self._finish()

    def replace_all(self) -> None:
        """Every database is empty, and the mark is there."""
        assert self.mark is not None
        self._pending, self._pending_bytes = [], 0
        self._finish()
        self._submit(Transaction((Operation(0, (b"FLUSHALL",)),), self.mark))
        self._finish()

    def end(self) -> None:
        """The import is over: nothing of it is left but its data."""
        self.flush()
        # A key that expired, or an import that was begun anew, may have left some of a large value.
        self._submit(Transaction([Operation(db, (b"DEL", PART_KEY)) for db in self._held()], None))
        self._finish()

    # Sending.

    def _submit(self, transaction: Transaction) -> None:
        self._finish()
        self._sent = transaction
        try:
            if self._channel is not None:
                self._channel.socket.sendall(transaction.data)
        except OSError:
            self.close()  # `_finish` begins with a new one

    def _finish(self) -> None:
        """The transaction on its way has been applied, once."""
        sent = self._sent
        if sent is None:
            return
        replies = self.patience.until(lambda again: self._outcome(sent, again))
        self._sent, self._stored, self.durable_offset = None, sent.mark, sent.offset
        if replies:
            self._judge(sent, replies)

    def _outcome(self, sent: Transaction, again: bool) -> list[Any]:
        """The replies of EXEC; none, if it was only found to have been applied. Not yet: OSError."""
        if again or self._channel is None:
            stored = self._look()
            if stored == sent.mark:
                return []
            if stored != self._stored:
                raise _overtaken(stored)
            assert self._channel is not None
            self._channel.socket.sendall(sent.data)
        assert self._channel is not None
        replies = [self._channel.reply() for _ in range(sent.count)]
        executed, stored = replies[-3], replies[-1]
        if isinstance(executed, list):
            if stored != sent.mark:
                self.close()  # not watched any more: look again before the next one
            return executed
        if stored == sent.mark:
            return []
        if stored != self._stored and not isinstance(stored, hiredis.ReplyError):
            raise _overtaken(stored)
        errors = [reply for reply in replies[:-2] if isinstance(reply, hiredis.ReplyError)]
        raise self._unanswered(errors[0] if errors else None)

    def _unanswered(self, answer: hiredis.ReplyError | None) -> ForNow | GivenUp:
        """Why a transaction was not executed, by the first error among its replies; None: its mark was touched."""
        told = str(answer or "a transaction was not executed")
        return ForNow(told) if answer is None or is_for_now(told) else GivenUp(f"{self.address.where}: {told}")

    def _look(self) -> bytes | None:
        """Watch the mark from now on, and read it: over a new connection, as the old one is in an unknown state."""
        self.close()
        self._channel = Channel(self.address)
        _, stored = (
            granted(reply, self.address.where)
            for reply in self._channel.all([(b"WATCH", MARK_KEY), (b"GET", MARK_KEY)])
        )
        assert stored is None or isinstance(stored, bytes)
        return stored

    def _judge(self, sent: Transaction, replies: list[Any]) -> None:
        """What each operation was answered."""
        assert self.mark is not None
        for operation, place in zip(sent.operations, sent.places, strict=True):
            reply, words = replies[place], operation.words
            if isinstance(reply, hiredis.ReplyError):
                if self._skip and str(reply) == "ERR no such key":
                    continue
                self.mark.failed = f"{words[0].decode()} in database {operation.db} was answered: {reply}"
                self._submit(Transaction((), self.mark))
                self._finish()
                raise GivenUp(self.mark.failed)
            if (reply is None and b"NX" in words[3:]) or (reply == 0 and words[0] == b"RENAMENX"):
                self.mark.conflicts += 1
                self.mark.written -= 1


def _overtaken(stored: Any) -> Overtaken:
    """By what stands in the place of the mark that was expected there."""
    return MarkGone() if stored is None else Overtaken()
