"""Snapshots from the log: when to make one, the child process that makes it, and what may be deleted afterwards.

The server only seals a segment; a child runs the recovery code over the last snapshot and the sealed segments and
writes the next snapshot. Every snapshot is thereby proof that the log can be replayed.
Promises: one at a time; a snapshot that fails or is cancelled leaves no trace but a file that the next start removes,
and mostly not even that; segments go only when the manifest names the snapshot that covers them, and what a restore in
the window of `wanted` needs stays.
Not here: the file's format (`storage.snapshot`), the child's side (`snapshot_child`), what stays (`retention`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from ..clock import Clock
from ..commands.ports import Later
from ..errors import CommandError, Refused, told
from ..observability.logs import get_log
from ..resp.reply import OK
from ..state.digest import digest_hex
from ..storage.errors import StorageError, WalFailed
from ..storage.manifest import CleanStop, SnapshotInfo, read_manifest
from ..storage.snapshot import snapshot_path, temporary_path
from ..storage.store import Store
from .children import Children, unwatched
from .group_commit import GroupCommit
from .history.retention import Plan, Wanted, plan
from .node import Engine
from .snapshot_child import digest_arguments, snapshot_arguments

T = TypeVar("T")
log = get_log("snapshot")

ALONE_PERIOD_S = 0.01  # between two looks at whether somebody still reads
COMMIT_S = 10.0  # for the others to confirm the end of the log; without a quorum they never do
TRIED_AGAIN = "it is tried again; see to the permissions and the disk of the data directory"
IN_PROGRESS = "ERR Background save already in progress"


class Uncommitted(Refused):
    """The log ends with batches that another leader may yet cut."""


class Checkpoint:
    """Starts, watches and publishes snapshots of one node. Times are wall-clock seconds unless named otherwise."""

    def __init__(
        self, store: Store, node: Engine[Any], commit: GroupCommit, clock: Clock, databases: int, children: Children
    ) -> None:
        self.running = False
        self.started_s: float | None = None  # monotonic
        self.last_ok = True
        self.last_error = ""
        self.last_duration_s: float | None = None
        self.count = 0
        self.progress = 0.0
        self.throttle_bytes = 0  # per second; 0: none
        self.wanted = Wanted()  # what is kept for restores
        self.needed_from: list[Callable[[], int | None]] = []  # first sequence of the log that others still need
        self.shortened = False  # the window is shorter than asked for, because of its size
        newest = store.manifest.newest
        self.sequence = newest.sequence if newest else 0
        self.last_save_unix = (newest.timestamp_ms if newest else store.manifest.created_ms) // 1000
        behind = sum(segment.size for segment in store.wal.segments() if segment.first > self.sequence)
        self._covered_bytes = -behind  # of the log as counted by `appended_bytes`; what a restart found behind counts
        self._store, self._node, self._commit, self._clock = store, node, commit, clock
        self._databases = databases
        self._children = children
        self._readers = 0  # children that read the directory now: nothing is deleted under them
        self._alone = False  # somebody wants to be, or is, alone with all files
        self._stale = False  # a snapshot has been published since files were last deleted
        self._files = asyncio.Lock()  # whoever writes the manifest or deletes files is alone with that
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_end: Callable[[bool, str], None] = _unheard
        self.on_shortened: Callable[[str], None] = log.warning

    @property
    def changes_since(self) -> int:
        """Entries behind the newest snapshot."""
        return self._node.applied - self.sequence

    @property
    def readers(self) -> int:
        """How many children read the directory now, one that makes a snapshot among them."""
        return self._readers

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

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # one that nobody refers to may be collected before it ends
        task.add_done_callback(self._tasks.discard)
        return task

    def retention(self) -> Plan:
        """What stays as of now."""
        return self._plan(self._store.manifest.snapshots)

    async def tidy(self) -> None:
        """Let go of what the window has left behind. Raises IoFailed."""
        if self._files.locked() or self._readers or self._node.failure is not None:
            return
        found, store = self.retention(), self._store
        sealed = store.wal.segments()[:-1]
        if found.snapshots == store.manifest.snapshots and not (sealed and sealed[0].last <= found.prune_to):
            return
        # A task of its own: whoever is cancelled while waiting for it must not let others at the files before its end.
        await asyncio.shield(self._begin(self._let_go()))

    async def _let_go(self) -> None:
        async with self._files:
            await asyncio.get_running_loop().run_in_executor(None, self._store.retain, self._kept)
            self._stale = True
        await self._prune()

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

        Raises DiskFull or WalFailed when the log cannot be sealed.
        """
        while self._alone:
            await asyncio.sleep(ALONE_PERIOD_S)
        self._readers += 1
        try:
            yield await self._between(self._seal)
        finally:
            self._readers -= 1
            try:
                await self._prune()
            except Refused as failure:  # what has been done here is done, and nobody may be told otherwise
                self._stale = True  # the next one tries again
                log.warning(f"old snapshots and segments could not be deleted: {failure}; {TRIED_AGAIN}")

    @contextlib.contextmanager
    def holding(self, sequence: int) -> Iterator[None]:
        """Until the end of the block no file goes, and the log stays from `sequence` on: somebody is sent both.

        Within `pitr-size-max` and its like: what they do not allow goes once the block has ended."""
        need = [sequence]
        self._readers += 1
        self.needed_from.append(wanted := lambda: need[0])
        try:
            yield
        finally:
            self._readers -= 1
            self.needed_from.remove(wanted)
            self._stale = True  # the next one to publish or to tidy deletes what has become free

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody reads the directory or writes the manifest until the end of the block: a snapshot from elsewhere takes
        the place of everything."""
        self._alone = True  # those who read now may need the manifest before they are done, so they go first
        try:
            while self._readers:
                await asyncio.sleep(ALONE_PERIOD_S)
            async with self._files:
                yield
                newest = self._store.manifest.newest
                self.sequence = newest.sequence if newest else 0
                self._covered_bytes = self._store.wal.appended_bytes
                self._stale = True
        finally:
            self._alone = False

    async def _compare(self, ended: Later) -> None:
        def seal_and_digest() -> tuple[int, str]:
            return self._seal(), digest_hex(self._node.machine)

        reply: Any = CommandError("ERR the comparison was cancelled")
        try:
            async with self.reading():
                sequence, live = await self._between(seal_and_digest)
                message = await self._children.run(
                    digest_arguments(self._store.root, sequence, self._databases), unwatched
                )
            found = message["digest"]
            text = f"ERR the state in memory ({live}) differs from the one on disk ({found})"
            reply = OK if found == live else CommandError(text)
        except Exception as failure:
            reply = CommandError(f"ERR the state could not be rebuilt: {told(failure)}")
        finally:
            ended.resolve(reply)

    async def _run(self, ended: Later) -> None:
        reply: Any = CommandError("ERR snapshot cancelled")
        try:
            async with self.reading() as sequence:
                await self._make(sequence)
            reply = OK
        except Exception as failure:
            reply = CommandError(f"ERR snapshot failed: {told(failure)}")
        finally:
            self.last_ok = reply is OK
            self.last_error = "" if reply is OK else reply.text
            self.last_duration_s = self._clock.now() - (self.started_s or 0.0)
            self._node.stages.late("snapshot", self.last_duration_s)
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
        arguments = snapshot_arguments(store.root, sequence, self._databases, self.throttle_bytes)
        while True:
            changes = store.wal.changes
            try:
                message = await self._children.run(arguments, self._progressed)
                info = SnapshotInfo(**message["snapshot"])
                break
            except Exception:
                # Its room may be what the log needs; and failures could come again and again.
                await loop.run_in_executor(None, self._remove, temporary_path(store.root, sequence))
                if store.wal.changes == changes:
                    raise
            # The uncommitted end of the log was cut under its eyes; what it is to read is there under another name.
        async with self._files:  # they are made durable off the loop
            try:
                await loop.run_in_executor(None, lambda: store.publish_snapshot(info, keep=self._kept))
            except Exception:
                await loop.run_in_executor(None, self._take_back, info)
                raise
            self._stale = True

    async def _prune(self) -> None:
        """Delete what is not needed any more, if there is such and nobody reads."""
        async with self._files:
            if self._stale and not self._readers:
                prune_to = self.retention().prune_to
                await asyncio.get_running_loop().run_in_executor(None, self._store.prune, prune_to)
                self._stale = False

    def _kept(self, snapshots: tuple[SnapshotInfo, ...]) -> tuple[SnapshotInfo, ...]:
        """Those of the snapshots that the manifest goes on naming. Called on a thread."""
        found = self._plan(snapshots)
        if found.shortened and not self.shortened:
            seconds = found.window_ms(self._clock.wall_ms()) // 1000
            self.on_shortened(
                f"pitr-size-max does not allow the whole pitr-window: any moment of the last {seconds} s can be "
                f"restored instead of {self.wanted.window_ms // 1000} s; set a larger pitr-size-max to keep more"
            )
        self.shortened = found.shortened
        return found.snapshots

    def _plan(self, snapshots: tuple[SnapshotInfo, ...]) -> Plan:
        store = self._store
        return plan(
            snapshots, store.wal.segments(), self.wanted, self._clock.wall_ms(), store.manifest.created_ms,
            [need() for need in self.needed_from],
        )  # fmt: skip

    def _progressed(self, message: dict[str, Any]) -> None:
        self.progress = message.get("progress", self.progress)

    def _take_back(self, info: SnapshotInfo) -> None:
        """Remove a snapshot that could not be published, for the same reason; not if a manifest names it."""
        store = self._store
        with contextlib.suppress(StorageError):
            manifest = read_manifest(store.disk, store.root)
            if manifest is not None and info.file not in [known.file for known in manifest.snapshots]:
                self._remove(temporary_path(store.root, info.sequence))
                self._remove(snapshot_path(store.root, info.sequence))

    def _remove(self, path: str) -> None:
        with contextlib.suppress(OSError):  # the failure that led here is what matters
            if self._store.disk.exists(path):
                self._store.disk.unlink(path)

    def _seal(self) -> int:
        """Between batches: seal the log; the last sequence in it that is known to be committed, for a moment at least.

        Alone that is where the log ends; in a cluster more may be behind it."""
        self._node.wal.rotate()
        return self._node.applied

    async def renew_log(self) -> None:
        """Go on in a new segment, with a new key, also if nothing has been written since the last one."""
        await self._between(lambda: self._node.wal.rotate(empty_too=True))

    async def rotate_log(self) -> None:
        """Seal the log, whether or not all of it is committed."""
        await self._between(self._seal)

    async def seal_log(self) -> CleanStop:
        """Seal the log; where it ended at that moment, as a manifest says it, once all up to there is committed.

        Raises Uncommitted after a while, and DiskFull or WalFailed when the log cannot be sealed."""
        wal, give_up = self._node.wal, self._clock.now() + COMMIT_S

        def seal_and_look() -> tuple[int, CleanStop]:
            self._seal()
            return wal.changes, CleanStop(wal.last, wal.tag.hex(), wal.timestamp_ms)

        changes, end = await self._between(seal_and_look)
        while self._node.applied < end.sequence or wal.changes != changes:
            if wal.changes != changes:  # what was there has been cut: another leader had other batches
                changes, end = await self._between(seal_and_look)
            elif self._clock.now() >= give_up:
                raise Uncommitted(f"the other nodes have not confirmed sequence {end.sequence} within {COMMIT_S:.0f} s")
            else:
                await asyncio.sleep(ALONE_PERIOD_S)
        return end

    async def _between(self, job: Callable[[], T]) -> T:
        """Run a job when no batch is in flight; what it returns."""
        ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def run() -> None:
            if ended.done():
                return  # whoever asked has been cancelled; an error raised here would stop the log
            try:
                ended.set_result(job())
            except Exception as failure:
                ended.set_exception(failure)
                if isinstance(failure, WalFailed):
                    self._node.log_failed(str(failure))
                    self._node.halt_if_asked()

        self._commit.between_batches(run)
        return await ended


def _unheard(ok: bool, error: str) -> None:
    """Until `app` listens; INFO shows the outcome all the same."""
