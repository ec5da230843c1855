"""The files of an online backup: made, found again, removed; shared or copied."""

from __future__ import annotations

import errno
import os
from random import Random

import pytest

from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from vaylix_resp.storage.active import Segment
from vaylix_resp.storage.copies import data_copy
from vaylix_resp.storage.copies.data_copy import DataCopy, InUse, Note, link_or_copy, missing_behind, sealed_behind
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.manifest import CleanStop, Manifest
from vaylix_resp.storage.segment import active_name, sealed_name

HERE = "b/online"
MANIFEST = Manifest("00112233445566778899aabbccddeeff", 5, (), CleanStop(9, "e" * 32, 7))
NAME = sealed_name(4, 9)
SNAPSHOT = "snapshot-00000000000000000003.vxs"


def source() -> SimDisk:
    disk = SimDisk()
    disk.mkdir("d/wal")
    disk.put(f"d/wal/{NAME}", b"log" * 1000)
    disk.put(f"d/{SNAPSHOT}", b"state")
    return disk


def make(disk: SimDisk, *, sealed: bool = True) -> DataCopy:
    copy = DataCopy(disk, HERE)
    copy.begin(Note(100))
    copy.add_snapshot(f"d/{SNAPSHOT}", SNAPSHOT)
    copy.add_segment(Segment(f"d/wal/{NAME}", 4, 9, 3000))
    if sealed:
        copy.seal(MANIFEST, b"keys", Note(100, 160, 9))
    return copy


def below(disk: SimDisk) -> set[str]:
    return {path for path in disk.names if path.startswith(HERE)}


def test_what_was_made_is_found_again():
    disk = source()
    copy, again = make(disk), DataCopy(disk, HERE)
    assert again.found() == (Note(100, 160, 9), True)
    assert sorted(again.files) == sorted(copy.files)
    assert copy.files[-1] == f"{HERE}/manifest.json"
    assert disk.names[f"{HERE}/wal/{NAME}"] is disk.names[f"d/wal/{NAME}"]


def test_without_a_manifest_it_is_not_sealed():
    disk = source()
    make(disk, sealed=False)
    again = DataCopy(disk, HERE)
    assert again.found() == (Note(100), False) and again.files == []


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"format": 2, "start_time": 1}', b'{"format": 1}', b"\xff",
                                 b'{"format": 1, "start_time": "x"}', b'{"format": 1, "start_time": true}',
                                 b'{"format": 1, "start_time": 1, "more": 2}'])  # fmt: skip
def test_a_note_that_is_not_ours_makes_it_somebody_elses(raw):
    disk = source()
    disk.mkdir(HERE)
    disk.put(f"{HERE}/backup.json", raw)
    copy = DataCopy(disk, HERE)
    assert copy.found() is None and copy.is_occupied()


def test_a_note_that_is_no_file_does_not_stop_a_start(tmp_path):
    (tmp_path / "online").mkdir()
    os.mkfifo(tmp_path / "online" / "backup.json")  # opening it would wait for somebody who writes
    with pytest.raises(OSError, match="not a regular file"):
        DataCopy(RealDisk(), str(tmp_path / "online")).found()


def test_a_directory_is_free_when_it_is_missing_empty_or_has_only_an_unfinished_note():
    disk = source()
    copy = DataCopy(disk, HERE)
    assert not copy.is_occupied()
    disk.mkdir(HERE)
    assert not copy.is_occupied()
    disk.put(f"{HERE}/backup.json.tmp", b"")
    assert not copy.is_occupied()
    disk.put(f"{HERE}/x", b"")
    assert copy.is_occupied()


def test_removing_takes_ours_and_leaves_the_directory_empty():
    disk = source()
    make(disk).remove()
    assert disk.listdir(HERE) == [] and f"d/wal/{NAME}" in disk.names
    DataCopy(disk, "b/none").remove()


def test_removing_leaves_what_is_not_ours():
    disk = source()
    copy = make(disk)
    foreign = {f"{HERE}/{name}" for name in ("x", "wal/x.wal", f"wal/{active_name(10)}", "snapshots/x", "keyring/x")}
    for path in foreign:
        disk.put(path, b"")
    copy.remove()
    assert below(disk) == foreign


def test_a_server_in_it_is_not_disturbed():
    disk = source()
    copy = make(disk)
    disk.put(f"{HERE}/LOCK", b"17\n")
    before = below(disk)
    with pytest.raises(InUse, match="a server has been started in this backup"):
        copy.remove()
    assert below(disk) == before


def test_a_crash_at_any_call_of_the_removal_leaves_no_half_backup_that_could_be_started():
    calls = removal(None)[1]
    assert calls > 10
    for call in range(1, calls + 1):
        disk, _ = removal(call)
        for mode in ("lose", "keep", None):
            after = disk.crash(Random(call), mode)
            if f"{HERE}/manifest.json" in after.names:
                assert f"{HERE}/wal/{NAME}" in after.names and f"{HERE}/snapshots/{SNAPSHOT}" in after.names
            copy = DataCopy(after, HERE)
            if copy.is_occupied():
                assert copy.found() is not None
                copy.remove()
            assert after.listdir(HERE) == []


def removal(call: int | None) -> tuple[SimDisk, int]:
    disk = source()
    copy = make(disk)
    began = disk.calls
    if call is not None:
        disk.faults[began + call] = Fault("crash")
    try:
        copy.remove()
    except PowerCut:
        assert call is not None
    return disk, disk.calls - began


@pytest.mark.parametrize("number", sorted(data_copy.NO_LINK))
def test_where_there_are_no_links_bytes_are_copied(number, monkeypatch):
    monkeypatch.setattr(data_copy, "COPY_BYTES", 700)
    disk = source()

    def refuse(one: str, other: str) -> None:
        raise OSError(number, "no link", other)

    monkeypatch.setattr(disk, "link", refuse)
    disk.put("d/copy", b"an older try")
    link_or_copy(disk, f"d/wal/{NAME}", "d/copy")
    after = disk.crash(Random(1), "lose")
    assert after.read_file("d/copy") == b"log" * 1000
    assert disk.names["d/copy"] is not disk.names[f"d/wal/{NAME}"] and "d/copy.tmp" not in disk.names


def test_any_other_refusal_is_one(monkeypatch):
    disk = source()

    def refuse(one: str, other: str) -> None:
        raise OSError(errno.ENOSPC, "full", other)

    monkeypatch.setattr(disk, "link", refuse)
    with pytest.raises(OSError, match="full"):
        link_or_copy(disk, f"d/wal/{NAME}", "d/copy")


def segment(first: int, last: int, *, sealed: bool = True) -> Segment:
    return Segment(f"d/wal/{sealed_name(first, last) if sealed else active_name(first)}", first, last, 100)


@pytest.mark.parametrize(
    ("base", "segments", "up_to", "missing"),
    [
        (0, [], 0, None),
        (0, [], 1, 1),
        (3, [segment(4, 9)], 9, None),
        (3, [segment(4, 9)], 12, 10),
        (3, [segment(5, 9)], 9, 4),
        (3, [segment(1, 9)], 9, None),
        (3, [segment(4, 9), segment(11, 12)], 12, 10),
        (3, [segment(4, 9), segment(10, 12)], 12, None),
    ],
)
def test_which_sequence_is_missing(base, segments, up_to, missing):
    assert missing_behind(base, segments, up_to) == missing


def test_only_what_is_sealed_counts_in_order_and_once():
    one, two, three = segment(1, 3), segment(4, 9), segment(10, 12)
    active = segment(13, 15, sealed=False)
    assert sealed_behind([three, one, two, two, active], 3, 100) == [two, three]
    assert sealed_behind([active], 0, 100) == []


@pytest.mark.parametrize(("committed", "last"), [(2, 0), (3, 3), (8, 3), (9, 9), (11, 9), (12, 12), (13, 12)])
def test_what_may_yet_be_cut_does_not_count(committed, last):
    segments = [segment(1, 3), segment(4, 9), segment(10, 12)]
    assert [one for one in segments if one.last <= last] == sealed_behind(segments, 0, committed)
