"""A backup file gives back what was put into it, or is refused: no bit, no byte and no chunk of it can change."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from tests.unit.storage.backups import HEAD, ROWS, make, write
from vaylix_resp.errors import Refused
from vaylix_resp.storage.copies import backup_file, backup_reader
from vaylix_resp.storage.copies.backup_file import HEADER_BYTES, Row
from vaylix_resp.storage.copies.backup_reader import BackupReader
from vaylix_resp.storage.copies.backup_sidecar import check_content, read_sidecar
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import Corrupt, IoFailed, KeyMissing, Unreadable
from vaylix_resp.storage.sealing import CLEAR, Keys

PATH = "./b.vxb"
KINDS = pytest.mark.parametrize("keys", [MemoryKeys(), CLEAR], ids=["sealed", "clear"])


def read(disk: Disk, keys: Keys, path: str = PATH) -> list[Row]:
    reader = BackupReader(disk, path, keys)
    rows = list(reader.rows())
    assert reader.content is not None
    return rows


def refused(disk: Disk, keys: Keys, path: str = PATH) -> bool:
    """Whether the file, together with its sidecar, is refused; anything but a refusal with the right rows fails."""
    try:
        sidecar = read_sidecar(disk, path)
        reader = BackupReader(disk, path, keys)
        rows = list(reader.rows())
        assert reader.content is not None
        check_content(sidecar, reader.content, path)
    except Refused as refusal:
        return path[2:-4] in str(refusal) and "\n" not in str(refusal)
    assert rows == ROWS
    return False


rows_of_any_kind = st.lists(
    st.builds(
        Row, st.integers(0, 3), st.binary(max_size=40), st.just("string"), st.binary(max_size=300),
        st.integers(1, 2**63 - 1), st.none() | st.integers(1, 2**50), st.integers(0, 2**32),
    ),
    max_size=12,
)  # fmt: skip


@KINDS
@settings(max_examples=60)
@given(rows=rows_of_any_kind, chunk=st.integers(40, 400))
def test_what_is_read_is_what_was_written(keys: Keys, rows: list[Row], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup_file, "CHUNK_BYTES", chunk)
        patch.setattr(backup_reader, "CHUNK_BYTES", chunk)
        disk = SimDisk()
        content = write(disk, PATH, keys, rows)
        reader = BackupReader(disk, PATH, keys)
        assert reader.head == HEAD
        assert list(reader.rows()) == rows
        assert reader.content == content
        assert content.tail.keys == len(rows) == sum(sum(types.values()) for types in content.counts.values())
        assert content.sha256 == sha256(disk.files()[PATH]).hexdigest()
        assert content.bytes == len(disk.files()[PATH])


def test_a_backup_in_the_clear_is_lines_of_json() -> None:
    disk = SimDisk()
    write(disk, PATH, CLEAR)
    head, *rows, tail = [json.loads(line) for line in disk.files()[PATH].splitlines()]
    assert head["sequence"] == 42
    assert rows[0] == {
        "db": 0, "key": "YQ==", "type": "string", "value": "MQ==", "version": 5, "expire_at_ms": None, "flags": 0,
    }  # fmt: skip
    assert tail["end"] is True and tail["keys"] == 3


def test_a_sealed_backup_shows_no_key_and_no_value() -> None:
    disk = SimDisk()
    write(disk, PATH, MemoryKeys(), [Row(0, b"k" * 30, "string", b"v" * 30, 1, None, 0)])
    raw = disk.files()[PATH]
    for secret in (b"k" * 30, b"v" * 30, b"a2tra2tr", b"dnZ2dnZ2", b"expire"):
        assert secret not in raw


@KINDS
def test_every_flipped_bit_is_refused(keys: Keys) -> None:
    """Of the file and of its sidecar."""
    disk = SimDisk()
    make(disk, ".", "b", keys)
    assert not refused(disk, keys)
    for path in (PATH, "./b.json"):
        for bit in range(len(disk.files()[path]) * 8):
            disk.flip(path, bit)
            assert refused(disk, keys), (path, bit)
            disk.flip(path, bit)
    assert not refused(disk, keys)


def test_a_sealed_file_needs_no_sidecar_to_notice_a_flipped_bit() -> None:
    disk, keys = SimDisk(), MemoryKeys()
    write(disk, PATH, keys)
    for bit in range(len(disk.files()[PATH]) * 8):
        disk.flip(PATH, bit)
        with pytest.raises(Refused):
            read(disk, keys)
        disk.flip(PATH, bit)


@KINDS
def test_every_cut_is_refused_without_the_sidecar(keys: Keys) -> None:
    disk = SimDisk()
    write(disk, PATH, keys)
    whole = disk.files()[PATH]
    for length in range(len(whole)):
        disk.put(PATH, whole[:length])
        with pytest.raises(Corrupt):
            read(disk, keys)
    disk.put(PATH, whole + b"x")
    with pytest.raises(Corrupt):
        read(disk, keys)


def test_chunks_cannot_change_places_or_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_file, "CHUNK_BYTES", 100)
    disk, keys = SimDisk(), MemoryKeys()
    write(disk, PATH, keys)
    write(disk, "./other.vxb", keys)
    mine, other = disk.files()[PATH], disk.files()["./other.vxb"]
    size = 16 + 100 + 16

    def chunk(raw: bytes, number: int) -> bytes:
        return raw[HEADER_BYTES + number * size : HEADER_BYTES + (number + 1) * size]

    head, rest = mine[:HEADER_BYTES], mine[HEADER_BYTES + 2 * size :]
    cases = {
        "exchanged": head + chunk(mine, 1) + chunk(mine, 0) + rest,
        "dropped": head + chunk(mine, 0) + rest,
        "repeated": head + chunk(mine, 0) + chunk(mine, 0) + chunk(mine, 1) + rest,
        "from another file": head + chunk(mine, 0) + chunk(other, 1) + rest,
        "header of another file": other[:HEADER_BYTES] + mine[HEADER_BYTES:],
        "no end record": mine[: -(16 + 40 + 16)],
    }
    disk.put(PATH, head + chunk(mine, 0) + chunk(mine, 1) + rest)
    assert read(disk, keys) == ROWS
    for name, raw in cases.items():
        disk.put(PATH, raw)
        with pytest.raises(Corrupt):
            raise AssertionError(f"{name}: {read(disk, keys)}")


def row(**changes: object) -> bytes:
    fields = {"db": 0, "key": "", "type": "string", "value": "", "version": 1, "expire_at_ms": "null", "flags": 0} | changes
    text = [f'"{name}":' + (f'"{fields[name]}"' if name in ("key", "type", "value") else f"{fields[name]}") for name in fields]
    return ("{" + ",".join(text) + "}").encode()


@pytest.mark.parametrize(
    "line, expected",
    [
        (b"not json", "a key"), (b"[]", "a key"), (b"{}", "a key"), (b"[" * 100_000, "a key"), (b"", "a key"),
        (row(db=4), "below 4"), (row(db="-1"), "a key"), (row(db="00"), "a key"), (row(db="0.0"), "a key"),
        (row(key="!"), "a key"), (row(key="YQ"), "base64"), (row(value="YQ=="), None),
        (row(value="=YQ="), "base64"), (row(type="list"), "a key"), (row(version="true"), "a key"),
        (row(version=2**63), "64 bits"), (row(version=2**63 - 1), None), (row(version=10**20), "a key"),
        (row(expire_at_ms="1.5"), "a key"), (row(expire_at_ms=2**63), "64 bits"), (row(expire_at_ms=0), None),
        (row(flags=2**64), "64 bits"), (row(flags=2**64 - 1), None), (row() + b" ", "a key"),
        (row().replace(b",", b", "), "a key"), (row()[:-1] + b',"x":1}', "a key"),
        (b'{"end":true,"keys":9,"keys_digest":"","state_digest":""}', "9 keys"),
        (b'{"end":true,"keys":3,"keys_digest":1,"state_digest":""}', "a last line"),
        (b'{"end":false,"keys":3,"keys_digest":"","state_digest":""}', "a key"),
        (b'{"end":true,"keys":3,"keys_digest":"","state_digest":""}', "nothing behind"),
    ],
)  # fmt: skip
def test_lines_that_nobody_wrote_are_refused(line: bytes, expected: str | None) -> None:
    """In a file in the clear, as somebody may have edited it. Without an expectation the line is good."""
    disk = SimDisk()
    write(disk, PATH, CLEAR)
    *lines, tail = disk.files()[PATH].splitlines()
    if expected is None:
        disk.put(PATH, b"\n".join([*lines, line, tail.replace(b'"keys":3', b'"keys":4'), b""]))
        assert len(read(disk, CLEAR)) == 4
        return
    disk.put(PATH, b"\n".join([*lines, line, tail, b""]))
    with pytest.raises(Corrupt, match=expected):
        read(disk, CLEAR)


def test_a_missing_key_is_refused() -> None:
    disk = SimDisk()
    write(disk, PATH, MemoryKeys())
    with pytest.raises(KeyMissing, match=r"b\.vxb"):
        BackupReader(disk, PATH, CLEAR)


def test_failures_of_the_disk_name_the_file() -> None:
    disk = SimDisk()
    write(disk, PATH, CLEAR)
    disk.reads = 0
    assert len(read(disk, CLEAR)) == 3
    for bad in range(1, disk.reads + 1):  # each read in turn
        disk.reads, disk.bad_reads = 0, {bad}
        with pytest.raises(Unreadable, match=r"b\.vxb"):
            read(disk, CLEAR)
    disk.full = "all"
    with pytest.raises(IoFailed, match=r"c\.vxb"):
        write(disk, "./c.vxb", CLEAR)


def test_an_aborted_backup_leaves_nothing() -> None:
    disk = SimDisk()
    writer = backup_file.BackupWriter(disk, PATH, HEAD, MemoryKeys())
    writer.add(ROWS[0])
    writer.abort()
    assert disk.files() == {}
