"""A bounded piece of the simulation: fixed stories, and some that nobody has seen before.

The long run is `python -m tests.sim --seeds 2000`.
"""

from __future__ import annotations

import secrets

import pytest

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.play import at_rest, play
from tests.sim.cluster.world import World


@pytest.mark.parametrize("seed", range(4))
def test_a_story_on_simulated_disks(seed: int) -> None:
    assert play(seed, 10.0, real_disk=True).done > 50


@pytest.mark.parametrize("seed", range(10, 13))
def test_a_story_in_memory(seed: int) -> None:
    assert play(seed, 10.0).done > 50


def test_stories_that_nobody_has_seen() -> None:
    for _ in range(2):
        seed = secrets.randbits(32)
        try:
            play(seed, 10.0, real_disk=True)
        except BaseException as problem:
            problem.add_note(f"python -m tests.sim --seed {seed} --seconds 10")
            raise


@pytest.mark.parametrize("real_disk", [True, False])
def test_the_same_seed_is_the_same_story(real_disk: bool) -> None:
    assert play(7, 4.0, real_disk=real_disk) == play(7, 4.0, real_disk=real_disk) != play(8, 4.0, real_disk=real_disk)


@pytest.mark.parametrize("real_disk", [True, False])
def test_without_faults_nobody_is_refused(real_disk: bool) -> None:
    world, history = World(1, real_disk=real_disk), History()
    checks = Checks(world, history)
    for number in range(3):
        SimClient(world, f"c{number}", history, node=number + 1, fast=True)
    world.begin()
    world.run_until(5.0)
    history.closed = True
    assert world.run_until(10.0, lambda: at_rest(world))
    checks.end()
    world.close()
    assert history.codes == {} and history.done > 100
