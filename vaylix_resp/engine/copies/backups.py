"""Logical backups of the live server: BACKUP TO, VERIFY, CHECK, RESTORE. A child does the work, the loop waits.

Promises: one at a time; a backup is the state at one sequence, whatever is written meanwhile; a restore replaces
everything by one entry after the whole backup has been read and found right, or changes nothing. Restored keys get new
versions, greater than any they had, so a compare-and-set from before a restore never succeeds by accident.
Not here: the files (`storage.copies.backup_file`), the child's side (`backup_child`), replies in words
(`commands.backup`).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict
from typing import Any, Final

import msgpack

from ...clock import Clock
from ...commands.ports import Later
from ...config import Settings
from ...errors import CommandError, told
from ...limits import VALUE_BYTES_MAX
from ...observability.logs import get_log
from ...state.machine import StateMachine
from ...storage.copies.backup_sidecar import Sidecar, check_name, file_path, list_backups, read_sidecar, sidecar_path
from ...storage.disk import Disk
from ...storage.errors import StorageError
from ...storage.sealing import Keys
from ..checkpoint import Checkpoint
from ..children import ChildFailed, Children
from ..keys import SealedKeys
from ..publication import Publications
from .backup_child import SUBCOMMAND
from .online_backup import backup_directory

log = get_log("backup")

BUSY: Final = "BUSY another backup is being made, checked or restored; try again when it has ended"
UNSEALED: Final = (
    "ERR this backup is in the clear, while the data of this server is sealed: anybody may have written it; "
    "repeat with PLAIN to restore it all the same"
)


class Backups:
    """One per server. `keys` are those of its files."""

    def __init__(
        self, disk: Disk, root: str, settings: Settings, checkpoint: Checkpoint, children: Children, clock: Clock,
        machine: StateMachine, keys: Keys, publications: Publications,
    ) -> None:  # fmt: skip
        self.running = ""  # what is being done: to, verify, check, restore
        self.progress = 0.0
        self.count = 0  # backups made since the start
        self.last_error = ""
        self._disk, self._root, self._settings = disk, root, settings
        self._checkpoint, self._children, self._clock, self._machine = checkpoint, children, clock, machine
        self._publications, self._keys = publications, keys
        self._task: asyncio.Task[None] | None = None

    @property
    def directory(self) -> str:
        """Where the backups are, without links on the way, so that what is checked is what is used."""
        return self._disk.resolve(backup_directory(self._settings, self._root))

    @property
    def _seals(self) -> bool:
        return isinstance(self._keys, SealedKeys) and self._keys.seals

    def files(self, others: Iterable[bytes] = ()) -> Later:
        """`others`, and the absolute paths of the files and sidecars of all complete backups."""
        return _read(lambda: [*others, *self._files()])

    def names(self) -> Later:
        """A map for each name, complete or not."""
        return _read(self._names)

    def _files(self) -> list[bytes]:
        directory = self.directory
        whole = [one.name for one in list_backups(self._disk, directory) if one.sidecar is not None]
        files = [file_path(directory, name) for name in whole]
        return [os.fsencode(path) for file in files for path in (file, sidecar_path(file))]

    def _names(self) -> list[dict[bytes, Any]]:
        return [
            {b"name": one.name.encode(), b"status": b"incomplete or damaged", b"problem": one.problem.encode()}
            if one.sidecar is None
            else {**shown(asdict(one.sidecar)), b"name": one.name.encode(), b"status": b"complete"}
            for one in list_backups(self._disk, self.directory)
        ]

    def to(self, name: str, *, plain: bool) -> Later:
        """Make a backup of what has been acknowledged by now; its map when it is durable."""
        return self._begin("to", name, lambda: self._to(name, plain))

    def verify(self, name: str) -> Later:
        """Read every byte of a backup and compare all digests; its map."""
        return self._begin("verify", name, lambda: self._verify(name))

    def check(self, name: str) -> Later:
        """A dry run of `restore`: verify, whether it would fit, and what would change."""
        return self._begin("check", name, lambda: self._check(name))

    def restore(self, name: str, *, plain: bool) -> Later:
        """Replace all databases by what the backup holds. `plain`: even if it is in the clear and our data is not."""
        return self._begin("restore", name, lambda: self._restore(name, plain))

    async def close(self) -> None:
        """For the end of the server, after `Children.cancel`: wait until it is over."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _begin(self, verb: str, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Later:
        try:
            check_name(name)
        except StorageError as refused:
            raise CommandError(f"ERR {refused}") from refused
        if self.running:
            raise CommandError(BUSY)
        later = Later()
        self.running, self.progress = verb, 0.0
        self._task = asyncio.get_running_loop().create_task(self._run(verb, name, work, later))
        return later

    async def _run(self, verb: str, name: str, work: Callable[[], Coroutine[Any, Any, Any]], later: Later) -> None:
        reply: Any = CommandError("ERR the backup was cancelled")
        began = self._clock.now()
        try:
            reply = await work()
            log.notice(f"BACKUP {verb.upper()} of {name} has ended", seconds=round(self._clock.now() - began, 3))
        except CommandError as refused:
            reply = CommandError(refused.text)  # without the traceback, which leads here
        except Exception as failure:
            reply = CommandError(f"ERR {told(failure)}")
        finally:
            self.last_error = reply.text if isinstance(reply, CommandError) else ""
            if self.last_error:
                log.warning(f"BACKUP {verb.upper()} of {name} has failed: {self.last_error}")
            self.running, self._task = "", None
            later.resolve(reply)

    async def _to(self, name: str, plain: bool) -> dict[bytes, Any]:
        async with self._checkpoint.reading() as sequence:
            end = await self._ask({
                "verb": "create", "sequence": sequence, "plain": plain, "name": name,
                "throttle": self._settings.snapshot_throttle,
            })  # fmt: skip
        self.count += 1
        return shown(end["backup"])

    async def _verify(self, name: str) -> dict[bytes, Any]:
        return shown((await self._ask({"verb": "verify", "name": name}))["backup"])

    async def _check(self, name: str) -> dict[bytes, Any]:
        end = await self._ask({"verb": "verify", "name": name})
        backup = end["backup"]
        problems = self._problems(end["databases_used"], end["largest_value"], backup["sealed"])
        databases = self._machine.world.databases
        return {
            **shown(backup), b"fits": int(not problems), b"problems": [problem.encode() for problem in problems],
            b"keys_now": sum(len(db.items) for db in databases), b"keys_then": backup["keys"] - end["expired"],
            b"expired": end["expired"],
        }  # fmt: skip

    def _problems(self, databases_used: int, largest_value: int, sealed: bool) -> list[str]:
        have = len(self._machine.world.databases)
        found = []
        if databases_used > have:
            found.append(f"it has keys in database {databases_used - 1}, `databases` is {have}")
        if largest_value > VALUE_BYTES_MAX:
            found.append(f"it has a value of {largest_value} bytes, {VALUE_BYTES_MAX} are allowed")
        if not sealed and self._seals:
            found.append("it is in the clear, while the data of this server is sealed: RESTORE asks for PLAIN")
        return found

    async def _restore(self, name: str, plain: bool) -> dict[bytes, Any]:
        loop = asyncio.get_running_loop()
        sidecar = await loop.run_in_executor(
            None, lambda: read_sidecar(self._disk, file_path(self.directory, name))
        )  # fmt: skip
        self._refuse_misfit(sidecar, plain)
        publication = self._publications.begin()

        async def take(message: dict[str, Any], raw: bytes) -> None:
            await publication.stage(message["db"], [tuple(row) for row in msgpack.unpackb(raw, raw=False)])

        try:
            end = await self._ask({"verb": "rows", "name": name}, take)
            backup = end["backup"]
            if backup["sha256"] != sidecar.sha256:
                raise CommandError(f"ERR the backup {name} has been replaced while it was read; nothing has changed")
            published = await publication.publish("replace")
        except BaseException:
            await publication.discard()
            raise
        log.notice(f"restored {published} keys from the backup {name}", of_sequence=backup["sequence"])
        return shown(backup)

    def _refuse_misfit(self, sidecar: Sidecar, plain: bool) -> None:
        if not sidecar.sealed and self._seals and not plain:
            raise CommandError(UNSEALED)
        used = max((int(db) for db in sidecar.counts), default=-1) + 1
        problems = self._problems(used, 0, sealed=True)
        if problems:
            raise CommandError(f"ERR the backup does not fit: {problems[0]}")

    async def _ask(
        self, request: dict[str, Any], take: Callable[[dict[str, Any], bytes], Any] | None = None
    ) -> dict[str, Any]:
        """Run the child; its last message."""
        loop = asyncio.get_running_loop()
        directory = await loop.run_in_executor(None, lambda: self.directory)
        request |= {"directory": directory, "now_ms": self._clock.wall_ms()}
        end = await self._children.run(
            [SUBCOMMAND, "--dir", self._root], self._progressed, take, request=json.dumps(request).encode()
        )
        if "backup" not in end:
            raise ChildFailed("the child process ended without a result")
        return end

    def _progressed(self, message: dict[str, Any]) -> None:
        self.progress = message.get("progress", self.progress)


def _read(job: Callable[[], Any]) -> Later:
    """On a thread: a thousand sidecars take a third of a second, and a share that hangs takes for ever."""
    later = Later()

    def ended(work: asyncio.Future[Any]) -> None:
        failure = None if work.cancelled() else work.exception()
        if isinstance(failure, Exception):
            later.resolve(CommandError(f"ERR {told(failure)}"))
        elif not work.cancelled():
            later.resolve(work.result())

    asyncio.get_running_loop().run_in_executor(None, job).add_done_callback(ended)
    return later


def shown(backup: dict[str, Any]) -> dict[bytes, Any]:
    """What clients are told of a backup."""
    return {
        b"name": backup["name"].encode(), b"sequence": backup["sequence"], b"time_ms": backup["time_ms"],
        b"keys": backup["keys"], b"bytes": backup["bytes"], b"sealed": int(backup["sealed"]),
        b"sha256": backup["sha256"].encode(), b"digest": backup["state_digest"].encode(),
        b"keys_digest": backup["keys_digest"].encode(),
    }  # fmt: skip
