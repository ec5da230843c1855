"""What commands are told about the cluster, by a view over a real replica."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.sim.cluster.world import SimNode
from tests.unit.engine.replication.test_replica import Stage
from vaylix_resp.commands.cluster_view import Address
from vaylix_resp.engine.replication.view import View
from vaylix_resp.peers.stats import PeerStats
from vaylix_resp.raft.messages import Append
from vaylix_resp.raft.progress import State


def view_of(node: SimNode) -> View:
    """With connections to everybody; nobody has said anything of itself."""
    world = node.world
    network = SimpleNamespace(
        status=lambda: {other: PeerStats(connected=True, heard_at=world.now) for other in world.nodes},
        send=lambda to, message: True,
    )
    driver = SimpleNamespace(infos={}, network=network, announced=dict, all_alike=lambda: False)
    loop = SimpleNamespace(time=lambda: world.now, call_later=world.after)
    assert node.replica is not None
    return View(node.replica, cast(Any, driver), cast(Any, loop), Address("here", 1))


@pytest.mark.parametrize(("state", "shown"), [
    (State.PROBE, "probe"), (State.REPLICATE, "replicate"), (State.SNAPSHOT, "snapshot"), (State.LOST, "lost"),
])  # fmt: skip
def test_every_state_of_a_follower_has_a_name(state: State, shown: str) -> None:
    """One that has lost what it had acknowledged, too: it stays connected, and the others ask about it."""
    stage = Stage(real_disk=True)
    leading = stage.leader.replica.core.leading if stage.leader.replica is not None else None
    assert leading is not None
    other = stage.followers[0].id
    leading.replication.peers[other].become(state, 1)
    (found,) = [member for member in view_of(stage.leader).members if member.id == other]
    assert found.state == shown and found.down is (state is State.LOST)
    stage.world.close()


def test_a_follower_that_gets_heartbeats_only_grows_stale() -> None:
    """Its appends are stuck (a large one, a snapshot on its way), and what it knows as committed stands still."""
    stage = Stage()
    follower = stage.followers[0]
    view, world = view_of(follower), stage.world

    def send(frm: SimNode, to: int, message: Any, usual: Any = world.send) -> Any:
        return True if to == follower.id and isinstance(message, Append) else usual(frm, to, message)

    def look_for(seconds: float) -> None:
        end = world.now + seconds
        while world.now < end:
            world.run_until(world.now + 0.05)
            view.look()

    look_for(2.0)
    assert view.staleness_s is not None and view.staleness_s < 0.5
    world.send = send  # type: ignore[method-assign]
    stage.write(stage.leader, "w", "SET k new")
    stage.until(1)
    look_for(10.0)
    assert follower.replica is not None and follower.replica.status.quorum_fresh
    assert view.staleness_s is not None and view.staleness_s > 9.0, "it has not had the write for ten seconds"


def test_whoever_asked_for_a_hand_over_is_answered_without_a_majority() -> None:
    """The node steps down before it can know that nobody takes over; then there may be no leader for hours."""
    stage = Stage()
    leader, world = stage.leader, stage.world
    view = view_of(leader)
    stage.cut_off(leader)
    world.run_until(world.now + 0.3)
    asked = view.transfer(None)
    world.run_until(world.now + 30.0)
    assert leader not in world.leaders and asked.done
    assert asked.reply.code == "INDETERMINATE" and "leads no more" in asked.reply.text


def test_elections_and_changes_of_leadership_are_counted() -> None:
    stage = Stage(real_disk=True)
    old, world = stage.leader, stage.world
    views = {node.id: view_of(node) for node in (old, *stage.followers)}
    for view in views.values():
        view.look()
    before = {node: view.leader_changes for node, view in views.items()}
    assert all(view.elections == 0 for view in views.values()) and set(before.values()) == {1}
    stage.cut_off(old)
    end = world.now + 20.0
    while world.now < end:
        world.run_until(world.now + 0.1)
        for view in views.values():
            view.look()
    rivals = [view for node, view in views.items() if node != old.id]
    assert sum(view.elections for view in rivals) >= 1 and views[old.id].elections == 0
    assert views[old.id].leader_changes == 2, "from itself to nobody"
    assert all(view.leader_changes >= 2 for view in rivals)
    stage.world.close()
