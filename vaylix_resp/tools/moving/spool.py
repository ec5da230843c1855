"""What a primary has sent and the target has not got yet, in files on this machine.

A primary drops a replica that reads too slowly, and remembers little for one that comes back (repl-backlog-size). So
all that comes is written here at once, the file and the stream behind it, and after a kill -9 only what was not yet
here has to be asked for.
Promises: what is here belongs to one history, without gaps; after a restart of this machine nothing is believed, as it
was not synced (the target's mark still says how far it is); what cannot be written ends the import (NotKept), since
half a write that was made again would stand there twice.
Units: bytes; offsets are those of the history. One thread writes, one reads.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from ...errors import EX_IO, Refused
from ...limits import GIB, MIB

SEGMENT_BYTES: Final = 64 * MIB
SPOOL_BYTES_MAX: Final = 64 * GIB  # of stream; beyond it nothing more is read until the target has caught up
LOCK: Final = "LOCK"
_PREFIX: Final = "stream-"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class InUse(Refused):
    exit_code = EX_IO


class NotKept(Refused):
    """The disk of this machine is full, or fails. What had been written stays, and is gone on from."""

    exit_code = EX_IO

    def __init__(self, directory: Path, cause: OSError) -> None:
        super().__init__(
            f"{directory}: {cause.strerror or cause}; make room there, or choose another place with --state; the same "
            "command goes on"
        )


class Renewed(Exception):
    """What was here is gone: the source began anew."""


class Spool:
    """A directory. `origin` names the file and the stream behind it, `replid` the history as it is called now;
    `generation` rises when all of it is forgotten."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InUse(f"{directory}: another import is at work there") from None
        self.origin = self.replid = ""
        self.start = self.end = 0  # of the stream, as far as it has been written
        self.generation = 0
        self._guard = threading.Lock()  # of what both threads touch: the names of the files and what is being read
        self._writing: BinaryIO | None = None
        self._reading: tuple[int, BinaryIO] | None = None
        self._load()

    @property
    def dump(self) -> Path:
        return self._directory / "dump.rdb"

    def _load(self) -> None:
        """Believe what an import left that was killed, or nothing."""
        try:
            facts = json.loads((self._directory / "source.json").read_text())
            believed = facts["boot"] == _boot() and bool(_boot())
            self.origin, self.replid, self.start = str(facts["origin"]), str(facts["replid"]), int(facts["start"])
        except (OSError, ValueError, KeyError, TypeError):
            believed = False
        if not believed:
            self.wipe()
            return
        self.end = self.start
        for start, path in self._segments():
            if self.end not in (start, self.start):
                self.wipe()
                return
            self.end = start + path.stat().st_size

    def _segments(self) -> list[tuple[int, Path]]:
        found = [(int(path.name[len(_PREFIX) :]), path) for path in self._directory.glob(f"{_PREFIX}*")]
        return sorted(found)

    def has(self, offset: int) -> bool:
        """Whether the stream behind `offset` is here as far as it has come."""
        segments = self._segments()
        first = segments[0][0] if segments else self.end
        return bool(self.origin) and first <= offset <= self.end

    def wipe(self) -> None:
        """Forget all."""
        with self._guard:
            self.generation += 1
            self._close_files()
            self.origin = self.replid = ""
            self.start = self.end = 0
            for path in self._directory.iterdir():
                if path.name == "source.json" or path.name.startswith((_PREFIX, "dump.rdb")):
                    path.unlink()

    def remove(self) -> None:
        """All of ours is gone, and so is the directory, unless somebody else has something in it."""
        self.wipe()
        (self._directory / LOCK).unlink(missing_ok=True)
        self.close()
        with suppress(OSError):
            self._directory.rmdir()

    def close(self) -> None:
        """Keep all of it for another time."""
        self._close_files()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close_files(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None

    # Writing.

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            raise NotKept(self._directory, cause) from cause

    def begin(self) -> None:
        """A file follows."""
        with self._kept():
            self.wipe()
            self._writing = (self._directory / "dump.rdb.part").open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        """More of the file."""
        assert self._writing is not None
        with self._kept():
            _write_all(self._writing, data)

    def complete(self, replid: str, offset: int) -> None:
        """The file is whole; its stream begins behind `offset`."""
        assert self._writing is not None
        self._writing.close()
        self._writing = None
        with self._kept():
            os.replace(self._directory / "dump.rdb.part", self.dump)
        self.start = self.end = offset
        # No two files are the same: a source at rest may send another at the same offset, its keys in another order.
        self.origin, self.replid = f"{replid}:{offset}:{secrets.token_hex(4)}", replid
        self._note()

    def resume(self, replid: str, offset: int, origin: str) -> None:
        """Only a stream follows, behind `offset`, without the file."""
        self.wipe()
        self.start = self.end = offset
        self.origin, self.replid = origin, replid
        self._note()

    def rename(self, replid: str) -> None:
        """The history goes on under another name."""
        self.replid = replid
        self._note()

    def _note(self) -> None:
        facts: dict[str, Any] = {
            "origin": self.origin, "replid": self.replid, "start": self.start, "boot": _boot(),
        }  # fmt: skip
        temporary = self._directory / "source.json.part"
        with self._kept():
            temporary.write_text(json.dumps(facts))
            os.replace(temporary, self._directory / "source.json")

    def append(self, data: bytes) -> None:
        """More of the stream."""
        with self._kept():
            if self._writing is None or self._writing.tell() >= SEGMENT_BYTES:
                if self._writing is not None:
                    self._writing.close()
                self._writing = (self._directory / f"{_PREFIX}{self.end:020d}").open("ab", buffering=0)
            _write_all(self._writing, data)
        self.end += len(data)

    # Reading.

    def read(self, generation: int, offset: int, most: int = MIB) -> bytes:
        """What comes behind `offset`; b"" when there is nothing yet. Renewed."""
        with self._guard:
            if generation != self.generation:
                raise Renewed
            if offset >= self.end:
                return b""
            if self._reading is not None:
                start, file = self._reading
                file.seek(max(0, offset - start))
                if start <= offset and (data := file.read(most)):
                    return data
                file.close()
            start, path = [one for one in self._segments() if one[0] <= offset][-1]
            file = path.open("rb", buffering=0)
            self._reading = (start, file)
            file.seek(offset - start)
            return file.read(most)

    def release(self, generation: int, offset: int) -> None:
        """What is before `offset` is not needed any more, nor is the file. Renewed."""
        with self._guard:
            if generation != self.generation:
                raise Renewed
            segments = self._segments()
            for (_, path), (behind, _) in zip(segments, segments[1:], strict=False):
                if behind <= offset:
                    path.unlink()
            self.dump.unlink(missing_ok=True)


def _boot() -> str:
    """Which start of this machine it is; "" when nobody knows."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
