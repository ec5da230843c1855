"""Snapshots in a simulated node: the server's own code for making, sending, taking and pruning, on the simulated loop.

Real: `engine.checkpoint`, `engine.replication.streams` and `follower_log`, `storage`. Not real: the process that makes a
snapshot is a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tests.sim.cluster.loop import SimLoop
from tests.sim.cluster.pasts import DATABASES
from vaylix_resp.clock import Clock
from vaylix_resp.engine.checkpoint import Checkpoint
from vaylix_resp.engine.replication.follower_log import FollowerLog
from vaylix_resp.engine.replication.replica import Replica
from vaylix_resp.engine.replication.stream_pace import Limits
from vaylix_resp.engine.replication.streams import Receiver, Sender
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.peers.messages import SnapshotChunk, SnapshotDone, SnapshotOffer, SnapshotWant
from vaylix_resp.raft.ready import Persist
from vaylix_resp.raft.types import SnapshotMeta
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.storage.store import Store

STREAM = (SnapshotOffer, SnapshotChunk, SnapshotWant, SnapshotDone)


class Child:
    """`engine.children.Children`, of which only the making of a snapshot is asked."""

    def __init__(self, store: Store, loop: SimLoop) -> None:
        self._store, self._loop = store, loop

    async def run(self, arguments: list[str], on_message: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        sequence = int(arguments[arguments.index("--sequence") + 1])
        store = self._store

        def make() -> Any:
            return make_snapshot(store.disk, store.root, store.keys, sequence, DATABASES, lambda _: None)

        return {"snapshot": asdict(await self._loop.run_in_executor(None, make))}


class Upkeep:
    """Of one life. `between`: as `GroupCommit.between_batches`; `network` sends, and says what is on the way."""

    def __init__(
        self, store: Store, replica: Replica, clock: Clock, loop: SimLoop,
        between: Callable[[Callable[[], None]], None], network: Any, follower_log_bytes: int,
        on_install: Callable[[], None],
    ) -> None:  # fmt: skip
        self._replica, self._loop = replica, loop
        commit = type("Commit", (), {"between_batches": staticmethod(between)})()
        self.checkpoint = checkpoint = Checkpoint(store, replica, commit, clock, DATABASES, Child(store, loop))  # type: ignore[arg-type]
        limits = Limits(log_bytes=lambda: follower_log_bytes)
        self._follower_log = kept = FollowerLog(replica, {}, limits.log_bytes)
        checkpoint.needed_from.append(kept.needed_from)
        self._sender = Sender(store, network, loop, checkpoint.holding, self._sent, kept.needs_snapshot, limits)
        self._receiver = Receiver(store, network, loop, DATABASES, limits)
        self._installed: Any = None
        self._on_install = on_install
        replica.on_stream = self._sender.begin
        replica.install = self._takes_the_place
        replica.before_install = lambda: self._begin(self._install())
        replica.on_installed = self._has_installed
        self._begin(self._receiver.run())

    def _begin(self, work: Any) -> None:
        self._loop.create_task(work)

    def look(self) -> None:
        """With each tick, as `app_cluster` does it."""
        self._follower_log.look()

    def save(self) -> None:
        if not self._replica.failure and not self.checkpoint.running and self.checkpoint.changes_since > 0:
            self._loop.run(self.checkpoint.start)

    def hear(self, node: int, message: Any) -> None:
        if isinstance(message, SnapshotOffer | SnapshotChunk):
            self._loop.run(self._receiver.hear, node, message)
        else:
            self._loop.run(self._sender.hear, node, message)

    def _sent(self, node: int, snapshot: SnapshotMeta | None) -> None:
        self._replica.core.snapshot_sent(node, snapshot)
        self._replica.on_work()

    def _takes_the_place(self, work: Persist) -> StateMachine:
        self._on_install()
        return self._receiver.install(work)

    async def _install(self) -> None:
        async with self.checkpoint.alone():
            self._installed = self._loop.create_future()
            self._replica.go_on()
            await self._installed

    def _has_installed(self, sequence: int) -> None:
        if self._installed is not None and not self._installed.done():
            self._installed.set_result(None)
