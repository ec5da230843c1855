"""What happens to the servers while clients write: 1 to 3 to 5 nodes and back to 3, every node replaced, all restarted.

Each step is what docs/cluster.md tells an operator to do, in the same order. Not here: the clients (`writers`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from bench.processes import Program, us_program, wait_until
from tests.changes.town import Town
from tests.changes.writers import Writers, writing
from tests.e2e.cluster import READY_SECONDS
from vaylix_resp.state.versions import CURRENT

Say = Callable[[str], None]
HELD_BACK: tuple[str, ...] = ("--cluster-version-max", "1")
STEP_WRITES = 20  # of all clients together, at least, between two steps: so that each step happens under load


class Story:
    """`old`: the program that the nodes begin with; the rolling restart puts the present one in its place."""

    def __init__(self, stack: ExitStack, *, clients: int, old: Program | None = None, say: Say = print) -> None:
        self.town = Town(stack, old)
        self._clients, self._say = clients, say
        # New nodes are as old as the others until all have been restarted with the present software.
        self._held_back = () if old is not None else HELD_BACK
        self._made = 0
        self.members: list[str] = []
        self._began = time.monotonic()

    def play(self, rounds: int = 1) -> str:
        """Returns what the clients have seen."""
        self._found()
        with writing(self._clients, self._ports) as writers:
            self.writers = writers
            self._step("one node alone, clients write")
            for _ in range(rounds):
                for _ in range(2):
                    self._add()
                self._step(f"three nodes: {' '.join(self.members)}")
                for _ in range(2):
                    self._add()
                self._step(f"five nodes: {' '.join(self.members)}")
                self._remove(self.town.leader(*self.members))
                self._remove(self._follower())
                self._step(f"back to three, the leader was one of those removed: {' '.join(self.members)}")
                for name in list(self.members):
                    self._add()
                    self._remove(name)
                self._step(f"every node replaced: {' '.join(self.members)}")
                self._restart_all()
                self._step("every node restarted, the leader last")
                if rounds > 1:
                    for _ in range(2):
                        self._remove(self._follower())
                    self._step(f"alone again: {' '.join(self.members)}")
        return self._end(writers)

    def _end(self, writers: Writers) -> str:
        self.town.wait_equal(*self.members)
        writers.check(self.town.client(self.members[0]))
        return writers.report()

    def _found(self) -> None:
        name = self._name()
        self.town.make(name, *self._held_back).start(READY_SECONDS)
        self.members = [name]

    def _name(self) -> str:
        self._made += 1
        return f"node-{self._made}"

    def _ports(self) -> list[int]:
        return [self.town.servers[name].port for name in list(self.members)]

    def _follower(self) -> str:
        leader = self.town.leader(*self.members)
        return next(name for name in self.members if name != leader)

    def _add(self) -> None:
        """As docs/cluster.md: start it empty, it joins, wait for its vote."""
        name, asked = self._name(), self.members[-1]
        join = ("--cluster-join", ",".join(map(self.town.place, self.members)))
        self.town.make(name, *join, *self._held_back).start(READY_SECONDS)
        self.town.wait_for(asked, *self.members, name)
        self.members.append(name)

    def _remove(self, name: str) -> None:
        self.members.remove(name)  # the application's configuration, too
        asked = self.members[0]
        assert self.town.client(asked).execute_command("CLUSTER", "REMOVE", name) == b"OK"
        self.town.wait_for(asked, *self.members)
        assert self.town.servers[name].stop() == 0

    def _restart_all(self) -> None:
        """The rolling upgrade: followers first, one at a time, each back and caught up before the next."""
        leader = self.town.leader(*self.members)
        order = [name for name in self.members if name != leader] + [leader]
        for number, name in enumerate(order, 1):
            held = [self.town.version(one) for one in self.members]
            assert not self._held_back or set(held) == {1}, f"{order[number - 1 :]} have not been restarted: {held}"
            self._restart(name)
        self.town.wait_version(CURRENT, *self.members)
        self._held_back_no_more()

    def _restart(self, name: str) -> None:
        server = self.town.servers[name]
        assert server.stop() == 0
        server.extra = tuple(word for word in server.extra if word not in HELD_BACK)
        server.program = us_program()
        server.start(READY_SECONDS)
        self.town.wait_caught_up(name, *self.members)

    def _held_back_no_more(self) -> None:
        self.town.program, self._held_back = us_program(), ()

    def _step(self, what: str) -> None:
        before = self.writers.done()

        def gone_on() -> bool:
            return self.writers.done() >= before + STEP_WRITES or bool(self.writers.failures())

        wait_until(gone_on, READY_SECONDS, f"clients go on after: {what}")
        failures = self.writers.failures()
        assert not failures, f"{what}: {failures}"
        self._say(f"{time.monotonic() - self._began:6.1f} s  {what}; {self.writers.done()} counts acknowledged")
