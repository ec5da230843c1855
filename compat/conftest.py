"""Fixtures of the client tests: each test runs against a real redis-server and against us.

What passes on redis-server and fails here is our difference; what fails on both is a wrong test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.processes import Program, Server, running, us_program
from compat.__main__ import PEER_COMMAND
from compat.clients import patient
from tests.e2e.tools import require


@pytest.fixture(scope="module", params=["redis-server", "vaylix"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One server for all tests of a module; `fresh` empties it between tests."""
    require("redis-server", "redis-cli")
    program = Program("redis", PEER_COMMAND) if request.param == "redis-server" else us_program()
    with running(program) as started:
        yield started


@pytest.fixture(scope="module")
def vaylix() -> Iterator[Server]:
    """Us alone, for what Redis 7 does not have."""
    with running(us_program()) as started:
        yield started


@pytest.fixture
def fresh(server: Server) -> Server:
    with patient(port=server.port) as client:
        client.flushall()
    return server
