"""The manual pages: complete, and nothing that a formatter would complain of. Up to date is .ci/run's business."""

import re
import subprocess

import pytest

from release import manual
from tests.e2e.tools import require
from vaylix_resp import cli
from vaylix_resp.directives import DIRECTIVES
from vaylix_resp.tools.command_tree import tree

PAGES = {"vaylix.1": manual.program_page, "vaylix.conf.5": manual.configuration_page}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_fault(name, tmp_path):
    require("mandoc")
    (tmp_path / name).write_text(PAGES[name]())
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", tmp_path / name], check=False, capture_output=True, text=True)
    assert [line for line in lint.stdout.splitlines() if "missing date" not in line] == []


def shown(name, tmp_path):
    """As a reader sees it, blanks and line ends as one space."""
    require("mandoc")
    (tmp_path / name).write_text(PAGES[name]())
    text = subprocess.run(["mandoc", "-T", "ascii", tmp_path / name], check=True, capture_output=True, text=True).stdout
    return re.sub(r"\s+", " ", re.sub(".\b", "", text))


def test_every_command_and_option_is_on_the_page(tmp_path):
    page = shown("vaylix.1", tmp_path)
    for command in tree(cli.whole_parser()).walk():
        if not command.commands:
            assert f" vaylix {' '.join(command.path)} " in page
            for option in command.options:
                assert option.value == "VALUE" or option.names == ("-h", "--help") or all(n in page for n in option.names)


def test_every_directive_is_on_the_page_with_its_default(tmp_path):
    page = shown("vaylix.conf.5", tmp_path)
    for name in DIRECTIVES:
        assert f" {name} " in page
    assert "port 6379 0 = no TCP port" in page and 'unixsocket "" unixsocketperm 0 A Unix socket' in page
    assert r'know \n \r \t \xHH \" \\' in page, "backslashes and quotes come through"


@pytest.mark.parametrize(
    "text, written",
    [
        (".so x", r"\&.so x"),
        ("'a'", r"\&'a'"),
        ("a\n.b", "a\n\\&.b"),
        ("a\\n--b", r"a\en\-\-b"),
        ('"x"', r"\(dqx\(dq"),
    ],
)
def test_text_never_becomes_a_request(text, written):
    assert manual.roff(text) == written


def test_words_in_quotes_are_bold():
    assert manual.plain("see `a-b` and ` c") == r"see \fBa\-b\fR and ` c"
