"""What a client notices when the leader goes: redis-py in a loop, one write after the other.

Three clients at once: a plain Redis() at a node that stays, one that Sentinel has led to the leader, and RedisCluster,
which has found the leader, too. All retry as redis-py's documentation shows it; an error that still reaches the loop
is kept, and the loop writes again. The gap is the longest time between two acknowledged writes of one client, from the
last one before the fault on: what the server needs, what the client's backoff adds and, where the leader does not even
close its connections (SIGSTOP), the `socket_timeout` of those who talk to it.

Few retries are better than many for Sentinel's client: redis-py 8.1 asks Sentinel again only for a new connection, and
until its retries are used up it calls the dead leader (redis-py issue 3874; 20 retries took 20 s), or the stopped one,
which costs a `socket_timeout` each time. A Sentinel that does not answer is not asked twice: the next one is.

Promise: every write that was acknowledged is there afterwards, or LostWrite. Each write has a key of its own: what a
stopped leader finds in its sockets when it goes on must not look like a loss.
Units: seconds. Not here: partitions, which need network namespaces (tests/e2e).
"""

from __future__ import annotations

import math
import signal
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException  # not a RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from bench.cluster.nodes import Group
from bench.processes import Server, ServerFailed, wait_until

FAULTS = ("kill -9", "SIGTERM", "SIGSTOP")
CLIENTS = SURVIVOR, SENTINEL, CLUSTER = ("Redis(survivor)", "Sentinel", "RedisCluster")
OPTIONS = ("--cluster-enabled", "emulate")  # that RedisCluster finds somebody to talk to
MASTER_NAME = "mymaster"
SOCKET_TIMEOUT_S = 6.0  # has to be more than commit-timeout, which is 5 s
SENTINEL_TIMEOUT_S = 0.5  # it answers at once or not at all; then the next one is asked
PAUSE_S = 0.002  # between two writes: the loop must not take a core away from the election that it times
WRITES_AROUND = 200  # undisturbed ones of each client before and after: half a second of them or more
GO_ON_SECONDS_MAX = 120.0
P99_RUNS_MIN = 100  # with fewer, the slowest is all that can be said


class LostWrite(Exception):
    """An acknowledged write is gone."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """One fault as one client saw it, over the repetitions."""

    fault: str
    client: str
    seconds: tuple[float, ...]
    errors: tuple[str, ...]  # that reached the caller in spite of the retries

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def worst(self) -> float:
        """p99, or the slowest of fewer than P99_RUNS_MIN."""
        ordered = sorted(self.seconds)
        return ordered[-1] if len(ordered) < P99_RUNS_MIN else ordered[math.ceil(0.99 * len(ordered)) - 1]


class Writer(threading.Thread):
    """Writes until stopped and knows when each write was acknowledged; an error is kept, and the write made again."""

    def __init__(self, client: Any, name: str) -> None:
        super().__init__(daemon=True)
        self.client, self.prefix = client, name
        self.times: list[float] = []  # one for each acknowledged write, in order
        self.errors: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(PAUSE_S):
            try:
                if self.client.set(self.key(len(self.times)), "x") is not True:
                    self.errors.append("not OK")
                    continue
            except (redis.RedisError, RedisClusterException, OSError) as failure:
                self.errors.append(kind_of(failure))
                continue
            self.times.append(time.monotonic())

    def key(self, number: int) -> str:
        return f"failover:{self.prefix}:{number}"

    def since(self, moment: float) -> int:
        return sum(at > moment for at in self.times)


def kind_of(failure: Exception) -> str:
    """What to count it under: the error code of a reply, else the class; the texts have addresses in them."""
    return str(failure).partition(" ")[0] if type(failure) is redis.ResponseError else type(failure).__name__


def gap_around(times: list[float], fault_at: float) -> float:
    """The longest time without an acknowledgement, of those that end after the fault."""
    return max(after - before for before, after in zip(times, times[1:], strict=False) if after > fault_at)


def make_clients(group: Group, leader: Server) -> dict[str, Any]:
    def settings() -> dict[str, Any]:
        return {"socket_timeout": SOCKET_TIMEOUT_S, "retry": Retry(ExponentialBackoff(), 3)}

    survivor = next(server for server in group.servers if server is not leader)
    nodes = [("127.0.0.1", server.port) for server in group.servers]
    startup: list[Any] = [ClusterNode(*node) for node in nodes]  # type: ignore[no-untyped-call]  # not typed there
    ask_once = {"socket_timeout": SENTINEL_TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(nodes, sentinel_kwargs=ask_once)  # type: ignore[no-untyped-call]
    return {
        SURVIVOR: redis.Redis(port=survivor.port, **settings()),
        SENTINEL: sentinel.master_for(MASTER_NAME, **settings()),  # type: ignore[no-untyped-call]
        CLUSTER: RedisCluster(startup_nodes=startup, **settings()),
    }


def strike(fault: str, leader: Server) -> Callable[[], None]:
    """Do it; returns what brings the node back."""
    assert leader.process is not None
    if fault == "SIGSTOP":
        leader.process.send_signal(signal.SIGSTOP)
        process = leader.process
        return lambda: process.send_signal(signal.SIGCONT)
    if fault == "SIGTERM":
        code = leader.stop()
        if code != 0:
            raise ServerFailed(f"SIGTERM ended with exit code {code}:\n{leader.log_tail()}")
    else:
        leader.kill()

    def again() -> None:
        leader.start()

    return again


def go_on(writers: dict[str, Writer], since: float, when: str) -> None:
    """Wait until each of them has written for a while."""

    def all_have() -> bool:
        if not all(writer.is_alive() for writer in writers.values()):
            raise ServerFailed(f"{when}: a client has ended by itself")
        return all(writer.since(since) >= WRITES_AROUND for writer in writers.values())

    wait_until(all_have, GO_ON_SECONDS_MAX, f"{when}: all clients write")


def once(group: Group, fault: str, name: str) -> dict[str, tuple[float, list[str]]]:
    """One fault: the gap and the errors of each client. The group is whole again afterwards."""
    leader = group.leader()
    clients = make_clients(group, leader)
    writers = {client: Writer(clients[client], f"{name}:{client}") for client in CLIENTS}
    heal: Callable[[], None] | None = None
    for writer in writers.values():
        writer.start()
    try:
        go_on(writers, 0.0, "before the fault")
        struck_at = time.monotonic()
        heal = strike(fault, leader)
        group.leader([server for server in group.servers if server is not leader])
        go_on(writers, struck_at, f"after {fault}")
    finally:
        for writer in writers.values():
            writer.stopped.set()
        if heal is not None:
            heal()
        for writer in writers.values():
            writer.join()
            writer.client.close()
    group.wait_in_step()
    check(group, list(writers.values()))
    return {client: (gap_around(writer.times, struck_at), writer.errors) for client, writer in writers.items()}


def check(group: Group, writers: list[Writer]) -> None:
    with redis.Redis(port=group.leader().port, socket_timeout=SOCKET_TIMEOUT_S) as client:
        for writer in writers:
            values = client.mget([writer.key(number) for number in range(len(writer.times))])
            missing = [number for number, value in enumerate(values) if value is None]
            if missing:
                raise LostWrite(f"{writer.prefix}: {len(missing)} of {len(values)}, the first {missing[0]}")


def measure_failover(
    group: Group, faults: tuple[str, ...], repetitions: int, show: Callable[[Gaps], None]
) -> list[Gaps]:
    found = []
    for fault in faults:
        seconds: dict[str, list[float]] = {client: [] for client in CLIENTS}
        errors: dict[str, list[str]] = {client: [] for client in CLIENTS}
        for number in range(repetitions):
            for client, (gap, failures) in once(group, fault, f"{fault}:{number}").items():
                seconds[client].append(gap)
                errors[client] += failures
        for client in CLIENTS:
            gaps = Gaps(fault, client, tuple(seconds[client]), tuple(errors[client]))
            show(gaps)
            found.append(gaps)
    return found
