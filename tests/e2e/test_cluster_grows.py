"""A server that stood alone becomes a cluster of three, loses a node, replaces it and is alone again: one client writes
all the time, and not one of its requests fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from bench.processes import wait_until
from tests.changes.town import Town
from tests.e2e.cluster import READY_SECONDS

PAUSE_S = 0.002  # between two writes: this is not about speed


@contextmanager
def writing(port: int) -> Iterator[Callable[[], int]]:
    """A client of one server that counts; afterwards nothing has failed, and no write was lost or made twice."""
    done, failures, stop = [0], [], threading.Event()
    client: Any = redis.Redis(port=port, socket_timeout=READY_SECONDS, retry=Retry(ConstantBackoff(0), 0))

    def write() -> None:
        while not stop.is_set() and not failures:
            try:
                reply = client.incr("n")
                if reply != done[0] + 1:
                    failures.append(f"{reply} behind {done[0]}")
                done[0] += 1
            except redis.RedisError as failure:
                failures.append(repr(failure))
            time.sleep(PAUSE_S)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: done[0]
    finally:
        stop.set()
        thread.join()
        client.close()
    assert failures == []


def test_from_one_to_three_and_back() -> None:
    with ExitStack() as stack:
        town = Town(stack)
        one = town.make("one")
        with_port, one.extra = one.extra, ("--enable-debug-command", "yes")
        one.start(READY_SECONDS)
        town.client("one").set("before", "the cluster")
        assert one.stop() == 0, "so far it was a server like any other"
        one.extra = with_port
        one.start(READY_SECONDS)
        for name in ("two", "three"):
            town.make(name).start(READY_SECONDS)
        with writing(one.port) as done:
            assert town.client("two").execute_command("CLUSTER", "JOIN", town.place("one")) == b"OK"
            town.wait_for("one", "one", "two")
            assert town.client("one").execute_command("CLUSTER", "JOIN", town.place("three")) == b"OK"
            town.wait_for("one", "one", "two", "three")
            town.wait_for("three", "one", "two", "three")
            assert town.client("three").get("before") == b"the cluster"
            town.servers["two"].kill()
            assert town.client("three").execute_command("CLUSTER", "REMOVE", "two") == b"OK"
            four = town.make("four", "--cluster-join", f"{town.place('three')},{town.place('one')}")
            four.start(READY_SECONDS)
            town.wait_for("one", "one", "three", "four")
            assert town.client("four").execute_command("CLUSTER", "REMOVE", "three") == b"OK"
            town.wait_for("four", "one", "four")
            assert town.client("one").execute_command("CLUSTER", "REMOVE", "four") == b"OK"
            town.wait_for("one", "one")
            now = done()
            wait_until(lambda: done() > now + 10, READY_SECONDS, "it goes on alone")
        assert int(town.client("one").get("n")) == done()
        assert one.stop() == 0
        one.start(READY_SECONDS)
        assert int(town.client("one").get("n")) == done() and town.client("one").get("before") == b"the cluster"


def test_a_removed_node_says_so_and_a_leader_can_be_removed() -> None:
    with ExitStack() as stack:
        town = Town(stack)
        for name in ("one", "two"):
            town.make(name).start(READY_SECONDS)
        town.client("one").set("k", "v")
        refused = _refusal(town, "two", "CLUSTER", "JOIN", town.place("two"))
        assert "has not joined" in refused, "nobody joins itself"
        assert town.client("two").set("k2", "v") is True, "and it is open again"
        assert "has data" in _refusal(town, "one", "CLUSTER", "JOIN", town.place("two")), "nor is a log thrown away"
        town.client("two").delete("k2")
        assert town.client("one").execute_command("CLUSTER", "JOIN", town.place("two")) == b"OK"
        town.wait_for("one", "one", "two")
        town.wait_equal("one", "two")
        assert town.client("one").execute_command("CLUSTER", "REMOVE", "one") == b"OK"
        town.wait_for("two", "two")
        for words in (("GET", "k"), ("SET", "k", "w")):
            assert "was removed from its cluster" in _refusal(town, "one", *words)
        assert town.client("two").get("k") == b"v"
        assert town.servers["one"].stop() == 0
        town.servers["one"].spawn()
        process = town.servers["one"].process
        assert process is not None and process.wait(READY_SECONDS) == 78
        assert "was removed from its cluster" in town.servers["one"].log_tail()


def _refusal(town: Town, name: str, *words: str) -> str:
    try:
        town.client(name).execute_command(*words)
    except redis.RedisError as error:
        return str(error)
    return ""
