"""The order in which files go to an archive, the account of it, and reading an archive as a source."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.storage.copies.archive import (
    Archived,
    ArchiveDirectory,
    Item,
    Kind,
    decode_state,
    describe,
    encode_state,
    keyring_name,
    manifest_name,
    sent,
    to_send,
)
from vaylix_resp.storage.errors import Corrupt, Unreadable
from vaylix_resp.storage.manifest import Manifest, SnapshotInfo, decode_manifest
from vaylix_resp.storage.segment import sealed_name
from vaylix_resp.storage.snapshot import snapshot_name

STORE = "00112233445566778899aabbccddeeff"
KEYRING = "ffeeddccbbaa99887766554433221100"


def snapshot(sequence: int) -> SnapshotInfo:
    return SnapshotInfo(sequence, snapshot_name(sequence), "d" * 32, "e" * 32, 1, 1000 + sequence, 512)


def seg(first: int, last: int) -> Item:
    name = sealed_name(first, last)
    return Item(Kind.SEGMENT, name, f"wal/{name}", first, last, 100)


def snap(sequence: int) -> Item:
    name = snapshot_name(sequence)
    return Item(Kind.SNAPSHOT, name, f"snapshots/{name}", 0, sequence, 512)


def manifest(*sequences: int) -> Manifest:
    return Manifest(STORE, 5, tuple(snapshot(sequence) for sequence in sequences), keyring_id=KEYRING)


def short(items: list[Item]) -> list[str]:
    return [f"{item.kind[0]}{item.last}" for item in items]


@pytest.mark.parametrize(
    ("archived", "segments", "snapshots", "keyring", "order"),
    [
        (Archived(), [], [], None, "m0"),
        (Archived(), [seg(1, 5)], [], (KEYRING, "x"), "k0 m0 s5"),
        (Archived(), [seg(1, 5), seg(6, 9)], [snap(5)], None, "m0 s5 s5 m5 s9"),
        (Archived(), [seg(6, 9)], [snap(5), snap(9)], None, "m0 s5 m5 s9 s9 m9"),
        (Archived(described=(0,), segments_to=9), [seg(6, 9), seg(10, 12)], [], None, "s12"),
        (Archived(described=(0,), segments_to=12, snapshots=(9,)), [seg(10, 12)], [snap(9)], None, "m9"),
        (Archived(described=(0,), segments_to=12), [seg(10, 12)], [snap(9)], None, "s9 m9"),
        (Archived(described=(0, 9), segments_to=12, snapshots=(9,)), [seg(10, 12)], [snap(9)], None, ""),
        (Archived(described=(0,), keyring="x"), [], [], (KEYRING, "x"), ""),
        (Archived(described=(0,), keyring="x"), [seg(1, 2)], [], (KEYRING, "y"), "k0 s2"),
    ],
)
def test_what_goes_in_which_order(archived, segments, snapshots, keyring, order):
    assert " ".join(short(to_send(archived, segments, snapshots, keyring))) == order


def test_after_each_file_the_archive_leads_up_to_its_last_segment():
    """Whatever is there and wherever it stops: the files so far are a log from 1 or from a described snapshot."""
    segments = [seg(at, at + 2) for at in range(4, 31, 3)]
    snapshots = [snap(sequence) for sequence in (3, 12, 30)]
    archived, current = Archived(), manifest(3, 12, 30)
    files: list[str] = []
    while items := to_send(archived, segments, snapshots, (KEYRING, "x")):
        files.append(items[0].name)
        archived = sent(archived, items[0], current, "x", 7)
        ends = [item.last for item in segments if item.name in files]
        if ends:
            starts = [s for s in (3, 12, 30) if snapshot_name(s) in files and manifest_name(s) in files]
            assert any(start + 1 >= segments[0].first for start in starts)
            assert sorted(ends) == [item.last for item in segments][: len(ends)]
    assert files[0] == keyring_name(KEYRING, 0) and len(files) == len(set(files)) == 17
    assert archived == Archived("", 30, (3, 12, 30), (0, 3, 12, 30), "x", 7)


def test_snapshots_that_are_not_current_any_more_are_forgotten():
    archived = Archived(snapshots=(3, 5), described=(0, 3, 5))
    after = sent(archived, snap(9), manifest(5, 9))
    assert after.snapshots == (5, 9)
    assert sent(after, Item(Kind.MANIFEST, "", "", 9, 9), manifest(5, 9)).described == (0, 5, 9)


STATE = Archived("c" * 64, 42, (3, 40), (0, 3), "k" * 64, 17)


def test_the_account_comes_back_as_it_was():
    assert decode_state(encode_state(STATE)) == STATE
    assert decode_state(encode_state(Archived())) == Archived()


def test_an_account_with_any_bit_changed_is_none_or_the_same():
    raw = encode_state(STATE)
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << (bit % 8)
        assert decode_state(bytes(flipped)) in (None, STATE)
    for cut in range(len(raw) - 1):  # the newline at its end may go
        assert decode_state(raw[:cut]) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{}", b'{"checksum": 1}', b"[" * 100_000, b"\xff"])
def test_what_is_no_account_is_none(raw):
    assert decode_state(raw) is None


def place(*sequences: int, segments: tuple[tuple[int, int], ...] = (), store: Manifest | None = None) -> SimDisk:
    """An archive directory `a` with these snapshots and segments, their content left out."""
    disk, whole = SimDisk(), store or manifest(*sequences)
    disk.mkdir("a")
    disk.put(f"a/{manifest_name(0)}", describe(whole, None))
    for info in whole.snapshots:
        disk.put(f"a/{info.file}", b"")
        disk.put(f"a/{manifest_name(info.sequence)}", describe(whole, info))
    for first, last in segments:
        disk.put(f"a/{sealed_name(first, last)}", b"")
    disk.put("a/" + keyring_name(KEYRING, 200), b"newer")
    disk.put("a/" + keyring_name(KEYRING, 100), b"older")
    return disk


def test_an_archive_is_read_as_one_store():
    disk = place(3, 9, segments=((4, 6), (7, 9)))
    disk.put("a/notes.txt", b"not ours")
    disk.put(f"a/{sealed_name(10, 12)}.tmp", b"being copied")
    archive = ArchiveDirectory(disk, "a")
    assert archive.manifest() == manifest(3, 9)
    assert [(one.first, one.last) for one in archive.segments()] == [(4, 6), (7, 9)]
    assert archive.snapshot_path(snapshot(3)) == f"a/{snapshot_name(3)}"
    assert archive.keyrings() == [
        (f"a/{keyring_name(KEYRING, 100)}", b"older"), (f"a/{keyring_name(KEYRING, 200)}", b"newer"),
    ]  # fmt: skip


def test_a_snapshot_counts_only_with_its_file():
    disk = place(3, 9)
    disk.remove(f"a/{snapshot_name(9)}")
    assert ArchiveDirectory(disk, "a").manifest() == manifest(3)


def test_behind_a_gap_the_newest_run_counts():
    archive = ArchiveDirectory(place(8, segments=((1, 3), (4, 6), (9, 11), (12, 14))), "a")
    assert [(one.first, one.last) for one in archive.segments()] == [(9, 11), (12, 14)]


@pytest.mark.parametrize(
    ("segments", "file", "sequence"),
    [
        (((1, 3), (3, 5)), sealed_name(3, 5), 3),
        (((1, 9), (4, 6)), sealed_name(4, 6), 4),
        (((1, 3), (1, 4)), sealed_name(1, 4), 1),
    ],
)
def test_two_histories_in_one_archive_are_refused(segments, file, sequence):
    with pytest.raises(Corrupt) as caught:
        ArchiveDirectory(place(segments=segments), "a").segments()
    assert caught.value.path == f"a/{file}" and caught.value.sequence == sequence
    assert "keep the files of one history" in str(caught.value)


def test_two_stores_in_one_archive_are_refused():
    disk = place(3)
    other = replace(manifest(9), store_id="f" * 32)
    disk.put(f"a/{manifest_name(9)}", describe(other, other.snapshots[0]))
    with pytest.raises(Corrupt, match="keep the archives of two stores apart"):
        ArchiveDirectory(disk, "a").manifest()


def test_a_directory_that_is_no_archive_is_refused():
    disk = SimDisk()
    with pytest.raises(Unreadable):
        ArchiveDirectory(disk, "a").manifest()
    disk.mkdir("a")
    with pytest.raises(Corrupt, match="archive-command copies"):
        ArchiveDirectory(disk, "a").manifest()


def test_a_description_is_a_manifest_of_one_snapshot_the_same_for_every_keyring():
    whole = manifest(3, 9)
    raw = describe(whole, whole.snapshots[0])
    assert decode_manifest(raw, "x") == replace(whole, snapshots=whole.snapshots[:1], keyring_id="")
    assert raw == describe(replace(whole, keyring_id=""), whole.snapshots[0])
