"""Metrics of the process. Those of EARLY need no server: a process that is starting has them, too."""

from __future__ import annotations

from typing import Final

from ...identity import REDIS_VERSION, VAYLIX_VERSION
from ...observability.process import Process
from .table import Metric, Scrape, counter, gauge


def _build(at: Scrape) -> dict[tuple[str, ...], int]:
    return {(VAYLIX_VERSION, REDIS_VERSION, at.process.runtime): 1}


def _cpu(at: Scrape) -> dict[str, float]:
    cpu = at.process.cpu()
    return {"user": cpu.user, "system": cpu.system}


def _children(at: Scrape) -> dict[str, float]:
    cpu = at.process.cpu_children()
    return {"user": cpu.user, "system": cpu.system}


EARLY: Final[tuple[Metric, ...]] = (
    gauge("build_info", "Always 1; the labels say what is running.", _build,
          ("version", "redis_version", "python"), "one build"),
    gauge("process_start_time_seconds", "When the process started, since the epoch.",
          lambda at: at.process.started_unix),
    counter("process_cpu_seconds_total", "Processor time of all threads.", _cpu, ("mode",), "user, system"),
    counter("process_children_cpu_seconds_total", "The same of its children, when they have ended: snapshots, backups.",
            _children, ("mode",), "user, system"),
    gauge("process_open_fds", "Open file descriptors.", lambda at: at.process.open_files()),
    gauge("process_max_fds", "Open file descriptors that the system allows.", lambda at: at.process.files_max),
    gauge("memory_resident_bytes", "Resident memory of the process.", lambda at: at.memory.resident),
    gauge("memory_used_bytes", "Anonymous memory of the process: keys, buffers, interpreter (INFO used_memory).",
          lambda at: at.memory.used),
    gauge("memory_peak_bytes", "Highest resident memory since the start.", lambda at: at.memory.peak),
    gauge("memory_system_bytes", "Memory of the machine.", lambda at: at.process.system_memory()),
)  # fmt: skip


class EarlyScrape(Scrape):
    """Before there is a server."""

    def __init__(self, process: Process, phase: str) -> None:
        self._process, self.phase = process, phase

    @property
    def process(self) -> Process:
        return self._process
