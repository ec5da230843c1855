"""Three replicas on a network of the test's own: what owners are told when something is missing."""

from __future__ import annotations

import pytest

from tests.sim.cluster.world import SimNode, World
from tests.sim.disk.simdisk import Fault
from vaylix_resp.engine.node import Run
from vaylix_resp.errors import CommandError
from vaylix_resp.peers.messages import Forward


class Owner:
    """Writes down what it is told, and in which order all of them were."""

    def __init__(
        self, node: SimNode, told: list[tuple[str, object]], name: str, *operations: tuple[bytes, ...]
    ) -> None:
        assert node.replica is not None
        self.machine, self.told, self.name = node.replica.machine, told, name
        run = node.replica.join(self)
        run.items += operations
        if operations:
            run.add(operations)

    def complete(self, run: Run) -> None:
        replies = self.machine.apply_all(run.items) if run.items else self.machine.world.views[0].string(b"k")
        self.told.append((self.name, replies))

    def fail(self, run: Run, refusal: CommandError) -> None:
        self.told.append((self.name, refusal.code))


class Stage:
    def __init__(self, *, real_disk: bool = False) -> None:
        self.world = World(3, real_disk=real_disk)
        self.told: list[tuple[str, object]] = []
        self.world.begin()
        assert self.world.run_until(10.0, lambda: any(self.is_open(node) for node in self.world.leaders))

    def is_open(self, node: SimNode) -> bool:
        """Everybody knows the leader."""
        assert node.replica is not None
        known = [one.replica.status.leader == node.id for one in self.world.nodes.values() if one.replica]
        return all(known) and node.replica.committed > 1

    @property
    def leader(self) -> SimNode:
        return self.world.leaders[0]

    @property
    def followers(self) -> list[SimNode]:
        return [node for node in self.world.nodes.values() if node is not self.leader]

    def write(self, node: SimNode, name: str, text: str) -> None:
        Owner(node, self.told, name, tuple(word.encode() for word in text.split()))

    def read(self, node: SimNode, name: str) -> None:
        Owner(node, self.told, name)

    def until(self, count: int, seconds: float = 20.0) -> list[tuple[str, object]]:
        assert self.world.run_until(self.world.now + seconds, lambda: len(self.told) >= count), self.told
        return self.told

    def cut_off(self, *nodes: SimNode) -> None:
        """None of these hears or is heard by anybody."""
        ids = {node.id for node in nodes}
        self.world.blocked = {(a, b) for a in self.world.nodes for b in self.world.nodes if ids & {a, b} and a != b}


def test_a_write_on_any_node_is_read_on_every_node() -> None:
    stage = Stage()
    for count, node in enumerate(stage.world.nodes.values(), 1):
        stage.write(node, "w", f"SET k {count}")
        stage.until(4 * count - 3)
        for other in stage.world.nodes.values():
            stage.read(other, "r")
        assert [reply for name, reply in stage.until(4 * count)[-3:]] == [b"%d" % count] * 3


def test_a_session_keeps_its_order_on_a_follower() -> None:
    stage = Stage()
    follower = stage.followers[0]
    for number in range(20):
        stage.read(follower, f"r{number}")
        stage.write(follower, f"w{number}", f"SET k {number}")
        stage.world.run_until(stage.world.now + 1e-3)
    told = stage.until(40)
    assert [name for name, _ in told] == [f"{kind}{number}" for number in range(20) for kind in "rw"]
    before = [None, *(b"%d" % number for number in range(19))]
    assert [reply for name, reply in told if name[0] == "r"] == before, "each sees what came before it, and no more"


@pytest.mark.parametrize("writes", [True, False])
def test_a_follower_that_is_cut_off(writes: bool) -> None:
    """What it has forwarded may have arrived; of the rest it is certain."""
    stage = Stage()
    follower = stage.followers[0]
    stage.cut_off(follower)
    if writes:
        stage.write(follower, "sent", "SET k 1")
    else:
        stage.read(follower, "asked")
    assert stage.until(1)[0][1] == ("INDETERMINATE" if writes else "CLUSTERDOWN")
    stage.world.run_until(stage.world.now + 5.0)
    stage.write(follower, "later", "SET k 2")
    began = stage.world.now
    assert stage.until(2)[1][1] == "NOREPLICAS" and stage.world.now - began < 1.0, "it knows by now, and does not wait"
    stage.read(follower, "later")
    assert stage.until(3)[2][1] == "CLUSTERDOWN"


def test_where_memory_is_short_a_batch_is_full_sooner_but_not_for_other_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they forward has been bounded by them, and would only come again."""
    stage = Stage()
    leader, follower = stage.leader, stage.followers[0]
    replica = leader.replica
    assert replica is not None
    stage.write(leader, "w", "SET k 1")
    assert not replica.crowded and replica.gathered_bytes == replica.open.size
    replica.batch_bytes = replica.open.size
    assert replica.crowded
    with monkeypatch.context() as held:
        held.setattr(type(replica), "_may_close", lambda self: self is not replica)
        stage.write(follower, "f", "SET k 2")
        assert stage.world.run_until(stage.world.now + 1.0, lambda: len(replica.open.runs) == 2)
    replica.on_work()
    assert sorted(name for name, _ in stage.until(2)) == ["f", "w"] and replica.gathered_bytes == 0


def test_what_goes_to_the_others_leaves_before_our_own_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    leader, did = stage.leader, []
    assert leader.replica is not None
    persist = leader.replica.persist
    monkeypatch.setattr(leader, "flush", lambda: did.append("sent"))
    monkeypatch.setattr(leader.replica, "persist", lambda work: (did.append("written"), persist(work)))
    stage.write(leader, "w", "SET k 1")
    stage.until(1)
    assert did[:2] == ["sent", "written"]


def test_what_another_node_waits_for_is_announced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    leader, follower = stage.leader, stage.followers[0]
    assert leader.replica is not None
    later: list[int] = []
    leader.replica.on_commit = later.append  # would tell them by and by
    stage.write(follower, "w", "SET k 1")
    stage.until(1)
    assert not later
    stage.write(leader, "w", "SET k 2")
    stage.until(2)
    assert later == [leader.replica.committed], "nobody else waits for this"


def test_what_did_not_leave_a_follower_is_not_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection to the leader is gone: nothing is forwarded; it goes to the next leader, or is refused."""
    stage = Stage()
    follower, other = stage.followers
    monkeypatch.setattr(follower, "send", lambda to, message: False)
    stage.write(follower, "kept", "INCR n")
    stage.world.run_until(stage.world.now + 0.5)
    assert not stage.told
    monkeypatch.undo()
    assert stage.until(1)[0] == ("kept", [1]), "as soon as there is a connection"
    monkeypatch.setattr(follower, "send", lambda to, message: False)
    stage.write(follower, "refused", "INCR n")
    assert stage.until(2)[1][1] in ("BUSY", "NOREPLICAS"), "not INDETERMINATE"
    monkeypatch.undo()
    stage.world.run_until(stage.world.now + 5.0)
    stage.write(other, "later", "INCR n")
    assert stage.until(3)[2] == ("later", [2])


def test_what_was_lost_on_the_way_is_sent_again_however_many_come_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader takes forwarded batches in their order. What has been given up counts, and so does the traffic."""
    stage = Stage()
    follower = stage.followers[0]
    replica = follower.replica
    assert replica is not None
    replica.commit_timeout_s = 0.15  # less than RESEND_S: each is given up before it would be sent again
    lost: list[Forward] = []
    plain = follower.send

    def send(to: int, message: object) -> bool:
        if not isinstance(message, Forward):
            return plain(to, message)
        if lost:
            stage.leader.later(2e-4, stage.leader.receive, follower.id, message)  # in order, as on a connection
        else:
            lost.append(message)
        return True

    monkeypatch.setattr(follower, "send", send)
    for number in range(100):
        stage.write(follower, f"w{number}", "INCR n")
        stage.world.run_until(stage.world.now + 0.02)
    done = [name for name, reply in stage.told if reply != "INDETERMINATE"]
    assert stage.told[0] == ("w0", "INDETERMINATE") and len(done) > 70, stage.told


def test_nothing_is_forwarded_to_a_leader_that_is_not_heard() -> None:
    stage = Stage()
    follower = stage.followers[0]
    stage.cut_off(follower)
    assert follower.replica is not None
    replica = follower.replica
    assert stage.world.run_until(30.0, lambda: not replica.status.quorum_fresh)
    stage.write(follower, "w", "SET k 1")
    assert stage.until(1)[0] == ("w", "NOREPLICAS"), "not INDETERMINATE"


def test_a_dead_leader_is_missed_at_once_by_who_is_told() -> None:
    """Without an election timeout; and what one node is told by mistake unseats nobody."""
    stage = Stage()
    leader, (one, other) = stage.leader, stage.followers
    assert leader.replica and one.replica and other.replica
    one.replica.leader_gone(leader.id)
    stage.world.run_until(stage.world.now + 3.0)
    assert stage.world.leaders == [leader] and one.replica.status.leader == leader.id
    leader.crash()
    began = stage.world.now
    for node in (one, other):
        assert node.replica
        node.replica.leader_gone(leader.id)
    assert stage.world.run_until(began + 0.4, lambda: any(self_opened(node) for node in (one, other)))


def self_opened(node: SimNode) -> bool:
    """It leads, and takes writes."""
    leading = node.replica.core.leading if node.replica else None
    return leading is not None and leading.opened


def test_an_old_leader_answers_nothing() -> None:
    stage = Stage()
    old = stage.leader
    stage.cut_off(old)
    stage.read(old, "r")
    stage.write(old, "w", "SET k old")
    told = dict(stage.until(2))
    assert told == {"r": "CLUSTERDOWN", "w": "INDETERMINATE"}
    assert stage.world.run_until(30.0, lambda: any(node is not old for node in stage.world.leaders))
    new = next(node for node in stage.world.leaders if node is not old)
    stage.write(new, "w", "SET k new")
    stage.until(3)
    stage.world.blocked.clear()
    stage.world.run_until(stage.world.now + 5.0)
    stage.read(old, "r")
    assert stage.until(4)[3] == ("r", b"new"), "what it had proposed was never committed"


def test_writes_survive_a_change_of_the_leader() -> None:
    """Of whoever was not told otherwise, without an error: what is proven lost is submitted again."""
    stage = Stage()
    asked = stage.followers[0]
    leader = stage.leader
    for number in range(10):
        stage.write(asked, f"w{number}", "INCR n")
        if number == 5:
            leader.crash()
        stage.world.run_until(stage.world.now + 0.01)
    assert [reply for _, reply in stage.until(10)] == [[number] for number in range(1, 11)]


def test_a_full_disk_of_a_leader_costs_nobody_anything() -> None:
    stage = Stage(real_disk=True)
    leader, disk = stage.leader, stage.leader.past.disk  # type: ignore[attr-defined]
    disk.full = "all"
    stage.write(leader, "w", "SET k 1")
    stage.world.run_until(stage.world.now + 0.5)
    assert stage.told == [] and leader.replica is not None and leader.replica.full
    assert leader.replica.refusal is not None and leader.replica.refusal.code == "MISCONF"
    disk.full = ""
    leader.replica.space_is_back()
    assert [name for name, _ in stage.until(1)] == ["w"] and leader.replica.refusal is None
    stage.read(stage.followers[0], "r")
    assert stage.until(2)[1] == ("r", b"1")


def test_reads_of_a_node_without_room_are_refused_for_what_it_is() -> None:
    """It may lack what the others have committed, and cannot take it in."""
    stage = Stage()
    replica = stage.followers[0].replica
    assert replica is not None and replica.read_refusal is not None
    plain = replica.read_refusal.text
    replica.out_of_space()
    stage.read(stage.followers[0], "r")
    assert stage.until(1) == [("r", "CLUSTERDOWN")] and "disk of this node is full" in replica.read_refusal.text
    replica.close_for(CommandError("CLUSTERDOWN removed"))
    assert replica.read_refusal.text == "CLUSTERDOWN removed", "which will not pass"
    replica.close_for(None)
    assert "disk of this node is full" in replica.read_refusal.text
    replica.space_is_back()
    stage.read(stage.followers[0], "r")
    assert stage.until(2)[1] == ("r", None) and replica.read_refusal.text == plain


@pytest.mark.parametrize("refuses", ["out_of_space", "close_for", "part"])
@pytest.mark.parametrize("patience_s", [0.5, 60.0], ids=["no leader for too long", "the end of all patience"])
def test_what_is_refused_at_once_is_not_answered_before_what_was_asked_earlier(refuses: str, patience_s: float) -> None:
    """A session is answered in its order: so the refusal of a write has to wait for a read that was there before it."""
    stage = Stage()
    asked = stage.followers[0]
    replica = asked.replica
    assert replica is not None
    replica.no_leader_timeout_s = patience_s
    stage.cut_off(asked)
    stage.read(asked, "first")
    stage.world.run_until(stage.world.now + 1e-3)
    assert len(replica.outbox) == 1 and not replica.open.runs
    stage.write(asked, "second", "SET k 1")
    getattr(replica, refuses)(*(() if refuses == "out_of_space" else (CommandError("MISCONF it is over"),)))
    for _ in range(10_000):
        replica.on_work()  # a turn between the ticks, as any message brings one
        stage.world.run_until(stage.world.now + 1e-3)
    assert [name for name, _ in stage.told] == ["first", "second"] and stage.told[1][1] == "MISCONF"


def test_a_failed_log_answers_everybody_at_once() -> None:
    stage = Stage(real_disk=True)
    leader, disk = stage.leader, stage.leader.past.disk  # type: ignore[attr-defined]
    heard: list[str] = []
    assert leader.replica is not None
    leader.replica.on_failure = heard.append
    disk.faults[disk.calls + 1] = Fault("eio")
    stage.write(leader, "w", "SET k 1")
    assert stage.until(1) == [("w", "INDETERMINATE")] and len(heard) == 1
    assert leader.replica.refusal is not None and leader.replica.refusal.code == "MISCONF"
