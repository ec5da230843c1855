"""Issue 3, shown by 5: each verb that changes files, interrupted at every one of its calls by a power cut, a kill, a failing
disk and a full one. Afterwards the directory starts, nothing that was acknowledged is lost, and `storage verify` agrees.

The workload in front of the verb is that of `directory.filled`: two snapshots, sealed segments before, between and behind
them, an active one. What a verb may leave is said in its own test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tests.sim.disk.directory import (
    MASTER,
    ROOT,
    Engine,
    Tokens,
    all_of_them,
    assert_verified,
    nonces_recorded,
    prepared,
    reading_keys_of,
    refuses_or_is_empty,
    started,
    starts_with,
    sweep,
)
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from vaylix_resp.commands import operations
from vaylix_resp.engine.copies.backup_state import load, save
from vaylix_resp.engine.keys import SealedKeys
from vaylix_resp.errors import Refused
from vaylix_resp.storage.active import Segment
from vaylix_resp.storage.copies.backup_sidecar import prepare
from vaylix_resp.storage.copies.data_copy import DataCopy, Note
from vaylix_resp.storage.listing import list_wal
from vaylix_resp.storage.manifest import CleanStop, read_manifest
from vaylix_resp.storage.snapshot import snapshot_path
from vaylix_resp.storage.upkeep.rewrap import key_ids


@pytest.mark.parametrize("sealed", [True, False])
def test_the_first_start(sealed: bool) -> None:
    """Nothing has been acknowledged yet: what is left starts, empty."""
    empty = started(SimDisk(), sealed=sealed)

    def check(disk: SimDisk, after: str) -> None:
        assert started(disk, sealed=sealed) == empty, after
        assert_verified(disk)

    assert sweep(SimDisk(), lambda disk: Engine(disk, sealed=sealed, tokens=Tokens(), begin=False), check) > 20


@pytest.mark.parametrize("sealed", [True, False])
def test_writing(sealed: bool) -> None:
    """A batch that was acknowledged is there; the one that was being written may be."""
    disk, digest = prepared(sealed=sealed)
    told: list[str] = []

    def verb(disk: SimDisk) -> None:
        told[:] = [digest]
        engine = Engine(disk, sealed=sealed, tokens=Tokens(2))
        told.append(engine.digest())
        for number in range(3):
            engine.write(f"SET key{number} {'v' * 1000 * number}")
            told.append(engine.digest())

    verb(disk.copy())
    everything = list(told)

    def check(disk: SimDisk, after: str) -> None:
        found = started(disk.copy(), sealed=sealed)
        assert found in everything[len(told) - 1 :][:2], after
        assert_verified(disk)

    sweep(disk, verb, check)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("keep", [None, all_of_them])
def test_snapshot_publish_prune(sealed: bool, keep) -> None:
    """With the child's half in this process; the first entry of the term is there or not."""
    disk, digest = prepared(sealed=sealed)
    engine = Engine(disk.copy(), sealed=sealed)
    with_term = engine.digest()

    def verb(disk: SimDisk) -> None:
        Engine(disk, sealed=sealed, tokens=Tokens(3)).snapshot(keep)

    assert sweep(disk, verb, starts_with(digest, with_term, sealed=sealed)) > 40


@pytest.mark.parametrize("sealed", [True, False])
def test_clean_stop(sealed: bool) -> None:
    disk, digest = prepared(sealed=sealed)
    with_term = Engine(disk.copy(), sealed=sealed).digest()

    def verb(disk: SimDisk) -> None:
        engine = Engine(disk, sealed=sealed, tokens=Tokens(4))
        engine.store.wal.prepare_spare()
        engine.stop()

    sweep(disk, verb, starts_with(digest, with_term, sealed=sealed))


@pytest.mark.parametrize("sealed", [True, False])
def test_a_start_after_a_clean_stop(sealed: bool) -> None:
    disk, digest = prepared(sealed=sealed, stop=True)
    sweep(
        disk, lambda disk: Engine(disk, sealed=sealed, tokens=Tokens(5), begin=False), starts_with(digest, sealed=sealed)
    )


@pytest.mark.parametrize("before, after", [(False, True), (True, False)])
def test_encryption_is_turned(before: bool, after: bool) -> None:
    """On or off at a start: a crash leaves a directory that starts with either setting, but never one that trusts less."""
    disk, digest = prepared(sealed=before)

    def check(disk: SimDisk, when: str) -> None:
        assert started(disk.copy(), sealed=after) == digest, when
        assert started(disk.copy(), sealed=before) == digest, when
        starts_with(digest, sealed=after)(disk, when)

    sweep(disk, lambda disk: Engine(disk, sealed=after, tokens=Tokens(6), begin=False), check)


def test_keyring_rotate() -> None:
    """Online: a new key, a new segment, a snapshot, and the keys that no file needs are destroyed."""
    disk, digest = prepared()
    with_term = Engine(disk.copy()).digest()

    def verb(disk: SimDisk) -> None:
        engine = Engine(disk, tokens=Tokens(7))
        keys = engine.server_keys.keys
        assert isinstance(keys, SealedKeys)
        keys.keyring.rotate(engine.clock.ms)
        engine.store.wal.rotate()
        engine.snapshot()
        keys.keyring.destroy(set(keys.keyring.retired) - set(key_ids(disk, ROOT).values()))

    whole = disk.copy()
    verb(whole)
    assert set(key_ids(whole, ROOT).values()) == {2}
    sweep(disk, verb, starts_with(digest, with_term))


BACKUP = "backup/online"


def test_online_backup_seal() -> None:
    """The copy is whole or has no manifest; the original is as it was; what is removed half-way is never half a store."""
    disk, digest = prepared(stop=True)
    disk.mkdir("backup")
    disk = disk.copy()
    original = {path: content for path, content in disk.files().items() if path.startswith(ROOT) and "LOCK" not in path}

    def verb(disk: SimDisk) -> None:
        make_copy(disk)
        DataCopy(disk, BACKUP).remove()

    def check(disk: SimDisk, after: str) -> None:
        assert {path: disk.files()[path] for path in original} == original, after
        if disk.exists(f"{BACKUP}/manifest.json"):
            assert_verified(disk, BACKUP)
            assert started(disk.copy(), BACKUP) == digest, after
        else:
            refuses_or_is_empty(disk.copy(), BACKUP)
        DataCopy(disk, BACKUP).remove()
        assert not DataCopy(disk, BACKUP).is_occupied(), after
        make_copy(disk)
        assert started(disk, BACKUP) == digest, after

    sweep(disk, wrapped(verb), check)


def make_copy(disk: SimDisk) -> None:

    manifest = read_manifest(disk, ROOT)
    assert manifest is not None and manifest.newest is not None and isinstance(manifest.clean_stop, CleanStop)
    copy = DataCopy(disk, BACKUP)
    copy.begin(Note(1))
    newest = manifest.newest
    copy.add_snapshot(snapshot_path(ROOT, newest.sequence), newest.file)
    for name in list_wal(disk, ROOT, 0).sealed:
        if name.last is not None and name.last > newest.sequence:
            copy.add_segment(Segment(f"{ROOT}/wal/{name.name}", name.first, name.last, 0))
    keyring = disk.read_file(f"{ROOT}/keyring/keyring.json")
    copy.seal(replace(manifest, snapshots=(newest,)), keyring, Note(1, 2, manifest.clean_stop.sequence))


def wrapped(verb: Callable[[SimDisk], None]) -> Callable[[SimDisk], None]:
    """The callers of these verbs answer an OSError themselves."""

    def run(disk: SimDisk) -> None:
        try:
            verb(disk)
        except OSError as cause:
            raise Refused(str(cause)) from cause

    return run


def test_backup_to() -> None:
    """A backup has a sidecar and is whole, or has none and is no backup."""
    disk, digest = prepared()
    disk.mkdir("backups")
    disk = disk.copy()
    engine = Engine(disk.copy(), begin=False)
    machine, store_id = engine.machine, engine.store.manifest.store_id

    def verb(disk: SimDisk) -> None:
        keys = reading_keys_of(disk)
        save(disk, prepare(disk, "backups", "b"), "b", machine, term=3, store_id=store_id, keys=keys)

    def check(disk: SimDisk, after: str) -> None:
        if disk.exists("backups/b.json"):
            loaded = load(disk, "backups/b.vxb", lambda: reading_keys_of(disk), lambda: MASTER.read(disk))
            assert loaded.machine.applied == machine.applied, after
        assert started(disk.copy()) == digest, after

    sweep(disk, wrapped(verb), check)


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_backup_restore(mode: str) -> None:
    """Staged in many entries and published by one: what clients see is all of the old keys or all of the new ones."""
    disk, _ = prepared()
    before = contents(Engine(disk.copy(), begin=False))
    rows = [[(b"new%d.%d" % (turn, n), b"v" * 300, None, 0) for n in range(3)] for turn in range(2)]
    new = {(0, key): value for part in rows for key, value, _, _ in part}
    after_it = {**before, **new} if mode == "merge" else new

    def verb(disk: SimDisk) -> None:
        engine = Engine(disk, tokens=Tokens(14))
        for part in rows:
            engine.propose(operations.stage(b"restore-1", 0, part))
            engine.store.wal.rotate()
        engine.snapshot()  # what is staged is part of it
        engine.propose(operations.publish(b"restore-1", mode))

    def check(disk: SimDisk, after: str) -> None:
        engine = Engine(disk)
        found = contents(engine)
        assert found in (before, after_it), after
        assert (found == after_it) or after != "nothing"
        assert_verified(disk)

    sweep(disk, verb, check)


def contents(engine: Engine) -> dict[tuple[int, bytes], bytes]:
    """What clients can read."""
    world = engine.machine.world
    return {
        (number, key): world.views[number].string(key)
        for number, db in enumerate(world.databases) for key in db.items
    }  # fmt: skip


def test_no_data_key_seals_two_records_under_one_number() -> None:
    """Over many lives of one directory, cut at random, with full disks and key rotations; the keyring is the real one."""
    rng, tokens, disk = Random(6), Tokens(15), SimDisk()
    with nonces_recorded() as used:
        for life in range(60):
            disk.faults = {rng.randrange(20, 200): Fault("crash"), rng.randrange(30, 200): Fault("enospc", 0.7)}
            try:
                engine = Engine(disk, tokens=tokens)
                for number in range(rng.randrange(6)):
                    engine.write(f"SET key{number} {'v' * rng.choice((1, 800, 3000))}{life}")
                if life % 4 == 0:
                    keys = engine.server_keys.keys
                    assert isinstance(keys, SealedKeys)
                    keys.keyring.rotate(life)
                if life % 3 == 0:
                    engine.snapshot()
                engine.abandon()
            except PowerCut:
                disk = disk.crash(rng)
            except Refused:
                disk.kill()
    assert len(used) > 150 and len({key for key, _ in used}) > 80
