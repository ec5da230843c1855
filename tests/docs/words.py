"""Do the `vaylix` commands and test programs that a page names exist, with their options? For what is not run, and for the prose.

Promise: nothing is started; a parser is asked, or the text of a module is read.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path

from vaylix_resp.cli import _parser
from vaylix_resp.directives import DIRECTIVES

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
DIRECTIVE_COMMANDS = ("serve", "check-config")


def unknown(command: str) -> list[str]:
    """What the command line names and the program does not know. Empty for commands of other programs."""
    words = plain(command)
    if "vaylix" in words:
        return unknown_to_vaylix(words[words.index("vaylix") + 1 :])
    if "-m" in words and words[0].startswith("python"):
        return unknown_to_module(words[words.index("-m") + 1], words)
    return []


def plain(command: str) -> list[str]:
    """Words without a comment; a line with a quote that is open in the page (`...`) is cut at spaces."""
    text = command.replace("\\\n", " ")
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def unknown_to_vaylix(words: list[str]) -> list[str]:
    parser = tree(words[0] if words else "")
    known = set(parser._option_string_actions)
    for word in words:
        verbs = subcommands(parser)
        if not verbs or word.startswith("-"):
            break
        if word not in verbs:
            return [word] if re.fullmatch(r"[a-z-]+", word) else []
        parser = verbs[word]
        known = set(parser._option_string_actions)
        if word in DIRECTIVE_COMMANDS:
            known |= {f"--{name}" for name in DIRECTIVES}
    return [option for word in words for option in OPTION.findall(word.split("=")[0]) if option not in known]


@cache
def tree(asked: str) -> argparse.ArgumentParser:
    return _parser(asked)[0]


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def unknown_to_module(name: str, words: list[str]) -> list[str]:
    """Our own programs (tests, bench, compat) by their text: importing all of them would take longer than the pages."""
    if name.split(".")[0] not in ("tests", "bench", "compat"):
        return []
    spec = importlib.util.find_spec(name)
    if spec is None:
        return [name]
    folders = spec.submodule_search_locations
    files = Path(next(iter(folders))).glob("*.py") if folders else [Path(spec.origin or "")]
    text = "".join(file.read_text() for file in files)
    return [word for word in words if OPTION.fullmatch(word) and f'"{word}"' not in text]
