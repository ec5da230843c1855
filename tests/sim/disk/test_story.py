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

SEEDS = int(os.environ.get("VAYLIX_DISK_SEEDS", "120"))
SEEDS_PER_MISTAKE_MAX = 200


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
    with injected(mistake):
        for seed in range(1, SEEDS_PER_MISTAKE_MAX + 1):
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
