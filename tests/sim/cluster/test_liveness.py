"""One fault that stays, in an otherwise healthy cluster: the rest has to get on with it, not only after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.world import SimNode, World
from vaylix_resp.raft.types import Change, ChangeKind


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


def test_a_learner_answers_its_clients_when_everybody_has_to_have_it() -> None:
    """`write-ack-mode all`: the leader says how far every voter is, also to those that do not vote."""
    world, history = World(5, real_disk=True, ack_all=True), History()
    Checks(world, history)
    world.begin()
    assert world.run_until(5.0, lambda: len(world.leaders) == 1)
    (leader,) = world.leaders
    learner = next(node for node in world.nodes.values() if node is not leader)
    assert leader.replica is not None and learner.replica is not None
    world.run_until(world.now + 1.0)
    assert world.trouble.propose(leader.replica, Change(ChangeKind.DEMOTE, learner.id))
    world.run_until(world.now + 1.0)
    assert learner.replica.core.membership.learners == {learner.id}
    SimClient(world, "c", history, node=learner.id, fast=True)
    world.run_until(world.now + WITHIN_S)
    world.close()
    assert history.done > 30 and not history.codes, history.codes
