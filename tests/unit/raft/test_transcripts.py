"""Scripts of cores on a bench: each is a story about one rule, and its text says what has to happen.

RAFT_REWRITE=1 pytest ... accepts what they print now; the difference is what is reviewed.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.sim.raft.mutations import MUTATIONS, SCRIPTED
from tests.unit.raft.bench import play

FOLDER = Path(__file__).parent / "scripts"
SCRIPTS = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_story_goes_as_it_is_told(path: Path) -> None:
    expected = path.read_text()
    printed = play(expected)
    if os.environ.get("RAFT_REWRITE"):
        path.write_text(printed)
    assert printed == expected


@pytest.mark.parametrize("name, script", SCRIPTED.items())
def test_a_mistake_makes_another_story(name: str, script: str) -> None:
    """Those that the simulator seldom meets: their script goes otherwise with the mistake."""
    expected = (FOLDER / f"{script}.txt").read_text()
    mistake, _ = MUTATIONS[name]
    with ExitStack() as stack:
        mistake(stack)
        assert play(expected) != expected
    assert play(expected) == expected
