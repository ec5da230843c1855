"""The cursors of a group of one: what they promise, and that breaking it is noticed."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vaylix_resp.raft.single import RaftCore
from vaylix_resp.raft.types import EntryId


def cursors(core: RaftCore) -> tuple[int, int, int, int, int]:
    return core.term, core.last, core.persisted, core.committed, core.applied


@pytest.mark.parametrize(
    "log, expected",
    [(EntryId(0, 0), (1, 0, 0, 0, 0)), (EntryId(1, 1), (2, 1, 1, 1, 1)), (EntryId(7, 3), (4, 7, 7, 7, 7))],
)
def test_a_start_begins_a_term_behind_the_log(log: EntryId, expected: tuple[int, ...]) -> None:
    """Whatever a log of one node holds has been committed by it."""
    assert cursors(RaftCore(log)) == expected


def test_an_entry_travels() -> None:
    core = RaftCore(EntryId(7, 3))
    assert core.propose(3) == 8
    assert cursors(core) == (4, 10, 7, 7, 7)
    assert core.persist(EntryId(10, 4)) == 10
    assert cursors(core) == (4, 10, 10, 10, 7)
    core.apply(10)
    assert cursors(core) == (4, 10, 10, 10, 10)
    assert core.propose(1) == 11


def test_the_places_of_a_refused_proposal_are_given_again() -> None:
    core = RaftCore(EntryId(7, 3))
    core.propose(3)
    core.withdraw()
    assert cursors(core) == (4, 7, 7, 7, 7)
    assert core.propose(1) == 8
    core.persist(EntryId(8, 4))
    core.withdraw()  # nothing is open: nothing changes
    assert cursors(core) == (4, 8, 8, 8, 7)


def proposed() -> RaftCore:
    core = RaftCore(EntryId(7, 3))
    core.propose(3)
    return core


def persisted() -> RaftCore:
    core = proposed()
    core.persist(EntryId(10, 4))
    return core


WRONG = {
    "nothing is proposed": lambda: RaftCore(EntryId(7, 3)).propose(0),
    "a second proposal before the first is durable": lambda: proposed().propose(1),
    "durable, but of another term": lambda: proposed().persist(EntryId(10, 3)),
    "durable only in part": lambda: proposed().persist(EntryId(9, 4)),
    "durable beyond what was proposed": lambda: proposed().persist(EntryId(11, 4)),
    "applied before it is committed": lambda: proposed().apply(8),
    "applied beyond the commit": lambda: persisted().apply(11),
    "applied falls": lambda: persisted().apply(6),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_broken_rule_is_noticed(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError):
        wrong()


class Life(RuleBasedStateMachine):
    """Any order of calls that its driver may make, restarts included."""

    def __init__(self) -> None:
        super().__init__()
        self.core = RaftCore(EntryId(0, 0))
        self.before = cursors(self.core)
        self.log_term = 0  # of the last durable entry

    @precondition(lambda self: self.core.last == self.core.persisted)
    @rule(count=st.integers(1, 5))
    def propose(self, count: int) -> None:
        last = self.core.last
        assert self.core.propose(count) == last + 1
        assert self.core.last == last + count

    @precondition(lambda self: self.core.last > self.core.persisted)
    @rule()
    def persist(self) -> None:
        assert self.core.persist(EntryId(self.core.last, self.core.term)) == self.core.last
        self.log_term = self.core.term

    @rule()
    def withdraw(self) -> None:
        self.core.withdraw()
        assert self.core.last == self.core.persisted

    @rule(share=st.floats(0, 1))
    def apply(self, share: float) -> None:
        core = self.core
        core.apply(core.applied + int((core.committed - core.applied) * share))

    @rule()
    def restart(self) -> None:
        """Everything durable is applied again before the node is driven."""
        self.core = RaftCore(EntryId(self.core.persisted, self.log_term))

    @invariant()
    def cursors_are_in_order_and_do_not_fall(self) -> None:
        core = self.core
        assert core.applied <= core.committed <= core.persisted <= core.last
        assert core.term >= self.log_term
        (term, _, *now), (term_before, _, *before) = cursors(core), self.before  # `last` falls when it is withdrawn
        assert term >= term_before and all(new >= old for new, old in zip(now, before, strict=True))
        self.before = cursors(core)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30)
