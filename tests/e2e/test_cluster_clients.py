"""redis-py and redis-cli as they are: nobody knows of Raft, and everybody goes on through a hand-over and a kill -9."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
RETRIES = 100
PAUSE_S = 0.005  # of each client between two writes: it is not about speed


def _retry() -> Retry:
    return Retry(ExponentialBackoff(cap=0.25, base=0.02), RETRIES)


def _async_retry() -> AsyncRetry:
    return AsyncRetry(ExponentialBackoff(cap=0.25, base=0.02), RETRIES)


def _addresses(trio: Cluster) -> list[tuple[str, int]]:
    return [("127.0.0.1", server.port) for server in trio.servers]


class Writer:
    """Sets one key after the other, and knows what was acknowledged."""

    def __init__(self, name: str) -> None:
        self.name, self.done = name, 0
        self.failure: Exception | None = None
        self.stop = False

    def key(self, number: int) -> str:
        return f"{self.name}:{number}"

    def write(self, client: Any) -> None:
        try:
            while not self.stop:
                assert client.set(self.key(self.done), self.done)
                self.done += 1
                time.sleep(PAUSE_S)
        except Exception as failure:  # noqa: BLE001 - the test says what it was
            self.failure = failure

    async def write_async(self, client: Any) -> None:
        try:
            while not self.stop:
                assert await client.set(self.key(self.done), self.done)
                self.done += 1
                await asyncio.sleep(PAUSE_S)
        except Exception as failure:  # noqa: BLE001
            self.failure = failure


def _sync_clients(trio: Cluster, survivor: int) -> dict[str, Any]:
    common: dict[str, Any] = {"socket_timeout": SECONDS, "retry": _retry()}
    sentinel = Sentinel(_addresses(trio), sentinel_kwargs={"socket_timeout": SECONDS})
    nodes = [ClusterNode(host, port) for host, port in _addresses(trio)]
    return {
        "Redis": redis.Redis(port=trio.servers[survivor].port, **common),
        "Sentinel": sentinel.master_for(NAME, **common),
        "RedisCluster": RedisCluster(startup_nodes=nodes, **common),
    }


def _async_clients(trio: Cluster, survivor: int) -> dict[str, Any]:
    common: dict[str, Any] = {"socket_timeout": SECONDS, "retry": _async_retry()}
    sentinel = redis.asyncio.sentinel.Sentinel(_addresses(trio), sentinel_kwargs={"socket_timeout": SECONDS})
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in _addresses(trio)]
    return {
        "asyncio Redis": redis.asyncio.Redis(port=trio.servers[survivor].port, **common),
        "asyncio Sentinel": sentinel.master_for(NAME, **common),
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
        with writing(trio, survivor) as writers:
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


def test_redis_cli_follows(trio: Cluster) -> None:
    follower = (trio.leader() + 1) % 3
    for words in (["-c"], []):
        command = ["redis-cli", *words, "-p", str(trio.servers[follower].port), "SET", "from-cli", "1"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "OK\n"
    said = "CLUSTER SLOTS\nSET from-cli 2\n"
    command = ["redis-cli", "-c", "-p", str(trio.servers[follower].port)]
    shown = subprocess.run(command, input=said, capture_output=True, text=True, check=True).stdout
    assert shown.endswith("OK\n"), "told where to go, it went"
    assert trio.client(follower).get("from-cli") == b"2"


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


def test_the_minority_names_nobody() -> None:
    with cluster(3, "--cluster-enabled", "emulate") as made:
        left = (made.leader() + 1) % 3
        for at in range(3):
            if at != left:
                made.servers[at].kill()
        alone = made.client(left)
        # Until it stands for election itself, a write may still go to the leader that was, and its fate be unknown.
        wait_until(lambda: alone.info("raft")["raft_role"] == "candidate", READY_SECONDS, "it notices")
        assert alone.role() == [b"slave", b"", 0, b"connect", alone.role()[4]]
        with pytest.raises(redis.sentinel.MasterNotFoundError):
            Sentinel([("127.0.0.1", made.servers[left].port)]).discover_master(NAME)
        assert alone.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME) is None
        with pytest.raises(redis.exceptions.ClusterDownError):
            alone.execute_command("CLUSTER SLOTS")
        with pytest.raises(redis.exceptions.ClusterDownError):
            alone.get("k")  # a cluster client now, who is to ask another node at once
        plain = made.client(left)
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            plain.set("k", "1")
        with pytest.raises(redis.exceptions.ClusterDownError):
            plain.get("k")
