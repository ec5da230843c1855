"""archive-command: each sealed segment and each snapshot is handed to a command of the operator's, in order.

Like PostgreSQL's: %p is the path and %f the name, exit code 0 means that a durable copy has been made, anything else
is tried again with growing pauses, and what has not gone yet is kept. A file may come twice (the answer to a command
can be lost in a crash), so the command has to accept one that it has already.
Promises: one command at a time, off the loop, killed with all its children when the server stops; no file goes before
the keyring that opens it; nothing of the command's text is logged, for it may hold a password.
Units: seconds; times in INFO are seconds since the epoch.
Not here: what goes and in which order (`storage.copies.archive`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Final

from ...clock import Clock
from ...config import Settings
from ...errors import Refused, printable
from ...observability.logs import get_log
from ...storage.copies.archive import (
    DIRECTORY,
    OUTBOX,
    STATE,
    Archived,
    Item,
    Kind,
    decode_state,
    describe,
    encode_state,
    keyring_name,
    sent,
    to_send,
)
from ...storage.copies.data_copy import KEYRING, KEYRING_FILE, sealed_behind
from ...storage.disk import NO_SPACE, join
from ...storage.snapshot import snapshot_path
from ...storage.store import Store

log = get_log("archive")

POLL_S: Final = 0.5
RETRY_S_MIN, RETRY_S_MAX = 1.0, 60.0
COMMAND_S_MAX: Final = 3600.0  # a copy that takes longer hangs: 64 MiB in an hour is 18 KiB a second
KILL_S: Final = 5.0  # between SIGTERM and SIGKILL
ERROR_BYTES_MAX: Final = 2048  # of what a failing command says, its end
_PERCENT: Final = re.compile(r"%(.?)", re.DOTALL)
# The server's own settings, secrets among them, are no business of the command's.
_HIDDEN: Final = "VAYLIX_"


class WrongCommand(Exception):
    """archive-command cannot be run as it is; the text says why."""


def expand(command: str, path: str, name: str) -> str:
    """%p, %f and %% replaced, as words of a shell: a path with blanks or quotes needs none around it."""

    def word(match: re.Match[str]) -> str:
        match match[1]:
            case "p":
                return shlex.quote(path)
            case "f":
                return shlex.quote(name)
            case "%":
                return "%"
            case other:
                raise WrongCommand(
                    f"archive-command: %{other} is not known, only %p (path), %f (file name) and %% (a percent sign)"
                )

    return _PERCENT.sub(word, command)


class Archiver:
    """One per server. `rotate` seals the log's active segment; `committed` is the sequence up to which nothing can be
    cut any more; `keyring` gives its id and the content of keyring.json, None for a store in the clear."""

    def __init__(
        self, store: Store, clock: Clock, settings: Settings, rotate: Callable[[], Awaitable[object]],
        committed: Callable[[], int], keyring: Callable[[], tuple[str, bytes] | None] = lambda: None,
    ) -> None:  # fmt: skip
        self._store, self._clock, self._settings = store, clock, settings
        self._rotate, self._committed, self._keyring = rotate, committed, keyring
        self._directory = join(store.root, DIRECTORY)
        self.archived_count = self.failed_count = 0
        self.last_ok_time = self.last_failed_time = 0
        self.last_file = self.last_error = ""
        self._state = self._read_state()
        self._failures = 0  # one after the other
        self._oldest: tuple[int, float] | None = None  # first sequence of the active segment, and since when
        self._wake = asyncio.Event()
        settings.subscribe("archive-command", lambda _: self._wake.set())

    @property
    def enabled(self) -> bool:
        return bool(self._settings.archive_command)

    @property
    def sequence(self) -> int:
        """Up to where the log is in the archive."""
        return self._account().segments_to if self.enabled else 0

    def needed_from(self) -> int | None:
        """The first sequence of the log that is not in the archive; None when nobody wants one."""
        return self._account().segments_to + 1 if self.enabled else None

    def pending(self) -> list[Item]:
        """What has not gone yet, in order."""
        if not self.enabled:
            return []
        store, committed = self._store, self._committed()
        segments = [
            Item(Kind.SEGMENT, os.path.basename(one.path), one.path, one.first, one.last, one.size)
            for one in sealed_behind(store.wal.segments(), self._account().segments_to, committed)
        ]
        snapshots = [
            Item(Kind.SNAPSHOT, info.file, snapshot_path(store.root, info.sequence), 0, info.sequence, info.bytes)
            for info in store.manifest.snapshots
        ]
        keyring = self._keyring()
        known = (keyring[0], _digest(keyring[1])) if keyring else None
        return to_send(self._account(), segments, snapshots, known)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause_s = await self._turn()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_s)

    async def _turn(self) -> float:
        """Hand over what there is; how long to wait before the next look."""
        no_room: set[str] = set()
        while items := [item for item in self.pending() if item.name not in no_room]:
            self._warn_of_a_gap(items)
            try:
                problem = await self._hand_over(items[0])
            except OSError as failure:
                problem = str(failure)
                if items[0].kind is Kind.MANIFEST and failure.errno in NO_SPACE and len(items) > 1:
                    no_room.add(items[0].name)  # it waits: what goes next may make room on this disk
                    continue
            except (Refused, WrongCommand) as failure:
                problem = str(failure)
            if problem:
                return self._failed(items, problem)
            self._failures = 0
        await self._seal_if_due()
        return RETRY_S_MAX if no_room else POLL_S

    async def _hand_over(self, item: Item) -> str:
        """What went wrong, or "" if it has arrived (or nobody needs it any more)."""
        store, account, command = self._store, self._account(), self._settings.archive_command
        manifest, digest, now_ms, path = store.manifest, "", 0, item.path
        if item.kind is Kind.KEYRING:
            keyring = self._keyring()
            assert keyring is not None, "it was asked for a moment ago"
            # If the file is replaced by a newer one meanwhile, that is handed over as well, under a later name.
            digest, now_ms = _digest(keyring[1]), max(self._clock.wall_ms(), account.keyring_ms + 1)
            item = replace(item, name=keyring_name(keyring[0], now_ms))
            path = join(store.root, KEYRING, KEYRING_FILE)
        elif item.kind is Kind.MANIFEST:
            infos = [info for info in manifest.snapshots if info.sequence == item.last]
            content = describe(manifest, infos[0] if infos else None)
            path = join(self._directory, OUTBOX, item.name)
            await self._on_disk(lambda: self._post(path, content))
        problem = await self._run(expand(command, path, item.name), item, path)
        if command != self._settings.archive_command:
            return ""  # changed meanwhile: what has arrived is in another archive than the one that counts now
        if problem:
            gone = item.kind is Kind.SNAPSHOT and not store.disk.exists(path)
            return "" if gone else problem  # a newer one has taken its place
        self._state = sent(account, item, manifest, digest, now_ms)
        await self._on_disk(lambda: self._keep_account(path if item.kind is Kind.MANIFEST else ""))
        self.archived_count += 1
        self.last_ok_time, self.last_file = self._clock.wall_ms() // 1000, item.name
        return ""

    async def _run(self, command: str, item: Item, path: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
        environment |= {
            "VAYLIX_FILE_KIND": item.kind.value, "VAYLIX_FILE_PATH": path, "VAYLIX_FILE_NAME": item.name,
            "VAYLIX_FIRST": str(item.first), "VAYLIX_LAST": str(item.last),
        }  # fmt: skip
        process = await _spawn(command, environment)
        told = asyncio.get_running_loop().create_task(_tail(process))
        try:
            code = await asyncio.wait_for(process.wait(), COMMAND_S_MAX)
        except TimeoutError:
            return f"the command did not end within {COMMAND_S_MAX:.0f} s"
        finally:
            await _end(process)
            # What it said; a process that it left behind may keep the pipe open.
            await asyncio.wait([told], timeout=1.0)
            told.cancel()
        if code == 0:
            return ""
        text = told.result() if told.done() and not told.cancelled() else ""
        how = f"ended with exit code {code}" if code > 0 else f"was killed by signal {-code}"
        return f"the command {how}" + (f": {text}" if text else "")

    def _failed(self, items: list[Item], problem: str) -> float:
        """Account for it; how long to wait."""
        item = items[0]
        pause_s = min(RETRY_S_MIN * 2.0**self._failures, RETRY_S_MAX)
        self._failures = min(self._failures + 1, 32)
        self.failed_count += 1
        self.last_failed_time, self.last_error = self._clock.wall_ms() // 1000, f"{item.name}: {problem}"
        log.warning(
            f"{item.name} is not archived: {problem}. It is kept and tried again in {pause_s:.0f} s; "
            "until that succeeds the log grows on this disk: see to archive-command, and to where it writes",
            files=len(items), bytes=sum(one.size for one in items),
        )  # fmt: skip
        return pause_s

    async def _seal_if_due(self) -> None:
        """archive-timeout: the last writes of a server that has become quiet should not wait for a full segment."""
        active = self._store.wal.segments()[-1]
        if active.last < active.first:
            self._oldest = None
            return
        now = self._clock.now()
        if self._oldest is None or self._oldest[0] != active.first:
            self._oldest = active.first, now
        elif 0 < self._settings.archive_timeout <= now - self._oldest[1]:
            self._oldest = None
            try:
                await self._rotate()
            except Refused as failure:
                log.warning(f"the log could not be sealed for the archive: {failure}; it is tried again")

    def _warn_of_a_gap(self, items: list[Item]) -> None:
        """What was deleted while there was no archive-command is missing for ever."""
        done = self._account().segments_to
        first = next((item.first for item in items if item.kind is Kind.SEGMENT), 0)
        if done and first > done + 1 and items[0].kind is Kind.SEGMENT:
            log.warning(
                f"the archive lacks sequences {done + 1} to {first - 1}: they were deleted while there was no command; "
                "it can be restored up to there, and again from the next snapshot on"
            )

    # The account

    def _account(self) -> Archived:
        """Another command is another archive: everything that is here goes there."""
        command = _digest(self._settings.archive_command.encode("utf-8", "surrogateescape"))
        if self._state.command != command and self.enabled:
            self._state = Archived(command)
            self._failures = 0
        return self._state

    def _read_state(self) -> Archived:
        path, disk = join(self._directory, STATE), self._store.disk
        try:
            if not disk.exists(path):
                return Archived()
            state = decode_state(disk.read_file(path))
        except OSError as cause:
            log.warning(f"{path}: cannot be read ({cause.strerror or cause}): everything is handed over again")
            return Archived()
        if state is None:
            log.warning(f"{path}: damaged: everything is handed over again")
        return state or Archived()

    def _keep_account(self, posted: str) -> None:
        """On disk, and without `posted`. Where there is no room, what we know counts all the same, so that the log can
        be deleted and make some; after a crash some files would go twice."""
        disk, path = self._store.disk, join(self._directory, STATE)
        try:
            if posted:
                disk.unlink(posted)
            disk.mkdir(self._directory)
            disk.replace_file(path, encode_state(self._state))
        except OSError as failure:
            log.warning(f"{path}: cannot be written ({failure.strerror or failure}): a restart hands files over again")

    def _post(self, path: str, content: bytes) -> None:
        """Write a file that exists only for the archive. What a crash left here is removed first."""
        disk, outbox = self._store.disk, join(self._directory, OUTBOX)
        disk.mkdir(outbox)
        for name in disk.listdir(outbox):
            disk.unlink(join(outbox, name))
        disk.replace_file(path, content)

    async def _on_disk(self, job: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, job)


async def _spawn(command: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    """A shell in a process group of its own."""
    loop = asyncio.get_running_loop()
    start = loop.create_task(
        asyncio.create_subprocess_shell(
            command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, env=environment, start_new_session=True,
        )
    )  # fmt: skip
    try:
        return await asyncio.shield(start)
    except asyncio.CancelledError:
        await _end(await start)  # it may be running already, and asyncio itself would end the shell alone
        raise


async def _tail(process: asyncio.subprocess.Process) -> str:
    """The end of what the command says, as one line. The rest is read and forgotten, so that it never blocks."""
    assert process.stderr is not None
    end = b""
    while piece := await process.stderr.read(ERROR_BYTES_MAX):
        end = (end + piece)[-ERROR_BYTES_MAX:]
    return " / ".join(printable(line) for line in end.splitlines() if line.strip())


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of a command that is still running goes on: it may be a pipeline, so its whole group is told."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        # What runs as somebody else (sudo) cannot be told, and must not keep the server from stopping either.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILL_S)


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()
