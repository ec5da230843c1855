"""One member through all its lives: a real replica, turned as the group commit and the driver turn it.

Every event of a life goes through `later`: it does not happen when the life is over, it waits while the process is
paused, and a power cut inside it ends the life. Not here: the network and what goes wrong (`world`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.cluster.loop import SimLoop
from tests.sim.cluster.pasts import DATABASES, Past
from tests.sim.cluster.upkeep import STREAM, Upkeep
from tests.sim.disk.simdisk import PowerCut
from tests.unit.engine.lab import land
from vaylix_resp.engine import boot
from vaylix_resp.engine.replication.replica import Replica
from vaylix_resp.peers.messages import Everywhere, Forward
from vaylix_resp.raft.ready import Fetch, Persist
from vaylix_resp.storage.errors import DiskFull, IoFailed, Unreadable, WalFailed

if TYPE_CHECKING:
    from tests.sim.cluster.world import World

START_MS = 1_700_000_000_000
TICK = 0.05
TELL_TICKS = 20
NEWS = 0.002
LATE_S = 0.005
TURN_S = 5e-4  # of the loop: what comes within it is done in one
FAILED_S = 0.1  # as `app_cluster`: a node with a failed log hands over, and goes


@dataclass
class SimClock:
    world: World
    skew_ms: int = 0

    def wall_ms(self) -> int:
        return START_MS + self.skew_ms + int(self.world.now * 1000)

    def wall_us(self) -> int:
        return self.wall_ms() * 1000

    def now(self) -> float:
        return self.world.now


class SimNode:
    def __init__(self, world: World, identity: int, past: Past) -> None:
        self.world, self.id, self.past = world, identity, past
        self.clock = SimClock(world, world.random.randint(-60_000, 60_000))
        self.replica: Replica | None = None
        self.upkeep: Upkeep | None = None
        self.gone = False  # it has been removed, or has never been taken in: nobody starts it again
        self.life = 0
        self.paused_until = 0.0
        self._turning = False
        self._in_flight: Persist | None = None
        self._between: list[Callable[[], None]] = []
        self._loop: SimLoop | None = None
        self._ticks = 0

    @property
    def up(self) -> bool:
        return self.replica is not None

    @property
    def belongs(self) -> bool:
        """Clients that know the cluster would ask it."""
        return self.replica is not None and self.id in self.replica.core.membership.members

    # Lives.

    def start(self) -> None:
        world, random = self.world, self.world.random
        self.life += 1
        machine = boot.new_machine(DATABASES)
        try:
            wal, core = self.past.begin(machine, replace(world.config, id=self.id, eager_commits=False), Random(random.getrandbits(64)))
        except PowerCut:
            self._end()
            world.after(random.uniform(0.01, 2.0), world.restart, self)
            return
        except (DiskFull, IoFailed, Unreadable, WalFailed):
            if not world.disks_fail:
                raise
            self._end()
            world.after(random.uniform(0.01, 2.0), world.restart, self)
            return
        rng = Random(random.getrandbits(64))
        self.replica = replica = Replica(wal, machine, self.clock, rng, core, self, boot=random.getrandbits(63) + 1)
        self._turning, self._in_flight, self._between, self._ticks = False, None, [], 0
        life = self.life
        replica.on_work = replica.on_join = lambda: self._soon(life)
        replica.on_commit = lambda index: self.later(NEWS, self._announce, index)
        replica.on_fetch = self._fetch
        replica.on_lost = world.lost
        replica.on_failure = self._failed
        replica.ack_all = world.ack_all
        replica.on_everywhere = self._tell_everywhere
        if self.past.store is not None:
            self._loop = SimLoop(self.later, self.clock.now, world.disk_time)
            self.upkeep = Upkeep(
                self.past.store, replica, self.clock, self._loop, self.between_batches, self, world.follower_log_bytes,
                lambda: world.trouble.installs(self),
            )  # fmt: skip
        self.later(random.uniform(0, TICK), self._tick)
        world.started(self)

    def _announce(self, index: int) -> None:
        assert self.replica is not None
        self.replica.announce(index)
        self.replica.on_work()

    def crash(self) -> None:
        if self.replica is not None:
            self.past.die(self.world.random, self._in_flight)
            self.world.stopped(self)
            self._end()

    def end(self) -> None:
        """The story is over; nobody is told."""
        self.gone = True
        if self.replica is not None:
            self.past.die(self.world.random, None)
            self._end()

    def _end(self) -> None:
        self.life += 1
        self.replica = self.upkeep = None
        if self._loop is not None:
            self._loop.end()
            self._loop = None
        self.past.crash(self.world.random)

    def _failed(self, reason: str) -> None:
        assert self.replica is not None
        if self.replica.leads:
            self.replica.core.transfer(0)
        self.later(FAILED_S, self.power_cut)

    def power_cut(self) -> None:
        raise PowerCut

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        self.world.after(seconds, self._act, self.life, call, arguments)

    def _act(self, life: int, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if life != self.life:
            return
        if self.paused_until > self.world.now:
            # What came meanwhile is read in any order: a client's request before a word of the new leader, perhaps.
            late = self.world.random.uniform(0, LATE_S) if call == self.receive else 0.0
            self.world.at(self.paused_until + late, self._act, life, call, arguments)
            return
        try:
            call(*arguments)
        except PowerCut:
            self.crash()
            self.world.after(self.world.random.uniform(0.01, 4.0), self.world.restart, self)

    # Turns, as the group commit makes them.

    def between_batches(self, job: Callable[[], None]) -> None:
        self._between.append(job)
        self._soon(self.life)

    def _soon(self, life: int) -> None:
        if not self._turning and life == self.life:
            self._turning = True
            self.later(TURN_S * self.world.random.random(), self._turn)

    def _turn(self) -> None:
        replica = self.replica
        assert replica is not None
        self._turning = False
        if self._in_flight is not None:
            replica.beside()
            return
        while self._between:
            self._between.pop(0)()
        work = replica.seal()
        self.world.check(self)
        if work is None:
            if replica.pending:
                self._soon(self.life)
            return
        self._in_flight = work
        self.later(self.world.disk_time(), self._persisted, work)

    def _persisted(self, work: Persist) -> None:
        replica = self.replica
        assert replica is not None
        self._in_flight = None
        land(replica, work)
        self.world.check(self)
        if replica.pending or self._between:
            self._soon(self.life)

    def _tick(self) -> None:
        assert self.replica is not None
        if self.upkeep is not None:
            self.upkeep.look()
        self.replica.tick()
        self._ticks += 1
        if self._ticks % TELL_TICKS == 0 and self.replica.leads and self.replica.everywhere:
            self._tell_everywhere(self.replica.everywhere)
        self.later(TICK, self._tick)

    def _tell_everywhere(self, sequence: int) -> None:
        """As `Driver.tell`."""
        assert self.replica is not None
        for node in self.replica.core.membership.members - {self.id}:
            self.send(node, Everywhere(sequence))

    # The disk has no room for a while.

    def fill(self, full: str) -> None:
        self.past.fill(full)
        if not full and self.replica is not None and self.replica.full:
            self.replica.space_is_back()

    # Mail; `peers.ports.Network` for the streams.

    def send(self, to: int, message: Any) -> bool:
        return self.world.send(self, to, message)

    def flush(self) -> None:
        """The network takes what it is given."""

    def queue_bytes(self, node: int, *, large: bool = False) -> int:
        return 0

    def unreachable(self, node: int) -> None:
        """As `Driver.on_unreachable`."""
        assert self.replica is not None
        self.replica.core.unreachable(node)

    def seems_dead(self, node: int) -> None:
        """As `Driver.on_gone`."""
        assert self.replica is not None
        self.replica.leader_gone(node)

    def connected(self, node: int) -> None:
        """As `Driver.on_connected`."""
        assert self.replica is not None
        self.replica.connected(node)

    def receive(self, frm: int, message: Any) -> None:
        assert self.replica is not None
        if isinstance(message, Forward):
            self.replica.receive_forward(message)
        elif isinstance(message, Everywhere):
            self.replica.is_everywhere(message.sequence)
        elif isinstance(message, STREAM):
            if self.upkeep is not None:
                self.upkeep.hear(frm, message)
        else:
            self.replica.receive(message)

    def _fetch(self, fetch: Fetch) -> None:
        self.later(self.world.disk_time(), self._fetched, fetch)

    def _fetched(self, fetch: Fetch) -> None:
        assert self.replica is not None
        self.replica.core.fetched(fetch, self.past.read(fetch.after, fetch.max_bytes))
        self._soon(self.life)
