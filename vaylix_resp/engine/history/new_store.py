"""A state as a new data directory: one snapshot, and an empty log behind it.

    reserve(disk, target); keys = ...; create_store(...); prove(...)

Promises: the directory gets its manifest last, and before that holds a mark that every server refuses to start on:
never a part of the state, nor an empty one. `prove` reads the files back before anybody is told.
Not here: where the state comes from (`restore`, `backup_state`), the keyring (`keys`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...errors import EX_USAGE, Refused
from ...state import image
from ...state.digest import digest_hex
from ...state.machine import StateMachine
from ...storage.active import create_active
from ...storage.batch import GENESIS_TAG
from ...storage.disk import Disk, join
from ...storage.errors import Corrupt, IoFailed
from ...storage.history import DataDirectory, History
from ...storage.listing import DIRECTORY as WAL
from ...storage.manifest import Manifest, write_manifest
from ...storage.sealing import Keys
from ...storage.segment import FIRST_SEGMENT_BYTES, Chain
from ...storage.snapshot import DIRECTORY as SNAPSHOTS
from ...storage.snapshot import SnapshotWriter, snapshot_path, temporary_path
from ...storage.store import DIRECTORIES
from ..boot import load_snapshot, new_machine

Say = Callable[[int, int], None]  # done, total; in keys
UNFINISHED: Final = "unfinished"  # in snapshots/, where a server knows that it does not belong
MASTER_KEY_BESIDE: Final = frozenset({"master.key"})  # an operator may have put it there beforehand


class NotEmpty(Refused):
    """The target has something in it already."""

    exit_code = EX_USAGE


def check_empty(disk: Disk, target: str) -> None:
    """Refuse a directory in which there is anything, so that nothing of anybody's is ever mixed or overwritten."""
    if disk.exists(target) and (names := [name for name in disk.listdir(target) if name not in MASTER_KEY_BESIDE]):
        raise NotEmpty(f"{target}: holds {names[0]} already; to continue: name a new or an empty directory")


def reserve(disk: Disk, target: str) -> None:
    """Before the keyring or anything else is there: from now on no server starts on it until it is whole."""
    check_empty(disk, target)
    try:
        disk.mkdir(join(target, SNAPSHOTS))
        disk.replace_file(join(target, SNAPSHOTS, UNFINISHED), b"a restore has not come to its end here\n")
    except OSError as cause:
        raise IoFailed(target, cause) from cause


def create_store(
    disk: Disk, target: str, machine: StateMachine, term: int, keys: Keys, *, store_id: bytes, now_ms: int,
    say: Say | None = None,
) -> Manifest:  # fmt: skip
    """Write it. There is nothing but its keyring and the mark of `reserve`. Raises IoFailed."""
    assert len(store_id) == 16, len(store_id)
    sequence, at_ms = machine.applied, machine.time_ms
    manifest = Manifest(store_id.hex(), now_ms, keyring_id=keys.id)
    try:
        for name in DIRECTORIES:
            disk.mkdir(join(target, name))
        # The log before the snapshot: one that begins behind sequence 1 is refused too, when the mark has gone.
        chain = Chain(sequence, GENESIS_TAG, term, at_ms)
        create_active(disk, join(target, WAL), store_id, chain, FIRST_SEGMENT_BYTES, keys).file.close()
    except OSError as cause:
        raise IoFailed(target, cause) from cause
    if sequence:
        writer = SnapshotWriter(
            disk, temporary_path(target, sequence), keys, store_id=store_id, sequence=sequence, tag=GENESIS_TAG,
            term=term, timestamp_ms=at_ms,
        )  # fmt: skip
        done, total = 0, sum(len(db.items) for db in machine.world.databases)
        for kind, obj in image.dump(machine):
            writer.add_chunk(obj, kind)
            done += len(obj[1]) if kind == image.ITEMS else 0
            if say:
                say(done, total)
        info = writer.finish({"keys": total, "digest": digest_hex(machine)})
        try:
            disk.rename(temporary_path(target, sequence), snapshot_path(target, sequence))
        except OSError as cause:
            raise IoFailed(target, cause) from cause
        manifest = manifest.with_snapshot(info)
    mark = join(target, SNAPSHOTS, UNFINISHED)
    try:
        if disk.exists(mark):
            disk.unlink(mark)
    except OSError as cause:
        raise IoFailed(target, cause) from cause
    write_manifest(disk, target, manifest)
    return manifest


def prove(disk: Disk, target: str, keys: Keys, machine: StateMachine) -> None:
    """Read the directory back as a server would; Corrupt unless its state is that of the machine."""
    history = History(disk, DataDirectory(disk, target), keys)
    found = new_machine(len(machine.world.databases))
    base = history.base_for()
    if base is not None:
        load_snapshot(found, history.reader(base))
    for batch in history.batches(base):
        raise Corrupt(target, 0, f"an empty log, it has sequence {batch.first}")
    expected = digest_hex(machine)
    if digest_hex(found) != expected:
        raise Corrupt(target, 0, f"a state with digest {expected}, it reads back as {digest_hex(found)}")
