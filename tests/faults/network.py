"""A network of our own for a few nodes: a namespace for each, and a bridge in one more namespace that joins them.

    here, 198.18.<slot>.254 ---+-- bridge ---+-- node 1, 198.18.<slot>.1
                                             +-- node 2, 198.18.<slot>.2 ...
The bridge is not in the main namespace, where a firewall (Docker's) would have its say. What a node does not hear is
dropped where it comes in, by nftables in the namespace of the node: so each direction of each pair is a thing of its own.

Promises: everything that was made is gone with the `with` block; what a run that was killed left behind (processes,
mounts, namespaces) is gone when the next one starts. Only names that begin with PREFIX are touched.
Needs: root, iproute2, nftables. Units: percent of packets, milliseconds. Not here: what runs in the namespaces.
Source: ip-netns(8), nft(8); RFC 2544, whose addresses for measurements these are.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

PREFIX = "vxf"
SLOTS = 8  # runs at once on one machine
TOOLS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "strace": "strace", "mount": "mount"}
HERE = 254
TABLE = """flush ruleset
table ip faults {{
chain input {{
type filter hook input priority 0
{rules}
}}
}}
"""


class Unusable(Exception):
    """This machine, or this user, cannot have a network of its own; the text says what is missing."""


def run(*words: str, text: str = "", check: bool = True) -> str:
    done = subprocess.run(words, check=False, input=text, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise Unusable(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def require_root_and_tools() -> None:
    if os.geteuid() != 0:
        raise Unusable("root is needed: network namespaces, mounts and ptrace")
    missing = [f"{tool} (package {package})" for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise Unusable(f"missing: {', '.join(missing)}")


class Network:
    """Nodes are numbered from 1. `cut`, `loss` and `delay` are what is wrong now; `apply` makes it so."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.slot = -1
        self._lock: socket.socket | None = None
        self.cut: dict[object, set[tuple[int, int]]] = {}  # who wants it -> (from, to) pairs that hear nothing
        self.loss: dict[object, int] = {}  # who wants it -> percent of what nodes send each other
        self._applied: list[str] = [""] * (count + 1)

    # Names.

    @property
    def hub(self) -> str:
        return namespace(self.slot, 0)

    def namespace(self, node: int) -> str:
        return namespace(self.slot, node)

    def address(self, node: int) -> str:
        return f"198.18.{self.slot}.{node}"

    def mount_point(self, node: int) -> Path:
        return mounts(self.slot) / f"n{node}"

    @property
    def _cable(self) -> str:
        return f"{PREFIX}{self.slot}h"

    # Up and down.

    def __enter__(self) -> Self:
        require_root_and_tools()
        for slot, lock in free_slots():
            sweep(slot)  # also what others left, so that nothing piles up
            if self.slot < 0:
                self.slot, self._lock = slot, lock
            else:
                lock.close()
        if self.slot < 0:
            raise Unusable(f"{SLOTS} runs are under way on this machine")
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        if self._lock is not None:
            sweep(self.slot)
            self.forget()

    def forget(self) -> None:
        """Leave all of it to whoever takes this slot next."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _make(self) -> None:
        run("ip", "netns", "add", self.hub)
        run("ip", "-n", self.hub, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", self.hub, "link", "set", "bridge", "up")
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "here", "netns", self.hub)
        run("ip", "address", "add", f"{self.address(HERE)}/24", "dev", self._cable)
        run("ip", "link", "set", self._cable, "up")
        run("ip", "-n", self.hub, "link", "set", "here", "master", "bridge", "up")
        for node in self.nodes:
            self._make_node(node)
        self.loss[self] = 1  # does the kernel have what the rules need?
        self.apply()
        del self.loss[self]
        self.apply()

    def _make_node(self, node: int) -> None:
        name, port = self.namespace(node), f"p{node}"
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self.hub)
        run("ip", "-n", name, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", self.hub, "link", "set", port, "master", "bridge", "up")

    @property
    def nodes(self) -> range:
        return range(1, self.count + 1)

    # Disks.

    def mount(self, node: int, mebibytes: int) -> Path:
        """An empty disk of this size."""
        point = self.mount_point(node)
        point.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", self.namespace(node), str(point))
        return point

    # What is wrong with it.

    def apply(self) -> None:
        """Make it so: each node gets its whole set of rules in one step, if it is another one than before."""
        cut = set().union(*self.cut.values())
        loss = max(self.loss.values(), default=0)
        for node in self.nodes:
            rules = [f"ip saddr {self.address(other)} drop" for other, to in sorted(cut) if to == node]
            if loss:
                others = ", ".join(self.address(other) for other in self.nodes)
                rules.append(f"ip saddr {{ {others} }} numgen random mod 100 < {loss} drop")
            table = TABLE.format(rules="\n".join(rules))
            if table != self._applied[node]:
                run("ip", "netns", "exec", self.namespace(node), "nft", "-f", "-", text=table)
                self._applied[node] = table

    def link(self, node: int, *, up: bool) -> None:
        """The cable of a node: nobody reaches it at all, clients neither."""
        run("ip", "-n", self.namespace(node), "link", "set", "eth0", "up" if up else "down")

    def delay(self, node: int, milliseconds: int) -> bool:
        """What this node sends takes so much longer (0: no more); False if the kernel has no netem."""
        device = ("-n", self.namespace(node), "qdisc")
        if not milliseconds:
            run("tc", *device, "del", "dev", "eth0", "root", check=False)
            return True
        change = ("replace", "dev", "eth0", "root", "netem", "delay", f"{milliseconds}ms", f"{milliseconds // 2}ms")
        return subprocess.run(("tc", *device, *change), check=False, capture_output=True).returncode == 0


def namespace(slot: int, node: int) -> str:
    return f"{PREFIX}-{slot}-{node}"


def mounts(slot: int) -> Path:
    return Path(tempfile.gettempdir()) / f"{PREFIX}-{slot}-disks"


def free_slots() -> Iterator[tuple[int, socket.socket]]:
    """Each slot that nobody uses, with its lock: an abstract address, which the kernel takes back however we end."""
    for slot in range(SLOTS):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0{PREFIX}-{slot}")
        except OSError:
            lock.close()
        else:
            yield slot, lock


def sweep(slot: int) -> None:
    """Everything that bears this slot's names: whoever holds its lock may."""
    names = [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip()]
    for name in names:
        if name.startswith(f"{PREFIX}-{slot}-"):
            for pid in run("ip", "netns", "pids", name, check=False).split():
                kill(int(pid))
            run("ip", "netns", "delete", name)
    run("ip", "link", "delete", f"{PREFIX}{slot}h", check=False)  # goes with the hub, unless that was never made
    if mounts(slot).exists():
        for point in mounts(slot).iterdir():
            while point.is_mount():
                run("umount", "--lazy", str(point))
        shutil.rmtree(mounts(slot))


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it was on its way out
