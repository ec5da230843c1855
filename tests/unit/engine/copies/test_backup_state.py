"""A state saved is the state loaded: keys, versions, counters, digests; what opens a backup; what is refused."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from random import Random

import pytest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.engine.boot import new_machine
from vaylix_resp.engine.copies.backup_state import check_file, keys_for, load, rows_of, save
from vaylix_resp.engine.keys import SealedKeys
from vaylix_resp.errors import Refused
from vaylix_resp.security.keyring import Keyring
from vaylix_resp.security.master_key import KeyringError, MasterKey
from vaylix_resp.state.digest import digest_hex, keys_digest_hex
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.staging import stage
from vaylix_resp.storage.copies.backup_sidecar import Sidecar, encode_sidecar, read_sidecar
from vaylix_resp.storage.errors import Corrupt, KeyMissing, Unreadable
from vaylix_resp.storage.sealing import CLEAR, Keys

PATH = "./b.vxb"
STORE_ID = "ab" * 16
MASTER = MasterKey(bytes(range(32)), "a test")
OTHER = MasterKey(bytes(range(1, 33)), "another test")


def some_state(seed: int = 1, entries: int = 400) -> StateMachine:
    """Keys in two databases of five, with expiries, flags, deletions and a floor left by SWAPDB."""
    machine, rng = new_machine(5), Random(seed)
    for at in range(entries):
        machine.begin_batch(1_700_000_000_000 + at, at)
        key, value = b"k%d" % rng.randrange(60), rng.randbytes(rng.randrange(20))
        words = rng.choice((
            [b"SET", key, value], [b"SET", key, value, b"PXAT", b"%d" % (1_700_000_000_100 + rng.randrange(10**6))],
            [b"DEL", key], [b"APPEND", key, value], [b"INCR", b"n"],
        ))  # fmt: skip
        machine.apply([b"@in", b"%d" % rng.choice((1, 4)), *words] if rng.random() < 0.5 else words)
    machine.apply([b"SWAPDB", b"0", b"4"])
    return machine


def a_keyring(disk: SimDisk, root: str = "data", master: MasterKey = MASTER, seed: int = 1) -> Keyring:
    return Keyring.create(disk, root, master, now_ms=1, clear_until=0, token=Random(seed).randbytes)


def save_it(disk: SimDisk, machine: StateMachine, keys: Keys) -> Sidecar:
    return save(disk, PATH + ".tmp", "b", machine, term=3, store_id=STORE_ID, keys=keys)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("entries", [0, 1, 400, 3000])
def test_what_is_saved_is_what_is_loaded(sealed: bool, entries: int) -> None:
    disk = SimDisk()
    machine = some_state(entries=entries)
    keys = SealedKeys(a_keyring(disk)) if sealed else CLEAR
    sidecar = save_it(disk, machine, keys)
    loaded = load(disk, PATH, lambda: CLEAR, lambda: MASTER)
    found = loaded.machine
    assert loaded.sidecar == sidecar == read_sidecar(disk, PATH)
    assert digest_hex(found) == digest_hex(machine) == sidecar.state_digest
    assert keys_digest_hex(found.world) == sidecar.keys_digest
    assert (found.applied, found.time_ms) == (machine.applied, machine.time_ms)
    assert list(rows_of(found)) == list(rows_of(machine))
    assert len(found.world.databases) == 5 and sidecar.sealed is sealed and sidecar.term == 3
    # And it goes on the same way: versions follow from the counters, too.
    for one in (machine, found):
        one.begin_batch(1_800_000_000_000, 9)
        one.apply([b"SET", b"new", b"v"])
        one.apply([b"DEL", b"k1", b"new"])
    assert digest_hex(found) == digest_hex(machine)


def test_nothing_staged_gets_into_a_backup_or_its_digest() -> None:
    """A FLASHBACK or RESTORE under way at that sequence has published nothing yet."""
    disk, machine = SimDisk(), some_state()
    before = digest_hex(machine), list(rows_of(machine))
    stage(machine.world, b"name", 0, [(b"staged", b"value", None, 0)])
    assert digest_hex(machine) != before[0]
    save_it(disk, machine, CLEAR)
    loaded = load(disk, PATH, lambda: CLEAR, lambda: None)
    assert (loaded.sidecar.state_digest, list(rows_of(loaded.machine))) == before


def master_key(key: MasterKey | None):
    return lambda: key


def test_the_copy_of_the_keyring_opens_a_backup_whose_key_is_gone() -> None:
    disk, machine = SimDisk(), some_state(entries=50)
    keyring = a_keyring(disk)
    save_it(disk, machine, SealedKeys(keyring))
    keyring.rotate(2)
    keyring.destroy([1])
    loaded = load(disk, PATH, lambda: SealedKeys(keyring), master_key(MASTER))
    assert digest_hex(loaded.machine) == digest_hex(machine)


def test_the_keyring_of_the_store_opens_a_backup_from_before_a_new_master_key() -> None:
    disk, machine = SimDisk(), some_state(entries=50)
    keyring = a_keyring(disk)
    save_it(disk, machine, SealedKeys(keyring))
    keyring.rewrap(OTHER)
    loaded = load(disk, PATH, lambda: SealedKeys(keyring), master_key(OTHER))
    assert digest_hex(loaded.machine) == digest_hex(machine)
    with pytest.raises(KeyringError, match=r"b\.json.*the master key from another test is not the one"):
        load(disk, PATH, lambda: CLEAR, master_key(OTHER))
    keyring.rotate(2)
    keyring.destroy([1])
    with pytest.raises(KeyringError, match="is not the one of this keyring"):
        load(disk, PATH, lambda: SealedKeys(keyring), master_key(OTHER))
    stranger = a_keyring(disk, "elsewhere", OTHER, seed=2)
    with pytest.raises(KeyringError, match="is not the one of this keyring"):
        load(disk, PATH, lambda: SealedKeys(stranger), master_key(OTHER))


def test_a_sealed_backup_asks_for_a_master_key() -> None:
    disk = SimDisk()
    save_it(disk, some_state(entries=5), SealedKeys(a_keyring(disk)))
    with pytest.raises(KeyMissing, match=r"b\.vxb"):
        load(disk, PATH, lambda: CLEAR, master_key(None))


def test_one_in_the_clear_asks_for_none() -> None:
    disk = SimDisk()
    sidecar = save_it(disk, some_state(entries=5), CLEAR)
    assert sidecar.keyring is None

    def nobody() -> MasterKey:
        raise AssertionError("nobody needs it")

    assert keys_for(PATH, sidecar, nobody, nobody) is CLEAR
    load(disk, PATH, nobody, nobody)


def test_a_sealed_backup_is_not_replaced_by_one_in_the_clear() -> None:
    """Sidecar and file have to be of one kind."""
    disk = SimDisk()
    keys = SealedKeys(a_keyring(disk))
    sealed = save_it(disk, some_state(entries=5), keys)
    raw = disk.files()[PATH]
    disk.remove(PATH)
    disk.remove("./b.json")
    clear = save_it(disk, some_state(entries=5), CLEAR)
    disk.put("./b.json", encode_sidecar(replace(sealed, bytes=clear.bytes, sha256=clear.sha256)))
    with pytest.raises(Corrupt, match="sealed True as its sidecar says, found False"):
        load(disk, PATH, lambda: CLEAR, master_key(MASTER))
    disk.put(PATH, raw)
    disk.put("./b.json", encode_sidecar(replace(clear, bytes=sealed.bytes, sha256=sealed.sha256)))
    with pytest.raises(KeyMissing):
        load(disk, PATH, lambda: CLEAR, master_key(MASTER))


def test_a_backup_whose_keys_do_not_have_its_digest_is_refused() -> None:
    """In the clear, edited, and with a sidecar that fits the edited file."""
    disk, machine = SimDisk(), new_machine(2)
    machine.apply([b"SET", b"k", b"right"])
    sidecar = save_it(disk, machine, CLEAR)
    raw = disk.files()[PATH].replace(b"cmlnaHQ=", b"d3Jvbmc=")
    assert raw != disk.files()[PATH]
    digest = sha256(raw).hexdigest()
    disk.put(PATH, raw)
    disk.put("./b.json", encode_sidecar(replace(sidecar, sha256=digest, plain_sha256=digest)))
    with pytest.raises(Corrupt, match="a state with digest"):
        load(disk, PATH, lambda: CLEAR, master_key(None))


def test_a_key_that_comes_twice_is_refused() -> None:
    disk, machine = SimDisk(), new_machine(1)
    machine.apply([b"SET", b"k", b"v"])
    sidecar = save_it(disk, machine, CLEAR)
    head, row, tail = disk.files()[PATH].splitlines(keepends=True)
    raw = head + row + row + tail.replace(b'"keys":1', b'"keys":2')
    digest, size = sha256(raw).hexdigest(), len(raw)
    disk.put(PATH, raw)
    edited = replace(
        sidecar, sha256=digest, plain_sha256=digest, bytes=size, plain_bytes=size, keys=2, counts={"0": {"string": 2}}
    )
    disk.put("./b.json", encode_sidecar(edited))
    with pytest.raises(Corrupt, match="twice"):
        load(disk, PATH, lambda: CLEAR, master_key(None))


@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:]]
)
def test_the_quick_check_of_a_file(change) -> None:
    disk = SimDisk()
    sidecar = save_it(disk, some_state(), SealedKeys(a_keyring(disk)))
    check_file(disk, PATH, sidecar)
    disk.put(PATH, change(disk.files()[PATH]))
    with pytest.raises(Corrupt, match="as its sidecar says"):
        check_file(disk, PATH, sidecar)
    disk.read_error_on = PATH
    with pytest.raises(Unreadable, match=r"b\.vxb"):
        check_file(disk, PATH, sidecar)
    disk.read_error_on = ""
    disk.remove(PATH)
    with pytest.raises(Corrupt, match=r"b\.vxb.*missing"):
        check_file(disk, PATH, sidecar)


@pytest.mark.parametrize("sealed", [True, False])
def test_random_flips_in_a_larger_backup(sealed: bool) -> None:
    """BACKUP_FLIPS=10000 for more of them."""
    disk, rng = SimDisk(), Random(7)
    machine = new_machine(1)
    for n in range(2000):
        machine.apply([b"SET", b"k%d" % n, rng.randbytes(600)])
    save_it(disk, machine, SealedKeys(a_keyring(disk)) if sealed else CLEAR)
    size = len(disk.files()[PATH])
    assert size > 1 << 20, "more than one chunk"
    for _ in range(int(os.environ.get("BACKUP_FLIPS", "40"))):
        path = rng.choice((PATH, PATH, PATH, "./b.json"))
        bit = rng.randrange(8 * len(disk.names[path].shown))
        disk.flip(path, bit)
        with pytest.raises(Refused, match=r"b\.(vxb|json)"):
            load(disk, PATH, lambda: CLEAR, master_key(MASTER))
        disk.flip(path, bit)
    assert digest_hex(load(disk, PATH, lambda: CLEAR, master_key(MASTER)).machine) == digest_hex(machine)


def test_the_throttle_is_told_of_every_byte_and_progress_comes() -> None:
    disk, written, said = SimDisk(), [], []
    machine = some_state(entries=3000)
    sidecar = save(
        disk, PATH + ".tmp", "b", machine, term=1, store_id=STORE_ID, keys=CLEAR, throttle=written.append,
        say=lambda done, total: said.append((done, total)),
    )  # fmt: skip
    assert sum(written) == sidecar.bytes
    assert all(total == sidecar.keys for _, total in said)
