"""A simulated cluster that is short of memory: each life of a node has what clients of a real server share (`Shared`),
with its `MemoryLimit`, and writes keys that expire and may be evicted, beside those of the simulated clients, which may
not (`volatile-lru`).

Not here: what goes wrong otherwise (`trouble`); whether equal states come of it (`checks`).
"""

from __future__ import annotations

from tests.sim.cluster.comparing import Note
from tests.sim.cluster.node import TICK, SimNode
from tests.sim.cluster.world import World
from tests.unit.server.front import AtOnce
from vaylix_resp.commands.cluster_operations import version
from vaylix_resp.config import Settings
from vaylix_resp.engine.node import Run
from vaylix_resp.errors import CommandError
from vaylix_resp.limits import KIB
from vaylix_resp.server.memory import MemoryLimit
from vaylix_resp.server.shared import Shared
from vaylix_resp.state.footprint import data_bytes
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.versions import CURRENT

LIMIT = 256 * KIB
KEYS = 2000  # different ones
VALUE = 2 * KIB
EACH_TICK = 4
TTL_MS = b"3600000"


class Fill(Note):
    """Owner of a write that makes memory short; `under_way` holds it until it is answered, as a client would wait."""

    def __init__(self, machine: StateMachine, under_way: set[Fill]) -> None:
        super().__init__(machine)
        self._under_way = under_way
        under_way.add(self)

    def complete(self, run: Run) -> None:
        super().complete(run)
        self._under_way.discard(self)

    def fail(self, run: Run, refusal: CommandError) -> None:
        self._under_way.discard(self)


class Evicting:
    """`of`: by node, in its present life."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.of: dict[int, MemoryLimit] = {}
        self.filling = True
        self.highest = 0  # of any node that leads, in bytes
        world.on_start.append(self._begin)

    def _begin(self, node: SimNode) -> None:
        replica = node.replica
        assert replica is not None
        settings = Settings()
        settings.maxmemory, settings.maxmemory_policy = LIMIT, "volatile-lru"
        shared = Shared(settings, node.clock, replica, "0" * 40, AtOnce())
        shared.call_later = node.later  # type: ignore[method-assign, assignment]
        shared.rng.seed(self.world.random.getrandbits(64))
        self.of[node.id] = shared.memory
        node.later(TICK, self._look, node, shared.memory, set())

    def _look(self, node: SimNode, made: MemoryLimit, under_way: set[Fill]) -> None:
        replica = node.replica
        assert replica is not None
        world = replica.machine.world
        if replica.refusal is None:
            if replica.leads and world.cluster_version < CURRENT:
                replica.propose(Note(replica.machine), version(CURRENT))
            for _ in range(EACH_TICK if self.filling and not (made.tight or under_way) else 0):  # as the gate does it
                key = b"fill:%d" % self.world.random.randrange(KEYS)
                value = bytes(self.world.random.randrange(VALUE))
                replica.propose(Fill(replica.machine, under_way), (b"SET", key, value, b"PX", TTL_MS))
        made.tick()
        if replica.leads:
            self.highest = max(self.highest, data_bytes(world))
        node.later(TICK, self._look, node, made, under_way)
