"""The cursors of a log: what moves them, what does not, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.raft.lab import View, a_log, batch
from vaylix_resp.raft.log import RaftLog
from vaylix_resp.raft.types import Entry, EntryId, EntryKind, InvariantBroken, Membership, SnapshotMeta


def cursors(log: RaftLog) -> tuple[int, int, int, int]:
    return log.last, log.persisted, log.committed, log.applied


def test_a_batch_goes_its_way() -> None:
    log = a_log()
    log.append(batch(1, 1, 3))
    assert cursors(log) == (3, 0, 0, 0)
    persist = log.hand_out(1, 7, True)
    assert persist is not None and persist.number == 1 and persist.truncate_after is None
    assert (persist.hard_state.term, persist.hard_state.vote, persist.hard_state_changed) == (1, 7, True)
    assert log.hand_out(1, 7, False) is None, "nothing is handed out twice"
    log.commit(3)
    assert log.give() == (), "committed, but not durable here"
    log.done(1)
    assert log.give() == [batch(1, 1, 3)]
    assert log.give() == (), "nothing is given out twice"
    log.apply(3)
    assert cursors(log) == (3, 3, 3, 3)


def test_a_start_knows_what_the_disk_says() -> None:
    log = a_log(batch(1, 1), batch(2, 1, 2), batch(4, 2), committed=9, applied=1)
    assert cursors(log) == (4, 4, 4, 1), "the commit index does not pass the end"
    assert log.give() == [batch(2, 1, 2), batch(4, 2)]
    assert log.waiting_bytes == 0


def test_a_report_about_what_was_cut_meanwhile_moves_nothing() -> None:
    """ABA: 2 is written, cut, and written again before the first write returns."""
    log = a_log(batch(1, 1))
    log.append(batch(2, 1))
    first = log.hand_out(1, 0, False)
    log.cut(EntryId(1, 1))
    log.append(batch(2, 2))
    log.cut(EntryId(1, 1))
    log.append(batch(2, 1))
    second = log.hand_out(1, 0, False)
    assert first is not None and second is not None and second.truncate_after == 1
    log.done(first.number)
    assert log.persisted == 1
    log.done(second.number)
    assert log.persisted == 2


@pytest.mark.parametrize(
    "handed, cut, expected",
    [
        (0, 1, None),  # the driver has heard of nothing behind 1
        (2, 1, 1),
        (2, 2, None),
        (3, 2, 2),
    ],
)
def test_the_driver_cuts_only_what_it_has(handed: int, cut: int, expected: int | None) -> None:
    log = a_log(batch(1, 1))
    for index in (2, 3):
        log.append(batch(index, 1))
        if index <= handed:
            log.hand_out(1, 0, False)
    log.cut(EntryId(cut, 1))
    log.append(batch(cut + 1, 2))
    persist = log.hand_out(2, 0, True)
    assert persist is not None and persist.truncate_after == expected
    assert [entry.first for entry in persist.entries] == [index for index in (2,) if handed < index <= cut] + [cut + 1]


def test_a_snapshot_takes_the_place_of_everything() -> None:
    log = a_log(batch(1, 1), batch(2, 1), committed=1)
    meta = SnapshotMeta("s", EntryId(9, 3), Membership(frozenset({1})))
    persist = log.hand_out_snapshot(3, 0, meta)
    later = log.hand_out(4, 0, True)
    assert persist.snapshot == meta and later is not None
    (handed,) = log.done(persist.number)
    assert handed.snapshot == meta
    assert log.restart_behind(meta) == [batch(1, 1), batch(2, 1)]
    assert cursors(log) == (9, 9, 9, 9) and log.terms.start == EntryId(9, 3)
    log.done(later.number)
    assert log.persisted == 9
    log.apply(1)  # a late word of the old state
    log.append(batch(10, 4))
    assert log.slice(9, 100, 10) == [batch(10, 4)]


def test_a_snapshot_that_fails_leaves_everything() -> None:
    log = a_log(batch(1, 1))
    persist = log.hand_out_snapshot(3, 0, SnapshotMeta("s", EntryId(9, 3), Membership(frozenset({1}))))
    log.snapshot_failed()
    (handed,) = log.done(persist.number)
    assert handed.snapshot is None and cursors(log) == (1, 1, 0, 0)


def test_applied_batches_stay_in_memory_within_a_bound() -> None:
    log = a_log(*(batch(index, 1, body=b"." * 72) for index in range(1, 11)), committed=10)  # 200 bytes each
    log.give()
    log.keep_bytes = 500
    log.apply(4)
    assert log.base == 4, "what is not applied does not go, but all that is, for it is over the bound"
    log.apply(10)
    assert log.base == 8 and log.cached_bytes == 400
    assert [entry.first for entry in log.slice(8, 10**6, 100) or ()] == [9, 10]


@pytest.mark.parametrize(
    "after, max_bytes, max_entries, firsts",
    [
        (0, 10**6, 10, [1, 2, 5]),
        (1, 10**6, 10, [2, 5]),
        (3, 10**6, 10, [2, 5]),  # within a batch: that one is the first
        (4, 10**6, 10, [5]),
        (5, 10**6, 10, []),
        (0, 10**6, 2, [1, 2]),
        (0, 1, 10, [1]),  # at least one
        (0, 2 * 129, 10, [1, 2]),
    ],
)
def test_a_slice_begins_with_the_batch_that_holds_the_next_index(
    after: int, max_bytes: int, max_entries: int, firsts: list[int]
) -> None:
    log = a_log()
    for entry in (batch(1, 1), batch(2, 1, 3), batch(5, 2)):
        log.append(entry)
    assert [entry.first for entry in log.slice(after, max_bytes, max_entries) or ()] == firsts


def test_older_batches_come_from_the_disk() -> None:
    view = View([batch(1, 1), batch(2, 1)])
    log = RaftLog(view, 2, 2, [])
    assert log.slice(0, 100, 10) == view.batches
    log.forget(1)
    assert log.terms.start == EntryId(1, 1)
    log.forget(1)


def members_log() -> RaftLog:
    return a_log(batch(1, 1), batch(2, 1, kind=EntryKind.MEMBERS), committed=2)


def commit(log: RaftLog, index: int) -> RaftLog:
    log.commit(index)
    return log


BROKEN: list[tuple[str, Callable[[], object]]] = [
    ("a gap", lambda: a_log().append(batch(2, 1))),
    ("an empty batch", lambda: a_log().append(batch(1, 1, 0))),
    ("a term that falls", lambda: a_log(batch(1, 2)).append(batch(2, 1))),
    ("a cut of what is committed", lambda: a_log(batch(1, 1), batch(2, 1), committed=2).cut(EntryId(1, 1))),
    ("a cut behind what is not there", lambda: a_log(batch(1, 1)).cut(EntryId(1, 2))),
    ("commit falls", lambda: a_log(batch(1, 1), committed=1).commit(0)),
    ("commit passes the end", lambda: a_log(batch(1, 1)).commit(2)),
    ("applied passes what was given out", lambda: a_log(batch(1, 1), committed=1).apply(1)),
    ("applied falls", lambda: a_log(batch(1, 1), batch(2, 1), committed=2, applied=2).apply(1)),
    ("a change goes by without the membership", lambda: (log := members_log(), log.give(), log.apply(2))),
    ("pruned before it is applied", lambda: a_log(batch(1, 1), committed=1).forget(1)),
    ("a persist that was not asked for", lambda: a_log().done(1)),
    ("a snapshot of the past", lambda: a_log(batch(1, 1), committed=1).restart_behind(
        SnapshotMeta("s", EntryId(1, 1), Membership()))),
    ("an index that it does not know", lambda: a_log(batch(1, 1)).id_at(2)),
    ("a state outside of the log", lambda: RaftLog(View([batch(1, 1)]), 0, 5, [])),
    ("a tail with a hole", lambda: RaftLog(View([batch(1, 1), batch(2, 1)]), 0, 0, [batch(2, 1)])),
    ("a tail that is too short", lambda: RaftLog(View([batch(1, 1), batch(2, 1)]), 0, 0, [batch(1, 1)])),
]  # fmt: skip


@pytest.mark.parametrize("what", [what for _, what in BROKEN], ids=[name for name, _ in BROKEN])
def test_what_raft_rules_out_ends_the_process(what: Callable[[], object]) -> None:
    with pytest.raises(InvariantBroken) as broken:
        what()
    assert broken.value.exit_code == 70


class LogTwin(RuleBasedStateMachine):
    """A log beside a list of batches and a disk that does what it is told, one persist at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.log = a_log()
        self.model: list[Entry] = []
        self.disk: list[Entry] = []
        self.asked: list[tuple[int, int | None, list[Entry]]] = []
        self.term = 1
        self.applied = 0
        self.log.keep_bytes = 150

    @rule(count=st.integers(1, 3), rise=st.integers(0, 1))
    def append(self, count: int, rise: int) -> None:
        self.term += rise
        entry = batch(self.log.last + 1, self.term, count)
        self.log.append(entry)
        self.model.append(entry)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        ends = [EntryId(0, 0)] + [entry.id for entry in self.model]
        after = data.draw(st.sampled_from([end for end in ends if end.index >= self.log.committed]))
        dropped = self.log.cut(after)
        assert list(dropped) == [entry for entry in self.model if entry.last > after.index]
        self.model = [entry for entry in self.model if entry.last <= after.index]
        self.term += 1

    @rule()
    def hand_out(self) -> None:
        persist = self.log.hand_out(self.term, 0, False)
        if persist is not None:
            self.asked.append((persist.number, persist.truncate_after, list(persist.entries)))

    @precondition(lambda self: self.asked)
    @rule()
    def finish(self) -> None:
        number, after, entries = self.asked.pop(0)
        if after is not None:
            self.disk = [entry for entry in self.disk if entry.last <= after]
        for entry in entries:
            assert entry.first == (self.disk[-1].last if self.disk else 0) + 1
            self.disk.append(entry)
        self.log.done(number)

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        ends = [entry.last for entry in self.model if entry.last >= self.log.committed]
        if ends:
            self.log.commit(data.draw(st.sampled_from(ends)))

    @rule()
    def apply(self) -> None:
        for entry in self.log.give():
            assert entry.first == self.applied + 1 and entry in self.disk
            self.applied = entry.last
            self.log.apply(entry.last)

    @invariant()
    def the_same(self) -> None:
        log = self.log
        assert log.last == (self.model[-1].last if self.model else 0)
        assert list(log.slice(log.base, 10**9, 10**9) or ()) == [e for e in self.model if e.last > log.base]
        common = [mine for mine, other in zip(self.model, self.disk, strict=False) if mine == other]
        agreed = common[-1].last if common and common == self.model[: len(common)] else 0
        assert log.persisted <= agreed, "what counts as durable is on the disk, as it is in the log"
        assert log.applied <= log.given <= min(log.committed, log.persisted)
        assert log.waiting_bytes == sum(129 for entry in self.model if entry.last > log.given)


LogTwin.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestLogTwin = LogTwin.TestCase
