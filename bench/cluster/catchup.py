"""How fast a node that was away has everything again: from the log, from a snapshot, and a Redis replica beside them.

A follower is killed, the leader takes `megabytes` of new values, the follower is started again. Its way back ends when
it has applied what the leader had then. The rate counts from the moment at which it has read its own disk, by its own
log, so that it holds finding the leader and applying, but not the start of an interpreter; `seconds` holds everything.
Redis's replica has to take a whole copy, as its backlog is 1 MB by default; it is up in no time.

Units: bytes are those of the keys and values that were written meanwhile, so that all three rates mean the same; MB/s
are 10^6 bytes. Not here: joining a new node, which does what the snapshot's case does and a membership change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from bench.cluster.nodes import Group, our_nodes, redis_nodes
from bench.loader import fill, key_name
from bench.processes import Server, ServerFailed, ask, wait_until

VALUE_BYTES = 1024
BACK_SECONDS_MAX = 300.0
SAVES = 2  # the first one seals the segment that the second one covers; what both cover may go
CAME_BY_SNAPSHOT = "a snapshot has come"  # in the log of the node
HAS_READ_ITS_DISK = "recovered up to sequence"  # as well
# Nothing of the log is kept for those who are away: that is what makes the leader send a snapshot.
FORGETFUL = ("--wal-segment-size", "1mb", "--pitr-window", "0", "--follower-log-max", "1mb")


@dataclass(frozen=True, slots=True)
class Return:
    """One node's way back."""

    how: str
    bytes_missed: int
    start_seconds: float  # until it has read its own disk
    seconds: float

    @property
    def megabytes_per_second(self) -> float:
        return self.bytes_missed / (self.seconds - self.start_seconds) / 1e6


def come_back(group: Group, how: str, keys: int, forget: bool) -> Return:
    leader = group.leader()
    away = group.follower()
    away.kill()
    fill(leader.port, keys, VALUE_BYTES)
    if forget:
        save(group)
        fill(leader.port, 1, VALUE_BYTES)
    goal = group.position(leader)
    began = time.time()  # as the times in its log are
    away.spawn()
    away.wait_ready(BACK_SECONDS_MAX)
    wait_until(lambda: group.position(away) >= goal, BACK_SECONDS_MAX, f"{how}: the node has everything", pause=0.005)
    seconds = time.time() - began
    if (CAME_BY_SNAPSHOT in away.log_path.read_text(errors="replace")) != forget:
        raise ServerFailed(f"{how}: it came another way:\n{away.log_tail()}")
    return Return(how, keys * (len(key_name(0)) + VALUE_BYTES), max(0.0, read_at(away) - began), seconds)


def read_at(server: Server) -> float:
    """When the process that runs now had read its disk; 0 for a server that does not say so."""
    lines = [line for line in server.log_path.read_text(errors="replace").splitlines() if HAS_READ_ITS_DISK in line]
    return datetime.fromisoformat(lines[-1].split()[0]).timestamp() if lines else 0.0


def save(group: Group) -> None:
    for server in group.servers:
        if server.alive():
            for _ in range(SAVES):
                reply = ask(server.port, "SAVE", timeout=BACK_SECONDS_MAX)
                if reply != b"+OK\r\n":
                    raise ServerFailed(f"SAVE: {reply[:200]!r}")


def measure_returns(megabytes: float, show: Callable[[Return], None]) -> list[Return]:
    keys = max(1, int(megabytes * 1e6 / (len(key_name(0)) + VALUE_BYTES)))
    ways: list[tuple[str, AbstractContextManager[Group], bool]] = [
        ("redis, whole copy", redis_nodes(), False),
        ("vaylix, from the log", our_nodes(), False),
        ("vaylix, from a snapshot", our_nodes(*FORGETFUL), True),
    ]
    found = []
    for how, nodes, forget in ways:
        with nodes as group:
            back = come_back(group, how, keys, forget)
        show(back)
        found.append(back)
    return found
