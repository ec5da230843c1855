"""What turns a replica on an event loop: ticks by the monotonic clock, messages from peers, reads on threads.

Promises: ticks follow the monotonic clock, at most three for one late turn, so that a process that was stopped does not
take its own pause for everybody's silence; whatever goes wrong inside ends the process (`guard`), never the
connection alone.
Units: seconds. Not here: what the replica does with it (`replica`), connections (`peers.link`), snapshots (`catch_up`).
Source: ticks in the place of timers, as in etcd's raft.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ...errors import Refused
from ...identity import VAYLIX_VERSION
from ...observability.logs import get_log
from ...peers.channel import Channel
from ...peers.codec import Message
from ...peers.messages import Everywhere, Forward, Info
from ...peers.ports import Network
from ...raft import messages as raft
from ...raft.ready import Fetch, Status
from ...raft.types import Entry, Role
from .jobs import Jobs
from .replica import Replica
from .rising import Announced

log = get_log("raft")

TICKS_LATE_MAX: Final = 3
INFO_S: Final = 1.0
NEWS_S: Final = 0.002  # after which followers hear what is committed, if nothing else was to be sent to them
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
        self.infos: dict[int, Info] = {}  # what others have told about themselves
        self.told_s: dict[int, float] = {}  # and when, by the loop's time
        self.on_guest_message: Callable[[Channel, Message | None], None] = _ignored
        self.on_tick: Callable[[], None] = _nobody
        self.on_other: Callable[[int, Message], None] = _unheard
        self.jobs = Jobs(loop, guard)
        self._damage = ""  # of the log, as it was told last
        self._news = 0  # what is to be announced; 0: nothing yet
        replica.on_commit = self._committed
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
            missed = int((now - due) / self._tick_s)
            if missed >= TICKS_LATE_MAX:
                due = now - (TICKS_LATE_MAX - 1) * self._tick_s
                self._guard(self.replica.core.lapse, missed)
            await asyncio.sleep(max(0.0, due - now))  # in any case: what has come meanwhile is to be heard
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
            self.told_s[node] = self._loop.time()
        else:
            self.on_other(node, message)

    def on_connected(self, node: int) -> None:
        self._guard(self.replica.connected, node)
        self._tell(node, self.info())

    def on_unreachable(self, node: int) -> None:
        self._guard(self.replica.core.unreachable, node)

    def on_gone(self, node: int) -> None:
        self._guard(self.replica.leader_gone, node)

    def on_guest(self, guest: Channel, message: Message | None) -> None:
        self.on_guest_message(guest, message)

    # What we tell.

    def info(self) -> Info:
        replica = self.replica
        status: Status = replica.status
        return Info(
            self._client_addr, VAYLIX_VERSION, replica.machine.world.understands, int(status.role), status.term,
            replica.last_sequence, replica.wal.durable, replica.committed, replica.applied, replica.fsync.last_us,
        )  # fmt: skip

    def announced(self) -> dict[int, Announced]:
        """The cluster versions that others understand, as far as they have told."""
        now = self._loop.time()
        return {node: Announced(info.cluster_version, now - self.told_s[node]) for node, info in self.infos.items()}

    def all_alike(self) -> bool:
        """Whether every member that has said what software it runs runs ours."""
        members, infos = self.replica.core.membership.members, self.infos
        return all(info.version == VAYLIX_VERSION for node, info in infos.items() if node in members)

    def tell(self) -> None:
        info = self.info()
        for node in self.replica.core.membership.members - {self.replica.id}:
            self._tell(node, info)

    def _tell(self, node: int, info: Info) -> None:
        """Of ourselves; and again, since it is lost with a connection, how far every voter is: others answer by it."""
        self.network.send(node, info)
        if self.replica.leads and self.replica.everywhere:
            self.network.send(node, Everywhere(self.replica.everywhere))

    def _tell_everywhere(self, sequence: int) -> None:
        """To learners as well: they have clients, whose answers wait for it."""
        for node in self.replica.core.membership.members - {self.replica.id}:
            self.network.send(node, Everywhere(sequence))

    def _committed(self, index: int) -> None:
        """Under load the next append says so before long; else we do."""
        if not self._news and self.replica.leads:
            self._news = index
            self._loop.call_later(NEWS_S, self._announce)

    def _announce(self) -> None:
        index, self._news = self._news, 0
        self._guard(self.replica.announce, index)
        if self.replica.committed > index:
            self._committed(self.replica.committed)
        if self.replica.core.news_due:
            self.replica.on_work()

    # The log of the past.

    def _fetch(self, fetch: Fetch) -> None:
        self.jobs.begin(self._fetched(fetch))

    async def _fetched(self, fetch: Fetch) -> None:
        try:
            found = await self._loop.run_in_executor(None, self._read, fetch.after, fetch.max_bytes)
        except Refused as damage:
            found = None  # what cannot be read is as good as pruned: the follower gets a snapshot
            if str(damage) != self._damage:  # (tried again and again while there is none)
                self._damage = str(damage)
                log.warning(
                    f"the log cannot be read back for a follower, which is sent a snapshot instead: {damage}; `vaylix "
                    "storage verify` on this node says what is damaged"
                )
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
