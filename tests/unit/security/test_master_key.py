"""Where the master key comes from: every source, every mistake with one, and what no text may say."""

import base64
import os
import signal
import time
from random import Random

import pytest

from tests.sim.disk.simdisk import Fault, SimDisk
from vaylix_resp.config import ConfigError, Settings, load
from vaylix_resp.errors import EX_CONFIG, EX_IO
from vaylix_resp.security import master_key as module
from vaylix_resp.security.master_key import (
    COMMAND,
    ENVIRONMENT,
    FILE,
    OWN,
    KeyringError,
    choose,
    generate,
    mode_warning,
    of_settings,
    parse,
    read_file,
)
from vaylix_resp.storage.disk import RealDisk

KEY = Random(3).randbytes(32)
HEX, B64 = KEY.hex(), base64.b64encode(KEY).decode()


@pytest.mark.parametrize("text", [HEX, HEX.upper(), B64, f"{HEX}\n", f"  {B64}\r\n", f"\n\n{HEX}\t"])
def test_both_spellings_are_read(text):
    key = parse(text, "x")
    assert (key.key, key.hex()) == (KEY, HEX.encode())


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "expected a master key of 32 bytes"),
        (HEX[:-1], "found 63 characters that are neither"),
        (HEX + "0", "found 65 characters that are neither"),
        ("g" + HEX[1:], "found 64 characters that are neither"),
        (B64[:-1], "expected a master key of 32 bytes"),
        (base64.b64encode(KEY[:31]).decode(), "expected a master key of 32 bytes"),
        (base64.b64encode(KEY + b"x").decode(), "expected a master key of 32 bytes"),
        (HEX[:32] + "\n" + HEX[32:], "found 65 characters"),
        ("my secret password", "found 18 characters"),
        ("0" * 64, "is not random"),
        ("deadbeef" * 8, "is not random"),
        (base64.b64encode(b"a" * 32).decode(), "is not random"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text, problem):
    with pytest.raises(KeyringError, match=problem) as refused:
        parse(text, "/k")
    assert refused.value.exit_code == EX_CONFIG
    assert str(refused.value).startswith("/k: ") and "openssl rand -hex 32" in str(refused.value)
    if len(text) > 8:
        assert text[:8] not in str(refused.value)


def test_a_file_is_read_and_its_absence_explained(tmp_path):
    path = tmp_path / "k"
    with pytest.raises(KeyringError, match="is not there; to continue: put it back, or name its place") as refused:
        read_file(RealDisk(), str(path))
    assert refused.value.exit_code == EX_CONFIG
    path.write_text(HEX)
    assert read_file(RealDisk(), str(path)).key == KEY
    with pytest.raises(KeyringError, match="cannot be read"):
        read_file(RealDisk(), str(tmp_path))
    path.write_bytes(b"\xff" * 100_000)
    with pytest.raises(KeyringError, match="expected a master key"):
        read_file(RealDisk(), str(path))


@pytest.mark.parametrize(
    "given, kind, shown",
    [
        ({}, OWN, "/d/master.key"),
        ({"file": "/etc/k"}, FILE, "/etc/k"),
        ({"command": "vault read --token=hunter2"}, COMMAND, "master-key-command"),
        ({"literal": HEX}, ENVIRONMENT, "VAYLIX_MASTER_KEY"),
    ],
)
def test_one_source_is_chosen_and_named_without_secrets(given, kind, shown):
    source = choose("/d", **given)
    assert (source.kind, str(source)) == (kind, shown)
    assert "hunter2" not in repr(source) and HEX not in repr(source)


@pytest.mark.parametrize(
    "given, names",
    [
        ({"file": "a", "command": "b"}, "master-key-file and master-key-command"),
        ({"file": "a", "literal": HEX}, "master-key-file and VAYLIX_MASTER_KEY"),
        ({"command": "a", "literal": HEX}, "master-key-command and VAYLIX_MASTER_KEY"),
        ({"file": "a", "command": "b", "literal": HEX}, "master-key-file and master-key-command and VAYLIX_MASTER_KEY"),
    ],
)
def test_two_sources_are_one_too_many(given, names):
    with pytest.raises(KeyringError, match=f"more than one source: {names}; to continue") as refused:
        choose("/d", **given)
    assert refused.value.exit_code == EX_CONFIG


def test_each_source_gives_the_key(tmp_path):
    path = tmp_path / "k"
    path.write_text(B64)
    for source in (
        choose("/d", file=str(path)), choose("/d", command=f"cat '{path}'"), choose("/d", literal=HEX),
        choose(str(tmp_path), command="printf %s " + HEX),
    ):  # fmt: skip
        assert source.read(RealDisk()).key == KEY


def test_a_command_that_fails_says_why_but_never_what_it_printed():
    with pytest.raises(KeyringError) as refused:
        choose("/d", command=f"echo {HEX}; echo 'no such  secret' >&2; exit 3 # hunter2").read(RealDisk())
    text = str(refused.value)
    assert text.startswith("master-key-command: ended with status 3: no such secret; ")
    assert HEX not in text and "hunter2" not in text and "\n" not in text


@pytest.mark.parametrize("command", ["true", "echo short", "exit 1"])
def test_a_command_without_a_key_is_refused(command):
    with pytest.raises(KeyringError, match="^master-key-command: "):
        choose("/d", command=command).read(RealDisk())


def test_a_command_that_hangs_is_killed_with_all_that_it_started(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "COMMAND_TIMEOUT_S", 2.0)  # long enough for a busy machine to start it
    pid_file = tmp_path / "pid"
    with pytest.raises(KeyringError, match="no answer within 2 s"):
        choose("/d", command=f"sleep 300 & echo $! > '{pid_file}'; wait").read(RealDisk())
    pid = int(pid_file.read_text())
    for _ in range(500):  # an orphan is reaped by init, or stays a zombie
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")


def test_a_command_that_leaves_a_daemon_behind_does_not_hang_either(monkeypatch, tmp_path):
    """It has left the group, and holds the pipe as long as it lives."""
    monkeypatch.setattr(module, "COMMAND_TIMEOUT_S", 2.0)
    pid_file = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(KeyringError, match="no answer"):
        choose("/d", command=f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 20' & wait").read(RealDisk())
    assert time.monotonic() - began < 10
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


# ---- made here


def test_a_new_key_is_private_and_durable_before_it_is_handed_out(tmp_path):
    path = str(tmp_path / "master.key")
    key = generate(RealDisk(), path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert read_file(RealDisk(), path).key == key.key
    assert os.listdir(tmp_path) == ["master.key"]
    with pytest.raises(KeyringError, match="no key is ever overwritten"):
        generate(RealDisk(), path)

    disk = SimDisk()
    disk.mkdir("/d")
    key = generate(disk, "/d/master.key", Random(1).randbytes)
    assert read_file(disk.crash(Random(2), "lose"), "/d/master.key").key == key.key


def test_an_earlier_try_with_a_wider_mode_does_not_widen_the_key(tmp_path):
    (tmp_path / "master.key.tmp").write_text("left over")
    (tmp_path / "master.key.tmp").chmod(0o644)
    generate(RealDisk(), str(tmp_path / "master.key"))
    assert os.stat(tmp_path / "master.key").st_mode & 0o777 == 0o600


def test_a_disk_that_refuses_leaves_no_key():
    disk = SimDisk()
    disk.mkdir("/d")
    disk.faults = {disk.calls + 2: Fault("eio")}
    with pytest.raises(KeyringError, match="^/d/master.key: the disk refused") as refused:
        generate(disk, "/d/master.key")
    assert refused.value.exit_code == EX_IO and not disk.exists("/d/master.key")


@pytest.mark.parametrize("mode, warned", [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o644, True)])
def test_others_who_can_read_the_key_are_warned_about(tmp_path, mode, warned):
    path = tmp_path / "k"
    path.write_text(HEX)
    path.chmod(mode)
    warning = mode_warning(RealDisk(), str(path))
    assert bool(warning) == warned and HEX not in warning
    assert not warned or f"mode {mode:04o}" in warning
    assert mode_warning(RealDisk(), "/nowhere/k") == ""


# ---- directives


def test_the_environment_is_where_the_key_itself_may_stand(tmp_path):
    assert of_settings(load(environ={"VAYLIX_MASTER_KEY": HEX}), "/d").read(RealDisk()).key == KEY
    path = tmp_path / "k"
    path.write_text(HEX)
    source = of_settings(load(environ={"VAYLIX_MASTER_KEY_FILE": str(path)}), "/d")
    assert (source.kind, source.read(RealDisk()).key) == (FILE, KEY)
    assert of_settings(Settings(), "/d").kind == OWN


def test_a_command_line_and_a_configuration_file_are_not():
    with pytest.raises(ConfigError, match="^command line: master-key: ps shows it to everybody; put it into a file"):
        load(options=["--master-key", HEX])
    with pytest.raises(ConfigError, match="^a.conf:1: master-key: copies of this file would carry it along") as refused:
        load("a.conf", read_text=lambda path: f"master-key {HEX}\n")
    assert HEX not in str(refused.value)
    assert load("a.conf", read_text=lambda path: 'master-key ""\n').master_key == ""
