"""A running machine takes over the state of another one, which was loaded aside: a snapshot from the leader.

Everything that others hold on to stays the object that it is (the world, its views and transactions, accounts,
maintenance), so that no session looks at a state that is no longer there. Observers are told that every database is
another one.
Promise: afterwards the machine is at the other's sequence and its digest is the other's; nothing is seen half-way,
as nothing else runs meanwhile. Not here: loading (`engine.boot`), when this is allowed (`raft`).
"""

from __future__ import annotations

from . import versions
from .machine import StateMachine


def take_over(machine: StateMachine, other: StateMachine) -> None:
    """`other` is not used any more afterwards. Both have as many databases as `machine` is to have."""
    world, theirs = machine.world, other.world
    for old in world.databases:
        if old.items:
            world.throw_away(old)
    machine.replace_databases(theirs.databases)
    world.accounts.load(theirs.accounts.dump())
    if theirs.maintenance.on:
        world.maintenance.load(theirs.maintenance.dump())
    else:
        world.maintenance.end()
    world.audit_heads.load(theirs.audit_heads.dump())
    versions.raise_to(world, theirs.cluster_version)
    if theirs.nodes.cluster_id:
        world.nodes.load(theirs.nodes.dump())
        world.nodes.load_differing(theirs.nodes.dump_differing())
    world.staged.clear()
    world.staged.update(theirs.staged)
    world.top_version, world.deleted_version = theirs.top_version, theirs.deleted_version
    world.unsettled = theirs.unsettled
    machine.seek(other.applied, other.time_ms)
    if world.touched is not None:
        world.touched += [(number, None) for number in range(len(world.databases))]
