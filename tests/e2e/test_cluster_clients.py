"""redis-py and redis-cli as they are: nobody knows of Raft, and everybody goes on through a hand-over and a kill -9."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from bench.processes import wait_until
from tests.e2e.cluster import READY_SECONDS, Cluster, cluster

NAME = "mymaster"
# Waiting is the server's part here, so that not even a slow machine makes a client see a refusal.
PATIENT = ("--cluster-enabled", "emulate", "--no-leader-timeout", "30000", "--commit-timeout", "40000")
SECONDS = 50.0  # of a client for one reply
# As docs/cluster.md says. Behind Sentinel only a new connection asks who leads: few retries there, and then once more.
RETRIES, RETRIES_BEHIND_SENTINEL = 20, 3
# They raise what ended their connection, however many retries they have left.
TRY_AGAIN = ("Sentinel", "asyncio Sentinel", "asyncio RedisCluster")
LOST = (redis.ConnectionError, redis.TimeoutError)  # MasterNotFoundError is one of them
PAUSE_S = 0.005  # of each client between two writes: it is not about speed


def _retry(times: int = RETRIES) -> Retry:
    return Retry(ExponentialBackoff(cap=1, base=0.05), times)


def _async_retry(times: int = RETRIES) -> AsyncRetry:
    return AsyncRetry(ExponentialBackoff(cap=1, base=0.05), times)


def _addresses(trio: Cluster) -> list[tuple[str, int]]:
    return [("127.0.0.1", server.port) for server in trio.servers]


class Writer:
    """Sets one key after the other, and knows what was acknowledged; some try again when a connection is lost."""

    def __init__(self, name: str) -> None:
        self.name, self.done = name, 0
        self.failure: Exception | None = None
        self.stop = False
        self._again = LOST if name in TRY_AGAIN else ()

    def key(self, number: int) -> str:
        return f"{self.name}:{number}"

    def write(self, client: Any) -> None:
        try:
            while not self.stop:
                with suppress(*self._again):
                    assert client.set(self.key(self.done), self.done)
                    self.done += 1
                time.sleep(PAUSE_S)
        except Exception as failure:  # noqa: BLE001 - the test says what it was
            self.failure = failure

    async def write_async(self, client: Any) -> None:
        try:
            while not self.stop:
                with suppress(*self._again):
                    assert await client.set(self.key(self.done), self.done)
                    self.done += 1
                await asyncio.sleep(PAUSE_S)
        except Exception as failure:  # noqa: BLE001
            self.failure = failure


def _sync_clients(trio: Cluster, survivor: int) -> dict[str, Any]:
    common: dict[str, Any] = {"socket_timeout": SECONDS, "retry": _retry()}
    once = {"socket_timeout": SECONDS, "retry": _retry(0)}
    sentinel = Sentinel(_addresses(trio), sentinel_kwargs=once)
    nodes = [ClusterNode(host, port) for host, port in _addresses(trio)]
    return {
        "Redis": redis.Redis(port=trio.servers[survivor].port, **common),
        "Sentinel": sentinel.master_for(NAME, **{**common, "retry": _retry(RETRIES_BEHIND_SENTINEL)}),
        "RedisCluster": RedisCluster(startup_nodes=nodes, **common),
    }


def _async_clients(trio: Cluster, survivor: int) -> dict[str, Any]:
    common: dict[str, Any] = {"socket_timeout": SECONDS, "retry": _async_retry()}
    once = {"socket_timeout": SECONDS, "retry": _async_retry(0)}
    sentinel = redis.asyncio.sentinel.Sentinel(_addresses(trio), sentinel_kwargs=once)
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in _addresses(trio)]
    return {
        "asyncio Redis": redis.asyncio.Redis(port=trio.servers[survivor].port, **common),
        "asyncio Sentinel": sentinel.master_for(NAME, **{**common, "retry": _async_retry(RETRIES_BEHIND_SENTINEL)}),
        "asyncio RedisCluster": redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, **common),
    }


@contextmanager
def writing(trio: Cluster, survivor: int) -> Iterator[list[Writer]]:
    """Six clients at work; afterwards all of them have stopped."""
    plain, coroutines = _sync_clients(trio, survivor), _async_clients
    writers = [Writer(name) for name in plain]
    threads = [
        threading.Thread(target=writer.write, args=(client,))
        for writer, client in zip(writers, plain.values(), strict=True)
    ]

    async def all_async(others: list[Writer]) -> None:
        clients = coroutines(trio, survivor)
        await asyncio.gather(
            *(writer.write_async(client) for writer, client in zip(others, clients.values(), strict=True))
        )
        for client in clients.values():
            await client.aclose()

    others = [Writer(f"asyncio {name}") for name in plain]
    threads.append(threading.Thread(target=lambda: asyncio.run(all_async(others))))
    everybody = writers + others
    for thread in threads:
        thread.start()
    try:
        yield everybody
    finally:
        for writer in everybody:
            writer.stop = True
        for thread in threads:
            thread.join(READY_SECONDS + SECONDS)
        for client in plain.values():
            client.close()


@contextmanager
def counting(port: int) -> Iterator[None]:
    """A redis-cli that is connected to a node that stays counts all the while, and shows nothing else."""
    words = ["redis-cli", "-c", "-p", str(port), "-r", "-1", "-i", "0.02", "INCR", "n"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as cli:
        try:
            yield
        finally:
            cli.terminate()
        assert cli.stdout is not None
        numbers = cli.stdout.read().split("\n")[:-1]
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)] and len(numbers) > 20


def go_on(writers: list[Writer], what: str) -> None:
    """Each of them, by a few writes more."""
    before = [writer.done for writer in writers]

    def all_have() -> bool:
        return any(w.failure for w in writers) or all(w.done >= b + 5 for w, b in zip(writers, before, strict=True))

    wait_until(all_have, READY_SECONDS, what)
    assert {writer.name: repr(writer.failure) for writer in writers if writer.failure} == {}, what


def test_clients_go_on_and_lose_nothing() -> None:
    with cluster(3, *PATIENT) as trio:
        leader = trio.leader()
        survivor = (leader + 1) % 3  # the one that the clients without discovery are connected to
        with counting(trio.servers[survivor].port), writing(trio, survivor) as writers:
            go_on(writers, "before anything happens")
            target = trio.servers[(leader + 2) % 3]
            assert trio.client(leader).execute_command("FAILOVER", "TO", "127.0.0.1", target.port) in (b"OK", True)
            wait_until(lambda: trio.leader() == (leader + 2) % 3, READY_SECONDS, "the hand-over")
            go_on(writers, "after a hand-over")
            trio.servers[(leader + 2) % 3].kill()
            go_on(writers, "after kill -9 of the leader")
            trio.servers[(leader + 2) % 3].start(READY_SECONDS)
            go_on(writers, "after its return")
        for writer in writers:
            keys = [writer.key(number) for number in range(writer.done)]
            found = trio.client(leader).mget(keys)
            assert found == [b"%d" % number for number in range(writer.done)], (
                f"{writer.name} lost an acknowledged write"
            )
        trio.wait_equal()


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with cluster(3, "--cluster-enabled", "emulate") as made:
        made.leader()
        yield made


def test_every_node_names_the_same_leader(trio: Cluster) -> None:
    leader = trio.leader()
    expected = ("127.0.0.1", trio.servers[leader].port)
    wait_until(
        lambda: all(Sentinel([at]).discover_master(NAME) == expected for at in _addresses(trio)),
        READY_SECONDS,
        "all know",
    )
    others = {at for at in _addresses(trio) if at != expected}
    for at in range(3):
        assert set(Sentinel([_addresses(trio)[at]]).discover_slaves(NAME)) == others
        found = trio.client(at).role()
        assert found[0] == (b"master" if at == leader else b"slave")
        with RedisCluster(host="127.0.0.1", port=trio.servers[at].port) as client:
            primary = client.get_primaries()
            assert [(node.host, node.port) for node in primary] == [expected]
            assert {(node.host, node.port) for node in client.get_replicas()} == others


def test_a_cluster_client_reads_from_replicas(trio: Cluster) -> None:
    trio.write(0, "SET", "k", "1")
    with RedisCluster(
        host="127.0.0.1", port=trio.servers[0].port, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN
    ) as client:
        wait_until(lambda: all(client.get("k") == b"1" for _ in range(6)), READY_SECONDS, "replicas have it, too")


def test_redis_cli_follows_the_leader(trio: Cluster) -> None:
    leader = trio.leader()
    follower, heir = (leader + 1) % 3, (leader + 2) % 3
    for words in (["-c"], []):
        command = ["redis-cli", *words, "-p", str(trio.servers[follower].port), "SET", "from-cli", "1"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "OK\n"
    command = ["redis-cli", "-c", "-p", str(trio.servers[follower].port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as cli:
        assert cli.stdin is not None and cli.stdout is not None

        def said(line: str) -> str:
            """What the same process answers to it; it has asked for the slots, so that it is sent to the leader."""
            assert cli.stdin is not None and cli.stdout is not None
            cli.stdin.write(line + "\nPING\n")
            return "".join(iter(cli.stdout.readline, "PONG\n"))

        said("CLUSTER SLOTS")
        assert said("SET from-cli 2").endswith("OK\n"), "told where to go, it went"
        assert trio.client(leader).execute_command("FAILOVER", "TO", "127.0.0.1", trio.servers[heir].port) in (
            b"OK",
            True,
        )
        wait_until(lambda: trio.leader() == heir, READY_SECONDS, "the hand-over")
        said("CLUSTER SLOTS")  # of the node that led, which another connection would have asked as well
        assert said("SET from-cli 3").endswith("OK\n"), "and went on to the next one"
        cli.stdin.close()
    assert trio.client(follower).get("from-cli") == b"3"


def test_switch_master_is_published_on_every_node(trio: Cluster) -> None:
    subscribers = [trio.client(at).pubsub() for at in range(3)]
    for subscriber in subscribers:
        subscriber.subscribe("+switch-master")
        assert subscriber.get_message(timeout=READY_SECONDS)["type"] == "subscribe"
    old = trio.leader()
    assert trio.client(old).execute_command("FAILOVER") in (b"OK", True)
    for subscriber in subscribers:
        message = subscriber.get_message(timeout=READY_SECONDS)
        assert message is not None
        name, _, before, _, now = message["data"].decode().split()
        assert (name, int(before)) == (NAME, trio.servers[old].port) and int(now) != int(before)


@pytest.mark.parametrize("word, least", [("WAIT 2 20000", 2), ("WAIT 1 0", 1)])
def test_wait_counts_disks(trio: Cluster, word: str, least: int) -> None:
    leader = trio.leader()
    trio.write(leader, "SET", "w", "1")
    count: Callable[..., Any] = trio.client(leader).execute_command
    assert count(*word.split()) >= least
