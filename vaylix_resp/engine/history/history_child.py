"""The process that looks into the past for FLASHBACK: rebuilds the state at a point, prints what matches.

Reads the data directory beside the running server and writes nothing. Its request comes as JSON in the second line of
standard input, so that no process list shows keys: {"verb": "get" | "rows" | "count", "db": n, "key" or "pattern":
base64, "sequence": n or null, "timestamp_ms": n or null, "now_ms": n, "names": n}.
Prints JSON lines: {"bytes": n} with n bytes of msgpack behind it, any number of times, and at the end
{"rows": n, "expired": n, "sequence": n, "timestamp_ms": n}, or {"refused": why} for a point that cannot be reached.
    get      one row (value, version, expiry or nil), if the key was there
    rows     rows (key, value, expiry or nil, flags) in pieces of about ROWS_BYTES
    count    one list with the names of the first keys
Not here: the rebuilding (`restore`), what becomes of the rows (`flashback`).
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import msgpack

from ...commands.points import Point
from ...errors import EX_OK, Refused
from ...glob import matcher
from ...limits import KIB
from ...state.keyspace import Database
from ...state.values import value_of, version_of
from ...state.wheel import NOT_EXPIRING
from ...storage.disk import RealDisk
from ...storage.history import DataDirectory, History
from ...storage.sealing import Keys
from ..keys import child_keys
from .restore import OutOfRange, Rebuilt, rebuild

SUBCOMMAND: Final = "history-child"
# The server handles one piece at a time on its loop: unpacking and passing on 256 KiB takes it well under 5 ms.
ROWS_BYTES: Final = 256 * KIB
ROWS_COUNT: Final = 500

Row = tuple[bytes, bytes, int | None, int]


def arguments_for(root: str, sequence: int) -> list[str]:
    """`sequence`: where the sealed log ends; nothing behind it is looked at."""
    return [SUBCOMMAND, "--dir", root, "--sequence", str(sequence)]


def child_main(argv: list[str]) -> int:
    """Entry point of the hidden subcommand."""
    parser = argparse.ArgumentParser(prog=f"vaylix {SUBCOMMAND}")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--sequence", type=int, required=True)
    options = parser.parse_args(argv)
    given = sys.stdin.buffer.read()
    try:
        disk = RealDisk()
        request = json.loads(given.partition(b"\n")[2])
        answer(disk, options.dir, child_keys(disk, options.dir, given), options.sequence, request, sys.stdout.buffer)
    except Refused as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    return EX_OK


def answer(disk: RealDisk, root: str, keys: Keys, last: int, request: dict[str, Any], out: BinaryIO) -> None:
    """All that is printed for one request."""
    point = Point(request["sequence"], request["timestamp_ms"])
    try:
        rebuilt = rebuild(History(disk, DataDirectory(disk, root), keys), point, request["now_ms"], last=last)
    except OutOfRange as refused:
        _line(out, {"refused": str(refused).removeprefix(f"{root}: ")})
        return
    rows, expired = _VERBS[request["verb"]](rebuilt, point, request, out)
    _line(out, {
        "rows": rows, "expired": expired, "sequence": rebuilt.sequence, "timestamp_ms": rebuilt.timestamp_ms,
    })  # fmt: skip


def _get(rebuilt: Rebuilt, point: Point, request: dict[str, Any], out: BinaryIO) -> tuple[int, int]:
    db, key = _database(rebuilt, request), base64.b64decode(request["key"])
    item = db.items.get(key)
    if item is None or db.expires.get(key, NOT_EXPIRING) <= _moment(rebuilt, point):
        return 0, 0
    _piece(out, (value_of(item), version_of(db.current(item)), db.expires.get(key)))
    return 1, 0


def _rows(rebuilt: Rebuilt, point: Point, request: dict[str, Any], out: BinaryIO) -> tuple[int, int]:
    return _walk(rebuilt, point, request, lambda rows: _piece(out, rows))


def _count(rebuilt: Rebuilt, point: Point, request: dict[str, Any], out: BinaryIO) -> tuple[int, int]:
    names: list[bytes] = []

    def note(rows: list[Row]) -> None:
        names.extend(row[0] for row in rows[: request["names"] - len(names)])

    found = _walk(rebuilt, point, request, note)
    _piece(out, names)
    return found


_VERBS: Final = {"get": _get, "rows": _rows, "count": _count}


def _walk(
    rebuilt: Rebuilt, point: Point, request: dict[str, Any], take: Callable[[list[Row]], None]
) -> tuple[int, int]:  # fmt: skip
    """Give `take` what matched and still has time; how many those are, and how many whose time has come since."""
    db, moment, now_ms = _database(rebuilt, request), _moment(rebuilt, point), request["now_ms"]
    found = expired = size = 0
    rows: list[Row] = []
    for key in _matching(db, base64.b64decode(request["pattern"])):
        at_ms = db.expires.get(key)
        if at_ms is not None and at_ms <= max(moment, now_ms):
            expired += at_ms > moment
            continue
        value = value_of(db.items[key])
        rows.append((key, value, at_ms, db.flags.get(key, 0)))
        found += 1
        size += len(key) + len(value)
        if len(rows) >= ROWS_COUNT or size >= ROWS_BYTES:
            take(rows)
            rows, size = [], 0
    if rows:
        take(rows)
    return found, expired


def _matching(db: Database, pattern: bytes) -> Iterator[bytes]:
    """As KEYS has it: a lone star is every key, the empty one included."""
    if pattern == b"*":
        return iter(db.items)
    return filter(matcher(pattern), db.items)


def _moment(rebuilt: Rebuilt, point: Point) -> int:
    """By which expired keys are told: the time asked for, or that of the entry."""
    return max(rebuilt.timestamp_ms, point.timestamp_ms or 0)


def _database(rebuilt: Rebuilt, request: dict[str, Any]) -> Database:
    """There may have been fewer then; a database that was not there was empty."""
    databases = rebuilt.machine.world.databases
    return databases[request["db"]] if request["db"] < len(databases) else Database()


def _piece(out: BinaryIO, obj: object) -> None:
    raw = msgpack.packb(obj, use_bin_type=True)
    _line(out, {"bytes": len(raw)})
    out.write(raw)


def _line(out: BinaryIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()
