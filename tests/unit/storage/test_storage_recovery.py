"""Directories that something happened to: which start, with what, and which are refused, with what words."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from zlib import crc32

import pytest
from xxhash import xxh3_128_digest

from tests.sim.disk.keys import ALWAYS_CLEAR, MemoryKeys, WatchedCipher, WrongKey
from tests.sim.disk.simdisk import SimDisk
from tests.sim.disk.workload import ROOT, SMALL, STORE_ID, Fact, World
from vaylix_resp.storage import manifest as manifest_module
from vaylix_resp.storage.batch import encode, store_salt
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.errors import Corrupt, KeyMissing, StorageError, Unreadable
from vaylix_resp.storage.listing import list_wal
from vaylix_resp.storage.manifest import read_manifest, write_manifest
from vaylix_resp.storage.recovery import recover
from vaylix_resp.storage.sealed_log import read_batches
from vaylix_resp.storage.sealing import CLEAR, Keys
from vaylix_resp.storage.segment import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    active_name,
    encode_segment_header,
    open_segment,
    sealed_name,
    with_new_key,
)
from vaylix_resp.storage.store import Store

KEYS = MemoryKeys()


def make(*, stop: bool, snapshot: bool = True, keys: Keys = KEYS) -> tuple[SimDisk, list[Fact]]:
    """Two sealed segments, a snapshot of the first, an active one with three batches (or sealed, if stopped)."""
    disk = SimDisk()
    world = World(disk, keys=keys).open()
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


def start(disk: SimDisk, keys: Keys = KEYS) -> World:
    return World(disk, keys=keys).open()


def header_of(header: SegmentHeader) -> bytes:
    """As a server with these keys would write it."""
    return encode_segment_header(with_new_key(header, KEYS)[0])


def path_of(disk: SimDisk, part: str) -> str:
    return next(path for path in disk.names if part in path)


def active(disk: SimDisk) -> str:
    return path_of(disk, "active-")


def sealed(disk: SimDisk) -> list[str]:
    return sorted(path for path in disk.names if "/wal/0" in path)


def refused(disk: SimDisk, keys: Keys = KEYS) -> Corrupt:
    """The start is refused, in one line that names the file, and nothing has been changed by it."""
    disk.log.clear()
    with pytest.raises(Corrupt) as caught:
        start(disk, keys)
    text = str(caught.value)
    assert caught.value.path in text and "\n" not in text and f"byte {caught.value.offset}" in text
    assert caught.value.expected in text and caught.value.advice in text and caught.value.exit_code == 65
    assert {name for name, path, _ in disk.log if not path.endswith("LOCK")} <= {"fsync_dir"}
    return caught.value


@pytest.mark.parametrize("keys", [KEYS, CLEAR], ids=["sealed", "clear"])
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("snapshot", [True, False])
def test_an_unchanged_copy_starts(stop: bool, snapshot: bool, keys: Keys) -> None:
    disk, told = make(stop=stop, snapshot=snapshot, keys=keys)
    world = start(disk, keys)
    assert world.state == told and world.recovered.warnings == ()
    assert start(disk.copy(), keys).state == told


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


# Some bit of every byte (in the clear of most); all bits of all files: `python -m tests.sim.disk`.
@pytest.mark.parametrize("stop, keys, step", [(True, KEYS, 5), (False, KEYS, 7), (False, CLEAR, 11)])
def test_flips_in_sealed_segments_snapshot_and_manifest_are_refused(stop: bool, keys: Keys, step: int) -> None:
    disk, _ = make(stop=stop, keys=keys)
    for path in [*sealed(disk), path_of(disk, "snapshot-"), path_of(disk, "manifest")]:
        for bit in flips(disk, path, step):
            if "/wal/" in path and 256 * 8 <= bit < (SEGMENT_HEADER_BYTES - 16) * 8 and bit % 59:
                continue
            disk.flip(path, bit)
            with pytest.raises(Corrupt) as caught:
                start(disk, keys)
            assert caught.value.path.startswith(path[: len(ROOT) + 1])
            disk.flip(path, bit)


@pytest.mark.parametrize("keys, step", [(KEYS, 5), (CLEAR, 11)])
def test_flips_in_the_active_segment_are_refused_or_harmless(keys: Keys, step: int) -> None:
    disk, told = make(stop=False, keys=keys)
    path = active(disk)
    end = used_end(disk)[1]
    harmless = 0
    for bit in flips(disk, path, step):
        if 256 * 8 <= bit < (SEGMENT_HEADER_BYTES - 16) * 8 and bit % 59:
            continue
        if bit > (end + 600) * 8 and bit % 59:
            continue
        damaged = disk.copy()
        damaged.flip(path, bit)
        try:
            world = start(damaged, keys)
        except Corrupt:
            continue
        # Behind the last batch nothing was ever written: a bit there is no part of anybody's data.
        assert bit // 8 >= end, bit
        assert world.state == told
        harmless += 1
    assert harmless > 20


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
    disk.put(f"{ROOT}/wal/{active_name(1)}", header_of(SegmentHeader(STORE_ID, 1, bytes(16), 0)))
    refused(disk)


def test_segments_of_another_store() -> None:
    disk, _ = make(stop=False)
    other = SimDisk()
    Store.open(other, ROOT, new_store_id=b"o" * 16, now_ms=1, open_keys=lambda manifest: KEYS, config=SMALL)
    disk.remove(active(disk))
    last = int(sealed(disk)[-1][-24:-4])
    foreign = header_of(SegmentHeader(b"o" * 16, last + 1, b"t" * 16, 0))
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


@pytest.mark.parametrize("name", ["wal/spare-1.tmp", f"snapshots/snapshot-{9:020d}.vxs.tmp"])
def test_a_full_disk_whose_room_is_held_by_leftovers(name: str) -> None:
    """A server that was killed on a full disk starts on it: its own spare segments are room enough."""
    disk, told = make(stop=False)
    disk.put(f"{ROOT}/{name}", bytes(1 << 20))
    disk.budget = sum(map(len, disk.files().values()))
    assert start(disk).state == told


@pytest.mark.parametrize("directory", ["wal", "snapshots"])
@pytest.mark.parametrize("stop", [True, False])
def test_a_directory_that_is_missing(directory: str, stop: bool) -> None:
    """On a disk that is not mounted, say: damage to be named, not a disk to be replaced."""
    disk, _ = make(stop=stop, snapshot=False)
    for path in [path for path in disk.names if f"/{directory}/" in path]:
        disk.remove(path)
    disk.rmdir(f"{ROOT}/{directory}")
    assert f"{ROOT}/{directory}: byte 0: expected a directory" in str(refused(disk))


def test_a_directory_with_the_name_of_a_leftover_is_not_ours(tmp_path: Path) -> None:
    disk, root = RealDisk(), str(tmp_path)
    for clean in (True, False):
        store = Store.open(disk, root, new_store_id=STORE_ID, now_ms=1, open_keys=lambda _: CLEAR)
        store.recover()
        if clean:
            store.clean_stop(2)
        else:
            store.abandon()
        (tmp_path / "mine.tmp").mkdir(exist_ok=True)
    assert (tmp_path / "mine.tmp").is_dir()


def test_too_many_active_segments() -> None:
    disk, _ = make(stop=False)
    for first in (50, 60):
        disk.put(f"{ROOT}/wal/{active_name(first)}", b"")
    assert "two" in refused(disk).expected


def second_active(disk: SimDisk) -> None:
    """As a crash in the middle of a rotation leaves it."""
    world = start(disk.copy())
    last, tag = world.store.wal.last, world.store.wal.tag
    header = header_of(SegmentHeader(STORE_ID, last + 1, tag, 3))
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
    reader, _, cipher = open_segment(disk, f"{ROOT}/wal", list_wal(disk, ROOT, 0).active[0], STORE_ID, KEYS)
    reader.file.close()
    assert cipher is not None
    good = disk.copy()
    append_raw(good, encode(store_salt(STORE_ID), **right, cipher=cipher, number=91)[0])  # type: ignore[arg-type]
    assert len(start(good).state) == len(told) + 1
    wrong = {**right, **change}
    append_raw(disk, encode(store_salt(STORE_ID), **wrong, cipher=cipher, number=92)[0])  # type: ignore[arg-type]
    assert words in refused(disk).expected


@pytest.mark.parametrize("version, advice", [(1, "vaylix storage migrate"), (3, "the version of vaylix that wrote")])
def test_other_format_versions(version: int, advice: str) -> None:
    """Whole and checksummed, but older or newer than this program."""
    disk, _ = make(stop=False)
    path = active(disk)
    raw = bytearray(disk.names[path].shown)
    raw[8] = version
    raw[4080:4096] = xxh3_128_digest(bytes(raw[:4080]))
    disk.put(path, bytes(raw))
    problem = refused(disk)
    assert f"segment format version 2, this one is {version}" in problem.expected and advice in problem.advice
    disk, _ = make(stop=False)
    body = manifest_module.json.loads(disk.read_file(f"{ROOT}/manifest.json"))
    body.pop("checksum")
    body["format"] = version
    checksum = manifest_module._checksum(body)
    disk.put(f"{ROOT}/manifest.json", manifest_module._render({"checksum": checksum, **body}))
    problem = refused(disk)
    assert f"version 2, this one is {version}" in problem.expected and advice in problem.advice


@pytest.mark.parametrize("at, value", [(4, 9), (6, 2), (7, 0), (7, 1), (7, 4)])
def test_a_batch_of_another_kind(at: int, value: int) -> None:
    """Version, kind and flags: each with a right checksum of the header."""
    disk, _ = make(stop=False)
    raw = bytearray(disk.names[active(disk)].shown)
    raw[4096 + at] = value
    raw[4096 + 124 : 4096 + 128] = struct.pack("<I", crc32(bytes(raw[4096 : 4096 + 124]), store_salt(STORE_ID)))
    disk.put(active(disk), bytes(raw))
    refused(disk)


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
    World(disk).open().store.abandon()
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
    read = [batch.first for batch in read_batches(disk, ROOT, world.store.manifest, KEYS, 0)]
    assert read == [first for first, *_ in told]
    assert [b.first for b in read_batches(disk, ROOT, world.store.manifest, KEYS, 0, up_to=9)] == [1, 3, 4, 9]
    assert [b.first for b in read_batches(disk, ROOT, world.store.manifest, KEYS, 0, up_to=3)] == [1, 3]
    disk.flip(sealed(disk)[-1], 4096 * 8 + 2000)
    with pytest.raises(Corrupt):
        list(read_batches(disk, ROOT, world.store.manifest, KEYS, 0))


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
    assert [b.first for b in read_batches(disk, ROOT, world.store.manifest, KEYS, 9)] == [10]
    # What the state does not need is not read, but it has to be there.
    for path in (sorted(path for path in disk.names if ".vxs" in path)[0], sealed(disk)[0]):
        for content in (b"", b"damaged"):
            copy = disk.copy()
            copy.put(path, content)
            assert start(copy).state == world.acknowledged
        copy = disk.copy()
        copy.remove(path)
        refused(copy)


def test_a_gap_between_segments_that_are_not_read() -> None:
    disk = SimDisk()
    world = World(disk).open()
    for number in range(5):
        world.append(b"*%d" % number, 3)
        world.snapshot(keep=9)
    names = sealed(disk)
    assert len(names) == 4 and start(disk.copy()).state == world.acknowledged
    for path in names:
        copy = disk.copy()
        copy.remove(path)
        assert refused(copy).sequence == int(path[-24:-4]) - 2
    copy = disk.copy()
    copy.put(f"{ROOT}/wal/{sealed_name(4, 9)}", b"")
    refused(copy)
    for stop in (False, True):
        world = start(disk.copy())
        bare = world.disk
        assert isinstance(bare, SimDisk)
        if stop:
            world.store.clean_stop(7)
        for path in names:
            bare.remove(path)
        assert "begins at sequence 4 or before" in refused(bare.kill()).expected


def test_what_is_kept_and_what_goes() -> None:
    disk = SimDisk()
    world = World(disk).open()
    for number in range(4):
        world.append(b"*%d" % number, 3)
        world.snapshot(keep=9)
    store = world.store
    store.retain(lambda infos: infos)
    calls = disk.calls
    store.retain(lambda infos: infos)
    assert disk.calls == calls, "nothing to write"
    store.retain(lambda infos: infos[2:])
    assert [info.sequence for info in store.manifest.snapshots] == [9, 12]
    assert read_manifest(disk, ROOT) == store.manifest
    assert len([path for path in disk.names if ".vxs" in path]) == 4, "files go later"
    assert store.prune(up_to=6) == 1 and [int(path[-24:-4]) for path in sealed(disk)] == [9, 12]
    assert len([path for path in disk.names if ".vxs" in path]) == 2
    assert store.prune() == 1 and store.prune() == 0
    assert start(disk.copy()).state == world.acknowledged


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
    cases: list[tuple[dict[str, object], str]] = [
        ({"tag": "ab" * 16}, "another predecessor"), ({"sequence": 8}, "snapshot"), ({"sequence": 12}, "reaches the snapshot"),
    ]  # fmt: skip
    for changes, words in cases:
        damaged = base.copy()
        change_snapshot(damaged, 2, **changes)
        manifest = read_manifest(damaged, ROOT)
        assert manifest
        with pytest.raises(Corrupt) as caught:
            recover(damaged, ROOT, manifest, KEYS)
        assert words in caught.value.expected, changes


def test_a_quarantine_that_was_moved_away() -> None:
    disk, told = make(stop=False)
    path, (begin, end) = active(disk), used_end(disk)
    disk.directories.discard(f"{ROOT}/quarantine")
    assert start(disk.copy()).state == told
    disk.put(path, bytes(disk.names[path].shown)[: end - 1])
    world = start(disk)
    assert world.state == told[:-1] and world.recovered.warnings[0].offset == begin
    assert disk.exists(world.recovered.warnings[0].kept)


@pytest.mark.parametrize("keys, files", [(CLEAR, 2), (KEYS, 3)])
def test_torn_batches_at_one_place_are_all_kept(keys: Keys, files: int) -> None:
    """The active segment held nothing else, so the next one has its name. In the clear two of them are the same."""
    disk = SimDisk()
    start(disk, keys).store.abandon()
    kept = set()
    for body in (b"*a", b"*b", b"*b"):
        world = start(disk, keys)
        world.append(body)
        world.store.abandon()
        path, (_, end) = active(disk), used_end(disk)
        disk.put(path, bytes(disk.names[path].shown)[: end - 1])
        world = start(disk, keys)
        assert world.state == []
        kept.add(world.recovered.warnings[0].kept)
        world.store.abandon()
    assert len(kept) == files


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


# Which keys.


def second_life(disk: SimDisk, keys: Keys) -> World:
    world = start(disk, keys)
    world.append(b"*more")
    world.store.abandon()
    return world


def test_a_store_in_the_clear_goes_on_sealed_and_says_from_where() -> None:
    disk, told = make(stop=False, keys=CLEAR)
    keys = MemoryKeys(clear_until=ALWAYS_CLEAR)
    world = second_life(disk, keys)
    assert keys.told == [told[-1][0]] and keys.clear_until == told[-1][0]
    assert world.state == told and world.store.manifest.keyring_id == keys.id
    assert [header_key(disk, path) > 0 for path in (sealed(disk)[-1], active(disk))] == [False, True]
    again = start(disk.copy(), keys)
    assert again.state == world.acknowledged
    with pytest.raises(Corrupt, match=f"expected keyring {keys.id}, there is none"):
        start(disk.copy(), CLEAR)
    other = MemoryKeys(2)
    with pytest.raises(Corrupt, match=f"expected keyring {keys.id}, the one in keyring/ is {other.id}"):
        start(disk.copy(), other)


def test_in_what_order_a_store_becomes_sealed() -> None:
    """The manifest names the keyring before a file needs it; the keys are told when the sealed segment is durable."""
    disk, told = make(stop=True, keys=CLEAR)
    disk.log.clear()
    seen = []

    class Asking(MemoryKeys):
        def sealed_from(self, sequence: int) -> None:
            after = disk.crash(Random(0), "lose")
            manifest = read_manifest(after, ROOT)
            assert manifest and manifest.keyring_id == self.id and manifest.clean_stop
            assert header_key(after, active(after)) > 0
            seen.append(sequence)

    start(disk, Asking(clear_until=ALWAYS_CLEAR))
    assert seen == [told[-1][0]]
    renamed = [path for name, path, _ in disk.log if name == "rename"]
    manifests, segments = ([at for at, path in enumerate(renamed) if part in path] for part in ("manifest", "active"))
    assert len(manifests) == 2 and manifests[0] < segments[0] < manifests[1], renamed


def header_key(disk: SimDisk, path: str) -> int:
    return int.from_bytes(disk.read_file(path)[64:68], "little")


def test_a_sealed_store_goes_on_in_the_clear() -> None:
    disk, told = make(stop=False)
    keys = MemoryKeys(seals=False, clear_until=ALWAYS_CLEAR)
    world = second_life(disk, keys)
    assert world.state == told and header_key(disk, active(disk)) == 0
    again = MemoryKeys(clear_until=ALWAYS_CLEAR)
    third = second_life(disk, again)
    assert third.state == world.acknowledged and header_key(disk, active(disk)) > 0
    assert again.clear_until == world.acknowledged[-1][0]


@pytest.mark.parametrize("part", ["/wal/0", "active-", "snapshot-"])
def test_a_file_in_the_clear_in_the_place_of_a_sealed_one(part: str) -> None:
    """Somebody who can write files but has no key makes a whole data directory of his own, with our ids."""
    clear, _ = make(stop=False, keys=CLEAR)
    path = path_of(clear, part)
    disk, told = make(stop=False)
    disk.put(path, clear.read_file(path))
    if part == "snapshot-":
        info = read_manifest(clear, ROOT).newest  # type: ignore[union-attr]
        assert info
        change_snapshot(disk, 0, tag=info.tag, digest=info.digest)
    with pytest.raises(WrongKey, match="expected a sealed file"):
        start(disk)


@pytest.mark.parametrize("part", ["/wal/0", "active-", "snapshot-", "manifest"])
def test_a_sealed_file_without_its_keys(part: str) -> None:
    """Nothing is changed, whatever is there and whatever not."""
    sealed_disk, _ = make(stop=False)
    disk, _ = make(stop=False, keys=CLEAR)
    path = path_of(disk, part)
    disk.put(path, sealed_disk.read_file(path))
    if part == "snapshot-":
        info = read_manifest(sealed_disk, ROOT).newest  # type: ignore[union-attr]
        assert info
        change_snapshot(disk, 0, tag=info.tag, digest=info.digest)
    before = {name: bytes(inode.shown) for name, inode in disk.names.items()}
    with pytest.raises(KeyMissing if part != "manifest" else Corrupt) as caught:
        start(disk, CLEAR)
    assert "keyring" in str(caught.value) and caught.value.exit_code in (65, 78)
    assert before == {name: bytes(inode.shown) for name, inode in disk.names.items() if not name.endswith("LOCK")} | {
        name: content for name, content in before.items() if name.endswith("LOCK")
    }


def test_a_refusal_by_whoever_opens_the_keys_changes_nothing() -> None:
    def no_keys(manifest: object) -> Keys:
        raise WrongKey("the master key is not the one of this keyring; to continue: -")

    for prepare in (SimDisk, lambda: make(stop=True)[0]):
        disk = prepare()
        before = set(disk.names) | {f"{ROOT}/LOCK"}
        with pytest.raises(WrongKey):
            Store.open(disk, ROOT, new_store_id=STORE_ID, now_ms=1, open_keys=no_keys, config=SMALL)
        assert set(disk.names) | {f"{ROOT}/LOCK"} == before
        start(disk).store.abandon()  # and the lock is free again


def test_data_without_a_manifest_is_refused_before_keys_are_made() -> None:
    disk, _ = make(stop=True)
    disk.remove(f"{ROOT}/manifest.json")

    def never(manifest: object) -> Keys:
        raise AssertionError("asked for keys")

    with pytest.raises(Corrupt, match="manifest"):
        Store.open(disk, ROOT, new_store_id=STORE_ID, now_ms=1, open_keys=never, config=SMALL)


def test_batches_of_another_segment_are_refused_even_with_all_checksums_right() -> None:
    """The same sequence written twice, in two lives that began with copies of one directory."""
    disk, _ = make(stop=False)
    one, two = disk.copy(), disk.copy()
    for copy, body in ((one, b"*mine"), (two, b"*else")):
        world = start(copy)
        world.append(body)
        world.store.abandon()
    path = active(one)
    assert path == active(two)
    mixed = one.copy()
    mixed.put(path, one.read_file(path)[:SEGMENT_HEADER_BYTES] + two.read_file(path)[SEGMENT_HEADER_BYTES:])
    assert "sealed with the key of this segment" in refused(mixed).expected


Change = Callable[[bytearray], None]


def _set(at: int, value: bytes) -> Change:
    def change(raw: bytearray) -> None:
        raw[at : at + len(value)] = value

    return change


@pytest.mark.parametrize("change", [_set(40, b"p" * 16), _set(56, b"\1" * 8), _set(64, b"\1"), _set(90, b"\0\0")])
def test_a_segment_header_that_was_changed_by_somebody_without_the_key(change: Change) -> None:
    """With a right checksum: the wrapped key does not open for it."""
    disk, _ = make(stop=False)
    path = active(disk)
    raw = bytearray(disk.read_file(path))
    change(raw)
    raw[4080:4096] = xxh3_128_digest(bytes(raw[:4080]))
    disk.put(path, bytes(raw))
    with pytest.raises(WrongKey, match="wrapped"):
        start(disk)


def test_nobody_finds_a_body_in_the_files() -> None:
    """And the search can find: in the clear it does."""
    for keys, found in ((KEYS, False), (CLEAR, True)):
        disk = SimDisk()
        world = start(disk, keys)
        world.append(b"*a marker in a body")
        world.snapshot()
        world.append(b"*a marker in a body")
        world.store.wal.rotate()
        world.append(b"*a marker in a body")
        holding = {path for path, inode in disk.names.items() if b"marker" in inode.shown}
        assert holding == ({path_of(disk, "snapshot-"), *sealed(disk), active(disk)} if found else set())


def test_the_watch_over_nonces_sees_one_that_comes_again() -> None:
    key = KEYS.new(b"")
    assert key and isinstance(key.cipher, WatchedCipher)
    key.cipher.seal(5, b"x", b"")
    for number in (5, 4):
        with pytest.raises(AssertionError, match="again"):
            key.cipher.seal(number, b"y", b"")
    with pytest.raises(AssertionError, match="again"):
        KEYS.open(key.key_id, key.wrapped, b"", "path").seal(5, b"z", b"")
