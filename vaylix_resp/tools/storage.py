"""`vaylix storage ...`: check, read, migrate and repair a data directory.

Promise: `verify` and `inspect` only read, also beside a running server; `migrate` and `repair` take the lock and keep
what they replace. Not here: what is checked and in which order files change (`storage.upkeep.verify`, `migrate`,
`repair`, `engine.proof`), `rotate-key` (`storage_keys`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from ..clock import SystemClock
from ..commands.points import iso
from ..engine import proof
from ..engine.history.new_store import check_empty
from ..engine.keys import new_keys, reading_keys
from ..errors import EX_OK, EX_USAGE, WrongUsage
from ..security.keyring import keyring_path
from ..storage import unfinished
from ..storage.batch import Batch
from ..storage.disk import Disk, RealDisk, join
from ..storage.errors import Corrupt, IoFailed
from ..storage.manifest import FORMAT_VERSION, Manifest, read_manifest
from ..storage.manifest import NAME as MANIFEST
from ..storage.sealing import CLEAR, Keys
from ..storage.upkeep import format1, migrate
from ..storage.upkeep.repair import Plan, Repair
from ..storage.upkeep.report import FileReport, Report, Status
from ..storage.upkeep.verify import SPARE
from .directory import NotThere, named
from .entry_text import entries_of, shown_word
from .keys import add_key_options, open_keys, source_of
from .output import Group, Progress, confirm, print_json, table
from .storage_inspect import add_inspect
from .storage_keys import register_keys

KEYS_SHOWN = 20  # of those that a repair touches


def register(add: Group) -> None:
    """The verbs of the group."""
    verify = add(
        "verify", "check every byte of a data directory, beside a running server if need be",
        "vaylix storage verify --data-dir /srv/vaylix --json",
    )  # fmt: skip
    _add_directory(verify)
    verify.add_argument("--quick", action="store_true", help="bytes only: load no snapshot, replay no log")
    verify.add_argument("--backup-dir", metavar="B", help="logical backups to check too (default: DIR/backups)")
    verify.set_defaults(run=_verify)
    add_inspect(add)
    migration = add(
        "migrate", "bring a data directory of an older format to the current one, offline, keeping the old files",
        "vaylix storage migrate --data-dir /srv/vaylix",
    )  # fmt: skip
    _add_directory(migration)
    migration.add_argument("--target-dir", metavar="T", help="write into this new directory, and only read the old one")
    migration.add_argument("--no-encryption", action="store_true", help="write the new files in the clear")
    migration.set_defaults(run=_migrate)
    repair = add(
        "repair", "cut the log of a stopped server behind a sequence; what is cut is kept in quarantine/",
        "vaylix storage repair --data-dir /srv/vaylix --drop-after 1042",
    )  # fmt: skip
    _add_directory(repair)
    repair.add_argument("--drop-after", type=int, required=True, metavar="SEQ", help="the last sequence that stays")
    repair.add_argument("--yes", action="store_true", help="do not ask")
    repair.set_defaults(run=_repair)
    register_keys(add)


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="the data directory")
    add_key_options(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def existing(arguments: argparse.Namespace, disk: Disk) -> str:
    """The absolute data directory. Raises NotThere when it cannot be one."""
    root = named(arguments.data_dir, disk)
    if not any(disk.exists(join(root, name)) for name in (MANIFEST, "wal", "snapshots", unfinished.NAME)):
        raise NotThere(f"{root}: no data directory of this program; to continue: name the directory of `dir`")
    return root


def current_manifest(disk: Disk, root: str) -> Manifest:
    manifest = read_manifest(disk, root)
    if manifest is None:
        raise Corrupt(join(root, MANIFEST), 0, "a manifest in a directory that holds data")
    return manifest


# verify


def _verify(arguments: argparse.Namespace) -> int:
    disk = RealDisk()
    root = existing(arguments, disk)
    if migrate.is_format1(disk, root):
        current_manifest(disk, root)  # says which command helps
    steps = _Steps()
    backups = os.path.abspath(arguments.backup_dir) if arguments.backup_dir else join(root, "backups")
    report = proof.verify(
        disk, root, source_of(arguments, root), quick=arguments.quick, backup_dirs=(backups,), say=steps.say
    )  # fmt: skip
    steps.end()
    if arguments.json:
        print_json(report.as_dict())
    else:
        print(_verify_text(report))
    return report.exit_code


class _Steps:
    """One progress line per step."""

    def __init__(self) -> None:
        self._what, self._progress, self._done = "", Progress("", 0), 0

    def say(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.end()
            self._what, self._progress = what, Progress(what, total, "bytes" if "bytes" in what else "entries")
        self._done = done
        self._progress.say(done)

    def end(self) -> None:
        if self._what:
            self._progress.end(self._done)
        self._what = ""


def _verify_text(report: Report) -> str:
    rows = [
        (
            file.path, file.status.value, _span(file), _number(file.entries), file.bytes, _time(file.to_ms),
            "" if file.sealed is None else "yes" if file.sealed else "no",
        )
        for file in report.files
    ]  # fmt: skip
    lines: list[str] = [table(rows, ("FILE", "STATUS", "SEQUENCES", "ENTRIES", "BYTES", "LAST", "SEALED"))]
    for file in report.files:
        lines += [f"{file.path}: {problem}" for problem in file.problems]
        if file.note and file.status is not Status.OK and file.kind != SPARE:
            lines.append(f"{file.path}: {file.note}")
    lines += [f"warning: {warning}" for warning in report.warnings]
    lines += [f"shown: {shown}" for shown in report.proofs]
    lines.append(report.verdict())
    return "\n".join(lines)


def _span(file: FileReport) -> str:
    if file.first is None:
        return ""
    if file.last is None or file.last < file.first:
        return f"{file.first}.."
    return str(file.first) if file.first == file.last else f"{file.first}..{file.last}"


def _number(number: int | None) -> str:
    return "" if number is None else str(number)


def _time(ms: int | None) -> str:
    return "" if ms is None else iso(ms)


# migrate


def _migrate(arguments: argparse.Namespace) -> int:
    disk = RealDisk()
    root = existing(arguments, disk)
    target = os.path.abspath(arguments.target_dir) if arguments.target_dir else root
    if not migrate.is_format1(disk, root):
        manifest = current_manifest(disk, root)
        raise WrongUsage(f"{root}: store {manifest.store_id} has the current format already; nothing has been changed")
    with _locked(disk, root):
        if target != root:
            check_empty(disk, target)
            disk.mkdir(target)
        progress = Progress("entries written", 0)
        result = run_migration(disk, root, target, lambda: _migration_keys(arguments, disk, target), progress)
        progress.end(result.entries)
    if arguments.json:
        print_json({"data_dir": target, **asdict(result)})
        return EX_OK
    if result.resumed:
        print(f"{target}: the migration that was interrupted is complete; the old files are in {result.kept}")
        return EX_OK
    if result.torn:
        print(result.torn)
    print(
        f"{target}: {result.segments} segments with {result.entries} entries and {result.snapshots} snapshots up to "
        f"sequence {result.sequence}, in format {FORMAT_VERSION}; the state has been rebuilt from the new files and is "
        f"the same. The old files, in the clear, are in {result.kept}; delete them when you no longer need them"
    )
    return EX_OK


def run_migration(
    disk: Disk, root: str, target: str, keys: Callable[[], Keys], progress: Progress | None = None
) -> migrate.Migrated:
    """All of it, under the lock of `root`. Resumes what was interrupted."""
    if root == target and migrate.was_interrupted(disk, root):
        sequence = migrate.resume(disk, root)
        return migrate.Migrated(sequence, 0, 0, 0, join(root, migrate.KEPT), resumed=True)
    migration = migrate.Migration(disk, root, target, keys(), progress.say if progress else None)
    migration.write()
    migration.compare()
    before, after = _digests(disk, root, migration)
    if before != after:
        raise Corrupt(target, 0, f"a state with digest {before} as in the old files, the new ones have {after}",
                      advice="report this; the old directory is unchanged")  # fmt: skip
    return migration.finish()


def _digests(disk: Disk, root: str, migration: migrate.Migration) -> tuple[str, str]:
    """Of the state that the old files lead to, and of the one that the new ones do."""
    old, new = migration.old, migration.new
    assert new is not None
    newest = new.newest

    def old_chunks() -> Iterator[tuple[int, Any]]:
        for info in old.snapshots[-1:]:
            chunks = format1.read_snapshot(disk, root, old.store_id, info)
            yield from (chunk for chunk in chunks if chunk[0] != format1.END)

    def old_batches() -> Iterator[Batch]:
        for _, _, batches in format1.Log(disk, root, old).segments():
            yield from batches

    def new_chunks() -> Iterator[tuple[int, Any]]:
        if newest is not None:
            reader = migration.snapshot(newest)
            yield from reader
            reader.close()

    return proof.state_digest(old_chunks, old_batches), proof.state_digest(new_chunks, migration.batches)


def _migration_keys(arguments: argparse.Namespace, disk: Disk, target: str) -> Keys:
    """The keyring of the new files; an earlier try may have made it."""
    if arguments.no_encryption:
        if disk.exists(keyring_path(target)):  # then the files in the clear would be refused at the next start
            raise WrongUsage(
                f"{keyring_path(target)}: an earlier try made a keyring; to continue: leave out --no-encryption, or "
                "delete the directory keyring/, which no file needs yet"
            )
        return CLEAR
    source = source_of(arguments, target)
    if disk.exists(keyring_path(target)):
        return reading_keys(disk, target, source)
    return new_keys(disk, target, source, SystemClock().wall_ms(), _warn)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


@contextmanager
def _locked(disk: Disk, root: str) -> Iterator[None]:
    try:
        lock = disk.lock(join(root, "LOCK"))
    except OSError as cause:
        raise IoFailed(root, cause) from cause
    try:
        yield
    finally:
        lock.release()


# repair


def _repair(arguments: argparse.Namespace) -> int:
    disk = RealDisk()
    root = existing(arguments, disk)
    with _locked(disk, root):
        manifest = current_manifest(disk, root)
        repair = Repair(disk, root, manifest, open_keys(arguments, disk, root), proof.halve)
        touched = _Touched(arguments.drop_after)
        plan = repair.plan(arguments.drop_after, touched.add)
        loss = _loss(plan, touched)
        if not arguments.json:
            print(_loss_text(loss, root))
        if not confirm(f"Cut the log of {root} behind sequence {plan.sequence}?", arguments.yes):
            return EX_USAGE
        repair.carry_out(plan)
    if arguments.json:
        print_json({"data_dir": root, "done": True, **loss})
    else:
        print(f"done: the log ends with sequence {plan.sequence}; what was cut is in {join(root, plan.quarantine)}")
    return EX_OK


class _Touched:
    """The keys of what will be gone, each once, in the order of the log."""

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence
        self.keys: dict[tuple[int, bytes], None] = {}

    def add(self, batch: Batch) -> None:
        for entry in entries_of(batch):
            if entry.sequence > self._sequence:
                self.keys.update(dict.fromkeys(entry.keys))


def _loss(plan: Plan, touched: _Touched) -> dict[str, Any]:
    return {
        "drop_after": plan.sequence, "lost_entries": plan.lost_entries, "lost_batches": plan.lost_batches,
        "lost_from_ms": plan.lost_from_ms, "lost_to_ms": plan.lost_to_ms,
        "unreadable": [f"{file.path}: {problem}" for file in plan.unreadable or () for problem in file.problems],
        "keys_touched": len(touched.keys), "moved": plan.drop, "kept_in": plan.quarantine,
        "keys": [{"database": db, "key": shown_word(key)} for db, key in list(touched.keys)[:KEYS_SHOWN]],
    }  # fmt: skip


def _loss_text(loss: dict[str, Any], root: str) -> str:
    lines = [f"{root}: the log will end with sequence {loss['drop_after']}."]
    if loss["lost_entries"]:
        span = f"written from {iso(loss['lost_from_ms'])} to {iso(loss['lost_to_ms'])}"
        lines.append(f"Lost: {loss['lost_entries']} entries in {loss['lost_batches']} batches, {span}.")
        shown = " ".join(f"{one['database']}:{one['key']}" for one in loss["keys"])
        more = f" and {loss['keys_touched'] - KEYS_SHOWN} more" if loss["keys_touched"] > KEYS_SHOWN else ""
        lines.append(f"Keys touched by them (database:key): {shown}{more}" if shown else "They touch no keys by name.")
    else:
        lines.append("No entry that can be read is lost.")
    if loss["unreadable"]:
        lines.append("Besides that, what cannot be read or is not whole, and may have held more:")
        lines += [f"  {text}" for text in loss["unreadable"]]
    lines.append(f"Moved to {loss['kept_in']}: {', '.join(loss['moved']) or 'nothing'}.")
    lines.append("An archive that this server has written to belongs to the old log: begin a new one.")
    return "\n".join(lines)
