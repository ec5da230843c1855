"""One fault that stays, in an otherwise healthy cluster: the rest has to get on with it, not only after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.world import SimNode, World


def no_room(world: World, node: SimNode) -> None:
    node.fill("all")


def cut_off(world: World, node: SimNode) -> None:
    world.blocked |= {pair for other in world.nodes for pair in ((node.id, other), (other, node.id))}


def sends_but_hears_nothing(world: World, node: SimNode) -> None:
    world.blocked |= {(other, node.id) for other in world.nodes}


def hears_but_is_not_heard(world: World, node: SimNode) -> None:
    world.blocked |= {(node.id, other) for other in world.nodes}


def stopped(world: World, node: SimNode) -> None:
    node.paused_until = 1e9


def dead(world: World, node: SimNode) -> None:
    node.gone = True
    node.crash()


FAULTS = (no_room, cut_off, sends_but_hears_nothing, hears_but_is_not_heard, stopped, dead)
WITHIN_S = 6.0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("of_leader", [True, False], ids=["leader", "follower"])
def test_the_others_get_on(fault: Callable[[World, SimNode], None], of_leader: bool) -> None:
    world, history = World(5, real_disk=True), History()
    Checks(world, history)
    world.begin()
    assert world.run_until(5.0, lambda: len(world.leaders) == 1)
    (leader,) = world.leaders
    victim = leader if of_leader else next(node for node in world.nodes.values() if node is not leader)
    fault(world, victim)
    for other in world.nodes.values():
        if other is not victim:
            SimClient(world, f"c{other.id}", history, node=other.id, fast=True)
    world.run_until(world.now + WITHIN_S)
    before = history.done
    world.run_until(world.now + 4.0)
    world.close()
    assert history.done > before + 40, history.codes
