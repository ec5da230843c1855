"""A second data directory made of hard links: a snapshot, the sealed segments behind it, a keyring, and a manifest.

Promises: a directory that is not ours, or in which a server has been started, is never touched; the manifest comes
last, so what has one is whole and durable; what begins to be removed loses its manifest first.
A sealed segment and a published snapshot are never written again (they are replaced by other files or deleted), which
is what makes it right to share them with the original. Where no link can be made the bytes are copied.
Not here: when to make one (`engine.copies.online_backup`).
"""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from vaylix_resp.storage.active import Segment
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.listing import DIRECTORY as WAL
from vaylix_resp.storage.manifest import NAME as MANIFEST
from vaylix_resp.storage.manifest import Manifest, write_manifest
from vaylix_resp.storage.segment import parse_name
from vaylix_resp.storage.snapshot import DIRECTORY as SNAPSHOTS
from vaylix_resp.storage.snapshot import parse_snapshot_name

KEYRING: Final = "keyring"
KEYRING_FILE: Final = "keyring.json"
NOTE: Final = "backup.json"
LOCK: Final = "LOCK"
COPY_BYTES: Final = 1 << 20
NOTE_FORMAT: Final = 1
NOTE_BYTES_MAX: Final = 4096

# What a file system answers when it has no link for us: another one, none at all, or too many of this file.
NO_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Note:
    """What backup.json says of the directory it is in; times in seconds since the epoch, 0 for not yet."""

    start_time: int
    end_time: int = 0
    sequence: int = 0


class InUse(Exception):
    """The copy is a server's own data directory now."""


class DataCopy:
    """One directory, from empty to sealed and back. `files` are the absolute paths of what is in it for good."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.disk, self.directory = disk, directory
        self.files: list[str] = []

    def is_occupied(self) -> bool:
        """Whether anything is there but the note of a try that died before its first step."""
        if not self.disk.exists(self.directory):
            return False
        return any(name != NOTE + ".tmp" for name in self.disk.listdir(self.directory))

    def found(self) -> tuple[Note, bool] | None:
        """What an earlier process left: its note, and whether it was sealed. None: nothing of ours."""
        path = self._path(NOTE)
        if not self.disk.exists(path):
            return None
        note = _decode(self._read_note(path))
        if note is None:
            return None
        sealed = self.disk.exists(self._path(MANIFEST))
        if sealed:
            self.files = [path for path in self._known() if not path.endswith((".tmp", NOTE))]
        return note, sealed

    def _read_note(self, path: str) -> bytes:
        """Others may write here, too: a pipe would stop the start of a server, and no note of ours is large."""
        file = self.disk.open_regular(path)
        try:
            return file.pread(NOTE_BYTES_MAX, 0)
        finally:
            file.close()

    def begin(self, note: Note) -> None:
        """Make the directories; the note first, so that whatever a crash leaves is known to be ours."""
        self.disk.mkdir(self.directory)
        self.disk.replace_file(self._path(NOTE), _encode(note))
        for name in (SNAPSHOTS, WAL, KEYRING):
            self.disk.mkdir(self._path(name))

    def add_snapshot(self, path: str, name: str) -> None:
        self._add(path, self._path(SNAPSHOTS, name))

    def add_segment(self, segment: Segment) -> None:
        self._add(segment.path, self._path(WAL, segment.path.rpartition("/")[2]))

    def _add(self, source: str, target: str) -> None:
        link_or_copy(self.disk, source, target)
        self._pinned(target)

    def _pinned(self, path: str) -> None:
        if path not in self.files:  # a second try of what has failed before
            self.files.append(path)

    def seal(self, manifest: Manifest, keyring: bytes | None, note: Note) -> None:
        """Complete it. `manifest` names the snapshot and, as a clean stop, the last batch of the last segment."""
        if keyring is not None:
            path = self._path(KEYRING, KEYRING_FILE)
            self.disk.replace_file(path, keyring)
            self._pinned(path)
        self.disk.replace_file(self._path(NOTE), _encode(note))
        write_manifest(self.disk, self.directory, manifest)
        self._pinned(self._path(MANIFEST))

    def remove(self) -> None:
        """Delete what we made, and nothing else. Can be repeated. Raises InUse when a server lives there."""
        if not self.disk.exists(self.directory):
            return
        if self.disk.exists(self._path(LOCK)):
            raise InUse(f"{self._path(LOCK)}: a server has been started in this backup; move the directory elsewhere")
        self.files = []
        for path in self._known():
            self.disk.unlink(path)
        for name in (SNAPSHOTS, WAL, KEYRING):
            if self.disk.exists(self._path(name)) and not self.disk.listdir(self._path(name)):
                self.disk.rmdir(self._path(name))
        if self.disk.exists(self._path(NOTE)):
            self.disk.unlink(self._path(NOTE))

    def _known(self) -> list[str]:
        """Files with names of ours, the manifest first; all but the note, which goes last."""
        found = [self._path(name) for name in (MANIFEST, MANIFEST + ".tmp", NOTE + ".tmp")]
        found = [path for path in found if self.disk.exists(path)]
        for directory in (SNAPSHOTS, WAL, KEYRING):
            if self.disk.exists(self._path(directory)):
                names = self.disk.listdir(self._path(directory))
                found += [self._path(directory, name) for name in names if _is_ours(directory, name)]
        return found

    def _path(self, *names: str) -> str:
        return join(self.directory, *names)


def _is_ours(directory: str, name: str) -> bool:
    name = name.removesuffix(".tmp")
    if directory == KEYRING:
        return name == KEYRING_FILE
    if directory == SNAPSHOTS:
        return parse_snapshot_name(name) is not None
    parsed = parse_name(name)
    return parsed is not None and parsed.last is not None


def sealed_behind(segments: list[Segment], after: int, committed: int) -> list[Segment]:
    """The sealed ones that hold anything behind `after` and nothing behind `committed`, in order, each once.

    What is behind it may yet be cut. Whoever asks looks at `committed` before the segments, not after them.
    """
    found: dict[str, Segment] = {}
    for segment in segments:
        name = parse_name(segment.path.rpartition("/")[2])
        if name is not None and name.last is not None and after < segment.last <= committed:
            found[segment.path] = segment
    return sorted(found.values(), key=lambda segment: segment.first)


def missing_behind(base: int, segments: Sequence[Segment], up_to: int) -> int | None:
    """The first sequence from base + 1 to `up_to` that these segments do not hold; None when they hold all."""
    last = base
    for segment in segments:
        if segment.first > last + 1:
            break
        last = max(last, segment.last)
    return last + 1 if last < up_to else None


def link_or_copy(disk: Disk, source: str, target: str) -> None:
    """The file under a second name, durably. What an earlier try left under that name is taken away first."""
    if disk.exists(target):
        disk.unlink(target)
    try:
        disk.link(source, target)
    except OSError as cause:
        if cause.errno not in NO_LINK:
            raise
        copy_file(disk, source, target)


def copy_file(disk: Disk, source: str, target: str) -> None:
    """Under its name only when it is whole and durable."""
    temporary = target + ".tmp"
    reading = disk.open(source)
    try:
        writing = disk.create(temporary)
        try:
            size = reading.size()
            for offset in range(0, size, COPY_BYTES):
                writing.pwrite(reading.pread(min(COPY_BYTES, size - offset), offset), offset)
                # In pieces: one fsync of everything at the end would stall those of the log.
                writing.fdatasync()
            writing.fsync()
        finally:
            writing.close()
    finally:
        reading.close()
    disk.rename(temporary, target)


def _encode(note: Note) -> bytes:
    return json.dumps({"format": NOTE_FORMAT, **asdict(note)}, indent=2).encode() + b"\n"


def _decode(raw: bytes) -> Note | None:
    """None for what we have not written: then the directory is somebody else's."""
    try:
        body = json.loads(raw)
        if body.pop("format") != NOTE_FORMAT:
            return None
        note = Note(**body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return note if all(type(value) is int for value in asdict(note).values()) else None
