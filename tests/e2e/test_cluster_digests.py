"""Three processes compare their states: one whose memory was spoilt stops serving and says so; the others go on.

Costs about 20 seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import redis

from bench.processes import wait_until
from tests.e2e.cluster import READY_SECONDS, Cluster, cluster

QUICK = ("--digest-interval", "200")
WHY = "this node's data differ from those of the other nodes"


def refused(trio: Cluster, at: int, *words: str) -> str:
    try:
        trio.client(at).execute_command(*words)
    except redis.ResponseError as error:
        return str(error)
    return ""


def run(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "vaylix_resp", *words], capture_output=True, text=True, timeout=READY_SECONDS, check=False
    )
    return done.returncode, done.stdout + done.stderr


def expect_refused(trio: Cluster, at: int) -> None:
    for words in (("GET", "k"), ("SET", "k", "2"), ("PING",), ("SCAN", "0")):
        assert refused(trio, at, *words).startswith("MISCONF " + WHY), words
    with trio.client(at).pipeline(transaction=False) as row, pytest.raises(redis.ResponseError, match=WHY):
        row.execute_command("READONLY").get("k").execute()  # who takes old data gets none from here either
    facts = trio.client(at).info("raft")
    assert facts["raft_state"] == "differs" and facts["raft_role"] != "leader"


@pytest.mark.parametrize("who", ["follower", "leader"])
def test_a_node_that_differs_stops_and_the_others_go_on(who: str) -> None:
    with cluster(3, *QUICK) as trio:
        leader = trio.leader()
        trio.write(leader, "SET", "k", "1")
        trio.write(leader, "MSET", *(word for number in range(200) for word in (f"key:{number}", "v")))
        client = trio.client(leader)
        wait_until(lambda: client.execute_command("RAFT", "DIGEST")[b"comparisons"] >= 4, READY_SECONDS, "all is compared")
        said = client.execute_command("RAFT", "DIGEST")
        assert b"differs" not in [node[b"last"] for node in said[b"nodes"]] and said[b"rounds"] >= 1
        wrong = leader if who == "leader" else (leader + 1) % 3
        right = [at for at in range(3) if at != wrong]
        assert refused(trio, (leader + 1) % 3, "RAFT", "DIGEST").startswith("NOTLEADER")

        trio.client(wrong).execute_command("DEBUG", "FLIP", "k")
        trio.write(right[0], "SET", "other", "1")  # in a cluster in which nothing happens, it would be found later
        wait_until(lambda: refused(trio, wrong, "PING") != "", READY_SECONDS, "it is found")
        expect_refused(trio, wrong)
        for at in right:
            assert trio.write(at, "SET", "k", f"from {at}") in (b"OK", True)
            assert trio.client(at).get("k") == b"from %d" % at
        assert trio.leader() != wrong

        name, port = f"node-{wrong + 1}", str(trio.servers[wrong].port)
        log_text = trio.servers[wrong].log_tail()
        assert "THE DATA OF THIS NODE DIFFER" in log_text and "CLUSTER REMOVE" in log_text
        wait_until(lambda: f"THE DATA OF {name} DIFFER" in trio.servers[right[0]].log_tail(), READY_SECONDS, "it says so")
        code, text = run("cluster", "status", "--port", str(trio.servers[right[0]].port))
        assert code == 0 and "DATA DIFFERS" in text and f"{name}: its data differ" in text
        code, text = run("healthcheck", "--port", port)
        assert code == 1 and WHY in text
        assert run("healthcheck", "--port", str(trio.servers[right[0]].port))[0] == 0
        wait_until(lambda: accused(trio, right[0]) == [name], READY_SECONDS, "it is in the audit")

        if who == "leader":
            return
        trio.servers[wrong].kill()
        trio.servers[wrong].spawn()
        wait_until(lambda: answers(trio, wrong), READY_SECONDS, "it is up")
        expect_refused(trio, wrong)
        wait_until(lambda: gone(trio, right[0], name), READY_SECONDS, "it is removed")
        assert "DATA DIFFERS" not in run("cluster", "status", "--port", str(trio.servers[right[0]].port))[1]


def answers(trio: Cluster, at: int) -> bool:
    try:
        refused(trio, at, "PING")
    except redis.ConnectionError:
        return False
    return True


def gone(trio: Cluster, at: int, name: str) -> bool:
    return refused(trio, at, "CLUSTER", "REMOVE", name) in ("", f"ERR Unknown node {name}")


def accused(trio: Cluster, at: int) -> list[str]:
    """By the audit of a node."""
    trail = trio.servers[at].data_directory / "audit" / "audit.jsonl"
    details = [json.loads(line)["details"] for line in trail.read_text().splitlines()]
    return [one["node"] for one in details if one.get("change") == "differs"]
