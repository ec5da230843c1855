"""A cluster of cores under one clock, with a network, clients and somebody who breaks things. All from one seed.

Units: milliseconds of simulated time. Each seed draws which kinds of faults it has (swarm): a world in which all of
them always happen would never get far enough for the rarer ones.
Cruelty of the network: messages are dropped, doubled, delayed, overtaken; links fail one way, in pairs, or as a split.
Not here: what must hold (`checks`); one node (`node`); one whole run (`story`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from vaylix_resp.raft.messages import Append, Message
from vaylix_resp.raft.ready import Config
from vaylix_resp.raft.types import Change, ChangeKind, EntryId, Membership, Refused

from .checks import Checks
from .node import KEYS, SimNode, encode_members, small_config

TICK_MS = 50
GIVE_UP_MS = 3000  # when a client tries something else


@dataclass(slots=True)
class Operation:
    """What a client waits for. `seen`: what had been completed on each register when it was invoked."""

    client: int
    seen: dict[bytes, int]
    began: int = 0
    writes: list[tuple[bytes, bytes]] = field(default_factory=list)
    key: bytes = b""
    done: bool = False


@dataclass(frozen=True, slots=True)
class Faults:
    """What this seed has; chances per 1000."""

    nodes: int
    clients: int
    fifo: bool
    drop: int
    duplicate: int
    delay_ms: int
    partitions: bool
    crashes: bool
    pauses: bool
    slow_disks: bool
    membership: bool
    transfers: bool
    compaction: bool
    disk_reads: bool
    lease_reads: bool

    @staticmethod
    def drawn(rng: Random) -> Faults:
        def some(chance: float = 0.5) -> bool:
            return rng.random() < chance

        lease_reads = some(0.2)
        return Faults(
            nodes=rng.choice((1, 2, 3, 3, 3, 4, 5)),
            clients=rng.choice((1, 3, 8)),
            fifo=some(),
            drop=rng.choice((0, 0, 10, 100, 300)),
            duplicate=rng.choice((0, 0, 50, 500)),
            delay_ms=rng.choice((1, 5, 50, 500)),
            partitions=some(0.6),
            crashes=some(0.6),
            pauses=some(0.3) and not lease_reads,  # a lease is what a pause breaks; that is why it is off by default
            slow_disks=some(0.3),
            membership=some(0.4),
            transfers=some(0.4),
            compaction=some(0.5),
            disk_reads=some(0.3),
            lease_reads=lease_reads,
        )


class World:
    def __init__(self, seed: int, faults: Faults) -> None:
        self.rng = Random(seed)
        self.signs = Random(-seed - 1)  # of its own, so that the other faults of a seed stay what they were
        self.faults = faults
        self.now = 0
        self._events: list[tuple[int, int, Callable[[], object]]] = []
        self._number = 0
        self.nodes: dict[int, SimNode] = {}
        self.checks = Checks(self.nodes)
        self.blocked: set[tuple[int, int]] = set()  # links that carry nothing
        self.calm = False  # the faults are over
        self.quiet = False  # and so is the work
        self.arrivals: dict[tuple[int, int], int] = {}  # FIFO: when the last message of a link arrives
        self.delivered = self.completed = self.given_up = 0
        self._operations = 0
        self._next_id = 1
        founders = Membership(frozenset(range(1, self.faults.nodes + 1)))
        for _ in range(self.faults.nodes):
            self.add_node(founders)
        for client in range(self.faults.clients):
            self.later(self.rng.randrange(500), lambda client=client: self.client(client))
        self.later(100, self.break_something)

    def config(self, node: int) -> Config:
        return small_config(node, lease_reads=self.faults.lease_reads)

    # --- time -------------------------------------------------------------------------------------------------------

    def later(self, ms: int, what: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + ms, self._number, what))

    def run(self, until: int) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until

    def add_node(self, founders: Membership) -> SimNode:
        node_id, self._next_id = self._next_id, self._next_id + 1
        node = SimNode(self, node_id, founders, Random(self.rng.getrandbits(64)))
        self.nodes[node_id] = node
        node.disk.reads_wait = self.faults.disk_reads
        self.later(self.rng.randrange(TICK_MS), lambda: self.tick(node))
        return node

    def tick(self, node: SimNode) -> None:
        self.later(TICK_MS, lambda: self.tick(node))
        if node.paused_until <= self.now:
            node.ticks += 1
            node.told("tick")

    # --- the network ------------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        rng, link = self.rng, (message.frm, message.to)
        copies = 1
        if not self.calm:
            if rng.randrange(1000) < self.faults.drop:
                copies = 0
            elif rng.randrange(1000) < self.faults.duplicate:
                copies = 2
        for _ in range(copies):
            delay = 1 + rng.randrange(5 if self.calm else self.faults.delay_ms + 1)
            if self.faults.fifo:
                delay = max(delay, self.arrivals.get(link, 0) - self.now)
                self.arrivals[link] = self.now + delay
            self.later(delay, lambda sent=self.now: self.deliver(message, sent))

    def deliver(self, message: Message, sent: int) -> None:
        node = self.nodes.get(message.to)
        if (message.frm, message.to) in self.blocked or node is None or not node.alive:
            if isinstance(message, Append) and self.rng.random() < 0.3 and message.frm in self.nodes:
                self.nodes[message.frm].told("unreachable", message.to)
            self.sign_of_death(message.frm, message.to)
            return
        if node.paused_until > self.now:
            self.later(node.paused_until - self.now, lambda: self.deliver(message, sent))
            return
        self.delivered += 1
        node.heard[message.frm] = node.ticks
        self.checks.delivered(node, message, sent)
        node.told("step", message)
        self.checks.heard(node, message)

    def sign_of_death(self, witness: int, of: int) -> None:
        """What did not arrive has been refused by a dead node's kernel; or a firewall says so of one that lives."""
        node = self.nodes.get(witness)
        if self.signs.random() >= 0.2 or node is None or node.core is None or node.paused_until > self.now:
            return
        if node.core.status.leader == of and not self.faults.lease_reads:
            node.followed = (0, -100)  # it may vote for somebody else from now on
        node.told("leader_gone", of)

    def stream(self, source: SimNode, to: int, life: int) -> None:
        """A snapshot on its way to a node that lacks too much. It arrives as a whole or not at all."""
        target = self.nodes.get(to)
        if life != source.life or not source.alive:
            return
        saved = source.disk.snapshot
        reachable = {(source.id, to), (to, source.id)}.isdisjoint(self.blocked)
        if target is None or not target.alive or not reachable or saved[0].last.index == 0:
            source.told("snapshot_sent", to, None)
            return
        target.received[saved[0].name] = saved
        source.told("snapshot_sent", to, saved[0])

    # --- clients ----------------------------------------------------------------------------------------------------

    def client(self, number: int) -> None:
        rng = self.rng
        if self.quiet:
            return
        operation = Operation(number, self.checks.invoked(), self.now)
        node = self.nodes[rng.choice(sorted(self.nodes))]
        core = node.core
        if core is None or node.paused_until > self.now:
            self.later(rng.randrange(10, 200), lambda: self.client(number))
            return
        if core.role.name != "LEADER" and core.status.leader in self.nodes and rng.random() < 0.5:
            node = self.nodes[core.status.leader]
            core = node.core
        self.later(GIVE_UP_MS, lambda: self.give_up(operation))
        refused: Refused | None = None
        if core is None:
            self.over(operation)
        elif rng.random() < 0.5:
            operation.key = rng.choice(KEYS)
            refused = node.told("read_index", operation)
        else:
            refused = self.write(node, operation)
            for _ in range(0 if self.calm else rng.choice((0, 0, 0, 5))):  # nobody waits for these, so they pile up
                extra = Operation(-1, self.checks.invoked(), self.now, done=True)
                self.write(node, extra)
        if refused is not None:
            self.over(operation)

    def write(self, node: SimNode, operation: Operation) -> Refused | None:
        rng = self.rng
        if not node.alive:
            return None
        for key in rng.sample(KEYS, rng.randrange(1, 4)):
            self._operations += 1
            operation.writes.append((key, b"%d" % self._operations + b"." * rng.choice((0, 0, 100, 1200))))
        return node.propose(operation, b"\n".join(b"=".join(write) for write in operation.writes))

    def over(self, operation: Operation) -> None:
        if not operation.done:
            operation.done = True
            self.later(self.rng.randrange(5, 100), lambda: self.client(operation.client))

    def give_up(self, operation: Operation) -> None:
        if not operation.done:
            self.given_up += 1
            self.over(operation)

    def decided(self, operation: Operation | None, *, lost: bool, index: int = 0) -> None:
        if operation is None:
            return
        if lost:
            self.checks.told_lost(operation)
        elif index and not operation.done:
            self.checks.completed_write(operation, index)
            self.completed += 1
        self.over(operation)

    def read_served(self, operation: Operation, state: dict[bytes, tuple[int, bytes]]) -> None:
        if not operation.done:
            index, value = state.get(operation.key, (0, b""))
            self.checks.completed_read(operation, index, value, leases=self.faults.lease_reads)
            self.completed += 1
        self.over(operation)

    def read_failed(self, operation: Operation) -> None:
        self.over(operation)

    # --- trouble ----------------------------------------------------------------------------------------------------

    def break_something(self) -> None:
        if self.calm:
            return
        rng, faults = self.rng, self.faults
        self.later(rng.randrange(50, 1500), self.break_something)
        kinds = [name for name in ("partitions", "crashes", "pauses", "slow_disks", "membership", "transfers", "compaction")
                 if getattr(faults, name)]  # fmt: skip
        if kinds:
            getattr(self, "break_" + rng.choice(kinds))(self.nodes[rng.choice(sorted(self.nodes))])

    def break_partitions(self, node: SimNode) -> None:
        rng, ids = self.rng, sorted(self.nodes)
        self.blocked.clear()
        leaders = [one.id for one in self.nodes.values() if one.leads]
        one = rng.choice(leaders) if leaders and rng.random() < 0.5 else node.id
        others = [other for other in ids if other != one]
        kind = rng.choice(("heal", "split", "alone", "pair", "deaf", "mute"))
        if kind == "split":
            side = set(rng.sample(ids, len(ids) // 2))
            self.blocked = {(a, b) for a in ids for b in ids if (a in side) != (b in side)}
        elif kind == "alone":
            self.blocked = {(a, b) for a in ids for b in ids if (a == one) != (b == one)}
        elif kind == "pair" and others:
            other = rng.choice(others)
            self.blocked = {(one, other), (other, one)}
        elif kind == "deaf":
            self.blocked = {(other, one) for other in others}
        elif kind == "mute":
            self.blocked = {(one, other) for other in others}

    def break_crashes(self, node: SimNode) -> None:
        leaders = [one for one in self.nodes.values() if one.leads]
        if leaders and self.rng.random() < 0.5:
            node = self.rng.choice(leaders)
        if node.alive:
            node.doom = self.rng.randrange(12)
            self.later(self.rng.randrange(1, 400), node.crash)  # at the latest
        back = self.rng.choice((50, 400, 4000))
        self.later(400 + self.rng.randrange(back), lambda: self.restart(node))

    def restart(self, node: SimNode) -> None:
        if not node.alive and node.id in self.nodes:
            node.start()

    def break_pauses(self, node: SimNode) -> None:
        node.paused_until = self.now + self.rng.choice((100, 600, 3000))

    def break_slow_disks(self, node: SimNode) -> None:
        node.slow_disk = self.rng.choice((0, 20, 200, 1500))

    def break_transfers(self, node: SimNode) -> None:
        for one in list(self.nodes.values()):
            if one.leads:
                one.told("transfer", self.rng.choice([0, *sorted(self.nodes)]))

    def break_compaction(self, node: SimNode) -> None:
        leaders = [one for one in self.nodes.values() if one.leads]
        if leaders and self.rng.random() < 0.5:
            node = self.rng.choice(leaders)
        node.compact()

    def break_membership(self, node: SimNode) -> None:
        """Ask each leader, also one that has been cut off, for a change; one at a time is their business."""
        rng = self.rng
        for one in list(self.nodes.values()):
            if not one.leads or one.core is None:
                continue
            membership = one.core.membership
            changes = [Change(ChangeKind.PROMOTE, learner) for learner in sorted(membership.learners)]
            if len(self.nodes) < 8 and len(membership.members) < 6:
                changes.append(Change(ChangeKind.ADD_LEARNER, self.add_node(Membership()).id))
            if len(membership.voters) > 2:
                changes.append(Change(ChangeKind.REMOVE, rng.choice(sorted(membership.members))))
                changes.append(Change(ChangeKind.DEMOTE, rng.choice(sorted(membership.voters))))
            rng.shuffle(changes)
            for change in changes[: rng.choice((1, 2))]:
                self.change(one, change)

    def change(self, leader: SimNode, change: Change) -> EntryId | Refused | None:
        if leader.core is None:
            return None
        following = leader.core.membership
        try:
            following = following.after(change)
        except ValueError:
            return None
        made = leader.core.propose_members(change, self.now, 0, encode_members(following))
        leader.pump()
        return made
