"""As `test_sweeps`, for what runs without a server: `pitr restore`, `storage rotate-key`, `repair` and `migrate`."""

from __future__ import annotations

import pytest

from tests.sim.disk.directory import (
    MASTER,
    ROOT,
    STORE_ID,
    Engine,
    Tokens,
    assert_verified,
    prepared,
    reading_keys_of,
    refuses_or_is_empty,
    started,
    sweep,
)
from tests.sim.disk.simdisk import SimDisk
from tests.unit.storage.old_directory import facts, put
from vaylix_resp.commands.points import Point
from vaylix_resp.engine.history.new_store import create_store, prove
from vaylix_resp.engine.history.restore import rebuild
from vaylix_resp.engine.keys import new_keys
from vaylix_resp.engine.proof import halve
from vaylix_resp.engine.rekey import rotate_key
from vaylix_resp.errors import Refused
from vaylix_resp.security.keyring import keyring_path
from vaylix_resp.security.master_key import ENVIRONMENT, KeyringError, Source
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.storage.history import DataDirectory, History
from vaylix_resp.storage.manifest import read_manifest
from vaylix_resp.storage.sealing import CLEAR, Keys
from vaylix_resp.storage.upkeep.migrate import is_format1
from vaylix_resp.storage.upkeep.repair import Repair
from vaylix_resp.storage.upkeep.rewrap import key_ids
from vaylix_resp.tools.storage import run_migration

TARGET = "target"


@pytest.mark.parametrize("sealed", [True, False])
def test_a_new_directory_is_written(sealed: bool) -> None:
    """`pitr restore` and `backup restore`: what is in the target is all of it, or no server starts on it."""

    engine = Engine(SimDisk(), tokens=Tokens())
    engine.write("SET a 1", "SET b " + "b" * 3000, db=1)
    digest, machine = engine.digest(), engine.machine

    def verb(disk: SimDisk) -> None:
        keys = new_keys(disk, TARGET, MASTER, 1, lambda warning: None, token=Tokens(8)) if sealed else CLEAR
        create_store(disk, TARGET, machine, 3, keys, store_id=STORE_ID, now_ms=1)
        prove(disk, TARGET, keys, machine)

    def check(disk: SimDisk, after: str) -> None:
        if disk.exists(f"{TARGET}/manifest.json"):
            assert_verified(disk, TARGET)
            assert started(disk, TARGET, sealed=sealed) == digest, after
        else:
            refuses_or_is_empty(disk, TARGET)

    sweep(SimDisk(), verb, check)


def test_pitr_restore() -> None:
    """Into a new directory: as `test_a_new_directory_is_written`, and the source keeps every byte."""

    disk, _ = prepared()
    history = History(disk, DataDirectory(disk, ROOT), reading_keys_of(disk))
    wanted = digest_hex(rebuild(history, Point(sequence=7), 1 << 50).machine)
    source = {path: content for path, content in disk.files().items() if path.startswith(ROOT)}

    def verb(disk: SimDisk) -> None:
        history = History(disk, DataDirectory(disk, ROOT), reading_keys_of(disk))
        rebuilt = rebuild(history, Point(sequence=7), 1 << 50)
        keys = new_keys(disk, TARGET, MASTER, 1, lambda warning: None, token=Tokens(9))
        create_store(disk, TARGET, rebuilt.machine, rebuilt.term, keys, store_id=STORE_ID, now_ms=1)
        prove(disk, TARGET, keys, rebuilt.machine)

    def check(disk: SimDisk, after: str) -> None:
        assert {path: content for path, content in disk.files().items() if path.startswith(ROOT)} == source, after
        if disk.exists(f"{TARGET}/manifest.json"):
            assert started(disk, TARGET) == wanted, after
        else:
            refuses_or_is_empty(disk, TARGET)

    sweep(disk, verb, check)


@pytest.mark.parametrize("new_master", [False, True])
def test_rotate_key_offline(new_master: bool) -> None:
    """One of the two master keys opens the directory, whatever happens; and the command can be repeated."""
    other = Source(ENVIRONMENT, "ANOTHER", bytes(range(100, 132)).hex())
    disk, digest = prepared()

    def verb(disk: SimDisk, seed: int = 10) -> None:
        after = (lambda: other.read(disk)) if new_master else None
        rotate_key(disk, ROOT, MASTER, 5, new_master=after, token=Tokens(seed))

    def check(disk: SimDisk, after: str) -> None:
        try:
            found = Engine(disk.copy(), source=MASTER, begin=False).found
        except KeyringError:
            assert new_master, after
            assert Engine(disk, source=other, begin=False).found == digest, after
            return
        assert found == digest, after
        assert_verified(disk)
        verb(disk, 11)
        source = other if new_master else MASTER
        assert Engine(disk, source=source, begin=False).found == digest, after
        assert len(set(key_ids(disk, ROOT).values())) == 1, after

    sweep(disk, verb, check)


@pytest.mark.parametrize("damaged", [False, True])
def test_repair(damaged: bool) -> None:
    """The old directory, or one that no server takes until the command has been repeated; then the log ends there."""
    disk, digest = prepared()
    keep = 7
    whole = disk.copy()
    repair(whole, keep)
    wanted = started(whole.copy())
    if damaged:
        path = next(path for path in disk.files() if "active-" in path)
        disk.flip(path, 8 * 4500)
        with pytest.raises(Refused):
            started(disk.copy())

    def check(disk: SimDisk, after: str) -> None:
        try:
            found = started(disk.copy())
        except Refused:
            repair(disk, keep)
            found = started(disk.copy())
            assert found == wanted, after
        assert found in (wanted, digest), after
        assert any(path.startswith(f"{ROOT}/quarantine/") for path in disk.files()) or found == digest, after

    sweep(disk, lambda disk: repair(disk, keep), check)


def repair(disk: SimDisk, sequence: int) -> None:
    manifest = read_manifest(disk, ROOT)
    assert manifest is not None
    job = Repair(disk, ROOT, manifest, reading_keys_of(disk), halve)
    job.carry_out(job.plan(sequence))


def test_migrate() -> None:
    """The old files are there, all of them, until the new ones are; and the command can be repeated until it is through.

    The directory is one that was killed; `test_migrate` of the storage has the one that was stopped as well.
    """
    name = "killed"
    disk = put(name)
    old = {path.rpartition("/")[2]: content for path, content in disk.files().items()}

    def verb(disk: SimDisk, seed: int = 12) -> None:
        run_migration(disk, ROOT, ROOT, lambda: migration_keys(disk, seed))

    def check(disk: SimDisk, after: str) -> None:
        if is_format1(disk, ROOT):
            with pytest.raises(Refused):
                started(disk.copy())
            verb(disk, 13)
        assert Engine(disk, begin=False, databases=16).found == facts(name)["digest"], after
        kept = {path.rpartition("/")[2]: content for path, content in disk.files().items() if "/format1/" in path}
        assert {file: kept.get(file) for file in old} == old, after

    sweep(disk, verb, check)


def migration_keys(disk: SimDisk, seed: int) -> Keys:
    if disk.exists(keyring_path(ROOT)):
        return reading_keys_of(disk)
    return new_keys(disk, ROOT, MASTER, 1, lambda warning: None, token=Tokens(seed))
