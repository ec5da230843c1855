"""The compose cluster for real: `python -m tests.compose` (a Docker engine, docker-compose, ports 6379 to 6381 free).

Builds the image and holds its bill of materials against what is installed. Starts three nodes from nothing, kills the
leader (`docker kill`), restarts all of them (`docker-compose restart`), loses a volume and lets that node join again,
takes everything down and up, and down again, volumes too. Meanwhile a client counts; at the end each node has to show at
least every acknowledged increment and at most those of unknown outcome more. Takes about three minutes.
Not in the test suite, because it needs an engine; `--build-arg` and others go to `docker build` as they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ROOT = Path(__file__).parents[2]
PROJECT = "vaylix-compose-test"
PORTS = (6379, 6380, 6381)
READY_S = 60.0
BILL = "/usr/share/doc/vaylix/sbom.cdx.json"
INSTALLED = """
import json
from importlib.metadata import distributions
print(json.dumps([[one.name, one.version] for one in distributions(path=__import__("site").getsitepackages())]))
"""
# As in docs/docker.md.
JOIN = "services: {node-2: {environment: {VAYLIX_CLUSTER_JOIN: 'node-1:16379,node-3:16379'}}}"


def run(*words: str) -> str:
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def compose(*words: str) -> str:
    return run("docker-compose", "--project-name", PROJECT, *words)


def node(port: int) -> redis.Redis:
    return redis.Redis(port=port, socket_timeout=10, retry=Retry(NoBackoff(), 0), decode_responses=True)


class Counting(threading.Thread):
    """One increment after the other, on whichever node answers."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.acknowledged = self.unknown = self.refused = 0
        self.stop = threading.Event()

    def run(self) -> None:
        at, client = 0, node(PORTS[0])
        while not self.stop.is_set():
            try:
                client.incr("counter")
            except redis.ResponseError as refused:
                if str(refused).startswith("INDETERMINATE"):
                    self.unknown += 1
                else:
                    self.refused += 1
            except redis.ConnectionError:  # a lost connection leaves the outcome unknown
                self.unknown += 1
                at += 1
                client = node(PORTS[at % len(PORTS)])
                time.sleep(0.05)
            else:
                self.acknowledged += 1


def wait_ready() -> None:
    """Every node knows the leader, and a write gets through."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        try:
            if all(node(port).ping() for port in PORTS) and node(PORTS[0]).set("ready", "yes"):
                return
        except redis.RedisError:
            time.sleep(0.5)
    raise SystemExit(f"the cluster was not ready after {READY_S:.0f} s:\n{compose('logs', '--tail', '20')}")


def leader() -> int:
    """The number of the node that leads."""
    for number, port in enumerate(PORTS, 1):
        if node(port).role()[0] == "master":
            return number
    raise SystemExit("nobody leads")


def inside(program: str, *words: str) -> str:
    """What a program of the image prints."""
    return run("docker", "run", "--rm", "--network", "none", "--entrypoint", program, "vaylix-resp", *words)


def check_image() -> None:
    """It runs as nobody in particular, and says truly what is in it."""
    if inside("id", "-u").strip() != "6379":
        raise SystemExit("the image does not run as its own user")
    bill = json.loads(inside("cat", BILL))
    listed = {(one["name"], one["version"]) for one in [*bill["components"], bill["metadata"]["component"]]}
    installed = {(name, version) for name, version in json.loads(inside("python", "-c", INSTALLED))}
    if installed != {(name, version) for name, version in listed if name != "CPython"}:
        raise SystemExit(f"the bill of materials and what is installed differ: {sorted(installed ^ listed)}")


def lose_a_volume() -> None:
    """Of node-2, which comes in again with an empty one."""
    compose("rm", "--force", "--stop", "node-2")
    run("docker", "volume", "rm", f"{PROJECT}_data-2")
    node(PORTS[0]).execute_command("CLUSTER", "REMOVE", "node-2")
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(JOIN)
        file.flush()
        compose("--file", "docker-compose.yml", "--file", file.name, "up", "--detach", "--no-deps", "node-2")
    wait_ready()


def exercise() -> Counting:
    counting = Counting()
    counting.start()
    time.sleep(3)
    first = leader()
    print(f"node-{first} leads; docker kill", flush=True)
    compose("kill", f"node-{first}")
    time.sleep(8)
    before = counting.acknowledged
    time.sleep(2)
    if counting.acknowledged == before:
        raise SystemExit("no write got through after the leader had been killed")
    compose("start", f"node-{first}")
    wait_ready()
    print("docker-compose restart", flush=True)
    compose("restart")
    wait_ready()
    print("node-2 loses its volume", flush=True)
    lose_a_volume()
    time.sleep(2)
    counting.stop.set()
    counting.join()
    return counting


def main() -> None:
    run("docker", "build", "--tag", "vaylix-resp", *sys.argv[1:], ".")
    check_image()
    try:
        compose("up", "--detach")
        wait_ready()
        counting = exercise()
        print("docker-compose down, up", flush=True)
        compose("down")
        compose("up", "--detach")
        wait_ready()
        values = [int(node(port).get("counter") or 0) for port in PORTS]
    finally:
        compose("down", "--volumes")
    low, high = counting.acknowledged, counting.acknowledged + counting.unknown
    print(f"acknowledged {low}, of unknown outcome {counting.unknown}, refused {counting.refused}; nodes show {values}")
    if len(set(values)) != 1 or not low <= values[0] <= high:
        raise SystemExit("the nodes do not show what was acknowledged")
    print("passed")


if __name__ == "__main__":
    main()
