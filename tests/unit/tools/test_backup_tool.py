"""`vaylix backup create|verify|check|restore` through the program itself, beside a running node and without one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest

from tests.unit.engine.lab import START_MS, Clock, Lab
from vaylix_resp.cli import main
from vaylix_resp.engine.keys import ServerKeys
from vaylix_resp.errors import EX_CONFIG, EX_DATA, EX_OK, EX_USAGE
from vaylix_resp.security.master_key import choose
from vaylix_resp.state.digest import digest_hex, keys_digest_hex
from vaylix_resp.storage.copies.backup_sidecar import alone
from vaylix_resp.storage.disk import RealDisk

OTHER_KEY = Random(2).randbytes(32).hex()


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAYLIX_MASTER_KEY", "VAYLIX_MASTER_KEY_FILE", "VAYLIX_MASTER_KEY_COMMAND"):
        monkeypatch.delenv(name, raising=False)


def open_lab(root: Path, *, encryption: bool = True, term: bool = True) -> Lab:
    root.mkdir(exist_ok=True, parents=True)
    keys = ServerKeys(RealDisk(), str(root), choose(str(root)), encryption=encryption, now_ms=START_MS)
    return Lab(RealDisk(), clock=Clock(), root=str(root), keys=keys(None), databases=8, term=term)


def fill(lab: Lab) -> None:
    lab.write(*(f"SET k{n} v{n}" for n in range(300)), "SET e 1 PXAT 1900000000000", "SET gone 1 PX 5", "DEL k1")
    lab.write("SET other 1", db=5)
    lab.store.wal.rotate()
    lab.clock.ms += 1000
    lab.write("APPEND k2 more", "INCR n")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, object]]:
    """Exit code, and the JSON that was printed; {} with nothing on standard output."""
    try:
        code = main(["backup", *map(str, words), "--json"])
    except SystemExit as left:
        code = int(left.code or 0)
    out = capsys.readouterr()
    if code not in (EX_OK, 1):
        assert len([line for line in out.err.splitlines() if line.startswith("vaylix")]) == 1, out.err
    return code, json.loads(out.out) if out.out else {"error": out.err}


def tree(root: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("encryption", [True, False])
@pytest.mark.parametrize("stopped", [True, False])
def test_from_one_directory_to_another(
    encryption: bool, stopped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, target, file = tmp_path / "data", tmp_path / "target", tmp_path / "data" / "backups" / "night"
    lab = open_lab(data, encryption=encryption)
    fill(lab)
    digest, keys_digest = digest_hex(lab.machine), keys_digest_hex(lab.machine.world)
    sequence, keys = lab.machine.applied, sum(len(db.items) for db in lab.machine.world.databases)
    if stopped:
        lab.store.clean_stop(START_MS)
    before = tree(data)
    code, made = run(capsys, "create", "--data-dir", data, "--to", file)
    assert code == EX_OK and made["file"] == f"{file}.vxb"
    assert (made["sequence"], made["keys"], made["sealed"]) == (sequence, keys, encryption)
    assert (made["state_digest"], made["keys_digest"]) == (digest, keys_digest)
    assert "keyring" not in made
    after = tree(data)
    assert {path: after[path] for path in before} == before, "the source is only read"
    assert run(capsys, "verify", file)[1]["sha256"] == made["sha256"]
    code, checked = run(capsys, "check", f"{file}.vxb", "--databases", 8, "--target-dir", target)
    assert (code, checked["fits"], checked["databases_used"], checked["expired"]) == (EX_OK, True, 6, 1)
    options = [] if encryption else ["--no-encryption"]
    code, restored = run(capsys, "restore", file, "--target-dir", target, *options)
    assert (code, restored["encrypted"]) == (EX_OK, encryption)
    assert restored["target_store_id"] != restored["store_id"]
    again = open_lab(target, encryption=encryption, term=False)
    assert digest_hex(again.machine) == digest
    assert keys_digest_hex(again.machine.world) == keys_digest
    assert again.machine.applied == sequence
    again.store.abandon()
    if not stopped:
        lab.store.abandon()


@pytest.fixture
def backup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The path of a sealed backup whose store is stopped."""
    lab = open_lab(tmp_path / "data")
    fill(lab)
    lab.store.clean_stop(START_MS)
    file = tmp_path / "data" / "backups" / "night.vxb"
    assert run(capsys, "create", "--data-dir", tmp_path / "data", "--to", file)[0] == EX_OK
    return file


def test_anywhere_with_the_master_key_alone(
    backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "a" / "b" / "c"
    elsewhere.mkdir(parents=True)
    for suffix in (".vxb", ".json"):
        (elsewhere / f"moved{suffix}").write_bytes(backup.with_suffix(suffix).read_bytes())
    moved, key = elsewhere / "moved", tmp_path / "data" / "master.key"
    code, said = run(capsys, "verify", moved)
    assert code == EX_CONFIG and "the master key is not there" in str(said["error"])
    assert run(capsys, "verify", moved, "--master-key-file", key)[0] == EX_OK
    assert run(capsys, "verify", moved, "--master-key-command", f"cat {key}")[0] == EX_OK
    assert run(capsys, "verify", moved, "--data-dir", tmp_path / "data")[0] == EX_OK
    monkeypatch.setenv("VAYLIX_MASTER_KEY", key.read_text().strip())
    assert run(capsys, "verify", moved)[0] == EX_OK
    monkeypatch.setenv("VAYLIX_MASTER_KEY", OTHER_KEY)
    code, said = run(capsys, "restore", moved, "--target-dir", tmp_path / "target")
    assert code == EX_CONFIG and "is not the one of this keyring" in str(said["error"])
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("verb", ["verify", "check", "restore"])
@pytest.mark.parametrize("suffix", [".vxb", ".json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_named_and_nothing_is_made(
    verb: str, suffix: str, damage: str, backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = backup.with_suffix(suffix), tmp_path / "target"
    raw = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw if damage == "flip" else raw[:-3])
    options = ["--target-dir", target] if verb == "restore" else []
    code, said = run(capsys, verb, backup, *options)
    expected = EX_CONFIG if (damage, suffix) == ("remove", ".json") else EX_DATA  # without a sidecar it is no backup
    assert code == expected and f"night{suffix}" in str(said["error"]), said
    assert not target.exists()


def test_what_is_refused(backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, full = tmp_path / "data", tmp_path / "full"
    full.mkdir()
    (full / "something").write_text("x")
    cases = [
        (("restore", backup, "--target-dir", full), EX_USAGE, "holds something already"),
        (("create", "--data-dir", data, "--to", backup), EX_CONFIG, "exists already"),
        (("create", "--data-dir", tmp_path / "nowhere", "--to", tmp_path / "x"), EX_DATA, "manifest"),
        (("create", "--data-dir", data, "--to", tmp_path / ".x"), EX_CONFIG, "no name for a backup"),
        (("create", "--data-dir", data), EX_USAGE, "--to"),
        (("create", "--data-dir", data, "--to", data / "wal" / "x"), EX_CONFIG, "has its own files"),
        (("create", "--data-dir", data, "--to", data / "x"), EX_CONFIG, "has its own files"),
        (
            ("restore", backup, "--target-dir", tmp_path / "new", "--target-master-key-file", tmp_path / "no.key"),
            EX_CONFIG, "no.key",
        ),
    ]  # fmt: skip
    for words, expected, text in cases:
        code, said = run(capsys, *words)
        assert code == expected and text in str(said["error"]), (words, said)
    assert os.listdir(full) == ["something"] and not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "new").exists() and not list((data / "wal").glob("x*"))


def test_two_at_a_time_are_refused(backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("create", "--data-dir", tmp_path / "data", "--to", backup.with_name("other"))
    with alone(RealDisk(), str(backup.parent)):
        code, said = run(capsys, *words)
        assert code == EX_CONFIG and f"process {os.getpid()} is making a backup there" in str(said["error"])
    assert run(capsys, *words)[0] == EX_OK


def test_check_says_what_does_not_fit(backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").write_text("x")
    code, checked = run(capsys, "check", backup, "--databases", 2, "--target-dir", full)
    assert code == 1 and checked["ok"] is False
    problems = checked["problems"]
    assert isinstance(problems, list) and "database 5" in problems[0] and "holds something" in problems[1]


def test_in_the_clear_if_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = open_lab(tmp_path / "data")
    fill(lab)
    lab.store.clean_stop(START_MS)
    code, made = run(capsys, "create", "--data-dir", tmp_path / "data", "--to", tmp_path / "x", "--plain")
    assert code == EX_OK and made["sealed"] is False
    lines = (tmp_path / "x.vxb").read_text().splitlines()
    assert len(lines) == 2 + int(str(made["keys"])) and all(json.loads(line) for line in lines)
    assert run(capsys, "verify", tmp_path / "x")[0] == EX_OK


@pytest.mark.parametrize("verb", ["create", "verify", "check", "restore"])
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["backup", verb, "--help"])
    assert not left.value.code
    assert f"example:\n  vaylix backup {verb}" in capsys.readouterr().out


def test_people_get_one_line(backup: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "verify", str(backup)]) == EX_OK
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "303 keys" in out and "all digests equal" in out
