"""FLUSHALL by mistake, under load, and everything back as it was a moment before: values, expiries, types, flags.

VAYLIX_FLASHBACK_KEYS=100000 runs the size of the promise; its pauses are printed (-s) and belong to a machine at rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from bench.processes import Server
from tests.e2e.tools import vaylix

KEYS = int(os.environ.get("VAYLIX_FLASHBACK_KEYS", "20000"))
BATCH = 1000
EXPIRE_AT_MS = (int(time.time()) + 86_400) * 1000  # far enough away to be there at the end of the test
PAUSE_SECONDS_MAX = 2.0  # two cores with five busy processes on them: this only tells a stall from a wait

# A process each, so that their waits are not each other's.
PROBE = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
worst, began = 0.0, time.time()
while True:
    t = time.perf_counter(); s.sendall(b"PING\\r\\n")
    if s.recv(64) != b"+PONG\\r\\n": break
    gap = time.perf_counter() - t
    if gap > worst: worst = gap; print("%.6f" % worst, flush=True)
    time.sleep(0.001)
"""
LOAD = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
n = 0
while True:
    n += 1
    s.sendall(b"".join(b"SET load:%d:%d %d\\r\\n" % (int(sys.argv[2]), i % 50, n) for i in range(20)))
    got = 0
    while got < 20: got += s.recv(65536).count(b"\\n")
"""


@contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def worst_gap(probe: subprocess.Popen[str]) -> float:
    probe.kill()
    said, _ = probe.communicate()
    return max(map(float, said.split()), default=0.0)


def fill(client: redis.Redis) -> None:
    for first in range(0, KEYS, BATCH):
        pipeline = client.pipeline(transaction=False)
        for number in range(first, min(first + BATCH, KEYS)):
            match number % 4:
                case 0:
                    pipeline.execute_command("SET", f"key:{number}", f"value {number}", "PXAT", EXPIRE_AT_MS + number)
                case 1:
                    pipeline.execute_command("EXSET", f"key:{number}", f"value {number}", "FLAGS", number)
                case _:
                    pipeline.set(f"key:{number}", f"value {number}")
        pipeline.execute()


def state_of(client: redis.Redis) -> dict[int, tuple[object, ...]]:
    """Value, expiry, type and flags of every key."""
    found: dict[int, tuple[object, ...]] = {}
    for first in range(0, KEYS, BATCH):
        numbers = range(first, min(first + BATCH, KEYS))
        pipeline = client.pipeline(transaction=False)
        for number in numbers:
            pipeline.execute_command("EXGET", f"key:{number}", "WITHFLAGS")
            pipeline.execute_command("PEXPIRETIME", f"key:{number}")
            pipeline.execute_command("TYPE", f"key:{number}")
        answers = pipeline.execute(raise_on_error=False)
        for at, number in enumerate(numbers):
            value, expiry, kind = answers[3 * at : 3 * at + 3]
            found[number] = (value[0], *value[2:], expiry, kind) if isinstance(value, list) else (value, expiry, kind)
    return found


def test_everything_comes_back_after_a_flush_under_load() -> None:
    with vaylix("--snapshot-log-size", "4mb") as server:
        client = redis.Redis(port=server.port, socket_timeout=300)
        fill(client)
        before = state_of(client)
        assert before[1][0] == b"value 1" and before[1][1] == 1 and before[0][-2] == EXPIRE_AT_MS, (before[0], before[1])
        assert len(before) == KEYS and all(isinstance(found[0], bytes) for found in before.values())
        with running(LOAD, server.port, 1), running(LOAD, server.port, 2), running(PROBE, server.port) as probe:
            time.sleep(0.3)
            moment = int(time.time() * 1000)
            time.sleep(0.3)
            assert client.flushall() is True
            time.sleep(0.3)
            assert client.exists("key:0") == 0
            began = time.monotonic()
            told = client.execute_command("FLASHBACK", "RESTORE", "*", f"ms:{moment}")
            seconds = time.monotonic() - began
            gap = worst_gap(probe)
        assert state_of(client) == before
        assert KEYS <= told <= KEYS + 100, told  # and what the load had written by then
        print(f"\n{KEYS} keys back in {seconds:.2f} s; the longest wait for a PING was {1000 * gap:.1f} ms")
        assert 0 < gap < PAUSE_SECONDS_MAX
        check_restart(server, before)


def check_restart(server: Server, before: dict[int, tuple[object, ...]]) -> None:
    """What came back is in the log like any other write."""
    server.kill()
    server.start()
    client = redis.Redis(port=server.port, socket_timeout=300)
    assert state_of(client) == before
