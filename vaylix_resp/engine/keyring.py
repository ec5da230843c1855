"""KEYRING on the live server: a new active key at any time, and the end of keys that no file needs any more.

Rotation: the new key is durable, then the log goes on in a new segment sealed with it, then a snapshot is started, so
that old files go as retention allows. A retired key is destroyed when no header names it.
Promises: what cannot be read or found counts as needing every key; nothing is destroyed while a child reads or writes
files, or an online backup is being made, because they may hold what was sealed with a key that was active a moment ago.
Not here: the keyring's file (`security.keyring`), headers (`storage.upkeep.rewrap`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from ..clock import Clock
from ..commands.ports import Later
from ..errors import CommandError, Refused
from ..observability.logs import get_log
from ..resp.reply import OK, Reply
from ..security.keyring import ALWAYS_CLEAR, Keyring
from ..security.master_key import Source
from ..storage.sealing import Keys
from ..storage.snapshot import snapshot_path
from ..storage.store import Store
from ..storage.upkeep.rewrap import CLEAR_FILE, key_ids
from .checkpoint import Checkpoint
from .keys import SealedKeys

log = get_log("keyring")

PERIOD_S: Final = 5.0  # how often a due snapshot and retired keys are looked at
SOON_S: Final = 0.5  # when somebody was at the files, who may be again at every fifth second
NAMES_SHOWN: Final = 10  # files per key in STATUS
OFF: Final = "ERR encryption is off (directive encryption): there is no key in use that could be rotated"
BUSY: Final = "BUSY a rotation is going on already"


class KeyringKeeper:
    """One per server."""

    def __init__(self, keys: Keys, source: Source, store: Store, checkpoint: Checkpoint, clock: Clock) -> None:
        self.keyring: Keyring | None = keys.keyring if isinstance(keys, SealedKeys) else None
        self.on = isinstance(keys, SealedKeys) and keys.seals
        self.in_use: Callable[[], bool] = _unused  # whether anything else may still need retired keys
        self.last_error = ""
        self.put_off = False  # somebody was at the files when retired keys were to be looked at
        self._source, self._store, self._checkpoint, self._clock = source, store, checkpoint, clock
        self._snapshot_due = False
        self._turn = asyncio.Lock()  # a key must not look unneeded while the log moves over to the next one
        self._tasks: set[asyncio.Task[None]] = set()

    # Commands

    def rotate(self) -> Later:
        """OK when new writes are sealed with a new key."""
        if not self.on or self.keyring is None:
            raise CommandError(OFF)
        if self._turn.locked():
            raise CommandError(BUSY)
        return self._answer(self._rotate(self.keyring))

    def status(self) -> Later:
        """A map; see KEYRING STATUS."""
        return self._answer(self._status())

    def export(self) -> bytes | None:
        """The content of keyring.json for a copy; None when there is none."""
        return self.keyring.export() if self.keyring is not None else None

    def info(self) -> Iterable[tuple[str, Any]]:
        keyring = self.keyring
        yield "encryption", "on" if self.on else "off"
        yield "keyring_id", keyring.id if keyring else ""
        yield "keyring_active_key", keyring.active if keyring else 0
        yield "keyring_keys", len(keyring.entries) if keyring else 0
        yield "keyring_retired_keys", len(keyring.retired) if keyring else 0
        yield "keyring_last_error", self.last_error

    def _answer(self, work: Coroutine[Any, Any, Reply]) -> Later:
        later = Later()

        async def run() -> None:
            reply: Reply = CommandError("ERR the server is stopping")
            try:
                reply = await work
            except Refused as refused:
                reply = CommandError(f"ERR {refused}")
            finally:
                later.resolve(reply)

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return later

    async def _rotate(self, keyring: Keyring) -> Reply:
        async with self._turn:
            loop = asyncio.get_running_loop()
            key_id = await loop.run_in_executor(None, keyring.rotate, self._clock.wall_ms())
            self._snapshot_due = True  # whatever comes now: the new key is in force
            try:
                await self._checkpoint.renew_log()
            except Refused as refused:
                return CommandError(f"ERR key {key_id} is active, but the log goes on with an older one: {refused}")
        log.notice(f"keyring rotated: key {key_id} is active; older ones go when no file needs them")
        self._start_snapshot()
        return OK

    async def _status(self) -> Reply:
        keyring = self.keyring
        found = await asyncio.get_running_loop().run_in_executor(None, self._scan)
        counts = Counter(found.values())
        status: dict[str, Any] = {
            "encryption": "on" if self.on else "off",
            "keyring-id": keyring.id if keyring else None,
            "active-key": keyring.active if keyring else None,
            "master-key-kind": self._source.kind if keyring else None,
            "master-key-source": str(self._source) if keyring else None,
            "clear-files": counts[CLEAR_FILE],
            "clear-files-accepted-until": None,
            "keys": [],
        }
        if keyring is None:
            return status
        if keyring.clear_until != ALWAYS_CLEAR:
            status["clear-files-accepted-until"] = keyring.clear_until
        status["keys"] = [
            {
                "id": entry.id,
                "state": "active" if entry.retired_ms is None else "retired",
                "created": entry.created_ms,
                "retired": entry.retired_ms,
                "files": counts[entry.id],
                "names": [path for path, key_id in found.items() if key_id == entry.id][:NAMES_SHOWN],
            }
            for entry in keyring.entries
        ]
        return status

    # In the background

    async def run(self) -> None:
        """Until cancelled: start the snapshot that a rotation wants, destroy keys when their time has come."""
        while True:
            await asyncio.sleep(SOON_S if self.put_off else PERIOD_S)
            await self.tend()

    async def tend(self) -> None:
        try:
            await self.sweep()
        except (Refused, OSError) as failure:
            if str(failure) != self.last_error:  # once, not every few seconds
                log.warning(f"old keys of the keyring are kept: {failure}; it is tried again every few seconds")
            self.last_error = str(failure)
        else:
            self.last_error = ""
        self._start_snapshot()  # behind the look at the files, which it would forbid

    async def close(self) -> None:
        """The server stops: a rotation that has begun comes to its end while the log can still be sealed."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start_snapshot(self) -> None:
        if self._snapshot_due and not self._checkpoint.running:
            self._snapshot_due = isinstance(self._checkpoint.start(), CommandError)

    async def sweep(self) -> list[int]:
        """Destroy the retired keys that no file needs; their numbers. Raises Refused when a file cannot be read."""
        keyring = self.keyring
        if keyring is None or not keyring.retired:
            return []
        async with self._turn:
            self.put_off = bool(self._checkpoint.readers or self.in_use())
            if self.put_off:
                return []
            retired = keyring.retired  # before the look at the files: these are not given to new files any more
            loop = asyncio.get_running_loop()
            named = self._named()
            found = await loop.run_in_executor(None, self._scan)
            if self.in_use():
                return []
            if missing := sorted(named & self._named() - found.keys()):
                raise Refused(f"{missing[0]}: the file is not there, and may need any key")
            gone = sorted(set(retired) - set(found.values()))
            if gone:
                await loop.run_in_executor(None, keyring.destroy, gone)
                log.notice(f"keyring: no file needs key {', '.join(map(str, gone))} any more: destroyed")
        return gone

    def _named(self) -> set[str]:
        """The files of which the data consists as of now, by their present names."""
        store = self._store
        taken = {snapshot_path(store.root, info.sequence) for info in store.manifest.snapshots}
        return taken | {segment.path for segment in store.wal.segments()}

    def _scan(self) -> dict[str, int]:
        return key_ids(self._store.disk, self._store.root)


def _unused() -> bool:
    """Until `app` tells of the online backup."""
    return False
