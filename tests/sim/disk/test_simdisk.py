"""The simulated disk is as cruel as its docstring says: each kind of loss happens, and nothing else does."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

import pytest

from tests.sim.disk.simdisk import MODES, SECTOR, Fault, PowerCut, SimDisk

OLD, NEW = b"o" * 3 * SECTOR, b"n" * 3 * SECTOR


def prepared() -> SimDisk:
    """data/a holds OLD, durably."""
    disk = SimDisk()
    disk.mkdir("data")
    disk.replace_file("data/a", OLD)
    return disk


def outcomes(disk: SimDisk, look: Callable[[SimDisk], object], mode: str | None, count: int = 300) -> set[object]:
    return {look(disk.crash(Random(seed), mode)) for seed in range(count)}


def content(path: str) -> Callable[[SimDisk], bytes | None]:
    return lambda disk: disk.read_file(path) if disk.exists(path) else None


def over(old: bytes, new: bytes) -> set[bytes]:
    """Every mixture by sectors."""
    parts = [(old[i : i + SECTOR], new[i : i + SECTOR]) for i in range(0, len(old), SECTOR)]
    mixed = {b""}
    for pair in parts:
        mixed = {head + part for head in mixed for part in pair}
    return mixed


CONTENTS = {
    "lose": {OLD},
    "keep": {NEW},
    "sectors": over(OLD, NEW),
    "pages": {OLD, NEW},  # all of it is in one page
    "lengths": over(OLD, NEW),
}


@pytest.mark.parametrize("mode", sorted(CONTENTS))
def test_what_a_power_cut_leaves_of_an_unsynced_write(mode: str) -> None:
    disk = prepared()
    disk.open("data/a", write=True).pwrite(NEW, 0)
    assert outcomes(disk, content("data/a"), mode) == CONTENTS[mode]


def test_a_prefix_ends_at_any_byte() -> None:
    disk = prepared()
    file = disk.open("data/a", write=True)
    file.pwrite(NEW[:20], 0)
    file.pwrite(NEW[20:50], 20)
    assert outcomes(disk, content("data/a"), "prefix", 2000) == {NEW[:n] + OLD[n:] for n in range(51)}


def test_every_mode_keeps_what_was_synced() -> None:
    for sync in ("fsync", "fdatasync"):
        for mode in (*MODES, None):
            disk = prepared()
            file = disk.open("data/a", write=True)
            file.pwrite(NEW, 0)
            getattr(file, sync)()
            assert outcomes(disk, content("data/a"), mode, 20) == {NEW}


def test_later_writes_may_be_there_without_earlier_ones() -> None:
    disk = prepared()
    file = disk.open("data/a", write=True)
    file.pwrite(b"1" * SECTOR, 0)
    file.pwrite(b"2" * SECTOR, SECTOR)
    found = outcomes(disk, content("data/a"), "sectors")
    assert OLD[:SECTOR] + b"2" * SECTOR + OLD[:SECTOR] in found


def test_a_length_may_be_there_without_the_content() -> None:
    disk = prepared()
    disk.create("data/b").pwrite(NEW, 0)
    assert bytes(len(NEW)) in outcomes(disk, content("data/b"), "lengths")
    assert b"" in outcomes(disk, content("data/b"), None)


def test_a_name_and_its_content_know_nothing_of_each_other() -> None:
    disk = prepared()
    file = disk._create("data/b")  # type: ignore[attr-defined]  # without the composite's fsync of the directory
    file.pwrite(NEW, 0)
    file.fsync()
    assert outcomes(disk, content("data/b"), None) == {None, NEW}
    disk.fsync_dir("data")
    assert outcomes(disk, content("data/b"), None) == {NEW}


def test_a_rename_before_the_data_leaves_an_empty_file() -> None:
    disk = prepared()
    disk.create("data/a.tmp").pwrite(NEW, 0)
    disk.rename("data/a.tmp", "data/a")
    assert {b"", NEW} <= outcomes(disk, content("data/a"), None)


def test_unsynced_names_survive_in_any_combination() -> None:
    disk = prepared()
    disk.replace_file("data/b", b"b")
    disk._create("data/c")
    disk._rename("data/a", "data/d")
    disk._unlink("data/b")
    disk._link("data/d", "data/e")
    disk._mkdir("data/sub")
    found = outcomes(disk, lambda after: tuple(after.listdir("data")), None, 2000)
    # a or d (a rename is atomic), and with or without b, c, e and sub
    assert len(found) == 2 * 2**4
    assert all(("a" in names) != ("d" in names) for names in found)
    ordered = outcomes(disk, lambda after: tuple(after.listdir("data")), "prefix", 300)
    assert ordered == {
        ("a", "b"), ("a", "b", "c"), ("b", "c", "d"), ("c", "d"), ("c", "d", "e"), ("c", "d", "e", "sub"),
    }  # fmt: skip


def test_a_file_in_a_directory_that_is_lost_is_lost() -> None:
    disk = prepared()
    disk._mkdir("data/sub")
    disk.replace_file("data/sub/x", NEW)  # syncs the file and its directory, but not the directory's own name
    assert outcomes(disk, content("data/sub/x"), None) == {None, NEW}


def test_a_name_of_a_file_outlives_the_others() -> None:
    disk = prepared()
    disk.link("data/a", "data/b")
    disk._unlink("data/a")
    assert outcomes(disk, lambda after: tuple(sorted(after.files().items())), None) == {
        (("data/b", OLD),), (("data/a", OLD), ("data/b", OLD)),
    }  # fmt: skip


@pytest.mark.parametrize("reverts", [False, True])
def test_after_a_failed_fsync_the_next_one_lies(reverts: bool) -> None:
    disk = prepared()
    disk.reverts = reverts
    file = disk.open("data/a", write=True)
    file.pwrite(NEW, 0)
    disk.faults[disk.calls + 1] = Fault("eio")
    with pytest.raises(OSError, match="Input/output"):
        file.fsync()
    file.fsync()  # says that all is well
    assert file.pread(len(NEW), 0) == (OLD if reverts else NEW)
    assert outcomes(disk, content("data/a"), None) == {OLD}


def test_a_failed_fsync_may_have_done_a_part() -> None:
    disk = prepared()
    file = disk.open("data/a", write=True)
    file.pwrite(b"1", 0)
    file.pwrite(b"2", 1)
    disk.faults[disk.calls + 1] = Fault("eio", 0.5)
    with pytest.raises(OSError, match="Input/output"):
        file.fdatasync()
    assert disk.crash(Random(0), "keep").read_file("data/a") == b"1" + OLD[1:]


@pytest.mark.parametrize("kind, number", [("eio", errno.EIO), ("enospc", errno.ENOSPC)])
def test_a_failed_write_may_have_written_a_part(kind: str, number: int) -> None:
    disk = prepared()
    disk.faults[disk.calls + 1] = Fault(kind, 0.5)
    file = disk.open("data/a", write=True)
    with pytest.raises(OSError) as caught:
        file.pwrite(NEW, 0)
    assert caught.value.errno == number
    half = len(NEW) // 2
    assert file.pread(len(NEW), 0) == NEW[:half] + OLD[half:]


def test_reads_fail_by_number_and_by_path() -> None:
    disk = prepared()
    disk.kill()
    disk.bad_reads = {2}
    file = disk.open("data/a")
    with pytest.raises(OSError, match="Input/output"):
        file.pread(1, 0)
    assert file.pread(1, 0) == b"o"
    disk.read_error_on = "a"
    with pytest.raises(OSError, match="Input/output"):
        disk.listdir("data")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_budget_is_used_up_and_given_back(number: int) -> None:
    disk = prepared()
    disk.budget, disk.no_room = len(OLD) + 1000, number
    assert disk.free_bytes("data") == 1000
    file = disk.create("data/b")
    for grow in (lambda: file.pwrite(bytes(1001), 0), lambda: file.allocate(1001)):
        with pytest.raises(OSError) as caught:
            grow()
        assert caught.value.errno == number
    file.pwrite(bytes(1000), 0)
    disk.link("data/b", "data/c")
    assert disk.free_bytes("data") == 0, "a second name takes no room"
    disk.open("data/a", write=True).pwrite(NEW, 0)  # in place
    disk.unlink("data/a")
    assert disk.free_bytes("data") == len(OLD)


def test_file_systems_of_their_own() -> None:
    disk = prepared()
    disk.mount("backup", 100)
    disk.replace_file("backup/x", b"x" * 60)
    assert disk.free_bytes("backup") == 40 and disk.free_bytes("data") > 1 << 30
    with pytest.raises(OSError) as caught:
        disk.link("data/a", "backup/a")
    assert caught.value.errno == errno.EXDEV
    after = disk.crash(Random(1), "lose")
    assert after.read_file("backup/x") == b"x" * 60 and after.free_bytes("backup") == 40
    with pytest.raises(OSError) as caught:
        after.create("backup/y").allocate(41)
    assert caught.value.errno == errno.ENOSPC


def test_after_the_cut_nothing_works_until_the_power_is_back() -> None:
    disk = prepared()
    file = disk.open("data/a", write=True)
    disk.faults[disk.calls + 1] = Fault("crash")
    for call in (lambda: disk.unlink("data/a"), lambda: file.pread(1, 0), file.fsync, lambda: disk.listdir("data")):
        with pytest.raises(PowerCut):
            call()
    assert disk.crash(Random(0), "lose").read_file("data/a") == OLD


def test_every_changing_call_can_be_the_last() -> None:
    """The change that the cut interrupts may be there or not."""
    jobs: dict[str, tuple[Callable[[SimDisk], object], Callable[[SimDisk], object]]] = {
        "create": (lambda disk: disk._create("data/b"), content("data/b")),
        "create again": (lambda disk: disk._create("data/a"), content("data/a")),
        "rename": (lambda disk: disk._rename("data/a", "data/b"), content("data/b")),
        "link": (lambda disk: disk._link("data/a", "data/b"), content("data/b")),
        "unlink": (lambda disk: disk._unlink("data/a"), content("data/a")),
        "mkdir": (lambda disk: disk._mkdir("data/b"), lambda disk: disk.exists("data/b")),
        "pwrite": (lambda disk: disk.open("data/a", write=True).pwrite(b"!", 0), content("data/a")),
        "truncate": (lambda disk: disk.open("data/a", write=True).truncate(1), content("data/a")),
        "allocate": (lambda disk: disk.open("data/a", write=True).allocate(9000), content("data/a")),
    }
    for name, (job, look) in jobs.items():
        disk = prepared()
        before = look(disk)
        disk.faults[disk.calls + 1] = Fault("crash")
        with pytest.raises(PowerCut):
            job(disk)
        done = prepared()
        job(done)
        expected = {before, look(done)}
        assert outcomes(disk, look, None) >= expected, name
        assert len(expected) == 2 and look(disk.crash(Random(0), "lose")) == before, name


def test_a_process_that_dies_loses_nothing_yet() -> None:
    disk = prepared()
    disk.open("data/a", write=True).pwrite(NEW, 0)
    disk.lock("data/LOCK")
    disk.kill()
    disk.lock("data/LOCK").release()
    assert disk.read_file("data/a") == NEW
    assert disk.crash(Random(0), "lose").read_file("data/a") == OLD


def test_a_seed_gives_the_same_disk_again() -> None:
    def image(seed: int) -> dict[str, bytes]:
        disk = prepared()
        for name in "bcd":
            disk._create(f"data/{name}").pwrite(name.encode() * 2000, 0)
        return disk.crash(Random(seed)).files()

    images = [image(seed) for seed in range(30)]
    assert images == [image(seed) for seed in range(30)]
    assert len({str(one) for one in images}) > 20


def test_bits_flip_where_they_are_asked_to() -> None:
    disk = prepared()
    disk.flip("data/a", 9)
    assert disk.read_file("data/a")[:3] == b"omo" and disk.crash(Random(0), "lose").read_file("data/a")[1:2] == b"m"
    disk = prepared()
    path, bit = disk.rot(Random(4))
    rotten = disk.read_file(path)
    assert path == "data/a" and [i for i in range(len(OLD)) if rotten[i] != OLD[i]] == [bit // 8]
