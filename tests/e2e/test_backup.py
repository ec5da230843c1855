"""Issue 3, shown by 6: a backup of many keys while many clients write is the state at one sequence, and can be restored.

A real server is filled, clients write without a pause, BACKUP TO is made meanwhile. Then: each client's writes are in
the backup up to one of its own (they write in order), the digest is the one that `vaylix pitr restore` finds at that
sequence by another way, the backup is verified by server and tool, and a server on the directory that `vaylix backup
restore` makes of it has the same digest; so has the first server after FLUSHALL and BACKUP RESTORE.
BACKUP_KEYS and BACKUP_CLIENTS make it larger: 1000000 and 50 are the issue's numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from bench.processes import Server
from tests.e2e.tools import SERVER_IS_REDIS, vaylix

pytestmark = pytest.mark.skipif(SERVER_IS_REDIS, reason="the verbs are ours")

KEYS = int(os.environ.get("BACKUP_KEYS", "20000"))
CLIENTS = int(os.environ.get("BACKUP_CLIENTS", "10"))
PIPELINE = 1000
WAIT_S = 60 + KEYS / 2000  # of one step; generous, because nothing here is about speed


def connect(server: Server) -> Redis:
    return Redis(port=server.port, protocol=2, socket_timeout=10 * WAIT_S)


class Writer(threading.Thread):
    """Writes its own two keys in turn, and others, until told to stop; `acknowledged` is the last one that was."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__(daemon=True)
        self.client = connect(server)
        self.number, self.acknowledged, self.slowest_s = number, 0, 0.0
        self.stopped = threading.Event()

    def run(self) -> None:
        n = 0
        while not self.stopped.is_set():
            n += 1
            began = time.monotonic()
            assert self.client.set(f"a:{self.number}", n) and self.client.set(f"b:{self.number}", n)
            assert self.client.set(f"key:{n * 7919 % KEYS}", f"written by {self.number}", ex=100_000)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.acknowledged = n


def fill(client: Redis) -> None:
    for at in range(0, KEYS, PIPELINE):
        pipe = client.pipeline(transaction=False)
        for n in range(at, min(at + PIPELINE, KEYS)):
            pipe.set(f"key:{n}", b"value %d " % n + bytes(range(50)))
        assert all(pipe.execute())


def tool(*words: object) -> dict[str, Any]:
    argv = [sys.executable, "-m", "vaylix_resp", *map(str, words), "--json"]
    done = subprocess.run(argv, check=False, capture_output=True, timeout=10 * WAIT_S)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def as_map(flat: list[Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def test_a_backup_while_clients_write(tmp_path: Path) -> None:
    data, restored = tmp_path / "data", tmp_path / "restored"
    with vaylix("--enable-debug-command", "local", directory=data) as server:
        client = connect(server)
        fill(client)
        writers = [Writer(server, number) for number in range(CLIENTS)]
        for writer in writers:
            writer.start()
        while not all(writer.acknowledged for writer in writers):
            time.sleep(0.01)
        began = time.monotonic()
        made = as_map(client.execute_command("BACKUP", "TO", "loaded"))
        seconds = time.monotonic() - began
        after = client.execute_command("DBSIZE")
        for writer in writers:
            writer.stopped.set()
        for writer in writers:
            writer.join(WAIT_S)
        slowest = max(writer.slowest_s for writer in writers)
        print(
            f"\n{made['keys']} keys backed up in {seconds:.1f} s beside {CLIENTS} clients, which made "
            f"{3 * sum(writer.acknowledged for writer in writers)} writes; the slowest three took {slowest * 1000:.0f} ms"
        )
        assert KEYS + 2 * CLIENTS == made["keys"] == after
        check_consistency(server, client, made, tmp_path)
        digest = made["keys_digest"].decode()
        client.execute_command("FLUSHALL")
        again = as_map(client.execute_command("BACKUP", "RESTORE", "loaded"))
        assert again["sha256"] == made["sha256"] and client.execute_command("DBSIZE") == made["keys"]
        for _ in range(2):  # also what a restart finds
            assert client.execute_command("GET", "a:0") and client.execute_command("DBSIZE") == made["keys"]
            server.stop()
            server.start()
            client = connect(server)
    key = data / "master.key"
    file = data / "backups" / "loaded.vxb"
    assert tool("backup", "verify", file)["sha256"] == made["sha256"].decode()
    found = tool("backup", "restore", file, "--target-dir", restored, "--master-key-file", key)
    assert found["keys_digest"] == digest and found["state_digest"] == made["digest"].decode()
    with vaylix("--enable-debug-command", "local", directory=restored) as other:
        client = connect(other)
        assert client.execute_command("DEBUG", "DIGEST").decode() == digest
        assert client.execute_command("DBSIZE") == made["keys"]


def check_consistency(server: Server, client: Redis, made: dict[str, Any], scratch: Path) -> None:
    """By the other way to that sequence, and by what every client wrote in order."""
    assert as_map(client.execute_command("BACKUP", "VERIFY", "loaded")) == made
    target = scratch / "moment"
    found = tool(
        "pitr", "restore", "--source-dir", server.data_directory, "--target-dir", target,
        "--to-sequence", made["sequence"],
    )  # fmt: skip
    assert found["digest"] == made["digest"].decode() and found["keys"] == made["keys"]
    with vaylix(directory=target) as there:
        moment = connect(there)
        for number in range(CLIENTS):
            a, b = (int(moment.get(f"{name}:{number}") or 0) for name in "ab")
            assert b <= a <= b + 1, (number, a, b)
