"""Runs of terms, against the obvious list of the term of each sequence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.storage.terms import Terms

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), st.integers(1, 4), st.integers(0, 2)),
        st.tuples(st.just("cut"), st.integers(0, 60), st.just(0)),
        st.tuples(st.just("prune"), st.integers(0, 60), st.just(0)),
    ),
    max_size=40,
)


@given(st.integers(0, 20), st.integers(0, 5), STEPS)
def test_it_is_the_list_of_the_term_of_each_sequence(
    start: int, start_term: int, steps: list[tuple[str, int, int]]
) -> None:
    terms, twin = Terms(start, start_term), {start: start_term}
    for what, number, more in steps:
        last = max(twin)
        if what == "batch":
            term = twin[last] + more
            if term != twin[last]:
                terms.add(last + 1, term)
            twin |= {last + 1 + at: term for at in range(number)}
        elif what == "cut" and min(twin) <= number <= last:
            terms.cut(number)
            twin = {at: term for at, term in twin.items() if at <= number}
        elif what == "prune" and number <= last:
            terms.prune(number)
            twin = {at: term for at, term in twin.items() if at >= number} if number >= min(twin) else twin
        first, last = min(twin), max(twin)
        assert terms.start == (first, twin[first])
        assert [terms.at(at) for at in range(max(0, first - 2), last + 1)] == [
            twin.get(at) for at in range(max(0, first - 2), last + 1)
        ]
        assert flat(terms.runs(last), last) == {at: term for at, term in twin.items() if at > first}


def flat(runs: list[tuple[int, int]], last: int) -> dict[int, int]:
    """The term of each sequence that the runs speak of, up to `last`."""
    ends = [first - 1 for first, _ in runs[1:]] + [last]
    return {at: term for (first, term), end in zip(runs, ends, strict=False) for at in range(first, end + 1)}
