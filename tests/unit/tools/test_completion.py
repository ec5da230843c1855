"""Completion scripts: bash is driven for real; each script knows each command, option and choice."""

import shlex
import subprocess

import pytest

from vaylix_resp import cli
from vaylix_resp.directives import DIRECTIVES
from vaylix_resp.tools.command_tree import tree
from vaylix_resp.tools.completion import SHELLS, script

ROOT = tree(cli.whole_parser())
COMMANDS = [command for command in ROOT.walk() if command.path]


def offered(*lines):
    """What bash offers for the last word of each line; one bash for all of them."""
    asked = [
        f"COMP_WORDS=({' '.join(map(shlex.quote, line.split(' ')))}); COMP_CWORD={line.count(' ')}; COMPREPLY=();"
        " _vaylix; echo ${COMPREPLY[@]}"
        for line in lines
    ]
    text = "\n".join([script("bash", ROOT), *asked])
    run = subprocess.run(["bash", "--norc"], input=text, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return [line.split() for line in run.stdout.splitlines()]


@pytest.fixture(scope="module")
def answers():
    lines = [line for line, *_ in CASES]
    return dict(zip(lines, offered(*lines), strict=True))


CASES = [
    ("vaylix se", ["serve"]),
    ("vaylix storage ver", ["verify"]),
    ("vaylix storage verify --data", ["--data-dir"]),
    ("vaylix storage verify --data-dir storage --qu", ["--quick"]),  # a value is no command
    ("vaylix serve --appendfsync ", ["always", "everysec", "no"]),
    ("vaylix serve --appendfsync e", ["everysec"]),
    ("vaylix serve --encryption ", ["yes", "no"]),
    ("vaylix serve /etc/vaylix.conf --tls-p", ["--tls-port", "--tls-protocols", "--tls-prefer-server-ciphers"]),
    ("vaylix serve --dir ", []),  # bash offers files then
    ("vaylix completion ", ["bash", "zsh", "fish", "-h", "--help"]),
    ("vaylix nonsense --", ["--help", "--version"]),
]


@pytest.mark.parametrize("line, words", CASES)
def test_bash_offers(line, words, answers):
    assert sorted(answers[line]) == sorted(words)


def test_a_shell_that_the_command_knows_is_one_that_there_is_a_script_for():
    (shell,) = [option for option in next(c for c in COMMANDS if c.name == "completion").options if option.choices]
    assert set(shell.choices) == set(SHELLS)


@pytest.mark.parametrize("shell", SHELLS)
def test_everything_is_in_each_script(shell):
    text = script(shell, ROOT)
    for command in COMMANDS:
        assert f"' {' '.join(command.path)}'" in text, command.path
    for name in DIRECTIVES:
        assert (f"-l {name} " if shell == "fish" else f"--{name}") in text, name
    assert " ".join(DIRECTIVES["appendfsync"].spec.kind.names) in text
    assert text.endswith("\n") and "\t" not in text


def test_the_command_prints_it(capsys):
    assert cli.main(["completion", "fish"]) == 0
    assert capsys.readouterr().out == script("fish", ROOT)


def test_the_children_of_the_server_are_not_offered():
    assert not any("child" in command.name for command in COMMANDS)
