"""Nodes compare their states: what is asked, what is answered, and what becomes of one that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.sim.cluster.comparing import INTERVAL_S, Comparing, flip
from tests.sim.cluster.world import SimNode, World
from vaylix_resp.commands.digest_operations import differ
from vaylix_resp.commands.ports import Later
from vaylix_resp.engine.node import Run
from vaylix_resp.engine.replication import digesting
from vaylix_resp.engine.replication.changes import Changes
from vaylix_resp.engine.replication.digests import ANSWER_S
from vaylix_resp.engine.replication.driver import Driver
from vaylix_resp.engine.replication.members import nodes_after
from vaylix_resp.errors import CommandError
from vaylix_resp.identity import VAYLIX_VERSION
from vaylix_resp.peers.messages import Digest, DigestAsk
from vaylix_resp.raft.messages import TimeoutNow
from vaylix_resp.raft.types import Change, ChangeKind
from vaylix_resp.resp.reply import OK
from vaylix_resp.state import slices


class Asked:
    """Owner of what one client asks of one node."""

    def __init__(self, node: SimNode, *operations: bytes) -> None:
        assert node.replica is not None
        self.machine, self.reply = node.replica.machine, None
        run = node.replica.join(self)
        run.items += [tuple(text.split(b" ")) for text in operations]
        if operations:
            run.add(run.items)

    def complete(self, run: Run) -> None:
        self.reply = self.machine.apply_all(run.items) if run.items else self.machine.world.views[0].string(b"k")

    def fail(self, run: Run, refusal: CommandError) -> None:
        self.reply = refusal.code


class Stage:
    def __init__(self, count: int = 3, *, real_disk: bool = False, interval_s: float = INTERVAL_S) -> None:
        self.world = World(3, count, real_disk=real_disk)
        self.comparing = Comparing(self.world, interval_s)
        self.world.begin()
        self.until(lambda: len(self.world.leaders) == 1 and self.leader.replica.machine.world.cluster_version > 1)

    def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        assert self.world.run_until(self.world.now + seconds, done)

    def go_on(self, seconds: float) -> None:
        self.world.run_until(self.world.now + seconds)

    @property
    def leader(self) -> SimNode:
        return self.world.leaders[0]

    @property
    def followers(self) -> list[SimNode]:
        return [node for node in self.world.nodes.values() if node is not self.leader]

    def ask(self, node: SimNode, *operations: bytes) -> object:
        one = Asked(node, *operations)
        self.until(lambda: one.reply is not None)
        return one.reply

    def write(self, *operations: bytes) -> None:
        self.ask(self.leader, *operations)
        applied = self.leader.replica.applied
        self.until(lambda: all(node.replica.applied >= applied for node in self.world.nodes.values()))

    @property
    def rounds(self) -> int:
        return self.comparing.of[self.leader.id].comparison.rounds


@pytest.fixture
def make() -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def one(count: int = 3, **options: Any) -> Stage:
        made.append(Stage(count, **options))
        return made[-1]

    yield one
    for stage in made:
        stage.world.close()


Make = Callable[..., Stage]


def test_equal_states_agree_and_everything_is_asked_for(make: Make) -> None:
    stage = make()
    stage.write(*(b"SET key:%d v" % n for n in range(3000)), b"SET k v PXAT 1800000000000", b"@acl setuser u on nopass")
    rounds, compared = stage.rounds, stage.comparing.compared
    stage.until(lambda: stage.rounds >= rounds + 2)
    found = stage.comparing.of[stage.leader.id].comparison
    assert found.agree == {1, 2, 3} and not found.differ and not found.differing and found.age_s < 1.0
    assert stage.comparing.compared >= compared + 4 and stage.comparing.differing == set()


@pytest.mark.parametrize("real_disk", [False, True])
@pytest.mark.parametrize("who", ["a follower", "the leader"])
def test_a_node_that_differs_stops_serving_and_the_others_go_on(make: Make, who: str, real_disk: bool) -> None:
    stage = make(real_disk=real_disk)
    stage.write(b"SET k v", b"SET other v")
    wrong = stage.leader if who == "the leader" else stage.followers[0]
    flip(wrong, b"k")
    stage.until(lambda: stage.comparing.stopped == {wrong.id}, 3.0)
    stage.until(lambda: bool(stage.world.leaders) and stage.leader is not wrong, 5.0)
    for _ in range(2):
        assert stage.ask(wrong) == stage.ask(wrong, b"SET a b") == "MISCONF"
        for node in stage.world.nodes.values():
            if node is not wrong:
                assert stage.ask(node) == b"v" and stage.ask(node, b"SET a b") == [OK]
        stage.until(lambda: len({node.replica.applied for node in stage.world.nodes.values()}) == 1)
        assert stage.comparing.differing == {wrong.id}
        wrong.crash()  # its state is built anew, and may be right: nobody knows that
        wrong.start()
        stage.until(lambda: wrong.up and stage.comparing.stopped == {wrong.id}, 5.0)
    assert stage.leader is not wrong


def test_a_node_that_differs_votes_and_acknowledges_and_never_leads(make: Make) -> None:
    stage = make()
    stage.write(b"SET k v")
    wrong, right = stage.followers
    flip(wrong, b"k")
    stage.until(lambda: stage.comparing.stopped == {wrong.id})
    old = stage.leader
    right.crash()
    assert stage.ask(old, b"SET a b") == [OK], "two of three disks have it"
    right.start()
    stage.until(lambda: right.replica.applied == old.replica.applied)
    old.crash()
    stage.until(lambda: stage.world.leaders == [right], 10.0)
    assert stage.ask(right, b"SET a c") == [OK], "elected by itself and the one that differs"
    stage.until(lambda: right.replica.applied == wrong.replica.applied)
    right.crash()
    old.start()  # it lacks what was written since, so it would vote for the one that differs, which has all of it
    stage.go_on(15.0)
    assert stage.world.leaders == [] and wrong.replica.status.leader == 0
    right.start()
    stage.until(lambda: stage.world.leaders == [right])


def test_a_leader_that_nobody_can_follow_gives_up_all_the_same(make: Make) -> None:
    """It is the one that differs, and whoever should take over does not answer its hand-over."""
    stage = make()
    stage.write(b"SET k v")
    old = stage.leader
    for node in stage.followers:
        hear = node.receive
        node.receive = lambda frm, said, hear=hear: None if isinstance(said, TimeoutNow) else hear(frm, said)
    flip(old, b"k")
    stage.until(lambda: stage.comparing.stopped == {old.id})
    assert stage.leader is old
    stage.until(lambda: bool(stage.world.leaders) and stage.leader is not old, digesting.LEAVE_S + 5.0)


def test_of_two_the_leader_is_believed(make: Make) -> None:
    stage = make(2)
    stage.write(b"SET k v")
    (follower,) = stage.followers
    flip(stage.leader, b"k")
    stage.until(lambda: stage.comparing.stopped == {follower.id})
    assert stage.ask(stage.leader, b"SET a b") == [OK]


def test_one_alone_compares_nothing(make: Make) -> None:
    stage = make(1)
    stage.go_on(3.0)
    assert stage.comparing.compared == 0 and stage.leader.replica.applied < 10


def test_none_is_made_when_it_is_switched_off_and_before_the_version_is_in_force(make: Make) -> None:
    stage = make(interval_s=0.0)
    stage.write(b"SET k v")
    before = stage.leader.replica.applied
    stage.go_on(3.0)
    assert stage.leader.replica.applied == before
    for node in stage.world.nodes.values():
        node.replica.machine.world.cluster_version = 1
        stage.comparing.of[node.id].interval_s = INTERVAL_S
    stage.world.on_start.clear()
    assert not any(made._due for made in stage.comparing.of.values())
    stage.leader.replica.machine.world.cluster_version = 2
    stage.go_on(1.0)
    assert stage.leader.replica.applied > before


def test_nodes_of_different_software_are_not_compared(make: Make) -> None:
    """One may well put the same state otherwise; a rolling upgrade must condemn nobody."""
    stage = make()
    for made in stage.comparing.of.values():
        made.alike = lambda: False
    stage.go_on(1.0)
    before = stage.leader.replica.applied
    stage.go_on(3.0)
    assert stage.leader.replica.applied == before
    stage.comparing.of[stage.leader.id].alike = lambda: True
    stage.go_on(1.0)
    assert stage.leader.replica.applied > before


@pytest.mark.parametrize(
    ("said", "alike"),
    [({}, True), ({2: VAYLIX_VERSION}, True), ({2: VAYLIX_VERSION, 3: "0.0.9"}, False), ({2: VAYLIX_VERSION, 9: "x"}, True)],
)  # fmt: skip
def test_what_members_have_said_of_their_software_counts(said: dict[int, str], alike: bool) -> None:
    members = SimpleNamespace(core=SimpleNamespace(membership=SimpleNamespace(members={1, 2, 3})))
    driver: Any = SimpleNamespace(
        replica=members, infos={node: SimpleNamespace(version=version) for node, version in said.items()}
    )
    assert Driver.all_alike(driver) == alike


def test_many_operations_bring_a_slice_about_before_its_time(make: Make) -> None:
    stage = make(interval_s=60.0)
    compared = stage.comparing.compared
    stage.go_on(3.0)
    for _ in range(digesting.ENTRIES // 2000):
        stage.write(*(b"SET k v" for _ in range(2000)))
    stage.until(lambda: stage.comparing.compared > compared, 3.0)
    assert stage.world.now < 30.0


def test_a_group_in_which_nothing_happens_hardly_writes(make: Make) -> None:
    """Each comparison is an entry on each disk: when all has been compared, and nothing written since, they are rare."""
    stage = make()
    stage.write(*(b"SET key:%d v" % n for n in range(3000)))
    for said in ("", "after a write"):
        before, rounds = stage.leader.replica.applied, stage.rounds
        stage.until(lambda low=rounds + 2: stage.rounds >= low)
        assert stage.leader.replica.applied >= before + 8, f"everything is compared {said}"
        stage.go_on(3 * INTERVAL_S)
        idle = stage.leader.replica.applied
        stage.go_on(digesting.IDLE_FACTOR * INTERVAL_S / 2)
        assert stage.leader.replica.applied <= idle + 1, said
        stage.go_on(2 * digesting.IDLE_FACTOR * INTERVAL_S)
        assert idle + 2 <= stage.leader.replica.applied <= idle + 3, "but not never: memory goes bad in peace, too"
        stage.write(b"SET k v")


def test_a_node_that_lacks_the_question_is_not_judged(make: Make) -> None:
    """It differs, but did not hear what to look at; later it does."""
    stage = make()
    stage.write(b"SET k v")
    deaf = stage.followers[0]
    heard = stage.comparing.of[deaf.id]
    plain, heard.hear = heard.hear, lambda frm, message: None
    flip(deaf, b"k")
    stage.go_on(2 * ANSWER_S)
    found = stage.comparing.of[stage.leader.id].comparison
    assert deaf.id not in found.agree | found.differ and stage.comparing.differing == set()
    heard.hear = plain
    stage.until(lambda: stage.comparing.differing == {deaf.id})


def test_the_leader_changes_between_question_and_answer(make: Make) -> None:
    """What the nodes have answered goes to whoever leads now."""
    stage = make()
    stage.write(b"SET k v")
    old, wrong = stage.leader, stage.followers[0]
    for made in stage.comparing.of.values():
        made.interval_s = 0.0  # the one question that is on its way is the last
    stage.go_on(1.0)
    lost: list[object] = []
    send = wrong.send
    wrong.send = lambda to, message: lost.append(message) if isinstance(message, Digest) else send(to, message)
    stage.comparing.of[wrong.id]._send = wrong.send
    flip(wrong, b"k")
    stage.comparing.of[old.id].interval_s = INTERVAL_S
    asked = stage.comparing.of[wrong.id]
    stage.until(lambda: bool(lost) and asked._result is not None and asked._result[1] == "keys of database 0")
    stage.comparing.of[old.id].interval_s = 0.0
    wrong.send = send
    stage.comparing.of[wrong.id]._send = send
    assert stage.comparing.differing == set()
    target = next(node for node in stage.followers if node is not wrong)
    old.replica.core.transfer(target.id)
    old.replica.on_work()
    stage.until(lambda: stage.comparing.differing == {wrong.id})
    assert stage.leader is target


def test_a_learner_that_differs_stops_and_is_not_promoted(make: Make) -> None:
    stage = make(4)
    stage.write(b"SET k v")
    learner = stage.followers[0]
    leader = stage.leader.replica
    demotion = Change(ChangeKind.DEMOTE, learner.id)
    leader.propose_members(demotion, nodes_after(leader.machine.world.nodes, demotion))
    leader.on_work()
    stage.until(lambda: learner.id in learner.replica.core.membership.learners)
    flip(learner, b"k")
    stage.until(lambda: stage.comparing.stopped == {learner.id})
    changes = Changes(leader, lambda node, message: None, lambda seconds: Later())
    reply = changes.propose(Change(ChangeKind.PROMOTE, learner.id)).reply
    assert isinstance(reply, CommandError) and "data differ" in reply.text


def test_an_accusation_that_is_refused_is_made_again(make: Make) -> None:
    stage = make()
    stage.write(b"SET k v")
    wrong, accuser = stage.followers[0], stage.comparing.of[stage.leader.id]
    refused: list[CommandError] = []
    propose = stage.leader.replica.propose

    def refuse(owner: object, operation: tuple[bytes, ...]) -> Run:
        if operation[1] == b"differ" and len(refused) < 2:
            refused.append(CommandError("NOREPLICAS nobody"))
            run = Run(accuser, stage.leader.replica.open)
            run.items.append(operation)
            accuser.fail(run, refused[-1])
            return run
        return propose(owner, operation)

    stage.leader.replica.propose = refuse
    flip(wrong, b"k")
    stage.until(lambda: stage.comparing.stopped == {wrong.id})
    assert len(refused) == 2


def test_what_is_held_is_bounded(make: Make) -> None:
    stage = make()
    made = stage.comparing.of[stage.followers[0].id]
    for number in range(1, 100):
        made.hear(1, DigestAsk(number, 1, 0, (b"k",)))
    assert list(made._asks) == list(range(100 - digesting.ASKS_KEPT, 100))
    made.hear(1, DigestAsk(200, 77, 0, (b"k",)))
    assert 200 not in made._asks, "a kind of a later version"
    for number in range(100 - digesting.ASKS_KEPT, 100):
        made._mark(number)
    assert len(made._taken) == digesting.TAKEN_MAX


def test_a_digest_is_made_in_steps(make: Make) -> None:
    stage = make()
    stage.write(*(b"SET key:%d v" % n for n in range(slices.SLICE_KEYS)))
    made = stage.comparing.of[stage.followers[0].id]
    made.interval_s = 0.0
    made.hear(1, DigestAsk(1, 1, 0, tuple(b"key:%d" % n for n in range(slices.SLICE_KEYS))))
    began, before = stage.world.now, made._result
    made._mark(1)
    assert made._result is before
    stage.until(lambda: made._result is not before and not made._taken)
    assert stage.world.now - began > 4 * digesting.STEP_PAUSE_S


def test_the_entry_alone_makes_a_node_stop(make: Make) -> None:
    """Whatever it finds itself: it may have been away when the digests were compared."""
    stage = make()
    named = stage.followers[0]
    stage.ask(stage.leader, b" ".join(differ(3, "keys", [named.id, 99])))
    stage.until(lambda: stage.comparing.stopped == {named.id})
    assert stage.comparing.differing == {named.id}, "nobody is accused who is no member"
    told = stage.comparing.of[named.id].stopped
    assert told is not None and "sequence 3 (keys)" in told.text
