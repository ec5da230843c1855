"""Which key a file's header names, and the same data key under another one."""

from random import Random

import pytest
from xxhash import xxh3_128_digest

from tests.sim.disk.simdisk import SimDisk
from tests.unit.engine.lab import Clock, Lab
from vaylix_resp.engine.keys import ServerKeys
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.errors import EX_DATA
from vaylix_resp.security.master_key import choose
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable
from vaylix_resp.storage.sealing import CLEAR, KEY_ROOM
from vaylix_resp.storage.upkeep.rewrap import CLEAR_FILE, key_id_of, key_ids, rewrap, sealed_paths

ROOT = "data"
SOURCE = choose(ROOT, literal=Random(1).randbytes(32).hex())
HEADER_BYTES = {".wal": 4096, ".vxs": 256}


def made(*, sealed):
    disk = SimDisk()
    disk.mkdir(ROOT)
    opened = ServerKeys(disk, ROOT, SOURCE, encryption=sealed, now_ms=1, token=Random(7).randbytes)
    lab = Lab(disk, clock=Clock(), keys=opened(None))
    lab.write("SET a 1")
    lab.node.wal.rotate()
    keys = lab.store.keys
    lab.store.publish_snapshot(make_snapshot(disk, ROOT, keys, lab.node.wal.last, lab.databases, lambda fraction: None))
    lab.write("SET b 2")
    return lab


@pytest.fixture(scope="module")
def sealed():
    return made(sealed=True)


def test_the_key_of_every_file(sealed):
    found = key_ids(sealed.disk, ROOT)
    assert {path.removeprefix(ROOT + "/"): key for path, key in found.items()} == {
        "wal/00000000000000000001-00000000000000000002.wal": 1,
        "wal/active-00000000000000000003.wal": 1,
        "snapshots/snapshot-00000000000000000002.vxs": 1,
    }
    assert set(key_ids(made(sealed=False).disk, ROOT).values()) == {CLEAR_FILE}
    assert CLEAR.id == ""


def test_half_made_files_and_missing_directories_are_passed_over(sealed):
    disk = sealed.disk.copy()
    disk.put(f"{ROOT}/wal/spare-1.tmp", bytes(4096))
    disk.put(f"{ROOT}/snapshots/snapshot-00000000000000000009.vxs.tmp", b"half")
    assert key_ids(disk, ROOT) == key_ids(sealed.disk, ROOT)
    assert key_ids(SimDisk(), "nowhere") == {}


@pytest.mark.parametrize("kind", [".wal", ".vxs"])
def test_every_bit_of_a_header_counts(sealed, kind):
    path = next(path for path in sealed_paths(sealed.disk, ROOT) if path.endswith(kind))
    for bit in range(0, 8 * HEADER_BYTES[kind], 1 if kind == ".vxs" else 7):
        sealed.disk.flip(path, bit)
        with pytest.raises(Corrupt, match=path) as refused:
            key_id_of(sealed.disk, path)
        assert refused.value.exit_code == EX_DATA
        sealed.disk.flip(path, bit)
    assert key_id_of(sealed.disk, path) == 1


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 255])
def test_a_file_that_ends_in_its_header_is_refused(sealed, size):
    disk = sealed.disk.copy()
    for path in sealed_paths(disk, ROOT):
        disk.put(path, disk.read_file(path)[:size])
        with pytest.raises(Corrupt):
            key_id_of(disk, path)


def test_what_was_put_aside_may_have_no_header_but_not_a_damaged_one(sealed):
    disk = sealed.disk.copy()
    path = f"{ROOT}/quarantine/deep/x"
    disk.mkdir(f"{ROOT}/quarantine/deep")
    for content, key_id in ((b"", None), (b"torn", None), (disk.read_file(sealed_paths(disk, ROOT)[0]), 1)):
        disk.put(path, content)
        assert key_ids(disk, ROOT).get(path) == key_id
    disk.flip(path, 8 * 100)
    with pytest.raises(Corrupt, match="move this file out of the data directory"):
        key_ids(disk, ROOT)


def test_versions(sealed):
    """The first one knew no keys; a later one is not understood."""
    disk = sealed.disk.copy()
    path = sealed_paths(disk, ROOT)[0]
    raw = disk.read_file(path)
    for version, key_id in ((1, CLEAR_FILE), (3, None)):
        header = raw[:8] + version.to_bytes(2, "little") + raw[10 : 4096 - 16]
        disk.put(path, header + xxh3_128_digest(header) + raw[4096:])
        if key_id is None:
            with pytest.raises(Corrupt, match="format version 2, this one is 3"):
                key_id_of(disk, path)
        else:
            assert key_id_of(disk, path) == key_id


def test_what_cannot_be_read_needs_who_knows_which_key(sealed):
    disk = sealed.disk.copy()
    disk.read_error_on = ".vxs"
    with pytest.raises(Unreadable):
        key_ids(disk, ROOT)
    disk.read_error_on = "snapshots"
    with pytest.raises(Unreadable):
        key_ids(disk, ROOT)


def test_rewrapping_changes_the_room_for_the_key_and_the_checksum_alone(sealed):
    disk, keyring = sealed.disk.copy(), sealed.store.keys.keyring
    for path in sealed_paths(disk, ROOT):
        before = disk.read_file(path)
        data_keys = []

        def unwrap(key_id, wrapped, bound, path, data_keys=data_keys):
            data_keys.append(keyring.unwrap(key_id, wrapped, bound, path))
            return data_keys[-1]

        assert rewrap(disk, path, unwrap, lambda data_key, bound, data_keys=data_keys: (77, b"w" * 60 + data_keys[0]))
        after, size = disk.read_file(path), HEADER_BYTES[path[-4:]]
        assert key_id_of(disk, path) == 77 and len(after) == len(before)
        differing = [at for at in range(len(before)) if before[at] != after[at]]
        assert differing[-1] < size and differing[-1] - 16 >= differing[0]
        room = [at for at in differing if at < size - 16]
        assert room[-1] - room[0] < KEY_ROOM.size


def test_a_file_in_the_clear_is_left_alone():
    lab = made(sealed=False)
    for path in sealed_paths(lab.disk, ROOT):
        before, calls = lab.disk.read_file(path), lab.disk.calls
        assert rewrap(lab.disk, path, None, None) is False
        assert (lab.disk.read_file(path), lab.disk.calls) == (before, calls)


def test_a_disk_that_refuses_leaves_the_old_file(sealed):
    disk, keyring = sealed.disk.copy(), sealed.store.keys.keyring
    path = sealed_paths(disk, ROOT)[0]
    before = disk.read_file(path)
    disk.full = "all"
    with pytest.raises(IoFailed, match=path):
        rewrap(disk, path, keyring.unwrap, keyring.wrap)
    assert disk.read_file(path) == before
