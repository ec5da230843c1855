"""What the figures were measured on, so that nobody compares them with another machine's."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

FSYNC_PROBES = 200


def first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "not available"
    return next(iter(done.stdout.strip().splitlines()), "")


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def file_system(path: Path) -> str:
    return first_line("findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(path))


def fdatasync_ms() -> float:
    """Median time of a 4-KiB append and fdatasync where the servers will write."""
    times = []
    with tempfile.TemporaryFile() as probe:
        for _ in range(FSYNC_PROBES):
            began = time.perf_counter()
            os.write(probe.fileno(), b"x" * 4096)
            os.fdatasync(probe.fileno())
            times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2] * 1000


def commit() -> str:
    here = Path(__file__).resolve().parent
    return first_line("git", "-C", str(here), "describe", "--always", "--dirty")


def describe_machine() -> dict[str, str]:
    scratch = Path(tempfile.gettempdir())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "cpu": f"{os.cpu_count()} x {cpu_name()}",
        "memory": f"{memory_gib():.0f} GiB",
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "redis": first_line("redis-server", "--version"),
        "data directory": f"{scratch} ({file_system(scratch)})",
        "fdatasync": f"{fdatasync_ms():.3f} ms (median of {FSYNC_PROBES} appends of 4 KiB)",
    }
