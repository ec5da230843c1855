"""The fenced blocks of a page, the commands in them, and whether an output is the one that the page shows.

Promise: pure; line numbers are those of the page, from 1. What the languages mean is a table in CONTRIBUTING.md.
Not here: running anything (machine.py); which pages there are (pages.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LANGUAGES: Final = ("sh", "console", "redis", "python", "conf", "json", "yaml", "text")
ANYTHING: Final = "…"

_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\s*$")
_COMMENT: Final = re.compile(r"^ *<!-- (?P<kind>not run|given): (?P<text>.+) -->\s*$")
_EXIT_CODE: Final = re.compile(r"#.*\bexit code (\d+)\b")
_HERE_DOCUMENT: Final = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


class Malformed(Exception):
    """A page that cannot be read as the rule says; the text begins with the line."""


@dataclass(frozen=True, slots=True)
class Block:
    line: int  # of the first line inside
    language: str
    lines: tuple[str, ...]
    not_run: str = ""  # why; empty: it is run
    given: tuple[str, ...] = ()  # commands that come first


@dataclass(frozen=True, slots=True)
class Command:
    """`expected` is None where the page shows no output, `exit_code` where the output shown decides alone."""

    line: int
    text: str
    exit_code: int | None = 0
    expected: tuple[str, ...] | None = None


def blocks(page: str) -> Iterator[Block]:
    """All fenced blocks. Raises Malformed for a block without a language, without an end, or a comment without a block."""
    comments: list[tuple[str, str]] = []
    opened: re.Match[str] | None = None
    inside: list[str] = []
    first = 0
    for number, line in enumerate(page.splitlines(), start=1):
        fence = _FENCE.match(line)
        if opened is not None:
            if fence is None or fence["language"]:
                inside.append(line.removeprefix(opened["indent"]))
                continue
            yield _block(first, opened["language"], inside, comments)
            opened, inside, comments = None, [], []
        elif fence is not None:
            if fence["language"] not in LANGUAGES:
                raise Malformed(f"{number}: a block says what it is: one of {', '.join(LANGUAGES)}")
            opened, first = fence, number + 1
        elif comment := _COMMENT.match(line):
            comments.append((comment["kind"], comment["text"]))
        elif comments:
            raise Malformed(f"{number}: `not run` and `given` stand right before a block")
    if opened is not None:
        raise Malformed(f"{first}: the block has no end")


def _block(first: int, language: str, inside: list[str], comments: list[tuple[str, str]]) -> Block:
    reasons = [text for kind, text in comments if kind == "not run"]
    given = tuple(text for kind, text in comments if kind == "given")
    return Block(first, language, tuple(inside), "; ".join(reasons), given)


def prose(page: str) -> str:
    """The page with its blocks blanked out, line for line."""
    inside = False
    kept = []
    for line in page.splitlines():
        fence = _FENCE.match(line)
        kept.append("" if inside or fence else line)
        if fence:
            inside = not inside
    return "\n".join(kept)


def commands(block: Block) -> list[Command]:
    """What a `sh`, `console` or `redis` block asks for, in order."""
    if block.language == "sh":
        return _shell(block)
    prompt = {"console": "$ ", "redis": "> "}[block.language]
    found: list[Command] = []
    text, start, output = "", 0, []  # type: str, int, list[str]
    for number, line in enumerate(block.lines, start=block.line):
        if text and not _whole(text):
            text = f"{text}\n{line}"
        elif line.startswith(prompt):
            if text:
                found.append(_transcribed(start, text, output))
            text, start, output = line.removeprefix(prompt), number, []
        elif text:
            output.append(line)
        else:
            raise Malformed(f"{number}: a transcript begins with {prompt!r}")
    if text:
        found.append(_transcribed(start, text, output))
    return found


def _transcribed(line: int, text: str, output: list[str]) -> Command:
    return Command(line, text, exit_code_of(text), tuple(output))


def _shell(block: Block) -> list[Command]:
    found: list[Command] = []
    text, start = "", 0
    for number, line in enumerate(block.lines, start=block.line):
        if not text:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            start = number
        text = f"{text}\n{line}" if text else line
        if _whole(text):
            found.append(Command(start, text, exit_code_of(text) or 0))
            text = ""
    if text:
        raise Malformed(f"{start}: the command has no end")
    return found


def exit_code_of(command: str) -> int | None:
    """The one that the command's comment names."""
    found = _EXIT_CODE.search(command)
    return int(found[1]) if found else None


def _whole(text: str) -> bool:
    """Does the command end here? Quotes, backslashes, here documents and brackets of functions go on in the next line."""
    if text.rsplit("\n", 1)[-1].endswith("\\"):
        return False
    for word in _HERE_DOCUMENT.findall(text):
        if f"\n{word}" not in text:
            return False
    open_quote = ""
    depth, previous, skip = 0, " ", False
    for character in re.sub(r"<<-?\s*['\"]?(\w+)['\"]?(.*)\n(?:.*\n)*?\1", r"\2", text):
        if skip:
            skip = False
        elif open_quote:
            skip = character == "\\" and open_quote == '"'
            open_quote = "" if character == open_quote else open_quote
        elif character == "#" and previous.isspace():
            open_quote = "\n"
        elif character in "'\"":
            open_quote = character
        elif character == "\\":
            skip = True
        else:
            depth += (character in "({") - (character in ")}")
        previous = character
    return open_quote in ("", "\n") and depth <= 0


def same(shown: tuple[str, ...], output: str) -> bool:
    """Is the output what the page shows? Spaces at the ends of lines and empty lines at the end do not count."""
    pattern = ""
    for line in _trimmed(shown):
        if line == ANYTHING:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split(ANYTHING))) + r"\n"
    text = "".join(f"{line}\n" for line in _trimmed(output.splitlines()))
    return re.fullmatch(pattern, text) is not None


def _trimmed(lines: tuple[str, ...] | list[str]) -> list[str]:
    kept = [line.rstrip() for line in lines]
    while kept and not kept[-1]:
        kept.pop()
    return kept
