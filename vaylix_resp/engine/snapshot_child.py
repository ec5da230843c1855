"""The process that makes a snapshot: recovery code over the last snapshot and the sealed log, then a file.

Reads the data directory beside the running server and writes one temporary file; the server publishes it. The master
key comes through standard input, as `children` sends it.
Prints JSON lines: {"progress": 0..1} now and then, at the end {"snapshot": {...}} or {"digest": ...}.
Promise: a state that cannot be rebuilt from disk ends with a message on stderr and a status that is not 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict

from ..errors import EX_OK, Refused
from ..state import image
from ..state.digest import digest_hex
from ..state.machine import StateMachine
from ..storage.disk import Disk, RealDisk, join
from ..storage.errors import Corrupt, StorageError
from ..storage.manifest import NAME as MANIFEST
from ..storage.manifest import Manifest, SnapshotInfo, read_manifest
from ..storage.sealed_log import read_batches
from ..storage.sealing import Keys
from ..storage.snapshot import DIRECTORY, SnapshotReader, SnapshotWriter, temporary_path
from .boot import load_snapshot, new_machine, replay
from .keys import child_keys
from .pace import Reporter, throttled

SUBCOMMAND = "snapshot-child"


def snapshot_arguments(root: str, sequence: int, databases: int, throttle: int) -> list[str]:
    return [
        SUBCOMMAND, "--dir", root, "--sequence", str(sequence), "--databases", str(databases),
        "--throttle", str(throttle),
    ]  # fmt: skip


def digest_arguments(root: str, sequence: int, databases: int) -> list[str]:
    return [*snapshot_arguments(root, sequence, databases, 0), "--digest"]


def child_main(argv: list[str]) -> int:
    """Entry point of the hidden subcommand."""
    parser = argparse.ArgumentParser(prog=f"vaylix {SUBCOMMAND}")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--sequence", type=int, required=True)
    parser.add_argument("--databases", type=int, required=True)
    parser.add_argument("--throttle", type=int, default=0, help="bytes per second; 0: none")
    parser.add_argument("--digest", action="store_true", help="print the digest of the state, write nothing")
    options = parser.parse_args(argv)
    try:
        return _run(options.dir, options.sequence, options.databases, options.throttle, options.digest)
    except Refused as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code


def _run(root: str, sequence: int, databases: int, throttle: int, digest_only: bool) -> int:
    disk = RealDisk()
    keys = child_keys(disk, root, sys.stdin.buffer.read())
    reporter = Reporter()

    def say(fraction: float) -> None:
        reporter.say(fraction, 1)

    if digest_only:
        machine, _, _ = rebuild(disk, root, keys, sequence, databases, say)
        print(json.dumps({"digest": digest_hex(machine)}), flush=True)
    else:
        info = make_snapshot(disk, root, keys, sequence, databases, say, throttled(throttle))
        print(json.dumps({"snapshot": asdict(info)}), flush=True)
    return EX_OK


def make_snapshot(
    disk: Disk, root: str, keys: Keys, sequence: int, databases: int, say: Callable[[float], None],
    throttle: Callable[[int], None] | None = None,
) -> SnapshotInfo:  # fmt: skip
    """Write the state at `sequence` into its temporary file; whoever owns the manifest publishes it."""
    machine, term, tag = rebuild(disk, root, keys, sequence, databases, say)
    writer = SnapshotWriter(
        disk, temporary_path(root, sequence), keys, store_id=_manifest(disk, root).store_id_bytes, sequence=sequence,
        tag=tag, term=term, timestamp_ms=machine.time_ms, throttle=throttle,
    )  # fmt: skip
    try:
        written, total = 0, max(1, sum(len(db.items) for db in machine.world.databases))
        for kind, obj in image.dump(machine):
            writer.add_chunk(obj, kind)
            written += len(obj[1]) if kind == image.ITEMS else 0
            say(0.5 + written / total / 2)
        return writer.finish({"keys": written, "digest": digest_hex(machine)})
    except BaseException:
        writer.abort()
        raise


def rebuild(
    disk: Disk, root: str, keys: Keys, sequence: int, databases: int, say: Callable[[float], None]
) -> tuple[StateMachine, int, bytes]:
    """The state at `sequence`, where a sealed segment ends, and the term and tag of the batch that ends there."""
    manifest, machine = _manifest(disk, root), new_machine(databases)
    info = manifest.newest
    term, tag = 0, b""
    if info is not None:
        path = join(root, DIRECTORY, info.file)
        load_snapshot(machine, SnapshotReader(disk, path, manifest.store_id_bytes, keys, info))
        term, tag = info.term, bytes.fromhex(info.tag)
    first = machine.applied
    for batch in read_batches(disk, root, manifest, keys, first, sequence):
        replay(machine, batch, databases)
        term, tag = batch.term, batch.tag
        say((machine.applied - first) / max(1, sequence - first) / 2)
    if machine.applied != sequence:
        raise StorageError(f"{root}: the log ends at sequence {machine.applied}, {sequence} was to be reached")
    return machine, term, tag


def _manifest(disk: Disk, root: str) -> Manifest:
    manifest = read_manifest(disk, root)
    if manifest is None:
        raise Corrupt(join(root, MANIFEST), 0, "a manifest in a directory that holds data")
    return manifest
