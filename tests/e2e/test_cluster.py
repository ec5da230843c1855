"""Three processes: any node takes any request, and a node that is killed costs nobody anything that was acknowledged."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import redis

from bench.processes import wait_until
from tests.e2e.cluster import READY_SECONDS, cluster


def test_any_node_takes_any_request() -> None:
    with cluster() as trio:
        for at in range(3):
            assert trio.write(at, "SET", f"k{at}", at) in (b"OK", True)
            assert all(trio.client(other).get(f"k{at}") == b"%d" % at for other in range(3)), "at once, everywhere"
        with trio.client(1).pipeline(transaction=True) as block:
            block.incr("n").get("k0").incr("n")
            assert block.execute() == [1, b"0", 2]
        with trio.client(2).pipeline(transaction=False) as row:
            for _ in range(500):
                row.incr("n").get("n")
            assert row.execute() == [number for n in range(3, 503) for number in (n, b"%d" % n)]
        trio.wait_equal()


def test_messages_reach_the_subscribers_of_every_node() -> None:
    with cluster() as trio:
        listeners = [trio.client(at).pubsub() for at in range(3)]
        for listener in listeners:
            listener.subscribe("news")
            listener.psubscribe("ne*")
        for listener in listeners:
            assert {listener.get_message(timeout=20.0)["type"] for _ in range(2)} == {"subscribe", "psubscribe"}
        for at in range(3):
            trio.client(at).publish("news", f"from {at}")
            for listener in listeners:
                heard = [listener.get_message(timeout=20.0) for _ in range(2)]
                assert {one["type"] for one in heard} == {"message", "pmessage"}
                assert {one["data"] for one in heard} == {b"from %d" % at}


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_a_killed_node_takes_nothing_with_it(victim: str) -> None:
    with cluster() as trio:
        leader = trio.leader()
        dead = leader if victim == "leader" else (leader + 1) % 3
        asked = (leader + 2) % 3
        done = 0
        for number in range(300):
            if number == 100:
                trio.servers[dead].kill()
            if number == 200:
                trio.servers[dead].start(READY_SECONDS)
            reply = trio.write(asked, "INCR", "n")
            assert reply == done + 1, "neither lost nor made twice"
            done += 1
        assert all(int(trio.client(at).get("n") or 0) == done for at in range(3))
        trio.wait_equal()


def test_a_leader_that_stops_hands_over() -> None:
    with cluster() as trio:
        leader = trio.leader()
        asked = (leader + 1) % 3
        trio.write(asked, "SET", "k", "1")
        assert trio.servers[leader].process is not None
        trio.servers[leader].process.send_signal(signal.SIGTERM)
        done = 0
        while trio.servers[leader].alive() or done < 50:
            assert trio.client(asked).incr("n") == done + 1, "not one request fails"
            done += 1
        assert trio.servers[leader].process.wait() == 0
        trio.start()
        trio.wait_equal()


def test_a_minority_refuses() -> None:
    with cluster(3, "--commit-timeout", "1000", "--no-leader-timeout", "500") as trio:
        trio.write(0, "SET", "k", "1")
        for at in (1, 2):
            trio.servers[at].kill()

        def refused(*words: str) -> str:
            try:
                trio.client(0).execute_command(*words)
            except redis.RedisError as error:
                return str(error)
            return ""

        wait_until(lambda: refused("SET", "k", "2").startswith("NOREPLICAS"), READY_SECONDS, "writes are refused")
        assert refused("GET", "k"), "it cannot know whether there is anything newer"
        for at in (1, 2):
            trio.servers[at].spawn()
        trio.start()
        assert trio.write(0, "SET", "k", "3") in (b"OK", True)


def log_begins(data: Path) -> int:
    """The first sequence that is still in the log on disk."""
    return min(int(path.name.removeprefix("active-")[:20]) for path in (data / "wal").glob("*.wal"))


@pytest.mark.parametrize(("log_max", "snapshot"), [("1mb", True), ("1gb", False)])
def test_a_node_that_was_away_for_long_catches_up(log_max: str, snapshot: bool) -> None:
    """By the log that was kept for it, or, where that has got too long, by a snapshot."""
    small = ("--wal-segment-size", "64kb", "--pitr-window", "0", "--follower-log-max", log_max)
    with cluster(3, *small) as trio:
        leader = trio.leader()
        away = (leader + 1) % 3
        trio.write(leader, "SET", "before", "1")
        trio.wait_equal()
        trio.servers[away].kill()
        for at in trio.up:
            with trio.client(at).pipeline(transaction=False) as row:
                for number in range(2000):
                    row.set(f"key:{at}:{number}", "x" * 1000)
                row.execute()
        others = list(trio.up)
        for _ in range(2):
            for at in others:
                trio.client(at).execute_command("SAVE")
            trio.write(others[0], "INCR", "n")
        begins = [log_begins(trio.servers[at].data_directory) for at in others]
        assert min(begins) > 2000 if snapshot else max(begins) < 2000, begins
        trio.start()
        trio.wait_equal()
        assert trio.client(away).dbsize() == 4002
        assert ("a snapshot has come" in trio.servers[away].log_tail()) == snapshot
        trio.write(away, "SET", "after", "1")
        trio.wait_equal()
        trio.servers[away].kill()
        trio.start()
        trio.wait_equal()


@pytest.mark.parametrize("left", ["nothing", "node.json"])
def test_a_node_that_has_lost_its_data_is_not_believed(left: str) -> None:
    """It has forgotten its votes and what it has acknowledged: nobody counts on it before it joins as a new node."""
    with cluster() as trio:
        trio.write(0, "SET", "k", "1")
        trio.wait_equal()
        at = trio.leader()
        wiped, other = trio.servers[(at + 1) % 3], trio.servers[(at + 2) % 3]
        wiped.kill()
        for path in wiped.data_directory.iterdir():
            if path.name != left:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        wiped.spawn()
        says = "knows" if left == "nothing" else "the data of a node that has taken part in a cluster; it is gone"
        wait_until(lambda: says in wiped.log_tail() and "CLUSTER JOIN" in wiped.log_tail(), READY_SECONDS, "it says so")
        if left == "node.json":
            assert wiped.process is not None and wiped.process.wait(READY_SECONDS) == 65
        assert trio.write(at, "SET", "k", "2") in (b"OK", True)
        assert trio.client(at).info("raft")["raft_num_voting_nodes"] == 3, "the old one still counts, and is missed"
        other.kill()
        with pytest.raises(redis.RedisError):
            trio.client(at, timeout=4.0).set("k", "3")
