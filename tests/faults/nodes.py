"""The servers: one process in each namespace, each with a small disk of its own, and a supervisor's eye on them.

A node that ends without being told to is started again, as a supervisor would; what it ended with must be what was
done to it: exit code 74 where the disk failed or was full. Everything else is a finding.

Promise: what is here of a node's log and disk stays readable until `keep` has copied it or the `with` block ends.
Units: seconds, MiB. Not here: which faults there are (`faults`), what clients do (`clients`).
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench.processes import Server, ask, us_program
from tests.faults.network import Network
from vaylix_resp.errors import EX_IO, EX_OK

PORT, RAFT_PORT = 6379, 16379
SECRET = "of servers that live as long as this program"  # noqa: S105
DISK_MIB = 48
COMMIT_TIMEOUT_MS, NO_LEADER_TIMEOUT_MS = 3000, 1500
# Small enough that log is dropped and a node that was away for a while gets a snapshot.
OPTIONS = (
    "--wal-segment-size", "128kb", "--snapshot-log-size", "512kb", "--pitr-window", "0", "--follower-log-max", "1mb",
    "--commit-timeout", str(COMMIT_TIMEOUT_MS), "--no-leader-timeout", str(NO_LEADER_TIMEOUT_MS),
    "--enable-debug-command", "yes", "--protected-mode", "no", "--audit-head-interval", "5",
)  # fmt: skip
READY_SECONDS = 60.0
STOP_SECONDS = 60.0
ASK_SECONDS = 2.0
BY_ITSELF = {EX_IO}  # how a node may end when its disk has failed


class Nodes:
    """Numbered from 1, as in the network. `held`: what a fault has its hand on now, so that no other takes it."""

    def __init__(self, network: Network, options: tuple[str, ...] = ()) -> None:
        self.network = network
        self.findings: list[str] = []
        self.held: set[tuple[str, int]] = set()
        self.ends: dict[str, int] = {}  # how processes ended -> how often
        self.disk_trouble: set[int] = set()  # whose disk fails, is full, or was since its last start
        self.fsyncs_failed = 0  # of the log
        self._log_begins: dict[int, int] = {}  # of the running process
        self._options = options
        self._stack = ExitStack()
        self.servers: dict[int, Server] = {}

    def __enter__(self) -> Self:
        peers = ",".join(f"node-{node}@{self.network.address(node)}:{RAFT_PORT}" for node in self.network.nodes)
        for node in self.network.nodes:
            host = self.network.address(node)
            words = ("--bind", host, "--node-id", f"node-{node}", "--cluster-peers", peers, "--cluster-secret", SECRET)
            disk = self.network.mount(node, DISK_MIB)
            prefix = ("ip", "netns", "exec", self.network.namespace(node))
            server = Server(
                us_program(), (*words, *OPTIONS, *self._options), disk / "data", prefix, port=PORT, host=host
            )
            self.servers[node] = self._stack.enter_context(server)
        for server in self.servers.values():
            server.spawn()
        for server in self.servers.values():
            server.wait_ready(READY_SECONDS)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    # Asking them.

    def info(self, node: int, section: str = "raft") -> dict[str, str]:
        """INFO; empty if the node does not answer now."""
        server = self.servers[node]
        try:
            text = ask(server.port, "INFO", section, timeout=ASK_SECONDS, host=server.host).decode(errors="replace")
        except OSError:
            return {}
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def digest(self, node: int) -> str:
        server = self.servers[node]
        try:
            return ask(server.port, "DEBUG", "DIGEST", timeout=READY_SECONDS, host=server.host).decode().strip()
        except OSError as problem:
            return f"(node-{node} does not answer: {problem})"

    def leader(self) -> int:
        """Who says that it leads and has heard a majority; 0: nobody. Of several, the one of the newest term."""
        found: list[tuple[int, int]] = []
        for node, server in self.servers.items():
            if server.alive() and ("process", node) not in self.held and ("link", node) not in self.held:
                info = self.info(node)
                if info.get("raft_role") == "leader" and info.get("raft_quorum_fresh") == "yes":
                    found.append((int(info["raft_current_term"]), node))
        return max(found, default=(0, 0))[1]

    def term(self) -> int:
        return max((int(self.info(node).get("raft_current_term", 0)) for node in self.servers), default=0)

    # What is done to them.

    def kill(self, node: int) -> None:
        server = self.servers[node]
        if server.alive():
            server.kill()
            self._ended(node, "killed")

    def stopped(self, node: int) -> None:
        """After SIGTERM: wait for the end; a node that does not end by itself is a finding."""
        server = self.servers[node]
        assert server.process is not None
        try:
            code = server.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.finding(node, f"has not ended {STOP_SECONDS:.0f} s after SIGTERM")
            server.kill()
            return
        self._ended(node, f"SIGTERM, exit code {code}")
        if code == -signal.SIGTERM and not self._was_ready(node):
            return  # Python had not come to our handler yet
        if code != EX_OK and not (code in BY_ITSELF and node in self.disk_trouble):
            self.finding(node, f"has ended with exit code {code} after SIGTERM")

    def has_ended(self, node: int, pid: int, seconds: float) -> bool:
        """Does this process end within that time? (Not if another fault holds it: then nobody can say.)"""
        server, give_up = self.servers[node], time.monotonic() + seconds
        while server.alive() and server.pid == pid and ("process", node) not in self.held:
            if time.monotonic() > give_up:
                return False
            time.sleep(0.05)
        return True

    def signal(self, node: int, number: signal.Signals) -> None:
        server = self.servers[node]
        if server.alive():
            assert server.process is not None
            server.process.send_signal(number)

    def start(self, node: int) -> None:
        """A new process, unless one runs. It need not come up now: `look` sees to that."""
        server = self.servers[node]
        if not server.alive():
            if ("disk", node) not in self.held:
                self.disk_trouble.discard(node)
            self._log_begins[node] = server.log_path.stat().st_size
            server.spawn()

    def _was_ready(self, node: int) -> bool:
        """Has this process come as far as serving anybody?"""
        return b" is ready on " in self.servers[node].log_path.read_bytes()[self._log_begins.get(node, 0) :]

    def look(self) -> None:
        """Who has ended without being told to is started again."""
        for node, server in self.servers.items():
            if server.alive() or ("process", node) in self.held:
                continue
            assert server.process is not None
            code = server.process.returncode
            self._ended(node, f"by itself, exit code {code}")
            if not (code in BY_ITSELF and node in self.disk_trouble):
                last = server.log_tail().strip().rsplit("\n", 1)[-1]
                self.finding(node, f"has ended by itself with exit code {code}: {last}")
                self.held.add(("process", node))  # its log says why, and goes on no further
                continue
            time.sleep(0.2)
            self.start(node)

    def _ended(self, node: int, how: str) -> None:
        self.ends[how] = self.ends.get(how, 0) + 1

    def finding(self, node: int, what: str) -> None:
        self.findings.append(f"node-{node} {what}")

    # Afterwards.

    def tracebacks(self) -> list[str]:
        """A node that says Traceback has met something that nobody thought of."""
        found = []
        for node, server in self.servers.items():
            text = server.log_path.read_text(errors="replace")
            at = text.find("Traceback (most recent call last)")
            if at >= 0:
                found.append(f"node-{node} has logged a traceback: {text[at : at + 2000]}")
        return found

    def keep(self, directory: Path) -> None:
        """Data and logs, as they are now: the processes are stopped first."""
        for node, server in self.servers.items():
            server.kill()
            shutil.copytree(server.data_directory, directory / f"node-{node}", ignore=shutil.ignore_patterns("*.sock"))
            shutil.copy(server.log_path, directory / f"node-{node}.log")
