"""Each kind of fault once, on three real processes (about 45 s; wants root), and what is left behind afterwards: nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.tools import SERVER_IS_REDIS, missing
from tests.faults.faults import FAULTS, Striker
from tests.faults.network import PREFIX, Network, Unusable, mounts, run
from tests.faults.nodes import Nodes
from tests.faults.rounds import Rounds
from tests.faults.schedule import Schedule

SEED = 6
CLIENTS = 8
LASTS_SECONDS = 4.0
LEADER_SECONDS = 60.0  # the machine may be busy; `python -m tests.faults` says 10


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.skip("root is needed: network namespaces, mounts and ptrace")
    try:
        with Network(3) as made:
            yield made
    except Unusable as why:
        missing(str(why))


def names() -> str:
    return run("ip", "netns", "list") + run("ip", "link")


@pytest.mark.skipif(SERVER_IS_REDIS, reason="the faults are for a cluster of ours")
def test_every_kind_once(network: Network) -> None:
    kinds = dict(FAULTS)
    if not network.delay(1, 1):
        del kinds["delay"]  # this kernel has no netem
    network.delay(1, 0)
    schedule = Schedule(SEED, [fault.card for fault in kinds.values()])
    strikes = schedule.round(1000, LASTS_SECONDS, len(kinds))
    assert {strike.kind for strike in strikes} == set(kinds)
    with Nodes(network) as nodes:
        striker = Striker(nodes, SEED)
        rounds = Rounds(nodes, striker, SEED, CLIENTS, LEADER_SECONDS, print)
        assert rounds.play(strikes), rounds.totals.findings
        assert sum(striker.counts.values()) + striker.skipped == len(kinds)
        assert striker.skipped <= 3, "of those that want a leader when there is none"
        assert rounds.totals.outcomes["ok write"] > 100 and rounds.totals.checked > 100
        assert not network.cut and not network.loss and not nodes.held, "all is healed"
        nodes.servers[1].kill()
        nodes.look()
        assert "by itself with exit code -9" in "".join(nodes.findings), "an end that nobody has asked for is told"


def test_a_run_that_was_killed_leaves_nothing(network: Network) -> None:
    slot = network.slot
    network.mount(1, 1)
    assert f"{PREFIX}-{slot}-1" in names() and mounts(slot).exists()
    network.forget()  # as the kernel does for a process that is killed
    with Network(1) as next_one:
        assert next_one.slot == slot
        assert f"{PREFIX}-{slot}-1" in names() and f"{PREFIX}-{slot}-3" not in names()
        assert not mounts(slot).exists()
    assert f"{PREFIX}-{slot}-" not in names() and f"{PREFIX}{slot}h" not in names()
