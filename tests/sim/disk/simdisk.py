"""A disk in memory that keeps exactly what it has to, and no more.

Its cruelty:
* Only fsync and fdatasync make file content durable, only fsync_dir makes names durable; each knows nothing of the
  other (a synced file whose name was not synced is gone).
* A power cut (`crash`) keeps any subset of the unsynced writes, by sectors, in any order; or all; or none; or all but
  the end of the last one, at any byte. Lengths are kept or lost apart from content. Unsynced names are kept or lost
  one by one; only a rename is atomic.
* A process that dies (`kill`) leaves the page cache: what was not synced is visible, and may still be lost later.
* A failed fsync (EIO) marks the pages clean: they stay visible, no later fsync writes them, a power cut loses them.
* ENOSPC may come after a part of the write. A write may be short only inside the port, as the real one is.
Not here: wrong bytes from a good disk (`flip` is for tests that ask for it), slow disks.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from random import Random

from vaylix_resp.storage.disk import Bytes, Disk, File, Lock, parent
from vaylix_resp.storage.errors import Locked

SECTOR = 512


class PowerCut(BaseException):
    """The machine went off inside a call. Not an Exception: nothing in between may handle it."""


@dataclass
class Inode:
    """One file: what is visible, what is durable, and the changes between the two, in order."""

    shown: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    # ("write", offset, data) or ("size", size, b"")
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)

    def apply(self, change: tuple[str, int, bytes]) -> None:
        self.shown = _changed(self.shown, change)
        self.pending.append(change)

    def sync(self) -> None:
        if self.pending:
            self.synced = bytes(_replayed(self.synced, self.pending))
            self.pending = []

    def forget(self) -> None:
        """What a failed fsync does: nobody will write these pages any more."""
        self.pending = []

    def after_power_cut(self, rng: Random, mode: str) -> bytes:
        if mode == "lose" or not self.pending:
            return self.synced
        if mode == "keep":
            return bytes(_replayed(self.synced, self.pending))
        if mode == "prefix":
            kept = self.pending[: rng.randrange(len(self.pending)) + 1]
            kind, offset, data = kept[-1]
            if kind == "write":
                kept[-1] = (kind, offset, data[: rng.randrange(len(data) + 1)])
            return bytes(_replayed(self.synced, kept))
        assert mode == "sectors", mode
        pieces = [piece for change in self.pending for piece in _sectors(change)]
        return bytes(_replayed(self.synced, [piece for piece in pieces if rng.random() < 0.5]))


def _changed(content: bytearray, change: tuple[str, int, bytes]) -> bytearray:
    kind, at, data = change
    if kind == "size":
        if at < len(content):
            del content[at:]
        content.extend(bytes(at - len(content)))
    else:
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data
    return content


def _replayed(synced: bytes, changes: list[tuple[str, int, bytes]]) -> bytearray:
    content = bytearray(synced)
    for change in changes:
        content = _changed(content, change)
    return content


def _sectors(change: tuple[str, int, bytes]) -> list[tuple[str, int, bytes]]:
    kind, at, data = change
    if kind == "size":
        return [change]
    pieces, offset = [], at
    while offset < at + len(data):
        end = min(offset // SECTOR * SECTOR + SECTOR, at + len(data))
        pieces.append((kind, offset, data[offset - at : end - at]))
        offset = end
    return pieces


@dataclass
class NameChange:
    """A change of one directory that is not synced yet; kept or lost as a whole."""

    directory: str
    removed: str | None
    added: tuple[str, Inode] | None


@dataclass(frozen=True)
class Fault:
    """What happens at one call. `part`: how much of a write is done before ENOSPC or EIO."""

    kind: str  # crash, eio, enospc
    part: float = 0.0


class SimFile:
    def __init__(self, disk: SimDisk, path: str, inode: Inode) -> None:
        self.path, self._disk, self._inode, self._open = path, disk, inode, True

    def _check_open(self) -> None:
        if not self._open:
            raise OSError(errno.EBADF, "closed", self.path)

    def pread(self, size: int, offset: int) -> bytes:
        self._check_open()
        self._disk.read_call(self.path)
        return bytes(self._inode.shown[offset : offset + size])

    def pwrite(self, data: Bytes, offset: int) -> None:
        self._check_open()
        raw = bytes(data)
        try:
            self._disk.call("pwrite", self.path, (offset, len(raw)), grows=offset + len(raw) > len(self._inode.shown))
        except PowerCut:
            self._inode.apply(("write", offset, raw))
            raise
        except OSError:
            part = raw[: int(len(raw) * self._disk.fault_part)]
            if part:
                self._inode.apply(("write", offset, part))
            raise
        self._inode.apply(("write", offset, raw))

    def allocate(self, size: int) -> None:
        self._check_open()
        self._disk.call("allocate", self.path, (size,), grows=size > len(self._inode.shown))
        if size > len(self._inode.shown):
            self._inode.apply(("size", size, b""))

    def truncate(self, size: int) -> None:
        self._check_open()
        try:
            self._disk.call("truncate", self.path, (size,))
        except PowerCut:
            self._inode.apply(("size", size, b""))
            raise
        self._inode.apply(("size", size, b""))

    def fdatasync(self) -> None:
        self._sync("fdatasync")

    def fsync(self) -> None:
        self._sync("fsync")

    def _sync(self, name: str) -> None:
        self._check_open()
        try:
            self._disk.call(name, self.path, ())
        except OSError:
            self._inode.forget()
            raise
        self._inode.sync()

    def size(self) -> int:
        return len(self._inode.shown)

    def close(self) -> None:
        self._open = False


class SimLock:
    def __init__(self, held: set[str], path: str) -> None:
        self._held, self._path = held, path

    def release(self) -> None:
        self._held.discard(self._path)


class SimDisk(Disk):
    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self.directories: set[str] = {".", "/"}
        self._synced_names: dict[str, Inode] = {}
        self._synced_directories: set[str] = {".", "/"}
        self._name_changes: list[NameChange] = []
        self._new_directories: list[str] = []
        self._held: set[str] = set()
        self.calls = 0  # that change or sync something; the coordinate of faults
        self.log: list[tuple[str, str, tuple[int, ...]]] = []
        self.faults: dict[int, Fault] = {}  # by number of the call, from 1
        self.full = ""  # "growth": writes that need room fail; "all": every write does (copy-on-write file systems)
        self.sync_error_on = ""  # every fsync of a path with this in it fails
        self.read_error_on = ""
        self.off = False
        self.fault_part = 0.0

    # What goes wrong

    def call(self, name: str, path: str, arguments: tuple[int, ...], *, grows: bool = False) -> None:
        """Every changing call comes through here, and fails here if it is to."""
        if self.off:
            raise PowerCut
        self.calls += 1
        self.log.append((name, path, arguments))
        fault = self.faults.get(self.calls)
        self.fault_part = fault.part if fault else 0.0
        if fault and fault.kind == "crash":
            self.off = True
            raise PowerCut
        if fault and fault.kind == "eio":
            raise OSError(errno.EIO, "Input/output error", path)
        if (fault and fault.kind == "enospc") or self._no_room(name, grows):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        if self.sync_error_on and self.sync_error_on in path and name in ("fsync", "fdatasync"):
            raise OSError(errno.EIO, "Input/output error", path)

    def _no_room(self, name: str, grows: bool) -> bool:
        if self.full == "all":
            return name in ("pwrite", "allocate", "create")
        return self.full == "growth" and (grows or name == "create")

    def read_call(self, path: str) -> None:
        if self.off:
            raise PowerCut
        if self.read_error_on and self.read_error_on in path:
            raise OSError(errno.EIO, "Input/output error", path)

    def crash(self, rng: Random, mode: str | None = None) -> SimDisk:
        """The disk after a power cut. `mode`: lose, keep, prefix, sectors; None draws one for each file and name."""
        after = SimDisk()
        modes = ("lose", "keep", "prefix", "sectors")
        names, directories = dict(self._synced_names), set(self._synced_directories)
        for path in self._new_directories:
            if self._survives(rng, mode):
                directories.add(path)
        for change in self._name_changes:
            if self._survives(rng, mode):
                _rename_in(names, change)
        copies: dict[int, Inode] = {}
        for path, inode in names.items():
            if id(inode) not in copies:
                content = inode.after_power_cut(rng, mode or rng.choice(modes))
                copies[id(inode)] = Inode(bytearray(content), content)
            if _is_reachable(path, directories):
                after.names[path] = copies[id(inode)]
        after.directories = {path for path in directories if _is_reachable(path, directories)}
        after._synced_names, after._synced_directories = dict(after.names), set(after.directories)
        return after

    @staticmethod
    def _survives(rng: Random, mode: str | None) -> bool:
        return mode == "keep" or (mode != "lose" and rng.random() < 0.5)

    def kill(self) -> SimDisk:
        """The same disk for the next process: nothing lost, nothing synced, locks gone."""
        self.off, self.faults, self._held = False, {}, set()
        self.calls, self.log = 0, []
        return self

    def copy(self) -> SimDisk:
        """All that is visible, durable: for tests that damage a directory in many ways."""
        return self.crash(Random(0), "keep")

    def flip(self, path: str, bit: int) -> None:
        inode = self.names[path]
        inode.shown[bit // 8] ^= 1 << (bit % 8)
        inode.synced = bytes(inode.shown)

    def put(self, path: str, content: bytes) -> None:
        self.names[path] = self._synced_names[path] = Inode(bytearray(content), content)

    def remove(self, path: str) -> None:
        del self.names[path]
        self._synced_names.pop(path, None)

    # The port

    def open(self, path: str, *, write: bool = False) -> File:
        self.read_call(path)
        return SimFile(self, path, self._inode(path))

    def listdir(self, path: str) -> list[str]:
        self.read_call(path)
        path = os.path.normpath(path)
        if path not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "No such directory", path)
        entries = [*self.names, *self.directories]
        return sorted(os.path.basename(entry) for entry in entries if parent(entry) == path and entry != path)

    def exists(self, path: str) -> bool:
        return path in self.names or os.path.normpath(path) in self.directories

    def lock(self, path: str) -> Lock:
        if path in self._held:
            raise Locked(path, 1)
        if path not in self.names:
            self.create(path).close()
        self._held.add(path)
        return SimLock(self._held, path)

    def free_bytes(self, path: str) -> int:
        return 0 if self.full else 1 << 40

    def _inode(self, path: str) -> Inode:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return self.names[path]

    def _create(self, path: str) -> File:
        if parent(path) not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "No such directory", path)
        known = self.names.get(path)
        if known is not None:
            self.call("create", path, ())
            known.apply(("size", 0, b""))
            return SimFile(self, path, known)
        inode = Inode()
        change = NameChange(parent(path), None, (path, inode))
        self._change("create", path, change)
        return SimFile(self, path, inode)

    def _rename(self, source: str, target: str) -> None:
        self._change("rename", target, NameChange(parent(target), source, (target, self._inode(source))))

    def _unlink(self, path: str) -> None:
        self._inode(path)
        self._change("unlink", path, NameChange(parent(path), path, None))

    def _change(self, call: str, path: str, change: NameChange) -> None:
        try:
            self.call(call, path, ())
        except PowerCut:
            self._note(change)  # the cut may come before or behind it; what `crash` draws is both
            raise
        self._note(change)

    def _note(self, change: NameChange) -> None:
        self._name_changes.append(change)
        _rename_in(self.names, change)

    def _mkdir(self, path: str) -> None:
        self.call("mkdir", path, ())
        self.directories.add(path)
        self._new_directories.append(path)

    def fsync_dir(self, path: str) -> None:
        self.call("fsync_dir", path, ())
        path = os.path.normpath(path)
        for directory in [new for new in self._new_directories if parent(new) == path]:
            self._synced_directories.add(directory)
            self._new_directories.remove(directory)
        for change in [change for change in self._name_changes if os.path.normpath(change.directory) == path]:
            _rename_in(self._synced_names, change)
            self._name_changes.remove(change)


def _rename_in(names: dict[str, Inode], change: NameChange) -> None:
    if change.removed:
        names.pop(change.removed, None)
    if change.added:
        names[change.added[0]] = change.added[1]


def _is_reachable(path: str, directories: set[str]) -> bool:
    while path not in (".", "/"):
        path = parent(path)
        if path not in directories:
            return False
    return True
