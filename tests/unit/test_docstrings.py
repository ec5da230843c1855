"""What modules say of each other: a docstring or comment that leads to another module leads to one that is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "vaylix_resp"
PACKAGES = "|".join(path.parent.name for path in ROOT.glob("*/__init__.py"))
NAME = re.compile(rf"(?:{PACKAGES})(?:\.[A-Za-z_]\w*)+")
QUOTED = re.compile(rf"`({NAME.pattern})`")


def named(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of what stands between backticks, and anywhere in comments."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        comment = line.partition("# ")[2]
        yield from ((number, found) for found in {*QUOTED.findall(line), *NAME.findall(comment)})


def is_there(name: str) -> bool:
    """A package, a module, or something that a module names."""
    place, parts = ROOT, name.split(".")
    for at, part in enumerate(parts):
        if (place / part).is_dir():
            place /= part
            continue
        module = place / f"{part}.py"
        more = parts[at + 1 :]
        return module.is_file() and (not more or re.search(rf"\b{more[0]}\b", module.read_text()) is not None)
    return True


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_where_the_rest_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), "no docstring"
    assert [f"{line}: {name}" for line, name in named(path) if not is_there(name)] == []


@pytest.mark.parametrize(
    "name, there",
    [
        ("engine.copies", True), ("engine.copies.backups", True), ("engine.copies.backups.Backups", True),
        ("engine.backups", False), ("engine.copies.backups.Nothing", False), ("raft.membership", False),
    ],
)  # fmt: skip
def test_what_is_there(name: str, there: bool) -> None:
    assert is_there(name) is there
