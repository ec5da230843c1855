"""The program: exit codes, one line for what was foreseen, help with an example for every subcommand."""

import json
import os
import subprocess
import sys
import types

import pytest

from vaylix_resp import __version__, cli
from vaylix_resp.directives import DIRECTIVES
from vaylix_resp.errors import EX_BROKEN, EX_DATA, EX_IO, Halt

NOT_YOURS = f"give it to the user that this runs as (id {os.geteuid()}), or run it as the user that owns it"

pytestmark = pytest.mark.usefixtures("clean_environment")


def run(capsys, *words):
    """(exit code, what went to standard output, what went to standard error)."""
    try:
        code = cli.main(words)
    except SystemExit as left:
        code = left.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def app(monkeypatch):
    """A stand-in for vaylix_resp.app; `serve` is to be replaced."""
    module = types.ModuleType("vaylix_resp.app")
    module.serve = lambda settings: 0
    monkeypatch.setitem(sys.modules, "vaylix_resp.app", module)
    return module


@pytest.mark.parametrize("command", ["serve", "check-config", "export", "healthcheck", "version"])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_subcommand_has_help_with_an_example(capsys, command, flag):
    code, out, err = run(capsys, command, flag)
    assert (code, err) == (0, "")
    assert f"example:\n  vaylix {command}" in out


def test_the_help_of_serve_lists_every_directive(capsys):
    _, out, _ = run(capsys, "serve", "conf/vaylix.conf", "--port", "1", "--help")
    for name in DIRECTIVES:
        assert f"  --{name}\n" in out
    assert "(default: 64mb)" in out
    assert "exit codes:" in out


def test_the_hidden_subcommand_is_in_no_help(capsys):
    assert "snapshot-child" not in run(capsys, "--help")[1]


def test_the_version_is_printed_for_people_and_as_json(capsys):
    assert run(capsys, "version")[:2] == (0, f"vaylix {__version__} (python {sys.version.split()[0]})\n")
    assert json.loads(run(capsys, "version", "--json")[1])["vaylix"] == __version__
    assert run(capsys, "--version")[1] == f"vaylix {__version__}\n"


@pytest.mark.parametrize("words", [["bogus"], ["version", "--what"], ["healthcheck", "--port", "x"]])
def test_wrong_usage_is_one_line_and_64(capsys, words):
    code, out, err = run(capsys, *words)
    assert (code, out) == (64, "")
    assert err.count("\n") == 1 and "--help" in err


def test_no_subcommand_prints_the_help_and_64(capsys):
    code, out, err = run(capsys)
    assert (code, out) == (64, "")
    assert "check-config" in err


# ---- serve


def test_serve_hands_over_the_settings_and_returns_the_exit_code(capsys, app, tmp_path, monkeypatch):
    seen = []
    app.serve = lambda settings: seen.append(settings) or 65
    file = tmp_path / "v.conf"
    file.write_text("timeout 5\nhz 20\n")
    monkeypatch.setenv("VAYLIX_MAXCLIENTS", "7")
    assert run(capsys, "serve", str(file), "--hz", "30")[0] == 65
    (settings,) = seen
    assert (settings.timeout, settings.hz, settings.maxclients) == (5, 30, 7)
    assert settings.config_file == str(file)


def raising(error):
    def serve(settings):
        raise error

    return serve


class Damage(Exception):
    exit_code = EX_DATA


@pytest.mark.parametrize(
    "error, code, text",
    [
        (Damage("wal/1.wal: byte 512: bad"), EX_DATA, "vaylix: wal/1.wal: byte 512: bad\n"),
        (Halt(EX_IO, "fsync failed\x1b[2J\nforged"), EX_IO, "vaylix: fsync failed?[2J forged\n"),
        (OSError(28, "No space left on device", "/d/LOCK"), EX_IO, "vaylix: /d/LOCK: No space left on device\n"),
        (OSError("odd"), EX_IO, "vaylix: odd\n"),
        (PermissionError(13, "Permission denied", "/l"), EX_IO, f"vaylix: /l: Permission denied; {NOT_YOURS}\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_was_foreseen_is_one_line_and_a_code(capsys, app, error, code, text):
    app.serve = raising(error)
    assert run(capsys, "serve") == (code, "", text)


def test_a_broken_invariant_is_70_and_shows_its_place(capsys, app):
    app.serve = raising(AssertionError((3, 4)))
    code, _, err = run(capsys, "serve")
    assert code == EX_BROKEN
    assert "Traceback" in err
    assert err.endswith("vaylix: broken invariant: (3, 4); please report this\n")


def test_what_nobody_foresaw_is_not_hidden(app):
    app.serve = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["serve"])


@pytest.mark.parametrize(
    "words, text",
    [
        (["--port", "x"], 'vaylix: command line: port "x": argument couldn\'t be parsed into an integer; give a whole'),
        (["/does/not/exist.conf"], "vaylix: /does/not/exist.conf: cannot read the configuration: No such file"),
        (["-p", "6380"], "vaylix: command line: -p: not an option; give '--name value'"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_78(capsys, words, text):
    for command in ("serve", "check-config"):
        code, out, err = run(capsys, command, *words)
        assert (code, out) == (78, "")
        assert err.startswith(text) and err.count("\n") == 1


def test_the_snapshot_child_gets_its_own_words(monkeypatch):
    module = types.ModuleType("vaylix_resp.engine.snapshot_child")
    module.child_main = len
    package = types.ModuleType("vaylix_resp.engine")
    package.snapshot_child = module
    monkeypatch.setitem(sys.modules, "vaylix_resp.engine", package)
    monkeypatch.setitem(sys.modules, "vaylix_resp.engine.snapshot_child", module)
    assert cli.main(["snapshot-child", "--help", "b"]) == 2


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "vaylix_resp", "version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("vaylix ")
