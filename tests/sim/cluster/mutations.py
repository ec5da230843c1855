"""Deliberate mistakes of driver, core, log and storage, each of which the simulated cluster has to find.

Those of the core that `tests.sim.raft.mutations` has are taken from there: here they have to show with the driver and the
log around them. Each comes with the faults without which it cannot show; the rest is drawn from the seed.
Not here: mistakes that only cost time or room; those of the core that take a coincidence, which the pure core's world
has often and this one seldom (`python -m tests.sim.raft --mutations`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any

from tests.sim.cluster.checks import Checks
from tests.sim.cluster.clients import History, SimClient
from tests.sim.cluster.linear import Call
from tests.sim.cluster.play import limits_of, settle
from tests.sim.cluster.world import Faults, World
from tests.sim.raft.mistakes import replaced
from tests.sim.raft.mutations import MUTATIONS as CORE
from vaylix_resp.engine.replication import submission
from vaylix_resp.engine.replication.applier import Applier
from vaylix_resp.engine.replication.inbox import Inbox, Take
from vaylix_resp.engine.replication.outbox import Outbox, Own, State, Verdict
from vaylix_resp.engine.replication.replica import Replica
from vaylix_resp.engine.replication.submission import Submission
from vaylix_resp.errors import Halt, Refused
from vaylix_resp.raft import leader, local, log
from vaylix_resp.storage.wal import Wal

Mutation = Callable[[ExitStack], None]
MUTATIONS: dict[str, tuple[Mutation, Faults]] = {}
ACK_ALL: set[str] = set()  # of them, those that need `write-ack-mode all`
TROUBLE_S = 20.0
CATCHES = (AssertionError, Halt, Refused, LookupError, ValueError, TypeError)

STORMY = Faults(drop=0.1, delay=0.2, partition=0.8, crash=0.3, transfer=0.3)
SPLIT = Faults(drop=0.2, delay=0.3, partition=0.9, crash=0.6)
POWER = Faults(drop=0.05, partition=0.4, crash=0.5, cut=0.3, transfer=0.2)
SLOW = Faults(drop=0.05, partition=0.4, crash=0.8, cut=0.3, transfer=0.5, slow_disk=0.2)
PRUNED = Faults(drop=0.05, partition=0.6, crash=0.3, transfer=0.2, snapshot=0.8, install=0.5)
FULL = Faults(drop=0.05, partition=0.3, crash=0.4, transfer=0.2, disk_full=0.6)
MEMBERS = Faults(drop=0.05, delay=0.1, partition=0.5, crash=0.3, transfer=0.4, members=0.8)


def mutation(faults: Faults, *, ack_all: bool = False) -> Callable[[Mutation], Mutation]:
    def noted(function: Mutation) -> Mutation:
        name = function.__name__.replace("_", " ")
        MUTATIONS[name] = function, faults
        if ack_all:
            ACK_ALL.add(name)
        return function

    return noted


for _name, _faults in {
    "votes twice": STORMY,
    "votes for a log that lacks something": STORMY,
    "sends before term and vote are durable": SLOW,
    "forgets the vote with a restart": POWER,
    "acknowledges before the fsync": SLOW,
    "cuts what is committed": STORMY,
    "counts itself before its fsync": SLOW,
    "a follower reads at its own commit index": STORMY,
    "takes two changes of the membership at once": MEMBERS,
}.items():
    MUTATIONS[_name] = CORE[_name][0], _faults


# --- the core, in ways that only show with a driver around it -------------------------------------------------------


@mutation(STORMY)
def commits_and_applies_what_one_voter_has(stack: ExitStack) -> None:
    replaced(stack, leader, "reached", max)


# --- the log on disk ------------------------------------------------------------------------------------------------


@mutation(POWER)
def skips_the_fsync(stack: ExitStack) -> None:
    def sync(self: Wal) -> None:
        if self._synced < self._offset:
            self._durable, self._synced = self._chain.last, self._offset

    replaced(stack, Wal, "sync", sync)


@mutation(POWER)
def loses_the_hard_state(stack: ExitStack) -> None:
    """Terms come back with the batches, but the vote does not."""
    replaced(stack, Wal, "_news", lambda self, wanted: None)


@mutation(STORMY)
def forgets_to_cut_the_log_on_disk(stack: ExitStack) -> None:
    def persist(self: Replica, work: Any) -> None:
        old(self, work._replace(truncate_after=None))

    old = replaced(stack, Replica, "persist", persist)


@mutation(FULL)
def takes_a_failed_write_for_done(stack: ExitStack) -> None:
    """A full disk: the work is forgotten instead of kept for when there is room."""

    def rejected(self: Replica, work: Any, cause: Any) -> None:
        old(self, work, cause)
        if self._next is not None and self._next is work:
            self._next = None
            self.core.persisted(work.number)

    old = replaced(stack, Replica, "rejected", rejected)


@mutation(PRUNED)
def installs_a_snapshot_but_keeps_its_state(stack: ExitStack) -> None:
    def succeed(self: Applier, successor: Any, term: int) -> None:
        machine = self._machine
        machine.seek(successor.applied, successor.time_ms)

    replaced(stack, Applier, "succeed", succeed)


# --- the driver -----------------------------------------------------------------------------------------------------


class Answered:
    """Stands in for a client that has been told already."""

    def __init__(self, client: SimClient) -> None:
        self._client = client
        call = Call(client.name, client.began, client.world.now, client.kind, client.words, "OK")
        client.history.calls.setdefault(client.key, []).append(call)

    def complete(self, run: Any) -> None:
        ((count, node, operation),) = run.items
        node.replica.machine.apply_all([operation])
        if count == self._client.count and self._client.asked is not None:
            self._client._next(None)

    def fail(self, run: Any, refusal: Any) -> None:
        if self._client.asked is not None:
            self._client._next(None)


@mutation(SPLIT)
def answers_when_it_proposes(stack: ExitStack) -> None:
    def proposed(self: Outbox, own: Own, term: int, index: int) -> None:
        old(self, own, term, index)
        for run in own.batch.runs:
            client = run.owner
            if isinstance(client, SimClient) and client.kind in ("set", "pset") and run.items[0][0] == client.count:
                run.owner = Answered(run.owner)

    old = replaced(stack, Outbox, "proposed", proposed)


@mutation(STORMY)
def reads_at_once(stack: ExitStack) -> None:
    """Batches of reads are answered without asking anybody."""

    def unasked(self: Outbox) -> list[Own]:
        for own in self:
            if not own.writes:
                own.state, own.place = State.CONFIRMED, 0
        return []

    def submit(self: Submission) -> None:
        old(self)
        self._answer(self.outbox.reads_due(self.machine.applied))

    replaced(stack, Outbox, "unasked", unasked)
    old = replaced(stack, Submission, "_submit", submit)


@mutation(STORMY)
def reads_before_it_has_applied_enough(stack: ExitStack) -> None:
    def reads_due(self: Outbox, applied: int) -> Any:
        return old(self, 1 << 60)

    old = replaced(stack, Outbox, "reads_due", reads_due)


@mutation(STORMY)
def submits_again_without_proof(stack: ExitStack) -> None:
    """A follower that has another leader sends what it has forwarded to the last one to this one as well."""

    def hasty(self: Replica, status: Any) -> None:
        old(self, status)
        self.outbox.term_applies(self.status.term)

    old = replaced(stack, Replica, "_follow", hasty)


@mutation(STORMY)
def forwards_again_under_a_new_number(stack: ExitStack) -> None:
    def resend(self: Submission) -> None:
        if self.status.leader and not self.leads:
            outbox = self.outbox
            for number, own in outbox.unanswered(self.status.term):
                if own is not None and own.in_flight and own.batch.count:
                    outbox._number += 1
                    self._send_forward(self.status.term, outbox._number, own)
                self._send_forward(self.status.term, number, own)

    replaced(stack, Submission, "_resend", resend)


@mutation(STORMY)
def takes_a_forward_twice(stack: ExitStack) -> None:
    def take(self: Inbox, term: int, origin: int, boot: int, number: int) -> Take:
        found: Take = old(self, term, origin, boot, number)
        return Take.TAKE if found is Take.DUPLICATE else found

    old = replaced(stack, Inbox, "take", take)


@mutation(STORMY)
def forgets_whose_it_was(stack: ExitStack) -> None:
    """A leader proposes again what others had forwarded to it in a term that is over."""
    replaced(stack, Replica, "_only_ours", lambda self, own, term: True)


@mutation(STORMY)
def a_timeout_is_a_no(stack: ExitStack) -> None:
    """A write of which nothing is known is answered as if it had not been made."""

    def sure(self: Outbox) -> Any:
        own, _ = old(self)
        return own, Verdict.REFUSED

    old = replaced(stack, Outbox, "give_up", sure)


@mutation(STORMY, ack_all=True)
def answers_when_a_majority_has_it_though_all_should(stack: ExitStack) -> None:
    replaced(stack, Replica, "_holds_back", lambda self, entry, latest: False)


@mutation(STORMY)
def answers_batches_in_the_wrong_order(stack: ExitStack) -> None:
    def up_to(self: Outbox, last: Own) -> Any:
        answers = old(self, last)
        return [*answers[:-2], answers[-1], answers[-2]] if len(answers) > 1 else answers

    old = replaced(stack, Outbox, "_up_to", up_to)


@mutation(STORMY)
def stamps_with_its_own_clock(stack: ExitStack) -> None:
    """Time may fall along the log."""

    def propose_body(self: Submission, kind: Any, count: int, body: bytes) -> Any:
        return self.core.propose(kind, count, self.clock.wall_ms(), self._rng.getrandbits(64), body)

    replaced(stack, Submission, "_propose_body", propose_body)


@mutation(MEMBERS)
def forgets_a_change_when_it_is_cut(stack: ExitStack) -> None:
    """The other way round: a change that has been cut still waits to be applied."""

    def cut(self: log.RaftLog, after: Any) -> Any:
        members = self.members
        dropped = old(self, after)
        self.members = members
        return dropped

    old = replaced(stack, log.RaftLog, "cut", cut)


@mutation(MEMBERS)
def does_not_tell_the_core_of_new_members(stack: ExitStack) -> None:
    def follow(self: local.Local, membership: Any) -> None:
        known = getattr(self, "_known", None)
        old(self, membership if known is None else known)

    old = replaced(stack, local.Local, "follow_membership", follow)

    def new_members(self: Submission, index: int) -> None:
        self.core.apply_members(index, self.core.membership)

    replaced(stack, submission.Submission, "_new_members", new_members)


# --- the hunt -------------------------------------------------------------------------------------------------------


def story(seed: int, faults: Faults, seconds: float = TROUBLE_S, *, ack_all: bool = False) -> Counter[str]:
    """Short, on disks, with certain faults; the rest is small and busy. What has happened in it."""
    random = Random(seed)
    limits = limits_of(random)
    world = World(random.getrandbits(32), random.choice((3, 3, 5)), faults, True, *limits, ack_all)
    history = History()
    checks = Checks(world, history)
    try:
        for number in range(6):
            SimClient(world, f"c{number}", history, keys=1, fast=True)
        world.begin()
        world.run_until(seconds)
        settle(world, history)
        checks.end()
        return world.counts
    finally:
        world.close()


def caught_by(name: str, seed: int) -> str | None:
    """What a story with this mistake says; None: nothing is noticed."""
    mistake, faults = MUTATIONS[name]
    with ExitStack() as stack:
        mistake(stack)
        try:
            story(seed, faults, ack_all=name in ACK_ALL)
        except CATCHES as problem:
            return f"{type(problem).__name__}: {problem}"
    return None


def hunt_all(seeds: int, only: str = "") -> int:
    """A table: each mistake with the first seed that finds it (as `test_mutations.FOUND` has it), how long that took,
    and what gave it away."""
    found, last = 0, 0
    names = [name for name in MUTATIONS if only in name]
    for name in names:
        began = time.perf_counter()
        for seed in range(seeds):
            if told := caught_by(name, seed):
                found, last = found + 1, max(last, seed)
                story(seed, MUTATIONS[name][1], ack_all=name in ACK_ALL)  # nothing is found without the mistake
                row = f'"{name}": {seed},'
                print(f"    {row:60}  # {time.perf_counter() - began:5.1f} s  {told[:110]}", flush=True)
                break
        else:
            print(f"{name}: not found by {seeds} seeds", flush=True)
    print(f"{found} of {len(names)} mistakes found, each by one of the first {last + 1} seeds")
    return 0 if found == len(names) else 1
