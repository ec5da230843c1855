"""Which keyring a data directory gets, and what is refused before anything has changed."""

from random import Random
from types import SimpleNamespace

import pytest

from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.engine.lab import ROOT as LAB_ROOT
from tests.unit.engine.lab import Clock, Lab
from vaylix_resp.engine.keys import SealedKeys, ServerKeys, child_keys, new_keys, reading_keys
from vaylix_resp.errors import EX_CONFIG, EX_DATA, Refused
from vaylix_resp.security.keyring import ALWAYS_CLEAR, Keyring, keyring_path
from vaylix_resp.security.master_key import KeyringError, choose
from vaylix_resp.storage.errors import KeyMissing
from vaylix_resp.storage.manifest import read_manifest
from vaylix_resp.storage.sealing import CLEAR

ROOT = "/d"
NOW = 1_700_000_000_000
HEX, OTHER = Random(1).randbytes(32).hex(), Random(2).randbytes(32).hex()
ENVIRONMENT = choose(ROOT, literal=HEX)
OWN = choose(ROOT)
OWN_PATH = f"{ROOT}/master.key"
BOUND = b"a header"
UNSEALED, FIRST = SimpleNamespace(keyring_id=""), None


@pytest.fixture
def disk():
    disk = SimDisk()
    disk.mkdir(ROOT)
    return disk


def server(disk, source=ENVIRONMENT, encryption=True, seed=9):
    return ServerKeys(disk, ROOT, source, encryption=encryption, now_ms=NOW, token=Random(seed).randbytes)


def named(keys):
    return SimpleNamespace(keyring_id=keys.id)


def tree(disk):
    return {path: bytes(inode.shown) for path, inode in disk.names.items()}


def test_a_first_start_makes_a_keyring_that_accepts_nothing_in_the_clear(disk):
    opened = server(disk)
    keys = opened(FIRST)
    assert isinstance(keys, SealedKeys) and keys.seals and keys.keyring.clear_until == 0
    assert opened.secret() == HEX.encode() and (opened.warnings, opened.notices) == ([], [])
    again = server(disk)(named(keys))
    key = keys.new(BOUND)
    sealed = key.cipher.seal(1, b"text", b"")
    assert again.open(key.key_id, key.wrapped, BOUND, "f").open(1, sealed, b"") == b"text"
    assert again.id == keys.id
    with pytest.raises(KeyringError, match="sequence 1: expected a sealed file") as refused:
        again.check_clear("/d/wal/f", 1)
    assert refused.value.exit_code == EX_DATA


def test_each_file_gets_a_data_key_of_its_own(disk):
    keys = server(disk)(FIRST)
    assert len({keys.new(BOUND).cipher.fingerprint for _ in range(50)}) == 50


def test_without_a_source_a_master_key_is_made_beside_the_data_and_said_so(disk):
    first = server(disk, OWN)
    keys = first(FIRST)
    assert len(first.warnings) == 1 and first.warnings[0].startswith(f"{OWN_PATH}: a new master key has been made")
    second = server(disk, OWN)
    assert second(named(keys)).id == keys.id
    assert second.warnings == [] and len(second.notices) == 1 and OWN_PATH in second.notices[0]
    assert second.secret().decode() == disk.read_file(OWN_PATH).decode().strip()
    for text in first.warnings + second.notices:
        assert second.secret().decode() not in text


def test_a_key_that_was_put_there_before_is_used(disk):
    disk.put(OWN_PATH, HEX.encode())
    opened = server(disk, OWN)
    opened(FIRST)
    assert opened.secret() == HEX.encode()


def test_a_master_key_beside_the_data_that_is_not_used_is_named(disk):
    disk.put(OWN_PATH, OTHER.encode())
    opened = server(disk)
    opened(FIRST)
    assert opened.warnings == [
        f"{OWN_PATH} is not used, the master key comes from VAYLIX_MASTER_KEY: remove it if it is old"
    ]


def test_encryption_off_and_never_on_needs_no_key(disk):
    for manifest in (FIRST, UNSEALED):
        opened = server(disk, OWN, encryption=False)
        assert opened(manifest) is CLEAR and opened.secret() == b""
    assert tree(disk) == {}


def test_switching_encryption_off_reads_what_is_sealed_and_writes_in_the_clear(disk):
    keys = server(disk)(FIRST)
    key = keys.new(BOUND)
    opened = server(disk, encryption=False)
    off = opened(named(keys))
    assert off.new(BOUND) is None and off.id == keys.id
    assert off.open(key.key_id, key.wrapped, BOUND, "f").fingerprint == key.cipher.fingerprint
    assert len(opened.warnings) == 1 and "encryption is off" in opened.warnings[0]
    off.check_clear("f", 1 << 40)
    off.sealed_from(5)
    assert off.keyring.clear_until == ALWAYS_CLEAR, "nothing is sealed, so nothing ends"
    again = server(disk, encryption=False)
    again(named(keys))
    assert again.warnings == [], "said once"


def test_switching_encryption_on_accepts_the_clear_log_up_to_where_sealing_began(disk):
    keys = server(disk)(UNSEALED)
    keys.check_clear("f", 1 << 40)  # its log has yet to be read
    keys.sealed_from(41)
    for opened in (keys, server(disk)(named(keys))):
        opened.check_clear("f", 41)
        with pytest.raises(KeyringError):
            opened.check_clear("f", 42)
    keys.sealed_from(99)
    assert keys.keyring.clear_until == 41, "a later start does not move it"


def test_off_and_on_again(disk):
    keys = server(disk)(FIRST)
    server(disk, encryption=False)(named(keys))
    on = server(disk)(named(keys))
    on.check_clear("f", 70)
    on.sealed_from(70)
    with pytest.raises(KeyringError):
        server(disk)(named(keys)).check_clear("f", 71)


@pytest.mark.parametrize("encryption", [True, False])
@pytest.mark.parametrize(
    "source, code, problem",
    [
        (
            choose(ROOT, literal=OTHER),
            EX_CONFIG,
            "the master key from VAYLIX_MASTER_KEY is not the one of this keyring",
        ),
        (OWN, EX_CONFIG, f"{OWN_PATH}: the master key is not there"),
        (choose(ROOT, file="/etc/k"), EX_CONFIG, "/etc/k: the master key is not there"),
        (choose(ROOT, command="exit 7"), EX_CONFIG, "master-key-command: ended with status 7"),
        (choose(ROOT, literal="short"), EX_CONFIG, "VAYLIX_MASTER_KEY: expected a master key of 32 bytes"),
    ],
)
def test_a_wrong_or_missing_master_key_changes_nothing(disk, encryption, source, code, problem):
    keys = server(disk)(FIRST)
    before, calls = tree(disk), disk.calls
    with pytest.raises(KeyringError) as refused:
        server(disk, source, encryption)(named(keys))
    assert refused.value.exit_code == code and problem in str(refused.value)
    assert (tree(disk), disk.calls) == (before, calls)


@pytest.mark.parametrize("encryption", [True, False])
@pytest.mark.parametrize("source", [ENVIRONMENT, OWN])
def test_a_sealed_store_without_its_keyring_is_refused_and_gets_no_new_one(disk, encryption, source):
    keys = server(disk)(FIRST)
    disk.remove(keyring_path(ROOT))
    before, calls = tree(disk), disk.calls
    with pytest.raises(
        KeyringError, match="the keyring of this data is not there; nothing has been changed"
    ) as refused:
        server(disk, source, encryption)(named(keys))
    assert refused.value.exit_code == EX_DATA
    assert (tree(disk), disk.calls) == (before, calls)


def test_an_unusable_master_key_at_a_first_start_leaves_no_keyring(disk):
    for source in (choose(ROOT, file="/etc/k"), choose(ROOT, literal="0" * 64), choose(ROOT, command="false")):
        with pytest.raises(KeyringError):
            server(disk, source)(FIRST)
    assert tree(disk) == {}


def test_a_power_cut_at_any_call_of_the_first_start_can_be_started_again(disk):
    made = disk.calls  # of the directory
    server(disk, OWN)(FIRST)
    calls = disk.calls
    for at in range(made + 1, calls + 1):
        for seed in range(4):
            disk = SimDisk()
            disk.mkdir(ROOT)
            disk.faults = {at: Fault("crash")}
            with pytest.raises(PowerCut):
                server(disk, OWN)(FIRST)
            left = disk.crash(Random(seed))
            left.mkdir(ROOT)
            keys = server(left, OWN, seed=77)(FIRST)
            assert server(left, OWN)(named(keys)).id == keys.id


def test_the_master_key_is_durable_before_the_keyring_that_needs_it(disk):
    server(disk, OWN)(FIRST)
    names = [(name, path) for name, path, _ in disk.log]
    made = names.index(("rename", OWN_PATH))
    assert names[made + 1] == ("fsync_dir", ROOT)
    assert ("fsync", OWN_PATH + ".tmp") in names[:made]
    assert all("keyring" not in path for _, path in names[: made + 2])
    assert any("keyring.json" in path for _, path in names[made + 2 :])


class Opening:
    """As `Lab` wants keys: there before the store is opened. The manifest is the one on the disk."""

    def __init__(self, disk, encryption):
        self.disk, self.encryption = disk, encryption

    def lab(self, **more):
        disk = self.disk
        opened = ServerKeys(
            disk, LAB_ROOT, ENVIRONMENT, encryption=self.encryption, now_ms=NOW, token=Random(9).randbytes
        )
        return Lab(disk, clock=Clock(), keys=opened(read_manifest(disk, LAB_ROOT)), **more)


@pytest.mark.parametrize("first, then", [(False, True), (True, False)])
@pytest.mark.parametrize("clean", [True, False])
def test_a_power_cut_at_any_call_of_switching_encryption_loses_nothing(first, then, clean):
    disk = SimDisk()
    disk.mkdir(LAB_ROOT)
    lab = Opening(disk, first).lab()
    lab.write("SET a 1")
    lab.node.wal.rotate()
    lab.write("SET b 2")
    lab.store.clean_stop(NOW) if clean else lab.store.abandon()
    original = disk.kill().copy()

    def switch(disk):
        lab = Opening(disk, then).lab()
        lab.write("SET c 3")
        return lab

    whole = original.copy()
    switch(whole)
    for at in range(1, whole.calls + 1):
        for seed, encryption in ((at, then), (-at, first)):  # the operator may change his mind
            disk = original.copy()
            disk.faults = {at: Fault("crash")}
            with pytest.raises(PowerCut):
                switch(disk)
            lab = Opening(disk.crash(Random(seed)), encryption).lab()
            assert (lab.get("a"), lab.get("b")) == (b"1", b"2"), (at, seed)
            lab.write("SET d 4")
            lab.store.abandon()
            again = Opening(lab.sim.kill(), then).lab()
            assert again.get("d") == b"4"


# ---- children, tools, new directories


def test_a_child_opens_what_the_server_has(disk):
    opened = server(disk)
    keys = opened(FIRST)
    key = keys.new(BOUND)
    for secret in (opened.secret(), opened.secret() + b"\nGET k", opened.secret() + b"\n"):
        child = child_keys(disk, ROOT, secret)
        assert child.id == keys.id and child.new(BOUND) is not None
        assert child.open(key.key_id, key.wrapped, BOUND, "f").fingerprint == key.cipher.fingerprint


def test_a_child_writes_in_the_clear_when_the_server_does(disk):
    server(disk)(FIRST)
    opened = server(disk, encryption=False)
    opened(None)
    assert child_keys(disk, ROOT, opened.secret()).new(BOUND) is None


@pytest.mark.parametrize("secret", [b"", b"\nGET k", b"\xff\xfe", OTHER.encode(), b"x" * 100_000])
def test_a_child_without_the_right_key_is_refused(disk, secret):
    server(disk)(FIRST)
    calls = disk.calls
    with pytest.raises(KeyringError):
        child_keys(disk, ROOT, secret)
    assert disk.calls == calls


def test_a_store_in_the_clear_needs_no_key(disk):
    assert child_keys(disk, ROOT, b"") is CLEAR
    assert reading_keys(disk, ROOT, OWN) is CLEAR
    with pytest.raises(KeyMissing):
        CLEAR.open(1, b"", BOUND, "f")


def test_a_tool_reads_with_the_same_sources_and_writes_nothing(disk):
    keys = server(disk)(FIRST)
    calls = disk.calls
    assert reading_keys(disk, ROOT, ENVIRONMENT).id == keys.id
    with pytest.raises(KeyringError, match="is not there"):
        reading_keys(disk, ROOT, OWN)
    assert disk.calls == calls


def test_a_reader_follows_a_rotation_that_happens_beside_it(disk):
    keys = server(disk)(FIRST)
    readers = [child_keys(disk, ROOT, HEX.encode()), reading_keys(disk, ROOT, ENVIRONMENT)]
    keys.keyring.rotate(NOW)
    key = keys.new(BOUND)
    for reader in readers:
        assert reader.open(key.key_id, key.wrapped, BOUND, "f").fingerprint == key.cipher.fingerprint
        with pytest.raises(KeyringError, match="sealed with key 3"):
            reader.open(3, key.wrapped, BOUND, "f")


def test_a_new_directory_gets_a_keyring_of_its_own(disk):
    disk.mkdir("/t")
    warnings = []
    keys = new_keys(disk, "/t", choose("/t"), NOW, warnings.append)
    assert keys.seals and keys.keyring.clear_until == 0 and len(warnings) == 1
    assert Keyring.open(disk, "/t", choose("/t").read(disk)).id == keys.id
    with pytest.raises(Refused, match="there is a keyring already"):
        new_keys(disk, "/t", choose("/t"), NOW, warnings.append)
