"""`vaylix export`: the data as an RDB file, from a data directory or an archive, as of now or of a moment in the past.

Promises: the source is only read, whether a server runs on it or not; the keys are those of one moment; the file
appears whole, and has been read back and compared with the state before this program says that it is done.
Not here: the state (`engine.history.restore`), the file (`engine.copies.rdb_file`).
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Final

from ..clock import SystemClock
from ..commands.points import Point, iso
from ..engine.copies import rdb_file
from ..engine.copies.rdb_file import Written
from ..engine.history.restore import Rebuilt, rebuild
from ..engine.pace import throttled
from ..errors import EX_OK
from ..interchange.rdb_writer import VERSION_DEFAULT, VERSION_MAX, VERSION_MIN
from ..storage.disk import RealDisk
from ..storage.history import History
from .output import Progress, print_json
from .past import add_point_options, add_source_options, open_history, point_of

REDIS_DATABASES: Final = 16  # that a redis-server has if nobody tells it otherwise
LEFT_BEHIND: Final = "the file is not encrypted (mode 0600); versions, FLAGS, users and roles are not in it"


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--rdb", required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--rdb-version", type=int, default=VERSION_DEFAULT, choices=range(VERSION_MIN, VERSION_MAX + 1), metavar="N",
        help=f"{VERSION_MIN} to {VERSION_MAX} (default: {VERSION_DEFAULT}, which Redis 7.0 and later and Valkey load)",
    )  # fmt: skip
    parser.add_argument("--throttle", type=int, default=0, metavar="BYTES", help="write at most so many a second")
    add_source_options(parser, "--data-dir")
    add_point_options(parser, required=False)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    disk, now_ms = RealDisk(), SystemClock().wall_ms()
    path, point = os.path.abspath(arguments.rdb), point_of(arguments, now_ms)
    history = open_history(arguments, disk)
    rdb_file.check_target(disk, path, history.root, force=arguments.force)
    rebuilt = _rebuild(history, point, now_ms)
    moment_ms = now_ms if point is None else max(rebuilt.timestamp_ms, point.timestamp_ms or 0)
    with rdb_file.writing(disk, path) as temporary:
        writing = Progress("written", rebuilt.keys, "keys")
        written = rdb_file.save(
            disk, temporary, rebuilt.machine, moment_ms, arguments.rdb_version, throttled(arguments.throttle),
            lambda done, _: writing.say(done),
        )  # fmt: skip
        writing.end(written.keys)
        reading = Progress("read back", written.keys, "keys")
        rdb_file.check(disk, temporary, rebuilt.machine, written, lambda done, _: reading.say(done))
        reading.end(written.keys)
        rdb_file.publish(disk, temporary, path, force=arguments.force)
    _report(arguments, history.root, path, rebuilt, written)
    return EX_OK


def _rebuild(history: History, point: Point | None, now_ms: int) -> Rebuilt:
    progress = Progress("replayed", 0)
    last = None
    if point is None:
        last = history.range().last
        point = Point(sequence=last)
    rebuilt = rebuild(history, point, now_ms, lambda done, _: progress.say(done), last=last)
    progress.end(rebuilt.sequence)
    return rebuilt


def _report(arguments: argparse.Namespace, root: str, path: str, rebuilt: Rebuilt, written: Written) -> None:
    accounts = rebuilt.machine.world.accounts
    databases = max(written.databases, default=0) + 1
    if arguments.json:
        facts: dict[str, Any] = {
            "file": path, "source": root, "rdb_version": arguments.rdb_version, "bytes": written.bytes,
            "sequence": rebuilt.sequence, "timestamp_ms": rebuilt.timestamp_ms, "time": iso(rebuilt.timestamp_ms),
            "keys": written.keys, "expiring": written.expiring, "databases": written.databases,
            "databases_needed": databases, "encrypted": False,
            "left_out": {
                "expired": written.expired, "flags": written.flagged, "users": len(accounts.users),
                "roles": len(accounts.roles),
            },
        }  # fmt: skip
        print_json(facts)
        return
    print(
        f"{path}: {written.keys:,} keys ({written.expiring:,} expire) as of sequence {rebuilt.sequence} "
        f"({iso(rebuilt.timestamp_ms)}), {written.bytes:,} bytes, RDB version {arguments.rdb_version}, read back and "
        f"found equal; {written.expired:,} that had expired are left out"
    )
    print(f"note: {LEFT_BEHIND}", file=sys.stderr)
    if databases > REDIS_DATABASES:
        print(f"note: a redis-server needs 'databases {databases}' to load it", file=sys.stderr)
