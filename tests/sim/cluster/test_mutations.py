"""The checks see what they are there for: each deliberate mistake with the first seed that finds it.

`python -m tests.sim --mutations` hunts for the seeds anew: a change of the server moves them.
"""

from __future__ import annotations

import pytest

from tests.sim.cluster import mutations
from tests.sim.cluster.mutations import MUTATIONS, caught_by, story

FOUND = {
    "votes twice": 0,
    "votes for a log that lacks something": 1,
    "sends before term and vote are durable": 0,
    "forgets the vote with a restart": 0,
    "acknowledges before the fsync": 0,
    "cuts what is committed": 0,
    "counts itself before its fsync": 0,
    "a follower reads at its own commit index": 0,
    "takes two changes of the membership at once": 1,
    "commits and applies what one voter has": 0,
    "skips the fsync": 0,
    "loses the hard state": 0,
    "forgets to cut the log on disk": 1,
    "takes a failed write for done": 0,
    "installs a snapshot but keeps its state": 1,
    "answers when it proposes": 33,
    "reads at once": 0,
    "reads before it has applied enough": 31,
    "submits again without proof": 2,
    "forwards again under a new number": 2,
    "takes a forward twice": 3,
    "forgets whose it was": 2,
    "a timeout is a no": 10,
    "answers when a majority has it though all should": 0,
    "answers batches in the wrong order": 2,
    "stamps with its own clock": 0,
    "forgets a change when it is cut": 17,
    "does not tell the core of new members": 17,
}
# Of these a few are tried here, one of each part; all of them by the hunt.
TRIED = (
    "sends before term and vote are durable",
    "skips the fsync",
    "loses the hard state",
    "commits and applies what one voter has",
    "takes a failed write for done",
    "installs a snapshot but keeps its state",
    "submits again without proof",
    "takes a forward twice",
    "answers when a majority has it though all should",
    "forgets a change when it is cut",
)
MORE = 6  # a few more seeds, for a change that has moved them
SETS = ("STORMY", "POWER", "PRUNED", "MEMBERS")


@pytest.mark.parametrize("name", TRIED)
def test_a_mistake_is_found(name: str) -> None:
    begin = FOUND[name]
    assert any(caught_by(name, seed) for seed in (*range(begin, begin + MORE), *range(begin))), "hunt for a seed anew"


@pytest.mark.parametrize("faults", SETS)
def test_without_a_mistake_nothing_is_found(faults: str) -> None:
    story(1, getattr(mutations, faults), 6.0)


def test_every_mistake_has_its_seed() -> None:
    assert FOUND.keys() == MUTATIONS.keys()
    assert len(FOUND) >= 15
