"""`storage rotate-key`: nothing but headers and the keyring change, and a crash at any call can be started from."""

from random import Random

import pytest

from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.engine.lab import START_MS, Clock, Lab
from vaylix_resp.engine.keys import ServerKeys
from vaylix_resp.engine.rekey import rotate_key
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.errors import EX_CONFIG, EX_DATA, Refused
from vaylix_resp.security.keyring import Keyring, keyring_path
from vaylix_resp.security.master_key import KeyringError, MasterKey, choose, generate
from vaylix_resp.storage import unfinished
from vaylix_resp.storage.errors import Locked
from vaylix_resp.storage.sealing import CLEAR
from vaylix_resp.storage.upkeep.rewrap import key_ids

ROOT = "data"
HEX, NEW_HEX = Random(1).randbytes(32).hex(), Random(2).randbytes(32).hex()
SOURCE, NEW_SOURCE = choose(ROOT, literal=HEX), choose(ROOT, literal=NEW_HEX)
NEW_MASTER = MasterKey(bytes.fromhex(NEW_HEX), "new.key")


def keys_of(disk, source=SOURCE, encryption=True, seed=7):
    return ServerKeys(disk, ROOT, source, encryption=encryption, now_ms=START_MS, token=Random(seed).randbytes)(None)


def store(*, clean):
    """A snapshot, a sealed segment behind it and an active one; how it looks to a server that stopped (or died)."""
    disk = SimDisk()
    disk.mkdir(ROOT)
    lab = Lab(disk, clock=Clock(), keys=keys_of(disk))
    for number in range(3):
        lab.write(f"SET key{number} {number}")
    lab.node.wal.rotate()
    info = make_snapshot(lab.disk, ROOT, lab.store.keys, lab.node.wal.last, lab.databases, lambda fraction: None)
    lab.store.publish_snapshot(info)
    lab.store.prune()
    lab.write("SET later 3")
    lab.node.wal.rotate()
    lab.write("SET last 4")
    digest = lab.digest()
    if clean:
        lab.store.clean_stop(lab.clock.ms)
    else:
        lab.store.abandon()
    disk.kill()
    return disk, digest


def start(disk, source=SOURCE):
    """The digest of what a server finds."""
    lab = Lab(disk, clock=Clock(), keys=keys_of(disk, source), term=False)
    digest = lab.digest()
    lab.store.abandon()
    return digest


def tree(disk):
    return {path: bytes(inode.shown) for path, inode in disk.names.items()}


@pytest.mark.parametrize("clean", [True, False])
def test_headers_change_and_nothing_else(clean):
    disk, digest = store(clean=clean)
    before = tree(disk)
    rotated = rotate_key(disk, ROOT, SOURCE, START_MS, token=Random(3).randbytes)
    after = tree(disk)
    sealed = [path for path in before if path.endswith((".wal", ".vxs"))]
    assert (rotated.active_key, rotated.destroyed_keys, rotated.files) == (2, (1,), len(sealed)) and len(sealed) == 3
    assert set(before) == set(after), "no leftovers"
    for path in before:
        if path in sealed:
            header = 256 if path.endswith(".vxs") else 4096
            assert before[path][:header] != after[path][:header] and before[path][header:] == after[path][header:]
        elif path != keyring_path(ROOT):
            assert path.endswith("LOCK") or before[path] == after[path]
    assert set(key_ids(disk, ROOT).values()) == {2}
    assert start(disk) == digest
    with pytest.raises(KeyringError, match="sealed with key 1"):
        Keyring.open(disk, ROOT, SOURCE.read(disk)).unwrap(1, bytes(60), b"", "f")


def test_the_old_copy_of_a_file_cannot_be_put_back():
    disk, _ = store(clean=False)
    path, old = next((p, bytes(i.shown)) for p, i in disk.names.items() if p.endswith(".vxs"))
    rotate_key(disk, ROOT, SOURCE, START_MS, token=Random(3).randbytes)
    disk.put(path, old)
    with pytest.raises(Refused, match="sealed with key 1, the keyring .* has 2") as refused:
        start(disk)
    assert refused.value.exit_code == EX_DATA


def test_a_new_master_key_opens_it_and_the_old_one_does_not():
    disk, digest = store(clean=True)
    rotated = rotate_key(disk, ROOT, SOURCE, START_MS, new_master=lambda: NEW_MASTER, token=Random(3).randbytes)
    assert rotated.master_key == "new.key"
    with pytest.raises(KeyringError, match="is not the one of this keyring"):
        start(disk)
    assert start(disk, NEW_SOURCE) == digest


def test_again_and_again():
    disk, digest = store(clean=False)
    for number in range(2, 5):
        rotated = rotate_key(disk, ROOT, SOURCE, START_MS, token=Random(number).randbytes)
        assert (rotated.active_key, rotated.destroyed_keys) == (number, (number - 1,))
    assert start(disk) == digest


def test_what_was_put_aside_is_put_under_the_new_key_too():
    disk, _ = store(clean=False)
    path = next(path for path in disk.names if path.endswith(".wal"))
    disk.mkdir(f"{ROOT}/quarantine/x")
    disk.put(f"{ROOT}/quarantine/x/old.wal", disk.read_file(path))
    disk.put(f"{ROOT}/quarantine/torn", b"a torn end has no header")
    rotate_key(disk, ROOT, SOURCE, START_MS, token=Random(3).randbytes)
    assert key_ids(disk, ROOT)[f"{ROOT}/quarantine/x/old.wal"] == 2
    assert disk.read_file(f"{ROOT}/quarantine/torn") == b"a torn end has no header"


# ---- refusals: nothing has changed


def refused_and_unchanged(disk, *arguments, **more):
    before = tree(disk)
    with pytest.raises(Refused) as refused:
        rotate_key(disk, *arguments, START_MS, **more)
    after = tree(disk)
    for files in (before, after):
        files.pop(f"{ROOT}/LOCK", None)
    assert after == before
    return refused.value


def test_a_running_server_is_not_disturbed():
    disk, _ = store(clean=True)
    lab = Lab(disk, clock=Clock(), keys=keys_of(disk))
    assert isinstance(refused_and_unchanged(disk, ROOT, SOURCE), Locked)
    lab.store.abandon()


@pytest.mark.parametrize(
    "source, problem",
    [
        (choose(ROOT, literal=NEW_HEX), "is not the one of this keyring"),
        (choose(ROOT), "the master key is not there"),
        (choose(ROOT, command="exit 4"), "ended with status 4"),
    ],
)
def test_a_wrong_or_missing_master_key(source, problem):
    disk, _ = store(clean=True)
    refusal = refused_and_unchanged(disk, ROOT, source)
    assert problem in str(refusal) and refusal.exit_code == EX_CONFIG


def test_no_directory_no_keyring_and_a_foreign_keyring():
    disk, _ = store(clean=True)
    assert "no data directory" in str(refused_and_unchanged(disk, "elsewhere", SOURCE))
    disk.mkdir("other")
    other = Keyring.create(disk, "other", SOURCE.read(disk), now_ms=0, clear_until=0, token=Random(9).randbytes)
    disk.put(keyring_path(ROOT), other.export())
    refusal = refused_and_unchanged(disk, ROOT, SOURCE)
    assert "expected keyring" in str(refusal) and refusal.exit_code == EX_DATA

    clear = SimDisk()
    Lab(clear, clock=Clock(), keys=CLEAR).store.abandon()
    assert "has never been sealed" in str(refused_and_unchanged(clear.kill(), ROOT, SOURCE))


def test_the_same_master_key_again():
    disk, _ = store(clean=True)
    refusal = refused_and_unchanged(disk, ROOT, SOURCE, new_master=lambda: SOURCE.read(disk))
    assert "this is the master key in use" in str(refusal)


@pytest.mark.parametrize("what", [".vxs", ".wal"])
def test_a_damaged_header_is_found_before_anything_changes(what):
    disk, _ = store(clean=True)
    path = next(path for path in disk.names if path.endswith(what))
    disk.flip(path, 8 * 150)
    made = []
    refusal = refused_and_unchanged(disk, ROOT, SOURCE, new_master=lambda: made.append(1))
    assert str(refusal).startswith(path) and refusal.exit_code == EX_DATA and not made


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("gone", ["/wal/", "/snapshots/", "/wal/0"])
def test_no_key_goes_while_a_file_is_missing(gone, clean):
    """It may be on a disk that is not mounted just now."""
    disk, _ = store(clean=clean)
    for path in [path for path in disk.names if gone in path]:
        disk.remove(path)
    refusal = refused_and_unchanged(disk, ROOT, SOURCE, new_master=lambda: NEW_MASTER)
    assert refusal.exit_code == EX_DATA


def test_what_another_command_has_begun_is_finished_first():
    disk, _ = store(clean=True)
    unfinished.leave(disk, ROOT, unfinished.Note("a repair", "run it again"))
    assert "run it again" in str(refused_and_unchanged(disk, ROOT, SOURCE))


def test_files_that_the_keyring_has_no_key_for():
    disk, _ = store(clean=True)
    keyring = Keyring.open(disk, ROOT, SOURCE.read(disk))
    keyring.rotate(START_MS)
    keyring.destroy([1])
    refusal = refused_and_unchanged(disk, ROOT, SOURCE)
    assert "byte 0: sealed with key 1, which keyring" in str(refusal) and refusal.exit_code == EX_DATA


# ---- crashes


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("master", ["same", "new"])
def test_a_power_cut_at_any_call_leaves_a_directory_that_starts(clean, master):
    original, digest = store(clean=clean)

    def run(disk):
        new = None if master == "same" else lambda: generate(disk, "new.key", Random(2).randbytes)
        return rotate_key(disk, ROOT, SOURCE, START_MS, new_master=new, token=Random(3).randbytes)

    disk = original.copy()
    run(disk)
    calls, outcomes = disk.calls, set()
    new_source = choose(ROOT, literal=Random(2).randbytes(32).hex()) if master == "new" else SOURCE
    for at in range(1, calls + 1):
        disk = original.copy()
        disk.faults = {at: Fault("crash")}
        with pytest.raises(PowerCut):
            run(disk)
        for seed, mode in ((0, "lose"), (1, "keep"), (at, None)):
            left = disk.crash(Random(seed), mode)
            source = SOURCE
            try:
                found = start(left)
            except KeyringError as refused:
                assert master == "new" and "is not the one of this keyring" in str(refused)
                source = new_source
                found = start(left, source)
            assert found == digest, (at, mode)
            outcomes.add((source is SOURCE, Keyring.open(left, ROOT, source.read(left)).retired))
            again = rotate_key(left, ROOT, source, START_MS, token=Random(4).randbytes)
            assert set(key_ids(left, ROOT).values()) == {again.active_key}
            assert start(left, source) == digest
    assert len(outcomes) >= (2 if master == "same" else 3), outcomes


@pytest.mark.parametrize("kind", ["eio", "enospc"])
def test_a_disk_error_at_any_call_is_told_and_leaves_a_directory_that_starts(kind):
    original, digest = store(clean=False)
    disk = original.copy()
    rotate_key(disk, ROOT, SOURCE, START_MS, token=Random(3).randbytes)
    for at in range(1, disk.calls + 1):
        failing = original.copy()
        failing.faults = {at: Fault(kind)}
        with pytest.raises(Refused):
            rotate_key(failing, ROOT, SOURCE, START_MS, token=Random(3).randbytes)
        assert start(failing.kill()) == digest, at
