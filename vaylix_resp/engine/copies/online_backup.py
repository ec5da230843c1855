"""The online backup: a copy of the data directory that grows with the log until it is sealed. BACKUP START to CLEANUP.

    idle --START--> [pending] -> snapshotting -> incrementing --SEAL--> sealed --CLEANUP--> idle
                        \\____________\\_____________\\---ABORT or a failure---> failed --CLEANUP or START-->

START makes a fresh snapshot and links it and every segment that is sealed behind it; SEAL seals the log, links its
last segment and writes keyring and manifest. The directory then is a data directory that ends at the seal. Redis's
states and texts (8.10), because its tools wait for them.
Promises: what is not sealed has no manifest, so no server starts on it; the log does not lose a segment that the
backup still lacks; a failure of the backup is never one of the server.
Units: seconds since the epoch in STATUS. Not here: the files (`storage.copies.data_copy`), replies (`commands.backup`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from ...clock import Clock
from ...commands.ports import Later
from ...config import Settings
from ...errors import CommandError, Refused, told
from ...observability.logs import get_log
from ...resp.reply import OK, Reply
from ...storage.active import Segment
from ...storage.copies.backup_sidecar import BackupRefused, check_place
from ...storage.copies.data_copy import DataCopy, InUse, Note, missing_behind, sealed_behind
from ...storage.disk import join
from ...storage.manifest import CleanStop, SnapshotInfo
from ...storage.snapshot import snapshot_path
from ...storage.store import Store
from ..checkpoint import Checkpoint
from ..node import Engine

log = get_log("backup")
T = TypeVar("T")

FOLLOW_S: Final = 1.0  # how often new segments are looked for; until they are linked the log keeps them
PENDING_S: Final = 0.1
DIRECTORY_DEFAULT: Final = "backups"

IN_PROGRESS: Final = "ERR A backup is already in progress, ABORT it first"
SEALED_EXISTS: Final = "ERR A sealed backup exists, CLEANUP it first"
BEING_REMOVED: Final = "ERR The last backup is still being removed, try again"
NOT_EMPTY: Final = "ERR Backup directory '{}' is not empty: run BACKUP CLEANUP, or move away what is in it"
NO_NAME: Final = "ERR backupdirname '{}' is not a plain name: no slash, and neither '.' nor '..'"
NOT_READY: Final = "ERR No backup ready to seal (must be in the incrementing state)"
NONE_IN_PROGRESS: Final = "ERR No backup in progress"
STILL_RUNNING: Final = "ERR Backup is in progress, ABORT it first"
ABORTED: Final = "aborted by user"
RESTARTED: Final = "the server was restarted before BACKUP SEAL"


class State(StrEnum):
    IDLE = "idle"
    PENDING = "pending"  # another snapshot is being made; ours comes next
    SNAPSHOTTING = "snapshotting"
    INCREMENTING = "incrementing"
    SEALED = "sealed"
    FAILED = "failed"


RUNNING: Final = frozenset({State.PENDING, State.SNAPSHOTTING, State.INCREMENTING})


class BackupFailed(Refused):
    """The backup cannot go on; the text is what STATUS says."""


def backup_directory(settings: Settings, root: str) -> str:
    """Where backups go: `backup-dir`, or a directory in the data directory."""
    return os.path.abspath(settings.backup_dir) if settings.backup_dir else join(root, DIRECTORY_DEFAULT)


class OnlineBackup:
    """One per server. `export_keyring` gives the content of keyring.json, None for a store in the clear."""

    def __init__(
        self, store: Store, node: Engine[Any], checkpoint: Checkpoint, clock: Clock, settings: Settings,
        export_keyring: Callable[[], bytes | None] = lambda: None,
    ) -> None:  # fmt: skip
        self._store, self._node, self._checkpoint = store, node, checkpoint
        self._clock, self._settings, self._export_keyring = clock, settings, export_keyring
        self.state = State.IDLE
        self.error = ""
        self.start_time = self.end_time = 0
        self._kept_from = 0  # when a removal by backup-sealed-ttl was last tried in vain
        self._copy: DataCopy | None = None
        self._base: SnapshotInfo | None = None
        self._linked: list[Segment] = []
        self._needed: int | None = None
        self._task: asyncio.Task[None] | None = None  # START's, until the base is linked
        self._jobs: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # who changes the directory
        self._find_leftover()

    @property
    def in_progress(self) -> bool:
        """Begun, and neither sealed nor failed: its snapshot may need a key that no other file needs."""
        return self.state in RUNNING

    def needed_from(self) -> int | None:
        """The first sequence of the log that the backup still lacks; None when it lacks nothing."""
        return self._needed if self.in_progress else None

    # The verbs

    def start(self) -> Reply:
        """Begin a backup; OK at once, STATUS tells how it goes on."""
        if self.in_progress:
            raise CommandError(IN_PROGRESS)
        if self.state is State.SEALED:
            raise CommandError(SEALED_EXISTS)
        if self._jobs or self._turn.locked():
            raise CommandError(BEING_REMOVED)
        if self._node.failure is not None:
            raise CommandError(f"MISCONF no backup while the log is stopped: {self._node.failure}")
        copy = self._empty_copy()
        self._copy, self._base, self._linked = copy, None, []
        self._needed = self._node.wal.last + 1  # the snapshot will be of this place or a later one
        self.state = State.PENDING if self._checkpoint.running else State.SNAPSHOTTING
        self.error, self.start_time, self.end_time = "", self._clock.wall_ms() // 1000, 0
        self._task = self._begin(self._take(copy))
        return OK

    def status(self) -> dict[bytes, Reply]:
        return {
            b"state": self.state.value.encode(), b"error": self.error.encode("utf-8", "replace"),
            b"start_time": self.start_time, b"end_time": self.end_time,
        }  # fmt: skip

    def list(self) -> Sequence[Reply]:
        """Absolute paths of the files that are there for good so far."""
        return [path.encode("utf-8", "surrogateescape") for path in (self._copy.files if self._copy else ())]

    def seal(self) -> Reply:
        """Complete the backup at the present end of the log; OK when all of it is durable."""
        if self.state is not State.INCREMENTING:
            raise CommandError(NOT_READY)
        return self._later(self._seal)

    def abort(self) -> Reply:
        """Give up what is not sealed; OK when its files are gone."""
        if not self.in_progress:
            raise CommandError(NONE_IN_PROGRESS)
        self._failed(ABORTED)
        if self._task is not None:
            self._task.cancel()  # now: it must not take another step
        return self._later(self._remove_failed)

    def cleanup(self) -> Reply:
        """Delete the files of a sealed or failed backup."""
        if self.in_progress:
            raise CommandError(STILL_RUNNING)
        if self.state is State.IDLE:
            return OK
        return self._later(self._clean)

    # In the background

    async def run(self) -> None:
        """Link segments as they are sealed, and remove a sealed backup when its time is over. Until cancelled."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            if self.state is State.INCREMENTING:
                await self._follow()
            elif self.state is State.SEALED and 0 < self._settings.backup_sealed_ttl <= self._sealed_for():
                reply = await self._clean()
                if isinstance(reply, CommandError):
                    log.warning(f"the sealed backup is over its time, but stays: {reply.text}")
                    self._kept_from = self._clock.wall_ms() // 1000  # not again before another such time
                else:
                    log.notice("the sealed backup has been removed: backup-sealed-ttl is over")

    async def close(self) -> None:
        """The server stops: what is not sealed stays as it is, and the next start calls it failed."""
        for task in self._jobs:
            task.cancel()
        if self._jobs:
            await asyncio.wait(self._jobs)

    def _sealed_for(self) -> int:
        return self._clock.wall_ms() // 1000 - max(self.end_time, self._kept_from)

    async def _take(self, copy: DataCopy) -> None:
        """START's work: snapshot, links, and from then on `_follow`."""
        try:
            await self._on_disk(copy.begin, Note(self.start_time))
            await self._snapshot()
            async with self._turn, self._checkpoint.reading():
                await self._on_disk(self._pin_base, copy)
            self.state = State.INCREMENTING
            log.notice("the backup follows the log now; BACKUP SEAL completes it", directory=copy.directory)
        except Exception as failure:
            self._failed(told(failure))
            await self._remove_failed()

    async def _snapshot(self) -> None:
        """A fresh one. One at a time: another that is being made goes first."""
        while self._checkpoint.running:
            self.state = State.PENDING
            await asyncio.sleep(PENDING_S)
        self.state = State.SNAPSHOTTING
        started = self._checkpoint.start()
        if isinstance(started, CommandError):
            raise BackupFailed(started.text)
        ended: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        started.listen(lambda reply: None if ended.done() else ended.set_result(reply))
        outcome = await ended
        if isinstance(outcome, CommandError):
            raise BackupFailed(outcome.text)

    async def _follow(self) -> None:
        async with self._turn:
            copy = self._copy
            if self.state is not State.INCREMENTING or copy is None:
                return  # ended while we waited
            try:
                await self._on_disk(self._pin_segments, copy)
                return
            except Exception as failure:
                self._failed(told(failure))
        await self._remove_failed()

    async def _seal(self) -> Reply:
        async with self._turn:
            copy = self._copy
            if self.state is not State.INCREMENTING or copy is None:
                return CommandError(NOT_READY)
            try:
                await self._on_disk(self._complete, copy, await self._checkpoint.seal_log())
            except Exception as failure:  # nothing has been promised yet, so SEAL may be tried again
                return CommandError(f"ERR the backup could not be sealed: {told(failure)}")
            if not self.in_progress:
                return CommandError(f"ERR the backup has failed: {self.error}")
            self.state = State.SEALED
            log.notice("the backup is sealed", directory=copy.directory, sequence=self._linked_to())
            return OK

    async def _clean(self) -> Reply:
        async with self._turn:
            if self.state not in (State.SEALED, State.FAILED):
                return OK  # somebody else has cleaned
            reply = await self._remove()
            if reply is OK:
                self.state, self.error, self.start_time, self.end_time = State.IDLE, "", 0, 0
            elif self.state is State.SEALED and not self._is_whole():
                self._failed(reply.text if isinstance(reply, CommandError) else "")
            return reply

    async def _remove_failed(self) -> Reply:
        """After `_failed`: wait for whoever is still at it, then delete. What cannot be deleted is left to CLEANUP."""
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task])
        async with self._turn:
            return await self._remove() if self.state is State.FAILED else OK

    async def _remove(self) -> Reply:
        if self._copy is not None:
            try:
                await self._on_disk(self._copy.remove)
            except (OSError, InUse) as failure:
                return CommandError(f"ERR the backup could not be removed: {failure}")
        return OK

    # On a thread

    def _pin_base(self, copy: DataCopy) -> None:
        """Link the snapshot, and what has been sealed behind it."""
        base = self._store.manifest.newest
        assert base is not None, "a snapshot has just been made"
        copy.add_snapshot(snapshot_path(self._store.root, base.sequence), base.file)
        self._base = base
        self._pin_segments(copy)

    def _pin_segments(self, copy: DataCopy, up_to: int | None = None) -> None:
        committed = self._node.applied if up_to is None else up_to
        for segment in sealed_behind(self._store.wal.segments(), self._linked_to(), committed):
            copy.add_segment(segment)
            self._linked.append(segment)
        self._needed = self._linked_to() + 1

    def _complete(self, copy: DataCopy, end: CleanStop) -> None:
        """Link what is missing; keyring, note, manifest. After this the directory can be started."""
        assert self._base is not None
        self._pin_segments(copy, up_to=end.sequence)
        gap = missing_behind(self._base.sequence, self._linked, end.sequence)
        if gap is not None:
            raise BackupFailed(f"no segment with sequence {gap} could be linked; ABORT this backup and START another")
        end_time = max(self._clock.wall_ms() // 1000, self.start_time)
        # Whoever is started on the copy is no member of the cluster: it lacks what this node has promised since.
        manifest = replace(self._store.manifest, snapshots=(self._base,), clean_stop=end).on_its_own()
        copy.seal(manifest, self._export_keyring(), Note(self.start_time, end_time, end.sequence))
        self.end_time = end_time

    # Odds and ends

    def _linked_to(self) -> int:
        """The sequence up to which the copy has everything."""
        assert self._base is not None
        return self._linked[-1].last if self._linked else self._base.sequence

    def _is_whole(self) -> bool:
        found = self._copy.found() if self._copy else None
        return found is not None and found[1]

    def _failed(self, why: str) -> None:
        if self.in_progress or self.state is State.SEALED:
            self.state, self.error = State.FAILED, why
            log.warning(f"the backup has failed: {why}")

    def _empty_copy(self) -> DataCopy:
        name = self._settings.backupdirname
        if not name or "/" in name or name in (".", ".."):
            raise CommandError(NO_NAME.format(name))
        copy = DataCopy(self._store.disk, join(backup_directory(self._settings, self._store.root), name))
        try:
            check_place(copy.disk, self._store.root, copy.directory)
            if copy.is_occupied():
                raise CommandError(NOT_EMPTY.format(copy.directory))
        except BackupRefused as refused:
            raise CommandError(f"ERR Backup directory {refused}") from refused
        except OSError as cause:
            raise CommandError(f"ERR Backup directory '{copy.directory}': {cause.strerror or cause}") from cause
        return copy

    def _find_leftover(self) -> None:
        """What the process before this one left: a sealed backup is one still, another is failed."""
        name = self._settings.backupdirname
        copy = DataCopy(self._store.disk, join(backup_directory(self._settings, self._store.root), name))
        found = None
        with contextlib.suppress(OSError):  # not readable: START will say so
            found = copy.found()
        if found is None:
            return
        note, sealed = found
        self._copy, self.start_time, self.end_time = copy, note.start_time, note.end_time if sealed else 0
        self.state = State.SEALED if sealed else State.FAILED
        self.error = "" if sealed else RESTARTED

    async def _on_disk(self, job: Callable[..., T], *arguments: Any) -> T:
        """On a thread, to its end: who cancels us removes the files afterwards, not while they are being made."""
        work = asyncio.get_running_loop().run_in_executor(None, job, *arguments)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise

    def _later(self, job: Callable[[], Coroutine[Any, Any, Reply]]) -> Later:
        reply = Later()

        async def answer() -> None:
            outcome: Reply = CommandError("ERR the server is stopping")
            try:
                outcome = await job()
            finally:
                task = asyncio.current_task()
                if task is not None:
                    self._jobs.discard(task)  # done: the reply may be what somebody waits for with the next verb
                reply.resolve(outcome)

        self._begin(answer())
        return reply

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task
