"""Majorities: the quick way beside the obvious one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.raft.quorum import is_quorum, majority, reached


@pytest.mark.parametrize("voters, fewest", [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_any_two_majorities_have_a_voter_in_common(voters: int, fewest: int) -> None:
    assert majority(voters) == fewest
    assert 2 * fewest > voters >= 2 * (fewest - 1)


@given(st.lists(st.integers(0, 12), max_size=9))
def test_reached_is_the_highest_value_that_a_majority_has(values: list[int]) -> None:
    slow = [x for x in range(13) if values and sum(1 for value in values if value >= x) >= majority(len(values))]
    assert reached(values) == max(slow, default=0)


@given(st.frozensets(st.integers(1, 9)), st.frozensets(st.integers(1, 9)))
def test_strangers_do_not_make_a_quorum(some: frozenset[int], voters: frozenset[int]) -> None:
    assert is_quorum(some, voters) == (len(some & voters) * 2 > len(voters))
