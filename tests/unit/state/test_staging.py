"""Staged keys: invisible until they are published, then all there at once, with a version above any before.

The property plays random histories against a twin of plain dictionaries, with every threshold so low that a dozen keys
take the ways that are meant for a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaylix_resp.commands import operations
from vaylix_resp.commands.operations import in_database, publish, stage, unstage
from vaylix_resp.commands.registry import apply_table, new_accounts, row_table
from vaylix_resp.errors import CommandError
from vaylix_resp.state import image, keyspace, staging
from vaylix_resp.state.digest import digest_hex, keys_digest_hex
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.staging import Row

NOW = 1_700_000_000_000
DBS = 3
Entry = tuple[bytes, ...]


def new_machine(databases: int = DBS) -> StateMachine:
    machine = StateMachine(apply_table(), databases, rng=Random(1), accounts=new_accounts(), rows=row_table())

    def on_bug(name: bytes, bug: Exception) -> None:
        raise bug

    machine.on_bug = on_bug
    return machine


@pytest.fixture
def machine() -> StateMachine:
    made = new_machine()
    made.begin_batch(NOW, 1)
    return made


def copied(machine: StateMachine) -> StateMachine:
    copy = new_machine()
    for kind, obj in image.dump(machine):
        image.load(copy, kind, msgpack.unpackb(msgpack.packb(obj, use_bin_type=True), raw=False))
    return copy


def rows(*keys: bytes, value: bytes = b"v", at_ms: int | None = None, flags: int = 0) -> list[Row]:
    return [(key, value, at_ms, flags) for key in keys]


def many(count: int, value: bytes = b"v") -> list[Row]:
    return rows(*(b"key:%d" % n for n in range(count)), value=value)


def seen(machine: StateMachine) -> dict[tuple[int, bytes], tuple[bytes, int | None, int]]:
    """What requests see: value, expiry and flags by database and key."""
    found = {}
    for view in machine.world.views:
        for key in list(view.keys()):
            value = view.string(key)
            assert value is not None
            found[view.index, key] = (value, view.expiry(key), view.flags(key))
    return found


def versions(machine: StateMachine) -> dict[tuple[int, bytes], int]:
    return {(view.index, key): view.version(key) for view in machine.world.views for key in list(view.keys())}


# One by one.


def test_what_is_staged_is_not_seen(machine: StateMachine) -> None:
    machine.apply((b"SET", b"a", b"live"))
    before = keys_digest_hex(machine.world)
    machine.apply(stage(b"id", 0, rows(b"a", b"b")))
    assert seen(machine) == {(0, b"a"): (b"live", None, 0)}
    assert keys_digest_hex(machine.world) == before and machine.world.views[0].size() == 1


def test_merge_sets_what_is_staged_and_leaves_the_rest(machine: StateMachine) -> None:
    for key in (b"a", b"b", b"c"):
        machine.apply((b"EXSET", key, b"live", b"EX", b"50", b"FLAGS", b"3"))
    before = versions(machine)
    machine.apply(stage(b"id", 0, [(b"a", b"1", None, 0), (b"b", b"2", NOW + 900, 9), (b"n", b"3", None, 0)]))
    machine.apply(stage(b"id", 2, rows(b"a", value=b"other")))
    assert machine.apply(publish(b"id", "merge")) == 4
    assert seen(machine) == {
        (0, b"a"): (b"1", None, 0), (0, b"b"): (b"2", NOW + 900, 9), (0, b"n"): (b"3", None, 0),
        (0, b"c"): (b"live", NOW + 50_000, 3), (2, b"a"): (b"other", None, 0),
    }  # fmt: skip
    after = versions(machine)
    assert after.pop((0, b"c")) == before[0, b"c"]
    assert set(after.values()) == {6}, "one version for all, that of the entry"
    assert not machine.world.staged


def test_replace_leaves_nothing_else(machine: StateMachine) -> None:
    for db in range(DBS):
        machine.apply(in_database(db, (b"SET", b"a", b"live")))
    machine.apply(stage(b"id", 1, rows(b"b")))
    assert machine.apply(publish(b"id", "replace")) == 1
    assert seen(machine) == {(1, b"b"): (b"v", None, 0)}
    machine.apply((b"SET", b"a", b"again"))
    assert versions(machine)[0, b"a"] > 3


@pytest.mark.parametrize("mode, left", [("merge", 1), ("replace", 0)])
def test_publishing_nothing(machine: StateMachine, mode: str, left: int) -> None:
    """A backup of an empty server restores an empty server."""
    machine.apply((b"SET", b"a", b"live"))
    assert machine.apply(publish(b"none", mode)) == 0
    assert len(seen(machine)) == left


def test_no_rows_stage_nothing(machine: StateMachine) -> None:
    machine.apply(stage(b"id", 0, []))
    assert not machine.world.staged and digest_hex(copied(machine)) == digest_hex(machine)


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_a_row_that_comes_again_counts_alone(machine: StateMachine, mode: str) -> None:
    machine.apply(stage(b"id", 0, [(b"a", b"1", NOW + 5, 7), (b"a", b"2", NOW + 6, 8)]))
    machine.apply(stage(b"id", 0, [(b"a", b"3", None, 0)]))
    assert machine.apply(publish(b"id", mode)) == 1
    assert seen(machine) == {(0, b"a"): (b"3", None, 0)}
    assert machine.world.databases[0].due(NOW * 2, 10) == []


def test_two_names_are_two_stagings(machine: StateMachine) -> None:
    machine.apply(stage(b"one", 0, rows(b"a")))
    machine.apply(stage(b"two", 0, rows(b"b")))
    machine.apply(unstage(b"one"))
    assert machine.apply(publish(b"one", "merge")) == 0
    assert machine.apply(publish(b"two", "merge")) == 1
    assert list(seen(machine)) == [(0, b"b")]


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_what_has_expired_until_then_is_not_seen_and_goes_as_usual(machine: StateMachine, mode: str) -> None:
    machine.apply(stage(b"id", 0, [*many(1500), (b"due", b"x", NOW + 10, 0)]))
    machine.begin_batch(NOW + 10, 1)
    assert machine.apply(publish(b"id", mode)) == 1501
    assert (0, b"due") not in seen(machine) and machine.world.databases[0].due(NOW + 10, 10) == [b"due"]
    machine.apply(operations.expiry(0, [b"due"]))
    assert machine.world.expired == 1 and machine.world.views[0].size() == 1500
    assert machine.world.deleted_version == 2, "the version that publishing gave it"


@pytest.mark.parametrize("number", [DBS, DBS + 7])
def test_a_database_that_is_not_there(machine: StateMachine, number: int) -> None:
    refused = machine.apply(stage(b"id", number, rows(b"a")))
    assert isinstance(refused, CommandError) and "out of range" in refused.text
    assert not machine.world.staged


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_there_are_fewer_databases_when_it_is_published(machine: StateMachine, mode: str) -> None:
    machine.apply((b"SET", b"a", b"live"))
    machine.apply(stage(b"id", DBS - 1, rows(b"a")))
    machine.resize(DBS - 1)
    refused = machine.apply(publish(b"id", mode))
    assert isinstance(refused, CommandError) and "out of range" in refused.text
    assert list(seen(machine)) == [(0, b"a")] and list(machine.world.staged) == [b"id"]
    machine.apply(unstage(b"id"))
    assert not machine.world.staged


@pytest.mark.parametrize("count", [10, 1500])
@pytest.mark.parametrize("live", [0, 5, 3000])
def test_versions_are_above_all_that_have_been(machine: StateMachine, count: int, live: int) -> None:
    """Few keys and many, into few and many: also after versions have run ahead of the log."""
    machine.apply(operations.transaction([], [(0, (b"INCR", b"ahead"))] * 40))
    for n in range(live):
        machine.apply((b"SET", b"key:%d" % n, b"live"))
    machine.apply(stage(b"id", 0, many(count)))
    highest = max(versions(machine).values())
    untouched = {place: version for place, version in versions(machine).items() if place[1] == b"ahead"}
    machine.apply(publish(b"id", "merge"))
    after = versions(machine)
    published = {after[0, b"key:%d" % n] for n in range(count)}
    assert len(published) == 1 and min(published) > highest and min(published) == machine.world.top_version
    assert after | untouched == after
    (given,) = published
    for change in ((b"SET", b"key:1", b"later"), (b"DEL", b"key:2"), (b"SET", b"key:2", b"new"), (b"INCR", b"ahead")):
        machine.apply(change)
    last = versions(machine)
    assert last[0, b"key:1"] == given + 1 and last[0, b"ahead"] > untouched[0, b"ahead"]
    assert given < last[0, b"key:2"] <= given + 3 and machine.world.deleted_version == given
    assert digest_hex(copied(machine)) == digest_hex(machine)


def test_versions_count_on_from_the_published_one_where_nobody_has_read_it_yet(machine: StateMachine) -> None:
    machine.apply(operations.transaction([], [(0, (b"INCR", b"ahead"))] * 40))
    machine.apply(stage(b"id", 0, many(1500)))
    machine.apply(publish(b"id", "merge"))
    changes: list[Entry] = [
        (b"SET", b"key:1", b"1"), (b"DEL", b"key:2"), (b"SET", b"key:2", b"2"), (b"EXPIRE", b"key:3", b"9"),
        (b"RENAME", b"key:4", b"key:5"),
    ]  # fmt: skip
    for change in changes:
        machine.apply(change)
    assert machine.world.deleted_version == 41
    assert [versions(machine)[0, b"key:%d" % n] for n in (0, 1, 2, 3, 5)] == [41, 42, 42, 42, 42]


def test_what_a_replacement_removed_comes_back_with_a_higher_version(machine: StateMachine) -> None:
    machine.apply(operations.transaction([], [(0, (b"SET", b"a", b"1"))] * 40))
    before = versions(machine)[0, b"a"]
    machine.apply(publish(b"none", "replace"))
    machine.apply((b"SET", b"a", b"1"))
    assert versions(machine)[0, b"a"] > before


def test_a_compare_and_set_by_an_old_version_fails_after_publishing(machine: StateMachine) -> None:
    machine.apply((b"SET", b"key:1", b"A"))
    old = versions(machine)[0, b"key:1"]
    machine.apply(stage(b"id", 0, many(2000, value=b"A")))
    machine.apply(publish(b"id", "merge"))
    watched = operations.transaction([(0, b"key:1", old)], [(0, (b"SET", b"key:1", b"B"))])
    machine.apply(watched)
    assert machine.world.views[0].string(b"key:1") == b"A"
    machine.apply(operations.transaction([(0, b"key:1", versions(machine)[0, b"key:1"])], [(0, (b"DEL", b"key:1"))]))
    assert not machine.world.views[0].exists(b"key:1")


def test_observers(machine: StateMachine) -> None:
    machine.world.events, machine.world.touched = [], []
    machine.apply(stage(b"id", 1, rows(b"a", b"b")))
    assert machine.world.events == [] and machine.world.touched == []
    machine.apply(publish(b"id", "merge"))
    assert machine.world.events == [("g", "restore", b"a", 1), ("g", "restore", b"b", 1)]
    assert machine.world.touched == [(1, None)]
    machine.world.events, machine.world.touched = [], []
    machine.apply(stage(b"id", 1, rows(b"a", b"b")))
    machine.apply(publish(b"id", "replace"))
    assert machine.world.events == [] and machine.world.touched == [(db, None) for db in range(DBS)]


def test_what_is_staged_is_part_of_the_state(machine: StateMachine) -> None:
    digests = {digest_hex(machine)}
    twin = new_machine()
    twin.begin_batch(NOW, 1)
    changes: list[Entry] = [
        stage(b"id", 0, many(1200)), stage(b"id", 0, rows(b"x", at_ms=NOW + 5)), stage(b"id", 0, rows(b"x", flags=2)),
        stage(b"other", 0, rows(b"x")), stage(b"other", 2, rows(b"x")), stage(b"other", 2, rows(b"x", value=b"w")),
    ]  # fmt: skip
    for change in changes:
        machine.apply(change)
        twin.apply((b"@noop", b"1", b"3"))
        assert twin.applied == machine.applied and digest_hex(machine) != digest_hex(twin)
        digests.add(digest_hex(machine))
        assert digest_hex(copied(machine)) == digest_hex(machine)
    assert len(digests) == 1 + len(changes)
    for name in (b"id", b"other"):
        machine.apply(unstage(name))
        twin.apply((b"@noop", b"1", b"3"))
    assert digest_hex(machine) == digest_hex(twin), "and nothing is left of it"


def test_staging_goes_on_behind_a_snapshot(machine: StateMachine) -> None:
    machine.apply(stage(b"id", 0, many(1500)))
    machine.apply((b"SET", b"a", b"1"))
    copy = copied(machine)
    for each in (machine, copy):
        each.begin_batch(NOW, 1)
        each.apply(stage(b"id", 0, many(1600, value=b"w")[1400:]))
        assert each.apply(publish(b"id", "merge")) == 1600
    assert digest_hex(copy) == digest_hex(machine) and versions(copy) == versions(machine)
    assert versions(copy)[0, b"key:0"] == versions(copy)[0, b"key:1599"] == 4


def test_memory_comes_back_in_steps(machine: StateMachine) -> None:
    machine.apply((b"SET", b"a", b"live"))
    machine.apply(stage(b"id", 0, many(5000)))
    machine.apply(unstage(b"id"))
    (trash,) = machine.world.trash
    assert len(trash.items) == 5000
    machine.world.trash.clear()
    machine.apply(stage(b"id", 0, many(5000)))
    machine.apply(publish(b"id", "replace"))
    assert [len(old.items) for old in machine.world.trash] == [1]


def test_rows_of_writes_are_as_quick_after_publishing(machine: StateMachine) -> None:
    """The many requests of a pipeline are executed in one go, although versions are looked up elsewhere."""
    machine.apply(stage(b"id", 0, many(2000)))
    machine.apply(publish(b"id", "merge"))
    before = versions(machine)[0, b"key:7"]
    machine.table = {}  # the way of single requests would fail
    machine.apply_row([(b"SET", b"key:7", b"1"), (b"SET", b"key:8", b"2"), (b"SET", b"key:7", b"3")])
    view = machine.world.views[0]
    assert view.strings([b"key:7", b"key:8", b"key:9"]) == [b"3", b"2", b"v"]
    assert before < view.version(b"key:8") < view.version(b"key:7")


# Against the twin.

KEYS = st.sampled_from([b"k%d" % n for n in range(9)])
NUMBERS = st.integers(0, DBS - 1)
VALUES = st.binary(max_size=3)
TIMES = st.none() | st.integers(1, 60).map(lambda n: NOW + n * 100)
FLAGS = st.integers(0, 2)
NAMES = st.sampled_from([b"one", b"two"])
ROWS = st.lists(st.tuples(KEYS, VALUES, TIMES, FLAGS), max_size=10)
STEP = st.one_of(
    st.tuples(st.just("set"), NUMBERS, KEYS, VALUES, TIMES, FLAGS),
    st.tuples(st.just("delete"), NUMBERS, KEYS),
    st.tuples(st.just("block"), NUMBERS, KEYS),
    st.tuples(st.just("flush"), NUMBERS),
    st.tuples(st.just("swap"), NUMBERS, NUMBERS),
    st.tuples(st.just("wait"), st.integers(1, 1500)),
    st.tuples(st.just("stage"), NAMES, NUMBERS, ROWS),
    st.tuples(st.just("stage"), NAMES, NUMBERS, ROWS),
    st.tuples(st.just("publish"), NAMES, st.sampled_from(["merge", "merge", "replace"])),
    st.tuples(st.just("unstage"), NAMES),
    st.tuples(st.just("settle"), st.integers(1, 9)),
)


class Twin:
    """The state as plainly as it can be said, and how each step is written in the log."""

    def __init__(self) -> None:
        self.now = NOW
        self.live: list[dict[bytes, tuple[bytes, int | None, int]]] = [{} for _ in range(DBS)]
        self.staged: dict[bytes, list[dict[bytes, tuple[bytes, int | None, int]]]] = {}
        self.written: set[tuple[int, bytes]] = set()  # by the last step

    def seen(self) -> dict[tuple[int, bytes], tuple[bytes, int | None, int]]:
        return {
            (number, key): facts
            for number, keys in enumerate(self.live)
            for key, facts in keys.items()
            if facts[1] is None or facts[1] > self.now
        }

    def step(self, step: Any) -> Entry | None:
        self.written = set()
        return getattr(self, step[0])(*step[1:])  # type: ignore[no-any-return]

    def set(self, db: int, key: bytes, value: bytes, at_ms: int | None, flags: int) -> Entry:
        options: Entry = () if at_ms is None else (b"PXAT", b"%d" % at_ms)
        self.live[db][key] = (value, at_ms, flags)
        self.written = {(db, key)}
        if at_ms is not None and at_ms <= self.now:
            del self.live[db][key]
        return in_database(db, (b"EXSET", key, value, *options, b"FLAGS", b"%d" % flags))

    def delete(self, db: int, key: bytes) -> Entry:
        self.live[db].pop(key, None)
        return in_database(db, (b"DEL", key))

    def block(self, db: int, key: bytes) -> Entry:
        """Several versions in one entry: they run ahead of the log."""
        self.live[db][key] = (b"xyz", None, 0)
        self.written = {(db, key)}
        return operations.transaction([], [(db, (b"SET", key, b"xyz"))] * 12)

    def flush(self, db: int) -> Entry:
        self.live[db] = {}
        return in_database(db, (b"FLUSHDB",))

    def swap(self, one: int, other: int) -> Entry:
        self.live[one], self.live[other] = self.live[other], self.live[one]
        self.written = {(db, key) for db in (one, other) if one != other for key in self.live[db]}
        return b"SWAPDB", b"%d" % one, b"%d" % other

    def wait(self, ms: int) -> None:
        self.now += ms

    def stage(self, name: bytes, db: int, rows: list[Row]) -> Entry:
        aside = self.staged.setdefault(name, [{} for _ in range(DBS)])
        aside[db] |= {key: (value, at_ms, flags) for key, value, at_ms, flags in rows}
        return stage(name, db, rows)

    def publish(self, name: bytes, mode: str) -> Entry:
        aside = self.staged.pop(name, [{} for _ in range(DBS)])
        self.written = {(db, key) for db, keys in enumerate(aside) for key in keys}
        self.live = aside if mode == "replace" else [a | b for a, b in zip(self.live, aside, strict=True)]
        return publish(name, mode)

    def unstage(self, name: bytes) -> Entry:
        self.staged.pop(name, None)
        return unstage(name)

    def settle(self, keys: int) -> None:
        """Nothing that is seen."""


@pytest.fixture(scope="module", autouse=True)
def low_thresholds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyspace, "EXPIRIES_AT_ONCE_MAX", 1)
        yield


@settings(max_examples=200)
@given(st.lists(STEP, max_size=30), st.integers(0, 20), st.sampled_from([0, 3, 1000]), st.sampled_from([0, 10, 1 << 20]))
def test_any_history(steps: Any, cut: int, index_from: int, rewrite_max: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "INDEX_FROM", index_from)
        patch.setattr(staging, "REWRITE_BYTES_MAX", rewrite_max)
        play(steps, cut)


def play(steps: Any, cut: int) -> None:
    machine, replayed, twin = new_machine(), new_machine(), Twin()
    loaded: StateMachine | None = None
    highest: dict[tuple[int, bytes], int] = {}  # versions that a client may remember
    for number, step in enumerate(steps):
        entry = twin.step(step)
        before = versions(machine)
        for each in (machine, replayed, loaded):
            if each is not None and entry is not None:
                each.begin_batch(twin.now, 1)
                assert not isinstance(each.apply(entry), CommandError), entry
        if step[0] == "settle":
            machine.world.settle(step[1])
        machine.read_at(twin.now)
        assert seen(machine) == twin.seen()
        after = versions(machine)
        for place, version in after.items():
            if place in twin.written:
                assert version > highest.get(place, 0), (place, "must not come back")
            else:
                assert version == before[place], (place, "nobody has written it")
            highest[place] = version
        if number == cut:
            loaded = copied(machine)
        assert digest_hex(machine) == digest_hex(replayed)
        assert loaded is None or digest_hex(loaded) == digest_hex(machine)
    for each in (machine, replayed, loaded):
        if each is not None:
            check_indexes(each)


def check_indexes(machine: StateMachine) -> None:
    machine.world.unsettled = True
    while not machine.world.settle(1000):
        pass
    for db in machine.world.databases:
        assert sorted(db.scan(0, 1000)[1]) == sorted(db.items)
        assert sorted(db.due(NOW * 2, 1000)) == sorted(db.expires)
        assert db.expires_sum == sum(db.expires.values())
