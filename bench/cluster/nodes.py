"""Three servers that belong together: ours with Raft, or a redis-server with two replicas.

Promise: a group that has been started has all its nodes in step; whatever happens, they are gone with the `with` block.
Units: seconds. Positions are whatever the servers count their log in: sequences here, bytes at Redis.
Not here: what is asked of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.processes import Server, ServerFailed, free_port, info_field, redis_program, us_program, wait_until

SECRET = "of servers that live as long as this program"  # noqa: S105
IN_STEP_SECONDS_MAX = 120.0
NODES = 3


@dataclass(frozen=True, slots=True)
class Group(ABC):
    """The nodes in a fixed order; who leads is asked anew each time, as it may change."""

    name: str
    servers: tuple[Server, ...]

    def leader(self, among: Sequence[Server] = ()) -> Server:
        """Wait until exactly one of them says so, by default of those whose process runs."""
        found: list[Server] = []

        def one_leads() -> bool:
            found[:] = [server for server in among or self.servers if server.alive() and self._leads(server)]
            return len(found) == 1

        wait_until(one_leads, IN_STEP_SECONDS_MAX, f"{self.name}: one node leads")
        return found[0]

    def follower(self) -> Server:
        """The one behind the leader."""
        return self.servers[(self.servers.index(self.leader()) + 1) % len(self.servers)]

    def cpu_seconds(self) -> float:
        return sum(server.cpu_seconds() for server in self.servers)

    def wait_in_step(self) -> None:
        """Every node has what the leader has now; for when nobody writes."""
        wait_until(self._in_step, IN_STEP_SECONDS_MAX, f"{self.name}: all nodes in step")

    @abstractmethod
    def position(self, server: Server) -> int:
        """How far it has got; -1: it cannot say yet."""

    @abstractmethod
    def _leads(self, server: Server) -> bool:
        """Does it say that it leads?"""

    def _in_step(self) -> bool:
        goal = self.position(self.leader())
        return all(self.position(server) >= goal >= 0 for server in self.servers)


class OurGroup(Group):
    """A cluster from configuration; each node says of itself whether it leads."""

    __slots__ = ()

    def position(self, server: Server) -> int:
        return number(server, "raft", "raft_last_applied_index")

    def _leads(self, server: Server) -> bool:
        return field(server, "raft", "raft_role") == "leader" and field(server, "raft", "raft_quorum_fresh") == "yes"


class RedisGroup(Group):
    """A redis-server and its replicas: the first one leads, for ever."""

    __slots__ = ()

    def position(self, server: Server) -> int:
        if server is self.servers[0]:
            return number(server, "replication", "master_repl_offset")
        if field(server, "replication", "master_link_status") != "up":
            return -1  # the offset that it had before says nothing of what it will get
        return number(server, "replication", "slave_repl_offset")

    def _leads(self, server: Server) -> bool:
        return server is self.servers[0]


def field(server: Server, section: str, name: str) -> str:
    """One field of INFO; "" also from a server that does not answer now."""
    try:
        return info_field(server.port, section, name).strip()
    except OSError:
        return ""


def number(server: Server, section: str, name: str) -> int:
    return int(field(server, section, name) or -1)


@contextmanager
def our_nodes(*options: str) -> Iterator[OurGroup]:
    with ExitStack() as stack:
        ports = [free_port() for _ in range(NODES)]
        peers = ",".join(f"node-{at}@127.0.0.1:{port}" for at, port in enumerate(ports, 1))
        common = ("--cluster-peers", peers, "--cluster-secret", SECRET, *options)
        servers = [
            stack.enter_context(Server(us_program(), ("--node-id", f"node-{at}", *common)))
            for at in range(1, NODES + 1)
        ]
        for server in servers:
            server.spawn()
        for server in servers:
            server.wait_ready()
        group = OurGroup("vaylix", tuple(servers))
        group.wait_in_step()
        yield group


@contextmanager
def redis_nodes() -> Iterator[RedisGroup]:
    with ExitStack() as stack:
        first = stack.enter_context(Server(redis_program(), ("--repl-diskless-sync-delay", "0")))
        first.start()
        of_first = ("--replicaof", "127.0.0.1", str(first.port))
        replicas = [stack.enter_context(Server(redis_program(), of_first)) for _ in range(NODES - 1)]
        for replica in replicas:
            replica.start()
        group = RedisGroup("redis", (first, *replicas))
        group.wait_in_step()
        yield group


def require_up(group: Group) -> None:
    """A node that ended by itself has its log in the message."""
    for server in group.servers:
        if not server.alive():
            raise ServerFailed(f"a node of {group.name} has ended:\n{server.log_tail()}")
