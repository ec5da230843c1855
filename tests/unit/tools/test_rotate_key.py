"""`vaylix storage rotate-key` and the options of the master key, through the program itself."""

import json
import os
import secrets
from random import Random

import pytest

from tests.unit.engine.lab import START_MS, Clock, Lab
from vaylix_resp.cli import main
from vaylix_resp.engine.keys import ServerKeys
from vaylix_resp.errors import EX_CONFIG, EX_OK, EX_USAGE
from vaylix_resp.security.master_key import choose
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.upkeep.rewrap import key_ids

HEX, OTHER = Random(1).randbytes(32).hex(), Random(2).randbytes(32).hex()


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch):
    for name in ("VAYLIX_MASTER_KEY", "VAYLIX_MASTER_KEY_FILE", "VAYLIX_MASTER_KEY_COMMAND"):
        monkeypatch.delenv(name, raising=False)


def open_keys(root, source):
    return ServerKeys(RealDisk(), root, source, encryption=True, now_ms=START_MS)


def make_store(root, source=None):
    os.makedirs(root)
    lab = Lab(RealDisk(), clock=Clock(), keys=open_keys(root, source or choose(root))(None), root=root)
    lab.write("SET a 1")
    digest = lab.digest()
    lab.store.clean_stop(START_MS)
    return digest


def digest_of(root, source=None):
    lab = Lab(RealDisk(), clock=Clock(), keys=open_keys(root, source or choose(root))(None), root=root, term=False)
    digest = lab.digest()
    lab.store.clean_stop(START_MS)
    return digest


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "data")


def tree(root):
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[path] = file.read()
    return found


def test_for_people(root, capsys):
    digest = make_store(root)
    assert main(["storage", "rotate-key", "--data-dir", root]) == EX_OK
    out = capsys.readouterr().out
    assert "key 2 of keyring" in out and "destroyed: 1" in out and "1 files are under the new key" in out
    assert set(key_ids(RealDisk(), root).values()) == {2} and digest_of(root) == digest


def test_for_programs_and_with_a_new_master_key(root, tmp_path, capsys):
    digest, path = make_store(root), str(tmp_path / "new.key")
    words = ["storage", "rotate-key", "--data-dir", root, "--new-master-key-generate", path, "--json"]
    assert main(words) == EX_OK
    result = json.loads(capsys.readouterr().out)
    assert result == {
        "data_dir": root, "keyring_id": result["keyring_id"], "active_key": 2, "destroyed_keys": [1], "files": 1,
        "master_key": path,
    }  # fmt: skip
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert digest_of(root, choose(root, file=path)) == digest
    before = tree(root)
    assert main(["storage", "rotate-key", "--data-dir", root]) == EX_CONFIG, "master.key is the old one"
    assert "is not the one of this keyring" in capsys.readouterr().err
    assert main([*words, "--master-key-file", path]) == EX_CONFIG
    assert "no key is ever overwritten" in capsys.readouterr().err
    assert {k: v for k, v in tree(root).items() if "LOCK" not in k} == {
        k: v for k, v in before.items() if "LOCK" not in k
    }


def test_the_master_key_may_move_from_beside_the_data_to_a_file(root, tmp_path):
    digest, path = make_store(root), tmp_path / "chosen.key"
    path.write_text(OTHER)
    path.chmod(0o600)
    assert main(["storage", "rotate-key", "--data-dir", root, "--new-master-key-file", str(path)]) == EX_OK
    assert digest_of(root, choose(root, literal=OTHER)) == digest


@pytest.mark.parametrize("by", ["file", "command", "variable", "variable file"])
def test_every_source_of_the_master_key(root, tmp_path, monkeypatch, by):
    make_store(root, choose(root, literal=HEX))
    path = tmp_path / "k"
    path.write_text(HEX)
    words = ["storage", "rotate-key", "--data-dir", root]
    if by == "file":
        words += ["--master-key-file", str(path)]
    elif by == "command":
        words += ["--master-key-command", f"cat '{path}'"]
    elif by == "variable":
        monkeypatch.setenv("VAYLIX_MASTER_KEY", HEX)
    else:
        monkeypatch.setenv("VAYLIX_MASTER_KEY_FILE", str(path))
    assert main(words) == EX_OK


@pytest.mark.parametrize(
    "more, environ, code, problem",
    [
        (["--master-key-file", "a", "--master-key-command", "b"], {}, EX_CONFIG, "more than one source"),
        (["--master-key-file", "a"], {"VAYLIX_MASTER_KEY": HEX}, EX_CONFIG, "master-key-file and VAYLIX_MASTER_KEY"),
        ([], {"VAYLIX_MASTER_KEY": OTHER}, EX_CONFIG, "is not the one of this keyring"),
        ([], {"VAYLIX_MASTER_KEY": "x"}, EX_CONFIG, "VAYLIX_MASTER_KEY: expected a master key"),
        (["--new-master-key-file", "/nowhere/k"], {}, EX_CONFIG, "/nowhere/k: the master key is not there"),
        (["--master-key", HEX], {}, EX_USAGE, ""),
        (["--new-master-key-file", "a", "--new-master-key-generate", "b"], {}, EX_USAGE, "not allowed with"),
    ],
)
def test_what_is_refused_changes_nothing(root, monkeypatch, capsys, more, environ, code, problem):
    make_store(root)
    before = tree(root)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    try:
        found = main(["storage", "rotate-key", "--data-dir", root, *more])
    except SystemExit as left:
        found = left.code
    assert found == code
    err = capsys.readouterr().err
    assert problem in err and HEX not in err and err.count("\n") == 1
    for files in (before, after := tree(root)):
        files.pop(os.path.join(root, "LOCK"), None)
    assert after == before


def test_a_directory_that_is_none(tmp_path, capsys):
    assert main(["storage", "rotate-key", "--data-dir", str(tmp_path)]) == EX_CONFIG
    assert "no data directory" in capsys.readouterr().err and os.listdir(tmp_path) == []


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as left:
        main(["storage", "rotate-key", "--help"])
    assert left.value.code == EX_OK
    assert "vaylix storage rotate-key --data-dir /srv/vaylix" in capsys.readouterr().out


def test_check_config_finds_two_sources(capsys):
    words = ["check-config", "--master-key-file", "a", "--master-key-command", "b " + secrets.token_hex(4)]
    assert main(words) == EX_CONFIG
    assert "more than one source: master-key-file and master-key-command" in capsys.readouterr().err
