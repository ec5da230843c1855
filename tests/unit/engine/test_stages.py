"""What batches leave behind: durations of their stages, alone and in a group."""

from __future__ import annotations

import math

import pytest

from tests.unit.engine.lab import Lab, op
from tests.unit.engine.replication.test_replica import Stage as Group
from vaylix_resp.engine.node import Run
from vaylix_resp.engine.stages import WRITES_MAX, Stages

NAMES = ("queue", "fsync", "commit", "apply", "batch_entries", "batch_bytes")


class SlowLab(Lab):
    """Everything takes its time, another one each."""

    def __init__(self) -> None:
        super().__init__()
        wal, clock, complete = self.store.wal, self.clock, self.client.complete
        append, sync = wal.append, wal.sync

        def slow_append(*arguments: object) -> None:
            clock.seconds += 0.003
            append(*arguments)  # type: ignore[arg-type]

        def slow_sync() -> None:
            clock.seconds += 0.002
            sync()

        def slow_complete(run: Run) -> None:
            self.seen.append(self.node.stages.fsync_s)
            clock.seconds += 0.080
            complete(run)

        self.seen: list[float] = []  # while batches were applied: what their write and fsync took
        wal.append, wal.sync = slow_append, slow_sync  # type: ignore[method-assign, assignment]
        self.client.complete = slow_complete  # type: ignore[method-assign]

    def one_batch(self) -> dict[str, float]:
        """What the stages say of a batch with three writes of two clients."""
        before = {name: getattr(self.node.stages, name).total for name in NAMES}
        self.client.write(op("SET a 1"))
        self.clock.seconds += 0.010
        self.client.write(op("SET b 1"), op("SET c 1"))
        batch = self.node.seal()
        assert batch is not None
        self.clock.seconds += 0.020
        self.node.persist(batch)
        self.clock.seconds += 0.040
        body = len(batch.body)
        self.node.persisted(batch)
        gained = {name: getattr(self.node.stages, name).total - before[name] for name in NAMES}
        assert gained.pop("batch_bytes") == body
        return {name: total if name == "batch_entries" else total / 1e9 for name, total in gained.items()}


def test_each_stage_of_a_batch() -> None:
    lab = SlowLab()
    assert lab.one_batch() == pytest.approx(
        {"queue": 0.010, "fsync": 0.002, "commit": 0.020 + 0.005 + 0.040, "apply": 0.160, "batch_entries": 3}
    )
    assert lab.seen == pytest.approx([0.005, 0.005]), "the write belongs to it, whoever was slow"


def test_nobody_waits_for_an_fsync_of_every_second() -> None:
    lab = SlowLab()
    lab.node.appendfsync = "everysec"
    assert lab.one_batch()["fsync"] == 0
    assert lab.seen == pytest.approx([0.003, 0.003]), "but for the write"


def test_what_is_late_is_reported() -> None:
    lab, told = SlowLab(), []
    lab.node.stages.on_late = lambda kind, seconds: told.append((kind, round(seconds, 4)))
    lab.one_batch()
    assert told == []
    lab.node.stages.late_s = 0.0015
    lab.one_batch()
    assert told == [("fsync", 0.002), ("commit", 0.065), ("apply", 0.16)]
    lab.node.stages.look_at_sync()
    assert len(told) == 3, "each fsync once"


def test_a_batch_that_is_put_off_has_waited_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaylix_resp.engine.node.BATCH_BODY_BYTES_MAX", 60)
    lab = Lab()
    lab.client.write(op("SET a " + "1" * 30))
    lab.clock.seconds += 1
    lab.client.write(op("SET b " + "1" * 30))
    lab.commit()
    lab.clock.seconds += 1
    before = lab.node.stages.queue.total
    lab.commit()
    assert (lab.node.stages.queue.total - before) / 1e9 == pytest.approx(2)


def test_each_batch_is_asked_for_its_own_write() -> None:
    stages = Stages()
    for last, seconds in ((10, 0.1), (30, 0.2), (40, 0.3)):
        stages.wrote(seconds)
        stages.durable(last)
    found = []
    for last in (5, 10, 20, 30, 35):
        stages.applying(last, 0.0)
        found.append(stages.fsync_s)
    assert found == [0.1, 0.1, 0.2, 0.2, 0.3]
    stages.wrote(0.4)
    stages.durable(36)  # what was behind 35 has been cut off
    stages.applying(36, 0.0)
    assert stages.fsync_s == 0.4


def test_what_is_remembered_of_writes_is_bounded() -> None:
    stages = Stages()
    for last in range(3 * WRITES_MAX):
        stages.durable(last)
    stages.applying(1, 0.0)
    assert len(stages._durable) == WRITES_MAX  # noqa: SLF001


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_in_a_group_each_node_knows_its_own_batches(who: str) -> None:
    group = Group(real_disk=True)
    node = group.leader if who == "leader" else group.followers[0]
    replicas = [one.replica for one in group.world.nodes.values() if one.replica is not None]
    before = {replica: (replica.stages.commit.count, replica.stages.batch_entries.total) for replica in replicas}
    applied = {replica: replica.applied for replica in replicas}
    group.write(node, "w", "SET k 1")
    began = group.world.now
    group.until(1)
    entries = replicas[0].applied - applied[replicas[0]]
    assert group.world.run_until(began + 5, lambda: all(one.applied - applied[one] >= entries for one in replicas))
    assert node.replica is not None
    commit = node.replica.stages.commit
    assert 0 < commit.total / 1e9 <= group.world.now - began
    for replica in replicas:
        commits, logged = before[replica]
        assert replica.stages.commit.count - commits == (1 if replica is node.replica else 0) or who == "follower"
        assert replica.stages.batch_entries.total - logged >= 1, "everybody has logged it"
        assert replica.stages.apply.count, "and applied"


@pytest.mark.parametrize("operation", ["SET k 1", ""])
@pytest.mark.parametrize("who", ["leader", "follower"])
def test_in_a_group_it_is_known_when_a_batch_was_handed_over(who: str, operation: str) -> None:
    """Also one of reads alone, which asks who leads."""
    group = Group()
    node = group.leader if who == "leader" else group.followers[0]
    assert node.replica is not None
    batch, began = node.replica.open, group.world.now
    group.write(node, "w", operation) if operation else group.read(node, "r")
    group.until(1)
    assert began == batch.since <= batch.submitted < group.world.now


def test_until_somebody_listens_nothing_is_late() -> None:
    assert Stages().late_s == math.inf
