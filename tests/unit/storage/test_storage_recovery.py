"""Directories that something happened to: which start, with what, and which are refused, with what words."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from tests.sim.disk.simdisk import SimDisk
from tests.sim.disk.workload import ROOT, SMALL, STORE_ID, Fact, World
from vaylix_resp.storage.batch import encode, store_salt
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.errors import Corrupt, StorageError, Unreadable
from vaylix_resp.storage.manifest import read_manifest, write_manifest
from vaylix_resp.storage.recovery import read_batches, recover
from vaylix_resp.storage.segment import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    active_name,
    encode_segment_header,
    sealed_name,
)
from vaylix_resp.storage.store import Store


def make(*, stop: bool, snapshot: bool = True) -> tuple[SimDisk, list[Fact]]:
    """Two sealed segments, a snapshot of the first, an active one with three batches (or sealed, if stopped)."""
    disk = SimDisk()
    world = World(disk).open()
    world.append(b"*one" * 30, 2)
    world.append(b"*two", 1)
    if snapshot:
        world.snapshot()
    else:
        world.store.wal.rotate()
    world.append(b"*three", 5)
    world.append(b"*four" * 100, 1)
    world.store.wal.rotate()
    for body in (b"*five", b"*six" * 70, b"*seven" * 20):
        world.append(body)
    if stop:
        world.store.clean_stop(7)
    return disk.copy(), world.acknowledged


def start(disk: SimDisk) -> World:
    return World(disk).open()


def path_of(disk: SimDisk, part: str) -> str:
    return next(path for path in disk.names if part in path)


def active(disk: SimDisk) -> str:
    return path_of(disk, "active-")


def sealed(disk: SimDisk) -> list[str]:
    return sorted(path for path in disk.names if "/wal/0" in path)


def refused(disk: SimDisk) -> Corrupt:
    """The start is refused, in one line that names the file, and nothing has been changed by it."""
    disk.log.clear()
    with pytest.raises(Corrupt) as caught:
        start(disk)
    text = str(caught.value)
    assert caught.value.path in text and "\n" not in text and f"byte {caught.value.offset}" in text
    assert caught.value.expected in text and caught.value.advice in text and caught.value.exit_code == 65
    assert {name for name, path, _ in disk.log if not path.endswith("LOCK")} <= {"fsync_dir"}
    return caught.value


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("snapshot", [True, False])
def test_an_unchanged_copy_starts(stop: bool, snapshot: bool) -> None:
    disk, told = make(stop=stop, snapshot=snapshot)
    world = start(disk)
    assert world.state == told and world.recovered.warnings == ()
    assert start(disk.copy()).state == told


def used_end(disk: SimDisk) -> tuple[int, int]:
    """Where the last batch of the active segment begins and where its frame ends."""
    content = bytes(disk.names[active(disk)].shown)
    end = len(content.rstrip(b"\0"))
    begin = end - 512
    while content[begin : begin + 4] != b"VxB\xa7":
        begin -= 512
    return begin, end


@pytest.mark.parametrize("how", ["truncate", "zero"])
def test_torn_at_every_byte_of_the_last_batch(how: str) -> None:
    disk, told = make(stop=False)
    path = active(disk)
    begin, end = used_end(disk)
    content = bytes(disk.names[path].shown)
    assert end - begin >= 512
    for at in range(begin, end):
        torn = disk.copy()
        torn.put(path, content[:at] + (b"" if how == "truncate" else bytes(len(content) - at)))
        world = start(torn)
        assert world.state == told[:-1], at
        if at == begin:
            assert world.recovered.warnings == ()
        else:
            (cut,) = world.recovered.warnings
            assert (cut.path, cut.offset, cut.sequence) == (path, begin, told[-1][0])
            kept = torn.crash(Random(0), "lose").read_file(cut.kept)
            assert kept.rstrip(b"\0") == content[begin:at].rstrip(b"\0")
            assert path in str(cut) and cut.kept in str(cut) and "\n" not in str(cut)
        world.append(b"*again")
        assert start(torn.copy()).state == told[:-1] + [world.acknowledged[-1]]


def test_sectors_of_the_last_batch_lost_in_every_combination() -> None:
    disk = SimDisk()
    world = World(disk).open()
    world.append(b"*first")
    told = list(world.acknowledged)
    world.append(b"*" + b"L" * 2500)
    begin, end = used_end(disk)
    path, content = active(disk), bytes(disk.names[active(disk)].shown)
    sectors = range(begin, end, 512)
    assert len(sectors) == 6
    for kept in range(2 ** len(sectors) - 1):
        raw = bytearray(content)
        for number, at in enumerate(sectors):
            if not kept >> number & 1:
                raw[at : at + 512] = bytes(512)
        torn = disk.copy()
        torn.put(path, bytes(raw))
        world = start(torn)
        assert world.state == told and len(world.recovered.warnings) == (kept != 0)


def test_a_torn_batch_before_a_whole_one_is_refused() -> None:
    disk, told = make(stop=False)
    path, content = active(disk), bytes(disk.names[active(disk)].shown)
    for at in range(SEGMENT_HEADER_BYTES, used_end(disk)[0], 512):
        broken = disk.copy()
        broken.put(path, content[:at] + bytes(512) + content[at + 512 :])
        assert refused(broken).path == path


def flips(disk: SimDisk, path: str, step: int) -> range:
    return range(0, len(disk.names[path].shown) * 8, step)


@pytest.mark.parametrize("stop", [True, False])
def test_every_flip_in_sealed_segments_snapshot_and_manifest_is_refused(stop: bool) -> None:
    """Every bit of every byte that is not plain filling; every eighth bit of a segment header's filling."""
    disk, _ = make(stop=stop)
    for path in [*sealed(disk), path_of(disk, "snapshot-"), path_of(disk, "manifest")]:
        for bit in flips(disk, path, 1 if stop else 3):
            if "/wal/" in path and 256 * 8 <= bit < (SEGMENT_HEADER_BYTES - 16) * 8 and bit % 59:
                continue
            disk.flip(path, bit)
            with pytest.raises(Corrupt) as caught:
                start(disk)
            assert caught.value.path.startswith(path[: len(ROOT) + 1])
            disk.flip(path, bit)


def test_every_flip_in_the_active_segment_is_refused_or_harmless() -> None:
    disk, told = make(stop=False)
    path = active(disk)
    end = used_end(disk)[1]
    harmless = 0
    for bit in flips(disk, path, 1):
        if 256 * 8 <= bit < (SEGMENT_HEADER_BYTES - 16) * 8 and bit % 59:
            continue
        if bit > (end + 600) * 8 and bit % 59:
            continue
        damaged = disk.copy()
        damaged.flip(path, bit)
        try:
            world = start(damaged)
        except Corrupt:
            continue
        # Behind the last batch nothing was ever written: a bit there is no part of anybody's data.
        assert bit // 8 >= end, bit
        assert world.state == told
        harmless += 1
    assert harmless > 100


def test_after_a_clean_stop_a_flip_behind_the_end_is_refused_too() -> None:
    disk, _ = make(stop=False)
    world = start(disk)
    stop_disk = world.disk
    world.append(b"*x")
    world.store.wal.sync()
    # The power goes after the watermark is written and before the segment is sealed.
    from tests.sim.disk.simdisk import Fault, PowerCut

    assert isinstance(stop_disk, SimDisk)
    before = stop_disk.calls
    stop_disk.faults[before + 6] = Fault("crash")
    with pytest.raises(PowerCut):
        world.store.clean_stop(9)
    image = stop_disk.crash(Random(0), "keep")
    assert image.exists(active(image)) and start(image.copy()).state == world.acknowledged
    damaged = image.copy()
    path = active(damaged)
    content = bytes(damaged.names[path].shown)
    damaged.put(path, content + bytes(1024) + b"\x01")
    refused(damaged)


def test_a_missing_sealed_segment_is_a_gap() -> None:
    disk, _ = make(stop=False)
    disk.remove(sealed(disk)[-1])
    assert refused(disk).sequence == 4


def test_swapped_segments() -> None:
    disk, _ = make(stop=False, snapshot=False)
    one, two = sealed(disk)
    first, second = disk.read_file(one), disk.read_file(two)
    disk.put(one, second)
    disk.put(two, first)
    assert "file name" in refused(disk).expected


def test_a_segment_under_a_wrong_name() -> None:
    for new in (sealed_name(4, 10), sealed_name(4, 8), sealed_name(3, 9)):
        disk, _ = make(stop=False)
        (old,) = sealed(disk)
        disk.put(f"{ROOT}/wal/{new}", disk.read_file(old))
        disk.remove(old)
        refused(disk)


def test_a_sealed_segment_longer_shorter_or_empty() -> None:
    for change in (lambda raw: raw + b"\0", lambda raw: raw + bytes(512), lambda raw: raw[:-512], lambda raw: raw[:-1],
                   lambda raw: raw[:4096], lambda raw: raw[:100], lambda raw: b""):  # fmt: skip
        disk, _ = make(stop=False)
        (path,) = sealed(disk)
        disk.put(path, change(disk.read_file(path)))
        assert refused(disk).path == path


@pytest.mark.parametrize("part", ["manifest", "snapshot-", "/wal/0", "active-"])
def test_a_removed_file(part: str) -> None:
    disk, _ = make(stop=False)
    disk.remove(path_of(disk, part))
    refused(disk)


@pytest.mark.parametrize("part", ["manifest", "snapshot-", "/wal/0"])
def test_a_removed_or_emptied_file_after_a_clean_stop(part: str) -> None:
    for path in [path for path in make(stop=True)[0].names if part in path]:
        disk, _ = make(stop=True)
        disk.remove(path)
        refused(disk)
        disk.put(path, b"")
        refused(disk)


def test_all_of_the_log_removed() -> None:
    for stop in (True, False):
        disk, _ = make(stop=stop)
        for path in [path for path in disk.names if "/wal/" in path]:
            disk.remove(path)
        refused(disk)


def test_older_copies_after_a_clean_stop() -> None:
    """Files of an earlier stop under the names of a later one: each alone, and all of the log."""
    disk, _ = make(stop=True)
    older = disk.copy()
    world = start(disk)
    world.append(b"*later")
    world.snapshot()
    world.append(b"*even later")
    world.store.clean_stop(9)
    newer = disk.copy()
    mixed = newer.copy()
    mixed.put(f"{ROOT}/manifest.json", older.read_file(f"{ROOT}/manifest.json"))
    refused(mixed)
    mixed = older.copy()
    mixed.put(f"{ROOT}/manifest.json", newer.read_file(f"{ROOT}/manifest.json"))
    refused(mixed)
    mixed = newer.copy()
    for path in [path for path in newer.names if "/wal/" in path]:
        mixed.remove(path)
    for path in [path for path in older.names if "/wal/" in path]:
        mixed.put(path, older.read_file(path))
    refused(mixed)


def test_an_active_segment_that_is_added_after_a_clean_stop() -> None:
    disk, _ = make(stop=True)
    header = encode_segment_header(SegmentHeader(STORE_ID, 1, bytes(16), 0))
    disk.put(f"{ROOT}/wal/{active_name(1)}", header)
    refused(disk)


def test_segments_of_another_store() -> None:
    disk, _ = make(stop=False)
    other = SimDisk()
    Store.open(other, ROOT, new_store_id=b"o" * 16, now_ms=1, config=SMALL)
    disk.remove(active(disk))
    last = int(sealed(disk)[-1][-24:-4])
    foreign = encode_segment_header(SegmentHeader(b"o" * 16, last + 1, b"t" * 16, 0))
    disk.put(f"{ROOT}/wal/{active_name(last + 1)}", foreign)
    assert "store id" in refused(disk).expected
    mixed = other.copy()
    mixed.put(f"{ROOT}/manifest.json", disk.read_file(f"{ROOT}/manifest.json"))
    refused(mixed)


@pytest.mark.parametrize("name", ["notes.txt", "1-2.wal", "active-1.wal", "00000000000000000001.wal", "a.wal.bak"])
def test_a_name_that_is_not_ours(name: str) -> None:
    for directory in ("wal", "snapshots"):
        disk, _ = make(stop=False)
        disk.put(f"{ROOT}/{directory}/{name}", b"?")
        assert "only" in refused(disk).expected


def test_leftovers_are_removed() -> None:
    disk, told = make(stop=False)
    names = ("wal/spare-9.tmp", "wal/next.tmp", f"snapshots/snapshot-{9:020d}.vxs.tmp",
             f"snapshots/snapshot-{2:020d}.vxs", "manifest.json.tmp", "quarantine/x.tmp")  # fmt: skip
    stale = [f"{ROOT}/{name}" for name in names]
    for path in stale:
        disk.put(path, b"half")
    assert start(disk).state == told
    assert not any(disk.exists(path) for path in stale)


def test_too_many_active_segments() -> None:
    disk, _ = make(stop=False)
    for first in (50, 60):
        disk.put(f"{ROOT}/wal/{active_name(first)}", b"")
    assert "two" in refused(disk).expected


def second_active(disk: SimDisk) -> None:
    """As a crash in the middle of a rotation leaves it."""
    world = start(disk.copy())
    last, tag = world.store.wal.last, world.store.wal.tag
    header = encode_segment_header(SegmentHeader(STORE_ID, last + 1, tag, 3))
    disk.put(f"{ROOT}/wal/{active_name(last + 1)}", header + bytes(4096))


def test_two_active_segments() -> None:
    disk, told = make(stop=False)
    second_active(disk)
    world = start(disk)
    assert world.state == told and len(world.store.wal.segments()) == 3
    world.append(b"*on")
    assert start(disk.copy()).state == world.acknowledged


def test_the_first_of_two_active_segments_may_not_be_torn() -> None:
    disk, _ = make(stop=False)
    path, (_, end) = active(disk), used_end(disk)
    content = bytes(disk.names[path].shown)
    second_active(disk)
    for broken in (content[: end - 1] + bytes(len(content) - end + 1), content[:end] + bytes(512) + b"x"):
        again = disk.copy()
        again.put(path, broken)
        assert refused(again).path == path


def append_raw(disk: SimDisk, frame: bytes) -> None:
    path = active(disk)
    content = bytes(disk.names[path].shown).rstrip(b"\0")
    disk.put(path, content + frame + bytes(2048))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"first": 14}, "next"), ({"first": 12}, "next"), ({"first": 1}, "next"), ({"term": 0}, "term"),
        ({"timestamp_ms": 1}, "timestamp"), ({"prev_tag": b"p" * 16}, "follows"), ({"durable": 13}, "durable"),
    ],
)  # fmt: skip
def test_a_whole_batch_that_does_not_belong_there(change: dict[str, object], words: str) -> None:
    disk, told = make(stop=False)
    tag = start(disk.copy()).store.wal.tag
    right = {"prev_tag": tag, "durable": 12, "first": 13, "count": 1, "term": 1, "timestamp_ms": 99, "committed": 0,
             "seed": 0, "body": b"*x"}  # fmt: skip
    good = disk.copy()
    append_raw(good, encode(store_salt(STORE_ID), **right)[0])  # type: ignore[arg-type]
    assert len(start(good).state) == len(told) + 1
    append_raw(disk, encode(store_salt(STORE_ID), **{**right, **change})[0])  # type: ignore[arg-type]
    assert words in refused(disk).expected


def test_unknown_format_versions() -> None:
    """Whole and checksummed, but from a later version: the advice says so."""
    import struct
    from zlib import crc32

    from xxhash import xxh3_128_digest

    disk, _ = make(stop=False)
    path = active(disk)
    raw = bytearray(disk.names[path].shown)
    raw[8] = 2
    raw[4080:4096] = xxh3_128_digest(bytes(raw[:4080]))
    disk.put(path, bytes(raw))
    assert "version" in refused(disk).expected and "version" in refused(disk).advice
    for at, value in ((4, 9), (6, 2), (7, 2)):
        disk, _ = make(stop=False)
        raw = bytearray(disk.names[active(disk)].shown)
        raw[4096 + at] = value
        raw[4096 + 124 : 4096 + 128] = struct.pack("<I", crc32(bytes(raw[4096 : 4096 + 124]), store_salt(STORE_ID)))
        disk.put(active(disk), bytes(raw))
        refused(disk)
    disk, _ = make(stop=False)
    from vaylix_resp.storage import manifest

    body = manifest.json.loads(disk.read_file(f"{ROOT}/manifest.json"))
    body.pop("checksum")
    body["format"] = 2
    disk.put(f"{ROOT}/manifest.json", manifest._render({"checksum": manifest._checksum(body), **body}))
    assert "version 1, this one is 2" in refused(disk).expected


def test_a_disk_that_cannot_read() -> None:
    for part in ("active-", "/wal/0", "snapshot-", "manifest"):
        disk, _ = make(stop=False)
        disk.read_error_on = part
        with pytest.raises(Unreadable, match=part) as caught:
            start(disk)
        assert caught.value.exit_code == 74
    disk, _ = make(stop=False)
    disk.read_error_on = f"{ROOT}/wal"
    with pytest.raises(Unreadable):
        start(disk)


def test_data_without_a_manifest_is_refused_and_an_empty_skeleton_is_not() -> None:
    disk = SimDisk()
    Store.open(disk, ROOT, new_store_id=STORE_ID, now_ms=1, config=SMALL).abandon()
    disk.remove(f"{ROOT}/manifest.json")
    assert start(disk.copy()).state == []
    disk.put(f"{ROOT}/wal/{active_name(1)}", disk.read_file(f"{ROOT}/wal/{active_name(1)}")[:-1] + b"x")
    refused(disk)
    disk, _ = make(stop=True)
    disk.remove(f"{ROOT}/manifest.json")
    refused(disk)
    disk = SimDisk()
    disk.mkdir(f"{ROOT}/snapshots")
    disk.put(f"{ROOT}/snapshots/snapshot-{2:020d}.vxs", b"")
    refused(disk)


def test_the_sealed_log_can_be_read_beside_the_server() -> None:
    disk, told = make(stop=False, snapshot=False)
    world = start(disk)
    read = [batch.first for batch in read_batches(disk, ROOT, world.store.manifest, 0)]
    assert read == [first for first, *_ in told]
    assert [b.first for b in read_batches(disk, ROOT, world.store.manifest, 0, up_to=9)] == [1, 3, 4, 9]
    assert [b.first for b in read_batches(disk, ROOT, world.store.manifest, 0, up_to=3)] == [1, 3]
    disk.flip(sealed(disk)[-1], 4096 * 8 + 2000)
    with pytest.raises(Corrupt):
        list(read_batches(disk, ROOT, world.store.manifest, 0))


def test_older_segments_may_be_kept_behind_a_snapshot() -> None:
    disk = SimDisk()
    world = World(disk).open()
    for number in range(4):
        world.append(b"*%d" % number, 3)
        world.snapshot(keep=2)
    assert len(sealed(disk)) == 1 and len(world.store.manifest.snapshots) == 2
    world.append(b"*tail")
    again = start(disk.copy())
    assert again.state == world.acknowledged
    assert [b.first for b in read_batches(disk, ROOT, world.store.manifest, 9)] == [10]
    # The oldest kept snapshot is checked as well, and so is the place where the newest was taken.
    older = disk.copy()
    older.flip(sorted(path for path in disk.names if ".vxs" in path)[0], 8 * 300)
    refused(older)


def test_the_watermark_is_gone_before_the_first_write() -> None:
    disk, _ = make(stop=True)
    world = start(disk)
    assert world.store.manifest.clean_stop is None
    world.append(b"*after the stop")
    assert World(disk.crash(Random(1), "lose")).open().state == world.acknowledged


def change_snapshot(disk: SimDisk, number: int, **changes: object) -> None:
    manifest = read_manifest(disk, ROOT)
    assert manifest
    infos = list(manifest.snapshots)
    infos[number] = replace(infos[number], **changes)  # type: ignore[arg-type]
    write_manifest(disk, ROOT, replace(manifest, snapshots=tuple(infos)))


def test_a_log_that_is_not_the_one_of_the_snapshot() -> None:
    """Segments from before the newest snapshot are still there, so the log can be held against it."""
    disk = SimDisk()
    world = World(disk).open()
    for number in range(3):
        world.append(b"*%d" % number, 3)
        world.snapshot(keep=3)
    base = disk.copy()
    assert start(base.copy()).state == world.acknowledged
    for number, changes in [(1, {"tag": "ab" * 16}), (1, {"sequence": 5}), (2, {"sequence": 12})]:
        damaged = base.copy()
        change_snapshot(damaged, number, **changes)
        manifest = read_manifest(damaged, ROOT)
        assert manifest
        with pytest.raises(Corrupt) as caught:
            recover(damaged, ROOT, manifest)
        assert "snapshot" in caught.value.expected


def test_a_quarantine_that_was_moved_away() -> None:
    disk, told = make(stop=False)
    path, (begin, end) = active(disk), used_end(disk)
    disk.directories.discard(f"{ROOT}/quarantine")
    assert start(disk.copy()).state == told
    disk.put(path, bytes(disk.names[path].shown)[: end - 1])
    world = start(disk)
    assert world.state == told[:-1] and world.recovered.warnings[0].offset == begin
    assert disk.exists(world.recovered.warnings[0].kept)


def test_two_torn_batches_at_one_place_are_both_kept() -> None:
    """The active segment held nothing else, so the next one has its name."""
    disk = SimDisk()
    World(disk).open().store.abandon()
    kept = set()
    for body in (b"*a", b"*b", b"*b"):
        world = start(disk)
        world.append(body)
        world.store.abandon()
        path, (_, end) = active(disk), used_end(disk)
        disk.put(path, bytes(disk.names[path].shown)[: end - 1])
        world = start(disk)
        assert world.state == []
        kept.add(world.recovered.warnings[0].kept)
        world.store.abandon()
    assert len(kept) == 2


def test_the_same_directory_on_a_real_disk(tmp_path) -> None:
    root = str(tmp_path / "data")
    world = World(RealDisk(), root).open()
    for body in (b"*one" * 100, b"*" + bytes(9000), b"*three"):
        world.append(body)
    world.snapshot(compress=True)
    world.append(b"*four")
    world.store.abandon()
    again = World(RealDisk(), root).open()
    assert again.state == world.acknowledged
    again.store.clean_stop(5)
    third = World(RealDisk(), root).open()
    assert third.state == world.acknowledged
    with pytest.raises(StorageError, match="is used by process"):
        World(RealDisk(), root).open()
    third.store.abandon()
