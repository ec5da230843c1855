"""The differential run itself: it cuts replies rightly, finds what is planted, and agrees with itself."""

from __future__ import annotations

import random

import pytest

from bench.processes import Program, running
from compat.__main__ import PEER_COMMAND
from compat.differences import DIFFERENCES, Kind
from compat.differential import Differential, Ports, minimise
from compat.frames import BadFrame, Wire, frame_end, read_value
from compat.generator import Generator
from compat.redis_commands import REDIS_7_0
from compat.rules import RULES, exec_difference, replies_agree
from compat.steps import Raw, Request
from tests.e2e.tools import require

FRAMES = (
    b"+OK\r\n", b"-ERR x\r\n", b":-1\r\n", b"$-1\r\n", b"$0\r\n\r\n", b"$4\r\na\r\nb\r\n", b"*-1\r\n", b"*0\r\n",
    b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"%1\r\n+a\r\n:1\r\n", b"~1\r\n+a\r\n",
    b"=5\r\ntxt:a\r\n", b">2\r\n+a\r\n+b\r\n", b"|1\r\n+a\r\n+b\r\n:7\r\n", b"(123\r\n", b"!5\r\nERR x\r\n",
)  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_ends_where_it_ends_however_much_has_arrived(frame: bytes) -> None:
    for size in range(1, len(frame)):
        assert frame_end(frame[:size], 0) == -1, frame[:size]
    assert frame_end(frame + b":1\r\n", 0) == len(frame)
    if not frame.startswith(b"|"):
        read_value(frame)


def test_what_is_no_reply_is_refused() -> None:
    with pytest.raises(BadFrame):
        frame_end(b"PONG\r\n", 0)


def test_spelling_matters_unless_a_rule_says_otherwise() -> None:
    assert not replies_agree((b"GET", b"k"), b"$-1\r\n", b"*-1\r\n")
    assert not replies_agree((b"GET", b"k"), b":1\r\n", b":2\r\n")
    assert replies_agree((b"KEYS", b"*"), b"*2\r\n+a\r\n+b\r\n", b"*2\r\n+b\r\n+a\r\n")
    assert not replies_agree((b"KEYS", b"*"), b"*2\r\n+a\r\n+b\r\n", b"*2\r\n+b\r\n+b\r\n")
    assert replies_agree((b"pttl", b"k"), b":100000\r\n", b":99000\r\n")
    assert not replies_agree((b"PTTL", b"k"), b":100000\r\n", b":90000\r\n")
    assert not replies_agree((b"TTL", b"k"), b":-1\r\n", b":-2\r\n")
    assert not replies_agree((b"TTL", b"k"), b":1\r\n", b":-1\r\n")


def test_inside_exec_each_reply_has_its_own_rule() -> None:
    queued = [(b"GET", b"k"), (b"TTL", b"k")]
    assert exec_difference(queued, b"*2\r\n+a\r\n:50\r\n", b"*2\r\n+a\r\n:49\r\n") is None
    found = exec_difference(queued, b"*2\r\n:50\r\n:50\r\n", b"*2\r\n:49\r\n:50\r\n")
    assert found is not None and found[0] == (b"GET", b"k")
    found = exec_difference(queued, b"*-1\r\n", b"*2\r\n:1\r\n:1\r\n")
    assert found is not None and found[0] == (b"EXEC",)


def test_every_rule_and_tolerance_is_declared() -> None:
    for rule in RULES:
        assert rule.command in DIFFERENCES[rule.difference].commands
    for name, difference in DIFFERENCES.items():
        assert difference.kind in Kind and difference.text, name


def test_a_seed_is_a_stream() -> None:
    payloads = (b"p1", b"p2")

    def stream(seed: int) -> list[str]:
        return [str(step) for step in Generator(seed, payloads, 2).steps(2000)]

    assert stream(1) == stream(1)
    assert stream(1) != stream(2)


def test_the_stream_meets_every_kind_of_request() -> None:
    names = {
        step.argv[0].upper() if isinstance(step, Request) else type(step).__name__.encode()
        for step in Generator(3, (b"p",), 3).steps(20_000)
    }
    for name in (
        b"SET", b"GETEX", b"BITFIELD", b"LCS", b"SORT", b"SORT_RO", b"COPY", b"RESTORE", b"DUMP", b"SWAPDB", b"MOVE",
        b"EXEC", b"DISCARD", b"CLIENT", b"OBJECT", b"PEXPIREAT", b"SCAN", b"RESET", b"HELLO", b"FLUSHALL",
        b"INCRBYFLOAT", b"WATCH",
        b"Pause", b"ScanAll", b"RandomKey", b"DumpRestore", b"Reconnect", b"Raw", b"Notifications", b"Listening",
        b"Tracking",
    ):  # fmt: skip
        assert name in names, name


def test_shrinking_keeps_what_matters() -> None:
    steps = [Raw(b"%d" % i) for i in range(200)]
    needed = {Raw(b"17"), Raw(b"150")}
    found = minimise(list(steps), lambda kept: needed <= set(kept), give_up=float("inf"))
    assert set(found) == needed


def test_redis_agrees_with_itself() -> None:
    """Otherwise a finding might be the harness's."""
    require("redis-server")
    with running(Program("redis", PEER_COMMAND)) as one, running(Program("redis", PEER_COMMAND)) as two:
        run = Differential(Ports(one.port, two.port), 2.0, 5, lambda: None)
        for protocol in (2, 3):
            run.run(random.randrange(1 << 30), protocol, 4000)
    assert run.report.clean, "\n".join(map(str, run.report.findings.values()))
    assert run.report.steps >= 8000


def test_a_planted_difference_is_found_and_shrunk() -> None:
    """A server with 8 databases is no server with 16; one request is enough to show it."""
    require("redis-server")
    planted = Program("redis", PEER_COMMAND + " --databases 8")
    with running(Program("redis", PEER_COMMAND)) as one, running(planted) as two:
        run = Differential(Ports(one.port, two.port), 5.0, 1, lambda: None)
        run.run(1, 2, 4000)
    (finding,) = run.report.findings.values()
    assert len(finding.tail) <= 3, finding


def test_the_list_of_commands_is_that_of_the_peer() -> None:
    require("redis-server")
    with running(Program("redis", PEER_COMMAND)) as server:
        listed = read_value(Wire(server.port).ask(b"COMMAND", b"LIST"))
    assert sorted(item.items.decode() for item in listed.items) == sorted(REDIS_7_0)
