"""Names stay in their directory; a backup is there as a whole or not at all, also after a crash at any call."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Never

import pytest

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.storage.backups import ROWS, make
from vaylix_resp.storage.copies.backup_reader import BackupReader
from vaylix_resp.storage.copies.backup_sidecar import (
    BackupRefused,
    alone,
    check_name,
    check_place,
    decode_sidecar,
    encode_sidecar,
    file_path,
    list_backups,
    prepare,
    publish,
    read_sidecar,
    sidecar_path,
)
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.errors import Corrupt, IoFailed, StorageError, Unreadable

DIRECTORY = "backups"
GOOD = ["a", "A-1", "nightly_2026.11.22", "-", "_", "0", "x" * 128, "a..b", "a."]
BAD = [
    "", ".", "..", ".hidden", "../up", "a/b", "/etc/passwd", "a\\b", "a b", "a\n", "a\0", "ä", "x" * 129, "a/../b", "~",
    "%2e%2e", "\udcff", "٣",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_name(name: str) -> None:
    assert check_name(name) == name
    assert file_path(DIRECTORY, name) == f"{DIRECTORY}/{name}.vxb"
    assert sidecar_path(file_path(DIRECTORY, name)) == f"{DIRECTORY}/{name}.json"


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BackupRefused, match="no name for a backup") as refused:
        file_path(DIRECTORY, name)
    assert "\n" not in str(refused.value) and "\0" not in str(refused.value)


def test_a_name_that_is_taken_is_refused() -> None:
    disk = SimDisk()
    disk.mkdir(DIRECTORY)
    make(disk, DIRECTORY, "b", MemoryKeys())
    before = disk.files()
    with pytest.raises(BackupRefused, match=r"b\.vxb: exists already"):
        prepare(disk, DIRECTORY, "b")
    disk.remove(f"{DIRECTORY}/b.vxb")
    with pytest.raises(BackupRefused, match=r"b\.json: exists already"):
        prepare(disk, DIRECTORY, "b")
    disk.put(f"{DIRECTORY}/b.vxb", before[f"{DIRECTORY}/b.vxb"])
    assert disk.files() == before


def links(tmp_path: Path) -> Path:
    """A directory of backups with links out of it."""
    directory, outside = tmp_path / "backups", tmp_path / "outside"
    directory.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    make(RealDisk(), str(outside), "good", MemoryKeys())
    return directory


def test_links_do_not_lead_out_of_the_directory(tmp_path: Path) -> None:
    directory, disk = links(tmp_path), RealDisk()
    secret = tmp_path / "outside" / "secret"
    (directory / "b.vxb").symlink_to(tmp_path / "outside" / "good.vxb")
    (directory / "b.json").symlink_to(tmp_path / "outside" / "good.json")
    path = file_path(str(directory), "b")
    with pytest.raises(Unreadable, match=r"b\.json"):
        read_sidecar(disk, path)
    with pytest.raises(Unreadable, match=r"b\.vxb"):
        BackupReader(disk, path, MemoryKeys())
    with pytest.raises(BackupRefused, match="exists already"):
        prepare(disk, str(directory), "b")
    (listed,) = list_backups(disk, str(directory))
    assert listed.sidecar is None and "cannot read" in listed.problem
    # Where a temporary file is to be made: the link goes, what it leads to stays.
    (directory / "c.vxb.tmp").symlink_to(secret)
    (directory / "c.json.tmp").symlink_to(secret)
    make(disk, str(directory), "c", MemoryKeys()) if prepare(disk, str(directory), "c") else None
    assert secret.read_text() == "secret"
    assert read_sidecar(disk, file_path(str(directory), "c")).name == "c"


def test_a_temporary_link_that_appears_at_the_last_moment_is_not_followed(tmp_path: Path) -> None:
    directory, disk = links(tmp_path), RealDisk()
    secret = tmp_path / "outside" / "secret"
    temporary = prepare(disk, str(directory), "c")
    Path(temporary).symlink_to(secret)
    with pytest.raises((IoFailed, OSError)):
        make(disk, str(directory), "c", MemoryKeys())
    assert secret.read_text() == "secret"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    directory, disk = links(tmp_path), RealDisk()
    os.mkfifo(directory / "b.json")  # opening it for reading would wait for ever
    (directory / "d.json").mkdir()
    for name in ("b", "d"):
        with pytest.raises(Unreadable, match="restore from another backup"):
            read_sidecar(disk, file_path(str(directory), name))


def test_a_directory_that_is_a_link_is_used_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert RealDisk().resolve(str(tmp_path / "link")) == str(tmp_path / "real")


def test_the_list() -> None:
    disk = SimDisk()
    assert list_backups(disk, DIRECTORY) == []
    disk.mkdir(DIRECTORY)
    whole = make(disk, DIRECTORY, "whole", MemoryKeys())
    make(disk, DIRECTORY, "damaged", MemoryKeys())
    disk.flip(f"{DIRECTORY}/damaged.json", 99)
    disk.put(f"{DIRECTORY}/no-sidecar.vxb", b"x")
    disk.put(f"{DIRECTORY}/no-file.json", encode_sidecar(whole))
    disk.put(f"{DIRECTORY}/half.vxb.tmp", b"x")
    disk.put(f"{DIRECTORY}/notes.txt", b"x")
    disk.mkdir(f"{DIRECTORY}/online")
    listed = {one.name: one for one in list_backups(disk, DIRECTORY)}
    assert list(listed) == ["damaged", "half", "no-file", "no-sidecar", "whole"]
    assert listed["whole"].sidecar == whole and listed["whole"].problem == ""
    assert {name: one.problem[:30] for name, one in listed.items() if one.sidecar is None} == {
        "damaged": "backups/damaged.json: byte 0: ",
        "half": "incomplete: it has no sidecar",
        "no-file": "incomplete: its file is missin",
        "no-sidecar": "incomplete: it has no sidecar",
    }


def test_only_what_an_interrupted_backup_left_is_cleared_away() -> None:
    disk = SimDisk()
    disk.mkdir(DIRECTORY)
    make(disk, DIRECTORY, "whole", MemoryKeys())
    kept = {
        **disk.files(),
        f"{DIRECTORY}/copied.vxb": b"somebody has copied only the file so far",
        f"{DIRECTORY}/notes.txt.tmp": b"not ours",
        f"{DIRECTORY}/.x.vxb.tmp": b"no name of ours",
        f"{DIRECTORY}/settings.json.tmp": b"of another program",
    }
    gone = ("one.vxb.tmp", "two.vxb.tmp", "two.json.tmp", "three.vxb", "three.json.tmp", "whole.json.tmp")
    for path, content in kept.items():
        disk.put(path, content)
    for name in gone:
        disk.put(f"{DIRECTORY}/{name}", b"half")
    prepare(disk, DIRECTORY, "one", ours=False)
    assert disk.files().keys() == {*kept, *(f"{DIRECTORY}/{name}" for name in gone[1:])}
    prepare(disk, DIRECTORY, "next")
    assert disk.files() == kept


def life(disk: SimDisk) -> None:
    """What a child does, without the state."""
    prepare(disk, DIRECTORY, "b")
    make(disk, DIRECTORY, "b", MemoryKeys())


def check_after(disk: SimDisk, call: int) -> bool:
    """Whole or incomplete, never wrong; and the next backup of that name can be made if there is none."""
    listed = {one.name: one.sidecar for one in list_backups(disk, DIRECTORY)}
    if (sidecar := listed.get("b")) is not None:
        reader = BackupReader(disk, file_path(DIRECTORY, "b"), MemoryKeys())
        assert list(reader.rows()) == ROWS, call
        assert reader.content is not None and reader.content.sha256 == sidecar.sha256
        return True
    life(disk)
    assert [one.name for one in list_backups(disk, DIRECTORY)] == ["b"], call
    assert sorted(disk.files()) == [f"{DIRECTORY}/b.json", f"{DIRECTORY}/b.vxb"], call
    return False


@pytest.mark.parametrize("mode", ["lose", "keep", "prefix", "sectors", None])
def test_a_crash_at_every_call(mode: str | None) -> None:
    probe = SimDisk()
    life(probe)
    outcomes = set()
    for call in range(1, probe.calls + 1):
        disk = SimDisk()
        disk.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            life(disk)
        outcomes.add(check_after(disk.crash(Random(call), mode), call))
    assert outcomes == ({False} if mode == "lose" else {True, False})


def test_a_crash_while_clearing_away() -> None:
    """At every call of making one, then at every call of the next try."""
    probe = SimDisk()
    life(probe)
    for first in range(1, probe.calls + 1):
        for second in range(1, probe.calls + 8):
            disk = SimDisk()
            disk.faults[first] = Fault("crash")
            with pytest.raises(PowerCut):
                life(disk)
            disk = disk.crash(Random(first), None)
            if any(one.sidecar for one in list_backups(disk, DIRECTORY)):
                break
            disk.faults[second] = Fault("crash")
            try:
                life(disk)
                break  # it needs fewer calls
            except PowerCut:
                check_after(disk.crash(Random(second), None), second)


@pytest.mark.parametrize("kind", ["eio", "enospc"])
def test_a_call_that_fails_is_told_and_no_backup(kind: str) -> None:
    probe = SimDisk()
    life(probe)
    for call in range(1, probe.calls + 1):
        disk = SimDisk()
        disk.faults[call] = Fault(kind)
        try:
            life(disk)
        except StorageError as failure:
            assert DIRECTORY in str(failure)
            disk.faults.clear()
            check_after(disk, call)
        else:
            raise AssertionError(f"call {call} failed and nobody said so")


def test_publishing_gives_room_back_when_the_sidecar_has_none() -> None:
    disk = SimDisk()
    disk.mkdir(DIRECTORY)
    sidecar = make(disk, DIRECTORY, "whole", MemoryKeys())
    disk.put(f"{DIRECTORY}/b.vxb.tmp", b"finished")
    disk.full = "all"
    with pytest.raises(IoFailed):
        publish(disk, f"{DIRECTORY}/b.vxb.tmp", replace(sidecar, name="b"))
    assert f"{DIRECTORY}/b.vxb.tmp" not in disk.files()


@pytest.mark.parametrize(
    "raw, expected",
    [(b"", "JSON"), (b"[]", "JSON"), (b"{}", "JSON"), (b"\xff", "JSON"), (b"[" * 100_000, "JSON"), (b'{"checksum": 1}', "JSON")],
)  # fmt: skip
def test_what_is_no_sidecar(raw: bytes, expected: str) -> None:
    with pytest.raises(Corrupt, match=expected):
        decode_sidecar(raw, "b.json")


def test_another_spelling_of_the_same_is_refused() -> None:
    disk = SimDisk()
    raw = encode_sidecar(make(disk, ".", "b", MemoryKeys()))
    assert decode_sidecar(raw, "b.json").name == "b"
    for other in (raw.replace(b"  ", b" "), raw + b"\n", raw[:-1], raw.replace(b'"sealed": true', b'"sealed": 1')):
        with pytest.raises(Corrupt):
            decode_sidecar(other, "b.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 1}, {"name": "../x"}, {"keys": "3"}, {"keys": True}, {"sequence": 1.0}, {"sealed": 1}, {"sha256": None},
        {"counts": []}, {"counts": {"x": {}}}, {"counts": {"0": 3}}, {"counts": {"0": {"string": "3"}}}, {"keyring": 1},
    ],
)  # fmt: skip
def test_fields_of_another_kind_are_refused_though_the_checksum_is_right(changes: dict[str, object]) -> None:
    sidecar = make(SimDisk(), ".", "b", MemoryKeys())
    with pytest.raises(Corrupt, match=r"b\.json"):
        decode_sidecar(encode_sidecar(replace(sidecar, **changes)), "b.json")  # type: ignore[arg-type]


def test_one_process_at_a_time_makes_a_backup_in_a_directory() -> None:
    """Two would clear away each other's files: one had said that it was done, and its sidecar stood beside the other's
    file."""
    disk = SimDisk()
    with alone(disk, DIRECTORY):
        with pytest.raises(BackupRefused, match="process 1 is making a backup there"), alone(disk, DIRECTORY):
            raise AssertionError
        make(disk, DIRECTORY, "b", MemoryKeys())
    with alone(disk, DIRECTORY):
        assert [one.problem for one in list_backups(disk, DIRECTORY)] == [""]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    directory, disk = links(tmp_path), RealDisk()
    secret = tmp_path / "outside" / "secret"
    (directory / ".vaylix-backup.lock").symlink_to(secret)
    with pytest.raises(IoFailed), alone(disk, str(directory)):
        raise AssertionError
    assert secret.read_text() == "secret"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_a_backup_is_made_all_the_same(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: SimDisk, path: str) -> Never:
        raise OSError(code, "no locks here", path)

    disk = SimDisk()
    monkeypatch.setattr(SimDisk, "lock", refuse)
    with alone(disk, DIRECTORY):
        make(disk, DIRECTORY, "b", MemoryKeys())
    assert read_sidecar(disk, file_path(DIRECTORY, "b"))


def test_temporary_files_of_other_programs_stay() -> None:
    disk = SimDisk()
    disk.mkdir(DIRECTORY)
    for name in ("manifest.json", "manifest.json.tmp", "keyring.json.tmp", ".hidden.vxb.tmp"):
        disk.put(f"{DIRECTORY}/{name}", b"{}")
    before = disk.files()
    prepare(disk, DIRECTORY, "b")
    assert disk.files() == before


def test_a_place_among_the_data_is_refused(tmp_path: Path) -> None:
    disk, data = RealDisk(), tmp_path / "data"
    (data / "wal").mkdir(parents=True)
    (tmp_path / "link").symlink_to(data / "wal")
    for place in (data, data / "wal", data / "wal" / "deeper", data / "snapshots", data / "x" / "..", tmp_path / "link"):
        with pytest.raises(BackupRefused, match="has its own files"):
            check_place(disk, str(data), str(place))
    for place in (data / "backups", data / "mine" / "wal", tmp_path, tmp_path / "data2"):
        check_place(disk, str(data), str(place))
