"""Who waits until so many nodes have a sequence on disk (WAIT, WAITAOF), on the node that counts them: the leader.

Promises: a number that is answered is never more than what is so; nobody waits here for a count that this node has
ceased to keep.
Units: sequences; seconds. Not here: what is certain without counting, and replies (`commands.waiting`).
Source: Redis, which unblocks everybody with -UNBLOCKED when a master becomes a replica.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...commands.ports import Later
from ...errors import CommandError
from ...raft.leader import Leader

DEPOSED: Final = (
    "UNBLOCKED this node leads no more, so it does not know which nodes have it; what was acknowledged stays so"
)


class Counting:
    """Of one node. `leading` is what it knows of the others as a leader; None while it does not lead."""

    def __init__(
        self, leading: Callable[[], Leader | None], call_later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        self._leading, self._call_later = leading, call_later
        self._waiting: list[tuple[int, int, Later]] = []  # sequence, nodes

    def acknowledged(self, sequence: int) -> int:
        """How many other nodes have it durable. One that has lost something may have lost this, too."""
        leading = self._leading()
        if leading is None:
            return 0
        return sum(progress.durable >= sequence for progress in leading.replication.peers.values())

    def wait(self, sequence: int, nodes: int, timeout_s: float) -> Later:
        """Resolves with `acknowledged` when that many have it, or at the timeout (0: none)."""
        later = Later(blocking=True)
        have = self.acknowledged(sequence)
        if have >= nodes:
            later.resolve(have)
        elif self._leading() is None:
            later.resolve(CommandError(DEPOSED))
        else:
            self._waiting.append((sequence, nodes, later))
            if timeout_s:
                self._call_later(timeout_s, lambda: later.resolve(self.acknowledged(sequence)))
        return later

    def look(self) -> None:
        """With each tick."""
        if self._leading() is None:
            self._deposed()
        for entry in list(self._waiting):
            sequence, nodes, later = entry
            have = self.acknowledged(sequence)
            if later.done or have >= nodes:
                self._waiting.remove(entry)
                later.resolve(have)

    def _deposed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for _, _, later in waiting:
            later.resolve(CommandError(DEPOSED))
