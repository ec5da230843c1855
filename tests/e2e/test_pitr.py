"""`vaylix pitr` beside a server that writes, rotates, snapshots and prunes all the time: what it restores from the moving
directory is what it restores from the same directory at rest, and a server starts on it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from compat.clients import patient
from tests.e2e.test_flashback import LOAD, running
from tests.e2e.tools import vaylix

ROUNDS = 3


def pitr(*words: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "vaylix_resp", "pitr", *map(str, words), "--json"],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_beside_a_busy_server(tmp_path: Path) -> None:
    options = ("--wal-segment-size", "64kb", "--snapshot-log-size", "1mb", "--pitr-window", "2")
    live: list[dict[str, Any]] = []
    with vaylix(*options) as server:
        client, source = patient(port=server.port), server.data_directory
        with running(LOAD, server.port, 1), running(LOAD, server.port, 2):
            for number in range(ROUNDS):
                time.sleep(0.5)
                acknowledged = client.info("persistence")["log_applied_sequence"]
                live.append(
                    pitr("restore", "--source-dir", source, "--target-dir", tmp_path / f"{number}", "--to-time", "latest")
                )
                assert live[-1]["sequence"] >= acknowledged, "what was acknowledged before is in it"
                assert pitr("inspect", "--data-dir", source)["range"]["last_sequence"] >= live[-1]["sequence"]
        # Until the next snapshot all that the last restore needed is there, so it can be had again.
        server.stop()
        last = live[-1]
        found = pitr("inspect", "--data-dir", source)
        assert found["clean_stop"] is True and len(found["segments"]) > 1
        if found["range"]["first_sequence"] <= last["sequence"]:
            again = pitr(
                "restore", "--source-dir", source, "--target-dir", tmp_path / "again", "--to-sequence", last["sequence"]
            )
            assert (again["digest"], again["keys"]) == (last["digest"], last["keys"])
    with vaylix(directory=tmp_path / str(ROUNDS - 1)) as server:
        assert patient(port=server.port).dbsize() == live[-1]["keys"]
