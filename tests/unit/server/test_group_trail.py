"""Changes of the group become records: the membership as it is applied, leaders as they are heard of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp.server import group_trail
from vaylix_resp.server.group_trail import GroupTrail
from vaylix_resp.state.nodes import Difference, NodeInfo, Nodes


class Stage:
    def __init__(self, leader=1):
        self.view, self.nodes, self.records = FakeView(me=2, leader=leader), Nodes(), []
        self.members(1, 2, 3)
        self.server = FakeAdmin(no_leader_timeout=2000)
        self.server.machine = SimpleNamespace(world=SimpleNamespace(nodes=self.nodes))
        self.server.audit = SimpleNamespace(event=lambda event, **details: self.records.append((event, details)))
        self.trail = GroupTrail(self.server, self.view)

    def leaders(self):
        """As recorded since the last call."""
        found = [details["leader"] for event, details in self.records if event == "leader"]
        self.records.clear()
        return found

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
    assert stage.leaders() == ["node-3", "node-1"]


@pytest.mark.parametrize(("gap_s", "no_leader_ms", "found"), [
    (0.0, 2000, []),
    (1.9, 2000, []),  # an election
    (2.1, 2000, ["", "node-1"]),
    (0.9, 0, []),  # never at once, or each election would be an alarm
    (1.1, 0, ["", "node-1"]),
])  # fmt: skip
def test_that_nobody_leads_is_said_when_requests_are_refused(gap_s, no_leader_ms, found, monkeypatch):
    said = []
    monkeypatch.setattr(group_trail, "log", SimpleNamespace(notice=said.append, warning=said.append))
    stage = Stage()
    stage.server.settings.no_leader_timeout = no_leader_ms
    stage.leaders()
    stage.view.lead(None)
    stage.server.advance(gap_s)
    stage.view.lead(1)
    assert stage.leaders() == found and stage.server.timers == []
    assert len(said) == len(found)
    if found:
        assert "no leader with a majority" in said[0] and f"known again after {gap_s:.1f} s: node-1" in said[1]


def test_a_node_that_starts_and_finds_no_leader_says_so_once():
    stage = Stage(leader=None)
    stage.view.lead(None)
    stage.server.advance(60.0)
    stage.view.lead(None)
    stage.server.advance(60.0)
    assert stage.leaders() == [""]
    stage.view.lead(3)
    assert stage.leaders() == ["node-3"]


def test_a_node_whose_data_differ_is_recorded_once():
    stage = Stage()
    stage.nodes.differs([IDS[3]], Difference(9, b"keys"))
    assert stage.change(1, 2, 3) == [("differs", "node-3", HERE, True)]
    assert stage.change(1, 2, 3) == []
    assert stage.change(1, 2) == [("removed", "node-3", HERE, True)]
