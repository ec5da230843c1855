"""How much of the log stays for the sake of other members that are behind: more than a restart of this node needs.

Every node keeps it, not only the leader: whoever leads next should be able to go on where the last one was. What a
member has is known from its acknowledgements (to a leader) and from what it tells about itself, the greater of the two.
Promise: a member whose disk is not the one it had, and one that nothing is known of, keep nothing; nobody keeps more
than `bytes_max`: past that the member gets a snapshot, and a part of the log would not help it.
Units: sequences, bytes. Threads: `look` on the loop, `needed_from` on any.
Not here: what else stays (`history.retention`), deleting (`checkpoint`).
Source: Raft (Ongaro, 2014), section 5.1.3 (when to snapshot, and what a slow follower costs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...peers.messages import Info
from ...raft.progress import Progress, State
from ...storage.log_files import kept_for_follower
from .replica import Replica


class FollowerLog:
    """`told`: what the others say about themselves. Fits into `Checkpoint.needed_from` with its method of that name."""

    def __init__(self, replica: Replica, told: Mapping[int, Info], bytes_max: Callable[[], int]) -> None:
        self._replica, self._told, self._bytes_max = replica, told, bytes_max
        self._have: tuple[int, ...] = ()  # of each member that something is known of: it needs what is behind

    def look(self) -> None:
        """Now and then: what the others have."""
        others = self._replica.core.membership.members - {self._replica.id}
        self._have = tuple(sorted(have for node in others if (have := self._of(node)) is not None))

    def _of(self, node: int) -> int | None:
        have, told = -1, self._told.get(node)
        if told is not None:
            have = min(told.committed, told.persisted)  # what is behind that may yet be cut
        progress = self._progress(node)
        if progress is not None:
            if progress.state is State.LOST:
                return None
            coming = progress.snapshot.last.index if progress.snapshot is not None else 0
            have = max(have, progress.match, coming)
        return have if have >= 0 else None

    def _progress(self, node: int) -> Progress | None:
        leading = self._replica.core.leading
        return leading.replication.peers.get(node) if leading is not None else None

    def needs_snapshot(self, node: int) -> bool:
        """This node leads, and does not send the log to the other until that has a snapshot."""
        progress = self._progress(node)
        return progress is not None and progress.state is State.SNAPSHOT

    def needed_from(self) -> int | None:
        """The first sequence of the log that has to stay; None: none has to."""
        segments, bytes_max = self._replica.wal.segments(), self._bytes_max()
        for have in self._have:
            if (wanted := kept_for_follower(segments, have + 1, bytes_max)) is not None:
                return wanted  # those that have more need less
        return None
