"""A simulated cluster whose nodes compare their states, as the server's do: each life of a node has a `Digesting`.

Not here: what goes wrong otherwise (`trouble`), what the comparison must find (`test_flips`).
"""

from __future__ import annotations

from typing import Any

from tests.sim.cluster.node import TICK, SimNode
from tests.sim.cluster.world import World
from vaylix_resp.commands.cluster_operations import version
from vaylix_resp.engine.node import Run
from vaylix_resp.engine.replication.digesting import Digesting
from vaylix_resp.errors import CommandError
from vaylix_resp.peers.messages import Digest, DigestAsk
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.versions import CURRENT

INTERVAL_S = 0.2


class Note:
    """Owner of an entry whose reply is of no interest."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine

    def complete(self, run: Run) -> None:
        self._machine.apply_all(run.items)

    def fail(self, run: Run, refusal: CommandError) -> None:
        """It is proposed again."""


class Comparing:
    """`of`: by node, in its present life."""

    def __init__(self, world: World, interval_s: float = INTERVAL_S) -> None:
        self.world, self.interval_s = world, interval_s
        self.of: dict[int, Digesting] = {}
        self.compared = 0  # verdicts, of all leaders
        self._lives: dict[int, int] = {}
        world.on_start.append(self._begin)

    def _begin(self, node: SimNode) -> None:
        assert node.replica is not None
        if node.id not in self.of:
            plain = node.receive

            def receive(frm: int, message: Any) -> None:
                if isinstance(message, Digest | DigestAsk):
                    self.of[node.id].hear(frm, message)
                else:
                    plain(frm, message)

            node.receive = receive  # type: ignore[method-assign]
        self.of[node.id] = made = Digesting(node.replica, node.send, node.later)
        made.interval_s = self.interval_s
        node.later(TICK, self._look, node, made)

    def _look(self, node: SimNode, made: Digesting) -> None:
        replica, before = node.replica, made.comparisons.compared
        assert replica is not None and self.of[node.id] is made
        world = replica.machine.world
        if replica.leads and world.cluster_version < CURRENT and replica.refusal is None:
            replica.propose(Note(replica.machine), version(CURRENT))
        made.look()
        self.compared += made.comparisons.compared - before
        node.later(TICK, self._look, node, made)

    # What a test asks and does.

    @property
    def differing(self) -> set[int]:
        """As any state has it."""
        replicas = [node.replica for node in self.world.nodes.values() if node.replica is not None]
        return {one for replica in replicas for one in replica.machine.world.nodes.differing}

    @property
    def stopped(self) -> set[int]:
        return {node.id for node in self.world.nodes.values() if node.up and self.of[node.id].stopped is not None}


def flip(node: SimNode, key: bytes) -> None:
    """One bit of a value, in the memory of this node."""
    assert node.replica is not None
    items = node.replica.machine.world.databases[0].items
    items[key] = items[key][:-1] + bytes((items[key][-1] ^ 1,))
