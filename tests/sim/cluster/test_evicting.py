"""Replicas agree on what was evicted, whatever happens to leaders, disks and snapshots meanwhile."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.evicting import LIMIT, Evicting
from tests.sim.cluster.play import faults_of, settle
from tests.sim.cluster.world import World
from vaylix_resp.state.footprint import data_bytes


# Two seconds of CPU each; the first on simulated disks, the second in memory.
@pytest.mark.parametrize("seed", range(2))
def test_replicas_agree_under_eviction(seed: int) -> None:
    """`Checks` compare the states of all nodes at equal index, and what clients have seen with what is there."""
    world = World(seed, 3, faults_of(Random(seed)), seed % 2 == 0)
    history, evicting = History(), Evicting(world)
    checks = Checks(world, history)
    for number in range(2):
        SimClient(world, f"c{number}", history, node=None, fast=number == 0)
    try:
        world.begin()
        world.run_until(10.0)
        evicting.filling = False
        settle(world, history)
        checks.end()
        for node in world.members:
            assert node.replica is not None
            assert data_bytes(node.replica.machine.world) < LIMIT * 1.3
        assert sum(node.replica.machine.world.evicted for node in world.members if node.replica) > 100
        assert LIMIT * 0.9 < evicting.highest < LIMIT * 1.5, "it was full, and no more than that"
    finally:
        world.close()
