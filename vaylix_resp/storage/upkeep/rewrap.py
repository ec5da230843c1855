"""The keys that file headers name: which key each file needs, and a file's data key put under another one.

Only the header's room for the key changes; data key, records, tags and digests stay as they are, and so does everything
that names the file. A file is replaced as a whole: written under a temporary name, synced, renamed.
Promise: a file that cannot be read is a refusal, never a file that needs no key; a crash leaves the old file or the new
one, and a keyring that has both keys opens either.
Not here: when (`engine.keyring`, `tools.storage_keys`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from xxhash import xxh3_128_digest

from vaylix_resp.storage.disk import Disk, File, join
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable
from vaylix_resp.storage.listing import DIRECTORY as WAL
from vaylix_resp.storage.listing import QUARANTINE
from vaylix_resp.storage.sealing import KEY_ROOM, WRAPPED_BYTES_MAX
from vaylix_resp.storage.segment import FORMAT_VERSION, SEGMENT_HEADER_BYTES, SegmentHeader
from vaylix_resp.storage.snapshot import DIRECTORY as SNAPSHOTS
from vaylix_resp.storage.snapshot import FORMAT_VERSION as SNAPSHOT_VERSION
from vaylix_resp.storage.snapshot import HEADER_BYTES as SNAPSHOT_HEADER_BYTES
from vaylix_resp.storage.snapshot import SnapshotHeader

CLEAR_FILE: Final = 0  # as a key's number: the file needs none
COPY_BYTES: Final = 1 << 20
LISTINGS_MAX: Final = 20  # of a directory that changes while it is looked at
DIGEST_BYTES: Final = 16
MARK_BYTES: Final = 8
UNSEALED_VERSION: Final = 1  # the last without keys; a version of two bytes follows the mark
SUFFIX: Final = ".tmp"

Wrap = Callable[[bytes, bytes], tuple[int, bytes]]  # (data key, bound) -> key's number and wrapped key
Unwrap = Callable[[int, bytes, bytes, str], bytes]  # (key's number, wrapped, bound, path) -> data key


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of file: its header is what is bound, the room for the key, filling, and a digest of all that."""

    version: int
    header_bytes: int
    bound_bytes: int


_SEGMENT = SegmentHeader(b"", 0, b"", 0).bound()
_SNAPSHOT = SnapshotHeader(b"", 0, b"", 0, 0).bound()
FORMS: Final = {  # by the mark that a file begins with
    _SEGMENT[:MARK_BYTES]: Form(FORMAT_VERSION, SEGMENT_HEADER_BYTES, len(_SEGMENT)),
    _SNAPSHOT[:MARK_BYTES]: Form(SNAPSHOT_VERSION, SNAPSHOT_HEADER_BYTES, len(_SNAPSHOT)),
}


def key_ids(disk: Disk, root: str) -> dict[str, int]:
    """path -> number of the key that its header names (or CLEAR_FILE), of every file of the directory that has one.

    The directory may be in use: a file that is renamed meanwhile is found under its new name.
    """
    aside = join(root, QUARANTINE) + "/"
    found: dict[str, int | None] = {}
    for _ in range(LISTINGS_MAX):
        paths = sealed_paths(disk, root)
        if not set(paths) - found.keys():
            return {path: key_id for path in paths if (key_id := found[path]) is not None}
        for path in paths:
            if path not in found:
                try:
                    found[path] = key_id_of(disk, path, aside=path.startswith(aside))
                except FileNotFoundError:  # renamed or pruned since it was listed: the next listing tells
                    continue
    raise Corrupt(root, 0, "a directory that can be listed", advice="try again when fewer files come and go")


def sealed_paths(disk: Disk, root: str) -> list[str]:
    """Segments and snapshots, and whatever has been put aside (which may be either)."""
    return [path for directory in (WAL, SNAPSHOTS, QUARANTINE) for path in _files(disk, join(root, directory)) or ()]


def _files(disk: Disk, directory: str) -> list[str] | None:
    """All below it but what is half-made; None when it is no directory."""
    try:
        names = disk.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise Unreadable(directory, 0, cause) from cause
    found: list[str] = []
    for name in names:
        if not name.endswith(SUFFIX):
            path = join(directory, name)
            below = _files(disk, path)
            found += [path] if below is None else below
    return found


def key_id_of(disk: Disk, path: str, *, aside: bool = False) -> int | None:
    """CLEAR_FILE when it is in the clear. None, for what has been put aside only: no header (the torn end of a log).

    Raises FileNotFoundError, Unreadable, and Corrupt for a header that is damaged.
    """
    file = _open(disk, path)
    try:
        if aside and _read(file, path)[:MARK_BYTES] not in FORMS:
            return None
        return _read_header(file, path).key_id
    except Corrupt as damage:
        if not aside:
            raise
        raise Corrupt(
            path, damage.offset, damage.expected, advice="move this file out of the data directory"
        ) from damage
    finally:
        file.close()


@dataclass(frozen=True, slots=True)
class Header:
    form: Form
    raw: bytes
    key_id: int
    wrapped: bytes

    @property
    def bound(self) -> bytes:
        return self.raw[: self.form.bound_bytes]

    def with_key(self, key_id: int, wrapped: bytes) -> bytes:
        room = KEY_ROOM.pack(key_id, wrapped.ljust(WRAPPED_BYTES_MAX, b"\0"))
        raw = self.bound + room + self.raw[self.form.bound_bytes + KEY_ROOM.size : -DIGEST_BYTES]
        return raw + xxh3_128_digest(raw)


def _open(disk: Disk, path: str) -> File:
    try:
        return disk.open(path)
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause


def _read(file: File, path: str) -> bytes:
    """As much as the largest header has."""
    try:
        return file.pread(max(form.header_bytes for form in FORMS.values()), 0)
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause


def _read_header(file: File, path: str) -> Header:
    raw = _read(file, path)
    form = FORMS.get(raw[:MARK_BYTES])
    if form is None:
        raise Corrupt(path, 0, "the mark of a segment or a snapshot")
    raw = raw[: form.header_bytes]
    if len(raw) < form.header_bytes or raw[-DIGEST_BYTES:] != xxh3_128_digest(raw[:-DIGEST_BYTES]):
        raise Corrupt(path, 0, "a header with a right checksum")
    version = int.from_bytes(raw[MARK_BYTES : MARK_BYTES + 2], "little")
    if version == UNSEALED_VERSION:
        return Header(form, raw, CLEAR_FILE, b"")
    if version != form.version:
        raise Corrupt(path, MARK_BYTES, f"format version {form.version}, this one is {version}")
    key_id, wrapped = KEY_ROOM.unpack_from(raw, form.bound_bytes)
    return Header(form, raw, key_id, wrapped)


def rewrap(disk: Disk, path: str, unwrap: Unwrap, wrap: Wrap) -> bool:
    """Put the data key of a file under the key that `wrap` uses; False if it has none. Durable when this returns."""
    file = _open(disk, path)
    try:
        header = _read_header(file, path)
        if header.key_id == CLEAR_FILE:
            return False
        raw = header.with_key(*wrap(unwrap(header.key_id, header.wrapped, header.bound, path), header.bound))
        _replace(disk, file, path, raw)
    except OSError as cause:
        raise IoFailed(path, cause) from cause
    finally:
        file.close()
    return True


def _replace(disk: Disk, old: File, path: str, header: bytes) -> None:
    new = disk.create(path + SUFFIX)
    try:
        new.pwrite(header, 0)
        offset, size = len(header), old.size()
        while offset < size:
            piece = old.pread(min(COPY_BYTES, size - offset), offset)
            new.pwrite(piece, offset)
            offset += len(piece)
        new.fsync()
    finally:
        new.close()
    disk.rename(path + SUFFIX, path)
