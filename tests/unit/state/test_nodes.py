"""The membership as words of an entry, and back."""

from __future__ import annotations

import pytest

from vaylix_resp.state.nodes import NodeInfo, Nodes

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
