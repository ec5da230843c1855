"""A state as an RDB file that redis-server loads: written beside its place, read back, then given its name.

    with writing(disk, path) as temporary: save(disk, temporary, machine, ...); check(...); publish(...)

Promises: a file has its name only when it is durable and every key in it has been read back and found equal; its owner
alone may read it. What had expired at the moment asked for stays away, as a read would not have seen it.
Units: bytes, milliseconds since the epoch.
Not here: which state (`history.restore`), the format (`interchange`). The file is in the clear, and knows no versions,
FLAGS, users and roles: Redis has none of the first two, and keeps the others elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ... import identity
from ...errors import EX_USAGE, Refused
from ...interchange.rdb_reader import End, Key, RdbError, RdbReader
from ...interchange.rdb_writer import RdbWriter
from ...limits import MIB
from ...state.keyspace import Database
from ...state.machine import StateMachine
from ...state.values import value_of
from ...storage.copies.backup_sidecar import check_place
from ...storage.disk import Disk, File, parent
from ...storage.errors import IoFailed

PIECE_BYTES: Final = MIB  # gathered before they are written
SYNC_BYTES: Final = 8 * MIB  # synced so often while writing: one fsync of everything would stall a log beside it
SAY_KEYS: Final = 1000

_NO_FILE: Final = (errno.EINVAL, errno.ELOOP, errno.ENXIO)  # what `open_regular` says of anything else

Say = Callable[[int, int], None]  # done, total; in keys


class NoPlace(Refused):
    """The file cannot be made there."""

    exit_code = EX_USAGE


@dataclass(slots=True)
class Written:
    """What is in the file. `expired`: keys left out; `flagged`: keys whose FLAGS stay behind."""

    keys: int = 0
    expiring: int = 0
    expired: int = 0
    flagged: int = 0
    bytes: int = 0
    databases: dict[int, int] = field(default_factory=dict)  # number -> keys; those that have any


def check_target(disk: Disk, path: str, root: str, *, force: bool) -> None:
    """Raises Refused unless a file may be made at `path`; `root` is where the data comes from."""
    check_place(disk, root, parent(path))
    if not disk.exists(parent(path)):
        raise NoPlace(f"{path}: there is no directory {parent(path)}; to continue: make it, or choose another place")
    try:
        disk.open_regular(path).close()
    except FileNotFoundError:
        return
    except OSError as cause:
        if cause.errno in _NO_FILE:
            told = f"{path}: is a directory, a link or a device, and no file; to continue: choose another name"
            raise NoPlace(told) from cause
    if not force:
        raise NoPlace(f"{path}: exists already; to continue: choose another name, or --force to replace it")


@contextlib.contextmanager
def writing(disk: Disk, path: str) -> Iterator[str]:
    """The name to write to. What is left of it is removed."""
    temporary = f"{path}.{os.getpid()}.tmp"  # of this process: another one that writes to `path` has its own
    try:
        yield temporary
    except OSError as cause:
        raise IoFailed(path, cause) from cause
    finally:
        with contextlib.suppress(OSError):
            if disk.exists(temporary):
                disk.unlink(temporary)


def save(
    disk: Disk, temporary: str, machine: StateMachine, moment_ms: int, version: int,
    throttle: Callable[[int], None] | None = None, say: Say | None = None,
) -> Written:  # fmt: skip
    """Write every key that has not expired by `moment_ms`; the file is durable then."""
    writer, written = RdbWriter(version), Written()
    out = _Out(disk.create_private(temporary), throttle)
    total = sum(len(db.items) for db in machine.world.databases)
    try:
        out.add(writer.begin({
            "redis-ver": identity.REDIS_VERSION, "redis-bits": 64, "ctime": machine.time_ms // 1000,
            "vaylix-ver": identity.VAYLIX_VERSION, "vaylix-sequence": machine.applied,
        }))  # fmt: skip
        for number, db in enumerate(machine.world.databases):
            gone = sum(1 for at_ms in db.expires.values() if at_ms <= moment_ms)
            keys, expiring = len(db.items) - gone, len(db.expires) - gone
            written.expired += gone
            if not keys:
                continue
            out.add(writer.select(number, keys, expiring))
            written.databases[number] = keys
            written.expiring += expiring
            for name, value, at_ms in _rows(db, moment_ms):
                out.add(writer.key(name, value, at_ms))
                written.keys += 1
                written.flagged += name in db.flags
                if say and not written.keys % SAY_KEYS:
                    say(written.keys, total)
        out.add(writer.end())
        written.bytes = out.finish()
    finally:
        out.close()
    return written


def _rows(db: Database, moment_ms: int) -> Iterator[tuple[bytes, bytes, int | None]]:
    for name, item in db.items.items():
        at_ms = db.expires.get(name)
        if at_ms is None or at_ms > moment_ms:
            yield name, value_of(item), at_ms


class _Out:
    """A file that is written from its start, in pieces."""

    def __init__(self, file: File, throttle: Callable[[int], None] | None) -> None:
        self._file, self._throttle = file, throttle
        self._parts: list[bytes] = []
        self._size = self._at = self._synced = 0

    def add(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size >= PIECE_BYTES:
            self._write()

    def _write(self) -> None:
        self._file.pwrite(b"".join(self._parts), self._at)
        self._at += self._size
        if self._throttle is not None:
            self._throttle(self._size)
        self._parts, self._size = [], 0
        if self._at - self._synced >= SYNC_BYTES:
            self._file.fdatasync()
            self._synced = self._at

    def finish(self) -> int:
        """All of it is durable; its size."""
        self._write()
        self._file.fsync()
        return self._at

    def close(self) -> None:
        self._file.close()


def check(disk: Disk, temporary: str, machine: StateMachine, written: Written, say: Say | None = None) -> None:
    """Read the file and compare each key with the state. Raises RdbError."""
    found, reader, databases = 0, RdbReader(temporary), machine.world.databases
    checked = False
    for record in _records(disk, temporary, reader):
        if isinstance(record, Key):
            db = databases[record.db]
            item = db.items.get(record.name)
            if item is None or value_of(item) != record.value or db.expires.get(record.name) != record.expire_at_ms:
                raise RdbError(temporary, reader.position, f"the key that was written before it: {record.name!r}")
            found += 1
            if say and not found % SAY_KEYS:
                say(found, written.keys)
        elif isinstance(record, End):
            checked = record.checked
    if found != written.keys or not checked:
        raise RdbError(temporary, reader.position, f"{written.keys} keys and a checksum, it has {found}")


def _records(disk: Disk, path: str, reader: RdbReader) -> Iterator[object]:
    file, at = disk.open(path), 0
    try:
        while chunk := file.pread(PIECE_BYTES, at):
            at += len(chunk)
            yield from reader.feed(chunk)
    finally:
        file.close()
    reader.close(alone=True)


def publish(disk: Disk, temporary: str, path: str, *, force: bool) -> None:
    """Give the file its name. Raises NoPlace if somebody has taken it meanwhile."""
    if disk.exists(path) and not force:
        raise NoPlace(f"{path}: has been made by somebody else meanwhile; to continue: choose another name")
    disk.rename(temporary, path)
