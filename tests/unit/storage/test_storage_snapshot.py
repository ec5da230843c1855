"""Snapshots and the manifest: what was written comes back, or the file is refused."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.storage import snapshot
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable
from vaylix_resp.storage.manifest import (
    CleanStop,
    Manifest,
    SnapshotInfo,
    decode_manifest,
    encode_manifest,
    read_manifest,
    write_manifest,
)
from vaylix_resp.storage.snapshot import SnapshotReader, SnapshotWriter, publish_snapshot, remove_unnamed

STORE = bytes(range(16))
PLACE = {"store_id": STORE, "sequence": 7, "tag": b"t" * 16, "term": 3, "timestamp_ms": 99}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def write(disk: SimDisk, chunks, *, compress: bool = False, throttle=None, path: str = "d/s.tmp") -> SnapshotInfo:
    disk.mkdir("d")
    writer = SnapshotWriter(disk, path, **PLACE, compress=compress, throttle=throttle)  # type: ignore[arg-type]
    for kind, chunk in chunks:
        writer.add_chunk(chunk, kind)
    return writer.finish({"keys": len(chunks)})


@given(st.lists(st.tuples(st.integers(1, 255), VALUES), max_size=6), st.booleans())
def test_what_is_written_comes_back(chunks, compress) -> None:
    disk = SimDisk()
    info = write(disk, chunks, compress=compress)
    reader = SnapshotReader(disk, "d/s.tmp", STORE, info)
    assert list(reader) == chunks and reader.summary == {"keys": len(chunks)}
    assert (reader.sequence, reader.tag, reader.term, reader.timestamp_ms) == (7, b"t" * 16, 3, 99)
    assert (info.sequence, info.bytes, info.file) == (7, len(disk.read_file("d/s.tmp")), snapshot.snapshot_name(7))
    reader.verify()


def test_a_finished_snapshot_is_durable_and_large_ones_are_synced_on_the_way() -> None:
    disk = SimDisk()
    told: list[int] = []
    chunks = [(1, b"x" * 300_000)] * 40
    info = write(disk, chunks, throttle=told.append)
    syncs = [name for name, _, _ in disk.log]
    assert syncs.count("fdatasync") == 1 and syncs[-1] == "fsync" and syncs.count("pwrite") > 5
    assert sum(told) + snapshot.HEADER_BYTES == info.bytes and len(told) == 41
    disk.names["d/s.tmp"].shown = bytearray(disk.names["d/s.tmp"].synced)
    SnapshotReader(disk, "d/s.tmp", STORE, info).verify()


@pytest.mark.parametrize("compress", [False, True])
def test_every_flip_and_every_cut_is_refused(compress: bool) -> None:
    disk = SimDisk()
    info = write(disk, [(1, [b"key", b"value" * 20]), (2, [])], compress=compress)
    raw = disk.read_file("d/s.tmp")
    for bit in range(len(raw) * 8):
        disk.flip("d/s.tmp", bit)
        for known in (info, None):
            with pytest.raises(Corrupt):
                list(SnapshotReader(disk, "d/s.tmp", STORE, known))
        disk.flip("d/s.tmp", bit)
    for size in range(len(raw)):
        disk.put("d/s.tmp", raw[:size])
        with pytest.raises(Corrupt):
            SnapshotReader(disk, "d/s.tmp", STORE).verify()
    disk.put("d/s.tmp", raw + b"\0")
    with pytest.raises(Corrupt, match="end of the file"):
        SnapshotReader(disk, "d/s.tmp", STORE).verify()


def test_another_store_another_snapshot() -> None:
    disk = SimDisk()
    info = write(disk, [(1, [1])])
    other = write(disk, [(1, [2])], path="d/other.tmp")
    with pytest.raises(Corrupt, match="store id"):
        SnapshotReader(disk, "d/s.tmp", b"o" * 16, info)
    assert other.bytes == info.bytes
    with pytest.raises(Corrupt, match="digest"):
        SnapshotReader(disk, "d/other.tmp", STORE, info).verify()
    with pytest.raises(Corrupt, match="missing"):
        SnapshotReader(disk, "d/none", STORE, info)
    disk.read_error_on = "s.tmp"
    with pytest.raises(Unreadable):
        SnapshotReader(disk, "d/s.tmp", STORE, info)


def raw_chunk(number: int, kind: int = 1, flags: int = 0, payload: bytes = b"\x01", raw_bytes: int = -1) -> bytes:
    head = snapshot._CHUNK.pack(kind, flags, number, len(payload), len(payload) if raw_bytes < 0 else raw_bytes)
    return head + xxh3_128_digest(head + payload) + payload


@pytest.mark.parametrize(
    "chunk",
    [
        raw_chunk(1), raw_chunk(0, flags=4), raw_chunk(0, flags=1, payload=b"not zlib"), raw_chunk(0, payload=b"\xc1"),
        raw_chunk(0, raw_bytes=5), raw_chunk(0, raw_bytes=1 << 31), raw_chunk(0, payload=b"\x91"),
        raw_chunk(0, kind=0), raw_chunk(0, kind=0, payload=msgpack.packb([1, b"", None])),
        raw_chunk(0, kind=0, payload=msgpack.packb({})),
    ],
)  # fmt: skip
def test_a_chunk_that_is_whole_but_makes_no_sense(chunk: bytes) -> None:
    disk = SimDisk()
    write(disk, [])
    disk.put("d/s.tmp", disk.read_file("d/s.tmp")[: snapshot.HEADER_BYTES] + chunk)
    with pytest.raises(Corrupt):
        list(SnapshotReader(disk, "d/s.tmp", STORE))


@pytest.mark.parametrize(
    "at, value, words", [(0, b"X", "mark"), (8, b"\2", "version 1"), (10, b"\1", "key"), (80, b"k", "key")]
)
def test_a_header_from_elsewhere(at: int, value: bytes, words: str) -> None:
    disk = SimDisk()
    write(disk, [])
    raw = disk.read_file("d/s.tmp")
    head = raw[:at] + value + raw[at + 1 : snapshot.HEADER_BYTES - 16]
    disk.put("d/s.tmp", head + xxh3_128_digest(head) + raw[snapshot.HEADER_BYTES :])
    with pytest.raises(Corrupt, match=words):
        SnapshotReader(disk, "d/s.tmp", STORE)


def test_a_full_disk_harms_nobody() -> None:
    disk = SimDisk()
    disk.mkdir("d")
    writer = SnapshotWriter(disk, "d/s.tmp", **PLACE)  # type: ignore[arg-type]
    disk.full = "growth"
    with pytest.raises(IoFailed, match="No space"):
        writer.add_chunk(b"x" * (2 << 20))
    writer.abort()
    assert not disk.exists("d/s.tmp")
    with pytest.raises(IoFailed):
        SnapshotWriter(disk, "d/s.tmp", **PLACE)  # type: ignore[arg-type]


def test_publishing_switches_the_manifest_and_then_removes_what_it_replaces() -> None:
    disk = SimDisk()
    disk.mkdir("d/snapshots")
    manifest = Manifest(STORE.hex(), 1)
    for sequence in (3, 7, 9):
        writer = SnapshotWriter(
            disk, snapshot.temporary_path("d", sequence), store_id=STORE, sequence=sequence, tag=b"t" * 16, term=1,
            timestamp_ms=1,
        )  # fmt: skip
        manifest = publish_snapshot(disk, "d", manifest, writer.finish(), keep=2)
        assert read_manifest(disk, "d") == manifest and manifest.newest and manifest.newest.sequence == sequence
    assert [info.sequence for info in manifest.snapshots] == [7, 9]
    assert remove_unnamed(disk, "d", manifest) == 1
    assert disk.listdir("d/snapshots") == [snapshot.snapshot_name(7), snapshot.snapshot_name(9)]
    with pytest.raises(Corrupt, match="missing"):
        publish_snapshot(disk, "d", manifest, manifest.snapshots[0], keep=2)


def test_the_manifest_comes_back_and_no_flip_does() -> None:
    info = SnapshotInfo(7, "snapshot-7", "ab" * 16, "cd" * 16, 3, 99, 1000)
    for manifest in (
        Manifest(STORE.hex(), 5),
        Manifest(STORE.hex(), 5, (info,), CleanStop(9, "ef" * 16, 12)),
    ):
        raw = encode_manifest(manifest)
        assert decode_manifest(raw, "m") == manifest
        for bit in range(len(raw) * 8):
            damaged = bytearray(raw)
            damaged[bit // 8] ^= 1 << (bit % 8)
            with pytest.raises(Corrupt):
                decode_manifest(bytes(damaged), "m")
        for wrong in (raw[:-1], raw + b" ", raw + b"\n", b"", b"[]", b"{}", b"null", raw.replace(b"  ", b" ")):
            with pytest.raises(Corrupt):
                decode_manifest(wrong, "m")


@pytest.mark.parametrize(
    "change",
    [
        {"store_id": "ab"}, {"store_id": "zz" * 16}, {"snapshots": [{}]}, {"snapshots": 5}, {"clean_stop": {}},
        {"clean_stop": 0}, {"more": 1},
    ],
)  # fmt: skip
def test_a_manifest_with_a_checksum_and_no_sense(change: dict[str, object]) -> None:
    from vaylix_resp.storage import manifest as module

    body = module.json.loads(encode_manifest(Manifest(STORE.hex(), 5)))
    body.pop("checksum")
    body.update(change)
    with pytest.raises(Corrupt):
        decode_manifest(module._render({"checksum": module._checksum(body), **body}), "m")


def test_snapshots_in_the_manifest_are_in_order() -> None:
    one, two = (SnapshotInfo(n, "s", "", "", 1, 1, 1) for n in (1, 2))
    with pytest.raises(Corrupt, match="order"):
        decode_manifest(encode_manifest(Manifest(STORE.hex(), 5, (two, one))), "m")
    assert Manifest(STORE.hex(), 5, (one, two)).with_snapshot(one, keep=3).snapshots == (one,)


def test_no_room_for_a_manifest_leaves_the_old_one() -> None:
    disk = SimDisk()
    disk.mkdir("d")
    old = Manifest(STORE.hex(), 5)
    write_manifest(disk, "d", old)
    disk.full = "growth"
    with pytest.raises(IoFailed, match=r"manifest\.json"):
        write_manifest(disk, "d", old.with_clean_stop(CleanStop(1, "", 1)))
    assert read_manifest(disk, "d") == old
    assert read_manifest(disk, "elsewhere") is None
