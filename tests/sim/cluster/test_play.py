"""A bounded piece of the simulation: fixed stories, some that nobody has seen before, and those that found something.

The long run is `python -m tests.sim --seeds 2000`.
"""

from __future__ import annotations

import secrets

import pytest

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.play import at_rest, play
from tests.sim.cluster.world import World

# Each failed once. seed: (seconds of trouble, what was wrong)
FOUND_SOMETHING: dict[int, tuple[float, str]] = {}


@pytest.mark.parametrize("seed", range(4))
def test_a_story_on_simulated_disks(seed: int) -> None:
    assert play(seed, 10.0, real_disk=True).done > 100


@pytest.mark.parametrize("seed", range(10, 13))
def test_a_story_in_memory(seed: int) -> None:
    assert play(seed, 10.0).done > 100


@pytest.mark.parametrize("seed", FOUND_SOMETHING)
def test_what_was_wrong_is_right(seed: int) -> None:
    seconds, _ = FOUND_SOMETHING[seed]
    assert play(seed, seconds, real_disk=True).done > 100


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
        SimClient(world, f"c{number}", history, node=number + 1)
    world.begin()
    world.run_until(5.0)
    history.closed = True
    assert world.run_until(10.0, lambda: at_rest(world))
    checks.end()
    world.close()
    assert history.codes == {} and history.done > 100
