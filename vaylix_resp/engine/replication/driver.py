"""What turns a replica on an event loop: ticks by the monotonic clock, messages from peers, reads on threads.

Promises: ticks follow the monotonic clock, at most three for one late turn, so that a process that was stopped does not
take its own pause for everybody's silence; whatever goes wrong inside ends the process (`guard`), never the
connection alone.
Units: seconds. Not here: what the replica does with it (`replica`), connections (`peers.link`), snapshots (`catch_up`).
Source: RAFT.md, "Timers".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ...identity import VAYLIX_VERSION
from ...observability.logs import get_log
from ...peers.channel import Channel
from ...peers.codec import Message
from ...peers.messages import Everywhere, Forward, ForwardRefused, Info
from ...peers.ports import Network
from ...raft import messages as raft
from ...raft.ready import Fetch, Status
from ...raft.types import Entry, Role
from .replica import Replica

log = get_log("raft")

TICKS_LATE_MAX: Final = 3
INFO_S: Final = 1.0
CLUSTER_VERSION: Final = 1  # of what entries may hold
RAFT: Final = frozenset(
    (
        raft.PreVote, raft.PreVoteReply, raft.Vote, raft.VoteReply, raft.Append, raft.AppendReply, raft.Heartbeat,
        raft.HeartbeatReply, raft.TimeoutNow, raft.InstallSnapshot, raft.SnapshotReply, raft.ReadIndex,
        raft.ReadIndexReply,
    )
)  # fmt: skip

Guard = Callable[..., Any]  # calls what it is given, and ends the process if that fails
Read = Callable[[int, int], list[Entry] | None]


class Driver:
    """`peers.ports.Events` for one replica. `network` is given when it is there."""

    network: Network

    def __init__(
        self, replica: Replica, loop: asyncio.AbstractEventLoop, guard: Guard, *, tick_s: float, client_addr: str,
        read: Read,
    ) -> None:  # fmt: skip
        self.replica, self._loop, self._guard = replica, loop, guard
        self._tick_s, self._client_addr, self._read = tick_s, client_addr, read
        self.infos: dict[int, Info] = {}  # what others have told about themselves, and when
        self.on_guest_message: Callable[[Channel, Message | None], None] = _ignored
        self.on_tick: Callable[[], None] = _nobody
        self.on_other: Callable[[int, Message], None] = _unheard
        self._tasks: set[asyncio.Task[None]] = set()
        replica.on_fetch = self._fetch
        replica.on_lost = self._lost
        replica.on_everywhere = self._tell_everywhere

    async def run(self) -> None:
        """Until cancelled."""
        loop, told_s = self._loop, 0.0
        due = loop.time()
        while True:
            due += self._tick_s
            now = loop.time()
            if due > now:
                await asyncio.sleep(due - now)
            else:
                missed = int((now - due) / self._tick_s)
                if missed >= TICKS_LATE_MAX:
                    due = now - (TICKS_LATE_MAX - 1) * self._tick_s
                    self._guard(self.replica.core.lapse)
            self._guard(self.replica.tick)
            self.on_tick()
            if loop.time() - told_s >= INFO_S:
                told_s = loop.time()
                self.tell()

    # peers.ports.Events

    def on_message(self, node: int, message: Message) -> None:
        kind = type(message)
        if kind in RAFT:
            self._guard(self.replica.receive, message)
        elif isinstance(message, Forward):
            self._guard(self.replica.receive_forward, message)
        elif isinstance(message, Info):
            self.infos[node] = message
        elif not isinstance(message, ForwardRefused):
            self.on_other(node, message)

    def on_connected(self, node: int) -> None:
        self._guard(self.replica.connected, node)
        self.network.send(node, self.info())

    def on_unreachable(self, node: int) -> None:
        self._guard(self.replica.core.unreachable, node)

    def on_guest(self, guest: Channel, message: Message | None) -> None:
        self.on_guest_message(guest, message)

    # What we tell.

    def info(self) -> Info:
        replica = self.replica
        status: Status = replica.status
        return Info(
            self._client_addr, VAYLIX_VERSION, CLUSTER_VERSION, int(status.role), status.term, replica.last_sequence,
            replica.wal.durable, replica.committed, replica.applied, replica.fsync.last_us,
        )  # fmt: skip

    def tell(self) -> None:
        info = self.info()
        for node in self.replica.core.membership.members - {self.replica.id}:
            self.network.send(node, info)

    def _tell_everywhere(self, sequence: int) -> None:
        for node in self.replica.core.membership.voters - {self.replica.id}:
            self.network.send(node, Everywhere(sequence))

    # The log of the past.

    def _fetch(self, fetch: Fetch) -> None:
        task = self._loop.create_task(self._fetched(fetch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetched(self, fetch: Fetch) -> None:
        found = await self._loop.run_in_executor(None, self._read, fetch.after, fetch.max_bytes)
        self._guard(self.replica.core.fetched, fetch, found)
        self.replica.on_work()

    def _lost(self, node: int) -> None:
        log.warning(
            f"node {node:016x} lacks what it has acknowledged: its disk is not the one it had. It is not fed any more; "
            "remove it (CLUSTER REMOVE) and let it join as a new node, with an empty data directory"
        )


def role_name(role: Role) -> str:
    return {Role.LEADER: "leader", Role.FOLLOWER: "follower"}.get(role, "candidate")


def _nobody() -> None:
    """Nobody else goes by the ticks."""


def _ignored(guest: Channel, message: Message | None) -> None:
    """Nobody waits for guests."""


def _unheard(node: int, message: Message) -> None:
    """Nobody waits for it."""
