"""What a soak measures of the server, every few seconds: memory, descriptors, threads, disk, latency.

Latency is that of single requests of a client of its own, one at a time; a sample holds the median and the slowest of
its period. Units: bytes, milliseconds. Not here: what counts as flat (`verdict`).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, fields
from pathlib import Path

import redis

from bench.processes import Server
from tests.patience import PATIENCE_S

PROBE_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    rss: int
    used: int
    descriptors: int
    threads: int
    disk: int
    clients: int
    get_ms: float  # the median of the period
    set_ms: float
    slowest_ms: float

    def row(self) -> str:
        return (
            f"{self.at_s:7.0f} s  rss {self.rss / 2**20:7.1f} MiB  used {self.used / 2**20:7.1f} MiB  "
            f"fds {self.descriptors:4}  threads {self.threads:3}  disk {self.disk / 2**20:7.1f} MiB  "
            f"clients {self.clients:4}  GET {self.get_ms:6.2f} ms  SET {self.set_ms:6.2f} ms  "
            f"slowest {self.slowest_ms:7.1f} ms"
        )


COLUMNS = tuple(one.name for one in fields(Sample))


class Watch:
    """One client that asks, and a look at the process from outside."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._client = redis.Redis(port=server.port, socket_timeout=PATIENCE_S)
        self._began = time.monotonic()

    def sample(self, period_s: float) -> Sample:
        """Probe for `period_s`, then read the figures."""
        until = time.monotonic() + period_s
        gets, sets = [], []
        while time.monotonic() < until:
            gets.append(self._timed("GET", "probe"))
            sets.append(self._timed("SET", "probe", "x" * 64))
            time.sleep(PROBE_PAUSE_S)
        info = self._client.info("everything")
        proc = Path(f"/proc/{self._server.pid}")
        return Sample(
            at_s=time.monotonic() - self._began,
            rss=self._server.rss_bytes(),
            used=info["used_memory"],
            descriptors=len(os.listdir(proc / "fd")),
            threads=len(os.listdir(proc / "task")),
            disk=_size(self._server.data_directory),
            clients=info["connected_clients"],
            get_ms=_median(gets),
            set_ms=_median(sets),
            slowest_ms=max(gets + sets),
        )

    def close(self) -> None:
        self._client.close()

    def _timed(self, *words: str) -> float:
        began = time.perf_counter()
        self._client.execute_command(*words)
        return (time.perf_counter() - began) * 1000


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _size(directory: Path) -> int:
    """Of all files; some vanish while one looks."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
