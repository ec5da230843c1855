"""A snapshot in the place of the log of a running follower: what the loop does while the log's thread is at it."""

from __future__ import annotations

import pytest

from tests.sim.cluster.world import SimNode, World
from tests.unit.engine.replication.test_replica import Owner, Stage
from vaylix_resp.raft.ready import Persist


class Behind(Stage):
    """A follower that was away for so long that it needs a snapshot, which it gets from now on."""

    def __init__(self) -> None:
        super().__init__(real_disk=True)
        self.slow = self.followers[0]
        leader = self.leader
        self.cut_off(self.slow)
        for round_ in range(3):
            for number in range(10):
                Owner(leader, self.told, "w", (b"SET", b"%d.%d" % (round_, number), b"x" * 2000))
            self.until(10 * (round_ + 1))
            assert leader.upkeep is not None
            leader.upkeep.save()
            self.world.run_until(self.world.now + 1.0)
        assert leader.replica is not None and leader.replica.wal.start[0] > self.slow_applied
        self.world.blocked.clear()

    @property
    def slow_applied(self) -> int:
        assert self.slow.replica is not None
        return self.slow.replica.applied


def test_ticks_come_between_the_files_and_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cost: 1 s. On a thread the log begins anew behind the snapshot; the core and the state hear of it later."""
    installed: list[int] = []
    usual = SimNode._persisted

    def in_two_steps(node: SimNode, work: Persist) -> None:
        if work.snapshot is None:
            usual(node, work)
            return
        replica = node.replica
        assert replica is not None
        replica.persist(work)  # on the thread; back on the loop:
        assert replica.wal.start[0] == work.snapshot.last.index > replica.applied
        replica.tick()
        node._in_flight = None
        replica.persisted(work)
        installed.append(replica.applied)

    monkeypatch.setattr(SimNode, "_persisted", in_two_steps)
    stage = Behind()
    world: World = stage.world
    assert world.run_until(world.now + 30.0, lambda: bool(installed))
    assert stage.slow.replica is not None and installed == [stage.slow.replica.core.log.terms.start.index]
    world.close()


def test_a_node_votes_while_its_files_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cost: 1 s. A snapshot has come, but a long backup still reads what it is to take the place of. Meanwhile the
    leader dies, and of three nodes two are there: they need this one's vote."""
    stage = Behind()
    world, slow, leader = stage.world, stage.slow, stage.leader
    assert slow.replica is not None and slow.upkeep is not None
    waiting: list[bool] = []
    usual = slow.replica.before_install
    slow.replica.before_install = lambda: waiting.append(True)
    assert world.run_until(world.now + 30.0, lambda: bool(waiting))
    leader.crash()
    assert world.run_until(world.now + 15.0, lambda: any(node is not leader for node in world.leaders))
    assert usual is not None and waiting == [True]
    usual()
    new = world.leaders[0]
    assert new.replica is not None
    end = new.replica.committed
    assert world.run_until(world.now + 30.0, lambda: slow.replica is not None and slow.replica.applied >= end)
    world.close()
