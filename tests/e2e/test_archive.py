"""A real server whose disk is lost: what its archive and its online backup are worth, with nothing but the master key.

Writers go on all the time; ARCHIVE_SECONDS sets for how long (default 3).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from bench.processes import REPOSITORY, Server, info_field, wait_until
from compat.clients import patient
from tests.e2e.tools import vaylix

SECONDS = float(os.environ.get("ARCHIVE_SECONDS", "3"))
WRITERS = 4
# Small segments, so that many are sealed; a copy that is there already has to be the same.
OPTIONS = ("--wal-segment-size", "1mb", "--archive-timeout", "1", "--enable-debug-command", "local")
COMMAND = "cmp -s %p ARCHIVE/%f || {{ test ! -e ARCHIVE/%f && cp %p ARCHIVE/%f.tmp && mv ARCHIVE/%f.tmp ARCHIVE/%f; }}"


class Writers:
    """Each counts its own key up and writes a payload with it; `acknowledged` is what it has been told OK of."""

    def __init__(self, port: int) -> None:
        self.port, self.stopped = port, threading.Event()
        self.acknowledged = [0] * WRITERS
        self.threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def _write(self, number: int) -> None:
        client = patient(port=self.port)
        try:
            while not self.stopped.is_set():
                value = self.acknowledged[number] + 1
                client.mset({f"count:{number}": value, f"pad:{number}:{value % 50}": os.urandom(2000)})
                self.acknowledged[number] = value
        except redis.ConnectionError:  # the server has been killed
            return


@contextmanager
def writing(port: int) -> Iterator[Writers]:
    writers = Writers(port)
    for thread in writers.threads:
        thread.start()
    try:
        yield writers
    finally:
        writers.stopped.set()
        for thread in writers.threads:
            thread.join()


def tool(*words: str) -> dict[str, object]:
    """An offline subcommand with --json."""
    done = subprocess.run(
        [sys.executable, "-m", "vaylix_resp", *words, "--json"], check=False, capture_output=True, text=True,
        cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def counts(port: int) -> list[int]:
    client = patient(port=port)
    return [int(client.get(f"count:{number}") or 0) for number in range(WRITERS)]


def digest(port: int) -> str:
    return str(patient(port=port).execute_command("DEBUG", "DIGEST"))


def sequence(port: int) -> int:
    return int(info_field(port, "persistence", "log_applied_sequence"))


def test_a_lost_disk_comes_back_from_its_archive(tmp_path: Path) -> None:
    archive = tmp_path / "the archive"
    archive.mkdir()
    command = COMMAND.format().replace("ARCHIVE", f"'{archive}'")
    points: list[tuple[int, str]] = []
    with vaylix(*OPTIONS, "--archive-command", command, "--pitr-window", "0") as server:
        client = patient(port=server.port)
        for _ in range(2):
            with writing(server.port):
                time.sleep(SECONDS / 2)
                client.execute_command("KEYRING", "ROTATE")  # and a snapshot, which prunes what the archive has
            points.append((sequence(server.port), digest(server.port)))
        last = sequence(server.port)
        wait_until(lambda: int(info_field(server.port, "persistence", "archive_sequence")) >= last, 30, "the archive")
        wait_until(lambda: info_field(server.port, "persistence", "archive_pending_files") == "0", 30, "its snapshots")
        assert info_field(server.port, "persistence", "archive_failed_count") == "0"
        server.kill()
        key = tmp_path / "master.key"
        shutil.copyfile(server.data_directory / "master.key", key)
        server.start()  # it goes on where it was: everything that comes again is accepted by the command
        client.set("again", 1)
        wait_until(lambda: int(info_field(server.port, "persistence", "archive_sequence")) > last, 30, "the archive")
        assert info_field(server.port, "persistence", "archive_failed_count") == "0"
        shutil.rmtree(server.data_directory)
    assert len(list(archive.glob("0*.wal"))) > 3 and list(archive.glob("snapshot-*"))
    for at, (to, state) in enumerate(points):
        target = tmp_path / f"restored-{at}"
        tool("pitr", "restore", "--archive-dir", str(archive), "--target-dir", str(target), "--to-sequence", str(to),
             "--master-key-file", str(key))  # fmt: skip
        with vaylix(*OPTIONS, directory=target) as restored:
            assert digest(restored.port) == state


def test_an_online_backup_taken_under_load_is_the_state_at_its_seal(tmp_path: Path) -> None:
    with vaylix(*OPTIONS) as server:
        client = patient(port=server.port)
        key, copy = server.data_directory / "master.key", tmp_path / "copy"
        with writing(server.port) as writers:
            time.sleep(0.3)
            assert client.execute_command("BACKUP", "START") == b"OK"
            wait_until(lambda: state_of(client) == "incrementing", 30, "the base of the backup")
            assert client.execute_command("KEYRING", "ROTATE") == b"OK"  # makes a snapshot, too
            time.sleep(SECONDS / 2)
            before = list(writers.acknowledged)
            assert client.execute_command("BACKUP", "SEAL") == b"OK"
            after = list(writers.acknowledged)
            time.sleep(0.2)
        assert state_of(client) == "sealed"
        copy_listed(client, server, copy)
        hashes = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        shared = server.data_directory / "backups" / "online"
        with vaylix(*OPTIONS, "--master-key-file", str(key), directory=shared) as started:
            found = counts(started.port)
            assert all(low <= here <= high + 1 for low, here, high in zip(before, found, after, strict=True))
            patient(port=started.port).set("here", "only")
            assert client.get("here") is None
        for path, content in hashes.items():
            if path.suffix in (".wal", ".vxs"):  # what the server in the backup shares with the original is as it was
                assert (shared / path.relative_to(copy)).read_bytes() == content
        assert counts(server.port) == writers.acknowledged
        with vaylix(*OPTIONS, "--master-key-file", str(key), directory=copy) as again:
            assert counts(again.port) == found


def state_of(client: redis.Redis) -> str:
    flat = client.execute_command("BACKUP", "STATUS")
    fields = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
    return bytes(fields[b"state"]).decode()


def copy_listed(client: redis.Redis, server: Server, target: Path) -> None:
    """What a tool does that knows only BACKUP LIST."""
    root = server.data_directory / "backups" / "online"
    for name in client.execute_command("BACKUP", "LIST"):
        path = Path(name.decode())
        (target / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / path.relative_to(root))
