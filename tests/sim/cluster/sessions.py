"""Sessions that do not wait for one answer before they ask the next thing, as pipelining clients do.

Each appends the numbers of its writes to a key of its own, and reads that in between; now and then it lets go of all that
is under way and goes to another node. It joins runs as `server.completion` does. What it watches: runs are answered in
their order; a read sees every write that the session knows to be made, and none that it knows not to be; no number is
there twice; those of one connection stand in their order.
Not here: histories of several clients on one key (`clients`).
"""

from __future__ import annotations

from collections import deque
from random import Random

from tests.sim.cluster.world import SimNode, World
from vaylix_resp.engine.node import Run
from vaylix_resp.errors import CommandError

FLIGHT_MAX = 100  # runs
LEAVES = 0.001  # the chance, with each request, that the connection breaks
MADE, REFUSED, UNKNOWN = "made", "refused", "unknown"


class SimSession:
    def __init__(self, world: World, number: int) -> None:
        self.world, self.random = world, Random(world.random.getrandbits(32))
        self.key = b"s%d" % number
        self.closed = False
        self.fates: dict[int, str] = {}  # of each write
        self._connection = 0
        self._made_on: list[int] = [0]  # the connection of each write, by its number
        self._node: SimNode | None = None
        self._flight: deque[Run] = deque()
        self._rate = self.random.choice((200.0, 50.0, 20.0))
        self._reads = self.random.choice((0.1, 0.5, 0.9))
        world.on_stop.append(self._stopped)
        world.after(self.random.uniform(0, 0.5), self._ask)

    def _ask(self) -> None:
        if self.closed:
            return
        up = [node for node in self.world.nodes.values() if node.belongs]
        if self._node is None and up:
            self._node = self.random.choice(up)
        self.world.after(self.random.expovariate(self._rate), self._ask)
        replica = self._node.replica if self._node is not None else None
        reads = self.random.random() < self._reads
        if replica is None or replica.crowded or len(self._flight) > FLIGHT_MAX:
            return
        if not reads and replica.refusal is not None:
            return  # a server refuses it before it joins anything
        if not self._flight or self._flight[-1].batch is not replica.open:
            self._flight.append(replica.join(self))
        run, number = self._flight[-1], len(self._made_on)
        if reads:
            run.items.append((self._node, number - 1, None))
        else:
            operation = (b"APPEND", self.key, b"%d;" % number)
            self._made_on.append(self._connection)
            run.add((operation,))
            run.items.append((self._node, number, operation))
        if self.random.random() < LEAVES:
            self._leave()

    def _leave(self) -> None:
        """Whatever becomes of what is under way: nobody hears it."""
        for run in self._flight:
            for _, number, operation in run.items:
                if operation is not None:
                    self.fates[number] = UNKNOWN
        self._flight.clear()
        self._node = None
        self._connection += 1

    def _stopped(self, node: SimNode) -> None:
        if node is self._node:
            self._leave()

    def _heard(self, run: Run) -> bool:
        """Whether this is the answer that the session waits for next; False: it has gone."""
        if all(run is not one for one in self._flight):
            return False
        assert self._flight[0] is run, f"{self.key!r} is not answered in its order"
        self._flight.popleft()
        return True

    # engine.node.Owner

    def complete(self, run: Run) -> None:
        heard = self._heard(run)
        for node, number, operation in run.items:
            machine = node.replica.machine
            if operation is not None:
                (reply,) = machine.apply_all([operation])
                assert not isinstance(reply, CommandError), reply.text
                if heard:
                    self.fates[number] = MADE
            elif heard:
                self.check(machine.world.views[0].string(self.key), number)

    def fail(self, run: Run, refusal: CommandError) -> None:
        if self._heard(run):
            for _, number, operation in run.items:
                if operation is not None:
                    self.fates[number] = UNKNOWN if refusal.code == "INDETERMINATE" else REFUSED

    def check(self, text: bytes | None, last: int) -> None:
        """What is read now, and was asked for behind the write `last`."""
        numbers = [int(number) for number in (text or b"").split(b";")[:-1]]
        there, newest = set(numbers), dict[int, int]()
        assert len(there) == len(numbers), f"{self.key!r} has a write twice: {numbers}"
        for number in numbers:
            connection = self._made_on[number]
            assert newest.get(connection, 0) < number, f"{self.key!r}: writes have changed places: {numbers}"
            newest[connection] = number
        for number in range(1, last + 1):
            fate = self.fates.get(number, UNKNOWN)
            assert fate != MADE or number in there, f"{self.key!r} has lost its write {number}"
            assert fate != REFUSED or number not in there, f"{self.key!r} has a write that was refused: {number}"

    @property
    def written(self) -> int:
        return len(self._made_on) - 1
