"""The process that makes, checks or reads a logical backup beside the running server.

    create   the state at a sequence, from the log, to a new backup
    verify   read all of one, build its state, compare digests; whether it would fit, and how much of it has expired
    rows     the same without a state, and each key to the server: lines {"bytes": n} with n bytes of msgpack behind

The server's request follows the secret on standard input. Prints {"progress": 0..1} now and then and at the end what
came of it.
Promise: whatever is not as it should be ends with one line on standard error and a status that is not 0; the last
line of `rows` comes after every check has passed. Not here: what the server does with it (`backups`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgpack

from ...commands.points import Point
from ...errors import EX_OK, Refused
from ...limits import KIB, VALUE_BYTES_MAX
from ...security.master_key import MasterKey, parse
from ...state.digest import database_digest
from ...state.keyspace import Database
from ...state.values import make_item
from ...storage.copies.backup_file import Row
from ...storage.copies.backup_reader import ADVICE, BackupReader
from ...storage.copies.backup_sidecar import (
    Sidecar,
    alone,
    check_content,
    check_place,
    file_path,
    prepare,
    read_sidecar,
)
from ...storage.disk import Disk, RealDisk
from ...storage.errors import Corrupt
from ...storage.history import DataDirectory, History
from ...storage.sealing import CLEAR, Keys
from ..history.restore import rebuild
from ..keys import child_keys
from ..pace import Reporter, throttled
from .backup_state import check_file, keys_for, load, rows_of, save

SUBCOMMAND: Final = "backup-child"
ROWS_KEYS: Final = 500  # sent to the server in one message
ROWS_BYTES: Final = 256 * KIB
SHOWN: Final = ("name", "sequence", "time_ms", "keys", "bytes", "sealed", "sha256", "state_digest", "keys_digest")


def child_main(argv: list[str]) -> int:
    """Entry point of the hidden subcommand."""
    parser = argparse.ArgumentParser(prog=f"vaylix {SUBCOMMAND}")
    parser.add_argument("--dir", required=True, help="the data directory")
    options = parser.parse_args(argv)
    secret, _, request = sys.stdin.buffer.read().partition(b"\n")
    try:
        result = _Child(RealDisk(), options.dir, secret).run(json.loads(request))
    except Refused as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    print(json.dumps(result), flush=True)
    return EX_OK


class _Child:
    """`request`: verb, directory, name, and what the verb needs."""

    def __init__(self, disk: Disk, root: str, secret: bytes) -> None:
        self._disk, self._root, self._secret = disk, root, secret
        self._keys: Keys = child_keys(disk, root, secret)
        self._reporter = Reporter()

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        verb, directory, name = request["verb"], request["directory"], request["name"]
        if verb == "create":
            return self._create(directory, name, request)
        path = file_path(directory, name)
        return self._verify(path, request) if verb == "verify" else self._rows(path)

    def _master(self) -> MasterKey | None:
        return parse(self._secret.decode("ascii", "replace"), "standard input") if self._secret else None

    def _create(self, directory: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        check_place(self._disk, self._root, directory)
        with alone(self._disk, directory):
            return self._create_alone(directory, name, request)

    def _create_alone(self, directory: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        sequence: int = request["sequence"]
        say = self._reporter.say
        temporary = prepare(self._disk, directory, name)  # before the work: a name that is taken is known at once
        history = History(self._disk, DataDirectory(self._disk, self._root), self._keys)
        now_ms: int = request["now_ms"]
        rebuilt = rebuild(
            history, Point(sequence=sequence), now_ms, lambda done, total: say(done, 2 * total), last=sequence
        )
        sidecar = save(
            self._disk, temporary, name, rebuilt.machine, term=rebuilt.term, store_id=history.manifest().store_id,
            keys=CLEAR if request["plain"] else self._keys, throttle=throttled(request["throttle"]),
            say=lambda done, total: say(total + done, 2 * total),
        )  # fmt: skip
        return {"backup": _shown(sidecar)}

    def _verify(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        loaded = load(self._disk, path, lambda: self._keys, self._master, self._reporter.say)
        world, now_ms = loaded.machine.world, request["now_ms"]
        used = [number for number, db in enumerate(world.databases) if db.items]
        return {
            "backup": _shown(loaded.sidecar),
            "databases_used": max(used, default=-1) + 1,
            "largest_value": max((len(row.value) for row in rows_of(loaded.machine)), default=0),
            "expired": sum(1 for db in world.databases for at_ms in db.expires.values() if at_ms <= now_ms),
        }

    def _rows(self, path: str) -> dict[str, Any]:
        sidecar = read_sidecar(self._disk, path)
        check_file(self._disk, path, sidecar)  # what is damaged is found before the server stages anything
        reader = BackupReader(self._disk, path, keys_for(path, sidecar, lambda: self._keys, self._master))
        sums = _Sums()
        try:
            for row in reader.rows():
                if len(row.value) > VALUE_BYTES_MAX:
                    raise Corrupt(path, reader.position, f"values of at most {VALUE_BYTES_MAX} bytes", advice=ADVICE)
                for db, rows in sums.add(row):
                    _send(db, rows)
            for db, rows in sums.rest():
                _send(db, rows)
            assert reader.content is not None
            check_content(sidecar, reader.content, path)
        finally:
            reader.close()
        if sums.digest() != sidecar.keys_digest:
            raise Corrupt(path, 0, f"keys with digest {sidecar.keys_digest}, these have {sums.digest()}", advice=ADVICE)
        return {"backup": _shown(sidecar)}


class _Sums:
    """Gathers rows into messages; the digest of all keys is the sum of the messages' digests."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._bytes = self._count = self._sum = 0

    def add(self, row: Row) -> Iterator[tuple[int, list[Row]]]:
        """What is to be sent now: a message holds keys of one database."""
        if self._rows and (self._rows[0].db != row.db or len(self._rows) >= ROWS_KEYS or self._bytes >= ROWS_BYTES):
            yield from self.rest()
        self._rows.append(row)
        self._bytes += len(row.key) + len(row.value)

    def rest(self) -> Iterator[tuple[int, list[Row]]]:
        rows, self._rows, self._bytes = self._rows, [], 0
        if rows:
            self._take(rows)
            yield rows[0].db, rows

    def digest(self) -> str:
        return f"{self._count & 0xFFFFFFFF:08x}{self._sum % (1 << 128):032x}"

    def _take(self, rows: list[Row]) -> None:
        db = Database()
        for row in rows:
            db.items[row.key] = make_item(row.version, row.value)
            if row.expire_at_ms is not None:
                db.expires[row.key] = row.expire_at_ms
            if row.flags:
                db.flags[row.key] = row.flags
        self._sum += database_digest(db, rows[0].db)
        self._count += len(rows)


def _send(db: int, rows: list[Row]) -> None:
    raw = msgpack.packb([(row.key, row.value, row.expire_at_ms, row.flags) for row in rows], use_bin_type=True)
    out = sys.stdout.buffer
    out.write(json.dumps({"bytes": len(raw), "db": db, "rows": len(rows)}).encode() + b"\n" + raw)
    out.flush()


def _shown(sidecar: Sidecar) -> dict[str, Any]:
    """What the server tells of it. Not the keyring, nor the counts of up to 65536 databases: lines are bounded."""
    return {name: getattr(sidecar, name) for name in SHOWN}
