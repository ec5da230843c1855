"""The core as its driver meets it: what is refused, what ends the process, what is ignored."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tests.unit.raft.lab import View, batch
from vaylix_resp.raft import messages as msg
from vaylix_resp.raft.chain import link
from vaylix_resp.raft.core import RaftCore
from vaylix_resp.raft.ready import Config, Fetch, Ready
from vaylix_resp.raft.types import (
    NOTHING,
    Change,
    ChangeKind,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    InvariantBroken,
    Membership,
    Refusal,
    Refused,
    Role,
    SnapshotMeta,
)

THREE = Membership(frozenset({1, 2, 3}))
NOOP = batch(1, 1, kind=EntryKind.NOOP, body=b"noop")


def a_core(*batches: Entry, membership: Membership = THREE, applied: int = 0, **bounds: object) -> RaftCore:
    config = Config(1, **({"election_ticks": 10} | bounds))  # type: ignore[arg-type]
    tail = [entry for entry in batches if entry.last > applied]
    return RaftCore(config, HardState(1), membership, View(batches), Random(1), applied, tail)


def pump(core: RaftCore, apply: bool = True) -> list[Ready]:
    """A driver whose disk is quick and whose machine does nothing; what it was asked to do."""
    done = []
    while (work := core.ready()) is not None:
        done.append(work)
        if work.noop:
            core.propose(EntryKind.NOOP, 1, 0, 0, b"noop")
        if work.persist is not None:
            core.persisted(work.persist.number)
        for entry in work.apply if apply else ():
            core.applied(entry.last)
    return done


def sent(done: list[Ready]) -> list[msg.Message]:
    return [message for work in done for message in work.send]


def a_leader(membership: Membership = THREE, **bounds: object) -> RaftCore:
    """Of term 2, with its no-op committed by 2."""
    core = a_core(membership=membership, **bounds)
    while core.role is Role.FOLLOWER:
        core.tick()
    pump(core)
    core.step(msg.PreVoteReply(2, 1, 2, True))
    pump(core)
    core.step(msg.VoteReply(2, 1, 2, True))
    pump(core)
    core.step(msg.AppendReply(2, 1, 2, 1, 1))
    pump(core)
    assert (core.role, core.term, core.log.applied) == (Role.LEADER, 2, 1)
    return core


def an_append(*entries: Entry, frm: int = 2, term: int = 1, prev: EntryId = NOTHING, **more: object) -> msg.Append:
    fields = {"number": 1, "prev_chain": b"", "commit": 0} | more
    return msg.Append(frm, 1, term, prev=prev, entries=entries, **fields)  # type: ignore[arg-type]


BROKEN: list[tuple[str, Callable[[], object]]] = [
    ("two leaders in a term", lambda: (core := a_core(), core.step(an_append()), core.step(an_append(frm=3)))),
    ("a leader beside a leader", lambda: a_leader().step(an_append(term=2))),
    ("a second no-op", lambda: a_leader().propose(EntryKind.NOOP, 1, 0, 0, b"noop")),
    ("an acknowledgement of what is not there", lambda: a_leader().step(msg.AppendReply(2, 1, 2, 1, 99))),
    ("a gap in an append", lambda: a_core().step(an_append(batch(2, 1)))),
    ("a batch of a later term than its leader", lambda: a_core().step(an_append(batch(1, 2)))),
    ("terms that fall in an append", lambda: a_core(batch(1, 1), batch(2, 2)).step(
        an_append(batch(3, 1), term=3, prev=EntryId(2, 2)))),
    ("a commit of what is not here", lambda: a_core().step(msg.Heartbeat(2, 1, 1, 1, 1))),
    ("other bytes in the same batch", lambda: (core := a_core(), core.step(an_append(NOOP)), pump(core), core.step(
        an_append(prev=EntryId(1, 1), prev_chain=link(b"", batch(1, 1, kind=EntryKind.NOOP, body=b"other")))))),
    ("a leader without what is committed", lambda: (core := a_core(NOOP), core.step(msg.Heartbeat(2, 1, 1, 1, 1)),
        core.step(an_append(batch(1, 2, kind=EntryKind.NOOP), term=2)))),
    ("a membership that is not due", lambda: a_leader().apply_members(1, THREE)),
    ("an install that nobody began", lambda: a_core().install_failed()),
    ("a snapshot ahead of the state", lambda: (core := a_leader(), core.compacted(1), core.step(
        msg.AppendReply(3, 1, 2, 2, 0, rejected=True)), pump(core), core.snapshot_sent(3, SnapshotMeta("s", EntryId(9, 2), THREE)))),
]  # fmt: skip


@pytest.mark.parametrize("what", [what for _, what in BROKEN], ids=[name for name, _ in BROKEN])
def test_what_raft_rules_out_ends_the_process(what: Callable[[], object]) -> None:
    with pytest.raises(InvariantBroken):
        what()


def test_more_than_one_server_at_a_time_ends_the_process() -> None:
    core = a_leader()
    assert isinstance(core.propose_members(Change(ChangeKind.REMOVE, 3), 0, 0, b"", force=True), EntryId)
    pump(core, apply=False)
    core.step(msg.AppendReply(2, 1, 2, 9, 2))
    pump(core, apply=False)
    with pytest.raises(InvariantBroken):
        core.applied(2)
    with pytest.raises(InvariantBroken):
        core.apply_members(2, Membership(frozenset({1, 4})))
    core.apply_members(2, Membership(frozenset({1, 2}), frozenset(), frozenset({3})))
    core.applied(2)


def propose(core: RaftCore, size: int = 1) -> Refusal | None:
    made = core.propose(EntryKind.NORMAL, 1, 0, 0, b"." * size)
    return made.reason if isinstance(made, Refused) else None


def test_refusals_are_definite_and_name_the_leader() -> None:
    core = a_core()
    assert core.propose(EntryKind.NORMAL, 1, 0, 0, b"x") == Refused(Refusal.NO_LEADER)
    assert core.propose_members(Change(ChangeKind.ADD_LEARNER, 9), 0, 0, b"") == Refused(Refusal.NO_LEADER)
    assert core.transfer(2) == Refused(Refusal.NO_LEADER) == core.read_index("r")
    core.step(msg.Heartbeat(2, 1, 1, 0, 1))
    assert core.propose(EntryKind.NORMAL, 1, 0, 0, b"x") == Refused(Refusal.NOT_LEADER, 2)
    assert core.log.last == 0
    with pytest.raises(ValueError, match="propose_members"):
        a_leader().propose(EntryKind.MEMBERS, 1, 0, 0, b"")


def test_what_waits_is_bounded_and_one_batch_always_fits() -> None:
    core = a_leader(uncommitted_bytes=1000)
    assert propose(core, 5000) is None
    assert propose(core) is Refusal.BUSY
    pump(core)
    core.step(msg.AppendReply(2, 1, 2, 9, 2))
    pump(core)
    assert propose(core, 700) is None
    assert propose(core, 200) is Refusal.BUSY


def test_nothing_is_sent_while_the_term_is_not_durable() -> None:
    core = a_core()
    core.step(msg.Vote(2, 1, 7, NOTHING))
    work = core.ready(writable=False)
    assert work is not None and work.persist is None and not work.send
    work = core.ready()
    assert work is not None and work.persist is not None and not work.send
    assert (work.persist.hard_state.term, work.persist.hard_state.vote) == (7, 2)
    assert core.ready() is None
    core.persisted(work.persist.number)
    (work,) = pump(core)
    assert work.send == [msg.VoteReply(1, 2, 7, True)]


def test_a_leader_sends_before_its_own_fsync_and_a_follower_answers_after_it() -> None:
    core = a_leader()
    propose(core)
    work = core.ready(writable=False)
    assert work is not None and [type(message) for message in work.send] == [msg.Append]
    follower = a_core()
    follower.step(an_append(NOOP))
    work = follower.ready()
    assert work is not None and work.persist is not None and work.persist.entries == [NOOP] and not work.send
    follower.persisted(work.persist.number)
    assert sent(pump(follower)) == [msg.AppendReply(1, 2, 1, 1, 1)]


@pytest.mark.parametrize(
    "message",
    [
        msg.Append(9, 1, 9, 1, NOTHING, b"", (), 0),
        msg.Vote(9, 1, 9, EntryId(9, 9), True),
        msg.HeartbeatReply(9, 1, 9, 1),
        msg.AppendReply(4, 1, 9, 1, 1),  # a stranger's answer
        msg.VoteReply(4, 1, 9, False),
        msg.Heartbeat(2, 3, 9, 0, 1),  # for somebody else
        msg.Heartbeat(1, 1, 9, 0, 1),  # from itself
    ],
)
def test_who_has_left_or_was_not_asked_moves_no_term(message: msg.Message) -> None:
    core = a_leader(Membership(frozenset({1, 2, 3}), frozenset(), frozenset({9})))
    core.step(message)
    assert (core.role, core.term) == (Role.LEADER, 2)


def test_a_stranger_that_leads_is_followed() -> None:
    core = a_core()
    core.step(an_append(NOOP, frm=4, term=3))
    assert core.status.leader == 4 and core.term == 3


@pytest.mark.parametrize(
    "message, answer",
    [
        (msg.PreVote(3, 1, 1, NOTHING), msg.PreVoteReply(1, 3, 2, False)),
        (msg.Vote(3, 1, 1, NOTHING), msg.VoteReply(1, 3, 2, False)),
        (msg.Heartbeat(3, 1, 1, 0, 1), msg.HeartbeatReply(1, 3, 2, 0)),
        (an_append(frm=3), msg.HeartbeatReply(1, 3, 2, 0)),
        (msg.InstallSnapshot(3, 1, 1, SnapshotMeta("s", EntryId(9, 1), THREE)), msg.HeartbeatReply(1, 3, 2, 0)),
        (msg.ReadIndex(3, 1, 1, 5), msg.ReadIndexReply(1, 3, 2, 5, 0, False)),
        (msg.VoteReply(3, 1, 1, True), None),
        (msg.AppendReply(3, 1, 1, 1, 1), None),
        (msg.TimeoutNow(3, 1, 1), None),
        (msg.Vote(3, 1, 9, EntryId(9, 9)), None),  # a leader is heard: not even the term
        (msg.PreVote(3, 1, 9, EntryId(9, 9)), msg.PreVoteReply(1, 3, 2, False)),
    ],
)
def test_a_leader_is_not_moved_by(message: msg.Message, answer: msg.Message | None) -> None:
    core = a_leader()
    core.step(message)
    assert [one for one in sent(pump(core)) if not isinstance(one, msg.Append)] == ([answer] if answer else [])
    assert (core.role, core.term) == (Role.LEADER, 2)


def test_a_question_for_the_leader_is_refused_by_who_is_none() -> None:
    core = a_core()
    core.step(msg.ReadIndex(3, 1, 1, 5))
    assert sent(pump(core)) == [msg.ReadIndexReply(1, 3, 1, 5, 0, False)]


def test_the_driver_may_do_too_much() -> None:
    """Reports to a core that leads no more, or has learnt better, are ignored."""
    core = a_core()
    core.unreachable(2)
    core.snapshot_sent(2, None)
    core.fetched(Fetch(2, 1, 0, 1), None)
    core.lapse()
    core.resign()
    core.cancel_transfer()
    assert not core.promotable(2)
    leader = a_leader()
    leader.unreachable(9)
    leader.snapshot_sent(2, None)
    leader.fetched(Fetch(2, 1, 0, 1), [])
    leader.resign()
    assert leader.role is Role.FOLLOWER and leader.term == 2


def test_a_leader_that_stood_still_names_nobody_until_a_quorum_answers() -> None:
    """It was stopped for longer than an election takes; on waking it may be one of two, and its own ticks say nothing."""
    core = a_leader()
    core.tick()
    core.tick()
    beats = [message.round for message in sent(pump(core)) if isinstance(message, msg.Heartbeat)]
    core.lapse(9)
    assert core.status.quorum_fresh, "shorter than an election timeout"
    core.lapse(10)
    (work,) = pump(core)
    assert work.status == core.status and not core.status.quorum_fresh and core.role is Role.LEADER
    core.step(msg.HeartbeatReply(2, 1, 2, max(beats)))
    assert not core.status.quorum_fresh, "an answer to what was asked before"
    core.tick()
    core.tick()
    later = [message.round for message in sent(pump(core)) if isinstance(message, msg.Heartbeat)]
    core.step(msg.HeartbeatReply(2, 1, 2, max(later)))
    assert core.status.quorum_fresh and pump(core)[-1].status == core.status


def test_a_follower_that_stood_still_names_nobody_until_it_hears_the_leader() -> None:
    core = a_core()
    core.step(an_append())
    pump(core)
    assert core.status.quorum_fresh
    core.lapse(10)
    assert pump(core)[-1].status == core.status
    assert (core.status.leader, core.status.quorum_fresh) == (2, False)
    core.step(msg.Heartbeat(2, 1, 1, 0, 1))
    assert core.status.quorum_fresh and pump(core)[-1].status == core.status


def test_who_is_alone_has_nobody_to_doubt() -> None:
    core = a_core(membership=Membership(frozenset({1})))
    pump(core)
    core.lapse(100)
    assert core.role is Role.LEADER and core.status.quorum_fresh


def test_what_a_fetch_did_not_find_is_streamed() -> None:
    core = a_leader(cache_bytes=0)
    core.log.view.entries = lambda after, max_bytes: None  # type: ignore[method-assign]
    core.step(msg.AppendReply(3, 1, 2, 2, 0, rejected=True))
    (work,) = pump(core)
    (fetch,) = work.fetch
    assert (fetch.to, fetch.after) == (3, 0)
    core.fetched(fetch, None)
    (work,) = pump(core)
    assert work.stream == [3]
    core.fetched(fetch, [NOOP])
    assert pump(core) == []


def test_a_disk_that_reads_back_something_else_ends_the_process() -> None:
    core = a_leader(cache_bytes=0)
    core.log.view.entries = lambda after, max_bytes: [batch(1, 1)]  # type: ignore[method-assign]
    core.step(msg.AppendReply(3, 1, 2, 2, 0, rejected=True))
    with pytest.raises(InvariantBroken):
        pump(core)


def test_a_probe_does_not_carry_much() -> None:
    core = a_leader(probe_bytes=1000)
    propose(core, 2000)
    core.unreachable(2)
    pump(core)
    core.step(msg.HeartbeatReply(2, 1, 2, 0))
    (append,) = [one for one in sent(pump(core)) if isinstance(one, msg.Append) and one.to == 2]
    assert append.prev == EntryId(1, 2) and append.entries == ()


def test_a_snapshot_fills_the_place_of_a_proposal_whose_fate_nobody_knows() -> None:
    core = a_leader()
    propose(core)
    pump(core)
    core.step(msg.InstallSnapshot(2, 1, 3, SnapshotMeta("s", EntryId(5, 3), THREE)))
    fates = [fate for work in pump(core) for fate in work.fates]
    assert [(entry, fate.name) for entry, fate in fates] == [(EntryId(2, 2), "UNKNOWN")]
    assert core.log.applied == 5


def test_a_snapshot_of_what_is_here_already_commits_it() -> None:
    core = a_core(batch(1, 1), batch(2, 1))
    core.step(msg.InstallSnapshot(2, 1, 1, SnapshotMeta("s", EntryId(2, 1), THREE)))
    done = pump(core)
    assert sent(done) == [msg.SnapshotReply(1, 2, 1, 2, True)] and core.log.applied == 2
    assert not [work for work in done if work.persist is not None]
