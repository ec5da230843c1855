"""The account of the memory in use equals what a visit to every key finds, whatever has happened to the keys."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaylix_resp.commands.operations import eviction, expiry, in_database, publish, stage, unstage
from vaylix_resp.commands.registry import apply_table, new_accounts, row_table
from vaylix_resp.state import image
from vaylix_resp.state.footprint import data_bytes, freed_bytes
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.succession import take_over
from vaylix_resp.state.usage import Recency

KEYS = st.sampled_from([b"a", b"b", b"c", b"d" * 40, b"e" * 200])
VALUES = st.sampled_from([b"", b"1", b"22", b"x" * 100, b"y" * 1000])
NUMBERS = st.integers(0, 2)


def machine():
    made = StateMachine(apply_table(), 3, rng=Random(1), accounts=new_accounts(), rows=row_table())
    made.world.index()
    made.world.weigh(wanted=True)
    made.world.usage = Recency(0)
    made.begin_batch(1_700_000_000_000, 7)
    return made


def recomputed(db):
    return sum(len(key) + len(item) for key, item in db.items.items())


def check(made):
    world = made.world
    for db in world.databases:
        assert db.held == recomputed(db)
        assert db.uses.keys() <= db.items.keys(), "what is gone is not remembered"
    for staging in world.staged.values():
        assert [db.held for db in staging.databases.values()] == [*map(recomputed, staging.databases.values())]
    assert (data_bytes(world) > 0) == any(db.items for db in [*world.databases, *_staged(world)])


def _staged(world):
    return [db for staging in world.staged.values() for db in staging.databases.values()]


def requests():
    one = st.one_of(
        st.tuples(st.just(b"SET"), KEYS, VALUES),
        st.tuples(st.just(b"SET"), KEYS, VALUES, st.just(b"PX"), st.sampled_from([b"5", b"100000"])),
        st.tuples(st.just(b"APPEND"), KEYS, VALUES), st.tuples(st.just(b"GETDEL"), KEYS),
        st.tuples(st.just(b"DEL"), KEYS, KEYS), st.tuples(st.just(b"GET"), KEYS),
        st.tuples(st.just(b"RENAME"), KEYS, KEYS), st.tuples(st.just(b"PEXPIRE"), KEYS, st.sampled_from([b"5", b"90000"])),
        st.tuples(st.just(b"COPY"), KEYS, KEYS, st.just(b"DB"), st.sampled_from([b"0", b"1"]), st.just(b"REPLACE")),
        st.tuples(st.just(b"MOVE"), KEYS, st.just(b"2")), st.tuples(st.just(b"MSET"), KEYS, VALUES, KEYS, VALUES),
        st.tuples(st.just(b"SETBIT"), KEYS, st.just(b"900"), st.just(b"1")), st.just((b"FLUSHDB",)),
        st.just((b"FLUSHALL",)), st.just((b"SWAPDB", b"0", b"1")), st.tuples(st.just(b"EXSET"), KEYS, VALUES,
        st.just(b"FLAGS"), st.just(b"7")), st.tuples(st.just(b"PERSIST"), KEYS),
    )  # fmt: skip
    rows = st.lists(st.tuples(KEYS, VALUES, st.sampled_from([None, 1_700_000_100_000]), st.integers(0, 1)), min_size=1)
    return st.one_of(
        st.builds(in_database, NUMBERS, one),
        st.builds(stage, st.just(b"p"), NUMBERS, rows), st.just(publish(b"p", "merge")),
        st.just(publish(b"p", "replace")), st.just(unstage(b"p")),
        st.builds(expiry, NUMBERS, st.lists(KEYS)),
        st.builds(eviction, NUMBERS, st.lists(st.tuples(KEYS, st.integers(1, 30)))),
    )  # fmt: skip


STEPS = st.one_of(
    requests(),
    st.lists(st.tuples(st.just(b"SET"), KEYS, VALUES), min_size=2, max_size=6),  # a row
    st.sampled_from(["time", "settle", "snapshot", "off and on"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_the_account_is_right(steps):
    made = machine()
    for step in steps:
        if step == "time":
            made.begin_batch(made.time_ms + 10, 8)
        elif step == "settle":
            made.world.settle(3)
        elif step == "off and on":
            made.world.weigh(wanted=False)
            made.apply((b"SET", b"a", b"unweighed"))
            made.world.weigh(wanted=True)
        elif step == "snapshot":
            made = loaded(made)
        elif isinstance(step, list):
            made.apply_row(step)
        else:
            made.apply(step)
        check(made)


def loaded(made):
    """A follower that takes over the state from a snapshot, with other keys in its place before."""
    fresh, target = machine(), machine()
    fresh.world.weigh(wanted=False)
    for kind, obj in image.dump(made):
        image.load(fresh, kind, obj)
    target.apply((b"SET", b"old", b"x"))
    take_over(target, fresh)
    return target


def test_a_key_that_goes_takes_at_least_what_was_said_of_it():
    made = machine()
    made.apply_all([(b"SET", b"key:%d" % n, b"x" * n, *((b"EX", b"100") if n % 2 else ())) for n in range(1000)])
    db = made.world.databases[0]
    for n in range(0, 1000, 7):
        before, said = data_bytes(made.world), freed_bytes(db, b"key:%d" % n)
        made.apply((b"DEL", b"key:%d" % n))
        assert said <= before - data_bytes(made.world) <= said + 150


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
def test_nothing_is_in_use_when_all_is_gone(command):
    made = machine()
    made.apply_row([(b"SET", b"key:%d" % n, b"x") for n in range(3000)])
    assert data_bytes(made.world) > 3000 * 150
    made.apply((command.encode(),))
    assert data_bytes(made.world) == 0
