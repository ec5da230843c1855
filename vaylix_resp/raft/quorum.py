"""Majority arithmetic. Source: Raft (Ongaro, 2014), section 3.6.2; etcd's idea to take the n-th largest of a sort."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def majority(voters: int) -> int:
    """The fewest of so many voters of whom any two sets have one in common."""
    return voters // 2 + 1


def reached(values: Sequence[int]) -> int:
    """The highest value that a majority has reached; one value for each voter. 0 without voters."""
    if not values:
        return 0
    return sorted(values)[len(values) - majority(len(values))]


def is_quorum(some: Collection[int], voters: Collection[int]) -> bool:
    """Whether the voters among `some` are a majority of `voters`."""
    return bool(voters) and sum(1 for node in voters if node in some) >= majority(len(voters))
