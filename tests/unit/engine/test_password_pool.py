"""The queues in front of the threads, with workers that the test lets run; then once with real threads and a loop."""

import asyncio
import inspect
import os
import threading
from collections import deque

import pytest

from vaylix_resp.engine import password_pool as module
from vaylix_resp.engine.password_pool import (
    BUSY,
    NICENESS,
    NO_MEMORY,
    QUEUE_MAX,
    SOURCE_MAX,
    PasswordPool,
    Threads,
    Ticket,
)
from vaylix_resp.errors import CommandError
from vaylix_resp.security.passwords import Cost, Policy, Recipe, Stored, digest_of, parse

CHEAP = Cost(8, 1, 1)
ANY = Policy()
LOCKED = CommandError("LOCKED for a while")


def form(password, salt=1, cost=CHEAP):
    recipe = Recipe(cost, bytes([salt]) * 16)
    return str(Stored(recipe, recipe.derive(digest_of(password))))


A, B = form(b"a"), form(b"b", 2)


class Bench:
    """Workers that work when told to. They may not be given more than `count` jobs at a time."""

    def __init__(self, count=2):
        self.count = count
        self.jobs = deque()

    def run(self, work, finished):
        self.jobs.append((work, finished))
        assert len(self.jobs) <= self.count

    def turn(self):
        work, finished = self.jobs.popleft()
        try:
            result = work()
        except Exception as failure:
            result = failure
        finished(result)

    def all(self):
        turns = 0
        while self.jobs:
            self.turn()
            turns += 1
        return turns


class Lab:
    def __init__(self, count=2, decoys=()):
        self.bench = Bench(count)
        self.decoys = [*decoys]
        self.pool = PasswordPool(self.bench, lambda: self.decoys, CHEAP, b"secret of this test")
        self.answers = []
        self.refuse = set()

    def ask(self, user, password, forms=(A,), source="a1"):
        """The answer will be (user, password, found)."""
        return self.pool.verify(
            user, digest_of(password), forms, source,
            admit=lambda: LOCKED if user in self.refuse else None,
            done=lambda found: self.answers.append((user, password, found)),
        )  # fmt: skip

    def seal(self, *rules, policy=ANY, forms=()):
        return self.pool.seal(rules, forms, (), policy, self.answers.append)


@pytest.mark.parametrize("password, forms, found", [(b"a", (A,), A), (b"b", (A, B), B), (b"c", (A, B), None), (b"a", (), None)])
def test_a_password_is_verified_off_the_loop(password, forms, found):
    lab = Lab()
    assert isinstance(lab.ask(b"alice", password, forms), Ticket) and not lab.answers
    assert lab.bench.all() == 1
    assert lab.answers == [(b"alice", password, found)]
    assert lab.pool.info() == {
        "passwords_derived": 1, "passwords_remembered": 0, "passwords_busy": 0, "passwords_waiting": 0,
        "passwords_cached": int(found is not None),
    }  # fmt: skip


def test_what_was_right_is_remembered_as_long_as_the_user_has_this_form():
    lab = Lab()
    lab.ask(b"alice", b"a", (B, A))
    lab.bench.all()
    remembers = lab.pool.remembers
    assert remembers(b"alice", digest_of(b"a"), [A]) == A
    assert remembers(b"alice", digest_of(b"a"), [A, B]) == A
    for user, password, forms in [(b"alice", b"a", [B]), (b"alice", b"a", []), (b"alice", b"b", [A]), (b"bob", b"a", [A]), (b"", b"a", [A]), (b"alice", b"", [A])]:
        assert remembers(user, digest_of(password), forms) is None, (user, password, forms)
    assert lab.pool.remembered == 2


def test_what_was_wrong_is_not_remembered():
    lab = Lab()
    for _ in range(3):
        lab.ask(b"alice", b"wrong")
        lab.bench.all()
    assert (lab.pool.derived, lab.pool.info()["passwords_cached"]) == (3, 0)


def test_nothing_that_is_remembered_shows_the_password():
    lab = Lab()
    lab.ask(b"alice", b"a")
    lab.bench.all()
    (key,) = lab.pool._verified
    assert len(key) == 32 and key != PasswordPool(Bench(), tuple, CHEAP)._key(b"alice", digest_of(b"a"))
    assert key not in (digest_of(b"a"), parse(A).hash)


def test_what_is_remembered_is_bounded_and_forgets_what_was_used_longest_ago(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_MAX", 2)
    lab = Lab()
    for user in (b"u1", b"u2", b"u1", b"u3"):
        if lab.pool.remembers(user, digest_of(b"a"), [A]) is None:
            lab.ask(user, b"a")
            lab.bench.all()
    assert [lab.pool.remembers(user, digest_of(b"a"), [A]) for user in (b"u1", b"u2", b"u3")] == [A, None, A]


def test_a_storm_of_equal_credentials_costs_one_derivation():
    lab = Lab()
    for number in range(200):
        assert isinstance(lab.ask(b"alice", b"a", source=f"a{number % 20}"), Ticket)
    assert lab.bench.all() == 1
    assert lab.answers == [(b"alice", b"a", A)] * 200


def test_equal_credentials_after_a_change_of_passwords_are_another_question():
    lab = Lab()
    lab.ask(b"alice", b"b", (A,))
    lab.ask(b"alice", b"b", (A, B))
    assert lab.bench.all() == 2
    assert lab.answers == [(b"alice", b"b", None), (b"alice", b"b", B)]


def test_never_more_jobs_than_workers():
    lab = Lab(count=2)
    for number in range(8):
        lab.ask(b"u%d" % number, b"a")
    assert (len(lab.bench.jobs), lab.pool.info()["passwords_waiting"]) == (2, 6)
    assert lab.bench.all() == 8


def test_the_queue_is_bounded_for_one_address_and_for_all():
    lab = Lab(count=1)
    taken = [isinstance(lab.ask(b"u%d" % n, b"a", source="a1"), Ticket) for n in range(SOURCE_MAX + 3)]
    assert taken.count(True) == SOURCE_MAX + 1  # one runs
    others = [lab.ask(b"v%d" % n, b"a", source=f"b{n}") for n in range(QUEUE_MAX)]
    assert sum(isinstance(ticket, Ticket) for ticket in others) == QUEUE_MAX - SOURCE_MAX
    assert {refused.text for refused in others if isinstance(refused, CommandError)} == {BUSY}
    assert lab.pool.busy == 2 + SOURCE_MAX
    assert lab.bench.all() == 1 + QUEUE_MAX and len(lab.answers) == 1 + QUEUE_MAX
    assert isinstance(lab.ask(b"later", b"a"), Ticket)


def test_addresses_take_turns():
    lab = Lab(count=1)
    for number in range(6):
        lab.ask(b"flood %d" % number, b"x", source="bot")
    lab.ask(b"alice", b"a", source="a1")
    lab.ask(b"bob", b"a", source="a2")
    lab.ask(b"alice", b"again", source="a1")
    lab.bench.all()
    order = [user for user, _, _ in lab.answers]
    assert order == [b"flood 0", b"flood 1", b"alice", b"bob", b"flood 2", b"alice", b"flood 3", b"flood 4", b"flood 5"]


def test_a_change_of_passwords_gets_through_a_flood():
    lab = Lab(count=1)
    for number in range(QUEUE_MAX + 5):
        lab.ask(b"flood %d" % number, b"x", source=f"bot {number}")
    assert isinstance(lab.seal(b"on", b">a"), Ticket)
    lab.bench.all()
    (rules,) = [answer for answer in lab.answers if isinstance(answer, list)]
    assert rules[0] == b"on" and rules[1].startswith(b"#argon2id$")
    assert lab.pool.info()["passwords_waiting"] == 0


def test_changes_have_a_bound_of_their_own():
    lab = Lab(count=1)
    tickets = [lab.seal(b">a") for _ in range(QUEUE_MAX + 3)]
    assert [isinstance(ticket, Ticket) for ticket in tickets] == [True] * (QUEUE_MAX + 1) + [False] * 2
    assert isinstance(lab.ask(b"alice", b"a"), Ticket)
    assert lab.bench.all() == QUEUE_MAX + 2


def test_a_change_that_the_policy_refuses():
    lab = Lab()
    lab.seal(b">a", policy=Policy(min_length=8))
    lab.bench.all()
    (refused,) = lab.answers
    assert refused.text == "ERR The password has fewer than 8 characters (password-min-length)"


def test_who_is_locked_while_waiting_is_not_looked_at():
    lab = Lab(count=1)
    for number in range(4):
        lab.ask(b"alice", b"guess %d" % number)
    lab.ask(b"bob", b"a")
    lab.refuse.add(b"alice")  # the first guess is running
    assert lab.bench.all() == 2
    assert lab.answers == [
        (b"alice", b"guess 0", None), *((b"alice", b"guess %d" % n, LOCKED) for n in (1, 2, 3)), (b"bob", b"a", A),
    ]  # fmt: skip


@pytest.mark.parametrize("wanted, runs", [([], 0), ([0], 1), ([1], 1), ([0, 1], 1)])
def test_a_job_that_nobody_wants_is_not_run(wanted, runs):
    lab = Lab(count=1)
    lab.ask(b"first", b"a")
    tickets = [lab.ask(b"alice", b"a") for _ in range(2)]
    for number, ticket in enumerate(tickets):
        if number not in wanted:
            ticket.cancel()
    assert lab.bench.all() == 1 + runs
    assert len(lab.answers) == 1 + len(wanted)


def test_who_hangs_up_while_it_runs_is_answered_all_the_same():
    lab = Lab()
    lab.ask(b"alice", b"a").cancel()
    lab.ask(b"alice", b"a")
    assert lab.bench.all() == 1 and len(lab.answers) == 2


@pytest.mark.parametrize("source", ["a1", "elsewhere"])
def test_who_hung_up_makes_room(source):
    lab = Lab(count=1)
    tickets = [lab.ask(b"u%d" % n, b"a", source="a1" if n < SOURCE_MAX else f"b{n}") for n in range(QUEUE_MAX + 1)]
    assert isinstance(lab.ask(b"alice", b"a", source=source), CommandError)
    for ticket in tickets[1:]:
        ticket.cancel()
    assert isinstance(lab.ask(b"alice", b"a", source=source), Ticket)
    assert lab.bench.all() == 2 and lab.pool.info()["passwords_waiting"] == 0


def test_not_enough_memory_is_said_and_nothing_else_stops(monkeypatch):
    lab = Lab(count=1)
    real = Recipe.derive

    def starved(self, digest):
        if digest == digest_of(b"unlucky"):
            raise MemoryError
        return real(self, digest)

    monkeypatch.setattr(Recipe, "derive", starved)
    lab.ask(b"alice", b"unlucky")
    lab.ask(b"alice", b"a")
    lab.bench.all()
    assert [found.text if isinstance(found, CommandError) else found for _, _, found in lab.answers] == [NO_MEMORY, A]


def test_a_bug_is_reported_to_the_loop_and_the_client_hears_of_it():
    lab = Lab(count=1)
    lab.ask(b"alice", b"a", ("no form at all",))
    lab.ask(b"bob", b"a")
    lab.bench.jobs[0] = (lambda: 1 // 0, lab.bench.jobs[0][1])
    with pytest.raises(ZeroDivisionError):
        lab.bench.turn()
    assert lab.answers[0][2].code == "ERR" and "bug" in lab.answers[0][2].text
    assert lab.bench.all() == 1 and lab.answers[1] == (b"bob", b"a", A)


# Who does not exist.


def derivations(monkeypatch):
    seen = []
    real = Recipe.derive
    monkeypatch.setattr(Recipe, "derive", lambda self, digest: seen.append(self) or real(self, digest))
    return seen


DEAR = Cost(16, 2, 1)


@pytest.mark.parametrize(
    "decoys, costs",
    [
        ([], {(CHEAP,)}),
        ([(A,)], {(CHEAP,)}),
        ([(form(b"x", 3, DEAR),)], {(DEAR,)}),
        ([(A, form(b"x", 3, DEAR)), (B,)], {(CHEAP, DEAR), (CHEAP,)}),
    ],
)
def test_a_user_without_passwords_costs_what_some_user_costs(monkeypatch, decoys, costs):
    lab = Lab(decoys=decoys)
    seen = derivations(monkeypatch)
    found = set()
    for number in range(40):
        for _ in range(2):  # the same every time
            seen.clear()
            lab.ask(b"nobody %d" % number, b"a", ())
            lab.bench.all()
            found.add((number, tuple(recipe.cost for recipe in seen)))
    assert len(found) == 40 and {cost for _, cost in found} == costs
    assert {answer for _, _, answer in lab.answers} == {None}  # though a decoy's password was right


def test_new_passwords_have_the_cost_of_the_day():
    lab = Lab()
    lab.pool.cost = DEAR
    lab.seal(b">a", forms=(A,))
    lab.seal(b">c", forms=(A,))
    lab.bench.all()
    assert [parse(rules[0][1:].decode()).recipe.cost for rules in lab.answers] == [CHEAP, DEAR]


# Real threads.


async def test_threads_answer_on_the_loop_and_are_kind():
    loop = asyncio.get_running_loop()
    threads = Threads(loop.call_soon_threadsafe)
    pool = PasswordPool(threads, tuple, CHEAP)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("password-")]
    told = asyncio.Queue()

    def done(found):
        told.put_nowait((found, threading.current_thread() is threading.main_thread()))

    pool.verify(b"alice", digest_of(b"a"), (A,), "a1", lambda: None, done)
    assert await told.get() == (A, True)
    threads.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), told.put_nowait)
    assert await told.get() == NICENESS
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < NICENESS
    threads.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("password-")]


def test_threads_survive_a_loop_that_is_gone_and_a_job_that_fails():
    calls = deque()
    gone = True

    def call_on_loop(finished, result):
        if gone:
            raise RuntimeError("Event loop is closed")
        calls.append((finished, result))

    threads = Threads(call_on_loop, count=1)
    threads.run(lambda: 1, print)
    threads.close()
    gone = False
    threads = Threads(call_on_loop, count=1)
    threads.run(lambda: 1 // 0, print)
    threads.run(lambda: 2, print)
    threads.close()
    (_, failure), (_, result) = calls
    assert isinstance(failure, ZeroDivisionError) and result == 2


def test_many_who_are_refused_and_ask_again_do_not_nest():
    """A user is locked while a queue full of guesses waits, and each client has another user's guess behind its first."""
    lab = Lab(count=1)
    depths = []

    def refused(number):
        def done(_):
            depths.append(len(inspect.stack(0)))
            if number < 500:
                lab.pool.verify(b"%d" % number, bytes(32), (A,), "a1", lambda: LOCKED, refused(number + 1))

        return done

    lab.pool.verify(b"first", bytes(32), (A,), "a1", lambda: None, lambda _: None)
    lab.pool.verify(b"second", bytes(32), (A,), "a1", lambda: LOCKED, refused(0))
    lab.bench.all()
    assert len(depths) == 501 and max(depths) == min(depths)
