"""What a verification shows beyond right bytes: the keyring opens, snapshots hold the state that they say, and the log
leads from each of them to the next.

Promise: read-only. A state is called right only after it has been built and its digest compared with the recorded one.
Units: sequences from 1.
Not here: bytes, frames and names (`storage.upkeep.verify`); backups' own format (`backup_state`).
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from ..errors import EX_CONFIG, Refused
from ..security.keyring import keyring_path
from ..security.master_key import OWN, Source
from ..state import image
from ..state.digest import digest_hex
from ..state.machine import StateMachine
from ..storage.batch import Batch
from ..storage.copies import archive
from ..storage.copies.backup_sidecar import file_path, list_backups
from ..storage.disk import Disk, join
from ..storage.history import DataDirectory, History, Vanished
from ..storage.manifest import Manifest, SnapshotInfo
from ..storage.sealing import CLEAR, Keys
from ..storage.upkeep.report import FileReport, Problem, Report, Status
from ..storage.upkeep.verify import Verification
from ..storage.upkeep.verify import verify as verify_files
from ..storage.upkeep.verify_log import problem_of
from . import entries
from .boot import TooFewDatabases, load_snapshot, new_machine, replay
from .copies.backup_state import check_file
from .history.restore import DATABASES_MAX
from .keys import reading_keys

Say = Callable[[str, int, int], None]  # what, done, total


def verify(
    disk: Disk, root: str, source: Source, *, quick: bool = False, backup_dirs: tuple[str, ...] = (),
    say: Say | None = None,
) -> Report:  # fmt: skip
    """Everything in a data directory. `quick`: the bytes, not the states. Raises KeyringError: the master key is wrong
    or missing, so that nothing sealed can be checked; Unreadable: a directory cannot be listed."""
    say = say or _unwatched
    keys, keyring = _open_keyring(disk, root, source)
    verification = verify_files(disk, root, keys, lambda done, total: say("bytes checked", done, total))
    report = verification.report
    report.files[1:1] = keyring
    _check_keyring_id(verification, keys, keyring)
    for directory in backup_dirs:
        report.files += check_backups(disk, directory)
    _check_archive_state(disk, root, report)
    if not quick and keys is not None and verification.manifest is not None:
        prove(disk, root, keys, verification.manifest, report, say)
    return report


def _open_keyring(disk: Disk, root: str, source: Source) -> tuple[Keys | None, list[FileReport]]:
    """The keys, None when the keyring is damaged; and what is to be said of keyring and master key."""
    files: list[FileReport] = []
    if source.kind == OWN and disk.exists(source.place):
        files.append(_private_file(disk, source.place, "master.key", "master key"))
    path = keyring_path(root)
    if not disk.exists(path):
        return CLEAR, files
    file = _private_file(disk, path, "keyring/keyring.json", "keyring")
    file.status = Status.OK  # its keys are wrapped: others may read it
    files.append(file)
    try:
        return reading_keys(disk, root, source), files
    except Refused as failure:
        if failure.exit_code == EX_CONFIG:
            raise  # the operator's master key, not the files
        file.add(Problem(str(failure).removeprefix(f"{path}: ")))
        return None, files


def _private_file(disk: Disk, path: str, name: str, kind: str) -> FileReport:
    file = FileReport(name, kind)
    try:
        opened = disk.open(path)
        with closing(opened):
            file.bytes = opened.size()
        mode = disk.mode(path)
    except OSError as cause:
        file.add(Problem(f"the disk cannot read it ({cause})"), Status.UNREADABLE)
        return file
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        file.note = f"readable by others (mode {mode:04o})"
    return file


def _check_keyring_id(verification: Verification, keys: Keys | None, files: list[FileReport]) -> None:
    """The manifest says whose keys seal the files."""
    manifest = verification.manifest
    if manifest is None or keys is None or manifest.keyring_id in ("", keys.id):
        return
    if not keys.id:
        file = FileReport("keyring/keyring.json", "keyring")
        file.add(Problem(f"the manifest names keyring {manifest.keyring_id}"), Status.MISSING)
        verification.report.files.insert(1, file)
        return
    files[-1].add(Problem(f"expected keyring {manifest.keyring_id} as in the manifest, this one is {keys.id}"))


def check_backups(disk: Disk, directory: str) -> list[FileReport]:
    """Each logical backup: sidecar, size and SHA-256. What is in it, `vaylix backup verify` reads."""
    found: list[FileReport] = []
    if not disk.exists(directory):
        return found
    for listed in list_backups(disk, directory):
        path = file_path(directory, listed.name)
        file = FileReport(path, "backup")
        found.append(file)
        if listed.sidecar is None:
            file.status, file.note = Status.LEFTOVER, listed.problem
            if disk.exists(path) and disk.exists(path.removesuffix(".vxb") + ".json"):
                file.add(Problem(listed.problem))
            continue
        side = listed.sidecar
        file.bytes, file.first, file.last, file.entries = side.bytes, side.sequence, side.sequence, side.keys
        file.from_ms = file.to_ms = side.time_ms
        file.sealed = side.sealed
        try:
            check_file(disk, path, side)
        except Refused as failure:
            file.add(*problem_of(failure))
    return found


def _check_archive_state(disk: Disk, root: str, report: Report) -> None:
    path = join(root, archive.DIRECTORY, archive.STATE)
    if not disk.exists(path):
        return
    file = FileReport(f"{archive.DIRECTORY}/{archive.STATE}", "archive state")
    report.files.append(file)
    try:
        raw = disk.read_file(path)
        file.bytes = len(raw)
        if archive.decode_state(raw) is None:
            file.add(Problem("expected the account of the archive with a right checksum; the server begins a new one"))
    except OSError as cause:
        file.add(Problem(f"the disk cannot read it ({cause})"), Status.UNREADABLE)


def prove(disk: Disk, root: str, keys: Keys, manifest: Manifest, report: Report, say: Say) -> None:
    """Load each whole snapshot; then replay from the oldest over the log, comparing on the way."""
    files = {file.path.rpartition("/")[2]: file for file in report.files}
    whole = [info for info in manifest.snapshots if info.sequence in report.snapshots]
    history = History(disk, DataDirectory(disk, root), keys)
    recorded: dict[int, str] = {}
    for info in whole:
        try:
            machine, digest = _load(history, info)
        except Vanished:
            report.warnings.append(f"{info.file} was replaced meanwhile and has not been loaded; repeat the command")
            continue
        except Refused as failure:
            files[info.file].add(*problem_of(failure))
            continue
        found = digest_hex(machine)
        if digest is not None and found != digest:
            text = f"expected a state with digest {digest}, loaded it has {found}"
            files[info.file].add(Problem(text, None, info.sequence))
            continue
        recorded[info.sequence] = found
        report.proofs.append(f"{info.file}: loads, digest {found}")
    if report.whole:
        try:
            _replay(history, [info for info in whole if info.sequence in recorded], recorded, report, say)
        except Vanished:
            report.warnings.append("the log was pruned meanwhile and has not been replayed; repeat the command")


def _load(history: History, info: SnapshotInfo) -> tuple[StateMachine, str | None]:
    """The state of a snapshot, and the digest that its writer recorded."""
    databases = 1
    while True:
        reader = history.reader(info)
        machine = new_machine(databases)
        try:
            load_snapshot(machine, reader)
        except TooFewDatabases as short:
            assert databases < short.needed <= DATABASES_MAX, (databases, short.needed)
            databases = short.needed
            continue
        digest = reader.summary.get("digest") if isinstance(reader.summary, dict) else None
        return machine, digest


def _replay(history: History, whole: list[SnapshotInfo], recorded: dict[int, str], report: Report, say: Say) -> None:
    """From the oldest base to the end of the log as it was found."""
    begins = report.stretches[0].first if report.stretches else 0
    base = None if begins == 1 else next((info for info in whole if info.sequence >= begins - 1), None)
    if begins not in (0, 1) and base is None:
        return
    machine = new_machine(1) if base is None else _load(history, base)[0]
    first, end = machine.applied, report.end
    waiting = {sequence for sequence in recorded if sequence > machine.applied}
    for batch in history.batches(base, end):
        if batch.last > end:
            break
        replay(machine, batch, DATABASES_MAX)
        say("entries replayed", machine.applied - first, end - first)
        if machine.applied in waiting:
            _compare(machine, recorded[machine.applied], report)
    report.proofs.append(f"replay from sequence {first} reaches {machine.applied}, digest {digest_hex(machine)}")


def _compare(machine: StateMachine, digest: str, report: Report) -> None:
    found, sequence = digest_hex(machine), machine.applied
    if found == digest:
        report.proofs.append(f"replay reaches the snapshot at sequence {sequence} with the same digest")
        return
    file = next(f for f in report.files if f.kind == "snapshot" and f.first == sequence)
    file.add(Problem(f"expected the state that the log leads to (digest {found}), it has {digest}", None, sequence))


def halve(batch: Batch, sequence: int) -> Batch:
    """The entries of a batch up to `sequence`; a batch is what one fsync covered, not one change."""
    count = sequence - batch.first + 1
    assert 0 < count < batch.count, (batch.first, batch.count, sequence)
    body = entries.encode(islice(entries.decode(batch.body), count))
    return Batch(batch.first, count, batch.term, batch.timestamp_ms, batch.committed, batch.seed, body)


def state_digest(chunks: Callable[[], Iterator[tuple[int, Any]]], batches: Callable[[], Iterator[Batch]]) -> str:
    """Of the state that a snapshot's chunks and the batches behind it lead to; both may be asked for again."""
    databases = 1
    while True:
        machine = new_machine(databases)
        try:
            for kind, obj in chunks():
                image.load(machine, kind, obj)
            break
        except image.TooFewDatabases as short:
            assert databases < short.needed <= DATABASES_MAX, (databases, short.needed)
            databases = short.needed
    for batch in batches():
        if batch.first > machine.applied:
            replay(machine, batch, DATABASES_MAX)
    return digest_hex(machine)


def _unwatched(what: str, done: int, total: int) -> None:
    """Nobody waits at a terminal."""
