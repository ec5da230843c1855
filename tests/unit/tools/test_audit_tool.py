"""`vaylix audit`: the command line over real directories; it needs the master key only to ask the data's log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.engine.audit.test_audit_files import NODE
from tests.unit.engine.lab import START_MS, Clock
from vaylix_resp.cli import main
from vaylix_resp.engine.audit.recovery import Opening
from vaylix_resp.errors import EX_CONFIG, EX_DATA, EX_OK
from vaylix_resp.storage.disk import RealDisk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    opened = Opening(RealDisk(), str(tmp_path), NODE, Clock(START_MS), None).open(alarm=False)
    files = opened.files
    files.append([*opened.owed, files.fields("auth", "wrong", user="bob", address="10.0.0.1:5", code="WRONGPASS")])
    files.rotate()
    files.append([files.fields("config", command="config|set", details={"set": {"hz": "10"}})])
    files.close()
    return tmp_path


def run(capsys, *words):
    code = main(["audit", *map(str, words)])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_a_whole_audit(root, capsys):
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--no-log")
    assert code == EX_OK and "newest record 4" in out and "the audit is whole" in out
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--no-log", "--json")
    found = json.loads(out)
    assert (found["whole"], found["records"], found["compared_with_log"], found["faults"]) == (True, 4, False, [])


def test_a_fault_is_named_and_nothing_is_changed(root, capsys):
    path = root / "audit" / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"hz":"10"', b'"hz":"11"'))
    before = path.read_bytes()
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--no-log")
    assert code == EX_DATA and path.read_bytes() == before
    assert "FAULT audit/audit.jsonl: line 1 (byte 0): record 4: its content does not match its own hash" in out
    assert "NOT as it was written" in out
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--no-log", "--json")
    assert code == EX_DATA and json.loads(out)["faults"][0]["sequence"] == 4


def test_an_end_that_looks_torn_is_said_to(root, capsys):
    path = root / "audit" / "audit.jsonl"
    path.write_bytes(path.read_bytes() + b'{"version":1,"sequence":5,')
    code, out, _ = run(capsys, "verify", "--data-dir", root, "--no-log")
    assert code == EX_DATA and "may be an append that a crash interrupted" in out


def test_the_tail_for_people_and_for_programs(root, capsys):
    code, out, _ = run(capsys, "tail", "--data-dir", root, "--count", "3")
    lines = out.splitlines()
    assert code == EX_OK and len(lines) == 3 and lines[0].split("  ")[0] == "2"
    assert "auth  wrong  code=WRONGPASS  user=bob  address=10.0.0.1:5" in lines[0] and '{"set": {"hz": "10"}}' in lines[2]
    code, out, _ = run(capsys, "tail", "--data-dir", root, "--json")
    assert [record["sequence"] for record in json.loads(out)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "words, text",
    [
        (["verify", "--no-log", "--data-dir", "{tmp}/nowhere"], "no such directory"),
        (["verify", "--no-log", "--data-dir", "{tmp}"], "no audit here"),
        (["tail", "--data-dir", "{tmp}/nowhere"], "no such directory"),
        (["verify", "--no-log", "--data-dir", "{tmp}", "--public-key", "{tmp}/key"], "no public key in PEM"),
    ],
)
def test_what_it_cannot_work_with(tmp_path, capsys, words, text):
    (tmp_path / "key").write_text("no key")
    code, _, err = run(capsys, *(word.format(tmp=tmp_path) for word in words))
    assert code == EX_CONFIG and text in err and len(err.splitlines()) == 1
