"""Changes of the membership, asked for on any node: who proposes them, and what whoever asked is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sim.cluster.node import SimNode
from tests.unit.engine.replication.test_replica import Stage
from vaylix_resp.commands.ports import Later
from vaylix_resp.engine.replication import changes as module
from vaylix_resp.engine.replication.changes import Changes
from vaylix_resp.engine.replication.errors import REFUSALS
from vaylix_resp.errors import CommandError
from vaylix_resp.peers.messages import MembersReply, MembersRequest
from vaylix_resp.raft.types import Change, ChangeKind, Refusal
from vaylix_resp.resp.reply import OK

ADD, PROMOTE, REMOVE, DEMOTE = ChangeKind
NEW = 9


class Town(Stage):
    """Three nodes that may be asked for changes."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: Callable[[int, Any], bool] = lambda to, message: False
        self.changes = {node.id: self._changes(node) for node in self.world.nodes.values()}
        self._look()

    def _changes(self, node: SimNode) -> Changes:
        assert node.replica is not None
        replica = node.replica

        def send(to: int, message: MembersRequest | MembersReply) -> None:
            if not self.lost(to, message) and (node.id, to) not in self.world.blocked:
                self.world.after(0.001, self.changes[to].hear, node.id, message)

        def hand_over(seconds: float) -> Later:
            later = Later()
            refused = replica.core.transfer(0)
            replica.on_work()
            self._when_followed(replica, later, self.world.now + seconds)
            return later if refused is None else _resolved(CommandError("ERR nobody to hand over to"))

        return Changes(replica, send, hand_over)

    def _when_followed(self, replica: Any, later: Later, end: float) -> None:
        if not replica.leads:
            later.resolve(OK)
        elif self.world.now >= end:
            later.resolve(CommandError("ERR nobody has taken over"))
        else:
            self.world.after(0.05, self._when_followed, replica, later, end)

    def _look(self) -> None:
        for node, changes in self.changes.items():
            replica = self.world.nodes[node].replica
            if replica is not None:
                if not replica.leads:
                    changes.deposed()
                changes.look()
        self.world.after(0.05, self._look)

    def asked(self, node: SimNode, kind: ChangeKind, subject: int, **options: bool) -> object:
        """The reply."""
        later = self.changes[node.id].request(Change(kind, subject), **options)
        self.world.run_until(self.world.now + 30.0, lambda: later.done)
        assert later.done
        return later.reply if later.reply is OK else later.reply.text  # type: ignore[union-attr]

    def grown(self) -> SimNode:
        """With a fourth node, which is a learner that has caught up."""
        joining = self.world.info(NEW)
        assert self.leader.replica is not None
        later = self.changes[self.leader.id].propose(Change(ADD, NEW), joining)
        self.world.run_until(self.world.now + 5.0, lambda: later.done)
        assert later.reply is OK
        node = self.world.add(NEW, [])
        node.start()
        self.changes[NEW] = self._changes(node)
        core = self.leader.replica.core
        assert self.world.run_until(self.world.now + 20.0, lambda: core.promotable(NEW))
        return node

    @property
    def voters(self) -> set[int]:
        assert self.leader.replica is not None
        return set(self.leader.replica.core.membership.voters)


def _resolved(reply: CommandError) -> Later:
    later = Later()
    later.resolve(reply)
    return later


@pytest.mark.parametrize("on", ["leader", "follower"])
def test_any_node_may_be_asked(on: str) -> None:
    town = Town()
    leader, follower, other = town.leader, *town.followers
    node = leader if on == "leader" else follower
    assert town.asked(node, DEMOTE, other.id) is OK and town.voters == {leader.id, follower.id}
    assert town.asked(node, PROMOTE, other.id) is OK and town.voters == {1, 2, 3}
    assert town.asked(node, REMOVE, other.id) is OK and town.voters == {leader.id, follower.id}
    assert town.asked(node, REMOVE, other.id).startswith("ERR no node"), "it is gone"  # type: ignore[attr-defined]
    town.write(follower, "w", "SET k 1")
    assert town.until(1) == [("w", [OK])]


def test_a_new_node_gets_a_vote_when_it_asks_for_it() -> None:
    town = Town()
    new = town.grown()
    town.write(new, "w", "SET k 1")
    town.read(new, "r")
    assert town.until(2) == [("w", [OK]), ("r", b"1")], "a learner takes any request"
    assert town.voters == {1, 2, 3}
    town.changes[NEW].ask_for_a_vote()
    assert town.world.run_until(town.world.now + 5.0, lambda: town.voters == {1, 2, 3, NEW})


@pytest.mark.parametrize("kind", [REMOVE, DEMOTE])
def test_a_leader_hands_over_before_it_goes(kind: ChangeKind) -> None:
    """A term is all that it takes: no election has to time out."""
    town = Town()
    old = town.leader
    assert old.replica is not None
    term = old.replica.term
    began = town.world.now
    assert town.asked(old, kind, old.id) is OK
    assert town.world.now - began < 1.0 and town.leader is not old
    assert town.voters == {1, 2, 3} - {old.id} and town.leader.replica is not None
    assert town.leader.replica.term == term + 1
    town.write(town.leader, "w", "SET k 1")
    assert town.until(1) == [("w", [OK])]


def test_the_last_voter_stays() -> None:
    town = Town()
    for other in town.followers:
        assert town.asked(town.leader, REMOVE, other.id) is OK
    only = town.leader
    assert town.asked(only, REMOVE, only.id) == REFUSALS[Refusal.CHANGE_INVALID]
    town.write(only, "w", "SET k 1")
    assert town.until(1) == [("w", [OK])]


def test_who_is_away_can_be_removed_but_not_the_quorum_with_it() -> None:
    town = Town()
    gone, here = town.followers
    gone.crash()
    town.world.run_until(town.world.now + 3.0)
    assert town.asked(town.leader, REMOVE, here.id) == REFUSALS[Refusal.QUORUM_AT_RISK]
    assert town.asked(here, REMOVE, gone.id) is OK and gone.id not in town.voters


@pytest.mark.parametrize("what", [MembersRequest, MembersReply])
def test_without_an_answer_nobody_knows(what: type) -> None:
    town = Town()
    town.lost = lambda to, message: isinstance(message, what)
    reply = town.asked(town.followers[0], REMOVE, town.followers[1].id)
    assert reply == module.UNANSWERED
    assert (town.followers[1].id in town.voters) == (what is MembersRequest)


def test_without_a_leader_nothing_is_changed() -> None:
    town = Town()
    alone = town.followers[0]
    town.cut_off(alone)
    town.world.run_until(town.world.now + 5.0)
    assert town.asked(alone, REMOVE, town.leader.id).startswith("NOREPLICAS")  # type: ignore[attr-defined]


def test_a_leader_that_is_cut_off_does_not_know() -> None:
    town = Town()
    old = town.leader
    town.cut_off(old)
    assert town.asked(old, REMOVE, town.followers[0].id).startswith("INDETERMINATE")  # type: ignore[attr-defined]


def test_what_another_version_asks_for_is_refused() -> None:
    town = Town()
    told: list[MembersReply] = []
    changes = Changes(town.leader.replica, lambda to, message: told.append(message), lambda _: Later())  # type: ignore[arg-type]
    changes.hear(2, MembersRequest(7, 99, 3, False))
    assert told == [MembersReply(7, "ERR this node's version does not know such a change")]


@pytest.mark.parametrize("submitted", [True, False])
def test_who_waits_at_a_node_that_is_removed_is_told_at_once(submitted: bool) -> None:
    """Nobody sends it what becomes of its writes; until commit-timeout is over would be long to know nothing."""
    town = Town()
    node, leader = town.followers[0], town.leader
    replica = node.replica
    assert replica is not None and leader.replica is not None
    gone = CommandError("CLUSTERDOWN this node was removed")

    def look() -> None:
        if node.id in replica.machine.world.nodes.retired:
            replica.part(gone)

    replica.on_members = look
    town.changes[leader.id].request(Change(REMOVE, node.id))
    if submitted:
        town.write(node, "w", "SET k v")
    else:
        town.world.run_until(town.world.now + 0.2)
        town.read(node, "w")
    assert town.until(1, replica.commit_timeout_s / 4) == [("w", "INDETERMINATE" if submitted else "CLUSTERDOWN")]
    assert not len(replica.outbox)
