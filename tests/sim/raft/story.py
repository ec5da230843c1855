"""One run: trouble for a while, then peace, in which everything has to come right again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from vaylix_resp.raft.types import Role

from .world import TICK_MS, Faults, World

TROUBLE_MS = 40_000
ELECTIONS_MS = 10 * 20 * TICK_MS  # ten of the longest election timeouts
WORK_MS = 3_000
PEACE_MS = 60_000


@dataclass(frozen=True)
class Report:
    seconds: float  # simulated
    messages: int
    completed: int  # operations
    terms: int
    batches: int


def run(seed: int, *, trouble_ms: int = TROUBLE_MS, **certain: Any) -> Report:
    """Raises Violation or InvariantBroken with what went wrong. `certain`: faults that are not left to the seed."""
    world = World(seed, replace(Faults.drawn(Random(seed)), **certain))
    world.run(trouble_ms)
    heal(world)
    world.run(trouble_ms + ELECTIONS_MS)
    leaders = [node for node in world.nodes.values() if node.leads]
    if not leaders:
        world.checks.fail("no leader within ten election timeouts after the last fault")
    completed = world.completed
    world.run(world.now + WORK_MS)
    if world.completed == completed:
        world.checks.fail("nothing was completed after the last fault")
    world.quiet = True
    end = world.now + PEACE_MS
    while world.now < end and not is_in_order(world):
        world.run(world.now + 1000)
    if not is_in_order(world):
        world.checks.fail("the nodes have not come together: " + ", ".join(map(picture, world.nodes.values())))
    terms = max(node.core.term for node in world.nodes.values() if node.core)
    return Report(world.now / 1000, world.delivered, world.completed, terms, len(world.checks.committed))


def heal(world: World) -> None:
    world.calm = True
    world.blocked.clear()
    for node in list(world.nodes.values()):
        node.paused_until = node.slow_disk = 0
        node.doom = -1
        world.restart(node)


def is_in_order(world: World) -> bool:
    """One leader, and every member of its group has applied all that it has."""
    leaders = [node for node in world.nodes.values() if node.leads]
    newest = max(leaders, key=lambda node: node.core_term(), default=None)
    if newest is None or newest.core is None:
        return False
    members = [world.nodes[member] for member in newest.core.membership.members]
    return all(
        member.machine.last == newest.core.log.last_id
        and member.core_term() == newest.core.term
        and member.machine.state == newest.machine.state
        for member in members
    )


def picture(node: object) -> str:
    core = getattr(node, "core", None)
    if core is None:
        return f"{getattr(node, 'id', 0)} down"
    role = core.role
    progress = ""
    if role is Role.LEADER:
        peers = core.leading.replication.peers
        progress = " ".join(f"{n}:{p.state.name.lower()}:{p.match}/{p.next}" for n, p in peers.items())
    log = core.log
    return (
        f"{core.config.id} {role.name.lower()} term {core.term} last {log.last_id} committed {log.committed} "
        f"persisted {log.persisted} applied {log.applied} {core.membership} {progress}"
    )
