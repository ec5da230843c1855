"""`vaylix pitr ...`: what a data directory or an archive remembers, and a new directory from any moment of it.

Promises: the source is only read, whether a server runs on it or not; a target appears whole or is refused by every
server, and what it holds has been read back and compared before this program says that it is done.
Not here: the state at a point (`engine.restore`), the directory made of it (`engine.new_store`).
"""

from __future__ import annotations

import argparse
import os
import secrets
import time
from dataclasses import asdict
from typing import Any

from ..commands.points import Point, iso, parse_iso, parse_point
from ..engine.copies.archive_keys import archive_keys
from ..engine.history.new_store import check_empty, create_store, prove, reserve
from ..engine.history.restore import rebuild
from ..errors import EX_OK, EX_USAGE, Refused
from ..state.digest import digest_hex
from ..storage.copies.archive import ArchiveDirectory
from ..storage.disk import Disk, RealDisk
from ..storage.history import DataDirectory, History, Range, SegmentInfo, Source
from ..storage.manifest import SnapshotInfo
from ..storage.sealing import Keys
from .keys import add_key_options, add_target_options, open_keys, source_of, target_keys, target_source
from .output import Group, Progress, print_json, table


class WrongUsage(Refused):
    exit_code = EX_USAGE


def register(add: Group) -> None:
    """The verbs of the group."""
    inspect = add(
        "inspect", "list snapshots and segments, and what can be restored from them",
        "vaylix pitr inspect --data-dir /srv/vaylix --json",
    )  # fmt: skip
    _add_source(inspect, "--data-dir")
    inspect.set_defaults(run=_inspect)
    restore = add(
        "restore", "build a new data directory from a moment in the past",
        "vaylix pitr restore --source-dir /srv/vaylix --target-dir /srv/restored --to-time 2026-11-22T10:15:00Z",
    )  # fmt: skip
    _add_source(restore, "--source-dir")
    restore.add_argument("--target-dir", required=True, metavar="T", help="a new or empty directory")
    point = restore.add_mutually_exclusive_group(required=True)
    point.add_argument("--to-sequence", metavar="N", help="the state after this entry of the log")
    point.add_argument("--to-timestamp-ms", metavar="MS", help="the state at this time, in Unix milliseconds")
    point.add_argument("--to-time", metavar="TIME", help="the same in ISO 8601, UTC without a zone; or 'latest'")
    add_target_options(restore)
    restore.set_defaults(run=_restore)


def _add_source(parser: argparse.ArgumentParser, option: str) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(option, dest="source_dir", metavar="D", help="a data directory; a server may be running on it")
    source.add_argument("--archive-dir", metavar="A", help="a directory that archive-command has filled")
    add_key_options(parser)
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def _open(arguments: argparse.Namespace, disk: Disk) -> History:
    if arguments.source_dir:
        root = os.path.abspath(arguments.source_dir)
        source: Source = DataDirectory(disk, root)
        source.manifest()  # before the keyring: a wrong directory is the likelier mistake
        return History(disk, source, open_keys(arguments, disk, root))
    root = os.path.abspath(arguments.archive_dir)
    archive = ArchiveDirectory(disk, root)
    return History(disk, archive, _archive_keys(arguments, disk, archive))


def _archive_keys(arguments: argparse.Namespace, disk: Disk, archive: ArchiveDirectory) -> Keys:
    archive.manifest()
    copies = archive.keyrings()
    return archive_keys(copies, source_of(arguments, archive.root).read(disk) if copies else None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# inspect


def _inspect(arguments: argparse.Namespace) -> int:
    history = _open(arguments, RealDisk())
    manifest, reach = history.manifest(), history.range()
    segments, snapshots = history.segments(), manifest.snapshots
    if arguments.json:
        print_json(_as_json(history, reach, segments, snapshots))
        return EX_OK
    print(f"{history.root}: store {manifest.store_id}, begun {iso(manifest.created_ms)}\n")
    rows: list[list[object]] = [
        [s.file, s.sequence, iso(s.timestamp_ms), s.bytes, _key(history.key_of(s))] for s in snapshots
    ]
    print(table(rows, ("snapshot", "sequence", "time", "bytes", "key")) if rows else "no snapshot", end="\n\n")
    rows = [[s.name, s.first, s.last, _time(s.first_ms), _time(s.last_ms), s.bytes, _key(s.key_id)] for s in segments]
    print(table(rows, ("segment", "first", "last", "from", "to", "bytes", "key")) if rows else "no segment", end="\n\n")
    print(
        f"can be restored: sequence {reach.first} to {reach.last}, time {iso(reach.first_ms)} to {iso(reach.last_ms)}"
    )
    return EX_OK


def _as_json(
    history: History, reach: Range, segments: list[SegmentInfo], snapshots: tuple[SnapshotInfo, ...]
) -> dict[str, Any]:  # fmt: skip
    manifest = history.manifest()
    return {
        "source": history.root, "store_id": manifest.store_id, "created_ms": manifest.created_ms,
        "clean_stop": manifest.clean_stop is not None,
        "snapshots": [
            {
                "file": s.file, "sequence": s.sequence, "timestamp_ms": s.timestamp_ms, "time": iso(s.timestamp_ms),
                "term": s.term, "bytes": s.bytes, "key_id": history.key_of(s),
            }
            for s in snapshots
        ],
        "segments": [asdict(s) for s in segments],
        "range": {
            "first_sequence": reach.first, "last_sequence": reach.last, "first_timestamp_ms": reach.first_ms,
            "last_timestamp_ms": reach.last_ms, "first_time": iso(reach.first_ms), "last_time": iso(reach.last_ms),
        },
    }  # fmt: skip


def _time(ms: int | None) -> str:
    return "-" if ms is None else iso(ms)


def _key(key_id: int) -> str:
    return str(key_id) if key_id else "clear"


# restore


def _restore(arguments: argparse.Namespace) -> int:
    disk, now_ms = RealDisk(), _now_ms()
    target = os.path.abspath(arguments.target_dir)
    point = _point(arguments, now_ms)
    check_empty(disk, target)
    master = target_source(arguments, disk, target)
    history = _open(arguments, disk)
    _check_apart(disk, history.root, target)
    progress = Progress("replayed", 0)
    rebuilt = rebuild(history, point, now_ms, lambda done, _: progress.say(done))
    progress.end(rebuilt.sequence)
    reserve(disk, target)
    keys = target_keys(master, disk, target, now_ms)
    writing = Progress("written", rebuilt.keys, "keys")
    manifest = create_store(
        disk, target, rebuilt.machine, rebuilt.term, keys, store_id=secrets.token_bytes(16), now_ms=now_ms,
        say=lambda done, _: writing.say(done),
    )  # fmt: skip
    prove(disk, target, keys, rebuilt.machine)
    writing.end(rebuilt.keys)
    result = {
        "source": history.root, "target": target, "store_id": manifest.store_id, "sequence": rebuilt.sequence,
        "timestamp_ms": rebuilt.timestamp_ms, "time": iso(rebuilt.timestamp_ms), "keys": rebuilt.keys,
        "digest": digest_hex(rebuilt.machine), "encrypted": bool(keys.id),
    }  # fmt: skip
    if arguments.json:
        print_json(result)
    else:
        print(
            f"{target}: {rebuilt.keys:,} keys as of sequence {rebuilt.sequence} ({iso(rebuilt.timestamp_ms)}), "
            f"digest {result['digest']}, read back and found equal; start it with: vaylix serve --dir {target}"
        )
    return EX_OK


def _point(arguments: argparse.Namespace, now_ms: int) -> Point:
    for value, prefix in ((arguments.to_sequence, "seq:"), (arguments.to_timestamp_ms, "ms:")):
        if value is not None:
            point = parse_point(prefix + value, now_ms)
            if point is None:
                raise WrongUsage(f"{value}: expected a number of decimal digits; see 'vaylix pitr restore --help'")
            return point
    if arguments.to_time == "latest":
        return Point(timestamp_ms=now_ms)
    at_ms = parse_iso(arguments.to_time)
    if at_ms is None:
        raise WrongUsage(f"{arguments.to_time}: expected a time like 2026-11-22T10:15:00Z, or 'latest'")
    return Point(timestamp_ms=at_ms)


def _check_apart(disk: Disk, source: str, target: str) -> None:
    """Writing into the source would change it."""
    real_source, real_target = disk.resolve(source), disk.resolve(target)
    if os.path.commonpath([real_source, real_target]) in (real_source, real_target):
        raise WrongUsage(f"{target}: lies in {source} or around it; to continue: name one apart from the source")
