"""`vaylix import --from` a running redis-server: equal at the cut-over, whatever is written, killed and restarted meanwhile.

One test kills a real process, the others as tests/e2e/moving.py does. Costs about 6 s of processor time, most of it the
servers'. Longer, with more load: `python -m tests.moving`.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bench.processes import REPOSITORY
from compat.clients import patient
from tests.e2e.moving import (
    Pair,
    all_strings,
    everything,
    killed_in_the_stream,
    killed_often,
    pair,
    servers,
    small_pieces,
    tls,
    writes,
)
from tests.patience import PATIENCE_S
from vaylix_resp.tools.moving import importing, side
from vaylix_resp.tools.moving.from_stream import Follower
from vaylix_resp.tools.moving.meaning import MARK_KEY

PAUSE_MS = "60000"

__all__ = ["pair", "servers", "tls"]  # fixtures


class Follows(Follower):
    """Whom an event tells to cut over, instead of a signal."""

    enough = threading.Event()

    def __init__(self, *words: Any, cut_over: Callable[[], bool], **options: Any) -> None:
        super().__init__(*words, cut_over=self.enough.is_set, **options)


def test_a_live_source_under_writes_is_equal_at_the_cut_over(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed everywhere meanwhile: no INCR is lost, and none counts twice."""
    monkeypatch.setattr(importing, "Follower", Follows)
    Follows.enough.clear()
    small_pieces(monkeypatch, 50_000)
    writes(pair.source, 50, random.Random(3))
    pair.source.set("large", b"y" * 200_000)
    over = threading.Event()

    def write_on() -> None:
        with patient(port=pair.source_server.port) as client:
            for seed in count():
                if over.is_set():
                    return
                writes(client, 2, random.Random(seed))
                if seed % 20 == 0:
                    client.append("large", b"x" * 120_000)  # three pieces, in a stream
                time.sleep(0.005)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        words = [*pair.live, "--follow", "--pause-source", "--pause-ms", PAUSE_MS]
        phases = killed_often(monkeypatch, lambda: pair.imported(*words), 24, Follows.enough.set)
        assert phases.count("keys") >= 3 and phases.count("stream") >= 10
        assert pair.equal()  # the writer waits for the end of the pause
    finally:
        over.set()
        pair.source.client_unpause()
        writer.join(PATIENCE_S)


def test_what_cannot_be_kept_ends_a_stream(pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pair.source.mset({"a": 1, "b": 2})
    killed_in_the_stream(monkeypatch, lambda: pair.imported(*pair.live))
    pair.source.incr("a")
    pair.source.rpush("list", 1)
    pair.source.sadd("set", 1)
    pair.source.sinterstore("b", "set")  # a string no more
    pair.source.rename("list", "a")
    assert pair.imported(*pair.live) == 65
    assert "command RPUSH, key 'list' before offset" in capsys.readouterr().err
    assert pair.target.get("a") == b"2"
    assert pair.imported(*pair.live, "--skip-unsupported", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unsupported"] == {"command RPUSH": 1, "command SADD": 1, "command SINTERSTORE": 1}
    assert everything(pair.target) == {}


def test_without_a_pause_what_is_written_all_the_time_is_no_difference(pair: Pair) -> None:
    pair.source.set("still", 1)
    over = threading.Event()

    def write_on() -> None:
        with patient(port=pair.source_server.port) as client:
            while not over.is_set():
                client.incr("hot")

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        assert pair.imported(*pair.live) == 0
    finally:
        over.set()
        writer.join(PATIENCE_S)
    assert pair.target.get("still") == b"1" and 0 < int(pair.target.get("hot") or 0) <= int(pair.source.get("hot") or 0)


def test_a_target_that_was_written_to_is_not_cut_over(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    pair.source.mset({"a": 1, "b": 2})
    pair.source.set("c", 3, pxat=4_000_000_000_000)
    killed_in_the_stream(monkeypatch, lambda: pair.imported(*pair.live))
    full_before = pair.source.info("stats")["sync_full"]
    pair.target.set("a", "x")
    pair.target.set("more", 1)
    shutil.rmtree(tmp_path / "vaylix")  # the spool is a help, not a must
    assert pair.imported(*pair.live) == 1
    out = capsys.readouterr().out
    assert "2 differences" in out and "'a': its value differs" in out and "'more': is not at the source" in out
    assert pair.target.pexpiretime("c") > 4_000_000_000_000 and "cut over" not in out
    assert pair.source.info("stats")["sync_full"] == full_before
    assert pair.imported(*pair.live, "--restart") == 0 and pair.equal()


def test_a_source_that_begins_anew_is_taken_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was restarted, and its history has another name."""
    writes(pair.source, 30, random.Random(4))
    killed_in_the_stream(monkeypatch, lambda: pair.imported(*pair.live))
    assert pair.target.exists(MARK_KEY)
    pair.source.set("later", 1)
    for name in everything(pair.source):
        if name[1].startswith(b"n"):
            pair.source.select(name[0])
            pair.source.delete(name[1])
    pair.source.select(0)
    pair.source_server.stop()
    pair.source_server.start()
    assert pair.imported(*pair.live) == 0
    assert pair.equal()


def test_a_process_that_is_killed_goes_on_where_it_was(pair: Pair, tmp_path: Path, capsys: Any) -> None:
    """kill -9 while it follows; what came meanwhile is fetched from the source's backlog. Nobody else takes it over, and
    it does not need the connection that it asks for the offset."""
    pair.source.config_set("repl-diskless-sync", "no")  # the file comes from disk here, elsewhere without
    pair.source.set("n", 1)
    words = [sys.executable, "-m", "vaylix_resp", *pair.words(*pair.live, "--follow", "--pause-source")]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}

    def followed(value: bytes) -> subprocess.Popen[str]:
        process = subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + PATIENCE_S
        while pair.target.get("n") != value and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert pair.target.get("n") == value
        return process

    first = followed(b"1")
    first.kill()
    first.communicate()
    pair.source.incr("n")
    pair.source.set("short", 1, pxat=4_000_000_000_000)
    full_before = pair.source.info("stats")["sync_full"]
    second = followed(b"2")
    assert pair.imported(*pair.live) == 74 and "another import is at work" in capsys.readouterr().err
    pair.source.client_kill_filter(_type="normal", skipme=True)
    second.send_signal(signal.SIGINT)
    out, err = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, err
    assert "cut over now: the writers of the source are paused" in out
    assert pair.source.info("stats")["sync_full"] == full_before and pair.equal()


def test_over_tls_and_from_standard_input(
    pair: Pair, tls: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    writes(pair.source, 20, random.Random(5))
    certificates = [f"--{word}={tls[0]}/{file}" for word, file in
                    (("cacert", "ca.crt"), ("cert", "client.crt"), ("key", "client.key"))]  # fmt: skip
    assert pair.imported("--from", f"rediss://localhost:{tls[1]}", *certificates, "--pause-source") == 0
    assert pair.equal()
    assert pair.imported("--from", f"rediss://localhost:{tls[1]}") == 74 and "CA" in capsys.readouterr().err.upper()
    pair.target.flushall()
    data = pair.rdb(tmp_path / "dump.rdb").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert pair.imported("--rdb", "-") == 0 and pair.equal()


def test_a_source_without_replication_is_read_by_scan(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    all_strings(pair.source)
    pair.source.acl_setuser("reader", enabled=True, passwords="+pw", keys="*", commands=["+@all", "-psync", "-sync"])
    live = ["--from", f"redis://reader:pw@127.0.0.1:{pair.source_server.port}"]
    assert pair.imported(*live) == 0 and pair.equal()
    assert "read by SCAN instead" in capsys.readouterr().err
    pair.target.flushall()
    assert pair.imported(*live, "--method", "psync") == 74 and "PSYNC is refused: NOPERM" in capsys.readouterr().err
    assert pair.target.dbsize() == 0
    pair.target.flushall()
    assert pair.imported("--from", f"{live[1]}/9") == 0
    assert {db for db, _ in everything(pair.target)} == {9}
    pair.source.replicaof("127.0.0.1", "1")
    assert pair.imported(*live, "--pause-source") == 64 and "replica, whose writers are those of 127.0.0.1:1" in capsys.readouterr().err
    pair.source.replicaof("NO", "ONE")


def test_a_value_that_is_too_long_here_is_left_out(pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(side, "VALUE_BYTES_MAX", 1000)
    pair.source.mset({"long": b"x" * 1001, "fits": b"x" * 1000})
    assert pair.imported(*pair.live, "--method", "scan") == 65 and "string, key 'long'" in capsys.readouterr().err
    assert pair.imported(*pair.live, "--method", "scan", "--skip-unsupported") == 0
    assert everything(pair.target) == {(0, b"fits"): (b"x" * 1000, -1)}
