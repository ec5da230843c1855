"""The terms of a log as runs, beside a dictionary that has one entry for each index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.raft.terms import Terms
from vaylix_resp.raft.types import EntryId, InvariantBroken

LENGTHS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 2)), max_size=12
)  # (operations, how much the term rises)
STARTS = st.builds(EntryId, st.integers(0, 5), st.integers(1, 3))


class Slow:
    def __init__(self, start: EntryId) -> None:
        self.start = start
        self.terms = {start.index: start.term}

    def at(self, index: int) -> int | None:
        return self.terms.get(index)

    def floor(self, index: int, term: int) -> EntryId | None:
        fit = [at for at, of in self.terms.items() if at <= index and of <= term]
        return EntryId(max(fit), self.terms[max(fit)]) if fit else None


def both(start: EntryId, lengths: list[tuple[int, int]]) -> tuple[Terms, Slow, list[int]]:
    fast, slow, ends = Terms(start, (), start), Slow(start), [start.index]
    term = start.term
    for count, rise in lengths:
        term += rise
        fast.append(ends[-1] + count, term)
        for index in range(ends[-1] + 1, ends[-1] + count + 1):
            slow.terms[index] = term
        ends.append(ends[-1] + count)
    return fast, slow, ends


def same(fast: Terms, slow: Slow) -> None:
    last = max(slow.terms)
    assert (fast.last, fast.last_term) == (last, slow.terms[last])
    for index in range(-1, last + 3):
        assert fast.at(index) == slow.at(index), index
        for term in range(12):
            assert fast.floor(index, term) == slow.floor(index, term), (index, term)


@given(STARTS, LENGTHS)
def test_runs_know_the_term_of_each_index(start: EntryId, lengths: list[tuple[int, int]]) -> None:
    fast, slow, _ = both(start, lengths)
    same(fast, slow)
    same(Terms(start, fast.runs(), EntryId(fast.last, fast.last_term)), slow)


@given(STARTS, LENGTHS, st.data())
def test_a_log_is_cut_and_grows_again(start: EntryId, lengths: list[tuple[int, int]], data: st.DataObject) -> None:
    fast, slow, ends = both(start, lengths)
    after = data.draw(st.sampled_from(ends))
    fast.cut(after, slow.terms[after])
    slow.terms = {index: term for index, term in slow.terms.items() if index <= after}
    same(fast, slow)
    fast.append(after + 2, fast.last_term + 1)
    slow.terms |= {after + 1: fast.last_term, after + 2: fast.last_term}
    same(fast, slow)


@given(STARTS, LENGTHS, st.data())
def test_a_log_is_pruned(start: EntryId, lengths: list[tuple[int, int]], data: st.DataObject) -> None:
    fast, slow, ends = both(start, lengths)
    upto = data.draw(st.sampled_from(ends))
    fast.forget(EntryId(upto, slow.terms[upto]))
    slow.terms = {index: term for index, term in slow.terms.items() if index >= upto}
    slow.start = fast.start
    same(fast, slow)
    fast.append(fast.last + 1, fast.last_term)
    slow.terms[fast.last] = fast.last_term
    same(fast, slow)


@pytest.mark.parametrize(
    "start, runs, last",
    [
        (EntryId(0, 0), [(2, 1)], EntryId(3, 1)),  # a gap at the start
        (EntryId(0, 0), [(1, 1), (1, 2)], EntryId(3, 2)),  # two runs at one place
        (EntryId(0, 0), [(1, 2), (2, 2)], EntryId(3, 2)),  # the term does not rise
        (EntryId(4, 3), [(5, 2)], EntryId(6, 2)),  # it falls below the start's
        (EntryId(0, 0), [(1, 1), (4, 2)], EntryId(3, 2)),  # a run behind the end
        (EntryId(0, 0), [(1, 1)], EntryId(3, 2)),  # the end is of another term
        (EntryId(0, 0), [], EntryId(3, 2)),  # a log without a term
    ],
)
def test_runs_that_do_not_fit_are_refused(start: EntryId, runs: list[tuple[int, int]], last: EntryId) -> None:
    with pytest.raises(InvariantBroken):
        Terms(start, runs, last)


def test_terms_do_not_fall() -> None:
    terms = Terms(EntryId(3, 2), (), EntryId(3, 2))
    with pytest.raises(InvariantBroken):
        terms.append(4, 1)
