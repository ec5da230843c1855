"""`vaylix export`: the command line over real directories; what is in the file, and what is left when it fails."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.lab import START_MS
from tests.unit.tools.test_pitr import NEEDLE, Source
from vaylix_resp.cli import main
from vaylix_resp.commands.points import iso
from vaylix_resp.engine.copies import rdb_file
from vaylix_resp.errors import EX_CONFIG, EX_DATA, EX_IO, EX_OK, EX_USAGE
from vaylix_resp.interchange.rdb_reader import Aux, End, Header, Key, RdbReader, Record, Resize, Select
from vaylix_resp.storage.disk import RealFile

FAR_MS = 4_000_000_000_000  # after this test has run


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "source")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    try:
        code = main(["export", *map(str, words)])
    except SystemExit as left:
        assert isinstance(left.code, int)
        code = left.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def export(capsys: pytest.CaptureFixture[str], source: Source, path: Path, *words: object) -> dict[str, Any]:
    code, out, err = run(capsys, "--data-dir", source.root, "--rdb", path, "--json", *words)
    assert code == EX_OK, err
    found: dict[str, Any] = json.loads(out)
    return found


def read(path: Path) -> list[Record]:
    reader = RdbReader(str(path))
    records = list(reader.feed(path.read_bytes()))
    reader.close(alone=True)
    return records


def keys(records: list[Record]) -> dict[tuple[int, bytes], tuple[bytes, int | None]]:
    return {(r.db, r.name): (r.value, r.expire_at_ms) for r in records if isinstance(r, Key)}


def test_what_is_in_the_file(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = source.lab
    lab.write(f"SET expiring 1 PXAT {FAR_MS}", f"SET over 1 PXAT {START_MS + 100_000}", "EXSET flagged v FLAGS 7")
    lab.write("SET other 2", f"SET third 3 PXAT {FAR_MS + 1}", db=3)
    before, path = source.fingerprint(), tmp_path / "dump.rdb"
    told = export(capsys, source, path)
    assert source.fingerprint() == before
    records = read(path)
    assert records[0] == Header(10, "redis") and records[-1] == End(True)
    assert {r.name: r.value for r in records if isinstance(r, Aux)} == {
        b"redis-ver": b"7.2.4", b"redis-bits": b"64", b"ctime": b"%d" % (lab.clock.ms // 1000),
        b"vaylix-ver": next(r.value for r in records if isinstance(r, Aux) and r.name == b"vaylix-ver"),
        b"vaylix-sequence": b"%d" % lab.node.applied,
    }  # fmt: skip
    assert [r for r in records if isinstance(r, Select | Resize)] == [Select(0), Resize(9, 1), Select(3), Resize(2, 1)]
    assert keys(records) == {
        **{(0, b"k%d" % step): (f"{NEEDLE}-2".encode(), None) for step in range(4)},
        **{(0, b"n%d" % number): (b"4", None) for number in range(3)},
        (0, b"expiring"): (b"1", FAR_MS),
        (0, b"flagged"): (b"v", None),
        (3, b"other"): (b"2", None),
        (3, b"third"): (b"3", FAR_MS + 1),
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert told | {"time": ""} == {
        "file": str(path), "source": str(source.root), "rdb_version": 10, "bytes": path.stat().st_size,
        "sequence": lab.node.applied, "timestamp_ms": lab.clock.ms, "time": "", "keys": 11, "expiring": 2,
        "databases": {"0": 9, "3": 2}, "databases_needed": 4, "encrypted": False,
        "left_out": {"expired": 1, "flags": 1, "users": 1, "roles": 0},
    }  # fmt: skip
    assert sorted(tmp_path.iterdir()) == [path, source.root]


def test_a_moment_in_the_past(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was there then is in the file, also if its time has come since."""
    source.lab.write(f"SET brief 1 PXAT {source.lab.clock.ms + 1000}")
    here, at_ms = source.lab.node.applied, source.lab.clock.ms
    source.lab.clock.ms += 5000
    source.lab.write("SET more 1")
    path = tmp_path / "dump.rdb"
    for words in (("--to-sequence", here), ("--to-timestamp-ms", at_ms + 500), ("--to-time", iso(at_ms + 999))):
        told = export(capsys, source, path, "--force", *words)
        assert told["sequence"] == here
        assert (0, b"brief") in keys(read(path)) and (0, b"more") not in keys(read(path))
    assert export(capsys, source, path, "--force", "--to-timestamp-ms", at_ms + 1000)["left_out"]["expired"] == 1
    export(capsys, source, path, "--force", "--to-sequence", min(source.digests))
    assert keys(read(path)) == {(0, b"k0"): (f"{NEEDLE}-0".encode(), None), (0, b"n0"): (b"1", None)}


def test_what_people_are_told(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.lab.write("SET k v", db=3)
    path = tmp_path / "dump.rdb"
    code, out, err = run(capsys, "--data-dir", source.root, "--rdb", path, "--rdb-version", 11)
    assert code == EX_OK and out.startswith(f"{path}: 8 keys (0 expire) as of sequence ")
    assert "RDB version 11, read back and found equal" in out
    assert "not encrypted" in err and "FLAGS, users and roles are not in it" in err and "databases" not in err
    assert path.read_bytes()[:9] == b"REDIS0011"


@pytest.mark.parametrize("version", ["6", "13", "x"])
def test_versions_that_nobody_would_load(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str
) -> None:  # fmt: skip
    code, out, err = run(capsys, "--data-dir", source.root, "--rdb", tmp_path / "f", "--rdb-version", version)
    assert (code, out) == (EX_USAGE, "") and "--rdb-version" in err


def test_where_no_file_is_made(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dump.rdb"
    path.write_bytes(b"somebody's")
    for place, told in (
        (path, "exists already"),
        (tmp_path / "none" / "dump.rdb", "there is no directory"),
        (source.root / "dump.rdb", "has its own files"),
        (source.root / "wal" / "dump.rdb", "has its own files"),
    ):
        code, out, err = run(capsys, "--data-dir", source.root, "--rdb", place)
        assert code in (EX_USAGE, EX_CONFIG) and out == "" and told in err
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "link", "dangling", "pipe"):
        for words in ((), ("--force",)):  # nothing of these is replaced, as root would replace a device
            code, out, err = run(capsys, "--data-dir", source.root, "--rdb", f"{tmp_path}/{name}", *words)
            assert code == EX_USAGE and out == "" and "no file; to continue: choose" in err
    assert path.read_bytes() == b"somebody's"
    assert export(capsys, source, path, "--force")["keys"] == 7
    assert len(keys(read(path))) == 7


def test_a_file_that_somebody_else_makes_meanwhile_stays(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, check = tmp_path / "dump.rdb", rdb_file.check

    def slow(*words: Any) -> None:
        check(*words)
        path.write_bytes(b"somebody's")

    monkeypatch.setattr(rdb_file, "check", slow)
    code, _, err = run(capsys, "--data-dir", source.root, "--rdb", path)
    assert code == EX_USAGE and "somebody else meanwhile" in err
    assert sorted(tmp_path.iterdir()) == [path, source.root] and path.read_bytes() == b"somebody's"


@pytest.mark.parametrize("at", [20, 50, 150, -3])
def test_what_the_disk_has_changed_gets_no_name(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    pread = RealFile.pread

    def damaged(self: RealFile, size: int, offset: int) -> bytes:
        data = bytearray(pread(self, size, offset))
        if self.path.endswith(".tmp") and data:
            data[at] ^= 1
        return bytes(data)

    monkeypatch.setattr(RealFile, "pread", damaged)
    code, _, err = run(capsys, "--data-dir", source.root, "--rdb", tmp_path / "dump.rdb")
    assert code == EX_DATA and "dump.rdb." in err and "expected" in err
    assert list(tmp_path.iterdir()) == [source.root]


@pytest.mark.parametrize("call", ["pwrite", "fsync", "pread"])
def test_a_disk_that_fails_leaves_nothing(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = getattr(RealFile, call)

    def failing(self: RealFile, *words: Any) -> Any:
        if self.path.endswith(".tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *words)

    monkeypatch.setattr(RealFile, call, failing)
    code, _, err = run(capsys, "--data-dir", source.root, "--rdb", tmp_path / "dump.rdb")
    assert code == EX_IO and "dump.rdb: the disk refused: No space left on device" in err
    assert list(tmp_path.iterdir()) == [source.root]
