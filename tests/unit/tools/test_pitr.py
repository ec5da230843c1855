"""`vaylix pitr`: the command line over real directories, and that the source stays exactly as it was."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.unit.engine.lab import START_MS, Lab
from vaylix_resp.cli import main
from vaylix_resp.commands.points import iso
from vaylix_resp.engine.keys import ServerKeys
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.errors import EX_CONFIG, EX_DATA, EX_OK, EX_USAGE
from vaylix_resp.security.master_key import choose, generate
from vaylix_resp.storage.copies.archive import describe, keyring_name, manifest_name
from vaylix_resp.storage.disk import RealDisk

NEEDLE = "a-value-that-nobody-may-read"


class Source:
    """A store with a past: three segments, a snapshot behind the first, and what every sequence was like."""

    def __init__(self, root: Path, *, encryption: bool = True) -> None:
        self.root, disk = root, RealDisk()
        disk.mkdir(str(root))
        self.opened = ServerKeys(disk, str(root), choose(str(root)), encryption=encryption, now_ms=START_MS)
        self.lab = Lab(disk, root=str(root), keys=self.opened(None))
        self.digests: dict[int, str] = {}
        self.times: dict[int, int] = {}
        for number in range(3):
            for step in range(4):
                self.lab.clock.ms += 1000
                self.lab.write(f"SET k{step} {NEEDLE}-{number}", f"INCR n{number}")
                self.digests[self.lab.node.applied] = self.lab.digest()
                self.times[self.lab.node.applied] = self.lab.clock.ms
            self.lab.store.wal.rotate()
            if number == 0:
                self.snapshot()

    def snapshot(self) -> None:
        lab = self.lab
        info = make_snapshot(lab.disk, lab.root, lab.keys, lab.store.wal.last, lab.databases, lambda fraction: None)
        lab.store.publish_snapshot(info, lambda all_: all_)

    def fingerprint(self) -> dict[str, Any]:
        """Every name with content, size, times and mode."""
        found: dict[str, Any] = {}
        for path in sorted(self.root.rglob("*")):
            stat = path.stat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (content, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_mode, stat.st_ino)
        return found


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "source")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["pitr", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def restore(capsys: pytest.CaptureFixture[str], source: Path, target: Path, *words: object) -> dict[str, Any]:
    code, out, err = run(capsys, "restore", "--source-dir", source, "--target-dir", target, "--json", *words)
    assert code == EX_OK, err
    found: dict[str, Any] = json.loads(out)
    return found


def started(target: Path, **options: Any) -> Lab:
    """A server's start on it."""
    disk = RealDisk()
    source = options.pop("master", choose(str(target)))
    keys = ServerKeys(disk, str(target), source, encryption=options.pop("encryption", True), now_ms=1)
    from vaylix_resp.storage.manifest import read_manifest

    return Lab(disk, root=str(target), keys=keys(read_manifest(disk, str(target))), term=False, **options)


def test_random_points_and_an_untouched_source(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    before, rng = source.fingerprint(), Random(3)
    for sequence in rng.sample(sorted(source.digests), 3):
        told = restore(capsys, source.root, tmp_path / f"s{sequence}", "--to-sequence", sequence)
        assert (told["sequence"], told["digest"]) == (sequence, source.digests[sequence])
        assert told["timestamp_ms"] == source.times[sequence] and told["encrypted"] is True
        lab = started(tmp_path / f"s{sequence}")
        assert lab.digest() == source.digests[sequence]
        assert told["keys"] == sum(len(db.items) for db in lab.machine.world.databases)
        lab.store.abandon()
    for sequence in rng.sample(sorted(source.digests), 2):
        at_ms = source.times[sequence] + rng.randrange(1000)
        told = restore(capsys, source.root, tmp_path / f"t{sequence}", "--to-timestamp-ms", at_ms)
        assert (told["sequence"], told["digest"]) == (sequence, source.digests[sequence])
        told = restore(capsys, source.root, tmp_path / f"i{sequence}", "--to-time", iso(at_ms))
        assert (told["sequence"], told["digest"]) == (sequence, source.digests[sequence])
        assert told["store_id"] != source.lab.store.manifest.store_id
    assert source.fingerprint() == before


def test_the_new_directory_is_sealed_with_a_key_of_its_own(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    target = tmp_path / "target"
    restore(capsys, source.root, target, "--to-time", "latest")
    for path in target.rglob("*"):
        assert not path.is_file() or NEEDLE.encode() not in path.read_bytes(), path
    assert (target / "master.key").read_bytes() != (source.root / "master.key").read_bytes()
    assert os.stat(target / "master.key").st_mode & 0o777 == 0o600
    # Nothing of the source is needed any more.
    shutil.rmtree(source.root)
    assert started(target).digest() == source.lab.digest()


def test_a_given_master_key(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, target = tmp_path / "my.key", tmp_path / "target"
    generate(RealDisk(), str(key))
    moved = tmp_path / "elsewhere.key"
    (source.root / "master.key").rename(moved)
    words = ("restore", "--source-dir", source.root, "--target-dir", target, "--to-time", "latest")
    words += ("--target-master-key-file", key)
    code, _, err = run(capsys, *words)
    assert code == EX_CONFIG and "the master key is not there" in err and not target.exists()
    code, _, err = run(capsys, *words, "--master-key-file", key)
    assert code == EX_CONFIG and "is not the one of this keyring" in err and not target.exists()
    assert run(capsys, *words, "--master-key-file", moved)[0] == EX_OK
    assert not (target / "master.key").exists()
    assert started(target, master=choose(str(target), file=str(key))).digest() == source.lab.digest()


def test_in_the_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(tmp_path / "source", encryption=False)
    told = restore(capsys, source.root, tmp_path / "target", "--to-time", "latest", "--no-encryption")
    assert told["encrypted"] is False and not (tmp_path / "target" / "keyring").exists()
    assert started(tmp_path / "target", encryption=False).digest() == source.lab.digest()
    told = restore(capsys, source.root, tmp_path / "sealed", "--to-time", "latest")
    assert told["encrypted"] is True and started(tmp_path / "sealed").digest() == source.lab.digest()


def test_what_people_read(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "target"
    code, out, err = run(capsys, "restore", "--source-dir", source.root, "--target-dir", target, "--to-sequence", 9)
    assert code == EX_OK and "replayed: " in err and "written: " in err and "master.key" in err
    assert out == (
        f"{target}: 5 keys as of sequence 9 ({iso(source.times[9])}), digest {source.digests[9]}, read back and found "
        f"equal; start it with: vaylix serve --dir {target}\n"
    )
    code, out, _ = run(capsys, "inspect", "--data-dir", source.root)
    assert code == EX_OK
    lines = out.splitlines()
    assert lines[0].startswith(f"{source.root}: store {source.lab.store.manifest.store_id}, begun 2023-")
    assert sum(line.startswith("snapshot-") for line in lines) == 1
    assert sum(".wal" in line for line in lines) == 4
    last = max(source.digests)
    assert lines[-1] == (
        f"can be restored: sequence 0 to {last}, time {iso(START_MS)} to {iso(source.times[last])}"
    )


def test_inspect_for_programs(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    before = source.fingerprint()
    code, out, _ = run(capsys, "inspect", "--data-dir", source.root, "--json")
    found = json.loads(out)
    assert code == EX_OK and source.fingerprint() == before
    last = max(source.digests)
    assert found["range"]["last_sequence"] == last and found["range"]["first_timestamp_ms"] == START_MS
    assert found["range"]["last_timestamp_ms"] == source.times[last]
    (snapshot,) = found["snapshots"]
    assert (snapshot["sequence"], snapshot["key_id"], snapshot["timestamp_ms"]) == (9, 1, source.times[9])
    assert [(one["sealed"], one["first"], one["last"], one["key_id"]) for one in found["segments"]] == [
        (True, 1, 9, 1), (True, 10, 17, 1), (True, 18, 25, 1), (False, 26, 25, 1),
    ]  # fmt: skip
    assert found["segments"][1]["first_ms"] == source.times[11] and found["segments"][1]["last_ms"] == source.times[17]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--to-sequence", "26"), EX_USAGE, "sequence 26 cannot be restored, only sequence 0 (2023-"),
        (("--to-timestamp-ms", START_MS - 1), EX_USAGE, "cannot be restored, only sequence 0 (2023-"),
        (("--to-time", "2999-01-01"), EX_USAGE, "time 2999-01-01T00:00:00.000Z cannot be restored, only"),
        (("--to-sequence", "x"), EX_USAGE, "x: expected a number of decimal digits"),
        (("--to-time", "yesterday"), EX_USAGE, "yesterday: expected a time like"),
    ],
)
def test_points_that_cannot_be(
    words: tuple[object, ...], code: int, says: str, source: Source, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    target = tmp_path / "target"
    found, out, err = run(capsys, "restore", "--source-dir", source.root, "--target-dir", target, *words)
    assert (found, out) == (code, "") and says in err and err.count("\n") <= 2, err
    assert not target.exists()


def test_targets_that_cannot_be(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("mine")
    (tmp_path / "link").symlink_to(source.root)
    for target, says in [
        ("full", "holds something already"), ("source", "holds LOCK already"), ("source/new", "lies in"),
        ("link/new", "lies in"),
    ]:  # fmt: skip
        before = source.fingerprint()
        words = ("--source-dir", source.root, "--target-dir", tmp_path / target, "--to-time", "latest")
        code, _, err = run(capsys, "restore", *words)
        assert code == EX_USAGE and says in err, err
        assert source.fingerprint() == before
    assert (tmp_path / "full" / "something").read_text() == "mine"
    words = ("--source-dir", source.root, "--target-dir", tmp_path / "new", "--to-time", "latest")
    code, _, err = run(capsys, "restore", *words, "--target-master-key-file", tmp_path / "no.key")
    assert code == EX_CONFIG and "no.key" in err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("part", ["wal/0*1-*", "wal/*17.wal", "snapshots/*", "manifest.json", "keyring/keyring.json"])
def test_a_damaged_source(part: str, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = source.root.glob(part)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    target = tmp_path / "target"
    sequence = 5 if "1-" in part else 25
    words = ("--source-dir", source.root, "--target-dir", target, "--to-sequence", sequence)
    code, _, err = run(capsys, "restore", *words)
    assert code == EX_DATA and str(path) in err and err.splitlines()[-1].startswith("vaylix: "), err
    assert not target.exists()


def test_a_directory_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "inspect", "--data-dir", tmp_path)
    assert code == EX_DATA and "manifest.json: byte 0: expected a manifest, the file is missing" in err
    code, _, err = run(capsys, "inspect", "--archive-dir", tmp_path)
    assert code == EX_DATA and "a manifest-*.json of an archive" in err
    for option in ("--data-dir", "--archive-dir"):
        code, _, err = run(capsys, "inspect", option, tmp_path / "gone")
        assert code == EX_CONFIG and f"{tmp_path / 'gone'}: no such directory" in err, "nothing is damaged"


def archive_of(source: Source, directory: Path, *, snapshots: bool = True) -> Path:
    """What archive-command would have copied: the sealed segments only."""
    directory.mkdir()
    for path in [*source.root.glob("wal/0*.wal"), *(source.root.glob("snapshots/*.vxs") if snapshots else ())]:
        shutil.copy(path, directory)
    manifest, disk = source.lab.store.manifest, RealDisk()
    (directory / manifest_name(0)).write_bytes(describe(manifest, None))
    for info in manifest.snapshots if snapshots else ():
        (directory / manifest_name(info.sequence)).write_bytes(describe(manifest, info))
    raw = disk.read_file(str(source.root / "keyring" / "keyring.json"))
    (directory / keyring_name(source.lab.keys.id, START_MS)).write_bytes(raw)
    return directory


@pytest.mark.parametrize("snapshots", [True, False])
def test_an_archive(
    snapshots: bool, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    archive, target = archive_of(source, tmp_path / "archive", snapshots=snapshots), tmp_path / "target"
    master = tmp_path / "the.key"
    shutil.copy(source.root / "master.key", master)
    shutil.rmtree(source.root)
    key = ("--master-key-file", master)
    code, out, _ = run(capsys, "inspect", "--archive-dir", archive, "--json", *key)
    found = json.loads(out)
    assert code == EX_OK and (found["range"]["first_sequence"], found["range"]["last_sequence"]) == (0, 25)
    assert len(found["snapshots"]) == snapshots
    for sequence in (7, 13, 25):
        words = ("--archive-dir", archive, "--target-dir", tmp_path / f"t{sequence}", "--to-sequence", sequence)
        code, out, err = run(capsys, "restore", *words, "--json", *key)
        assert code == EX_OK, err
        assert json.loads(out)["digest"] == source.digests[sequence]
    code, _, err = run(capsys, "restore", "--archive-dir", archive, "--target-dir", target, "--to-sequence", 26, *key)
    assert code == EX_USAGE and "to 25 (" in err


@pytest.mark.parametrize("verb", ["inspect", "restore"])
def test_each_verb_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["pitr", verb, "--help"])
    assert left.value.code == EX_OK and f"vaylix pitr {verb} --" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("inspect",), ("restore", "--source-dir", "x"), ("restore", "--source-dir", "x", "--target-dir", "y"),
        ("restore", "--source-dir", "x", "--target-dir", "y", "--to-sequence", "1", "--to-time", "latest"),
        ("inspect", "--data-dir", "x", "--archive-dir", "y"),
    ],
)  # fmt: skip
def test_wrong_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["pitr", *words])
    assert left.value.code == EX_USAGE and "--help" in capsys.readouterr().err
