"""Backups in a directory: their names, and the sidecar NAME.json that makes a file NAME.vxb a backup.

The sidecar says what the file must be (size, SHA-256, counts, digests) and holds a copy of the keyring, wrapped, so
that file, sidecar and master key are all that a restore needs. It is written last: without one there is no backup.
Promise: a name never leads out of the directory; the file is durable under its name before the sidecar is; a sidecar
of which a single bit differs is refused. Not here: the file's format (`backup_file`), which key opens the copy.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, Final

from vaylix_resp.errors import EX_CONFIG, printable
from vaylix_resp.storage.copies.backup_file import Content
from vaylix_resp.storage.copies.backup_reader import ADVICE
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, IoFailed, Locked, StorageError, Unreadable

FORMAT_VERSION: Final = 1
FILE_SUFFIX: Final = ".vxb"
SIDECAR_SUFFIX: Final = ".json"
TEMPORARY: Final = ".tmp"
DATA_DIRECTORIES: Final = frozenset({"wal", "snapshots", "keyring", "archive", "audit", "quarantine"})
LOCK: Final = ".vaylix-backup.lock"
# What a file system without locks answers: a share of some kind, and whoever mounts it sees to it that one writes.
NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
SIDECAR_BYTES_MAX: Final = 16 << 20  # the copy of a keyring is the largest part of it: a few hundred bytes per key
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)


class BackupRefused(StorageError):
    """A name or a place that cannot be used; nothing has been changed."""

    exit_code = EX_CONFIG


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What NAME.json says. Times in ms since the epoch, sizes in bytes."""

    name: str
    made_by: str  # version of this program
    store_id: str
    sequence: int
    term: int
    time_ms: int
    databases: int
    keys: int
    counts: dict[str, dict[str, int]]  # keys by database and type
    sealed: bool
    bytes: int
    sha256: str
    plain_bytes: int
    plain_sha256: str
    keys_digest: str
    state_digest: str
    keyring: str | None  # the content of keyring.json; None for a backup in the clear


@dataclass(frozen=True, slots=True)
class Listed:
    """What one name in a backup directory is: `sidecar` if it is whole, else `problem`."""

    name: str
    sidecar: Sidecar | None
    problem: str


def check_name(name: str) -> str:
    """The name, if it is one. Raises BackupRefused."""
    if not _NAME.fullmatch(name):
        shown = printable(name.encode("utf-8", "surrogateescape"))
        raise BackupRefused(
            f"'{shown}' is no name for a backup: it has 1 to 128 letters, digits, '.', '_' and '-', and no dot in front"
        )
    return name


def file_path(directory: str, name: str) -> str:
    return join(directory, check_name(name) + FILE_SUFFIX)


def sidecar_path(file: str) -> str:
    """Of a backup file, by its path."""
    return file.removesuffix(FILE_SUFFIX) + SIDECAR_SUFFIX


def make_sidecar(name: str, made_by: str, content: Content, keyring: bytes | None) -> Sidecar:
    head, tail = content.head, content.tail
    return Sidecar(
        name, made_by, head.store_id, head.sequence, head.term, head.time_ms, head.databases, tail.keys, content.counts,
        content.sealed, content.bytes, content.sha256, content.plain_bytes, content.plain_sha256, tail.keys_digest,
        tail.state_digest, None if keyring is None else keyring.decode("ascii"),
    )  # fmt: skip


def check_content(sidecar: Sidecar, content: Content, path: str) -> None:
    """Raises Corrupt unless the file is the one that the sidecar was written for."""
    found = make_sidecar(sidecar.name, sidecar.made_by, content, None)
    for field in fields(Sidecar):
        want, have = getattr(sidecar, field.name), getattr(found, field.name)
        if field.name != "keyring" and want != have:
            raise Corrupt(path, 0, f"{field.name} {want} as its sidecar says, found {have}", advice=ADVICE)


def publish(disk: Disk, temporary: str, sidecar: Sidecar) -> str:
    """Give the finished, durable file its name, then the sidecar; the file's path.

    Both are durable before either gets its name, so whatever a crash leaves is known as unfinished by its `.tmp`.
    """
    path = temporary.removesuffix(TEMPORARY)
    beside = sidecar_path(path)
    try:
        _write(disk, beside + TEMPORARY, encode_sidecar(sidecar))
    except OSError as cause:
        with contextlib.suppress(OSError):  # its room may be what the log needs; what stays the next backup removes
            disk.unlink(temporary)
        raise IoFailed(path, cause) from cause
    try:
        disk.rename(temporary, path)
        disk.rename(beside + TEMPORARY, beside)
    except OSError as cause:
        raise IoFailed(path, cause) from cause
    return path


def _write(disk: Disk, path: str, data: bytes) -> None:
    file = disk.create(path)
    try:
        file.pwrite(data, 0)
        file.fsync()
    finally:
        file.close()


def check_place(disk: Disk, root: str, directory: str) -> None:
    """Raises BackupRefused for a place among the files of the data directory `root`: no start would take them then."""
    where, data = disk.resolve(directory), disk.resolve(root)
    inside = where.removeprefix(data + "/").partition("/")[0] if where.startswith(data + "/") else ""
    if where == data or inside in DATA_DIRECTORIES:
        raise BackupRefused(
            f"{directory}: is where {root} has its own files; choose {join(root, 'backups')}, or a directory elsewhere"
        )


@contextlib.contextmanager
def alone(disk: Disk, directory: str) -> Iterator[None]:
    """Around `prepare` to `publish`: no other process makes a backup in this directory, or clears away ours.

    Makes the directory. Raises BackupRefused while somebody else is at it, IoFailed.
    """
    lock = None
    try:
        disk.mkdir(directory)
        lock = disk.lock(join(directory, LOCK))
    except Locked as held:
        raise BackupRefused(
            f"{directory}: process {held.pid} is making a backup there; try again when it has ended"
        ) from held
    except OSError as cause:
        if cause.errno not in NO_LOCKS:
            raise IoFailed(directory, cause) from cause
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def prepare(disk: Disk, directory: str, name: str, *, ours: bool = True) -> str:
    """Make the directory, clear away what interrupted backups left, and see that the name is free; its temporary path.

    Whoever shares the directory with other processes is `alone` from here to `publish`.
    `ours`: the directory is for backups, so leftovers of other names may go, too. Raises BackupRefused, IoFailed.
    """
    path = file_path(directory, name)
    try:
        disk.mkdir(directory)
        clean(disk, directory, None if ours else name)
        there = set(disk.listdir(directory))
    except OSError as cause:
        raise IoFailed(directory, cause) from cause
    for taken in (name + FILE_SUFFIX, name + SIDECAR_SUFFIX):
        if taken in there:
            path = join(directory, taken)
            raise BackupRefused(f"{path}: exists already; choose another name, or delete file and sidecar first")
    return path + TEMPORARY


def clean(disk: Disk, directory: str, only: str | None = None) -> None:
    """Delete what interrupted backups left: temporary files, and a file whose sidecar never got its name.

    The temporary sidecar is the mark by which such a file is known, so it goes after the file.
    """
    there = set(disk.listdir(directory))
    for name in _unfinished(there) if only is None else [only]:
        file, sidecar = name + FILE_SUFFIX, name + SIDECAR_SUFFIX
        marked = sidecar + TEMPORARY in there
        if marked and file in there and sidecar not in there:
            disk.unlink(join(directory, file))
        for leftover in (file + TEMPORARY, sidecar + TEMPORARY):
            if leftover in there:
                disk.unlink(join(directory, leftover))


def _unfinished(there: set[str]) -> list[str]:
    """By their files: a temporary JSON file alone may be another program's."""
    files = (entry.removesuffix(TEMPORARY) for entry in there)
    found = {file.removesuffix(FILE_SUFFIX) for file in files if file.endswith(FILE_SUFFIX)}
    return sorted(name for name in found if _NAME.fullmatch(name))


def _names(there: set[str]) -> list[str]:
    """All that is, or might be taken for, a backup, in order."""
    found = set()
    for entry in there:
        for suffix in (FILE_SUFFIX, FILE_SUFFIX + TEMPORARY, SIDECAR_SUFFIX):
            if entry.endswith(suffix) and _NAME.fullmatch(entry.removesuffix(suffix)):
                found.add(entry.removesuffix(suffix))
    return sorted(found)


def list_backups(disk: Disk, directory: str) -> list[Listed]:
    """Every name, whole or not, in order. Sidecars are read, files are not."""
    try:
        there = set(disk.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as cause:
        raise Unreadable(directory, 0, cause, advice=ADVICE) from cause
    return [_listed(disk, directory, name, there) for name in _names(there)]


def _listed(disk: Disk, directory: str, name: str, there: set[str]) -> Listed:
    if name + SIDECAR_SUFFIX not in there:
        return Listed(name, None, "incomplete: it has no sidecar")
    if name + FILE_SUFFIX not in there:
        return Listed(name, None, "incomplete: its file is missing")
    path = file_path(directory, name)
    try:
        return Listed(name, read_sidecar(disk, path), "")
    except StorageError as problem:
        return Listed(name, None, str(problem))


def read_sidecar(disk: Disk, file: str) -> Sidecar:
    """The sidecar of the backup file at this path. Raises Corrupt, Unreadable or BackupRefused."""
    path = sidecar_path(file)
    try:
        opened = disk.open_regular(path)
    except FileNotFoundError as cause:
        raise BackupRefused(f"{path}: there is no such backup: a file {file} is one only beside this") from cause
    except OSError as cause:
        raise Unreadable(path, 0, cause, advice=ADVICE) from cause
    try:
        raw = opened.pread(SIDECAR_BYTES_MAX + 1, 0)
    except OSError as cause:
        raise Unreadable(path, 0, cause, advice=ADVICE) from cause
    finally:
        opened.close()
    return decode_sidecar(raw, path)


def encode_sidecar(sidecar: Sidecar) -> bytes:
    body = {"format": FORMAT_VERSION, **asdict(sidecar)}
    return json.dumps({"checksum": _checksum(body), **body}, indent=2).encode() + b"\n"


def decode_sidecar(raw: bytes, path: str) -> Sidecar:
    try:
        if len(raw) > SIDECAR_BYTES_MAX:
            raise ValueError("it is too large")
        body: dict[str, Any] = json.loads(raw.decode("ascii"))
        checksum = body.pop("checksum")
        version = body["format"]
        whole = checksum == _checksum(body)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as cause:
        raise Corrupt(path, 0, f"a backup's sidecar in JSON with a checksum ({cause})", advice=ADVICE) from cause
    if not whole:
        raise Corrupt(path, 0, "a sidecar with a right checksum", advice=ADVICE)
    if version != FORMAT_VERSION:
        raise Corrupt(
            path, 0, f"sidecar format version {FORMAT_VERSION}, this one is {version!r:.40}",
            advice="use the version of vaylix that wrote it",
        )  # fmt: skip
    del body["format"]
    try:
        sidecar = Sidecar(**body)
        # JSON has many spellings of one value, of which only ours is accepted.
        if _well_typed(sidecar) and encode_sidecar(sidecar) == raw and _NAME.fullmatch(sidecar.name):
            return sidecar
    except (TypeError, ValueError) as cause:
        raise Corrupt(path, 0, f"the fields of a sidecar ({cause})", advice=ADVICE) from cause
    raise Corrupt(path, 0, "a sidecar as this program writes it", advice=ADVICE)


def _well_typed(sidecar: Sidecar) -> bool:
    """A checksum proves that nothing has changed, not that we wrote it."""
    for field in fields(Sidecar):
        value = getattr(sidecar, field.name)
        if field.name == "counts":
            good = isinstance(value, dict) and all(
                number.isdecimal() and isinstance(types, dict) and all(type(n) is int for n in types.values())
                for number, types in value.items()
            )
        elif field.name == "keyring":
            good = value is None or isinstance(value, str)
        else:
            good = type(value).__name__ == field.type
        if not good:
            return False
    return True


def _checksum(body: dict[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
