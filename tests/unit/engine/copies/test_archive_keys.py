"""Which keys an archive has when keys and master keys have changed while it grew."""

from __future__ import annotations

import pytest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.engine.copies.archive_keys import archive_keys
from vaylix_resp.engine.keys import SealedKeys
from vaylix_resp.errors import EX_CONFIG, EX_DATA
from vaylix_resp.security.keyring import Keyring
from vaylix_resp.security.master_key import KeyringError, MasterKey
from vaylix_resp.storage.sealing import CLEAR

OLD, NEW, OTHER = (MasterKey(bytes([number]) * 16 + bytes(range(16)), f"file {number}") for number in (1, 2, 3))
BOUND = b"header"


class Life:
    """A keyring over time: a file sealed with each of its keys, and a copy of it whenever it has changed."""

    def __init__(self) -> None:
        disk = SimDisk()
        disk.mkdir("data")
        self.keyring = Keyring.create(disk, "data", OLD, now_ms=1, clear_until=0)
        self.files: list[tuple[int, bytes]] = []
        self.copies: list[tuple[str, bytes]] = []
        self.step()

    def step(self) -> None:
        made = SealedKeys(self.keyring).new(BOUND)
        assert made is not None
        self.files.append((made.key_id, made.wrapped))
        self.copies.append((f"a/copy-{len(self.copies)}", self.keyring.export()))

    def rotate(self, master: MasterKey | None = None) -> None:
        """A new key, the old one destroyed, perhaps under another master key."""
        self.keyring.rotate(2)
        self.keyring.destroy(self.keyring.retired)
        if master:
            self.keyring.rewrap(master)
        self.step()


def opens(keys: object, file: tuple[int, bytes]) -> bool:
    try:
        keys.open(*file, BOUND, "a/file")  # type: ignore[attr-defined]
    except KeyringError as failure:
        assert failure.exit_code == EX_DATA and "a/file" in str(failure)
        return False
    return True


def test_keys_that_were_destroyed_since_are_still_there():
    life = Life()
    life.rotate()
    life.rotate()
    keys = archive_keys(life.copies, OLD)
    assert [opens(keys, file) for file in life.files] == [True, True, True]


@pytest.mark.parametrize(("master", "opened"), [(OLD, [True, True, False]), (NEW, [False, False, True])])
def test_each_master_key_opens_what_was_archived_under_it(master, opened):
    life = Life()
    life.rotate()
    life.rotate(NEW)
    keys = archive_keys(life.copies, master)
    assert [opens(keys, file) for file in life.files] == opened


def test_a_master_key_that_opens_nothing_is_refused():
    with pytest.raises(KeyringError, match="is not the one of this keyring") as caught:
        archive_keys(Life().copies, OTHER)
    assert caught.value.exit_code == EX_CONFIG


def test_a_damaged_copy_is_refused_also_beside_good_ones():
    life = Life()
    life.rotate()
    path, raw = life.copies[0]
    with pytest.raises(KeyringError, match=path) as caught:
        archive_keys([(path, raw.replace(b'"format"', b'"farmat"')), life.copies[1]], OLD)
    assert caught.value.exit_code == EX_DATA


def test_an_archive_in_the_clear_needs_no_key():
    assert archive_keys([], None) is CLEAR
