"""Access control beside redis-server: a thousand random users, their descriptions and decisions. See compat/acl.py."""

from __future__ import annotations

from bench.processes import Program, running
from compat.__main__ import PEER_COMMAND
from compat.acl import run
from tests.e2e.tools import require

CASES = 1000
SEED = 20260611


def test_users_and_decisions_agree_with_redis_server() -> None:
    require("redis-server")
    with running(Program("redis", PEER_COMMAND)) as server:
        report = run(server.port, CASES, SEED)
    assert report.differences == []
    # The run was worth it: most users came about, and both answers were frequent.
    assert report.cases == CASES and 20 < report.refused_rules < CASES / 3
    assert report.decisions / 5 < report.allowed < report.decisions * 4 / 5
