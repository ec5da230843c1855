"""A node that is left without a majority: it takes nothing, shows nothing as new, and names no leader to anybody.

Both kinds: a follower that no longer hears the leader, and a leader that no longer hears its followers. The others are
stopped by SIGSTOP, so that their connections stay open and nothing but silence tells. Cost: about 15 s.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError, Sentinel

from bench.processes import wait_until
from tests.e2e.cluster import READY_SECONDS, Cluster, cluster

NAME = "mymaster"


def fields(reply: Any) -> dict[bytes, bytes]:
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def down(reply: Any) -> bool:
    found = fields(reply)
    return b"o_down" in found[b"flags"] and (found[b"ip"], found[b"port"]) == (b"", b"0")


NOBODY: dict[str, Any] = {
    "ROLE": lambda reply: reply[:4] == [b"slave", b"", 0, b"connect"],
    "HELLO 3": lambda reply: reply[b"role"] == b"replica",
    "RAFT LEADER": lambda reply: reply is None,
    "RAFT STATUS": lambda reply: [reply[b"leader"], reply[b"leader-id"], reply[b"leader-address"]] == [None] * 3
    and {one[b"leader"] for one in reply[b"members"]} == {b"false"},
    "RAFT SERVER LIST": lambda reply: {one[b"leader"] for one in reply} == {b"false"},
    "RAFT INFO raft_leader_id": lambda reply: reply == {b"raft_leader_id": b"-1"},
    "RAFT INFO raft_quorum_fresh": lambda reply: reply == {b"raft_quorum_fresh": b"no"},
    f"SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}": lambda reply: reply is None,
    f"SENTINEL MASTER {NAME}": down,
    "SENTINEL MASTERS": lambda reply: all(down(one) for one in reply),
    f"SENTINEL REPLICAS {NAME}": lambda reply: all(fields(one).get(b"master-port") == b"0" for one in reply),
    f"SENTINEL SLAVES {NAME}": lambda reply: all(fields(one).get(b"master-port") == b"0" for one in reply),
    "CLUSTER INFO": lambda reply: b"cluster_state:fail" in reply,
    "CLUSTER NODES": lambda reply: b"master" not in reply,
    "CLUSTER SLOTS": "CLUSTERDOWN",
    "CLUSTER SHARDS": "CLUSTERDOWN",
    "INFO replication": lambda reply: b"role:slave\r\nmaster_host:\r\nmaster_port:0\r\nmaster_link_status:down" in reply,
    "INFO sentinel": lambda reply: b"status=odown,address=:0," in reply,
    "FAILOVER": ("FAILOVER", "NOREPLICAS", "NOTLEADER", "CLUSTERDOWN"),
}  # fmt: skip
# What a client asks of the data, and what it is told. READONLY clients are told that it is too old.
REFUSED = {
    "SET k 2": "NOREPLICAS", "INCR n": "NOREPLICAS", "DEL k": "NOREPLICAS", "GET k": "CLUSTERDOWN",
    "MGET k n": "CLUSTERDOWN", "EXISTS k": "CLUSTERDOWN", "DBSIZE": "CLUSTERDOWN",
}  # fmt: skip


@contextmanager
def stopped(trio: Cluster, at: list[int]) -> Iterator[None]:
    pids = [trio.servers[number].pid for number in at]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def raw(trio: Cluster, at: int) -> redis.Redis:
    """Replies as they are."""
    client = trio.client(at)
    client.response_callbacks.clear()  # type: ignore[attr-defined]
    return client


def told(client: redis.Redis, line: str) -> Any:
    """The reply, or the first word of the error."""
    try:
        return client.execute_command(*line.split())
    except redis.ResponseError as refused:
        code = {redis.exceptions.ClusterDownError: "CLUSTERDOWN"}.get(type(refused))
        return code or str(refused).split()[0]


def fits(reply: Any, expected: Any) -> bool:
    if callable(expected):
        return not isinstance(reply, str) and bool(expected(reply))
    return reply in expected if isinstance(expected, tuple) else reply == expected


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    door = ("--cluster-enabled", "emulate", "--no-leader-timeout", "500", "--commit-timeout", "3000")
    with cluster(3, *door) as made:
        assert made.write(0, "SET", "k", "1") in (b"OK", True)
        made.wait_equal()
        yield made


@pytest.mark.parametrize("which", ["the leader", "a follower"])
def test_the_minority_takes_nothing_and_names_nobody(trio: Cluster, which: str) -> None:
    leader = trio.leader()
    left = leader if which == "the leader" else (leader + 1) % 3
    others = [at for at in range(3) if at != left]
    known, plain, listener = raw(trio, left), raw(trio, left), trio.client(left).pubsub()
    listener.subscribe("+switch-master")
    waits = waiting_for_three(trio, left) if which == "the leader" else None
    with stopped(trio, others):
        # Until then it may have passed a write on to the leader that was, whose fate nobody knows.
        wait_until(lambda: told(plain, "RAFT LEADER") is None, READY_SECONDS, "it notices")
        wait_until(lambda: told(plain, "SET k 2") == "NOREPLICAS", READY_SECONDS, "nothing is on its way any more")
        answers = {line: told(plain, line) for line in REFUSED}
        assert answers == REFUSED
        found = {line: told(known, line) for line in NOBODY}
        assert {line: reply for line, reply in found.items() if not fits(reply, NOBODY[line])} == {}
        with pytest.raises(MasterNotFoundError):
            Sentinel([("127.0.0.1", trio.servers[left].port)]).discover_master(NAME)
        for line in ("SET k 2", "GET k"):  # `known` has shown that it is a cluster client: it asks another node
            assert told(known, line) == "CLUSTERDOWN"
        if waits is not None:
            assert waits() == "UNBLOCKED", "WAIT without a timeout has ended"
    wait_until(lambda: told(plain, "GET k") == b"1", READY_SECONDS, "what was refused has not happened")
    assert trio.write(left, "SET", "k", "1") in (b"OK", True)
    messages = [message["data"] for message in iter(lambda: listener.get_message(timeout=0.1), None)]
    assert all(isinstance(one, int) or f" {trio.servers[trio.leader()].port}".encode() in one for one in messages), (
        "subscribers heard of the one that came, if there was a change, and of nothing else"
    )
    trio.wait_equal()


def waiting_for_three(trio: Cluster, at: int) -> Callable[[], Any]:
    """A client that waits for more followers than there are, for ever; what it was told in the end."""
    client, found = trio.client(at, timeout=READY_SECONDS), []
    thread = threading.Thread(target=lambda: found.append(told(client, "WAIT 3 0")))
    thread.start()
    wait_until(lambda: trio.client(at).info("clients")["blocked_clients"] == 1, READY_SECONDS, "it waits")

    def answer() -> Any:
        thread.join(READY_SECONDS)
        return found[0]

    return answer


@pytest.mark.parametrize("mode, says", [("local", "local means majority here"), ("all", "answered INDETERMINATE")])
def test_the_log_says_what_an_ack_mode_means_when_it_is_set(trio: Cluster, mode: str, says: str) -> None:
    server = trio.servers[0]
    with trio.client(0) as client:
        before = server.log_path.read_text().count(says)
        client.config_set("write-ack-mode", mode)
        try:
            assert server.log_path.read_text().count(says) == before + 1
            assert client.set("k", "1")
        finally:
            client.config_set("write-ack-mode", "majority")
