"""`vaylix backup ...`: logical backups without asking a server: made beside a running one, checked, restored anywhere.

Promises: a data directory that is backed up is only read; a restored directory has the versions, the sequence and the
digests of the state that was saved, and has been read back before this program says that it is done.
Not here: the format (`storage.copies.backup_file`), a restore into a running server (BACKUP RESTORE).
"""

from __future__ import annotations

import argparse
import os
import secrets
from dataclasses import asdict
from typing import Any, Final

from ..clock import SystemClock
from ..commands.points import Point, iso
from ..engine.copies.backup_state import Loaded, load, rows_of, save
from ..engine.history.new_store import check_empty, create_store, prove, reserve
from ..engine.history.restore import rebuild
from ..engine.keys import reading_keys
from ..engine.pace import throttled
from ..errors import EX_OK, Refused
from ..storage.copies.backup_sidecar import FILE_SUFFIX, Sidecar, alone, check_name, check_place, prepare, read_sidecar
from ..storage.disk import Disk, RealDisk, parent
from ..storage.history import DataDirectory, History
from ..storage.sealing import CLEAR
from .keys import add_key_options, add_target_options, open_keys, source_of, target_keys, target_source
from .output import Group, Progress, print_json

EX_UNFIT: Final = 1  # of check: the backup is whole, but would not fit


def register(add: Group) -> None:
    """The verbs of the group."""
    create = add(
        "create", "back up a data directory at the end of its log; a server may be running on it",
        "vaylix backup create --data-dir /srv/vaylix --to /mnt/backups/nightly.vxb",
    )  # fmt: skip
    create.add_argument("--data-dir", required=True, metavar="D", help="the data directory")
    create.add_argument("--to", required=True, metavar="FILE", help="NAME or NAME.vxb; NAME.json is written beside it")
    create.add_argument("--plain", action="store_true", help="in the clear: lines of JSON that every tool can read")
    create.add_argument("--throttle", type=int, default=0, metavar="BYTES", help="write at most so many a second")
    add_key_options(create)
    create.set_defaults(run=_create)
    verify = add(
        "verify", "read every byte of a backup, build its state and compare all digests",
        "vaylix backup verify /mnt/backups/nightly.vxb --master-key-file /etc/vaylix/master.key",
    )  # fmt: skip
    _add_file(verify)
    verify.set_defaults(run=_verify)
    check = add(
        "check", "verify a backup and say whether a restore would fit; exit code 1 if not",
        "vaylix backup check /mnt/backups/nightly.vxb --databases 16 --target-dir /srv/restored",
    )  # fmt: skip
    _add_file(check)
    check.add_argument("--databases", type=int, default=0, metavar="N", help="how many the server is to have")
    check.add_argument("--target-dir", default="", metavar="T", help="where it is to go: is it empty, has it room?")
    check.set_defaults(run=_check)
    restore = add(
        "restore", "build a new data directory from a backup",
        "vaylix backup restore /mnt/backups/nightly.vxb --target-dir /srv/restored",
    )  # fmt: skip
    _add_file(restore)
    restore.add_argument("--target-dir", required=True, metavar="T", help="a new or empty directory")
    add_target_options(restore)
    restore.set_defaults(run=_restore)
    for parser in (create, verify, check, restore):
        parser.add_argument("--json", action="store_true", help="the result as JSON")


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the backup, NAME.vxb; NAME.json has to be beside it")
    parser.add_argument(
        "--data-dir", default="", metavar="D",
        help="the directory it was made of, for its master.key (default: the one above the backup's directory)",
    )  # fmt: skip
    add_key_options(parser)


def _create(arguments: argparse.Namespace) -> int:
    disk, root = RealDisk(), os.path.abspath(arguments.data_dir)
    path = _backup_path(arguments.to)
    source = DataDirectory(disk, root)
    manifest = source.manifest()  # before the keyring: a wrong directory is the likelier mistake
    keys = open_keys(arguments, disk, root)
    name = check_name(os.path.basename(path).removesuffix(FILE_SUFFIX))
    check_place(disk, root, parent(path))
    with alone(disk, parent(path)):
        temporary = prepare(disk, parent(path), name, ours=False)
        sidecar = _save(arguments, History(disk, source, keys), temporary, name, manifest.store_id)
    _report(arguments, path, sidecar, {}, "written")
    return EX_OK


def _save(arguments: argparse.Namespace, history: History, temporary: str, name: str, store_id: str) -> Sidecar:
    reading = Progress("replayed", 0)
    last = history.range().last
    now_ms = SystemClock().wall_ms()
    rebuilt = rebuild(history, Point(sequence=last), now_ms, lambda done, _: reading.say(done), last=last)
    reading.end(rebuilt.sequence)
    writing = Progress("written", rebuilt.keys, "keys")
    sidecar = save(
        history.disk, temporary, name, rebuilt.machine, term=rebuilt.term, store_id=store_id,
        keys=CLEAR if arguments.plain else history.keys, throttle=throttled(arguments.throttle),
        say=lambda done, _: writing.say(done),
    )  # fmt: skip
    writing.end(rebuilt.keys)
    return sidecar


def _verify(arguments: argparse.Namespace) -> int:
    path, loaded = _load(arguments, RealDisk())
    _report(arguments, path, loaded.sidecar, {}, "every byte read, all digests equal")
    return EX_OK


def _check(arguments: argparse.Namespace) -> int:
    disk, now_ms = RealDisk(), SystemClock().wall_ms()
    path, loaded = _load(arguments, disk)
    databases = loaded.machine.world.databases
    used = max((number + 1 for number, db in enumerate(databases) if db.items), default=0)
    problems = []
    if 0 < arguments.databases < used:
        problems.append(f"it has keys in database {used - 1}: --databases {used} or more is needed")
    if arguments.target_dir:
        problems += _target_problems(disk, os.path.abspath(arguments.target_dir), loaded.sidecar)
    facts = {
        "fits": not problems, "problems": problems, "databases_used": used,
        "largest_value": max((len(row.value) for row in rows_of(loaded.machine)), default=0),
        "expired": sum(1 for db in databases for at_ms in db.expires.values() if at_ms <= now_ms),
    }  # fmt: skip
    _report(arguments, path, loaded.sidecar, facts, "it fits" if not problems else "it does not fit: " + problems[0])
    return EX_OK if not problems else EX_UNFIT


def _target_problems(disk: Disk, target: str, sidecar: Sidecar) -> list[str]:
    problems = []
    try:
        check_empty(disk, target)
    except Refused as refusal:
        problems.append(str(refusal))
    above = target
    while not disk.exists(above):
        above = parent(above)
    free = disk.free_bytes(above)
    if free < sidecar.plain_bytes:  # base64 takes more than a snapshot, so this is enough for it and a first segment
        problems.append(f"{above} has {free} bytes free, {sidecar.plain_bytes} may be needed")
    return problems


def _restore(arguments: argparse.Namespace) -> int:
    disk, now_ms, target = RealDisk(), SystemClock().wall_ms(), os.path.abspath(arguments.target_dir)
    check_empty(disk, target)
    master = target_source(arguments, disk, target)
    path, loaded = _load(arguments, disk)
    machine, sidecar = loaded.machine, loaded.sidecar
    reserve(disk, target)
    keys = target_keys(master, disk, target, now_ms)
    writing = Progress("written", sidecar.keys, "keys")
    manifest = create_store(
        disk, target, machine, sidecar.term, keys, store_id=secrets.token_bytes(16), now_ms=now_ms,
        say=lambda done, _: writing.say(done),
    )  # fmt: skip
    prove(disk, target, keys, machine)
    writing.end(sidecar.keys)
    facts = {"target": target, "target_store_id": manifest.store_id, "encrypted": bool(keys.id)}
    done = f"restored, read back and found equal; start it with: vaylix serve --dir {target}"
    _report(arguments, path, sidecar, facts, done)
    return EX_OK


def _load(arguments: argparse.Namespace, disk: Disk) -> tuple[str, Loaded]:
    path = _backup_path(arguments.file)
    root = os.path.abspath(arguments.data_dir) if arguments.data_dir else parent(parent(path))
    total = read_sidecar(disk, path).bytes
    reading = Progress("read", total, "bytes")
    loaded = load(
        disk, path, lambda: reading_keys(disk, root, source_of(arguments, root)),
        lambda: source_of(arguments, root).read(disk), lambda done, _: reading.say(done),
    )  # fmt: skip
    reading.end(total)
    return path, loaded


def _backup_path(given: str) -> str:
    path = os.path.abspath(given)
    return path if path.endswith(FILE_SUFFIX) else path + FILE_SUFFIX


def _report(
    arguments: argparse.Namespace, path: str, sidecar: Sidecar, facts: dict[str, Any], outcome: str
) -> None:  # fmt: skip
    if arguments.json:
        known = {name: value for name, value in asdict(sidecar).items() if name != "keyring"}
        print_json({"file": path, "ok": facts.get("fits", True), **known, **facts})
        return
    sealed = "sealed" if sidecar.sealed else "in the clear"
    print(
        f"{path}: {sidecar.keys:,} keys as of sequence {sidecar.sequence} ({iso(sidecar.time_ms)}), "
        f"{sidecar.bytes:,} bytes, {sealed}, SHA-256 {sidecar.sha256}, digest {sidecar.state_digest}: {outcome}"
    )
