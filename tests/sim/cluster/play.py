"""One story from one seed: which faults, how many nodes and clients; then the cure, and the checks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.world import Faults, World
from vaylix_resp.limits import KIB
from vaylix_resp.raft.ready import Config

TROUBLE_SECONDS = (10.0, 20.0, 60.0)
CURE_SECONDS = 60.0  # within which a healed cluster has to be at rest, with every node equal
REFORM_SECONDS = 10.0  # in which the members that are left find a leader
QUIET_SECONDS = 2.0  # without another change of the members: nothing of the kind is under way any more
WORK_SECONDS = 10.0  # in which clients have to get on
WORK = 20


@dataclass
class Outcome:
    seed: int
    seconds: float
    events: int
    done: int
    codes: dict[str, int]
    terms: int
    counts: Counter[str]  # of faults and other things that have happened


def faults_of(random: Random) -> Faults:
    """Each kind on or off: a story with everything in it hides what a single one does."""

    def maybe(low: float, high: float, chance: float = 0.5) -> float:
        return random.uniform(low, high) if random.random() < chance else 0.0

    return Faults(
        drop=maybe(0.0, 0.3), repeat=maybe(0.0, 0.5), delay=maybe(0.0, 0.5), crash=maybe(0.05, 0.3),
        blackout=maybe(0.02, 0.15, 0.3), install=maybe(0.3, 0.9), cut=maybe(0.05, 0.3), pause=maybe(0.05, 0.3),
        partition=maybe(0.1, 0.5), swizzle=maybe(0.05, 0.2, 0.3), reset=maybe(0.1, 0.5), transfer=maybe(0.05, 0.3),
        slow_disk=maybe(0.0, 0.05), disk_error=maybe(0.02, 0.2, 0.3), disk_full=maybe(0.02, 0.15, 0.3),
        clock=maybe(0.05, 0.2, 0.3), snapshot=maybe(0.05, 0.4), members=maybe(0.1, 0.5, 0.4),
        calm=random.choice((0.0, 3.0, 6.0)),
    )  # fmt: skip


def limits_of(random: Random) -> tuple[Config, int]:
    """Of the core, and of the log that is kept for followers: small enough to be met, or as they are."""
    config = Config(id=1)
    if random.random() < 0.6:
        config = replace(
            config, cache_bytes=random.choice((500, 5_000)), append_entries=random.choice((2, 1000)),
            inflight_messages=random.choice((1, 3, 64)), append_bytes=KIB,
            promote_lag=random.choice((5, 1000)),
        )  # fmt: skip
    return config, random.choice((2_000, 10_000, 50_000))


def play(seed: int, seconds: float | None = None, *, real_disk: bool = False) -> Outcome:
    """`seconds` of trouble; None: as the seed has it."""
    random = Random(seed)
    drawn = random.choice(TROUBLE_SECONDS)
    ack_all = random.random() < 0.15
    world = World(
        random.getrandbits(32), random.choice((3, 3, 3, 5)), faults_of(random), real_disk, *limits_of(random), ack_all
    )
    history = History()
    checks = Checks(world, history)
    for number in range(random.randint(2, 5)):
        node = random.choice((None, 1 + number % world.nodes_count))
        SimClient(world, f"c{number}", history, node=node, fast=number == 0)
    try:
        world.begin()
        world.run_until(drawn if seconds is None else seconds)
        settle(world, history)
        checks.end()
        leader = world.leaders[0].replica
        assert leader is not None
        return Outcome(seed, world.now, world.events, history.done, history.codes, leader.status.term, world.counts)
    finally:
        world.close()


def settle(world: World, history: History) -> None:
    """Heal, let clients get on, stop them, and wait until all is quiet: each of it has to come true."""
    world.heal()
    world.run_until(world.now + REFORM_SECONDS, Formed(world))
    retire_others(world)
    before = history.done
    world.run_until(world.now + WORK_SECONDS, lambda: history.done > before + WORK)
    assert history.done > before + WORK, f"the cluster is healed, but clients do not get on: {history.codes}"
    history.closed = True
    settled = world.run_until(world.now + CURE_SECONDS, lambda: at_rest(world))
    assert settled, "the cluster does not come to rest: " + ", ".join(map(state_of, world.nodes.values()))


class Formed:
    """Somebody leads, all members are up, and there has been no other member for a while."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._members: list[int] = []
        self._since = 0.0

    def __call__(self) -> bool:
        members = [node.id for node in self._world.members if node.up]
        if members != self._members:
            self._members, self._since = members, self._world.now
        return bool(members) and self._world.now - self._since >= QUIET_SECONDS


def retire_others(world: World) -> None:
    """Whoever has been removed, or has never come in, is switched off, as an operator does it."""
    members = world.members
    if members:
        for node in world.nodes.values():
            if node not in members:
                node.gone = True
                node.crash()


def state_of(node: object) -> str:
    replica = getattr(node, "replica", None)
    if replica is None:
        return f"{getattr(node, 'id', 0)} down"
    log = replica.core.log
    return f"{replica.id} {replica.status} {log.last_id} committed {log.committed} applied {replica.applied}"


def at_rest(world: World) -> bool:
    members = world.members
    replicas = [node.replica for node in members]
    if not members or any(replica is None or replica.busy for replica in replicas):
        return False
    return len({replica.machine.applied for replica in replicas if replica}) == 1 and all(
        replica.machine.applied == replica.last_sequence for replica in replicas if replica
    )
