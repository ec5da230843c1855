"""The disk port, and the real disk: the only caller of open, write, fsync, rename and their kin.

Promise: a name that create, rename, link, unlink, mkdir or rmdir changed is durable when the call returns (the
directory has been fsynced); a write is complete or raises; nothing here retries an fsync.
Units: sizes and offsets in bytes.
Not here: which files there are and in what order they change.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from abc import ABC, abstractmethod
from typing import Protocol

from vaylix_resp.storage.errors import Locked

Bytes = bytes | bytearray | memoryview

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class File(Protocol):
    """An open file. One thread writes; pread, fsync and fdatasync may come from another."""

    path: str

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        ...

    def pwrite(self, data: Bytes, offset: int) -> None:
        """All of `data`, or OSError after an unknown part of it."""
        ...

    def allocate(self, size: int) -> None:
        """Reserve blocks up to `size` and grow the file to it, so that ENOSPC shows now."""
        ...

    def truncate(self, size: int) -> None: ...
    def fdatasync(self) -> None: ...
    def fsync(self) -> None: ...
    def size(self) -> int: ...
    def close(self) -> None: ...


class Lock(Protocol):
    def release(self) -> None: ...


class Disk(ABC):
    """What storage may ask of a disk. The composites below keep names durable; the rest is one system call each."""

    @abstractmethod
    def open(self, path: str, *, write: bool = False) -> File:
        """An existing file."""

    @abstractmethod
    def listdir(self, path: str) -> list[str]:
        """Names, sorted; FileNotFoundError when there is no such directory."""

    @abstractmethod
    def exists(self, path: str) -> bool: ...

    @abstractmethod
    def lock(self, path: str) -> Lock:
        """Hold `path` exclusively, our pid inside; Locked when somebody else does."""

    @abstractmethod
    def free_bytes(self, path: str) -> int:
        """Room left for us on the file system of `path`."""

    @abstractmethod
    def _create(self, path: str) -> File: ...
    @abstractmethod
    def _rename(self, source: str, target: str) -> None: ...
    @abstractmethod
    def _link(self, source: str, target: str) -> None: ...
    @abstractmethod
    def _unlink(self, path: str) -> None: ...
    @abstractmethod
    def _mkdir(self, path: str) -> None: ...
    @abstractmethod
    def _rmdir(self, path: str) -> None: ...
    @abstractmethod
    def fsync_dir(self, path: str) -> None: ...

    def create(self, path: str) -> File:
        """A new empty file for reading and writing; what an earlier try left under that name is emptied."""
        return self._named(self._create(path))

    def create_private(self, path: str) -> File:
        """The same for a secret: its owner alone may read it, from the first byte on."""
        return self._named(self._create_private(path))

    def _named(self, file: File) -> File:
        try:
            self.fsync_dir(parent(file.path))
        except OSError:
            file.close()
            raise
        return file

    def rename(self, source: str, target: str) -> None:
        """Atomic within one directory, which is the only use we have for it."""
        assert parent(source) == parent(target), (source, target)
        self._rename(source, target)
        self.fsync_dir(parent(target))

    def link(self, source: str, target: str) -> None:
        """A second name for a file, in any directory of the same file system (OSError EXDEV: it is another one).

        FileExistsError when the name is taken. The content is one: what is written through one name shows under both.
        """
        self._link(source, target)
        self.fsync_dir(parent(target))

    def unlink(self, path: str) -> None:
        self._unlink(path)
        self.fsync_dir(parent(path))

    def open_regular(self, path: str) -> File:
        """An existing file to read; OSError if the name is a link or anything else that could lead elsewhere."""
        return self.open(path)

    def resolve(self, path: str) -> str:
        """The absolute path without links: where a directory that may be one really is."""
        return path

    def mkdir(self, path: str) -> None:
        """Make `path` and what is missing above it; a directory that exists is fine.

        Its name is synced even if it exists: an earlier try may have died before that.
        """
        above = parent(path)
        if not self.exists(above):
            self.mkdir(above)
        if not self.exists(path):
            self._mkdir(path)
        self.fsync_dir(above)

    def rmdir(self, path: str) -> None:
        """An empty directory; OSError when there is anything in it."""
        self._rmdir(path)
        self.fsync_dir(parent(path))

    def read_file(self, path: str) -> bytes:
        file = self.open(path)
        try:
            return file.pread(file.size(), 0)
        finally:
            file.close()

    def replace_file(self, path: str, data: bytes) -> None:
        """Old content or new content after a crash, never a mixture and never nothing."""
        self._replace(path, data, self.create(path + ".tmp"))

    def replace_private_file(self, path: str, data: bytes) -> None:
        """The same for a secret: its owner alone may read it, from the first byte on."""
        self._replace(path, data, self._create_private(path + ".tmp"))

    def mode(self, path: str) -> int:
        """Permission bits; a disk without them says that the owner alone may read and write."""
        return 0o600

    def _create_private(self, path: str) -> File:
        return self._create(path)

    def _replace(self, path: str, data: bytes, file: File) -> None:
        temporary = path + ".tmp"
        try:
            try:
                file.pwrite(data, 0)
                file.fsync()
            finally:
                file.close()
            self.rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):  # on a full disk it would take room, in a strange place stay for ever
                self._unlink(temporary)
            raise


def parent(path: str) -> str:
    return os.path.dirname(path) or "."


def join(*parts: str) -> str:
    return os.path.join(*parts)


class RealFile:
    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path, self._fd = path, fd

    def pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]  # Linux gives at most 2 GiB at once, and a network file system less
        while data and (size := size - len(data)):
            offset += len(data)
            data = os.pread(self._fd, size, offset)
            parts.append(data)
        return b"".join(parts)

    def pwrite(self, data: Bytes, offset: int) -> None:
        written = self._pwrite_some(data, offset)
        if written == len(data):
            return
        view = memoryview(data)
        while view := view[written:]:
            offset += written
            written = self._pwrite_some(view, offset)

    def _pwrite_some(self, data: Bytes, offset: int) -> int:
        """One pwrite. Python itself repeats it after EINTR (PEP 475)."""
        try:
            written = os.pwrite(self._fd, data, offset)
        except BlockingIOError:
            return 0
        if not written and len(data):
            raise OSError(errno.EIO, "pwrite wrote nothing", self.path)
        return written

    def allocate(self, size: int) -> None:
        os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def fdatasync(self) -> None:
        os.fdatasync(self._fd)

    def fsync(self) -> None:
        os.fsync(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Once; a second call does nothing, because the number may belong to another file by then."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class RealLock:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)  # the name stays: unlinking it would let two processes hold two files called LOCK


class RealDisk(Disk):
    def open(self, path: str, *, write: bool = False) -> File:
        return RealFile(path, os.open(path, os.O_RDWR if write else os.O_RDONLY))

    def open_regular(self, path: str) -> File:
        # Not blocking: opening a pipe would wait for its other end.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return RealFile(path, fd)

    def resolve(self, path: str) -> str:
        return os.path.realpath(path)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def lock(self, path: str) -> Lock:
        # It is written to, so never through a link that somebody has put there.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).strip()
            os.close(fd)
            raise Locked(path, int(holder) if holder.isdigit() else 0) from None
        except OSError:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        os.fsync(fd)
        self.fsync_dir(parent(path))
        return RealLock(fd)

    def free_bytes(self, path: str) -> int:
        stats = os.statvfs(path)
        return stats.f_bavail * stats.f_frsize

    def _create(self, path: str) -> File:
        # A new file is never somebody else's file that a link leads to.
        return RealFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640))

    def _create_private(self, path: str) -> File:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(fd, 0o600)  # it may be there from an earlier try, with another mode
        except OSError:
            os.close(fd)
            raise
        return RealFile(path, fd)

    def mode(self, path: str) -> int:
        return os.stat(path).st_mode & 0o777

    def _rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def _link(self, source: str, target: str) -> None:
        os.link(source, target)

    def _unlink(self, path: str) -> None:
        os.unlink(path)

    def _mkdir(self, path: str) -> None:
        os.mkdir(path, 0o750)

    def _rmdir(self, path: str) -> None:
        os.rmdir(path)

    def fsync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
