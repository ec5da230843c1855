"""`vaylix audit ...`: check the record of who did what, and read its end, beside a running server if need be.

`verify` compares the files with the head that the log of the data has committed, for which it needs the master key;
with --no-log it needs nothing but the files. Exit code 65 when anything is not as it was written.
Promise: nothing is changed. Not here: what is checked (`security.audit_check`), the form (docs/audit.md).
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Final

from ..engine.audit.committed import committed_in
from ..engine.audit.files import DIRECTORY
from ..engine.audit.reading import check_files, last_lines
from ..errors import EX_CONFIG, EX_DATA, EX_OK, Refused
from ..security.audit import CURRENT, Head
from ..security.audit_check import Report
from ..security.audit_signing import PublicKey, load_public_key
from ..storage.disk import RealDisk, join
from ..storage.history import DataDirectory, History
from .directory import named
from .keys import add_key_options, open_keys
from .output import Group, print_json

TRIES: Final = 3  # an append that is being made looks like a torn one
PAUSE_S: Final = 0.3


class NoAudit(Refused):
    exit_code = EX_CONFIG


def register(add: Group) -> None:
    """The verbs of the group."""
    verify = add(
        "verify", "check every record, the chain across files, and the end against the data's log",
        "vaylix audit verify --data-dir /srv/vaylix --json",
    )  # fmt: skip
    _add_directory(verify)
    add_key_options(verify)
    verify.add_argument("--no-log", action="store_true", help="do not compare with the data's log: needs no master key")
    verify.add_argument("--public-key", metavar="FILE", help="Ed25519 key in PEM that the signatures must be of")
    verify.set_defaults(run=_verify)
    tail = add("tail", "print the newest records", "vaylix audit tail --data-dir /srv/vaylix --count 20")
    _add_directory(tail)
    tail.add_argument("--count", type=int, default=10, metavar="N", help="how many (default: 10)")
    tail.set_defaults(run=_tail)


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="the data directory")
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def _verify(arguments: argparse.Namespace) -> int:
    disk = RealDisk()
    root = named(arguments.data_dir, disk)
    key = _public_key(arguments.public_key) if arguments.public_key else None
    committed: Head | None = None
    if not arguments.no_log:
        source = DataDirectory(disk, root)
        source.manifest()  # before the keyring: a wrong directory is the likelier mistake
        committed = committed_in(History(disk, source, open_keys(arguments, disk, root)))
    elif not disk.exists(join(root, DIRECTORY)):
        raise NoAudit(f"{join(root, DIRECTORY)}: no audit here; to continue: name a data directory that has one")
    report = check_files(disk, root, committed=committed, public_key=key)
    for _ in range(TRIES - 1):
        if not report.torn:
            break
        time.sleep(PAUSE_S)
        report = check_files(disk, root, committed=committed, public_key=key)
    if arguments.json:
        print_json(report.as_dict() | {"compared_with_log": not arguments.no_log})
    else:
        _print(report, root, signed=key is not None, compared=not arguments.no_log)
    return EX_OK if report.whole else EX_DATA


def _public_key(path: str) -> PublicKey:
    with open(path, "rb") as file:
        return load_public_key(file.read(64 * 1024), path)


def _print(report: Report, root: str, *, signed: bool, compared: bool) -> None:
    for name, records in report.files:
        print(f"audit/{name}: {records} records")
    for fault in report.faults:
        print(f"FAULT {fault}")
    if report.torn:
        print(f"the end of {CURRENT} may be an append that a crash interrupted; the next start cuts it off")
    head = report.head
    print(f"newest record {head.sequence}, hash {head.hash}")
    if signed:
        print(f"signed through record {report.signed_through} by this key")
    if report.committed is not None:
        print(f"the log has committed record {report.committed.sequence}: behind it a cut would show no trace")
    elif compared:
        print("the log has not committed any record yet")
    print(f"{root}: the audit is {'whole' if report.whole else 'NOT as it was written'}")


def _tail(arguments: argparse.Namespace) -> int:
    disk = RealDisk()
    root = named(arguments.data_dir, disk)
    lines = last_lines(disk, root, max(1, arguments.count))
    if arguments.json:
        print_json([json.loads(line) for line in lines])
        return EX_OK
    for line in lines:
        print(_shown(json.loads(line)))
    return EX_OK


def _shown(record: dict[str, object]) -> str:
    """One line for people; the details as they stand."""
    words = [str(record["sequence"]), str(record["time"]), str(record["event"]), str(record["outcome"])]
    for name in ("code", "user", "address", "command", "keys", "latency_us"):
        if record.get(name) is not None:
            words.append(f"{name}={record[name]}")
    if record.get("details"):
        words.append(json.dumps(record["details"]))
    return "  ".join(words)
