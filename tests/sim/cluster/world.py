"""A cluster in one process: real replicas, a heap of events in the place of time, a network and disks that may fail.

One seed decides everything. The network delays, loses, repeats and (by delay) exchanges messages and cuts nodes off, in
one direction or both; what else goes wrong is in `trouble`.
Promise: the same seed plays the same story. Units: simulated seconds. Not here: what a node does (`node`), what clients
do (`clients`), what is checked over all nodes (`checks`).
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.sim.cluster.node import TICK, SimNode
from tests.sim.cluster.pasts import DiskPast, MemoryPast
from tests.sim.cluster.trouble import Faults, Trouble
from vaylix_resp.observability.logs import ROOT
from vaylix_resp.raft.ready import Config
from vaylix_resp.raft.types import Role
from vaylix_resp.state.nodes import NodeInfo

__all__ = ["TICK", "Faults", "SimNode", "World"]

NODES_LOG = logging.getLogger(ROOT)


@dataclass
class World:
    seed: int
    nodes_count: int = 3
    faults: Faults = field(default_factory=Faults)
    real_disk: bool = False  # the store's own code on a simulated disk, or a log in memory
    config: Config = field(default_factory=lambda: Config(id=1))
    follower_log_bytes: int = 10_000  # kept for a follower that is behind; past that it gets a snapshot
    ack_all: bool = False  # as `write-ack-mode all`

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self._level = NODES_LOG.level
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.events = 0
        self.blocked: set[tuple[int, int]] = set()
        self.cut_off: set[int] = set()
        self.healed = False
        self.counts: Counter[str] = Counter()  # what has happened
        self.nodes: dict[int, SimNode] = {}
        self.on_start: list[Callable[[SimNode], None]] = []
        self.on_stop: list[Callable[[SimNode], None]] = []
        self.on_send: list[Callable[[SimNode, Any], None]] = []
        self.on_answer: list[Callable[[SimNode], None]] = []
        self.checks: list[Callable[[SimNode], None]] = []
        self.trouble = Trouble(self)
        self.disks_fail = self.real_disk and bool(self.faults.disk_error or self.faults.disk_full)
        ids = range(1, self.nodes_count + 1)
        members = [self.info(node, voter=True) for node in ids]
        for node in ids:
            self.add(node, members)

    def info(self, node: int, *, voter: bool = False) -> NodeInfo:
        return NodeInfo(node, f"n{node}", f"h{node}", 7000 + node, voter=voter)

    def add(self, node: int, members: list[NodeInfo]) -> SimNode:
        """A machine that has never run. `members`: the founders; none: it joins."""
        past = DiskPast(node, members) if self.real_disk else MemoryPast(node, members)
        self.nodes[node] = new = SimNode(self, node, past)
        return new

    def begin(self) -> None:
        NODES_LOG.setLevel(logging.CRITICAL)  # what nodes say of their own faults is of no interest
        for node in self.nodes.values():
            node.start()
        self.after(1.0, self.trouble.turn)

    # Time.

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, call, arguments))

    def after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, call, arguments))

    def run_until(self, end: float, done: Callable[[], bool] | None = None) -> bool:
        """Whether `done`, which is asked now and then."""
        events, pop, look = self._events, heapq.heappop, 0.0
        while events and events[0][0] <= end:
            self.now, _, call, arguments = pop(events)
            self.events += 1
            call(*arguments)
            if done is not None and self.now >= look:
                if done():
                    return True
                look = self.now + TICK
        self.now = end
        return False

    # The network.

    def send(self, frm: SimNode, to: int, message: Any) -> bool:
        """As `peers.ports.Network`: False if it is certain that it never arrives."""
        for call in self.on_send:
            call(frm, message)
        target = self.nodes.get(to)
        if target is None:
            return False
        if target.replica is None or frm.replica is None or not self.reaches(frm.id, to):
            return True
        faults, random = self.present, self.random
        if faults.drop and random.random() < faults.drop:
            return True
        for _ in range(2 if faults.repeat and random.random() < faults.repeat else 1):
            delay = 1e-4 + 3e-4 * random.random()
            if faults.delay:
                delay += faults.delay * random.random()
            target.later(delay, target.receive, frm.id, message)
        return True

    def reaches(self, frm: int, to: int) -> bool:
        cut_off = self.cut_off
        return (frm, to) not in self.blocked and not (cut_off and (frm in cut_off or to in cut_off))

    def reset(self, a: SimNode, b: SimNode) -> None:
        """Their connection breaks: both notice, and (if they reach each other) have another one soon. Now and then it
        looks to them as if the other process had died."""
        looks_dead = self.random.random() < 0.3
        for one, other in ((a, b), (b, a)):
            one.later(self.random.uniform(0, 1e-3), one.unreachable, other.id)
            if looks_dead:
                one.later(self.random.uniform(0, 2e-3), one.seems_dead, other.id)
            if self.reaches(a.id, b.id) and self.reaches(b.id, a.id):
                one.later(self.random.uniform(2e-3, 0.3), one.connected, other.id)

    def disk_time(self) -> float:
        random, slow = self.random, self.present.slow_disk
        if slow and random.random() < slow:
            return random.uniform(0.1, 2.0)
        return random.uniform(1e-4, 1e-3)

    @property
    def present(self) -> Faults:
        """What may go wrong at this moment."""
        return self.trouble.none if self.healed or self.now % 10 < self.faults.calm else self.faults

    def restart(self, node: SimNode) -> None:
        if not node.up and not node.gone:
            node.start()

    def heal(self) -> None:
        """From now on all goes well: everything has to work again."""
        self.healed = True
        self.blocked.clear()
        self.cut_off.clear()
        for node in self.nodes.values():
            node.paused_until = min(node.paused_until, self.now)
            node.past.heal()
            node.fill("")
            self.restart(node)

    def close(self) -> None:
        """The story is over: nothing of it is left behind."""
        NODES_LOG.setLevel(self._level)
        for node in self.nodes.values():
            node.end()

    # Hooks.

    def started(self, node: SimNode) -> None:
        self.counts["starts"] += 1
        for call in self.on_start:
            call(node)

    def stopped(self, node: SimNode) -> None:
        """The connections of a process that dies break at once; of a machine without power nobody hears that."""
        for call in self.on_stop:
            call(node)
        if self.random.random() < 0.5:
            for other in self.nodes.values():
                if other is not node and other.up and self.reaches(node.id, other.id):
                    for notices in (other.unreachable, other.seems_dead):
                        other.later(self.random.uniform(1e-4, 5e-3), notices, node.id)

    def answered(self, node: SimNode) -> None:
        """It has just told a client that a write has happened."""
        for call in self.on_answer:
            call(node)

    def check(self, node: SimNode) -> None:
        for call in self.checks:
            call(node)

    def lost(self, node: int) -> None:
        raise AssertionError(f"node {node} is said to have lost what it promised to keep")

    @property
    def leaders(self) -> list[SimNode]:
        return [node for node in self.nodes.values() if node.replica and node.replica.status.role is Role.LEADER]

    @property
    def members(self) -> list[SimNode]:
        """As the only leader has it; none while there is not exactly one, or a new one has yet to begin."""
        leaders = self.leaders
        if len(leaders) != 1:
            return []
        replica = leaders[0].replica
        assert replica is not None
        ids = sorted(replica.core.membership.members)
        return [self.nodes[node] for node in ids] if all(node in self.nodes for node in ids) else []
