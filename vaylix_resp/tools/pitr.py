"""`vaylix pitr ...`: what a data directory or an archive remembers, and a new directory from any moment of it.

Promises: the source is only read, whether a server runs on it or not; a target appears whole or is refused by every
server, and what it holds has been read back and compared before this program says that it is done.
Not here: the state at a point (`engine.history.restore`), the directory made of it (`engine.history.new_store`).
"""

from __future__ import annotations

import argparse
import os
import secrets
from dataclasses import asdict
from typing import Any

from ..clock import SystemClock
from ..commands.points import iso
from ..engine.history.new_store import check_empty, create_store, prove, reserve
from ..engine.history.restore import rebuild
from ..errors import EX_OK, WrongUsage
from ..state.digest import digest_hex
from ..storage.disk import Disk, RealDisk
from ..storage.history import History, Range, SegmentInfo
from ..storage.manifest import SnapshotInfo
from .keys import add_target_options, target_keys, target_source
from .output import Group, Progress, print_json, table
from .past import add_point_options, add_source_options, open_history, point_of


def register(add: Group) -> None:
    """The verbs of the group."""
    inspect = add(
        "inspect", "list snapshots and segments, and what can be restored from them",
        "vaylix pitr inspect --data-dir /srv/vaylix --json",
    )  # fmt: skip
    add_source_options(inspect, "--data-dir")
    inspect.set_defaults(run=_inspect)
    restore = add(
        "restore", "build a new data directory from a moment in the past",
        "vaylix pitr restore --source-dir /srv/vaylix --target-dir /srv/restored --to-time 2026-11-22T10:15:00Z",
    )  # fmt: skip
    add_source_options(restore, "--source-dir")
    restore.add_argument("--target-dir", required=True, metavar="T", help="a new or empty directory")
    add_point_options(restore, required=True)
    add_target_options(restore)
    restore.set_defaults(run=_restore)


# inspect


def _inspect(arguments: argparse.Namespace) -> int:
    history = open_history(arguments, RealDisk())
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
    disk, now_ms = RealDisk(), SystemClock().wall_ms()
    target = os.path.abspath(arguments.target_dir)
    point = point_of(arguments, now_ms)
    assert point is not None, "argparse asks for one"
    check_empty(disk, target)
    master = target_source(arguments, disk, target)
    history = open_history(arguments, disk)
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


def _check_apart(disk: Disk, source: str, target: str) -> None:
    """Writing into the source would change it."""
    real_source, real_target = disk.resolve(source), disk.resolve(target)
    if os.path.commonpath([real_source, real_target]) in (real_source, real_target):
        raise WrongUsage(f"{target}: lies in {source} or around it; to continue: name one apart from the source")
