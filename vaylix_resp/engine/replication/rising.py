"""When the next cluster version comes into force: every member understands it, and has said so lately.

The leader looks with each tick, and proposes `@version n` when it is time; until then the newer kinds of entries are
held back on every node. A member that is away holds the version back too: nobody knows what comes back in its place.
Promises: it is proposed only by a leader, one at a time, and never before every voter and learner that this node knows
of has announced it; what a member announces later cannot take it back.
Units: monotonic seconds. Not here: what needs which version (`state.versions`), how nodes announce theirs (`driver`),
who is let in afterwards (`peers.roster`, `admission`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ...commands import cluster_operations
from ...errors import EX_CONFIG, CommandError, Halt
from ...observability.logs import get_log
from ...peers.hello import Identity
from ...state.versions import TooNew
from ..node import Run
from .replica import Replica

log = get_log("raft")

LATELY_S: Final = 5.0  # nodes tell every second
AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Announced:
    """What a node has said of itself, and how long ago."""

    understands: int
    silence_s: float


def behind(version: int, members: Iterable[int], announced: Mapping[int, Announced]) -> dict[int, str]:
    """Who keeps this version from coming into force, and why."""
    found = {}
    for node in members:
        said = announced.get(node)
        if said is None or said.silence_s > LATELY_S:
            found[node] = "has not been heard lately"
        elif said.understands < version:
            found[node] = f"understands versions up to {said.understands}"
    return found


class Rising:
    """Of one node; owner of the entry that it proposes. `announced` is what the other members have said."""

    def __init__(self, replica: Replica, announced: Callable[[], Mapping[int, Announced]]) -> None:
        self._replica, self._announced = replica, announced
        self._known = self._in_force
        self._proposed, self._again_s = False, 0.0
        self.on_raised: Callable[[], None] = _nobody  # another version is in force here, by an entry or a snapshot
        self.on_outdated: Callable[[Halt], None] = _unheard

    @property
    def _in_force(self) -> int:
        return self._replica.machine.world.cluster_version

    def look(self) -> None:
        """With each tick."""
        if self._known != self._in_force:
            self._known = self._in_force
            log.notice(f"cluster version {self._known} is in force: software that does not understand it is refused")
            self.on_raised()
        replica = self._replica
        understood = replica.machine.world.understands
        if understood <= self._in_force or self._proposed or not replica.leads or replica.refusal is not None:
            return
        if replica.clock.now() >= self._again_s:
            for version in range(understood, self._in_force, -1):
                if not self.behind(version):
                    self._proposed = True
                    replica.propose(self, cluster_operations.version(version))
                    return

    def behind(self, version: int) -> dict[int, str]:
        """As `behind`, of this node and all others."""
        replica = self._replica
        others = replica.core.membership.members - {replica.id}
        own = {replica.id: Announced(replica.machine.world.understands, 0.0)}
        return behind(version, [replica.id, *sorted(others)], {**self._announced(), **own})

    def meet(self, peer: Identity) -> None:
        """It is beyond what this node understands, which so can never follow."""
        understood = self._replica.machine.world.understands
        self.on_outdated(Halt(EX_CONFIG, str(TooNew(peer.in_force, understood, f"at {peer}"))))

    # engine.node.Owner

    def complete(self, run: Run) -> None:
        self._proposed = False
        self._replica.machine.apply_all(run.items)

    def fail(self, run: Run, refusal: CommandError) -> None:
        self._proposed, self._again_s = False, self._replica.clock.now() + AGAIN_S


def _nobody() -> None:
    """Before there is anybody to tell."""


def _unheard(halt: Halt) -> None:
    """Until `app` listens; the other node is refused all the same."""
