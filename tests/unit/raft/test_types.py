"""Memberships and what may follow them; bounds that have to fit together."""

from __future__ import annotations

import pytest

from vaylix_resp.raft.ready import Config
from vaylix_resp.raft.types import Change, ChangeKind, Membership

ADD, PROMOTE, REMOVE, DEMOTE = ChangeKind
OF = Membership(frozenset({1, 2}), frozenset({3}), frozenset({4}))


@pytest.mark.parametrize(
    "kind, node, expected",
    [
        (ADD, 5, Membership(frozenset({1, 2}), frozenset({3, 5}), frozenset({4}))),
        (PROMOTE, 3, Membership(frozenset({1, 2, 3}), frozenset(), frozenset({4}))),
        (DEMOTE, 1, Membership(frozenset({2}), frozenset({1, 3}), frozenset({4}))),
        (REMOVE, 3, Membership(frozenset({1, 2}), frozenset(), frozenset({3, 4}))),
        (REMOVE, 1, Membership(frozenset({2}), frozenset({3}), frozenset({1, 4}))),
    ],
)
def test_one_server_at_a_time(kind: ChangeKind, node: int, expected: Membership) -> None:
    assert OF.after(Change(kind, node)) == expected


@pytest.mark.parametrize(
    "kind, node",
    [(ADD, 0), (ADD, 1), (ADD, 3), (ADD, 4), (PROMOTE, 1), (PROMOTE, 4), (DEMOTE, 3), (REMOVE, 4), (REMOVE, 9)],
)
def test_what_does_not_fit_is_refused(kind: ChangeKind, node: int) -> None:
    with pytest.raises(ValueError, match="cannot follow"):
        OF.after(Change(kind, node))


@pytest.mark.parametrize("kind", [REMOVE, DEMOTE])
def test_the_last_voter_stays(kind: ChangeKind) -> None:
    with pytest.raises(ValueError, match="cannot follow"):
        Membership(frozenset({1}), frozenset({2})).after(Change(kind, 1))


@pytest.mark.parametrize("sets", [({1}, {1}, ()), ({1}, (), {1}), ((), {2}, {2}), ({0}, (), ())])
def test_no_id_is_in_two_sets(sets: tuple[set[int], ...]) -> None:
    with pytest.raises(ValueError, match="not a membership"):
        Membership(*map(frozenset, sets))


@pytest.mark.parametrize(
    "bounds",
    [
        {"id": 0},
        {"id": 1 << 64},
        {"election_ticks": 9, "heartbeat_ticks": 2},
        {"heartbeat_ticks": 0},
        {"inflight_messages": 0},
        {"append_entries": 0},
        {"append_bytes": 10},
    ],
)
def test_bounds_that_do_not_fit_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="."):
        Config(**({"id": 1} | bounds))  # type: ignore[arg-type]
