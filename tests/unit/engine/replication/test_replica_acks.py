"""write-ack-mode all: an answer means that every voter has the write on its disk."""

from __future__ import annotations

import pytest

from tests.sim.cluster.node import SimNode
from tests.unit.engine.replication.test_replica import Stage
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK


class Strict(Stage):
    """Three nodes that all wait for each other."""

    def __init__(self) -> None:
        super().__init__()
        for node in self.world.nodes.values():
            self.tie(node)

    def tie(self, node: SimNode) -> None:
        assert node.replica is not None
        node.replica.ack_all = True

        def tell(sequence: int) -> None:
            for other in self.world.nodes.values():
                if other is not node and (node.id, other.id) not in self.world.blocked and other.replica is not None:
                    self.world.after(0.001, other.replica.is_everywhere, sequence)

        node.replica.on_everywhere = tell

    def persisted(self) -> list[int]:
        return [node.replica.core.log.persisted for node in self.world.nodes.values() if node.replica is not None]


@pytest.mark.parametrize("on", ["leader", "follower"])
def test_an_answer_means_every_disk(on: str) -> None:
    stage = Strict()
    asked = stage.leader if on == "leader" else stage.followers[0]
    before = max(stage.persisted())
    for number in range(20):
        stage.write(asked, f"w{number}", f"SET k {number}")
        stage.until(number + 1)
        assert min(stage.persisted()) > before
        before = min(stage.persisted())
    assert stage.told == [(f"w{number}", [OK]) for number in range(20)]


@pytest.mark.parametrize("on", ["leader", "follower"])
def test_while_one_is_away_nobody_knows_and_everything_goes_on(on: str) -> None:
    stage = Strict()
    away = stage.followers[1]
    asked = stage.leader if on == "leader" else stage.followers[0]
    away.crash()
    assert asked.replica is not None
    began = stage.world.now
    for number in range(4):  # one second behind the other: each waits for itself, not for those before it
        stage.write(asked, f"w{number}", "INCR n")
        stage.world.run_until(stage.world.now + 1.0)
    assert stage.told == []
    told = stage.until(4)
    assert told == [(f"w{number}", "INDETERMINATE") for number in range(4)]
    assert stage.world.now - began < 4.0 + asked.replica.commit_timeout_s + 0.5
    stage.world.run_until(stage.world.now + 1.0)
    assert asked.replica.machine.world.views[0].string(b"n") == b"4", "a majority has them, and they stay"
    asked.replica.ack_all = False
    stage.write(asked, "w", "INCR n")
    assert stage.until(5)[4] == ("w", [5]), "a majority is enough again"


@pytest.mark.parametrize("on", ["leader", "follower"])
def test_a_turn_at_the_end_of_patience_does_not_take_it_for_done(on: str) -> None:
    """Between the end and the tick that notices it."""
    stage = Strict()
    away = stage.followers[1]
    asked = stage.leader if on == "leader" else stage.followers[0]
    away.crash()
    assert asked.replica is not None
    stage.write(asked, "w", "SET k 1")
    for ms in range(4_900, 5_200):
        stage.world.after(ms / 1000, asked.replica.on_work)
    assert stage.until(1) == [("w", "INDETERMINATE")]


def test_one_that_comes_back_lets_everybody_go_on() -> None:
    stage = Strict()
    away = stage.followers[1]
    away.crash()
    stage.write(stage.leader, "w", "SET k 1")
    stage.world.run_until(stage.world.now + 2.0)
    assert stage.told == []
    away.start()
    stage.tie(away)
    assert stage.until(1) == [("w", [OK])]


def test_a_node_that_is_closed_refuses_and_opens_again() -> None:
    """As one does that has been removed, or that is about to join."""
    stage = Stage()
    node = stage.followers[0]
    assert node.replica is not None
    node.replica.close_for(CommandError("BUSY joining"))
    stage.write(node, "w", "SET k 1")
    stage.read(node, "r")
    assert stage.until(2) == [("w", "BUSY"), ("r", "BUSY")]
    node.replica.out_of_space()
    node.replica.space_is_back()
    assert node.replica.refusal is not None and node.replica.refusal.code == "BUSY", "room changes nothing about that"
    node.replica.close_for(None)
    stage.write(node, "w", "SET k 1")
    assert stage.until(3)[2] == ("w", [OK])
