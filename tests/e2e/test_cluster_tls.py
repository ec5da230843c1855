"""Nodes that trust certificates: from `vaylix tls example-certs` to a cluster, and new certificates while it runs.

Cost: about 10 s.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.processes import Server, wait_until
from tests.e2e.cluster import READY_SECONDS, Cluster, cluster
from tests.unit.security import pki
from vaylix_resp.tools.tls import make_nodes

NAMES = ("node-1", "node-2", "node-3")
TAKEN, KEPT = "the nodes' certificates were reloaded (SIGHUP)", "the nodes' certificates were not reloaded (SIGHUP)"


def hang_up(server: Server, says: str) -> None:
    """SIGHUP, and what the log says to it."""
    before = server.log_path.read_text().count(says)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: server.log_path.read_text().count(says) == before + 1, READY_SECONDS, says)


def reload_all(trio: Cluster) -> None:
    for server in trio.servers:
        hang_up(server, TAKEN)


def lost(trio: Cluster) -> int:
    """Connections between nodes that have ended or did not come about, so far: each has a line in the log."""
    return sum(server.log_path.read_text().count("no connection to a node") for server in trio.servers)


def settled(trio: Cluster) -> int:
    """`lost`, when all that was on its way has come about."""
    while True:
        before = lost(trio)
        time.sleep(1.5)
        if lost(trio) == before:
            return before


def test_a_cluster_of_example_certificates_and_their_renewal(tmp_path: Path) -> None:
    place = tmp_path / "tls"
    tool = [sys.executable, "-m", "vaylix_resp", "tls", "example-certs", "--dir", str(place)]
    subprocess.run([*tool, *(word for name in NAMES for word in ("--node", name))], check=True, capture_output=True)
    files = ("--tls-cluster", "yes", "--tls-cluster-cert-file", f"{place}/{{node}}.crt", "--tls-cluster-key-file",
             f"{place}/{{node}}.key", "--tls-cluster-ca-cert-file", f"{place}/nodes-ca.crt",
             "--tls-auto-reload-interval", "0")  # fmt: skip
    with cluster(3, *files) as trio:
        assert trio.write(0, "SET", "k", "1") in (b"OK", True)
        trio.wait_equal()
        leader, before = trio.leader(), settled(trio)
        term = trio.client(leader).info("raft")["raft_current_term"]

        # A new CA: first it is trusted beside the old one, then it signs, then it is the only one.
        old_ca = (place / "nodes-ca.crt").read_bytes()
        new = make_nodes(datetime.now(UTC), 5, dict.fromkeys(NAMES, ()))
        pki.put_file(place / "nodes-ca.crt", old_ca + new["nodes-ca.crt"])
        reload_all(trio)
        for name in NAMES:
            pki.put(place, name, (new[f"{name}.crt"], new[f"{name}.key"]))
        reload_all(trio)
        pki.put_file(place / "nodes-ca.crt", new["nodes-ca.crt"])
        reload_all(trio)

        pki.put(place, NAMES[leader], (b"nonsense", b"nonsense"))
        hang_up(trio.servers[leader], KEPT)
        assert trio.write(0, "SET", "k", "1") in (b"OK", True)
        assert lost(trio) == before, "open connections go on through all of it"
        pki.put(place, NAMES[leader], (new[f"{NAMES[leader]}.crt"], new[f"{NAMES[leader]}.key"]))

        # Who starts now meets the others with what they have come to: also the leader, which kept what it had.
        away = trio.servers[(leader + 1) % 3]
        assert away.stop() == 0
        trio.start()
        assert trio.write((leader + 1) % 3, "SET", "k", "2") in (b"OK", True)
        trio.wait_equal()
        assert lost(trio) > before, "that is how it would show"
        assert trio.client(leader).info("raft")["raft_current_term"] == term, "and nobody had to vote"
