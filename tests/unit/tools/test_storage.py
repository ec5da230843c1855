"""`vaylix storage verify|inspect|migrate|repair` as an operator meets them: words, JSON, exit codes, nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.unit.engine.lab import START_MS, Clock, Lab
from tests.unit.storage.old_directory import FIXTURES, facts
from vaylix_resp.cli import main
from vaylix_resp.engine.keys import ServerKeys, new_keys
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.security.master_key import choose
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.manifest import read_manifest
from vaylix_resp.storage.sealing import CLEAR

OTHER_KEY = Random(3).randbytes(32).hex() + "\n"


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch):
    for name in ("VAYLIX_MASTER_KEY", "VAYLIX_MASTER_KEY_FILE", "VAYLIX_MASTER_KEY_COMMAND"):
        monkeypatch.delenv(name, raising=False)


def opened(root, *, clear=False, term=True):
    if clear:
        return Lab(RealDisk(), clock=Clock(), root=root, keys=CLEAR, term=term)
    source = choose(root)
    open_keys = ServerKeys(RealDisk(), root, source, encryption=True, now_ms=START_MS)
    manifest = None
    if os.path.exists(f"{root}/manifest.json"):
        manifest = read_manifest(RealDisk(), root)
    else:
        os.makedirs(root, exist_ok=True)
    return Lab(RealDisk(), clock=Clock(), root=root, keys=open_keys(manifest), term=term)


def fill(lab):
    lab.write("SET a 1", "SET b 2")
    lab.clock.ms += 1000
    lab.node.wal.rotate()
    info = make_snapshot(lab.disk, lab.root, lab.keys, lab.node.wal.last, lab.databases, lambda done: None)
    lab.store.publish_snapshot(info)
    lab.write("SET c secret-value", db=1)
    lab.clock.ms += 1000
    lab.write("DEL a", "INCR n")
    return lab


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "data")


@pytest.fixture
def stopped(root):
    lab = fill(opened(root))
    lab.store.clean_stop(lab.clock.ms)
    return lab


def tree(root):
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, root)] = file.read()
    return found


def run(capsys, *words):
    """(exit code, what it printed, what it said on standard error)."""
    code = main(["storage", *words])
    out, err = capsys.readouterr()
    return code, out, err


def flip(path, at, bit=0x04):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bit]))


def segment(root, part):
    (name,) = [name for name in os.listdir(f"{root}/wal") if part in name]
    return f"{root}/wal/{name}"


# verify


def test_verify_says_that_everything_is_whole_and_changes_nothing(capsys, stopped, root):
    before = tree(root)
    code, out, _ = run(capsys, "verify", "--data-dir", root)
    assert code == 0 and out.rstrip().endswith(f"Everything is whole up to sequence {stopped.machine.applied}.")
    assert stopped.digest() in out
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--json")
    report = json.loads(out)
    assert code == 0 and report["whole"] and report["last_sequence"] == stopped.machine.applied
    assert report["restorable"] == [{"base": 0, "last": 6, "snapshot": None}]
    assert {file["status"] for file in report["files"]} == {"ok"}
    assert tree(root) == before


def test_verify_runs_beside_the_server_that_has_the_lock(capsys, root):
    lab = fill(opened(root))
    code, out, _ = run(capsys, "verify", "--data-dir", root)
    lab.store.abandon()
    assert code == 0 and "whole up to sequence 6" in out


def test_quick_looks_at_bytes_only(capsys, stopped, root):
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--quick", "--json")
    assert code == 0 and json.loads(out)["proofs"] == []


def test_verify_names_damage_and_what_can_still_be_restored(capsys, stopped, root):
    path = segment(root, "-00000000000000000006")
    flip(path, 4096 + 512 + 200)
    code, out, _ = run(capsys, "verify", "--data-dir", root)
    assert code == 65
    assert f"wal/{os.path.basename(path)}: byte 4608: sequence 5: expected" in out
    assert "What can be restored: sequences 0 to 4" in out and "Sequences 5 to 6 are lost here" in out


@pytest.mark.parametrize("damage, code, said", [
    (lambda root: flip(f"{root}/keyring/keyring.json", 60), 65, "keyring/keyring.json: byte 0: expected"),
    (lambda root: shutil.rmtree(f"{root}/keyring"), 65, "the manifest names keyring"),
    (lambda root: Path(root, "master.key").write_text(OTHER_KEY), 78, "is not the one of this keyring"),
    (lambda root: os.unlink(f"{root}/master.key"), 78, "master.key"),
    (lambda root: os.chmod(f"{root}/master.key", 0o644), 0, "whole"),
])  # fmt: skip
def test_verify_looks_at_keyring_and_master_key(capsys, stopped, root, damage, code, said):
    damage(root)
    found, out, err = run(capsys, "verify", "--data-dir", root)
    assert found == code and said in out + err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["manifest.json", "unfinished.json", "keyring/keyring.json"])
def test_a_file_of_brackets_or_a_directory_in_its_place_is_one_line(capsys, stopped, root, name):
    path = Path(root, name)
    path.write_text("[" * 100_000)
    for verb, words in (("verify", ()), ("rotate-key", ()), ("migrate", ()), ("repair", ("--drop-after", "3", "--yes"))):
        code, out, err = run(capsys, verb, "--data-dir", root, *words)
        assert code in (64, 65) and "Traceback" not in err, verb
    path.unlink()
    path.mkdir()
    for verb in ("verify", "rotate-key", "migrate"):
        code, out, err = run(capsys, verb, "--data-dir", root)
        assert code in (64, 65, 74) and (name in out + err or code == 64), verb


def test_names_of_any_bytes_are_shown(stopped, root):
    for directory in ("", "wal", "snapshots", "quarantine"):
        Path(os.fsdecode(os.fsencode(f"{root}/{directory}/") + b"\xff\xfe")).touch()
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    words = [sys.executable, "-m", "vaylix_resp", "storage", "verify", "--data-dir", root]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 65 and done.stdout.count("\\udcff") >= 4 and "Traceback" not in done.stderr


def test_verify_checks_logical_backups(capsys, stopped, root, tmp_path):
    target = tmp_path / "backups"
    target.mkdir()
    assert main(["backup", "create", "--data-dir", root, "--to", str(target / "one")]) == 0
    capsys.readouterr()
    name = next(name for name in os.listdir(target) if name.endswith(".vxb"))
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--backup-dir", str(target), "--quick")
    assert code == 0 and name in out
    flip(target / name, 400)
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--backup-dir", str(target), "--quick")
    assert code == 65 and f"{name}: byte 0: expected SHA-256" in out


@pytest.mark.parametrize("verb", ["verify", "migrate"])
def test_a_directory_that_is_none_is_refused(capsys, tmp_path, verb):
    code, _, err = run(capsys, verb, "--data-dir", str(tmp_path / "nothing"))
    assert code == 78 and "no such directory" in err
    code, _, err = run(capsys, verb, "--data-dir", str(tmp_path))
    assert code == 78 and "no data directory" in err


# inspect

INSPECTED = """\
00000000000000000004-00000000000000000006.wal: begins 2023-11-14T22:13:20.000Z, follows {before}, in the clear
  byte 4096: 4..4, term 1, 2023-11-14T22:13:21.000Z, 512 bytes, tag {first}
           4  db 1  SET        c  (20 bytes)
  byte 4608: 5..6, term 1, 2023-11-14T22:13:22.000Z, 512 bytes, tag {second}
           5  db 0  DEL        a  (4 bytes)
           6  db 0  INCR       n  (5 bytes)
"""


def test_inspect_prints_batches_and_entries_for_people(capsys, root):
    lab = fill(opened(root, clear=True))
    lab.store.clean_stop(lab.clock.ms)
    name = "00000000000000000004-00000000000000000006.wal"
    code, out, _ = run(capsys, "inspect", "--data-dir", root, "--json", "--file", name)
    (found,) = json.loads(out)["segments"]
    tags = [batch["tag"] for batch in found["batches"]]
    code, out, _ = run(capsys, "inspect", "--data-dir", root, "--entries", "--file", name)
    assert code == 0 and out == INSPECTED.format(before=found["prev_tag"], first=tags[0], second=tags[1])


def test_inspect_lists_files_first_and_values_only_when_asked(capsys, stopped, root):
    code, out, _ = run(capsys, "inspect", "--data-dir", root)
    assert code == 0 and "snapshot-00000000000000000003.vxs" in out and "4..6" in out
    _, out, _ = run(capsys, "inspect", "--data-dir", root, "--entries")
    assert "secret-value" not in out and "DEL" in out
    _, out, _ = run(capsys, "inspect", "--data-dir", root, "--values", "--from", "4", "--to", "4")
    assert "SET c secret-value" in out and "DEL" not in out
    _, out, _ = run(capsys, "inspect", "--data-dir", root, "--values", "--from", "5", "--json")
    entries = [entry for one in json.loads(out)["segments"] for batch in one["batches"] for entry in batch["entries"]]
    assert [(entry["sequence"], entry["words"]) for entry in entries] == [(5, ["DEL", "a"]), (6, ["INCR", "n"])]


def test_inspect_runs_beside_a_server(capsys, root):
    lab = fill(opened(root))
    code, out, _ = run(capsys, "inspect", "--data-dir", root, "--entries", "--from", "6")
    lab.store.abandon()
    assert code == 0 and out.count("INCR") == 1


def test_inspect_prints_what_is_before_damage_and_then_refuses(capsys, stopped, root):
    path = segment(root, "-00000000000000000006")
    flip(path, 4608 + 200)
    code, out, err = run(capsys, "inspect", "--data-dir", root, "--entries", "--file", os.path.basename(path))
    assert code == 65 and "SET" in out and "DEL" not in out and f"{path}: byte 4608: sequence 5" in err
    code, _, err = run(capsys, "inspect", "--data-dir", root, "--file", "nothing.wal")
    assert code == 64 and "nothing.wal" in err


# migrate


@pytest.fixture
def old(root):
    shutil.copytree(FIXTURES / "killed", root)
    return root


def test_an_old_directory_is_refused_by_everybody_with_the_command_that_helps(capsys, old):
    code, _, err = run(capsys, "verify", "--data-dir", old)
    assert code == 65 and "run 'vaylix storage migrate'" in err


@pytest.mark.parametrize("in_place", [True, False])
def test_migrate_brings_it_to_the_current_format(capsys, old, tmp_path, in_place):
    target = old if in_place else str(tmp_path / "new")
    before = tree(old)
    words = ["--data-dir", old, "--json", *([] if in_place else ["--target-dir", target])]
    code, out, err = run(capsys, "migrate", *words)
    done = json.loads(out)
    assert code == 0 and done["sequence"] == 47 and "a new master key has been made" in err
    assert {name: raw for name, raw in tree(done["kept"]).items() if name != "LOCK"} == before
    assert run(capsys, "verify", "--data-dir", target)[0] == 0
    lab = opened(target, term=False)
    assert lab.digest() == facts("killed")["digest"]
    lab.store.abandon()
    code, _, err = run(capsys, "migrate", "--data-dir", target)
    assert code == 64 and "current format already" in err


def test_migrate_does_not_leave_a_keyring_beside_files_in_the_clear(capsys, old):
    """An earlier try has made one: a server would refuse what is not sealed."""
    source = choose(old)
    new_keys(RealDisk(), old, source, START_MS, lambda text: None)
    code, _, err = run(capsys, "migrate", "--data-dir", old, "--no-encryption")
    assert code == 64 and "delete the directory keyring/" in err
    shutil.rmtree(f"{old}/keyring")
    assert run(capsys, "migrate", "--data-dir", old, "--no-encryption")[0] == 0
    opened(old, clear=True, term=False).store.abandon()


def test_migrate_waits_for_nobody_and_mixes_with_nothing(capsys, old, tmp_path):
    lock = RealDisk().lock(f"{old}/LOCK")
    code, _, err = run(capsys, "migrate", "--data-dir", old)
    lock.release()
    assert code == 78 and "used by process" in err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    code, _, err = run(capsys, "migrate", "--data-dir", old, "--target-dir", str(tmp_path / "full"))
    assert code == 64 and "holds x already" in err


# repair


def test_repair_says_what_it_loses_and_does_nothing_without_a_yes(capsys, stopped, root):
    before = tree(root)
    code, out, err = run(capsys, "repair", "--data-dir", root, "--drop-after", "4")
    assert code != 0 and "repeat it with --yes" in err and tree(root) == before
    assert "Lost: 2 entries in 1 batches" in out and "0:a 0:n" in out


def test_repair_cuts_and_keeps(capsys, stopped, root):
    code, out, _ = run(capsys, "repair", "--data-dir", root, "--drop-after", "5", "--yes")
    assert code == 0 and "the log ends with sequence 5" in out
    assert "00000000000000000004-00000000000000000006.wal" in os.listdir(f"{root}/quarantine/dropped-after-5")
    code, out, _ = run(capsys, "verify", "--data-dir", root)
    assert code == 0 and "whole up to sequence 5" in out
    lab = opened(root, term=False)
    assert lab.machine.applied == 5 and lab.get("n") is None and lab.get("a") is None
    lab.store.abandon()
    code, out, _ = run(capsys, "repair", "--data-dir", root, "--drop-after", "4", "--yes", "--json")
    done = json.loads(out)
    assert code == 0 and done["lost_entries"] == 1 and done["keys"] == [{"database": 0, "key": "a"}]


def test_repair_refuses_a_running_server_and_points_out_of_range(capsys, root):
    lab = fill(opened(root))
    code, _, err = run(capsys, "repair", "--data-dir", root, "--drop-after", "4", "--yes")
    assert code == 78 and "used by process" in err
    lab.store.clean_stop(lab.clock.ms)
    code, _, err = run(capsys, "repair", "--data-dir", root, "--drop-after", "7", "--yes")
    assert code == 64 and "whole up to sequence 6" in err


@pytest.mark.parametrize("verb", ["verify", "inspect", "migrate", "repair"])
def test_every_verb_explains_itself_with_an_example(capsys, verb):
    with pytest.raises(SystemExit) as ended:
        main(["storage", verb, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0 and f"vaylix storage {verb} --data-dir" in out and "exit codes" in out
