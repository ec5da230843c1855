"""An engine on a bench: real node, real store, simulated disk, a clock that stands still until told otherwise.

Not here: threads and event loops (`test_group_commit`, `test_checkpoint`).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.commands.operations import in_database
from vaylix_resp.engine import boot
from vaylix_resp.engine.node import Batch, Engine, Node, Run, W
from vaylix_resp.errors import CommandError
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import DiskFull, WalFailed
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.store import Store

ROOT = "data"
STORE_ID = bytes(range(16))
SMALL = WalConfig(segment_bytes=16384, first_segment_bytes=8192, spares=1)
START_MS = 1_700_000_000_000

Operation = tuple[bytes, ...]


def land(node: Engine[W], batch: W) -> None:
    """The batch is written and synced, as the group commit does it; or the disk says what is wrong with it."""
    try:
        node.persist(batch)
    except (DiskFull, WalFailed) as failure:
        node.rejected(batch, failure)
    else:
        node.persisted(batch)


class Clock:
    """Wall and monotonic time, moved by the test."""

    def __init__(self, ms: int = START_MS) -> None:
        self.ms = ms
        self.seconds = 100.0

    def wall_ms(self) -> int:
        return self.ms

    def wall_us(self) -> int:
        return self.ms * 1000

    def now(self) -> float:
        return self.seconds


class Client:
    """An owner that writes down what it is told: ("done", replies) or ("failed", code), each with its name."""

    def __init__(self, node: Node, told: list[tuple[str, str, object]], name: str = "c") -> None:
        self.node, self.told, self.name = node, told, name

    def write(self, *operations: Operation) -> Run:
        run = self.node.join(self)
        self.more(run, *operations)
        return run

    def more(self, run: Run, *operations: Operation) -> None:
        run.add(operations)
        run.items += operations

    def complete(self, run: Run) -> None:
        self.told.append((self.name, "done", [shown(reply) for reply in self.node.machine.apply_all(run.items)]))

    def fail(self, run: Run, refusal: CommandError) -> None:
        self.told.append((self.name, "failed", refusal.code))


def shown(reply: object) -> object:
    return reply.text if isinstance(reply, CommandError) else reply


def op(text: str, db: int = 0) -> Operation:
    return in_database(db, [word.encode() for word in text.split()])


class Lab:
    """One life of a node; `restart` begins the next on the same disk."""

    def __init__(
        self, disk: Disk | None = None, *, clock: Clock | None = None, databases: int = 4, root: str = ROOT,
        config: WalConfig = SMALL, term: bool = True, exit_on_io_error: bool = False, keys: Keys | None = None,
    ) -> None:  # fmt: skip
        self.sim = disk if isinstance(disk, SimDisk) else SimDisk()
        self.disk: Disk = disk or self.sim
        self.clock = clock or Clock()
        self.databases, self.root, self.config = databases, root, config
        self.keys: Keys = keys or MemoryKeys()
        self.store = Store.open(
            self.disk, root, new_store_id=STORE_ID, now_ms=self.clock.ms, open_keys=lambda manifest: self.keys,
            config=config,
        )  # fmt: skip
        self.machine = boot.new_machine(databases)
        self.warnings = boot.recover(self.store, self.machine)
        self.node = Node(self.store.wal, self.machine, self.clock, Random(5), exit_on_io_error=exit_on_io_error)
        self.told: list[tuple[str, str, object]] = []
        self.client = Client(self.node, self.told)
        if term:
            boot.open_term(self.node)

    def new_client(self, name: str) -> Client:
        return Client(self.node, self.told, name)

    def write(self, *texts: str, db: int = 0) -> list[object]:
        """Write, commit, and the replies."""
        self.client.write(*(op(text, db) for text in texts))
        self.commit()
        name, what, replies = self.told[-1]
        return replies if isinstance(replies, list) else [replies]

    def commit(self) -> Batch | None:
        """One batch, as the group commit does it."""
        batch = self.node.seal()
        if batch is not None:
            self.land(batch)
        return batch

    def land(self, batch: Batch) -> None:
        land(self.node, batch)

    def get(self, key: str, db: int = 0) -> bytes | None:
        return self.machine.world.views[db].string(key.encode())

    def version(self, key: str, db: int = 0) -> int:
        return self.machine.world.views[db].version(key.encode())

    def digest(self) -> str:
        return digest_hex(self.machine)

    def restart(self, *, clean: bool = False, **changes: object) -> Lab:
        """The process dies (or stops cleanly), and another one starts."""
        if clean:
            self.store.clean_stop(self.clock.ms)
        else:
            self.store.abandon()
            self.sim.kill()
        options: dict[str, object] = {
            "clock": self.clock, "databases": self.databases, "root": self.root, "config": self.config,
            "keys": self.keys, **changes,
        }  # fmt: skip
        return Lab(self.disk, **options)  # type: ignore[arg-type]

    def wal_calls(self, *names: str) -> int:
        """How often these calls have met the log since the last kill."""
        return sum(1 for name, path, _ in self.sim.log if name in names and path.endswith(".wal"))


def words(operations: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
    return [list(operation) for operation in operations]
