"""Changes of the group become records: the membership as it is applied, leaders as they are heard of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp.server.group_trail import GroupTrail
from vaylix_resp.state.nodes import NodeInfo, Nodes


class Stage:
    def __init__(self, leader=1):
        self.view, self.nodes, self.records = FakeView(me=2, leader=leader), Nodes(), []
        self.members(1, 2, 3)
        audit = SimpleNamespace(event=lambda event, **details: self.records.append((event, details)))
        shared = SimpleNamespace(machine=SimpleNamespace(world=SimpleNamespace(nodes=self.nodes)), audit=audit)
        self.trail = GroupTrail(shared, self.view)

    def members(self, *numbers, learners=(), moved=()):
        """The membership as an entry makes it."""
        self.nodes.replace(b"c" * 16, [
            NodeInfo(IDS.get(one, one), f"node-{one}", "10.1.0.1" if one in moved else "10.0.0.1", 16379, one not in learners)
            for one in numbers
        ], ())  # fmt: skip

    def change(self, *numbers, **kinds):
        self.records.clear()
        self.members(*numbers, **kinds)
        self.trail.members_changed()
        return sorted((found["change"], found["node"], found["address"], found["voter"]) for _, found in self.records)


def test_a_start_says_who_belongs_to_it_and_who_leads():
    stage = Stage()
    assert stage.records == [
        ("membership", {"change": "start", "cluster": "c" * 32, "node": "node-2", "members": ["node-1", "node-2", "node-3"]}),
        ("leader", {"leader": "node-1", "leader_id": f"{IDS[1]:016x}", "term": 7}),
    ]
    assert [event for event, _ in Stage(leader=None).records] == ["membership"], "nobody is named while nobody is known"


HERE, THERE = "10.0.0.1:16379", "10.1.0.1:16379"


@pytest.mark.parametrize("numbers, kinds, found", [
    ((1, 2, 3), {}, []),
    ((1, 2, 3, 4), {"learners": (4,)}, [("joined", "node-4", HERE, False)]),
    ((1, 2), {}, [("removed", "node-3", HERE, True)]),
    ((1, 2, 3), {"learners": (3,)}, [("demoted", "node-3", HERE, False)]),
    ((1, 2, 3), {"moved": (1,)}, [("moved", "node-1", THERE, True)]),
    ((1, 4, 5), {}, [("joined", "node-4", HERE, True), ("joined", "node-5", HERE, True), ("removed", "node-2", HERE, True),
                     ("removed", "node-3", HERE, True)]),  # a snapshot brings several at once
])  # fmt: skip
def test_what_an_entry_changes(numbers, kinds, found):
    assert Stage().change(*numbers, **kinds) == found


def test_a_learner_that_gets_a_vote_and_a_second_look_that_finds_nothing_new():
    stage = Stage()
    stage.change(1, 2, 3, 4, learners=(4,))
    assert stage.change(1, 2, 3, 4) == [("promoted", "node-4", HERE, True)]
    assert stage.change(1, 2, 3, 4) == []


def test_each_new_leader_once():
    stage = Stage()
    stage.records.clear()
    stage.view.lead(3)
    stage.view.lead(None)
    before = stage.view.leader
    for told in stage.view.on_leader:  # the same one, at another address
        told(SimpleNamespace(id=IDS[3]), SimpleNamespace(id=IDS[3], name="node-3"))
    stage.view.lead(1)
    assert before is None
    assert [details["leader"] for _, details in stage.records] == ["node-3", "node-1"]
