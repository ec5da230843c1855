"""Three server processes on loopback ports that form a cluster by themselves, and are killed and started again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import redis

from bench.processes import Server, free_port, us_program, wait_until

SECRET = "a secret of the test, long enough"  # noqa: S105
READY_SECONDS = 60.0  # on a machine that does other things as well


class Cluster:
    """`options` are for each node; {node} in them is its name."""

    def __init__(self, stack: ExitStack, count: int, options: tuple[str, ...]) -> None:
        self.raft_ports = [free_port() for _ in range(count)]
        peers = ",".join(f"node-{at}@127.0.0.1:{port}" for at, port in enumerate(self.raft_ports, 1))
        self.servers = [
            stack.enter_context(
                Server(
                    us_program(),
                    ("--node-id", f"node-{at}", "--cluster-peers", peers, "--cluster-secret", SECRET,
                     "--enable-debug-command", "yes", *(word.replace("{node}", f"node-{at}") for word in options)),
                )
            )
            for at in range(1, count + 1)
        ]  # fmt: skip

    def start(self) -> None:
        for server in self.servers:
            if not server.alive():
                server.spawn()
        for server in self.servers:
            server.wait_ready(READY_SECONDS)

    def client(self, at: int, **options: float) -> redis.Redis:
        return redis.Redis(port=self.servers[at].port, socket_timeout=options.get("timeout", 20.0), protocol=3)

    @property
    def up(self) -> list[int]:
        return [at for at, server in enumerate(self.servers) if server.alive()]

    def leader(self) -> int:
        """Wait until one of the nodes says that it leads."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [at for at in self.up if self.client(at).info("raft").get("raft_role") == "leader"]
            return len(found) == 1

        wait_until(look, READY_SECONDS, "somebody leads", pause=0.1)
        return found[0]

    def write(self, at: int, *words: object, seconds: float = READY_SECONDS) -> object:
        """Until it is taken; only definite refusals are tried again."""
        give_up = time.monotonic() + seconds
        while True:
            try:
                return self.client(at).execute_command(*words)
            except redis.ResponseError as refused:
                if not str(refused).startswith(("NOREPLICAS", "BUSY", "CLUSTERDOWN")) or time.monotonic() > give_up:
                    raise

    def digests(self) -> set[bytes]:
        return {self.client(at).execute_command("DEBUG", "DIGEST") for at in self.up}

    def wait_equal(self) -> None:
        """Once nobody writes, all nodes come to the same state."""
        wait_until(lambda: len(self.digests()) == 1, READY_SECONDS, "all nodes hold the same", pause=0.1)


@contextmanager
def cluster(count: int = 3, *options: str) -> Iterator[Cluster]:
    with ExitStack() as stack:
        made = Cluster(stack, count, options)
        made.start()
        yield made
