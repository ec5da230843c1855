"""The state machine: `apply` is the only way to change the state, live, at boot, in a snapshot, in a restore.

Promises: the state after entry n depends on entries 1..n and nothing else; applying needs no clock and no
randomness but the batch's time and seed. An entry whose handler raises counts as applied; its answer is the error.
Not here: what commands mean (`commands` gives the table), durability (`engine`), who may ask (`server`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ..errors import EX_BROKEN, CommandError, Halt, Refused
from . import versions
from .accounts import Accounts
from .audit_heads import AuditHeads
from .keyspace import Database
from .maintenance import Maintenance
from .nodes import Nodes
from .scan_order import Rng, ScanOrder, Unindexed
from .staging import Staging
from .usage import Usage
from .values import VERSION_BYTES
from .views import ReadView, WriteTx

Argv = Sequence[bytes]
Handler = Callable[[WriteTx, Argv], Any]
RowHandler = Callable[[WriteTx, Sequence[Argv]], list[Any] | None]
Event = tuple[str, str, bytes, int]  # letter, name, key, database
Touched = tuple[int, bytes | None]  # database, key; None: the whole database

TRASH_MAX: Final = 64  # databases waiting to be freed; one more frees the oldest at once: a pause has an end
_FORGET: Final[Callable[[Any], None]] = deque[Any](maxlen=0).append
BUG: Final = "ERR internal error while applying the request; see the server's log"


class World:
    """What all databases share. Fields of the second group are for observers and not part of the state."""

    __slots__ = (
        "accounts",
        "audit_heads",
        "cluster_version",
        "databases",
        "deleted_version",
        "events",
        "evicted",
        "expired",
        "handlers",
        "hits",
        "maintenance",
        "misses",
        "nodes",
        "now_ms",
        "on_bug",
        "on_mark",
        "rng",
        "seed",
        "sequence",
        "staged",
        "top_version",
        "touched",
        "transactions",
        "trash",
        "understands",
        "unsettled",
        "usage",
        "version",
        "views",
        "weighed",
    )

    def __init__(self, databases: int, handlers: Mapping[bytes, Handler], rng: Rng, accounts: Accounts) -> None:
        self.accounts = accounts  # users and roles
        self.maintenance = Maintenance()
        self.nodes = Nodes()  # of the cluster
        self.audit_heads = AuditHeads()
        self.cluster_version = versions.FIRST  # in force; see `versions`
        self.understands = versions.CURRENT  # the highest that may come into force here
        self.handlers = handlers  # by operation name; for operations that contain others
        self.databases = [_unweighed() for _ in range(databases)]
        self.weighed = False  # the databases count the bytes that they hold
        self.sequence = 0  # of the entry being applied
        self.version = bytes(VERSION_BYTES)  # the same as an item's head
        self.now_ms = 0
        self.seed = 0  # of the batch; a handler that needs chance mixes it with the sequence
        self.top_version = 0  # the highest version given to any key
        self.deleted_version = 0  # the highest version of any key that is gone: a new key starts above it
        self.views = [ReadView(self, n) for n in range(databases)]
        self.transactions = [WriteTx(self, n) for n in range(databases)]
        self.staged: dict[bytes, Staging] = {}  # by the name of the publication that will make it live
        self.rng = rng  # for reads only: what an entry does is decided by its seed
        self.hits = self.misses = self.expired = self.evicted = 0
        self.usage: Usage | None = None  # when keys are used, while something is chosen by it
        self.events: list[Event] | None = None  # keyspace events, while anyone has asked for them
        self.touched: list[Touched] | None = None  # changed keys, while anyone watches or tracks keys
        self.trash: list[Database] = []  # what is no longer live and whose memory is still to be given back
        self.unsettled = False  # keys that were published or found at the start are still to be indexed
        self.on_bug: Callable[[bytes, Exception], None] = _ignore_bug
        self.on_mark: Callable[[int], None] = _unmarked  # `@digest mark` is being applied; its number

    def throw_away(self, database: Database) -> None:
        """Give the memory of a database that is no longer live back, in steps."""
        self.trash.append(database)
        if len(self.trash) > TRASH_MAX:
            del self.trash[0]

    def unnoticed(self, read: Callable[[ReadView, Argv], Any], view: ReadView, argv: Argv) -> Any:
        """What the read returns; it counts as no use of its keys (CLIENT NO-TOUCH)."""
        usage, self.usage = self.usage, None
        try:
            return read(view, argv)
        finally:
            self.usage = usage

    def weigh(self, *, wanted: bool) -> None:
        """Have the databases count the bytes that they hold, or no longer."""
        self.weighed = wanted
        for db in self.databases:
            db.weigh(wanted=wanted)

    def failed(self, name: bytes, bug: Exception) -> CommandError:
        """What a handler's bug is answered with. It is deterministic, so every replica answers the same."""
        self.on_bug(name, bug)
        return CommandError(BUG)

    def index(self, *, later: bool = False) -> None:
        """Have the keys in an order to scan them in, which is made step by step (`settle`); or (`later`) not yet."""
        for db in self.databases:
            if later:
                db.order = Unindexed()
            elif isinstance(db.order, Unindexed):
                db.order = ScanOrder(list(db.items))
                self.unsettled = True

    def settle(self, keys: int) -> bool:
        """Bring the next keys to where indexes are quick; True when that is done. Changes no state."""
        if self.unsettled and all(db.settle(keys) for db in self.databases):
            self.unsettled = False
        return not self.unsettled


class StateMachine:
    """`table` gives the handler of each operation name; it is the same on every replica of one version.

    `rng` is the chance of reads (RANDOMKEY) and never reaches the state, so that replicas may have different ones.
    """

    def __init__(
        self,
        table: Mapping[bytes, Handler],
        databases: int = 16,
        *,
        rng: Rng,
        accounts: Accounts,
        rows: Mapping[bytes, RowHandler] | None = None,
    ) -> None:
        self.world = World(databases, table, rng, accounts)
        self.table = table
        self.rows = rows or {}  # for some names: the same as the handler, for many operations at once
        self.applied = 0  # sequence of the last entry applied
        self.time_ms = 0  # of the last batch applied; never falls
        self._root = self.world.transactions[0]

    @property
    def on_bug(self) -> Callable[[bytes, Exception], None]:
        """Told the name of an operation whose handler has failed, and how."""
        return self.world.on_bug

    @on_bug.setter
    def on_bug(self, told: Callable[[bytes, Exception], None]) -> None:
        self.world.on_bug = told

    def begin_batch(self, timestamp_ms: int, seed: int) -> None:
        """Time and chance for the entries that follow."""
        assert timestamp_ms >= self.time_ms, (timestamp_ms, self.time_ms)
        self.time_ms = self.world.now_ms = timestamp_ms
        self.world.seed = seed

    def apply(self, operation: Argv) -> Any:
        """Execute the next entry; its reply, or the CommandError that is its reply."""
        return self.apply_all((operation,))[0]

    def apply_all(self, operations: Iterable[Argv]) -> list[Any]:
        """Execute the next entries, in order; the reply of each."""
        replies: list[Any] = []
        self._apply(operations, replies.append)
        return replies

    def _apply(self, operations: Iterable[Argv], answer: Callable[[Any], None]) -> None:
        """Hot: one turn of the loop per write."""
        world, table, root = self.world, self.table, self._root
        world.now_ms = self.time_ms  # a read between two entries may have moved it to the local clock
        sequence = self.applied
        for operation in operations:
            sequence += 1
            world.sequence = sequence
            world.version = sequence.to_bytes(VERSION_BYTES, "big")
            try:
                reply = table[operation[0]](root, operation)
            except CommandError as refused:
                # Its traceback leads to this frame and so back to itself: garbage that only the collector finds.
                reply = refused.with_traceback(None)
            except MemoryError as ours:  # other replicas may have had room: going on would diverge
                raise Halt(EX_BROKEN, f"out of memory while applying entry {sequence}") from ours
            except Refused:  # an entry that only other software can apply
                raise
            except Exception as bug:
                reply = world.failed(operation[0], bug)
            answer(reply)
        self.applied = sequence

    def apply_row(self, operations: Sequence[Argv]) -> list[Any]:
        """`apply_all` for operations of one name: at once, if its row handler can do so just now."""
        replies = self._at_once(operations) if len(operations) > 1 else None
        return self.apply_all(operations) if replies is None else replies

    def apply_unheard(self, operations: Sequence[Argv]) -> None:
        """`apply_row` where nobody waits for replies: together they may be larger than memory, so none is kept."""
        if len(operations) < 2 or self._at_once(operations) is None:
            self._apply(operations, _FORGET)

    def _at_once(self, operations: Sequence[Argv]) -> list[Any] | None:
        if (row := self.rows.get(operations[0][0])) is not None:
            world = self.world
            world.now_ms = self.time_ms
            world.sequence = self.applied + 1
            replies = row(self._root, operations)
            if replies is not None:
                self.applied += len(operations)
                return replies
        return None

    def read_at(self, now_ms: int) -> None:
        """Set the time by which reads hide expired keys; never before what the log has already seen."""
        self.world.now_ms = now_ms if now_ms > self.time_ms else self.time_ms

    def resize(self, databases: int) -> None:
        """Have so many databases from here on; those that go are empty. Their number decides what MOVE or COPY do."""
        world = self.world
        assert not any(db.items for db in world.databases[databases:]), databases
        for of_each in (world.databases, world.views, world.transactions):
            del of_each[databases:]
        for number in range(len(world.databases), databases):
            world.databases.append(Database() if world.weighed else _unweighed())
            world.views.append(ReadView(world, number))
            world.transactions.append(WriteTx(world, number))

    def replace_databases(self, databases: list[Database]) -> None:
        """Have these in the place of all there are; views and transactions stay, and look at them."""
        world = self.world
        for of_each in (world.views, world.transactions):
            del of_each[len(databases) :]
        world.databases[:] = databases
        for number, db in enumerate(databases):
            if number < len(world.views):
                world.views[number].db = world.transactions[number].db = db
            else:
                world.views.append(ReadView(world, number))
                world.transactions.append(WriteTx(world, number))
        if world.weighed:
            world.weigh(wanted=True)

    def seek(self, sequence: int, timestamp_ms: int) -> None:
        """Continue behind a snapshot: the state of entry `sequence` has been loaded."""
        self.applied = sequence
        self.time_ms = self.world.now_ms = timestamp_ms


def _unweighed() -> Database:
    db = Database()
    db.weigh(wanted=False)
    return db


def _unmarked(number: int) -> None:
    """Nobody compares states: a replay, or a node without others."""


def _ignore_bug(name: bytes, bug: Exception) -> None:
    """Until `app` installs a logger; the reply names the failure all the same."""
