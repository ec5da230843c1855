"""A bounded piece of the simulation: fixed stories, and some that nobody has seen before.

The long run is `python -m tests.sim --seeds 2000`.
"""

from __future__ import annotations

import secrets
from collections import Counter

import pytest

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.mutations import story
from tests.sim.cluster.play import WORK, at_rest, play
from tests.sim.cluster.world import Faults, World

HAPPENS = {
    "blackout", "change", "crash", "cut", "fail", "fill", "installations", "jump", "partition", "pause", "reset",
    "snapshots", "starts", "swizzle", "transfer",
}  # fmt: skip


EVERYTHING = Faults(
    drop=0.02, delay=0.02, crash=0.1, blackout=0.1, install=0.5, cut=0.1, pause=0.1, partition=0.3, swizzle=0.05, reset=0.2,
    transfer=0.1, disk_error=0.1, disk_full=0.1, clock=0.1, snapshot=0.9, members=0.2, calm=3.0,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_story_on_simulated_disks(seed: int) -> None:
    assert play(seed, 10.0, real_disk=True).done > WORK


def test_each_kind_of_trouble_happens() -> None:
    counts: Counter[str] = Counter()
    for seed in range(8):
        counts += story(seed, EVERYTHING, 15.0)
        if counts.keys() == HAPPENS:
            return
    raise AssertionError(counts.keys() ^ HAPPENS)


@pytest.mark.parametrize("seed", range(10, 13))
def test_a_story_in_memory(seed: int) -> None:
    assert play(seed, 10.0).done > WORK


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
