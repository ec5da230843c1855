"""Who is welcome."""

from dataclasses import replace

import pytest

from tests.unit.peers.worlds import identity, stranger
from vaylix_resp.peers.hello import NO_CLUSTER, Code, Purpose
from vaylix_resp.peers.messages import Member
from vaylix_resp.peers.roster import Life, Roster

MEMBERS = [Member(n, f"node-{n}", f"host-{n}", 7379) for n in (1, 2, 3)]


def roster(lives=None, me=None, **more):
    one = Roster(me or identity(1), lives, **more)
    one.members = {member.node: member for member in MEMBERS}
    one.retired = frozenset({4})
    return one


@pytest.mark.parametrize(
    "peer, code, word",
    [
        (identity(2), None, ""),
        (identity(1), Code.SELF, "talk to itself"),
        (identity(1, boot=7), Code.SELF, "copy of the data"),
        (identity(2, cluster=b"D" * 16), Code.CLUSTER, "44444444"),
        (identity(2, cluster=NO_CLUSTER), Code.NOT_YET, "node-2"),
        (identity(4), Code.REMOVED, "was removed"),
        (identity(5), None, ""),  # has joined while we were away
        (identity(5, name="node-2"), None, ""),  # and has taken the place of a node whose end we have missed
        (identity(2, name="node-3"), Code.NAME, "known as node-2"),
        (identity(2, name=""), Code.NAME, "known as node-2"),
    ],
)
def test_a_member_is_who_the_group_knows(peer, code, word):
    for purpose in (Purpose.TALK, Purpose.BULK):
        refusal = roster().judge(peer, purpose)
        assert (refusal.code if refusal else None) == code
        assert word in (refusal.text if refusal else "")


@pytest.mark.parametrize(
    "life, code, word",
    [
        (None, None, ""),
        (Life(102, 1, 1002), None, ""),  # the same process
        (Life(102, 1), None, ""),  # known from before our own start
        (Life(102, 0, 77), None, ""),  # started anew
        (Life(999, 1, 1002), Code.STORE, "another data directory"),
        (Life(102, 2, 1002), Code.LIFE, "older copy"),
        (Life(102, 1, 77), Code.LIFE, "two processes"),
    ],
)
def test_a_life_only_goes_forward(life, code, word):
    refusal = roster({2: life} if life else None).judge(identity(2), Purpose.TALK)
    assert (refusal.code if refusal else None) == code
    assert word in (refusal.text if refusal else "")


@pytest.mark.parametrize(
    ("incarnation", "earlier", "refused"),
    [
        (6, (1002,), False),  # the next one
        (8, (30, 20, 1002, 9), False),
        (6, (77,), True),  # a copy, started as often as the node that was seen, and once more
        (8, (30, 20, 77), True),
        (8, (30, 20), False),  # it does not tell of so long ago
        (8, (), False),  # a version that does not tell
        (5, (9,), False),  # the same process
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_who_comes_later_knows_the_process_that_was_seen(incarnation, earlier, refused, kept):
    one = roster({2: Life(102, 5, 1002 if kept else 0)})
    refusal = one.judge(identity(2, incarnation=incarnation, earlier=earlier), Purpose.TALK)
    assert (refusal is not None) == (refused and kept)
    if refusal is not None:
        assert refusal.code is Code.LIFE and "at start 5 was another process" in refusal.text


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize(("ours", "theirs", "refused"), [
    (16, 16, False), (16, 32, True), (32, 16, True), (0, 16, False), (16, 0, False), (65536, 65536, False),
])  # fmt: skip
def test_every_node_has_as_many_databases(purpose, ours, theirs, refused):
    """0: a version that does not say how many."""
    one = roster(me=replace(identity(1), databases=ours))
    refusal = one.judge(replace(identity(2), databases=theirs), purpose)
    assert (refusal.code if refusal else None) == (Code.DATABASES if refused else None)
    if refusal:
        assert f"has {theirs} databases" in refusal.text and f"has {ours}: give all nodes the same" in refusal.text


VERSIONS = [  # ours and theirs, each what is understood and what is in force; is the other one refused? do we stop?
    ((1, 1), (1, 1), False, False),
    ((2, 1), (1, 1), False, False),  # while nodes are replaced
    ((1, 1), (2, 1), False, False),
    ((2, 2), (1, 1), True, False),
    ((2, 2), (2, 1), False, False),  # it has not come so far yet
    ((1, 1), (2, 2), True, True),
    ((2, 2), (3, 3), True, True),
]


@pytest.mark.parametrize(("ours", "theirs", "refused", "stops"), VERSIONS)
def test_who_does_not_understand_the_version_in_force(ours, theirs, refused, stops):
    one = roster(me=replace(identity(1), understands=ours[0], in_force=ours[1]))
    met = []
    one.on_newer = met.append
    peer = replace(identity(2), understands=theirs[0], in_force=theirs[1])
    refusal = one.judge(peer, Purpose.TALK)
    assert (refusal is not None, met) == (refused, [peer] if stops else [])
    if refusal is not None:
        assert refusal.code is Code.VERSION
        assert f"version {max(ours[1], theirs[1])} is in force" in refusal.text and "newer software" in refusal.text
    assert one.judge(peer, Purpose.JOIN) is None, "who only wants to join is told by the leader"


@pytest.mark.parametrize("purpose", [Purpose.FOUND, Purpose.JOIN])
@pytest.mark.parametrize(
    "peer, code",
    [(stranger(), None), (identity(1), Code.SELF), (stranger(name="NODE-1"), Code.NAME), (identity(4), None)],
)
def test_a_guest_only_has_to_be_somebody_else(purpose, peer, code):
    refusal = roster().judge(peer, purpose)
    assert (refusal.code if refusal else None) == code


def test_a_node_of_no_cluster_has_no_members():
    refusal = roster(me=stranger(1)).judge(identity(2), Purpose.TALK)
    assert refusal.code is Code.NOT_YET and "node-1" in refusal.text


def test_lives_are_noted_and_told_when_they_change():
    told = []
    one = roster(on_life=lambda node, life: told.append((node, life)))
    assert one.note(identity(2)) is True
    assert one.note(identity(2)) is False
    assert one.note(identity(2, incarnation=2, boot=9)) is True
    assert told == [(2, Life(102, 1, 1002)), (2, Life(102, 2, 9))]
    known = roster({2: Life(102, 1)}, on_life=lambda node, life: told.append((node, life)))
    assert known.note(identity(2)) is True and told.pop() == (2, Life(102, 1, 1002)), "which process it is counts, too"
    assert one.judge(identity(2), Purpose.TALK).code is Code.LIFE


def test_the_life_of_a_node_that_the_log_does_not_know_is_watched_but_not_kept():
    told = []
    one = roster(on_life=lambda node, life: told.append(node))
    one.note(identity(5))
    assert told == [] and one.judge(identity(5, boot=7), Purpose.TALK).code is Code.LIFE


def test_who_leaves_is_forgotten_and_remembered_as_retired():
    one = roster({2: Life(102, 5), 3: Life(103, 1)})
    one.set_members([MEMBERS[0], MEMBERS[2]], retired=[2])
    assert one.lives == {3: Life(103, 1)}
    assert one.judge(identity(2), Purpose.TALK).code is Code.REMOVED
