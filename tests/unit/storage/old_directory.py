"""The directories of format 1 from tests/fixtures, on a simulated disk, and what has to come out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.sim.disk.simdisk import SimDisk

FIXTURES = Path(__file__).parents[2] / "fixtures" / "format1"
ROOT = "data"
NAMES = ("killed", "stopped")


def facts(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def put(name: str, disk: SimDisk | None = None) -> SimDisk:
    disk = disk or SimDisk()
    for directory in ("wal", "snapshots"):
        disk.mkdir(f"{ROOT}/{directory}")
    for path in sorted((FIXTURES / name).rglob("*")):
        if path.is_file():
            disk.put(f"{ROOT}/{path.relative_to(FIXTURES / name)}", path.read_bytes())
    return disk.copy()
