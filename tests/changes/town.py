"""Servers of one cluster that come and go: each has a port for clients and one for the others, fixed for all its lives.

Not here: who writes meanwhile (`writers`), in which order things happen (`story`).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import redis

from bench.processes import Program, Server, free_port, us_program, wait_until
from tests.e2e.cluster import READY_SECONDS, SECRET

# A request waits for a leader rather than fails, so that not even a slow machine makes a client see a refusal.
PATIENT = ("--no-leader-timeout", "30000", "--commit-timeout", "40000")


class Town:
    """`program` is what new nodes are started with; a node is known by its name."""

    def __init__(self, stack: ExitStack, program: Program | None = None) -> None:
        self._stack = stack
        self.program = program or us_program()
        self.servers: dict[str, Server] = {}
        self.raft: dict[str, int] = {}

    def make(self, name: str, *options: str) -> Server:
        self.raft[name] = port = free_port()
        words = ("--raft-port", str(port), "--node-id", name, "--cluster-secret", SECRET, "--enable-debug-command", "yes",
                 *PATIENT, *options)  # fmt: skip
        self.servers[name] = server = self._stack.enter_context(Server(self.program, words))
        return server

    def place(self, name: str) -> str:
        return f"127.0.0.1:{self.raft[name]}"

    def client(self, name: str) -> Any:
        return redis.Redis(port=self.servers[name].port, socket_timeout=READY_SECONDS, protocol=3)

    @property
    def up(self) -> list[str]:
        return [name for name, server in self.servers.items() if server.alive()]

    def leader(self, *names: str) -> str:
        """Wait until one of these (or of all that run) says that it leads."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [name for name in names or self.up if self._role(name) == "leader"]
            return len(found) == 1

        wait_until(look, READY_SECONDS, "somebody leads", pause=0.1)
        return found[0]

    def _role(self, name: str) -> str:
        try:
            return str(self.client(name).info("raft")["raft_role"])
        except redis.RedisError:
            return ""

    def members(self, asked: str) -> dict[str, bool]:
        """Name and whether it has a vote, as this node sees it."""
        found = self.client(asked).execute_command("RAFT", "SERVER", "LIST")
        return {one[b"name"].decode(): one[b"voter"] == b"true" for one in found}

    def wait_for(self, asked: str, *voters: str) -> None:
        def look() -> bool:
            try:
                return self.members(asked) == dict.fromkeys(voters, True)
            except redis.RedisError:
                return False

        wait_until(look, READY_SECONDS, f"{voters} are the voters, says {asked}", pause=0.1)

    def wait_caught_up(self, name: str, *members: str) -> None:
        """The leader of these sends it what is new, and nothing older is missing."""

        def look() -> bool:
            found = self.client(self.leader(*members)).execute_command("RAFT", "SERVER", "LIST")
            states = {one[b"name"].decode(): one[b"state"] for one in found}
            return states[name] in (b"replicate", b"leader")

        wait_until(look, READY_SECONDS, f"{name} has caught up", pause=0.05)

    def wait_equal(self, *names: str) -> None:
        def look() -> bool:
            return len({self.client(name).execute_command("DEBUG", "DIGEST") for name in names}) == 1

        wait_until(look, READY_SECONDS, "all nodes hold the same", pause=0.1)

    def version(self, name: str) -> int:
        """In force, as this node has applied."""
        return int(self.client(name).info("raft").get("raft_cluster_version", 1))

    def wait_version(self, version: int, *names: str) -> None:
        def look() -> bool:
            return all(self.version(name) == version for name in names)

        wait_until(look, READY_SECONDS, f"version {version} is in force at {names}", pause=0.05)
