"""What a leader takes in, message by message."""

from __future__ import annotations

import pytest

from vaylix_resp.engine.replication.inbox import Inbox, Take

A, B = (10, 1), (20, 1)  # nodes and their lives


@pytest.mark.parametrize(
    ("arrivals", "takes"),
    [
        ([(3, *A, 1), (3, *A, 2), (3, *A, 3)], "take take take"),
        ([(3, *A, 1), (3, *A, 1), (3, *A, 2), (3, *A, 1)], "take duplicate take duplicate"),
        ([(3, *A, 2), (3, *A, 1), (3, *A, 2)], "gap take take"),
        ([(3, *A, 1), (3, *B, 1), (3, 10, 2, 1), (3, *A, 2)], "take take take take"),  # each life counts for itself
        ([(2, *A, 1), (4, *A, 1), (3, *A, 1)], "wrong term,wrong term,take"),
    ],
)
def test_arrivals(arrivals: list[tuple[int, int, int, int]], takes: str) -> None:
    inbox = Inbox()
    inbox.lead(3)
    expected = takes.split(",") if "," in takes else takes.split()
    assert [inbox.take(*arrival).value for arrival in arrivals] == expected


def test_a_node_that_does_not_lead_takes_nothing() -> None:
    inbox = Inbox()
    assert inbox.take(0, *A, 1) is Take.WRONG_TERM
    inbox.lead(3)
    inbox.lead(0)
    assert inbox.take(3, *A, 1) is Take.WRONG_TERM and inbox.take(0, *A, 1) is Take.WRONG_TERM


def test_each_term_counts_from_one() -> None:
    inbox = Inbox()
    inbox.lead(3)
    assert inbox.take(3, *A, 1) is Take.TAKE
    inbox.lead(3)
    assert inbox.take(3, *A, 1) is Take.DUPLICATE, "nothing is forgotten within a term"
    inbox.lead(5)
    assert inbox.take(5, *A, 1) is Take.TAKE
