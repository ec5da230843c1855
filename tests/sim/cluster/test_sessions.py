"""Pipelining sessions in a simulated cluster under faults. Cost: about 4 s of processor time."""

from __future__ import annotations

import pytest

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.play import settle
from tests.sim.cluster.sessions import SimSession
from tests.sim.cluster.world import Faults, World
from vaylix_resp.engine.replication.submission import Submission

FAULTS = Faults(
    drop=0.05, delay=0.02, crash=0.1, pause=0.1, partition=0.3, reset=0.2, transfer=0.1, disk_full=0.3, snapshot=0.1
)
TROUBLE_SECONDS = 10.0
ANSWERED_SECONDS = 8.0  # longer than `commit_timeout_s`


def play(seed: int) -> list[SimSession]:
    world = World(seed, 3, FAULTS, real_disk=True)
    history = History()
    checks = Checks(world, history)
    SimClient(world, "c", history, fast=True)
    sessions = [SimSession(world, number) for number in range(3)]
    try:
        world.begin()
        world.run_until(TROUBLE_SECONDS)
        for session in sessions:
            session.closed = True
        settle(world, history)
        world.run_until(world.now + ANSWERED_SECONDS)
        checks.end()
        view = world.leaders[0].replica.machine.world.views[0]  # type: ignore[union-attr]
        for session in sessions:
            assert len(session.fates) == session.written, "each write has been answered"
            session.check(view.string(session.key), session.written)
        return sessions
    finally:
        world.close()


@pytest.mark.parametrize("seed", range(6))
def test_sessions_that_do_not_wait(seed: int) -> None:
    assert sum(session.written for session in play(seed)) > 100


def test_a_refusal_that_overtakes_an_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Submission, "_in_order", True)
    with pytest.raises(AssertionError, match="not answered in its order"):
        play(2)
