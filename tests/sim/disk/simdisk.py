"""A disk in memory that keeps exactly what it has to, and no more.

Its cruelty:
* Only fsync and fdatasync make file content durable, only fsync_dir makes names durable; each knows nothing of the
  other (a synced file whose name was not synced is gone; a synced name may lead to an empty file).
* A power cut (`crash`) treats each file and each name on its own. Of unsynced content it keeps what `content.MODES`
  lists: nothing, all, the first writes and the last of them up to any byte, any sectors or pages in any order, the
  length without the content. Of unsynced names (create, rename, link, unlink, mkdir) it keeps any subset, or the first
  ones in order, as a journal would; only a rename is atomic.
* A process that dies (`kill`) leaves the page cache: what was not synced is visible, and may still be lost later.
* A failed fsync (EIO) marks the pages clean: no later fsync writes them and a power cut loses them, though the next
  fsync succeeds. Until then they stay visible, or (`reverts`) vanish at once. A part may have reached the disk.
* EIO at any call, reads by their number or their path. EIO and ENOSPC may come after a part of a write.
* ENOSPC: at one call, for all that grows, for every write (`full`), or when `budget` bytes are used up, given back by
  whatever is deleted; EDQUOT instead with `no_room`.
* Several file systems (`mount`): no link or rename leads from one to another (EXDEV), each has a budget of its own.
  All of them lose power together; machines of their own are disks of their own.
* Bits flip when a test asks for it (`flip`, `rot`).
Everything is drawn from the seeds that are handed in, so each run can be had again.
Not here: short directory listings (no file system gives them), sectors torn inside but written around, slow disks.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from random import Random

from tests.sim.disk.content import MODES, SECTOR, Inode
from tests.sim.disk.names import Durable, NameChange, change_names, directories_above, is_reachable
from vaylix_resp.storage.disk import Bytes, Disk, File, Lock, parent
from vaylix_resp.storage.errors import Locked

__all__ = ["MODES", "SECTOR", "Fault", "Inode", "PowerCut", "SimDisk"]


class PowerCut(BaseException):
    """The machine went off inside a call. Not an Exception: nothing in between may handle it."""


@dataclass(frozen=True)
class Fault:
    """What happens at one call. `part`: how much of a write is done, or of an fsync, before EIO or ENOSPC."""

    kind: str  # crash, eio, enospc
    part: float = 0.0


@dataclass
class Mount:
    """A file system: what of it is in use is counted when it is asked for."""

    path: str
    budget: int | None = None  # bytes


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
            self._disk.call("pwrite", self.path, (offset, len(raw)), grows=offset + len(raw) - len(self._inode.shown))
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
        change = ("size", max(size, len(self._inode.shown)), b"")
        try:
            self._disk.call("allocate", self.path, (size,), grows=size - len(self._inode.shown))
        except PowerCut:
            self._inode.apply(change)
            raise
        if size > len(self._inode.shown):
            self._inode.apply(change)

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
            self._inode.fail_sync(self._disk.fault_part, reverts=self._disk.reverts)
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
        self._durable = Durable()
        self._held: set[str] = set()
        self._mounts: list[Mount] = []
        self.calls = 0  # that change or sync something; the coordinate of faults
        self.log: list[tuple[str, str, tuple[int, ...]]] = []
        self.faults: dict[int, Fault] = {}  # by number of the call, from 1
        self.reads = 0
        self.bad_reads: set[int] = set()  # by number of the read, from 1: EIO
        self.full = ""  # "growth": writes that need room fail; "all": every write does (copy-on-write file systems)
        self.budget: int | None = None  # bytes in all files that are on no mount
        self.no_room = errno.ENOSPC
        self.reverts = False  # pages whose fsync failed are read from the disk again
        self.sync_error_on = ""  # every fsync of a path with this in it fails
        self.read_error_on = ""
        self.off = False
        self.fault_part = 0.0

    # What goes wrong

    def call(self, name: str, path: str, arguments: tuple[int, ...], *, grows: int = 0) -> None:
        """Every changing call comes through here, and fails here if it is to. `grows`: bytes that the file gains."""
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
        if (fault and fault.kind == "enospc") or self._lacks_room(name, path, grows):
            raise OSError(self.no_room, os.strerror(self.no_room), path)
        if self.sync_error_on and self.sync_error_on in path and name in ("fsync", "fdatasync"):
            raise OSError(errno.EIO, "Input/output error", path)

    def _lacks_room(self, name: str, path: str, grows: int) -> bool:
        if self.full == "all":
            return name in ("pwrite", "allocate", "create")
        if self.full == "growth" and (grows > 0 or name == "create"):
            return True
        return grows > 0 and grows > self.free_bytes(path)

    def read_call(self, path: str) -> None:
        if self.off:
            raise PowerCut
        self.reads += 1
        if self.reads in self.bad_reads or (self.read_error_on and self.read_error_on in path):
            raise OSError(errno.EIO, "Input/output error", path)

    def crash(self, rng: Random, mode: str | None = None) -> SimDisk:
        """The disk after a power cut. `mode`: one of MODES for everything; None draws one for each file."""
        after = SimDisk()
        names, directories = dict(self._durable.names), set(self._durable.directories)
        for change in self._surviving(rng, mode):
            change_names(names, directories, change)
        copies: dict[int, Inode] = {}
        for path, inode in names.items():
            if id(inode) not in copies:
                content = inode.after_power_cut(rng, mode or rng.choice(MODES))
                copies[id(inode)] = Inode(bytearray(content), content)
            if is_reachable(path, directories):
                after.names[path] = copies[id(inode)]
        after.directories = {path for path in directories if is_reachable(path, directories)}
        after._durable = Durable(dict(after.names), set(after.directories))
        after._mounts = [Mount(mount.path, mount.budget) for mount in self._mounts]
        after.budget, after.no_room, after.reverts = self.budget, self.no_room, self.reverts
        return after

    def _surviving(self, rng: Random, mode: str | None) -> list[NameChange]:
        """Which changes of names are kept, in their order."""
        changes = self._durable.changes
        if mode in ("lose", "keep"):
            return changes if mode == "keep" else []
        if mode == "prefix":
            return changes[: rng.randrange(len(changes) + 1)]
        return [change for change in changes if rng.random() < 0.5]

    def kill(self) -> SimDisk:
        """The same disk for the next process: nothing lost, nothing synced, locks gone."""
        self.off, self.faults, self._held = False, {}, set()
        self.calls, self.log, self.reads, self.bad_reads = 0, [], 0, set()
        return self

    def copy(self) -> SimDisk:
        """All that is visible, durable: for tests that damage a directory in many ways."""
        return self.crash(Random(0), "keep")

    def flip(self, path: str, bit: int) -> None:
        inode = self.names[path]
        inode.shown[bit // 8] ^= 1 << (bit % 8)
        inode.synced = bytes(inode.shown)

    def rot(self, rng: Random, part: str = "") -> tuple[str, int]:
        """Flip one bit somewhere in the files that have `part` in their path; which one it was."""
        paths = sorted(path for path, inode in self.names.items() if part in path and inode.shown)
        path = rng.choices(paths, [len(self.names[path].shown) for path in paths])[0]
        bit = rng.randrange(len(self.names[path].shown) * 8)
        self.flip(path, bit)
        return path, bit

    def put(self, path: str, content: bytes) -> None:
        self.names[path] = self._durable.names[path] = Inode(bytearray(content), content)

    def remove(self, path: str) -> None:
        del self.names[path]
        self._durable.names.pop(path, None)

    def files(self) -> dict[str, bytes]:
        """All that is visible, for a comparison."""
        return {path: bytes(inode.shown) for path, inode in self.names.items()}

    def mount(self, path: str, budget: int | None = None) -> None:
        """From here on `path` (it is made, durably) is a file system of its own."""
        for directory in (path, *directories_above(path)):
            self.directories.add(directory)
            self._durable.directories.add(directory)
        self._mounts = sorted([*self._mounts, Mount(path, budget)], key=lambda mount: -len(mount.path))

    def _mount_of(self, path: str) -> Mount:
        for mount in self._mounts:
            if path == mount.path or path.startswith(mount.path + "/"):
                return mount
        return Mount("", self.budget)

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
        mount = self._mount_of(path)
        if self.full:
            return 0
        if mount.budget is None:
            return 1 << 40
        here = [inode for name, inode in self.names.items() if self._mount_of(name).path == mount.path]
        used = {id(inode): len(inode.shown) for inode in here}  # a file with two names takes its room once
        return max(0, mount.budget - sum(used.values()))

    def _inode(self, path: str) -> Inode:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return self.names[path]

    def _check_directory(self, path: str) -> None:
        if os.path.normpath(path) not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "No such directory", path)

    def _create(self, path: str) -> File:
        self._check_directory(parent(path))
        known = self.names.get(path)
        if known is not None:
            try:
                self.call("create", path, ())
            except PowerCut:
                known.apply(("size", 0, b""))
                raise
            known.apply(("size", 0, b""))
            return SimFile(self, path, known)
        inode = Inode()
        self._change("create", path, NameChange(parent(path), None, (path, inode)))
        return SimFile(self, path, inode)

    def _rename(self, source: str, target: str) -> None:
        self._change("rename", target, NameChange(parent(target), source, (target, self._inode(source))))

    def _link(self, source: str, target: str) -> None:
        inode = self._inode(source)
        self._check_directory(parent(target))
        if self.exists(target):
            raise FileExistsError(errno.EEXIST, "File exists", target)
        if self._mount_of(source).path != self._mount_of(target).path:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), target)
        self._change("link", target, NameChange(parent(target), None, (target, inode)))

    def _unlink(self, path: str) -> None:
        self._inode(path)
        self._change("unlink", path, NameChange(parent(path), path, None))

    def _mkdir(self, path: str) -> None:
        self._check_directory(parent(path))
        self._change("mkdir", path, NameChange(parent(path), None, (path, None)))

    def _rmdir(self, path: str) -> None:
        self._check_directory(path)
        if self.listdir(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._change("rmdir", path, NameChange(parent(path), path, None))

    def _change(self, call: str, path: str, change: NameChange) -> None:
        try:
            self.call(call, path, ())
        except PowerCut:
            self._note(change)  # the cut may come before or behind it; what `crash` draws is both
            raise
        self._note(change)

    def _note(self, change: NameChange) -> None:
        self._durable.changes.append(change)
        change_names(self.names, self.directories, change)

    def fsync_dir(self, path: str) -> None:
        self.call("fsync_dir", path, ())
        self._check_directory(path)
        self._durable.sync(os.path.normpath(path))
