"""What the end-to-end tests share: the server under test, and what to do when a tool is missing.

The process itself is bench.processes.Server. SERVER_UNDER_TEST=redis runs the same tests against redis-server, which
says whether a failure is the server's or the test's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
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


def strace_prefix(*options: str) -> tuple[str, ...]:
    """strace as a detached grandchild (-D), so that the process we started is the server itself."""
    require("strace")
    check = subprocess.run(["strace", "-D", "-f", *options, "true"], check=False, capture_output=True, text=True)
    if check.returncode != 0:
        missing(f"permission to trace ({check.stderr.strip()[-200:]})")
    return ("strace", "-D", "-f", *options)
