"""The membership as words of an entry, and back."""

from __future__ import annotations

import pytest

from vaylix_resp.state.nodes import Difference, NodeInfo, Nodes

A = NodeInfo(7, "n1", "h1", 7001, voter=True)
B = NodeInfo(2**63 + 1, "n2", "::1", 7002, voter=False)


@pytest.mark.parametrize("retired", [(), (3,), (9, 3)])
@pytest.mark.parametrize("members", [(), (A,), (B, A)])
def test_words_and_back(members: tuple[NodeInfo, ...], retired: tuple[int, ...]) -> None:
    nodes, again = Nodes(), Nodes()
    nodes.replace(bytes(16), members, retired)
    again.load(nodes.words())
    assert again.cluster_id == bytes(16) and again.retired == set(retired)
    assert again.members == tuple(sorted(members, key=lambda member: member.id))
    assert again.dump() == nodes.dump() and again.digest_input() == nodes.digest_input() != b""


def test_a_node_that_was_never_in_a_cluster_leaves_no_trace() -> None:
    assert Nodes().dump() == [] and Nodes().digest_input() == b""


def test_different_memberships_differ() -> None:
    seen = set()
    for members, retired in (((A,), ()), ((B,), ()), ((A, B), ()), ((A,), (1,)), ((A,), (1, 2))):
        nodes = Nodes()
        nodes.replace(b"c" * 16, members, retired)
        seen.add(nodes.digest_input())
    assert len(seen) == 5


def test_a_node_that_differs_does_so_until_it_is_removed() -> None:
    nodes, again = Nodes(), Nodes()
    nodes.replace(b"c" * 16, (A, B), ())
    before = nodes.digest_input()
    nodes.differs([7, 99], Difference(5, b"keys"))
    nodes.differs([7], Difference(6, b"users"))
    assert nodes.differing == {7: (5, b"keys")}, "the first time counts, and strangers do not"
    assert nodes.digest_input() != before
    again.load(nodes.words())
    again.load_differing(nodes.dump_differing())
    assert again.digest_input() == nodes.digest_input()
    nodes.replace(b"c" * 16, (A, B), ())
    assert nodes.differing == {7: (5, b"keys")}, "promoted or moved, it is the same node with the same data"
    nodes.replace(b"c" * 16, (B,), (7,))
    assert nodes.differing == {}
