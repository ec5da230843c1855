"""What the end-to-end tests share: the server under test, and what to do when a tool is missing.

The process itself is bench.processes.Server. SERVER_UNDER_TEST=redis runs the same tests against redis-server, which
says whether a failure is the server's or the test's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.processes import Server, us_program

SERVER_IS_REDIS = us_program().command.startswith("redis-server")  # a stand-in, while a test itself is being tried


def missing(what: str) -> None:
    """In CI nothing may be skipped for a missing tool; elsewhere the test steps aside."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


def require(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            missing(tool)


def ours(*options: str) -> tuple[str, ...]:
    """Options that only we know; the stand-in does without."""
    return () if SERVER_IS_REDIS else options


@contextmanager
def vaylix(*options: str, prefix: tuple[str, ...] = (), directory: Path | None = None) -> Iterator[Server]:
    """A started server; `prefix` is a tracer or namespace tool in front of it."""
    with Server(us_program(), options, directory, prefix) as server:
        server.start()
        yield server


@contextmanager
def traced(pid: int, *options: str) -> Iterator[None]:
    """strace at work on all threads of a running process; it lets go at the end, if the process is still there."""
    require("strace")
    tracer = subprocess.Popen(["strace", "-f", "-qq", *options, "-p", str(pid)], stderr=subprocess.PIPE)
    try:
        while not all(tracer_of(task) for task in Path(f"/proc/{pid}/task").iterdir()):
            if tracer.poll() is not None and tracer.stderr is not None:
                missing(f"permission to trace a process ({tracer.stderr.read()[-200:].decode()})")
            time.sleep(0.01)
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


def tracer_of(task: Path) -> int:
    """Of one thread; 0: none."""
    found = re.search(r"^TracerPid:\s*(\d+)$", (task / "status").read_text(), re.M)
    return int(found[1]) if found else 0


def strace_prefix(*options: str) -> tuple[str, ...]:
    """strace as a detached grandchild (-D), so that the process we started is the server itself."""
    require("strace")
    check = subprocess.run(["strace", "-D", "-f", *options, "true"], check=False, capture_output=True, text=True)
    if check.returncode != 0:
        missing(f"permission to trace ({check.stderr.strip()[-200:]})")
    return ("strace", "-D", "-f", *options)
