"""Who is told that something was slow, large or late."""

import re
from pathlib import Path

import pytest

from tests.unit.server.front import Stage, pack
from vaylix_resp.commands.latency import ADVICE
from vaylix_resp.server.lateness import wire_size

PACKAGE = Path(__file__).parents[3] / "vaylix_resp"
LARGE = 5000


@pytest.fixture
def stage():
    stage = Stage(commandlog_request_larger_than=LARGE, commandlog_reply_larger_than=LARGE)
    yield stage
    stage.close()


def kept(log):
    """(command and key, value) of each entry, oldest first; then they are gone."""
    found = [(b" ".join(entry.argv[:2]).decode(), entry.value) for entry in log.newest(-1)[::-1]]
    log.reset()
    return found


def value(size):
    return b"x" * size


# Large requests.


def test_the_size_of_a_request_is_that_on_the_wire():
    for line in ("GET a", ("SET", "k", value(1234)), ("MSET", *range(50))):
        argv = [word if isinstance(word, bytes) else str(word).encode() for word in (line.split() if isinstance(line, str) else line)]
        assert wire_size(argv) == len(pack(line))


@pytest.mark.parametrize("step", [1 << 20, 4096, 1000, 7])
def test_a_large_request_is_found_however_it_arrives(stage, step):
    lines = ["SET a 1", ("SET", "b", value(LARGE)), "GET a", ("SET", "c", value(LARGE - 100)), ("SET", "d", value(LARGE))]
    wire = b"".join(map(pack, lines))
    client = stage.connect()
    for at in range(0, len(wire), step):
        client.raw(wire[at : at + step])
    stage.commit()
    size = len(pack(lines[1]))
    assert kept(stage.shared.lateness.large_requests) == [("SET b", size), ("SET d", size)]
    assert client.heard() == ["+OK", "+OK", "1", "+OK", "+OK"]


def test_many_small_requests_are_not_large(stage):
    client = stage.connect()
    client.ask(*[("SET", f"k{n}", value(100)) for n in range(200)])
    assert kept(stage.shared.lateness.large_requests) == []


def test_a_large_request_keeps_no_secret(stage):
    client = stage.connect()
    client.ask(("AUTH", value(LARGE)), ("CONFIG", "SET", "requirepass", value(LARGE)), ("NOSUCH", value(LARGE)))
    assert [entry.argv for entry in stage.shared.lateness.large_requests.newest(-1)[::-1]] == [
        (b"AUTH", b"(redacted)"), (b"CONFIG", b"SET", b"requirepass", b"(redacted)")
    ]  # fmt: skip


def test_requests_that_wait_are_memory_of_their_client(stage):
    client, other = stage.connect(), stage.connect()
    client.send(("SET", "a", value(LARGE)))
    waiting, asking = re.findall(r" argv-mem=(\d+) ", other.ask("CLIENT LIST")[0])
    assert LARGE < int(waiting) < LARGE + 100 and asking == "0"
    assert re.findall(r" argv-mem=(\d+) ", other.ask("CLIENT LIST")[0]) == ["0", "0"], "it has its answer"


# Large replies.

BULK = LARGE + len(b"$5000\r\n\r\n")
REPLIES = {
    "a read": (["GET big"], [("GET big", BULK)]),
    "a row of reads": (["GET small", "GET big", "GET small", "GET big", "GET none"], [("GET big", BULK)] * 2),
    "a row of one size": (["GET big"] * 5, [("GET big", BULK)] * 5),
    "a list": (["MGET big small"], [("MGET big", BULK + len(b"*2\r\n$1\r\n1\r\n"))]),
    "behind a write": (["SET x 1", "GET big", "MGET big"], [("GET big", BULK), ("MGET big", BULK + len(b"*1\r\n"))]),
    "of a write": ([("SET", "big", b"y", "GET")], [("SET big", BULK)]),
    "in another database": (["SELECT 1", "SELECT 0", ("GETSET", "big", b"y")], [("GETSET big", BULK)]),
    "small ones": (["GET half"] * 50, []),
    "of the server": (["COMMAND DOCS"], [("COMMAND DOCS", None)]),
}


@pytest.mark.parametrize("case", REPLIES)
def test_large_replies(stage, case):
    lines, found = REPLIES[case]
    client = stage.connect(("SET", "big", value(LARGE)), "SET small 1", ("SET", "half", value(LARGE // 2)))
    stage.commit()
    client.heard()
    client.send(*lines)
    stage.commit()
    sizes = [len(wire) for wire in [client.bytes()]]
    noted = kept(stage.shared.lateness.large_replies)
    assert noted == [(command, size if size is not None else sizes[0]) for command, size in found]


def test_up_to_a_kilobyte_no_reply_is_large():
    stage = Stage(commandlog_reply_larger_than=0)
    stage.connect().ask(("SET", "a", value(1024)), ("SET", "b", value(1100)), *["GET a"] * 9, *["GET b"] * 3, "MGET a")
    assert [command for command, _ in kept(stage.shared.lateness.large_replies)] == ["GET b"] * 3
    stage.close()


def test_switched_off_and_on(stage):
    client = stage.connect(("SET", "big", value(LARGE)))
    stage.commit()
    stage.settings.set_many([("commandlog-reply-larger-than", "-1"), ("commandlog-request-larger-than", "-1")])
    client.ask("GET big", ("SET", "b", value(2 * LARGE)))
    lateness = stage.shared.lateness
    assert len(lateness.large_replies) == 0 and kept(lateness.large_requests) == [("SET big", LARGE + 31)]
    stage.settings.set_many([("commandlog-reply-larger-than", "100")])
    client.ask("GET big")
    assert len(lateness.large_replies) == 1


# LATENCY.


def late(stage):
    return {kind: -(-series.max_ms // 10) * 10 for kind, series in stage.shared.lateness.latency.series.items()}


def slow(stage, call, ms):
    def slowed(*arguments):
        stage.clock.ms += ms
        return call(*arguments)

    return slowed


def test_what_the_engine_finds_late_is_an_event():
    stage = Stage(latency_monitor_threshold=10)
    stage.store.wal.sync = slow(stage, stage.store.wal.sync, 30)
    client = stage.connect()
    client.ask("SET a 1")
    assert late(stage) == {"fsync": 30, "commit": 30}
    stage.settings.set_many([("latency-monitor-threshold", "0")])
    stage.shared.lateness.latency.reset()
    client.ask("SET a 1")
    assert late(stage) == {}
    stage.close()


@pytest.mark.parametrize(
    "argv, kind",
    [((b"GET", b"a"), "fast-command"), ((b"MGET", b"a"), "fast-command"), ((b"KEYS", b"*"), "command"),
     ((b"@in", b"3", b"GET", b"a"), "fast-command"), ((b"@exec", b"0"), "command")],
)  # fmt: skip
def test_fast_commands_are_told_apart(argv, kind):
    stage = Stage(latency_monitor_threshold=10)
    stage.shared.lateness.request_took(stage.connect().session, argv, 0.02)
    assert late(stage) == {kind: 20}
    stage.shared.lateness.request_took(stage.connect().session, argv, 0.009)
    assert len(stage.shared.lateness.latency.series[kind].samples) == 1


@pytest.mark.parametrize("line", ["GET a", "SET a 1"])
def test_a_row_of_fast_requests_that_took_long(line, monkeypatch):
    stage = Stage(latency_monitor_threshold=10)
    ticks = iter(range(1000))
    monkeypatch.setattr("vaylix_resp.server.completion.perf_counter", lambda: next(ticks) * 0.05)
    stage.connect().ask(line)
    assert late(stage) == {"fast-command": 50}


def test_a_sleeper_is_noted_when_it_wakes():
    stage = Stage(enable_debug_command="yes", latency_monitor_threshold=100)
    client, lateness = stage.connect(), stage.shared.lateness
    client.send("DEBUG SLEEP 0.5")
    assert kept(lateness.slowlog) == []
    stage.wait(1)
    assert kept(lateness.slowlog) == [("DEBUG SLEEP", 500_000)] and late(stage) == {"command": 500}
    stage.close()


def test_the_doctor_knows_every_kind():
    """Kinds are words in the code of whoever reports them."""
    reports = re.compile(r"""(?:lateness\.event|self\.event|stages\.late|self\.late|latency\.note)\(\s*"([a-z-]{2,})",""")
    kinds = {kind for path in PACKAGE.rglob("*.py") for kind in reports.findall(path.read_text())}
    assert kinds >= {"fsync", "commit", "apply", "snapshot", "expire-cycle", "loop", "fast-command"}
    assert kinds | {"command"} == ADVICE.keys()
