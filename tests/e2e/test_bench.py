"""The benchmark itself, small: it runs against us, counts rightly, stops what it started and writes its three files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.limits import LIMITS
from bench.loader import WrongReply, build_batches, fill, run_load
from bench.measure import Row, Sample
from bench.points import Point, default_grid, full_grid, parse_point, quick_grid
from bench.processes import REPOSITORY, Server, ask
from bench.redis_benchmark import BenchmarkFailed, parse_csv
from tests.e2e.tools import require


def test_the_whole_command(tmp_path: Path) -> None:
    require("redis-server", "redis-benchmark")
    only = "set:50:1:64,get:5:16:64,incr:1:1:64,mix:5:4:64"
    words = [
        "--quick",
        "--only",
        only,
        "--rounds",
        "2",
        "--seconds",
        "0.1",
        "--keys",
        "3000",
        "--readme",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert [p["workload"] for p in results["points"]] == ["set", "get", "incr", "mix"]
    for point in results["points"]:
        assert len(point["us"]) == len(point["redis"]) == 2
        assert point["ratio"]["rps"] > 0
    assert results["scale"]["us"]["keys"] == 3000
    assert results["scale"]["us"]["start_snapshot_seconds"] > 0
    ElementTree.parse(tmp_path / "results.svg")
    assert "| MIX" in (tmp_path / "RESULTS.md").read_text()
    assert "| SET, 50 clients |" in done.stdout


def test_a_server_that_does_not_start_is_an_error_with_its_words(tmp_path: Path) -> None:
    require("redis-server")
    words = ["--us", "redis-server --nonsense", "--only", "set:1:1:64", "--rounds", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], capture_output=True, text=True, timeout=60, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert not list(tmp_path.iterdir())


def test_points() -> None:
    assert parse_point("set:50:16:64") == Point("set", 50, 16, 64)
    for wrong in ("set:50:16", "zadd:1:1:1", "set:0:1:64", "set:a:1:64"):
        with pytest.raises(ValueError):
            parse_point(wrong)
    assert set(default_grid()) <= set(full_grid())
    assert all(p.value_bytes == 64 or p.workload == "set" for p in quick_grid())
    assert {p.workload for p in full_grid()} == {"set", "get", "incr", "mix"}


def test_the_mix_has_exactly_its_share_of_writes() -> None:
    batches = build_batches(pipeline=16, value_bytes=64, keys=1000, set_share=0.1)
    requests = b"".join(batch.request for batch in batches)
    total = sum(batch.requests for batch in batches)
    assert requests.count(b"$3\r\nSET\r\n") == round(total * 0.1)
    assert requests.count(b"$3\r\nGET\r\n") == total - round(total * 0.1)


def test_the_generator_counts_what_the_server_did(server: Server) -> None:
    fill(server.port, 500, 64)
    load = run_load(server.port, 4, 8, 64, 500, 0.1, lambda batches, _seconds: batches < 100)
    assert 800 <= load.requests <= 900
    assert len(load.latencies_ms) * 8 == load.requests
    assert load.percentile_ms(0.5) <= load.percentile_ms(0.99)


def test_the_generator_does_not_take_an_error_for_an_answer(server: Server) -> None:
    fill(server.port, 1000, 640)
    with pytest.raises(WrongReply):  # the values are longer than the generator was told
        run_load(server.port, 1, 64, 64, 1000, 0.0, lambda batches, _seconds: batches < 100)
    assert ask(server.port, "CONFIG", "SET", "requirepass", "secret") == b"+OK\r\n"
    with pytest.raises(WrongReply, match="NOAUTH"):
        run_load(server.port, 1, 64, 640, 1000, 0.5, lambda batches, _seconds: batches < 100)


def test_csv_of_redis_benchmark() -> None:
    head = '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms"\n'
    run = parse_csv(head + '"SET","58139.53","0.565","0.104","0.511","0.983","1.455"\n')
    assert (run.rps, run.p50_ms, run.p99_ms) == (58139.53, 0.511, 1.455)
    with pytest.raises(BenchmarkFailed):
        parse_csv(head)


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    def pair(redis: float, us: float) -> tuple[Sample, Sample]:
        return Sample(redis, 1, 1, 1), Sample(us, 1, 1, 1)

    row = Row(Point("set", 1, 1, 64), (pair(100, 50), pair(10, 20), pair(1000, 1500)))
    assert row.ratio("rps") == 1.5
    assert row.median(0, "rps") == 100


def test_what_limits_cost() -> None:
    require("redis-benchmark")
    words = [sys.executable, "-m", "bench.limits", "--rounds", "1", "--seconds", "0.05"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [text.split("  ")[0] for text in done.stdout.splitlines()[1:]] == list(LIMITS)


def test_the_blind_server_knows_who_takes_note():
    """Whatever counts or times something has to be named there, or `bench.observability` measures nothing."""
    program = "import bench.blind; bench.blind.blindfold(); print('blind')"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout == "blind\n"
