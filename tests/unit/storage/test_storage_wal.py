"""The log when the disk fails under it: what is refused, what goes on, and what a restart finds."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.sim.disk.simdisk import Fault, SimDisk
from tests.sim.disk.workload import BODIES, ROOT, SMALL, STORE_ID, Fact, World, count_calls, workload
from vaylix_resp.storage.batch import HEADER_BYTES, read_header, store_salt
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.errors import DiskFull, IoFailed, StorageError, WalFailed
from vaylix_resp.storage.listing import list_wal
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.segment import SEGMENT_HEADER_BYTES, active_name

BIG = b"*" + b"b" * 3000


def sim() -> tuple[SimDisk, World]:
    disk = SimDisk()
    return disk, World(disk).open()


def numbers_used(disk: SimDisk) -> list[tuple[str, int]]:
    """The nonces of all frames in the log, in order."""
    found = []
    for name in list_wal(disk, ROOT, 0).segments:
        path = f"{ROOT}/wal/{name.name}"
        raw = disk.read_file(path)
        for at in range(SEGMENT_HEADER_BYTES, len(raw) - 511, 512):
            header = read_header(raw[at : at + HEADER_BYTES], store_salt(STORE_ID))
            if header:
                found.append((name.name, header.number))
    return found


def test_numbers_grow_within_a_segment_and_skip_what_could_not_be_written() -> None:
    disk, world = sim()
    world.append(b"*one")
    disk.faults[disk.calls + 1] = Fault("enospc", 0.5)
    with pytest.raises(DiskFull):
        world.append(b"*two")
    world.in_flight.clear()
    world.append(b"*three")
    world.append(b"*four")
    name = active_name(1)
    assert numbers_used(disk) == [(name, 1), (name, 3), (name, 4)]
    assert restarted(disk) == world.acknowledged


def test_an_empty_segment_is_not_written_to_by_the_next_process() -> None:
    """It may have been written to all the same: by one whose writes a power cut took away, or by one with a copy."""
    disk, world = sim()
    ciphers = [world.store.wal._cipher]
    for again in (disk.copy(), disk.copy(), disk.crash(Random(1), "lose"), disk.kill()):
        world = World(again).open()
        ciphers.append(world.store.wal._cipher)
        world.append(b"*same place")  # MemoryKeys sees to it that no number comes again
        assert numbers_used(again) == [(active_name(1), 1)]
        world.store.abandon()
    assert len({cipher.fingerprint for cipher in ciphers if cipher}) == 5


def restarted(disk: SimDisk, mode: str = "lose") -> list[Fact]:
    return World(disk.crash(Random(3), mode)).open().state


def test_properties_follow_the_log() -> None:
    disk, world = sim()
    wal = world.store.wal
    assert (wal.last, wal.term, wal.durable, wal.segments()[-1].size) == (0, 0, 0, SEGMENT_HEADER_BYTES)
    world.append(b"*x", 3, sync=False)
    assert (wal.last, wal.durable, wal.term, wal.timestamp_ms) == (3, 0, 1, 1)
    world.sync()
    assert wal.durable == 3 and wal.segments()[-1].size == SEGMENT_HEADER_BYTES + 512 == wal.total_bytes
    wal.rotate()
    wal.rotate()  # nothing in it: nothing to seal
    first, second = wal.segments()
    assert (first.first, first.last, first.size) == (1, 3, SEGMENT_HEADER_BYTES + 512)
    assert (second.first, second.last) == (4, 3)
    assert wal.total_bytes == 2 * SEGMENT_HEADER_BYTES + 512
    assert len(disk.read_file(first.path)) == first.size


def test_one_batch_is_one_write_and_one_fdatasync() -> None:
    disk, world = sim()
    disk.log.clear()
    world.append(BIG)
    assert [name for name, _, _ in disk.log] == ["pwrite", "fdatasync"]
    world.store.wal.sync()
    assert len(disk.log) == 2, "nothing is unsynced: nothing to do"


def test_our_own_mistakes_are_assertions() -> None:
    _, world = sim()
    wal = world.store.wal
    world.append(b"*x", 3)
    for first, count, term, timestamp_ms in [(3, 1, 1, 9), (5, 1, 1, 9), (4, 0, 1, 9), (4, 1, 0, 9), (4, 1, 1, 0)]:
        with pytest.raises(AssertionError):
            wal.append(first, count, term, timestamp_ms, 0, 0, b"*x")


def test_spares_are_used_and_bounded() -> None:
    disk, world = sim()
    wal = world.store.wal
    pauses: list[int] = []
    assert wal.prepare_spare(lambda: pauses.append(1)) and not wal.prepare_spare()
    assert pauses and wal.spares_ready == 1
    world.append(BIG)
    disk.log.clear()
    world.append(BIG)
    assert "create" not in [name for name, _, _ in disk.log] and wal.spares_ready == 0
    world.append(b"*" + b"h" * 30000)  # larger than any spare
    assert len(disk.names[wal.segments()[-1].path].shown) >= 30000
    assert restarted(disk) == world.acknowledged


def test_a_batch_larger_than_the_empty_active_segment() -> None:
    disk, world = sim()
    world.append(b"*" + b"h" * 30000)
    assert len(world.store.wal.segments()) == 1
    assert restarted(disk) == world.acknowledged


def test_prune_keeps_what_the_snapshot_does_not_cover() -> None:
    _, world = sim()
    assert world.store.prune() == 0
    for _ in range(5):
        world.append(BIG)
    wal = world.store.wal
    assert wal.prune(0) == 0 and wal.prune(2) == 2 and wal.prune(2) == 0
    assert [segment.first for segment in wal.segments()] == [3, 4, 5]


def test_a_failed_fsync_is_final() -> None:
    disk, world = sim()
    world.append(b"*kept")
    told = list(world.acknowledged)
    disk.sync_error_on = "active-"
    with pytest.raises(WalFailed, match="fdatasync|fsync"):
        world.append(b"*fate unknown")
    disk.sync_error_on = ""
    wal = world.store.wal
    syncs = [name for name, _, _ in disk.log].count("fdatasync")
    refused = wal.sync, wal.rotate, wal.prepare_spare, wal.seal_and_close, wal.settle, lambda: world.append(b"*y")
    for attempt in refused:
        with pytest.raises(WalFailed, match="active-"):
            attempt()
    assert [name for name, _, _ in disk.log].count("fdatasync") == syncs, "never tried again"
    assert restarted(disk) == told


def test_what_a_restart_has_shown_after_a_failed_fsync_stays() -> None:
    """The page cache still shows the batch, and no fsync would write it: recovery has to write it again."""
    for unsynced in (1, 3):
        disk, world = sim()
        world.append(b"*kept")
        for _ in range(unsynced):
            world.append(BIG[:300], sync=False)
        disk.sync_error_on = "active-"
        with pytest.raises(WalFailed):
            world.sync()
        disk.sync_error_on = ""
        world.store.abandon()
        second = World(disk.kill()).open()
        assert len(second.state) == 1 + unsynced
        assert restarted(disk) == second.state


def test_an_error_while_writing_is_final() -> None:
    for part in (0.0, 0.4, 1.0):
        disk, world = sim()
        world.append(b"*kept")
        disk.faults[disk.calls + 1] = Fault("eio", part)
        with pytest.raises(WalFailed):
            world.append(BIG)
        with pytest.raises(WalFailed):
            world.append(BIG)
        assert restarted(disk, "keep") in (world.acknowledged, world.acknowledged + world.in_flight[:1])


@pytest.mark.parametrize("sync", [True, False])
def test_whether_a_failure_is_definite(sync: bool) -> None:
    """EIO at every call of an append that needs a new segment: definite ones leave no trace, in no order of writes."""
    seen = []
    for call in range(1, 50):
        disk, world = sim()
        world.append(b"*first", sync=False)
        world.append(BIG, sync=sync)
        told = list(world.acknowledged)
        before = told + world.in_flight
        disk.faults[disk.calls + call] = Fault("eio", 0.5)
        try:
            world.append(BIG)
        except WalFailed as failure:
            seen.append(failure.definite)
            for mode in ("lose", "keep", "prefix", "sectors"):
                found = restarted(disk, mode)
                assert found[: len(told)] == told
                assert len(found) <= len(before) + (not failure.definite)
            with pytest.raises(WalFailed) as later:
                world.append(b"*later")
            assert later.value.definite
        else:
            break
    # Making the segment, with the old one's fsync before it; sealing the old one; then the write and its fsync.
    assert seen == [True] * (len(seen) - 2) + [False] * 2 and len(seen) > 10


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("full_for", [1, 2, 3])
def test_a_full_disk_while_writing_leaves_nothing_and_passes(part: float, full_for: int) -> None:
    disk, world = sim()
    world.append(b"*kept")
    start = disk.calls
    for call in range(full_for):
        disk.faults[start + 1 + call] = Fault("enospc", part)
    refused = 0
    for _ in range(5):
        try:
            world.append(BIG)
            break
        except DiskFull:
            refused += 1
            world.in_flight.pop()
            assert restarted(disk, "keep") == world.acknowledged
        except WalFailed:  # the fault met the fsync that makes the clearing durable
            break
    assert refused
    if not world.store.wal.failed:
        world.append(b"*short")
        assert restarted(disk) == world.acknowledged
    world.store.abandon()
    assert World(disk.kill()).open().state[: len(world.acknowledged)] == world.acknowledged


def test_what_a_failed_write_left_is_cleared_before_anything_else_is_written() -> None:
    """A shorter batch takes the place of a longer one that failed: the rest of that must be gone, and durably so."""
    for seed in range(40):
        disk, world = sim()
        world.append(b"*kept")
        told = list(world.acknowledged)
        disk.faults[disk.calls + 1] = Fault("enospc", 0.95)
        with pytest.raises(DiskFull):
            world.append(BIG)
        world.in_flight.clear()
        world.append(b"*" + b"s" * 600, sync=False)
        found = World(disk.crash(Random(seed), "sectors")).open().state
        assert found in (told, told + world.in_flight)
        world.sync()
        assert restarted(disk) == world.acknowledged


def test_a_sync_says_nothing_about_what_was_appended_meanwhile(monkeypatch) -> None:
    disk, world = sim()
    wal, real = world.store.wal, disk.call

    def append_meanwhile(name, path, arguments, *, grows=False):
        real(name, path, arguments, grows=grows)
        if name == "fdatasync" and wal.last == 1:
            wal.append(2, 1, 1, 9, 0, 0, b"*late")

    monkeypatch.setattr(disk, "call", append_meanwhile)
    world.append(b"*x")
    assert (wal.durable, wal.last) == (1, 2)
    wal.sync()
    assert wal.durable == 2


def test_a_full_disk_shows_ahead_and_writes_go_on_while_there_is_room() -> None:
    disk, world = sim()
    wal = world.store.wal
    disk.full = "growth"
    with pytest.raises(DiskFull):
        wal.prepare_spare()
    assert not wal.probe_space()
    world.append(BIG)
    with pytest.raises(DiskFull):
        world.append(BIG)
    world.in_flight.clear()
    with pytest.raises(DiskFull):
        wal.rotate()
    world.append(b"*small ones still fit")
    assert not any(path.endswith(".tmp") for path in disk.names)
    disk.full = ""
    assert wal.probe_space() and wal.probe_space()
    world.append(BIG)
    assert restarted(disk) == world.acknowledged


def test_a_disk_that_is_full_for_every_write() -> None:
    disk, world = sim()
    world.append(b"*kept")
    disk.full = "all"
    for _ in range(3):
        with pytest.raises(DiskFull):
            world.append(b"*no")
        world.in_flight.clear()
    for attempt in (world.store.wal.rotate, world.store.wal.settle, lambda: world.store.clean_stop(1)):
        with pytest.raises(DiskFull):
            attempt()
    disk.full = ""
    world.append(b"*yes")
    world.store.clean_stop(4)
    assert restarted(disk) == world.acknowledged


def test_no_room_to_seal_postpones_it(monkeypatch) -> None:
    """On some file systems even a truncation needs room. Both segments are in order as they are, so the log goes on."""
    disk, world = sim()
    wal = world.store.wal
    world.append(BIG)
    wal.prepare_spare()
    real = disk.call

    def full_for_truncations(name, path, arguments, *, grows=False):
        if name == "truncate":
            disk.faults[disk.calls + 1] = Fault("enospc")
        real(name, path, arguments, grows=grows)

    monkeypatch.setattr(disk, "call", full_for_truncations)
    world.append(BIG)
    assert len(wal.segments()) == 2
    world.append(b"*goes on")
    for attempt in (wal.rotate, wal.seal_and_close):
        with pytest.raises(DiskFull, match="seal"):
            attempt()
    assert restarted(disk) == world.acknowledged
    monkeypatch.undo()
    wal.rotate()
    assert [segment.path.split("/")[-1][:6] for segment in wal.segments()] == ["000000", "000000", "active"]
    world.store.clean_stop(3)
    assert restarted(disk) == world.acknowledged


def enduring(world: World) -> Iterator[None]:
    """The workload of a server that goes on after a full disk and stops writing after a failure."""
    for number, body in enumerate(BODIES * 2):
        try:
            world.append(body)
        except DiskFull:
            world.in_flight.clear()
        except WalFailed:
            return
        if number % 5 == 4:
            try:
                world.store.wal.prepare_spare()
                world.snapshot()
            except (DiskFull, IoFailed):
                pass
            except WalFailed:
                return
        yield


@pytest.mark.parametrize("kind", ["eio", "enospc"])
@pytest.mark.parametrize("part", [0.0, 0.6])
def test_a_fault_at_every_call(kind: str, part: float) -> None:
    """Only our own exceptions come out; what was told stays; DiskFull means that nothing of the batch is there."""
    for call in range(1, count_calls(SimDisk, enduring, stop=True) + 1):
        disk = SimDisk()
        disk.faults[call] = Fault(kind, part)
        world = World(disk)
        try:
            world.open()
            for _ in enduring(world):
                continue
            world.store.clean_stop(9)
        except StorageError:
            assert not disk.off
        told = world.acknowledged
        for mode in ("lose", "keep", "sectors"):
            found = restarted(disk, mode)
            assert found[: len(told)] == told
            assert found[len(told) :] in ([], world.in_flight[:1])


def test_an_error_at_every_call_of_a_start() -> None:
    """The next start, on a disk that works again, finds everything."""
    disk, world = sim()
    for _ in workload(world):
        continue
    world.append(b"*torn", sync=False)
    image = disk.crash(Random(8), "prefix")
    for call in range(1, 100):
        for kind in ("eio", "enospc"):
            again = image.copy()
            again.faults[call] = Fault(kind)
            second = World(again)
            try:
                second.open()
            except StorageError as error:
                assert "\n" not in str(error)
            found = World(again.crash(Random(call), None)).open().state
            assert found in (world.acknowledged, world.acknowledged + world.in_flight)


def test_a_failed_first_start_can_be_repeated() -> None:
    for call in range(1, 60):
        disk = SimDisk()
        disk.faults[call] = Fault("enospc")
        try:
            World(disk).open()
        except StorageError:
            assert World(disk.kill()).open().state == []
        assert World(disk.crash(Random(call), None)).open().state == []


def test_a_sync_beside_appends_covers_what_came_before_it(tmp_path) -> None:
    """`everysec`: one thread syncs while another appends and rotates."""
    from threading import Thread

    world = World(RealDisk(), str(tmp_path / "d"), WalConfig(65536, 16384, 2)).open()
    wal, stop, seen = world.store.wal, [], []

    def syncing() -> None:
        while not stop:
            wal.sync()
            seen.append(wal.durable)

    def preparing() -> None:
        while not stop:
            wal.prepare_spare()

    threads = [Thread(target=syncing), Thread(target=preparing)]
    for thread in threads:
        thread.start()
    for number in range(2000):
        wal.append(number + 1, 1, 1, number, 0, 0, b"*" * 300)
    stop.append(True)
    for thread in threads:
        thread.join()
    wal.sync()
    assert seen == sorted(seen) and wal.durable == 2000
    world.store.abandon()
    assert len(World(RealDisk(), str(tmp_path / "d"), SMALL).open().state) == 2000


def test_paths_are_inside_the_directory() -> None:
    disk, world = sim()
    for _ in workload(world):
        continue
    world.store.clean_stop(1)
    assert all(path.startswith(ROOT) or path == "." for _, path, _ in disk.log)
