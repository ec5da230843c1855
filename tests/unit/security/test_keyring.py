"""The keyring's file: what opens it, what is refused, what survives a crash."""

import json
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from vaylix_resp.errors import EX_CONFIG, EX_DATA, EX_IO
from vaylix_resp.security import keyring as module
from vaylix_resp.security.keyring import ALWAYS_CLEAR, KEYS_MAX, Keyring, keyring_path
from vaylix_resp.security.master_key import KeyringError, MasterKey

ROOT = "/d"
PATH = keyring_path(ROOT)
NOW = 1_700_000_000_000


def token(seed=1):
    return Random(seed).randbytes


MASTER, OTHER = MasterKey(token(7)(32), "a.key"), MasterKey(token(8)(32), "b.key")
DATA_KEY, BOUND = bytes(range(32)), b"head of a file"


@pytest.fixture
def disk():
    disk = SimDisk()
    disk.mkdir(ROOT)
    return disk


@pytest.fixture
def keyring(disk):
    return Keyring.create(disk, ROOT, MASTER, now_ms=NOW, clear_until=0, token=token())


def reopened(disk, master=MASTER):
    return Keyring.open(disk, ROOT, master, token=token(2))


def test_a_data_key_comes_back_through_a_reopened_keyring(disk, keyring):
    key_id, wrapped = keyring.wrap(DATA_KEY, BOUND)
    assert (key_id, len(wrapped)) == (1, 60)
    for padding in (b"", bytes(68)):  # a header keeps it in a field of fixed size
        assert reopened(disk).unwrap(key_id, wrapped + padding, BOUND, "f") == DATA_KEY


def test_the_same_data_key_is_never_wrapped_alike(keyring):
    assert len({keyring.wrap(DATA_KEY, BOUND) for _ in range(100)}) == 100


def test_every_bit_of_a_wrapped_key_and_of_what_it_is_bound_to_counts(keyring):
    key_id, wrapped = keyring.wrap(DATA_KEY, BOUND)
    padded = wrapped + bytes(8)
    for bit in range(8 * len(padded)):
        with pytest.raises(KeyringError) as refused:
            keyring.unwrap(key_id, flipped(padded, bit), BOUND, "/d/wal/f")
        assert refused.value.exit_code == EX_DATA and str(refused.value).startswith("/d/wal/f: byte 0: expected")
    for bit in range(8 * len(BOUND)):
        with pytest.raises(KeyringError):
            keyring.unwrap(key_id, wrapped, flipped(BOUND, bit), "f")
    keyring.rotate(NOW)
    with pytest.raises(KeyringError):
        keyring.unwrap(2, wrapped, BOUND, "f")  # another key of the same keyring


@pytest.mark.parametrize("short", [b"", b"x", bytes(12), bytes(40)])
def test_what_is_too_short_to_be_a_wrapped_key_is_refused(keyring, short):
    with pytest.raises(KeyringError):
        keyring.unwrap(1, short, BOUND, "f")


def test_a_key_that_is_not_there_is_named(keyring):
    with pytest.raises(
        KeyringError, match=r"^/d/wal/f: sealed with key 9, the keyring /d/keyring/keyring.json has 1; "
    ):
        keyring.unwrap(9, bytes(60), BOUND, "/d/wal/f")


def flipped(raw, bit):
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_single_bit_flip_of_the_file_is_refused_as_damage(disk, keyring):
    keyring.rotate(NOW + 1)
    raw = disk.read_file(PATH)
    assert raw == keyring.export()
    for bit in range(8 * len(raw)):
        with pytest.raises(KeyringError) as refused:
            Keyring.load(flipped(raw, bit), MASTER, PATH)
        assert refused.value.exit_code == EX_DATA, f"bit {bit}: {refused.value}"
        assert "\n" not in str(refused.value) and str(refused.value).startswith(PATH)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"checksum": 1}'])
def test_what_is_no_keyring_at_all_is_refused_as_damage(raw):
    with pytest.raises(KeyringError, match="without this file the data cannot be read") as refused:
        Keyring.load(raw, MASTER, PATH)
    assert refused.value.exit_code == EX_DATA


def test_a_cut_file_is_refused(keyring):
    raw = keyring.export()
    for length in range(len(raw)):
        with pytest.raises(KeyringError):
            Keyring.load(raw[:length], MASTER, PATH)


def test_another_spelling_of_the_same_content_is_refused(keyring):
    body = json.loads(keyring.export())
    with pytest.raises(KeyringError, match="as this program writes it"):
        Keyring.load(json.dumps(body).encode(), MASTER, PATH)


@pytest.mark.parametrize(
    "change",
    [
        {"clear_until": ALWAYS_CLEAR},  # would let files in the clear pass
        {"created_ms": 1},
    ],
)
def test_whoever_does_not_have_the_master_key_cannot_change_it(keyring, change):
    """Checksum and spelling can be made right by anybody; the signature cannot."""
    body = {**json.loads(keyring.export()), **change}
    del body["checksum"]
    forged = json.dumps({"checksum": module._checksum(body), **body}, indent=2).encode() + b"\n"
    with pytest.raises(KeyringError, match="that its master key has signed") as refused:
        Keyring.load(forged, MASTER, PATH)
    assert refused.value.exit_code == EX_DATA


def test_a_wrong_master_key_is_told_from_damage_and_changes_nothing(disk, keyring):
    before = disk.read_file(PATH)
    disk.calls = 0
    with pytest.raises(KeyringError) as refused:
        reopened(disk, OTHER)
    assert refused.value.exit_code == EX_CONFIG
    assert str(refused.value).startswith(f"{PATH}: the master key from b.key is not the one of this keyring")
    assert (disk.calls, disk.read_file(PATH)) == (0, before)


@pytest.mark.parametrize("number, shown", [(2, "2"), ("\n" * 100, r"'\\n\\n")])
def test_a_newer_format_is_named(keyring, number, shown):
    body = {**json.loads(keyring.export()), "format": number}
    del body["checksum"]
    raw = json.dumps({"checksum": module._checksum(body), **body}, indent=2).encode() + b"\n"
    with pytest.raises(KeyringError, match=f"format version 1, this one is {shown}") as refused:
        Keyring.load(raw, MASTER, PATH)
    assert refused.value.exit_code == EX_DATA


WRONG = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()) | st.just({})


@given(st.data())
@settings(max_examples=300)
def test_fields_of_any_kind_are_refused_in_one_line(data):
    """With checksum and spelling made right, as a program that is not ours might."""
    disk = SimDisk()
    disk.mkdir(ROOT)
    body = json.loads(Keyring.create(disk, ROOT, MASTER, now_ms=NOW, clear_until=0, token=token()).export())
    del body["checksum"]
    place = data.draw(st.sampled_from([body, body["keys"][0]]))
    name = data.draw(st.sampled_from([*place, "unknown"]))
    value = data.draw(WRONG)
    assume(name not in place or repr(place[name]) != repr(value))
    place[name] = value
    try:
        raw = json.dumps({"checksum": module._checksum(body), **body}, indent=2).encode() + b"\n"
    except ValueError:
        return
    with pytest.raises(KeyringError) as refused:
        Keyring.load(raw, MASTER, PATH)
    assert "\n" not in str(refused.value)


def test_no_key_is_in_the_file_or_in_any_text(keyring):
    keyring.rotate(NOW)
    raw = keyring.export()
    for key in [MASTER.key, *keyring._keys.values()]:
        for form in (key, key.hex().encode(), key.hex().upper().encode()):
            assert form not in raw
        assert key.hex() not in repr(keyring) + repr(MASTER) and repr(key) not in repr(MASTER)


# ---- changes


def test_rotation_keeps_what_was_wrapped_readable_until_the_key_is_destroyed(disk, keyring):
    old = keyring.wrap(DATA_KEY, BOUND)
    assert keyring.rotate(NOW + 5) == 2
    new = keyring.wrap(DATA_KEY, BOUND)
    assert (old[0], new[0], keyring.retired) == (1, 2, (1,))
    again = reopened(disk)
    assert [(e.id, e.created_ms, e.retired_ms) for e in again.entries] == [(1, NOW, NOW + 5), (2, NOW + 5, None)]
    assert again.unwrap(*old, BOUND, "f") == again.unwrap(*new, BOUND, "f") == DATA_KEY
    again.destroy([1])
    for keys in (again, reopened(disk)):
        assert keys.retired == () and keys.unwrap(*new, BOUND, "f") == DATA_KEY
        with pytest.raises(KeyringError, match="sealed with key 1"):
            keys.unwrap(*old, BOUND, "f")
    assert again.rotate(NOW + 6) == 3, "a number is never used again"


def test_the_active_key_is_not_destroyed(keyring):
    with pytest.raises(AssertionError):
        keyring.destroy([1])


def test_a_keyring_does_not_grow_for_ever(disk, keyring):
    disk.replace_file = lambda path, raw: None  # the file is not what this is about
    for _ in range(KEYS_MAX - 1):
        keyring.rotate(NOW)
    with pytest.raises(KeyringError, match="rotate-key"):
        keyring.rotate(NOW)
    assert len(keyring.entries) == KEYS_MAX


def test_another_master_key(disk, keyring):
    keyring.rotate(NOW)
    wrapped = keyring.wrap(DATA_KEY, BOUND)
    keyring.rewrap(OTHER)
    assert keyring.source == "b.key"
    assert reopened(disk, OTHER).unwrap(*wrapped, BOUND, "f") == DATA_KEY
    with pytest.raises(KeyringError, match=r"from a\.key is not the one"):
        reopened(disk, MASTER)
    keyring.rotate(NOW)
    assert reopened(disk, OTHER).active == 3


def test_where_files_in_the_clear_end_is_kept(disk, keyring):
    assert reopened(disk).clear_until == 0
    keyring.accept_clear(ALWAYS_CLEAR)
    assert reopened(disk).clear_until == ALWAYS_CLEAR
    keyring.accept_clear(17)
    assert reopened(disk).clear_until == 17


CHANGES = {
    "rotate": lambda keyring: keyring.rotate(NOW + 1),
    "destroy": lambda keyring: keyring.destroy([1]),
    "accept clear": lambda keyring: keyring.accept_clear(9),
    "rewrap": lambda keyring: keyring.rewrap(OTHER),
}


def state_of(keyring):
    return keyring.id, keyring.clear_until, [entry.id for entry in keyring.entries]


@pytest.mark.parametrize("change", CHANGES)
def test_a_power_cut_leaves_the_old_keyring_or_the_new_one(change):
    def prepared():
        disk = SimDisk()
        disk.mkdir(ROOT)
        keyring = Keyring.create(disk, ROOT, MASTER, now_ms=NOW, clear_until=0, token=token())
        keyring.rotate(NOW)
        disk.calls = 0
        return disk, keyring

    disk, keyring = prepared()
    before = state_of(keyring)
    CHANGES[change](keyring)
    after, calls = state_of(keyring), disk.calls
    seen = set()
    for at in range(1, calls + 1):
        for seed in range(6):
            disk, keyring = prepared()
            disk.faults = {at: Fault("crash")}
            with pytest.raises(PowerCut):
                CHANGES[change](keyring)
            left = disk.crash(Random(seed))
            try:
                found = reopened(left)
            except KeyringError as refused:
                assert change == "rewrap" and refused.exit_code == EX_CONFIG
                found = reopened(left, OTHER)
            assert state_of(found) in (before, after)
            seen.add(left.read_file(PATH))
    assert len(seen) >= 2, "both outcomes have been met"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_the_disk_refuses_is_not_used(disk, keyring, change):
    keyring.rotate(NOW)
    before, wrapped = state_of(keyring), keyring.wrap(DATA_KEY, BOUND)
    disk.full = "all"
    with pytest.raises(KeyringError, match=f"^{PATH}: the disk refused: ") as refused:
        CHANGES[change](keyring)
    assert refused.value.exit_code == EX_IO
    assert state_of(keyring) == before and keyring.unwrap(*wrapped, BOUND, "f") == DATA_KEY
    assert state_of(reopened(disk)) == before
    disk.full = ""
    CHANGES[change](keyring)
    assert state_of(reopened(disk, OTHER if change == "rewrap" else MASTER)) == state_of(keyring)


def test_a_new_key_that_may_not_stay_opens_nothing(disk, keyring):
    """The disk has it, but would not say so: a snapshot that a child seals with it must not be taken for one of ours."""
    real = disk.call

    def directory_refuses(name, path, arguments, *, grows=0):
        if name == "fsync_dir" and disk.log[-1][0] == "rename":
            raise OSError(5, "Input/output error", path)
        real(name, path, arguments, grows=grows)

    disk.call = directory_refuses
    with pytest.raises(KeyringError, match="the disk refused"):
        keyring.rotate(NOW + 1)
    child = reopened(disk)
    assert (keyring.active, child.active) == (1, 2)
    sealed = child.wrap(DATA_KEY, BOUND)
    with pytest.raises(KeyringError, match="sealed with key 2"):
        keyring.unwrap(*sealed, BOUND, "f")
    disk.call = real
    assert keyring.rotate(NOW + 2) == 2
    with pytest.raises(KeyringError, match="damaged or belongs to another"):
        keyring.unwrap(*sealed, BOUND, "f")


def test_creating_is_durable_before_it_returns(disk):
    keyring = Keyring.create(disk, ROOT, MASTER, now_ms=NOW, clear_until=0, token=token())
    assert state_of(reopened(disk.crash(Random(1), "lose"))) == state_of(keyring)


# ---- copies


def test_a_copy_opens_with_the_master_key_and_is_only_read(keyring):
    wrapped = keyring.wrap(DATA_KEY, BOUND)
    copy = Keyring.load(keyring.export(), MASTER, "/backup/keyring.json")
    assert copy.unwrap(*wrapped, BOUND, "f") == DATA_KEY
    with pytest.raises(AssertionError):
        copy.rotate(NOW)


def test_copies_of_different_times_together_have_all_keys(keyring):
    first, old = keyring.export(), keyring.wrap(DATA_KEY, BOUND)
    keyring.rotate(NOW)
    keyring.destroy([1])
    last, new = keyring.export(), keyring.wrap(DATA_KEY, BOUND)
    for copies in ([("a", first), ("b", last)], [("b", last), ("a", first)]):
        merged = Keyring.merge(copies, MASTER)
        assert merged.unwrap(*old, BOUND, "f") == merged.unwrap(*new, BOUND, "f") == DATA_KEY


def test_copies_of_two_keyrings_are_not_mixed(disk, keyring):
    disk.mkdir("/e")
    other = Keyring.create(disk, "/e", MASTER, now_ms=NOW, clear_until=0, token=token(5))
    with pytest.raises(KeyringError, match="different stores apart"):
        Keyring.merge([("a", keyring.export()), ("b", other.export())], MASTER)


def test_a_missing_and_an_unreadable_file(disk, keyring):
    with pytest.raises(KeyringError, match="the keyring is not there") as refused:
        Keyring.open(disk, "/e", MASTER)
    assert refused.value.exit_code == EX_DATA
    disk.read_error_on = PATH
    with pytest.raises(KeyringError, match="the disk refused") as refused:
        reopened(disk)
    assert refused.value.exit_code == EX_IO
