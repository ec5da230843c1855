"""The fate of a node's own batches: each rule by itself, then all of them against an unkind cluster.

The cluster of the property is the obvious one: a list of entries of which a prefix is committed, leaders that come and
go, a network that loses, repeats and exchanges forwards. It knows what really happened, and the outbox may never have
told anybody anything else.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaylix_resp.engine.replication import outbox as module
from vaylix_resp.engine.replication.inbox import Inbox, Take
from vaylix_resp.engine.replication.outbox import Outbox, Own, State, Verdict


def box(*batches: str) -> tuple[Outbox, list[Own]]:
    """Batches by name, sealed in this order: "w..." writes, "r..." only reads."""
    outbox = Outbox()
    return outbox, [outbox.add(name, writes=name[0] == "w", size=10, deadline=5.0) for name in batches]


def told(answers: list[tuple[Own, Verdict]]) -> list[str]:
    return [f"{own.batch} {verdict.value}" for own, verdict in answers]


def test_proposals_are_answered_at_their_place() -> None:
    outbox, (w1, w2) = box("w1", "w2")
    assert outbox.next_write(1) is w1
    outbox.proposed(w1, 1, 4)
    outbox.proposed(w2, 1, 6)
    assert outbox.next_write(1) is None
    assert outbox.own_applies(3, 1) == [] and outbox.own_applies(4, 2) == []
    assert told(outbox.own_applies(4, 1)) == ["w1 done"]
    assert told(outbox.own_applies(6, 1)) == ["w2 done"]
    assert len(outbox) == outbox.bytes == 0 and not outbox.crowded


def test_forwards_are_numbered_within_a_term() -> None:
    outbox, (w1, w2, w3) = box("w1", "w2", "w3")
    assert [outbox.forwarded(own, 3) for own in (w1, w2)] == [1, 2]
    assert outbox.marker_applies(2, 1) == []
    assert told(outbox.marker_applies(3, 1)) == ["w1 done"]
    assert outbox.marker_applies(3, 1) == [], "whoever applies it twice applies somebody else's"
    outbox.term_applies(4)
    assert [outbox.forwarded(own, 4) for own in (w2, w3)] == [1, 2]
    assert outbox.unanswered(3) == [] and outbox.unanswered(4) == [(1, w2), (2, w3)]
    assert told(outbox.marker_applies(4, 1)) == ["w2 done"]


def test_what_could_not_be_sent_is_not_in_doubt() -> None:
    outbox, (w1, w2) = box("w1", "w2")
    outbox.forwarded(w1, 3)
    outbox.forwarded(w2, 3)
    outbox.unsent(w2)
    assert outbox.unanswered(3) == [(1, w1)] and outbox.in_flight == 1
    assert outbox.forwarded(w2, 3) == 2, "the number was not used up: the leader would wait for it for ever"
    outbox.unsent(w2)
    assert told([outbox.give_up(), outbox.give_up()]) == ["w1 unknown", "w2 refused"]


def test_a_number_that_is_passed_over_was_refused() -> None:
    outbox, batches = box("w1", "r1", "w2", "r2", "w3")
    for own in batches[::2]:
        outbox.forwarded(own, 3)
    assert told(outbox.marker_applies(3, 2)) == ["w1 refused", "r1 done", "w2 done"]
    assert outbox.unanswered(3) == [(3, batches[4])]


def test_nothing_is_submitted_again_without_proof() -> None:
    outbox, (w1, _) = box("w1", "w2")
    outbox.proposed(w1, 3, 9)
    assert outbox.next_write(4) is None, "w1 may still be in the log; w2 must not overtake it"
    outbox.term_applies(3)
    assert w1.state is State.PROPOSED, "its own term proves nothing"
    outbox.term_applies(4)
    assert w1.state is State.WAITING and outbox.next_write(4) is w1
    assert outbox.own_applies(9, 3) == []


def test_reads_are_answered_at_the_head_when_enough_is_applied() -> None:
    outbox, (r1, w1, r2) = box("r1", "w1", "r2")
    assert outbox.unasked() == [r1, r2] and outbox.unasked() == []
    outbox.confirmed(r2.token, 7)
    assert outbox.reads_due(9) == [], "r1 comes first"
    outbox.confirmed(r1.token, 8)
    assert outbox.reads_due(7) == []
    assert told(outbox.reads_due(8)) == ["r1 done"]
    assert outbox.reads_due(9) == [], "w1 comes first"
    outbox.proposed(w1, 1, 10)
    assert told(outbox.own_applies(10, 1)) == ["w1 done"] and told(outbox.reads_due(10)) == ["r2 done"]


def test_a_write_that_is_applied_confirms_the_reads_before_it() -> None:
    outbox, (r1, w1) = box("r1", "w1")
    outbox.unasked()
    outbox.proposed(w1, 1, 2)
    assert told(outbox.own_applies(2, 1)) == ["r1 done", "w1 done"]
    outbox.confirmed(r1.token, 3)  # the answer comes late, and nobody wants it


def test_questions_that_failed_are_asked_again() -> None:
    outbox, (r1, r2, r3) = box("r1", "r2", "r3")
    outbox.unasked()
    old = r1.token
    outbox.confirmed(r2.token, 4)
    outbox.unconfirmed()
    assert outbox.unasked() == [r1, r3], "what was confirmed stays so"
    outbox.confirmed(old, 1)
    assert outbox.reads_due(9) == [], "the answer to an old question"
    outbox.confirmed(r1.token, 5)
    assert told(outbox.reads_due(5)) == ["r1 done", "r2 done"]


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (State.WAITING, Verdict.REFUSED),
        (State.PROPOSED, Verdict.UNKNOWN),
        (State.FORWARDED, Verdict.UNKNOWN),
        (State.ASKED, Verdict.REFUSED),
        (State.CONFIRMED, Verdict.REFUSED),
    ],
)
def test_the_end_of_patience(state: State, verdict: Verdict) -> None:
    outbox, (own,) = box("r" if state in (State.ASKED, State.CONFIRMED) else "w")
    if state is State.PROPOSED:
        outbox.proposed(own, 1, 1)
    elif state is State.FORWARDED:
        outbox.forwarded(own, 1)
    elif not own.writes:
        outbox.unasked()
        if state is State.CONFIRMED:
            outbox.confirmed(own.token, 8)
    assert own.state is state and own.deadline == 5.0
    assert outbox.expired(4.9) == []
    assert outbox.expired(5.0) == [(own, verdict)]
    assert len(outbox) == outbox.bytes == 0 and not outbox.crowded


def test_what_was_given_up_leaves_its_number() -> None:
    outbox, (w1, w2) = box("w1", "w2")
    outbox.forwarded(w1, 3)
    outbox.forwarded(w2, 3)
    outbox.give_up()
    assert outbox.unanswered(3) == [(1, None), (2, w2)]
    assert outbox.marker_applies(3, 1) == [], "applied like somebody else's"
    assert told(outbox.marker_applies(3, 2)) == ["w2 done"]


def test_patience_ends_in_the_order_of_sealing() -> None:
    outbox = Outbox()
    outbox.add("a", writes=True, size=1, deadline=9.0)
    later = outbox.add("b", writes=True, size=1, deadline=5.0)
    assert later.deadline == 9.0 and outbox.expired(8.0) == []
    assert told(outbox.expired(9.0)) == ["a refused", "b refused"]


def test_the_window() -> None:
    outbox = Outbox()
    for count in range(module.WINDOW_BATCHES):
        own = outbox.add(count, writes=True, size=1, deadline=5.0)
        assert outbox.crowded and outbox.next_write(1) is own
        outbox.proposed(own, 1, count + 1)
    assert outbox.crowded
    waiting = outbox.add("more", writes=True, size=1, deadline=5.0)
    assert outbox.next_write(1) is None, "the window is full"
    outbox.own_applies(1, 1)
    assert outbox.next_write(1) is waiting
    large = Outbox()
    large.proposed(large.add("a", writes=True, size=module.WINDOW_BYTES, deadline=5.0), 1, 1)
    assert large.crowded and not large.overfull
    large.add("b", writes=False, size=module.HELD_BYTES_MAX, deadline=5.0)
    assert large.overfull


class World:
    """A cluster as far as one node's batches meet it. `log` holds (term, name or None), name of our batch."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.outbox, self.inbox = Outbox(), Inbox()
        self.log: list[tuple[int, str | None, int]] = []  # term, batch, its number (0: proposed)
        self.committed = self.applied = 0
        self.term, self.leading = 1, False
        self.network: list[tuple[int, int, str | None]] = []
        self.taken: list[tuple[str | None, int]] = []  # in the leader's open batch
        self.names = 0
        self.seen: dict[str, int] = {}  # of reads: what was committed when they were asked for
        self.questions: list[tuple[int, int, int]] = []  # token, index, term
        self.verdicts: dict[str, Verdict] = {}
        self.order: list[str] = []
        self.new_term()

    def step(self) -> None:
        steps = (
            self.seal, self.seal, self.submit, self.submit, self.deliver, self.deliver, self.deliver, self.propose,
            self.propose, self.commit, self.commit, self.apply, self.apply, self.apply, self.ask, self.confirm,
            self.resend, self.resend, self.rarely,
        )  # fmt: skip
        self.random.choice(steps)()

    def rarely(self) -> None:
        self.random.choice((self.new_term, self.new_term, self.give_up))()

    def new_term(self) -> None:
        keep = self.random.randint(self.committed, len(self.log))
        del self.log[keep:]
        self.term += 1
        self.leading = self.random.random() < 0.5
        self.inbox.lead(0 if self.leading else self.term)
        self.taken.clear()
        self.log.append((self.term, None, 0))
        if self.random.random() < 0.5:
            self.outbox.unconfirmed()

    def seal(self) -> None:
        self.names += 1
        writes = self.random.random() < 0.7
        name = f"{'w' if writes else 'r'}{self.names}"
        self.outbox.add(name, writes=writes, size=1, deadline=float(self.names))
        self.order.append(name)
        if not writes:
            self.seen[name] = self.committed

    def submit(self) -> None:
        own = self.outbox.next_write(self.term)
        if own is None:
            return
        if self.leading:
            self.log.append((self.term, own.batch, 0))
            self.outbox.proposed(own, self.term, len(self.log))
        else:
            number = self.outbox.forwarded(own, self.term)
            if self.random.random() < 0.2:  # there is no connection to the leader
                self.outbox.unsent(own)
            else:
                self.network.append((self.term, number, own.batch))

    def deliver(self) -> None:
        if self.network:
            at = self.random.randrange(len(self.network))
            term, number, name = self.network[at]
            if self.random.random() < 0.6:
                del self.network[at]
            lost = self.random.random() < 0.1
            if not lost and self.inbox.take(term, 1, 1, number) is Take.TAKE and name is not None:
                self.taken.append((name, number))

    def propose(self) -> None:
        for name, number in self.taken:
            if self.random.random() < 0.9:  # else the leader cannot take it into its log
                self.log.append((self.term, name, number))
        self.taken.clear()

    def commit(self) -> None:
        if self.log[-1][0] == self.term:
            own_terms = [at + 1 for at, entry in enumerate(self.log) if entry[0] == self.term and at >= self.committed]
            if own_terms:
                self.committed = self.random.choice(own_terms)

    def apply(self) -> None:
        if self.applied == self.committed:
            return
        term, name, number = self.log[self.applied]
        self.outbox.term_applies(term)
        if number:
            answers = self.outbox.marker_applies(term, number)
        else:
            answers = self.outbox.own_applies(self.applied + 1, term)
        if answers:
            assert answers[-1][0].batch == name
        self.answer(answers, before=True)
        self.applied += 1
        self.answer(self.outbox.reads_due(self.applied))

    def ask(self) -> None:
        for own in self.outbox.unasked():
            index = max(self.committed, 1 + next(at for at, entry in enumerate(self.log) if entry[0] == self.term))
            self.questions.append((own.token, index, self.term))

    def confirm(self) -> None:
        if self.questions:
            token, index, term = self.questions.pop(self.random.randrange(len(self.questions)))
            if term == self.term:
                self.outbox.confirmed(token, index)
            self.answer(self.outbox.reads_due(self.applied))

    def resend(self) -> None:
        for number, own in self.outbox.unanswered(self.term):
            self.network.append((self.term, number, own.batch if own else None))

    def give_up(self) -> None:
        if len(self.outbox):
            self.answer([self.outbox.give_up()])

    def answer(self, answers: list[tuple[Own, Verdict]], *, before: bool = False) -> None:
        for own, verdict in answers:
            assert own.batch == self.order[len(self.verdicts)], "strictly in the order of sealing"
            self.verdicts[own.batch] = verdict
            if not own.writes and verdict is Verdict.DONE:
                assert self.applied >= self.seen[own.batch], "a read misses what was committed before it"

    def check(self) -> None:
        for _ in range(20):  # let what is under way go on
            self.propose()
            self.deliver()
            self.commit()
        while self.applied < self.committed:
            self.apply()
        logged = [name for _, name, _ in self.log[: self.committed] if name is not None]
        assert len(logged) == len(set(logged)), "twice"
        done = [name for name, verdict in self.verdicts.items() if verdict is Verdict.DONE and name[0] == "w"]
        assert [name for name in logged if name in set(done)] == done, "exchanged, or lost"
        assert not {n for n, verdict in self.verdicts.items() if verdict is Verdict.REFUSED} & {
            name for _, name, _ in self.log
        }
        assert sum(own.size for own in self.outbox) == self.outbox.bytes


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 400))
def test_what_it_says_is_what_happened(seed: int, steps: int) -> None:
    world = World(Random(seed))
    for _ in range(steps):
        world.step()
    world.check()


def test_the_unkind_cluster_shows_everything() -> None:
    """Or the property would say little."""
    verdicts: set[tuple[str, Verdict]] = set()
    for seed in range(60):
        world = World(Random(seed))
        for _ in range(300):
            world.step()
        world.check()
        verdicts |= {(name[0], verdict) for name, verdict in world.verdicts.items()}
    assert verdicts == {
        ("w", Verdict.DONE), ("w", Verdict.REFUSED), ("w", Verdict.UNKNOWN), ("r", Verdict.DONE), ("r", Verdict.REFUSED),
    }  # fmt: skip
