"""A value that flips in the memory of one node is found by the others, whatever else goes wrong; nothing else is.

Costs about ten seconds.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.comparing import Comparing, Note, flip
from tests.sim.cluster.play import faults_of, settle
from tests.sim.cluster.world import Faults, World

STORY_S = 8.0
FOUND_S = 20.0  # after the cure: a round, and the answer of whoever was away


def story(seed: int, faults: Faults, *, real_disk: bool) -> tuple[World, History, Comparing]:
    world, history = World(seed, 3, faults, real_disk), History()
    comparing = Comparing(world)
    for number in range(3):
        SimClient(world, f"c{number}", history, node=1 + number, fast=True)
    return world, history, comparing


@pytest.mark.parametrize(("seed", "real_disk"), [(0, True), (3, False)])
def test_without_a_flip_nobody_is_accused(seed: int, real_disk: bool) -> None:
    """Crashes, snapshots, partitions, joining and leaving: all nodes make the same of the log."""
    world, history, comparing = story(seed, faults_of(Random(seed)), real_disk=real_disk)
    checks = Checks(world, history)
    try:
        world.begin()
        world.run_until(STORY_S)
        settle(world, history)
        checks.end()
        assert comparing.differing == set() == comparing.stopped and comparing.compared > 5
    finally:
        world.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_flip_is_found(seed: int) -> None:
    """In the middle of the story, on any node; then no client gets anything from it, and the others go on."""
    random = Random(seed)
    faults = Faults(drop=0.05, delay=0.1, pause=0.1, partition=0.1, transfer=0.1, snapshot=0.1, calm=3.0)
    world, history, comparing = story(seed, faults, real_disk=seed % 2 == 0)
    try:
        world.begin()
        world.run_until(STORY_S / 2)
        plant(world)
        wrong = random.choice([node for node in world.nodes.values() if node.up])
        flip(wrong, b"quiet")
        world.run_until(world.now + STORY_S / 2)
        world.heal()
        assert world.run_until(world.now + FOUND_S, lambda: comparing.stopped == {wrong.id} == comparing.differing)
        assert world.run_until(world.now + FOUND_S, lambda: bool(world.leaders) and world.leaders[0] is not wrong)
        before, refused = history.done, history.codes.get("MISCONF", 0)
        world.run_until(world.now + 5.0)
        assert history.done > before + 20 and history.codes.get("MISCONF", 0) >= refused
        assert comparing.differing == {wrong.id}, "nobody else"
    finally:
        world.close()


def plant(world: World) -> None:
    """A key that every node has and nobody writes again: the next write would cure what has been spoilt."""

    def planted() -> bool:
        replicas = [node.replica for node in world.nodes.values() if node.replica is not None]
        for leader in world.leaders:
            assert leader.replica is not None
            if leader.replica.refusal is None:
                leader.replica.propose(Note(leader.replica.machine), (b"SET", b"quiet", b"v", b"NX"))
        return all(b"quiet" in replica.machine.world.databases[0].items for replica in replicas)

    assert world.run_until(world.now + FOUND_S, planted)
