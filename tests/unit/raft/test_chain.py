"""The hash over the batches: the same for the same log, another for any other, and unknown where it must be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.raft.lab import a_log, batch
from vaylix_resp.raft.chain import CHAIN_BYTES, UNKNOWN, link
from vaylix_resp.raft.types import EntryKind

NOOP = batch(1, 1, kind=EntryKind.NOOP)
NEXT = batch(2, 1, 3, body=b"SET a 1")
BEFORE = link(UNKNOWN, NOOP)


def test_it_begins_with_a_no_op_or_a_change_of_members() -> None:
    assert len(BEFORE) == CHAIN_BYTES
    assert link(UNKNOWN, NOOP) == link(b"?" * 16, NOOP)
    members = replace(NOOP, kind=EntryKind.MEMBERS)
    assert link(UNKNOWN, members) == link(BEFORE, members) != BEFORE
    assert link(UNKNOWN, NEXT) == UNKNOWN, "from the middle of a log nothing is known"


@pytest.mark.parametrize(
    "changes", [{"first": 3}, {"count": 2}, {"term": 2}, {"timestamp_ms": 1}, {"seed": 1}, {"body": b"SET a 2"}, {}]
)
def test_every_field_counts(changes: dict[str, object]) -> None:
    other = replace(NEXT, **changes)  # type: ignore[arg-type]
    assert (link(BEFORE, other) == link(BEFORE, NEXT)) == (not changes)
    assert link(link(BEFORE, NEXT), NEXT) != link(BEFORE, NEXT)


def test_a_time_before_1970_is_a_time() -> None:
    assert len(link(BEFORE, replace(NEXT, timestamp_ms=-5))) == CHAIN_BYTES


def test_a_node_alone_does_not_compute_it() -> None:
    log = a_log()
    log.append(NOOP)
    assert log.chain_at(1) == BEFORE
    log.append(NEXT)
    assert log.chain_at(4) == UNKNOWN
    log.chaining = True
    log.append(batch(5, 2, kind=EntryKind.MEMBERS))
    log.append(batch(6, 2))
    assert log.chain_at(6) == link(log.chain_at(5), batch(6, 2)) != UNKNOWN
    assert log.chain_at(3) == UNKNOWN, "within a batch"


def test_it_is_taken_over_from_the_leader_at_the_end_of_the_log() -> None:
    log = a_log(NOOP, NEXT, committed=4, applied=4)
    log.chaining = True
    log.adopt_chain(BEFORE)
    log.append(batch(5, 1))
    assert log.chain_at(5) == link(BEFORE, batch(5, 1))
    log.adopt_chain(b"!" * 16)
    assert log.chain_at(5) == b"!" * 16
