"""Snapshots from the log: when to make one, the child process that makes it, and what may be deleted afterwards.

The server only seals a segment; a child runs the recovery code over the last snapshot and the sealed segments and
writes the next snapshot. Every snapshot is thereby proof that the log can be replayed.
Promises: one at a time; a snapshot that fails or is cancelled leaves no trace but a file that the next start removes,
and mostly not even that; segments go only when the manifest names the snapshot that covers them.
Not here: the file's format (`storage.snapshot`), the child's side (`snapshot_child`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from ..clock import Clock
from ..commands.ports import Later
from ..errors import CommandError, Refused
from ..resp.reply import OK
from ..state.digest import digest_hex
from ..storage.errors import WalFailed
from ..storage.manifest import SnapshotInfo
from ..storage.snapshot import temporary_path
from ..storage.store import Store
from .children import ChildFailed, Children
from .group_commit import GroupCommit
from .node import Node
from .snapshot_child import digest_arguments, snapshot_arguments

T = TypeVar("T")

IN_PROGRESS = "ERR Background save already in progress"


class Checkpoint:
    """Starts, watches and publishes snapshots of one node. Times are wall-clock seconds unless named otherwise."""

    def __init__(
        self, store: Store, node: Node, commit: GroupCommit, clock: Clock, databases: int, children: Children
    ) -> None:
        self.running = False
        self.started_s: float | None = None  # monotonic
        self.last_ok = True
        self.last_error = ""
        self.last_duration_s: float | None = None
        self.count = 0
        self.progress = 0.0
        self.throttle_bytes = 0  # per second; 0: none
        newest = store.manifest.newest
        self.sequence = newest.sequence if newest else 0
        self.last_save_unix = (newest.timestamp_ms if newest else store.manifest.created_ms) // 1000
        behind = sum(segment.size for segment in store.wal.segments() if segment.first > self.sequence)
        self._covered_bytes = -behind  # of the log as counted by `appended_bytes`; what a restart found behind counts
        self._store, self._node, self._commit, self._clock = store, node, commit, clock
        self._databases = databases
        self._children = children
        self._readers = 0  # children that read the directory now: nothing is deleted under them
        self._stale = False  # a snapshot has been published since files were last deleted
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_end: Callable[[bool, str], None] = _unheard

    @property
    def changes_since(self) -> int:
        """Entries behind the newest snapshot."""
        return self._node.applied - self.sequence

    @property
    def log_bytes_since(self) -> int:
        """How much log a start would have to replay, about: what has been written since the last snapshot began."""
        return self._store.wal.appended_bytes - self._covered_bytes

    def start(self) -> Later | CommandError:
        """Begin a snapshot of what has been applied so far; the Later gets OK or a CommandError. One at a time."""
        if self.running:
            return CommandError(IN_PROGRESS)
        if self._node.failure is not None:
            return CommandError(f"MISCONF no snapshot while the log is stopped: {self._node.failure}")
        self.running = True
        self.progress = 0.0
        self.started_s = self._clock.now()
        ended = Later(timeout_reply=OK)
        self._begin(self._run(ended))
        return ended

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # one that nobody refers to may be collected before it ends
        task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        """For the end of the server: stop snapshot and comparison and wait until their processes are gone."""
        self._children.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def rebuild_and_compare(self) -> Later:
        """Rebuild the state from disk in a child; OK if its digest is that of the live state at the same sequence."""
        ended = Later()
        self._begin(self._compare(ended))
        return ended

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[int]:
        """Seal the log; the sequence at which it ends. Until the end of the block no file goes that a child may read.

        Raises DiskFull or WalFailed when the log cannot be sealed, IoFailed when old files cannot be deleted.
        """
        self._readers += 1
        try:
            yield await self._between(self._seal)
        finally:
            self._readers -= 1
            if self._stale and not self._readers:
                self._stale = False
                await asyncio.get_running_loop().run_in_executor(None, self._store.prune)

    async def _compare(self, ended: Later) -> None:
        def seal_and_digest() -> tuple[int, str]:
            return self._seal(), digest_hex(self._node.machine)

        reply: Any = CommandError("ERR the comparison was cancelled")
        try:
            async with self.reading():
                sequence, live = await self._between(seal_and_digest)
                message = await self._children.run(
                    digest_arguments(self._store.root, sequence, self._databases), _nothing
                )
            found = message["digest"]
            text = f"ERR the state in memory ({live}) differs from the one on disk ({found})"
            reply = OK if found == live else CommandError(text)
        except Exception as failure:
            reply = CommandError(f"ERR the state could not be rebuilt: {_told(failure)}")
        finally:
            ended.resolve(reply)

    async def _run(self, ended: Later) -> None:
        reply: Any = CommandError("ERR snapshot cancelled")
        try:
            async with self.reading() as sequence:
                await self._make(sequence)
            reply = OK
        except Exception as failure:
            reply = CommandError(f"ERR snapshot failed: {_told(failure)}")
        finally:
            self.last_ok = reply is OK
            self.last_error = "" if reply is OK else reply.text
            self.last_duration_s = self._clock.now() - (self.started_s or 0.0)
            self.running = False
            self.started_s = None
            self.on_end(self.last_ok, self.last_error)
            ended.resolve(reply)

    async def _make(self, sequence: int) -> None:
        covered = self._store.wal.appended_bytes
        newest = self._store.manifest.newest
        if newest is None or newest.sequence < sequence:  # else nothing has been written since
            await self._write(sequence)
        self.sequence = sequence
        self.last_save_unix = self._clock.wall_ms() // 1000
        self._covered_bytes = covered
        self.count += 1
        self.progress = 1.0

    async def _write(self, sequence: int) -> None:
        loop, store = asyncio.get_running_loop(), self._store
        try:
            message = await self._children.run(
                snapshot_arguments(store.root, sequence, self._databases, self.throttle_bytes), self._progressed
            )
            info = SnapshotInfo(**message["snapshot"])
        except Exception:
            # Its room may be what the log needs; and failures could come again and again.
            await loop.run_in_executor(None, self._remove, temporary_path(store.root, sequence))
            raise
        # Files are made durable off the loop; while that runs nobody else touches the manifest.
        await loop.run_in_executor(None, store.publish_snapshot, info)
        self._stale = True

    def _progressed(self, message: dict[str, Any]) -> None:
        self.progress = message.get("progress", self.progress)

    def _remove(self, path: str) -> None:
        with contextlib.suppress(OSError):  # the failure that led here is what matters
            if self._store.disk.exists(path):
                self._store.disk.unlink(path)

    def _seal(self) -> int:
        """Between batches: seal the log; the sequence at which it now ends. (A moment later it may go on.)"""
        self._node.wal.rotate()
        return self._node.wal.last

    async def _between(self, job: Callable[[], T]) -> T:
        """Run a job when no batch is in flight; what it returns."""
        ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def run() -> None:
            try:
                ended.set_result(job())
            except Exception as failure:
                ended.set_exception(failure)
                if isinstance(failure, WalFailed):
                    self._node.log_failed(str(failure))
                    self._node.halt_if_asked()

        self._commit.between_batches(run)
        return await ended


def _told(failure: Exception) -> str:
    """What was foreseen says itself what it is."""
    return str(failure) if isinstance(failure, Refused | OSError | ChildFailed) else repr(failure)


def _nothing(message: dict[str, Any]) -> None:
    """Nobody watches a comparison."""


def _unheard(ok: bool, error: str) -> None:
    """Until `app` listens; INFO shows the outcome all the same."""
