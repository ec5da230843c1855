"""The cluster version rises when everybody is known to understand the next one, and not before."""

from __future__ import annotations

import pytest

from tests.unit.engine.replication.test_replica import Stage
from vaylix_resp.engine.replication import rising
from vaylix_resp.engine.replication.rising import LATELY_S, Announced, Rising, behind
from vaylix_resp.errors import EX_CONFIG, Halt
from vaylix_resp.peers.hello import Identity

NEW, OLD, SILENT = Announced(2, 0.5), Announced(1, 0.5), Announced(2, LATELY_S + 0.1)


@pytest.mark.parametrize(("announced", "late"), [
    ({1: NEW, 2: NEW, 3: NEW}, {}),
    ({1: NEW, 2: NEW, 3: OLD}, {3: "understands versions up to 1"}),
    ({1: NEW, 2: SILENT, 3: NEW}, {2: "has not been heard lately"}),
    ({1: NEW, 3: NEW}, {2: "has not been heard lately"}),
    ({1: NEW, 2: NEW, 3: NEW, 9: OLD}, {}),  # it is no member any more
    ({1: Announced(3, 0), 2: NEW, 3: NEW}, {}),
])  # fmt: skip
def test_who_holds_a_version_back(announced: dict[int, Announced], late: dict[int, str]) -> None:
    assert behind(2, [1, 2, 3], announced) == late


class Risers:
    """Three replicas, and what each has heard of the others."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.heard = dict.fromkeys(self.stage.world.nodes, NEW)
        self.risers, self.raised = {}, []
        for node in self.stage.world.nodes.values():
            assert node.replica is not None
            self.risers[node.id] = riser = Rising(node.replica, lambda: self.heard)
            riser.on_raised = lambda node=node: self.raised.append(node.id)  # type: ignore[misc]

    def pass_by(self, seconds: float = 2.0) -> list[int]:
        """Every node looks with each tick; the versions in force afterwards."""
        world = self.stage.world
        end = world.now + seconds
        while world.now < end:
            world.run_until(world.now + 0.05)
            for riser in self.risers.values():
                riser.look()
        return [node.replica.machine.world.cluster_version for node in world.nodes.values() if node.replica]

    @property
    def last(self) -> int:
        assert self.stage.leader.replica is not None
        return self.stage.leader.replica.last_sequence


def test_it_rises_everywhere_by_one_entry() -> None:
    risers = Risers()
    before, leader = risers.last, risers.stage.leader
    for _ in range(3):
        risers.risers[leader.id].look()
    assert leader.replica is not None and len(leader.replica.open.runs) == 1, "one at a time"
    assert risers.pass_by() == [2, 2, 2]
    assert risers.last == before + 1 and sorted(risers.raised) == [1, 2, 3]


def test_one_that_is_old_holds_it_back_and_then_it_rises() -> None:
    risers = Risers()
    old = risers.stage.followers[0].id
    risers.heard[old] = OLD
    before = risers.last
    assert risers.pass_by() == [1, 1, 1] and risers.last == before
    risers.heard[old] = NEW
    assert risers.pass_by() == [2, 2, 2]


def test_a_leader_that_is_old_itself_proposes_nothing() -> None:
    risers = Risers()
    assert risers.stage.leader.replica is not None
    risers.stage.leader.replica.machine.world.understands = 1
    assert risers.pass_by() == [1, 1, 1]


def test_the_highest_that_all_understand_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    risers = Risers()
    for node in risers.stage.world.nodes.values():
        assert node.replica is not None
        node.replica.machine.world.understands = 4
    risers.heard = {node: Announced(number, 0) for number, node in zip((3, 4, 5), risers.heard, strict=True)}
    assert risers.pass_by()[0] in (3, 4)  # who is the leader does not ask itself
    assert len(set(risers.pass_by())) == 1


def test_without_a_majority_it_is_tried_again() -> None:
    risers = Risers()
    leader = risers.stage.leader
    risers.stage.cut_off(leader)
    assert risers.pass_by(0.4)[leader.id - 1] == 1
    risers.stage.world.heal()
    assert risers.pass_by(12.0) == [2, 2, 2]


def test_a_node_that_meets_a_newer_version_stops() -> None:
    risers = Risers()
    halts: list[Halt] = []
    riser = risers.risers[1]
    riser.on_outdated = halts.append
    riser.meet(Identity(bytes(16), 7, "node-7", 1, 1, 1, 9, 9))
    (halt,) = halts
    assert halt.exit_code == EX_CONFIG
    assert "cluster version 9 is in force at node-7" in str(halt) and "newer version of vaylix" in str(halt)


def test_nodes_tell_more_often_than_they_may_be_silent() -> None:
    from vaylix_resp.engine.replication.driver import INFO_S

    assert rising.LATELY_S >= 4 * INFO_S
