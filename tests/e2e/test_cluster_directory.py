"""A member's data directory in the hands of the tools: backups, restores, checks; and no copy of it comes back as it.

And what changes state outside the data path (users, maintenance, configuration, restores) does it from any node.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.processes import Server, ask, free_port, us_program, wait_until
from compat.clients import patient
from tests.e2e.cluster import READY_SECONDS, Cluster, cluster

NOT_READY_SECONDS = 20.0


def tool(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vaylix_resp", *map(str, words)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def refused(trio: Cluster, at: int, *words: str) -> str:
    """The code of the error; nothing if there is none. Asked without a client library, which would try again."""
    reply = ask(trio.servers[at].port, *words, timeout=20.0)
    return reply.split()[0].decode().removeprefix("-") if reply.startswith(b"-") else ""


def records(trio: Cluster, at: int, event: str) -> list[dict[str, object]]:
    lines = trio.client(at).execute_command("AUDIT", "TAIL", "200")
    return [record for line in lines if (record := json.loads(line))["event"] == event]


@pytest.fixture(scope="module")
def trio() -> Iterator[Cluster]:
    with cluster(3, "--audit-head-interval", "1") as made:
        yield made


def test_users_maintenance_and_configuration_change_on_any_node(trio: Cluster) -> None:
    leader = trio.leader()
    here, there = (leader + 1) % 3, (leader + 2) % 3
    one, other = trio.client(here), trio.client(there)
    assert one.acl_setuser("bob", enabled=True, passwords=["+a long password"], keys=["*"], categories=["+@all"])
    assert b"bob" in one.acl_users(), "at once where it was asked for; on the others when they have heard of it"
    wait_until(lambda: all(b"bob" in trio.client(at).acl_users() for at in range(3)), READY_SECONDS, "everywhere")
    assert patient(port=trio.servers[there].port, username="bob", password="a long password").ping()
    assert one.execute_command("MAINTENANCE", "ON", "disk") == b"OK"
    for at in range(3):
        wait_until(
            lambda at=at: refused(trio, at, "SET", "k", "1") == "MAINTENANCE", READY_SECONDS, "writes are refused"
        )
    assert other.execute_command("MAINTENANCE", "OFF") == b"OK"
    wait_until(lambda: not refused(trio, here, "SET", "k", "1"), READY_SECONDS, "and taken again")
    assert one.execute_command("KEYRING", "ROTATE") == b"OK" and one.set("k", "2")
    for at in range(3):
        assert [record["details"]["change"] for record in records(trio, at, "membership")] == ["start"]
        assert [record["details"]["leader"] for record in records(trio, at, "leader")] == [f"node-{leader + 1}"]
        asked = len(records(trio, at, "maintenance"))
        assert asked == (at in (here, there)), "in the audit of the node that was asked"
    for at in range(3):  # the head of each node's own audit, through the leader
        wait_until(
            lambda at=at: trio.client(at).info("audit")["audit_committed_sequence"] > 3, READY_SECONDS,
            "its head is committed",
        )  # fmt: skip
    assert one.config_set("requirepass", "another long password")
    for at in range(3):
        wait_until(lambda at=at: refused(trio, at, "PING") == "NOAUTH", READY_SECONDS, "a password is wanted")
        assert patient(port=trio.servers[at].port, password="another long password").get("k") == b"2"
    assert patient(port=trio.servers[there].port, password="another long password").config_set("requirepass", "")
    wait_until(lambda: not any(refused(trio, at, "PING") for at in range(3)), READY_SECONDS, "and no more")


@pytest.fixture(scope="module")
def stopped(trio: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a follower, with a backup in it, after its clean stop."""
    trio.write(0, "FLUSHALL")
    at = (trio.leader() + 1) % 3
    client = trio.client(at)
    with client.pipeline(transaction=False) as row:
        for number in range(50):
            row.set(f"k{number}", "x" * 100)
        row.execute()
    client.bgsave()
    wait_until(lambda: not client.info("persistence")["rdb_bgsave_in_progress"], READY_SECONDS, "the snapshot")
    client.set("k0", "late")
    assert client.execute_command("BACKUP", "TO", "b1")[b"keys"] == 50
    assert client.execute_command("BACKUP", "VERIFY", "b1")[b"keys"] == 50
    client.delete("k1")
    assert client.execute_command("BACKUP", "RESTORE", "b1")[b"keys"] == 50
    assert trio.client((at + 1) % 3).dbsize() == 50, "restored on every node"
    client.set("last", "1")
    trio.servers[at].stop()
    copy = tmp_path_factory.mktemp("member") / "data"
    shutil.copytree(trio.servers[at].data_directory, copy)
    trio.start()
    return copy


def test_the_tools_read_it(stopped: Path, tmp_path: Path) -> None:
    assert "Everything is whole" in tool("storage", "verify", "--data-dir", stopped)
    assert json.loads(tool("storage", "inspect", "--data-dir", stopped, "--json"))
    assert "whole" in tool("audit", "verify", "--data-dir", stopped)
    assert "all digests equal" in tool("backup", "verify", stopped / "backups" / "b1.vxb")
    reach = json.loads(tool("pitr", "inspect", "--data-dir", stopped, "--json"))
    last = reach["range"]["last_sequence"]
    tool("pitr", "restore", "--source-dir", stopped, "--to-sequence", last, "--target-dir", tmp_path / "new")
    with Server(us_program(), directory=tmp_path / "new") as single:
        single.start(READY_SECONDS)
        client = patient(port=single.port, protocol=3)
        assert client.dbsize() == 51 and client.get("last") == b"1", "up to the last write that was acknowledged"
        assert client.set("mine", "1") and client.role()[0] == b"master"
        single.stop()
    port = free_port()
    with Server(us_program(), ("--raft-port", str(port), "--raft-bind", "127.0.0.1"), tmp_path / "new") as founder:
        founder.start(READY_SECONDS)  # it founds a cluster of its own, and knows nothing of the one it came from
        client = patient(port=founder.port, protocol=3)
        wait_until(lambda: client.role()[0] == b"master", READY_SECONDS, "it leads itself")
        assert client.get("mine") == b"1" and len(client.execute_command("RAFT", "SERVER", "LIST")) == 1


def test_without_its_cluster_it_does_not_start(stopped: Path) -> None:
    with Server(us_program(), directory=stopped) as alone:
        alone.spawn()
        assert alone.process is not None and alone.process.wait(READY_SECONDS) == 78
        assert "is that of a member" in alone.log_tail() and "pitr restore" in alone.log_tail()


def test_under_another_name_it_does_not_start(stopped: Path) -> None:
    port = free_port()
    with Server(us_program(), ("--raft-port", str(port), "--raft-bind", "127.0.0.1", "--node-id", "x"), stopped) as one:
        one.spawn()
        assert one.process is not None and one.process.wait(READY_SECONDS) == 78
        assert "a name never changes: set node-id node-" in one.log_tail()


def test_a_copy_is_not_let_in_beside_the_node_that_it_was_made_from(trio: Cluster, tmp_path: Path) -> None:
    """Made while the node was writing: what it has promised since is not in it."""
    at = (trio.leader() + 1) % 3
    original = trio.servers[at]
    trio.write(at, "SET", "k", "1")
    passing = shutil.ignore_patterns("*.tmp")  # may be gone before it is copied
    shutil.copytree(original.data_directory, tmp_path / "copy", ignore=passing)
    trio.write(at, "SET", "k", "2")
    options = (*original.extra, "--raft-port", str(free_port()), "--raft-bind", "127.0.0.1")
    with Server(us_program(), options, tmp_path / "copy") as copy:
        copy.spawn()
        wait_until(
            lambda: copy.log_path.exists() and b"a copy never takes its place" in copy.log_path.read_bytes(),
            NOT_READY_SECONDS, "the others refuse it, and say why",
        )  # fmt: skip
        assert trio.write(at, "INCR", "k") == 3 and trio.client((at + 1) % 3).get("k") == b"3"
        assert trio.client(at).execute_command("RAFT", "STATUS")[b"leader"], "the original is what it was"
        copy.kill()
        original.stop()
        trio.start()
        trio.wait_equal()
        original.stop()
        copy.spawn()  # it has been started more often by now than the node that was seen
        wait_until(
            lambda: b"was another process; remove it" in copy.log_path.read_bytes(),
            NOT_READY_SECONDS, "it is refused all the same",
        )  # fmt: skip
    trio.start()
