"""`vaylix serve ...` of a page, in the background: `python -m tests.docs.serving WORDS` returns when the server can be reached.

A node of a cluster opens its door to clients when it has found a majority, so the way to the other nodes counts as well;
machine.py waits for all doors before the next command that is not a start. A server that is running on the same directory or the same port is stopped first, as a reader with one terminal would. A
server that does not start leaves its output and its exit code, as if it had been started in the foreground.
Needs: machine.py, whose process inherits the servers and stops them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.patience import PATIENCE_S
from vaylix_resp.config import ConfigError, Settings, load
from vaylix_resp.directives_cluster_rules import raft_port

RECORDS: Final = Path("/run/servers")  # PID.json: what it occupies; PID.log: what it says
EVERY_ADDRESS: Final = ("*", "0.0.0.0", "::", "-::*")
TURN_S: Final = 0.02


def main(words: list[str]) -> int:
    try:
        settings = load(words[0] if words and not words[0].startswith("--") else None, _options(words), os.environ)
    except ConfigError:
        os.execvp("vaylix", ["vaylix", "serve", *words])
    wanted = places(settings)
    RECORDS.mkdir(exist_ok=True)
    for record in RECORDS.glob("*.json"):
        if set(json.loads(record.read_text())["places"]) & set(wanted):
            stop(int(record.stem))
    log = RECORDS / f"{os.getpid()}.starting"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["vaylix", "serve", *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    (RECORDS / f"{server.pid}.json").write_text(json.dumps({"door": door(settings), "places": wanted}))
    log = log.rename(RECORDS / f"{server.pid}.log")
    deadline = time.monotonic() + PATIENCE_S
    while not any(map(open_, [door(settings), *way_to_nodes(settings)])):
        code = server.poll()
        if code is not None:
            (RECORDS / f"{server.pid}.json").unlink()
            print(log.read_text(), end="")
            return code
        if time.monotonic() > deadline:
            print(f"{log.read_text()}not reached within {PATIENCE_S} s")
            return 1
        time.sleep(TURN_S)
    return 0


def _options(words: list[str]) -> list[str]:
    return words[1:] if words and not words[0].startswith("--") else words


def door(settings: Settings) -> tuple[str, int]:
    """Where a client comes in."""
    addresses = [address.removeprefix("-") for address in settings.bind if address not in EVERY_ADDRESS]
    return (addresses[0] if addresses else "127.0.0.1"), settings.port or settings.tls_port


def places(settings: Settings) -> list[str]:
    """What two servers cannot both have."""
    host, port = door(settings)
    return [f"{host}:{port}", str(Path(settings.dir).resolve())]


def way_to_nodes(settings: Settings) -> list[tuple[str, int]]:
    return [(door(settings)[0], raft_port(settings))] if raft_port(settings) else []


def open_(place: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(place, timeout=1):
            return True
    except OSError:
        return False


def wait_for_doors() -> None:
    """Until clients can come in at every server that is running."""
    deadline = time.monotonic() + PATIENCE_S
    for record in RECORDS.glob("*.json"):
        while running(int(record.stem)) and not open_(tuple(json.loads(record.read_text())["door"])):
            if time.monotonic() > deadline:
                raise TimeoutError(f"server {record.stem} lets nobody in within {PATIENCE_S} s")
            time.sleep(TURN_S)


def running(pid: int) -> bool:
    """Not gone, and not merely waiting for its exit code to be fetched."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def stop(pid: int) -> None:
    """SIGTERM, and wait until it is gone."""
    if running(pid):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while running(pid):
        assert time.monotonic() < deadline, f"server {pid} does not stop"
        time.sleep(TURN_S)
    (RECORDS / f"{pid}.json").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
