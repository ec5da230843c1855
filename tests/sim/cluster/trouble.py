"""What goes wrong in a simulated cluster besides the network, and when: drawn about once a second.

Its cruelty: nodes die at any moment or at any call of their disk (above all while they install a snapshot), all at once
too; they stop for a while (SIGSTOP), are cut off in one direction or both, one after the other and back in another order;
connections break; disks are slow, fail once (EIO of a write or an fsync), have no room for a while; clocks jump;
leadership is handed over; members come and go, the leader too; snapshots are made so often that followers fall behind
the log. Leaders are struck more often than others. Every story ends with a cure (`World.heal`).
Units: chances for each message, or (of some node) each second; seconds. Not here: damage at rest (`tests.sim.disk`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaylix_resp.engine.replication.members import nodes_after
from vaylix_resp.engine.replication.replica import Replica
from vaylix_resp.raft.types import Change, ChangeKind, Refused

if TYPE_CHECKING:
    from tests.sim.cluster.world import SimNode, World

MEMBERS_MAX = 5
FIRST_NEW_ID = 100
INSTALL_CALLS = 12  # of the disk: about as many as an installation makes


@dataclass
class Faults:
    """All off by default."""

    drop: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0  # at most, on top of the network's own
    crash: float = 0.0
    blackout: float = 0.0  # all nodes die at one moment
    install: float = 0.0  # chance for each installation of a snapshot that the power is cut in it
    cut: float = 0.0  # power is cut within one of the next calls of the disk
    pause: float = 0.0
    partition: float = 0.0
    swizzle: float = 0.0  # some nodes are cut off one by one, and come back in another order
    reset: float = 0.0  # the connection of two nodes breaks, and is made again
    transfer: float = 0.0
    slow_disk: float = 0.0  # chance that one fsync takes up to 2 s
    disk_error: float = 0.0  # one of the next calls ends with EIO, or with ENOSPC
    disk_full: float = 0.0  # for a while
    clock: float = 0.0  # jumps by up to an hour
    snapshot: float = 0.0  # is made; of each node
    members: float = 0.0  # a change is proposed
    calm: float = 0.0  # seconds of each ten in which nothing of this happens


class Trouble:
    def __init__(self, world: World) -> None:
        self.world = world
        self.none = Faults()
        self._new_id = FIRST_NEW_ID

    def turn(self) -> None:
        world = self.world
        if world.healed:
            return
        faults, random = world.present, world.random
        world.after(random.uniform(0.5, 1.5), self.turn)
        for chance, happens in (
            (faults.crash, self._crash), (faults.blackout, self._blackout), (faults.cut, self._cut),
            (faults.pause, self._pause), (faults.partition, self._partition), (faults.swizzle, self._swizzle),
            (faults.reset, self._reset), (faults.transfer, self._transfer), (faults.disk_error, self._fail),
            (faults.disk_full, self._fill), (faults.clock, self._jump), (faults.snapshot, self._snapshots),
            (faults.members, self._change),
        ):  # fmt: skip
            if chance and random.random() < chance:
                happens()
                world.counts[happens.__name__.strip("_")] += 1

    def _up(self) -> list[SimNode]:
        return [node for node in self.world.nodes.values() if node.up]

    def _victim(self) -> SimNode | None:
        """Somebody who is up; a leader, if there is one, at least half of the time."""
        world, random = self.world, self.world.random
        leaders = world.leaders
        victims = leaders if leaders and random.random() < 0.5 else self._up()
        return random.choice(victims) if victims else None

    def _crash(self) -> None:
        if victim := self._victim():
            self._kill(victim)

    def _kill(self, victim: SimNode) -> None:
        world = self.world
        victim.crash()
        world.after(world.random.uniform(0.01, 6.0), world.restart, victim)

    def _blackout(self) -> None:
        for node in self._up():
            self._kill(node)

    def installs(self, node: SimNode) -> None:
        """A snapshot is about to take the place of this node's log and state."""
        random = self.world.random
        self.world.counts["installations"] += 1
        if random.random() < self.world.present.install:
            node.past.arm(random, "crash", INSTALL_CALLS)

    def _cut(self) -> None:
        if victim := self._victim():
            victim.past.arm(self.world.random, "crash")

    def _fail(self) -> None:
        random = self.world.random
        if victim := self._victim():
            victim.past.arm(random, random.choice(("eio", "enospc")))

    def _fill(self) -> None:
        world, random = self.world, self.world.random
        if victim := self._victim():
            victim.fill(random.choice(("growth", "all")))
            world.after(random.uniform(0.2, 6.0), victim.fill, "")

    def _jump(self) -> None:
        random = self.world.random
        random.choice(list(self.world.nodes.values())).clock.skew_ms += int(random.uniform(-1, 1) * 3_600_000)

    def _pause(self) -> None:
        if victim := self._victim():
            victim.paused_until = self.world.now + self.world.random.uniform(0.1, 5.0)

    def _snapshots(self) -> None:
        for node in self._up():
            if node.upkeep is not None and self.world.random.random() < 0.5 and node.paused_until <= self.world.now:
                node.upkeep.save()

    def _transfer(self) -> None:
        for node in self.world.leaders:
            assert node.replica is not None
            node.replica.core.transfer(0)
            node.replica.on_work()

    def _partition(self) -> None:
        world, random = self.world, self.world.random
        ids, blocked = list(world.nodes), world.blocked
        blocked.clear()
        kind = random.choice(("none", "pair", "one way", "alone", "deaf", "mute", "halves"))
        a, b = random.sample(ids, 2)
        if (leaders := world.leaders) and random.random() < 0.5:
            a = random.choice(leaders).id
            b = random.choice([other for other in ids if other != a])
        if kind in ("pair", "one way"):
            blocked.add((a, b) if random.random() < 0.5 else (b, a))
        if kind == "pair":
            blocked |= {(a, b), (b, a)}
        if kind in ("alone", "deaf"):
            blocked |= {(other, a) for other in ids if other != a}
        if kind in ("alone", "mute"):
            blocked |= {(a, other) for other in ids if other != a}
        if kind == "halves":
            half = set(random.sample(ids, len(ids) // 2))
            blocked |= {(x, y) for x in ids for y in ids if (x in half) != (y in half)}

    def _swizzle(self) -> None:
        world, random = self.world, self.world.random
        victims = random.sample(list(world.nodes), random.randint(1, len(world.nodes)))
        when = 0.0
        for change in (world.cut_off.add, world.cut_off.discard):
            for node in random.sample(victims, len(victims)):
                when += random.uniform(0.0, 1.0)
                world.after(when, self._unless_healed, change, node)

    def _unless_healed(self, call: Callable[[int], None], node: int) -> None:
        if not self.world.healed:
            call(node)

    def _reset(self) -> None:
        nodes = self._up()
        if len(nodes) > 1:
            a, b = self.world.random.sample(nodes, 2)
            self.world.reset(a, b)

    # Members.

    def _change(self) -> None:
        """Some leader, perhaps one that is none any more, is asked for a change; or for two at once."""
        random = self.world.random
        if leaders := self.world.leaders:
            replica = random.choice(leaders).replica
            assert replica is not None
            for _ in range(random.choice((1, 1, 2))):
                self._ask_for_change(replica)

    def _ask_for_change(self, replica: Replica) -> None:
        random = self.world.random
        members = replica.core.membership
        if members.learners and random.random() < 0.7:
            self.propose(replica, Change(ChangeKind.PROMOTE, random.choice(sorted(members.learners))))
        elif len(members.members) < MEMBERS_MAX and random.random() < 0.6:
            self._admit(replica)
        elif len(members.voters) > 2:
            kind = random.choice((ChangeKind.REMOVE, ChangeKind.REMOVE, ChangeKind.DEMOTE))
            self.propose(replica, Change(kind, random.choice(sorted(members.voters))))

    def _admit(self, replica: Replica) -> None:
        self._new_id += 1
        node = self._new_id
        if self.propose(replica, Change(ChangeKind.ADD_LEARNER, node)):
            self.world.after(0.2, self._join, node)

    def propose(self, replica: Replica, change: Change) -> bool:
        nodes = replica.machine.world.nodes
        joining = self.world.info(change.node) if change.kind is ChangeKind.ADD_LEARNER else None
        if change.node not in {info.id for info in nodes.members} and joining is None:
            return False
        try:
            following = nodes_after(nodes, change, joining)
        except (KeyError, ValueError):
            return False
        placed = replica.propose_members(change, following)
        replica.on_work()
        return not isinstance(placed, Refused)

    def _join(self, node: int) -> None:
        """A node begins when a member has told it that it belongs to them."""
        world = self.world
        told = [other for other in self._up() if node in other.replica.core.membership.members]  # type: ignore[union-attr]
        if told:
            world.add(node, []).start()
        else:
            world.after(0.2, self._join, node)
