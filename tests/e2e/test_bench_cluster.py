"""`python -m bench.cluster`, small: it runs, counts rightly and does not hide what Redis did not confirm."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis

from bench.cluster.__main__ import SPEED, points_of, some_of
from bench.cluster.catchup import Return
from bench.cluster.failover import CLIENTS, FAULTS, Gaps, LostWrite, Writer, check, gap_around
from bench.cluster.load import WAIT, Job, WaitingGenerator, batches_for
from bench.cluster.nodes import Group
from bench.cluster.report import notes
from bench.cluster.speed import FOLLOWER, LEADER, POINTS, REDIS, REDISRAFT_RPS, STOCK, WHO, Row, Sample
from bench.points import Point
from bench.processes import REPOSITORY, Server
from tests.e2e.tools import require


def command(*words: str, seconds_max: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.cluster", *words],
        capture_output=True, text=True, timeout=seconds_max, check=False, cwd=REPOSITORY,
    )  # fmt: skip


def test_the_whole_command(tmp_path: Path) -> None:
    require("redis-server", "redis-benchmark")
    done = command(
        "--only", "set:5:4:64,get:2:1:64", "--rounds", "1", "--seconds", "0.1", "--keys", "500",
        "--faults", "SIGTERM", "--repetitions", "1", "--megabytes", "2", "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "cluster.json").read_text())
    assert [point["workload"] for point in results["points"]] == ["set", "get"]
    for point in results["points"]:
        assert [len(point["samples"][who]) for who in WHO] == [1] * len(WHO)
        assert point["ratio"][LEADER] > 0
    assert [(gaps["fault"], gaps["client"]) for gaps in results["failover"]] == [("SIGTERM", one) for one in CLIENTS]
    assert all(gaps["seconds"][0] > 0 for gaps in results["failover"])
    assert [back["how"].split(",")[0] for back in results["returns"]] == ["redis", "vaylix", "vaylix"]
    assert all(back["megabytes_per_second"] > 0 for back in results["returns"])
    page = (tmp_path / "CLUSTER.md").read_text()
    assert "| SET" in page and "SIGTERM" in page and "from a snapshot" in page


def test_what_it_does_not_know_is_refused() -> None:
    for text in ("incr:1:1:64", "mix:1:1:64", "set:1:1"):
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            points_of(text)
    assert points_of("set:1:1:64,get:2:3:4") == (Point("set", 1, 1, 64), Point("get", 2, 3, 4))
    with pytest.raises(argparse.ArgumentTypeError):
        some_of((SPEED,))("speed,other")
    assert some_of(FAULTS)("SIGTERM,kill -9") == ("SIGTERM", "kill -9")


@pytest.mark.parametrize(("workload", "wait"), [("set", True), ("set", False), ("get", False)])
def test_the_requests_of_a_batch(workload: str, wait: bool) -> None:
    for batch in batches_for(Job(0, Point(workload, 1, 16, 64), 1000, 1.0, wait)):
        assert batch.requests == batch.request.count(b"$3\r\n%b\r\n" % workload.upper().encode()) == 16
        assert batch.request.count(b"WAIT") == wait
        assert batch.request.endswith(WAIT) == wait
        assert batch.reply_bytes == 16 * (5 if workload == "set" else 71) + 4 * wait


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_write_that_nobody_else_has_is_counted(piece: int) -> None:
    """However the bytes arrive: ":0" behind the second and the fourth batch."""
    batches = batches_for(Job(0, Point("set", 1, 2, 8), 10, 1.0, True))

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            for number, batch in enumerate(batches[:5]):
                asked = b""
                while len(asked) < len(batch.request):
                    asked += connection.recv(1 << 16)
                replies = b"+OK\r\n+OK\r\n:%d\r\n" % (0 if number in (1, 3) else 1 + number % 2)
                for at in range(0, len(replies), piece):
                    connection.sendall(replies[at : at + piece])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        generator = WaitingGenerator(listener.getsockname()[1], 1, batches)
        load = generator.run(lambda answered, _seconds: answered < 4)
        generator.close()
        server.join()
    assert load.requests == 10
    assert generator.unconfirmed == 2


@pytest.mark.parametrize(
    ("times", "fault_at", "gap"),
    [
        ([1.0, 2.0, 5.0, 6.0], 2.5, 3.0),
        ([1.0, 2.0, 5.0, 5.5], 2.0, 3.0),
        ([1.0, 9.0, 10.0, 12.0], 9.5, 2.0),  # what was slow before the fault is not its doing
        ([1.0, 2.0, 3.0, 9.0], 2.5, 6.0),  # neither has the first write afterwards to be the late one
    ],
)
def test_the_gap_is_the_longest_from_the_fault_on(times: list[float], fault_at: float, gap: float) -> None:
    assert gap_around(times, fault_at) == gap


def test_p99_only_of_enough_runs() -> None:
    few = Gaps("kill -9", "Redis", (1.0, 3.0, 2.0), ())
    assert (few.median, few.worst) == (2.0, 3.0)
    many = Gaps("kill -9", "Redis", (9.0, *([1.0] * 98), 5.0), ())
    assert many.worst == 5.0


class OneNode(Group):
    __slots__ = ()

    def position(self, server: Server) -> int:
        return 0

    def _leads(self, server: Server) -> bool:
        return True


def test_a_lost_write_is_noticed(server: Server) -> None:
    group = OneNode("one", (server,))
    with redis.Redis(port=server.port) as client:
        writer = Writer(client, "w")
        writer.times = [1.0, 2.0, 3.0]
        for number in range(3):
            client.set(writer.key(number), "x")
        check(group, [writer])
        client.delete(writer.key(1))
        with pytest.raises(LostWrite, match="1 of 3, the first 1"):
            check(group, [writer])


def test_figures_of_a_row() -> None:
    def samples(*rps: float, unconfirmed: int = 0) -> tuple[Sample, ...]:
        return tuple(Sample(one, 1, 1, 1, 0.5, unconfirmed) for one in rps)

    point = Point("set", 50, 1, 64)
    found = {
        REDIS: samples(100, 10, 1000, unconfirmed=2), LEADER: samples(50, 20, 1500), FOLLOWER: samples(1, 1, 1),
        STOCK: samples(10_000, 10_000, 10_000),
    }  # fmt: skip
    row = Row(point, found)
    assert row.ratio(LEADER) == 1.5, "the median of the rounds' ratios"
    assert row.redisraft() == 0.5
    assert notes(row) == "  (6 WAITs of 100 ms without an answer)"
    assert Row(Point("set", 7, 1, 64), found).redisraft() == 0
    assert {(one.workload, one.clients, one.pipeline) for one in POINTS} == set(REDISRAFT_RPS)


def test_a_rate_does_not_count_the_start_of_the_process() -> None:
    assert Return("log", 30_000_000, start_seconds=2.0, seconds=5.0).megabytes_per_second == 10.0
