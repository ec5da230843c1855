"""Snapshots and the manifest: what was written comes back, or the file is refused."""

from __future__ import annotations

from dataclasses import asdict, replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from tests.sim.disk.keys import MemoryKeys, WrongKey
from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.storage import snapshot
from vaylix_resp.storage.errors import Corrupt, IoFailed, KeyMissing, Unreadable
from vaylix_resp.storage.manifest import (
    CleanStop,
    Manifest,
    SnapshotInfo,
    decode_manifest,
    encode_manifest,
    read_manifest,
    write_manifest,
)
from vaylix_resp.storage.sealing import CLEAR, Keys
from vaylix_resp.storage.snapshot import SnapshotReader, SnapshotWriter, publish_snapshot, remove_unnamed

STORE = bytes(range(16))
KEYS = MemoryKeys()
BOTH = pytest.mark.parametrize("keys", [KEYS, CLEAR], ids=["sealed", "clear"])
PLACE = {"store_id": STORE, "sequence": 7, "tag": b"t" * 16, "term": 3, "timestamp_ms": 99}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def write(
    disk: SimDisk, chunks, *, keys: Keys = KEYS, compress: bool = False, throttle=None, path: str = "d/s.tmp"
) -> SnapshotInfo:
    disk.mkdir("d")
    writer = SnapshotWriter(disk, path, keys, **PLACE, compress=compress, throttle=throttle)  # type: ignore[arg-type]
    for kind, chunk in chunks:
        writer.add_chunk(chunk, kind)
    return writer.finish({"keys": len(chunks)})


@given(st.lists(st.tuples(st.integers(1, 255), VALUES), max_size=6), st.booleans(), st.sampled_from([KEYS, CLEAR]))
def test_what_is_written_comes_back(chunks, compress, keys) -> None:
    disk = SimDisk()
    info = write(disk, chunks, keys=keys, compress=compress)
    reader = SnapshotReader(disk, "d/s.tmp", STORE, keys, info)
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
    SnapshotReader(disk, "d/s.tmp", STORE, KEYS, info).verify()


@pytest.mark.parametrize("compress", [False, True])
@BOTH
def test_every_flip_and_every_cut_is_refused(compress: bool, keys: Keys) -> None:
    disk = SimDisk()
    info = write(disk, [(1, [b"key", b"value" * 20]), (2, [])], keys=keys, compress=compress)
    raw = disk.read_file("d/s.tmp")
    for bit in range(len(raw) * 8):
        disk.flip("d/s.tmp", bit)
        with pytest.raises(Corrupt):
            list(SnapshotReader(disk, "d/s.tmp", STORE, keys, info if bit % 2 else None))
        disk.flip("d/s.tmp", bit)
    for size in range(len(raw)):
        disk.put("d/s.tmp", raw[:size])
        with pytest.raises(Corrupt):
            SnapshotReader(disk, "d/s.tmp", STORE, keys).verify()
    disk.put("d/s.tmp", raw + b"\0")
    with pytest.raises(Corrupt, match="end of the file"):
        SnapshotReader(disk, "d/s.tmp", STORE, keys).verify()


def chunks_of(raw: bytes) -> list[tuple[int, int]]:
    """Where each chunk begins and ends."""
    found, at = [], snapshot.HEADER_BYTES
    while at < len(raw):
        stored = snapshot._CHUNK.unpack_from(raw, at)[3]
        found.append((at, at + 32 + stored))
        at = found[-1][1]
    return found


def test_chunks_cannot_be_exchanged_without_the_key() -> None:
    """Between two snapshots of one place, and within one, with every number and length right."""
    disk = SimDisk()
    write(disk, [(1, b"a" * 50), (1, b"b" * 50)])
    write(disk, [(1, b"c" * 50), (1, b"d" * 50)], path="d/other.tmp")
    one, other = disk.read_file("d/s.tmp"), disk.read_file("d/other.tmp")
    (begin, end), (_, second_end), _ = chunks_of(one)
    swapped = bytearray(one[:begin] + one[end:second_end] + one[begin:end] + one[second_end:])
    swapped[begin + 4] ^= 1
    swapped[end + 4] ^= 1
    wrong = [
        one[:begin] + other[begin:end] + one[end:],
        one[:begin] + other[begin:],
        other[:begin] + one[begin:],
        bytes(swapped),
    ]
    for raw in wrong:
        disk.put("d/s.tmp", raw)
        with pytest.raises(Corrupt, match="chunk 0 with a right checksum"):
            SnapshotReader(disk, "d/s.tmp", STORE, KEYS).verify()


@pytest.mark.parametrize("at, size", [(16, 1), (32, 8), (40, 16), (56, 8), (64, 8)])
def test_a_header_that_was_changed_by_somebody_without_the_key(at: int, size: int) -> None:
    disk = SimDisk()
    write(disk, [(1, [1])])
    raw = bytearray(disk.read_file("d/s.tmp"))
    raw[at : at + size] = bytes(byte ^ 1 for byte in raw[at : at + size])
    head = bytes(raw[: snapshot.HEADER_BYTES - 16])
    disk.put("d/s.tmp", head + xxh3_128_digest(head) + raw[snapshot.HEADER_BYTES :])
    store = bytes(raw[16:32])
    with pytest.raises(WrongKey, match="wrapped"):
        SnapshotReader(disk, "d/s.tmp", store, KEYS)


def test_a_key_wrapped_anew_changes_nothing_but_the_header() -> None:
    disk = SimDisk()
    info = write(disk, [(1, [1])])
    raw = disk.read_file("d/s.tmp")
    header = snapshot.read_snapshot_header(raw[: snapshot.HEADER_BYTES], "s")
    cipher = KEYS.open(header.key_id, header.wrapped, header.bound(), "s")
    wrapped = b"n" * 12 + KEYS._wrapping.encrypt(b"n" * 12, cipher.key, header.bound())  # type: ignore[attr-defined]
    again = snapshot.encode_snapshot_header(replace(header, wrapped=wrapped))
    assert again != raw[: snapshot.HEADER_BYTES]
    disk.put("d/s.tmp", again + raw[snapshot.HEADER_BYTES :])
    assert list(SnapshotReader(disk, "d/s.tmp", STORE, KEYS, info)) == [(1, [1])]


def test_which_keys_read_which_snapshot() -> None:
    disk = SimDisk()
    write(disk, [(1, [1])])
    with pytest.raises(KeyMissing, match="put the directory keyring/ back"):
        SnapshotReader(disk, "d/s.tmp", STORE, CLEAR)
    with pytest.raises(WrongKey):
        SnapshotReader(disk, "d/s.tmp", STORE, MemoryKeys(2))
    write(disk, [(1, [1])], keys=MemoryKeys(seals=False))
    with pytest.raises(WrongKey, match="expected a sealed file"):
        SnapshotReader(disk, "d/s.tmp", STORE, MemoryKeys(clear_until=6))
    assert list(SnapshotReader(disk, "d/s.tmp", STORE, MemoryKeys(clear_until=7))) == [(1, [1])]


def test_another_store_another_snapshot() -> None:
    disk = SimDisk()
    info = write(disk, [(1, [1])])
    other = write(disk, [(1, [2])], path="d/other.tmp")
    with pytest.raises(Corrupt, match="store id"):
        SnapshotReader(disk, "d/s.tmp", b"o" * 16, KEYS, info)
    assert other.bytes == info.bytes
    with pytest.raises(Corrupt, match="digest"):  # all in it is right: a sealed file of ours, but not the one meant
        SnapshotReader(disk, "d/other.tmp", STORE, KEYS, info).verify()
    with pytest.raises(Corrupt, match="missing"):
        SnapshotReader(disk, "d/none", STORE, KEYS, info)
    disk.read_error_on = "s.tmp"
    with pytest.raises(Unreadable):
        SnapshotReader(disk, "d/s.tmp", STORE, KEYS, info)


def raw_chunk(number: int, kind: int = 1, flags: int = 0, payload: bytes = b"\x01", raw_bytes: int = -1) -> bytes:
    head = snapshot._CHUNK.pack(kind, flags, number, len(payload), len(payload) if raw_bytes < 0 else raw_bytes)
    return head + xxh3_128_digest(head + payload) + payload


@pytest.mark.parametrize(
    "chunk",
    [
        raw_chunk(1), raw_chunk(0, flags=4), raw_chunk(0, flags=1, payload=b"not zlib"), raw_chunk(0, payload=b"\xc1"),
        raw_chunk(0, raw_bytes=5), raw_chunk(0, raw_bytes=1 << 31), raw_chunk(0, payload=b"\x91"),
        raw_chunk(0, kind=0), raw_chunk(0, kind=0, payload=msgpack.packb([1, b"", None])),
        raw_chunk(0, kind=0, payload=msgpack.packb({})), raw_chunk(0, payload=b"\x81\x90\x01"),
    ],
)  # fmt: skip
def test_a_chunk_that_is_whole_but_makes_no_sense(chunk: bytes) -> None:
    disk = SimDisk()
    write(disk, [], keys=CLEAR)
    disk.put("d/s.tmp", disk.read_file("d/s.tmp")[: snapshot.HEADER_BYTES] + chunk)
    with pytest.raises(Corrupt):
        list(SnapshotReader(disk, "d/s.tmp", STORE, CLEAR))


def test_an_end_record_without_a_summary() -> None:
    disk = SimDisk()
    write(disk, [], keys=CLEAR)
    raw = disk.read_file("d/s.tmp")
    end = snapshot.HEADER_BYTES + snapshot._CHUNK.size + 16
    number, digest, _ = msgpack.unpackb(raw[end:])
    cut = raw_chunk(0, kind=snapshot.END, payload=msgpack.packb([number, digest]))
    disk.put("d/s.tmp", raw[: snapshot.HEADER_BYTES] + cut)
    with pytest.raises(Corrupt, match="an end record for 0 chunks"):
        list(SnapshotReader(disk, "d/s.tmp", STORE, CLEAR))


@pytest.mark.parametrize(
    "at, value, words",
    [
        (0, b"X", "mark"), (8, b"\1", "version 2, this one is 1; to continue: run 'vaylix storage migrate'"),
        (8, b"\3", "version 2, this one is 3; to continue: start the version"), (10, b"\0", "sealed and has a key"),
        (10, b"\3", "sealed and has a key"),
    ],
)  # fmt: skip
def test_a_header_from_elsewhere(at: int, value: bytes, words: str) -> None:
    disk = SimDisk()
    write(disk, [])
    raw = disk.read_file("d/s.tmp")
    head = raw[:at] + value + raw[at + 1 : snapshot.HEADER_BYTES - 16]
    disk.put("d/s.tmp", head + xxh3_128_digest(head) + raw[snapshot.HEADER_BYTES :])
    with pytest.raises(Corrupt, match=words):
        SnapshotReader(disk, "d/s.tmp", STORE, KEYS)


def test_a_full_disk_harms_nobody() -> None:
    disk = SimDisk()
    disk.mkdir("d")
    writer = SnapshotWriter(disk, "d/s.tmp", KEYS, **PLACE)  # type: ignore[arg-type]
    disk.full = "growth"
    with pytest.raises(IoFailed, match="No space"):
        writer.add_chunk(b"x" * (2 << 20))
    writer.abort()
    assert not disk.exists("d/s.tmp")
    with pytest.raises(IoFailed):
        SnapshotWriter(disk, "d/s.tmp", KEYS, **PLACE)  # type: ignore[arg-type]


def test_publishing_switches_the_manifest_and_then_removes_what_it_replaces() -> None:
    disk = SimDisk()
    disk.mkdir("d/snapshots")
    manifest = Manifest(STORE.hex(), 1)
    for sequence in (3, 7, 9):
        writer = SnapshotWriter(
            disk, snapshot.temporary_path("d", sequence), KEYS, store_id=STORE, sequence=sequence, tag=b"t" * 16, term=1,
            timestamp_ms=1,
        )  # fmt: skip
        manifest = publish_snapshot(disk, "d", manifest, writer.finish(), KEYS, lambda infos: infos[-2:])
        assert read_manifest(disk, "d") == manifest and manifest.newest and manifest.newest.sequence == sequence
    assert [info.sequence for info in manifest.snapshots] == [7, 9]
    assert remove_unnamed(disk, "d", manifest) == 1
    assert disk.listdir("d/snapshots") == [snapshot.snapshot_name(7), snapshot.snapshot_name(9)]
    with pytest.raises(Corrupt, match="missing"):
        publish_snapshot(disk, "d", manifest, manifest.snapshots[0], KEYS)


def test_the_manifest_comes_back_and_no_flip_does() -> None:
    info = SnapshotInfo(7, "snapshot-7", "ab" * 16, "cd" * 16, 3, 99, 1000)
    for manifest in (
        Manifest(STORE.hex(), 5),
        Manifest(STORE.hex(), 5, (info,), CleanStop(9, "ef" * 16, 12), "ab" * 16),
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
        {"clean_stop": 0}, {"more": 1}, {"keyring_id": 7},
        {"snapshots": [asdict(SnapshotInfo(7, "../snapshot-7", "ab" * 16, "cd" * 16, 3, 99, 1000))]},
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
    assert Manifest(STORE.hex(), 5, (one, two)).with_snapshot(one, lambda infos: infos).snapshots == (one,)


def test_which_snapshots_stay() -> None:
    one, two, three = (SnapshotInfo(n, "s", "", "", 1, 1, 1) for n in (1, 2, 3))
    manifest = Manifest(STORE.hex(), 5, (one, two))
    assert manifest.with_snapshot(three).snapshots == (three,)
    assert manifest.with_snapshot(three, lambda infos: (infos[0], infos[2])).snapshots == (one, three)
    assert manifest.keeping(None).snapshots == (two,)
    for wrong in (lambda infos: infos[:1], lambda infos: (), lambda infos: (three, *infos)):
        with pytest.raises(AssertionError):
            manifest.keeping(wrong)


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
