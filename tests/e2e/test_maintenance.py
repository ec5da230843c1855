"""Maintenance mode outlives the process, and is in what is restored from the directory."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from compat.clients import patient
from tests.e2e.test_pitr import pitr
from tests.e2e.tools import vaylix


def test_it_is_on_after_a_kill_and_a_restore(tmp_path: Path) -> None:
    with vaylix() as server:
        with patient(port=server.port) as client:
            assert client.set("a", "1") and client.execute_command("MAINTENANCE", "ON", "new disk")
        server.kill()
        server.start()
        with patient(port=server.port) as client:
            with pytest.raises(redis.ResponseError, match="MAINTENANCE Writes are refused: new disk"):
                client.set("a", "2")
            assert client.get("a") == b"1" and client.info("server")["maintenance_mode"] == 1
            assert client.save()  # from here on it comes from a snapshot
        server.stop()
        pitr("restore", "--source-dir", server.data_directory, "--target-dir", tmp_path / "r", "--to-time", "latest")
    with vaylix(directory=tmp_path / "r") as server, patient(port=server.port) as client:
        with pytest.raises(redis.ResponseError, match="new disk"):
            client.set("a", "2")
        assert client.execute_command("MAINTENANCE", "OFF") and client.set("a", "2")
