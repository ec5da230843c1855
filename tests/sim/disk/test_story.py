"""Random lives of the storage, in the number that CI has time for; `python -m tests.sim.disk --seeds N` tells more.

And the proof that they find what is wrong: each of the deliberate mistakes is caught within a bounded number of seeds.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.sim.disk.mutations import MUTATIONS, injected
from tests.sim.disk.story import Story
from vaylix_resp.errors import Refused

SEEDS = int(os.environ.get("VAYLIX_DISK_SEEDS", "60"))
SEEDS_PER_MISTAKE_MAX = 200
# Where to begin with those that take many: a change of the storage or of the stories moves it.
FOUND = {
    "recovery believes the page cache": 18,
    "recovery cuts nothing aside and stops at the first bad batch": 14,
    "recovery cuts whatever is bad at the end": 14,
    "the old segment is not synced before the next begins": 21,
    "what a failed write left is not cleared": 66,
}


def test_stories() -> None:
    counts: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        try:
            counts += Story(seed).tell().counts
        except Exception as broken:
            raise AssertionError(f"python -m tests.sim.disk --seed {seed} --seeds 1") from broken
    print(dict(counts))
    assert {
        "batch", "clean stop", "cut", "cut while starting", "flips refused", "flips without effect", "log failed", "no room",
        "power cut", "process killed", "refused for want of room", "snapshot", "snapshots replayed",
        "start refused by the disk", "torn batches cut",
    } <= set(counts), "each of these happens"  # fmt: skip


def test_a_seed_tells_the_same_story_again() -> None:
    first, second = Story(3).tell(), Story(3).tell()
    assert (first.digest, first.counts) == (second.digest, second.counts)
    assert first.digest != Story(4).tell().digest


@pytest.mark.parametrize("mistake", sorted(MUTATIONS))
def test_a_mistake_is_found(mistake: str) -> None:
    begin = FOUND.get(mistake, 1)
    with injected(mistake):
        for seed in (*range(begin, SEEDS_PER_MISTAKE_MAX + 1), *range(1, begin)):
            try:
                Story(seed).tell()
            except (AssertionError, Refused):  # anything else would be a mistake in the mistake
                return
    raise AssertionError(f"{SEEDS_PER_MISTAKE_MAX} seeds went well with this mistake: {mistake}")


def test_a_mistake_is_gone_when_it_is_taken_back() -> None:
    for mistake in MUTATIONS:
        with injected(mistake):
            pass
    Story(1).tell()
