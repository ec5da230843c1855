"""The faults: a table of what can be done to three servers, and how each is undone.

    kill -9, SIGTERM, SIGSTOP          the process: one, the leader, all of them
    cut ...                            the network between nodes: full, one way in, one way out, one pair, everybody
    link down                          a node's cable: clients lose it, too
    loss, delay                        of what nodes send each other (delay: where the kernel has netem)
    disk full                          a file takes the rest of the disk; later it goes
    fsync error, slow fsync            strace lets fdatasync fail once, or take long
    hand over                          leadership moves

A fault returns how it is healed. What cannot be done now (the node is in the hands of another fault) is skipped.
Units: seconds, percent. Not here: when (`schedule`), whose doing a process's end is (`nodes`).
Source: the table of faults in the project's check-list; strace(1), "Tampering".
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.processes import ask
from tests.faults.nodes import ASK_SECONDS, Nodes
from tests.faults.schedule import ALL, ANY, FOLLOWER, LEADER, Card, Strike

PROCESS, DISK, LINK, TRACER = "process", "disk", "link", "tracer"
EXIT_SECONDS = 15.0  # from a failed fsync to the end of the process
ONE = (LEADER, FOLLOWER, ANY)

Heal = Callable[[], None]
Act = Callable[[Nodes, list[int], random.Random], Heal]


@dataclass(frozen=True, slots=True)
class Fault:
    card: Card
    holds: str  # of each node that it strikes; no other fault of this sort takes the node meanwhile
    act: Act


FAULTS: dict[str, Fault] = {}


def fault(kind: str, targets: tuple[str, ...], seconds: tuple[float, float], holds: str = "") -> Callable[[Act], Act]:
    def enter(act: Act) -> Act:
        FAULTS[kind] = Fault(Card(kind, targets, seconds), holds, act)
        return act

    return enter


# Processes.


@fault("kill -9", (*ONE, LEADER, ALL), (0.1, 8.0), PROCESS)
def kill(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    for node in struck:
        nodes.kill(node)
    return partial(_start, nodes, struck)


def _start(nodes: Nodes, struck: list[int]) -> None:
    for node in struck:
        nodes.start(node)


@fault("kill -9 twice", (*ONE, ALL), (0.2, 2.0), PROCESS)
def kill_twice(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    """The second time while it starts."""
    for node in struck:
        nodes.kill(node)
        nodes.start(node)
    time.sleep(rng.uniform(0.05, 1.0))
    for node in struck:
        nodes.kill(node)
    return partial(_start, nodes, struck)


@fault("SIGTERM", ONE, (0.1, 4.0), PROCESS)
def terminate(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    told = [node for node in struck if nodes.servers[node].alive()]
    for node in told:
        nodes.signal(node, signal.SIGTERM)

    def heal() -> None:
        for node in told:
            nodes.stopped(node)
        _start(nodes, struck)

    return heal


@fault("SIGSTOP", (*ONE, LEADER, ALL), (0.3, 10.0), PROCESS)
def pause(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    for node in struck:
        nodes.signal(node, signal.SIGSTOP)

    def wake() -> None:
        for node in struck:
            nodes.signal(node, signal.SIGCONT)

    return wake


# The network between nodes; clients still reach all of them.


def cut(nodes: Nodes, pairs: set[tuple[int, int]]) -> Heal:
    network, token = nodes.network, object()
    network.cut[token] = pairs
    network.apply()

    def heal() -> None:
        del network.cut[token]
        network.apply()

    return heal


def others(nodes: Nodes, node: int) -> list[int]:
    return [other for other in nodes.servers if other != node]


@fault("cut full", (*ONE, LEADER), (0.5, 10.0))
def cut_full(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    return cut(
        nodes, {pair for node in struck for other in others(nodes, node) for pair in ((node, other), (other, node))}
    )


@fault("cut in", (LEADER, FOLLOWER), (0.5, 10.0))
def cut_in(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    """It hears nobody; everybody hears it."""
    return cut(nodes, {(other, node) for node in struck for other in others(nodes, node)})


@fault("cut out", (LEADER, FOLLOWER), (0.5, 10.0))
def cut_out(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    """Nobody hears it; it hears everybody."""
    return cut(nodes, {(node, other) for node in struck for other in others(nodes, node)})


@fault("cut pair", (LEADER, FOLLOWER), (0.5, 10.0))
def cut_pair(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    """Two do not hear each other; the others hear both."""
    (node,) = struck
    other = rng.choice(others(nodes, node))
    return cut(nodes, {(node, other), (other, node)})


@fault("cut all", (ALL,), (0.5, 4.0))
def cut_all(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    return cut(nodes, {(node, other) for node in struck for other in others(nodes, node)})


@fault("link down", (LEADER, FOLLOWER), (0.5, 6.0), LINK)
def link_down(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    for node in struck:
        nodes.network.link(node, up=False)

    def heal() -> None:
        for node in struck:
            nodes.network.link(node, up=True)

    return heal


@fault("loss", (ALL,), (1.0, 10.0))
def loss(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    network, token = nodes.network, object()
    network.loss[token] = rng.choice((5, 15, 30))
    network.apply()

    def heal() -> None:
        del network.loss[token]
        network.apply()

    return heal


@fault("delay", ONE, (1.0, 10.0), LINK)
def delay(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    for node in struck:
        nodes.network.delay(node, rng.choice((20, 60, 150)))

    def heal() -> None:
        for node in struck:
            nodes.network.delay(node, 0)

    return heal


# Disks.


@fault("disk full", (*ONE, ALL), (0.5, 8.0), DISK)
def disk_full(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    files = []
    for node in struck:
        nodes.disk_trouble.add(node)
        file = nodes.network.mount_point(node) / "ballast"
        files.append(file)
        status = os.statvfs(file.parent)
        with file.open("wb") as ballast:
            try:
                os.posix_fallocate(ballast.fileno(), 0, max(1, status.f_bavail * status.f_frsize))
            except OSError:
                continue  # the server was quicker: what is left is even less

    def heal() -> None:
        for file in files:
            file.unlink()

    return heal


class Tracer:
    """strace, attached to the running process and its threads; nothing but fdatasync is slowed down by it."""

    def __init__(self, nodes: Nodes, node: int, injection: str) -> None:
        server = nodes.servers[node]
        self.node, self.pid, self._said = node, server.pid, server.scratch / "strace.log"
        words = ("strace", "-f", "-qq", "-y", "-e", "signal=none", "-e", "trace=fdatasync", "-o", str(self._said))
        target = ("-e", f"inject=fdatasync:{injection}", "-p", str(self.pid))
        self._process = subprocess.Popen((*words, *target), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def detach(self) -> list[str]:
        """The calls of the log's that it has made fail."""
        self._process.terminate()
        self._process.wait()
        lines = self._said.read_text(errors="replace").splitlines() if self._said.exists() else []
        return [line for line in lines if "(INJECTED)" in line and "/wal/active-" in line]


@fault("fsync error", ONE, (0.5, 4.0), TRACER)
def fsync_error(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    """The process must end by itself when that was a write of the log; then it is started again."""
    tracers = []
    for node in struck:
        if nodes.servers[node].alive():
            nodes.disk_trouble.add(node)
            tracers.append(Tracer(nodes, node, f"error=EIO:when={rng.choice((1, 2, 5))}"))

    def heal() -> None:
        for tracer in tracers:
            failed = tracer.detach()
            nodes.fsyncs_failed += bool(failed)
            if failed and not nodes.has_ended(tracer.node, tracer.pid, EXIT_SECONDS):
                nodes.finding(
                    tracer.node, f"goes on {EXIT_SECONDS:.0f} s after its log could not be written: {failed[0]}"
                )

    return heal


@fault("slow fsync", (*ONE, ALL), (1.0, 10.0), TRACER)
def slow_fsync(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    microseconds = rng.choice((20_000, 200_000, 900_000))
    alive = [node for node in struck if nodes.servers[node].alive()]
    tracers = [Tracer(nodes, node, f"delay_enter={microseconds}") for node in alive]

    def heal() -> None:
        for tracer in tracers:
            tracer.detach()

    return heal


# Leadership.


@fault("hand over", (LEADER,), (0.1, 0.2))
def hand_over(nodes: Nodes, struck: list[int], rng: random.Random) -> Heal:
    for node in struck:
        server = nodes.servers[node]
        try:
            ask(server.port, "FAILOVER", timeout=ASK_SECONDS, host=server.host)
        except OSError:
            continue  # it is in the hands of another fault
    return lambda: None


# Striking.


class Striker:
    """What is wrong now, and what has been."""

    def __init__(self, nodes: Nodes, seed: int) -> None:
        self._nodes, self._random = nodes, random.Random(f"striker {seed}")
        self._active: list[tuple[float, str, list[int], Heal]] = []  # until when
        self.counts: dict[str, int] = {}
        self.skipped = 0

    def strike(self, strike: Strike, now: float) -> str:
        """Do it, if it can be done; a line that says to whom."""
        chosen = FAULTS[strike.kind]
        struck = self._choose(strike.target, chosen.holds)
        if not struck:
            self.skipped += 1
            return f"{strike.kind}: skipped"
        if chosen.holds:
            self._nodes.held |= {(chosen.holds, node) for node in struck}
        heal = chosen.act(self._nodes, struck, self._random)
        self._active.append((now + strike.seconds, strike.kind, struck, heal))
        name = f"{strike.kind} ({strike.target})"
        self.counts[name] = self.counts.get(name, 0) + 1
        return f"{strike.kind} on {', '.join(map(str, struck))} for {strike.seconds:.1f} s"

    def _choose(self, target: str, holds: str) -> list[int]:
        nodes = self._nodes
        free = [node for node in nodes.servers if (holds, node) not in nodes.held]
        if target == ALL:
            return free
        if target == ANY:
            return [self._random.choice(free)] if free else []
        leader = nodes.leader()
        if target == LEADER and leader in free:
            return [leader]
        followers = [node for node in free if node != leader]  # anybody while nobody leads
        return [self._random.choice(followers)] if followers else []

    def heal(self, now: float) -> None:
        """What is over by now (`inf`: everything)."""
        due = [item for item in self._active if item[0] <= now]
        self._active = [item for item in self._active if item[0] > now]
        for _, kind, struck, heal in due:
            heal()
            self._nodes.held -= {(FAULTS[kind].holds, node) for node in struck}

    @property
    def next_heal(self) -> float:
        return min((until for until, *_ in self._active), default=float("inf"))
