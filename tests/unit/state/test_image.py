"""The state as plain objects, through msgpack as a snapshot packs them, and back."""

from __future__ import annotations

from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.state import image
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.image import EXPIRES, FLAGS, ITEMS, META, TooFewDatabases
from vaylix_resp.state.machine import StateMachine

START_MS = 1_700_000_000_000


def new_machine(databases: int = 4) -> StateMachine:
    return StateMachine(apply_table(), databases, rng=Random(1), accounts=new_accounts())


def apply(machine: StateMachine, *texts: str) -> StateMachine:
    machine.begin_batch(max(machine.time_ms, START_MS), 7)
    machine.apply_all([text.encode().split() for text in texts])
    return machine


def through_msgpack(machine: StateMachine) -> list[tuple[int, list[object]]]:
    packed = [(kind, msgpack.packb(obj, use_bin_type=True)) for kind, obj in image.dump(machine)]
    return [(kind, msgpack.unpackb(raw, raw=False, strict_map_key=False)) for kind, raw in packed]


def copied(machine: StateMachine, databases: int = 4) -> StateMachine:
    copy = new_machine(databases)
    for kind, obj in through_msgpack(machine):
        image.load(copy, kind, obj)
    return copy


SCRIPTS = {
    "empty": [],
    "strings": ["SET a 1", "SET b 2", "SET a 3"],
    "deleted": ["SET a 1", "DEL a", "SET b 1"],
    "only deleted": ["SET a 1", "DEL a"],
    "expiry": ["SET a 1 PX 1000", "SET b 1", f"SET c 1 PXAT {2**62}", "PERSIST a", "PEXPIREAT b 9999999999999"],
    "flags": ["EXSET a v FLAGS 4294967295", "EXSET b v FLAGS 1 EX 10", "EXSET b v FLAGS 0"],
    "users": [
        "@acl setrole r ~a* +get", "@acl setuser u on nopass role=r (~b +set)", "@acl deluser nobody",
        f"@acl setuser u #{'ab' * 32} resetpass",
    ],
    "databases": ["@in 1 SET a 1", "@in 3 SET a 2 EX 5", "SET a 3", "@in 3 MOVE a 2"],
    "exchanged": ["SET a 1 EX 9", "@in 1 SET a 2", "SWAPDB 0 1", "SET new 1", "@in 1 APPEND a x", "SWAPDB 1 2"],
    "flushed": ["SET a 1", "@in 1 SET b 1", "FLUSHALL", "SET c 1"],
    "refused": ["SET a text", "INCR a"],
    "maintenance": ["SET a 1", "@maintenance on disk"],
    "no maintenance": ["@maintenance on disk", "@maintenance off"],
    "differing": ["@members 0123456789abcdef 1 17 n1 h1 7001 1", "@digest differ 1 keys 17 18"],
    "nodes": ["SET a 1", "@members 0123456789abcdef 2 17 n1 h1 7001 1 9 n2 h2 7002 0 5 6"],
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_copy_is_equal_and_goes_on_alike(script: list[str]) -> None:
    machine = apply(new_machine(), *script)
    copy = copied(machine)
    assert digest_hex(copy) == digest_hex(machine)
    assert (copy.applied, copy.time_ms) == (machine.applied, machine.time_ms)
    for one in (machine, copy):  # versions that follow, keys that expire, what a scan finds
        apply(one, "SET a 9", "SET fresh 1", "@in 1 SET a 9", "@in 2 DEL a", "SWAPDB 0 3", "SET after 1")
        one.begin_batch(START_MS + 60_000, 8)
        one.apply_all([[b"@in", b"3", b"APPEND", b"b", b"x"], [b"@expire", b"0", b"c"]])
    assert digest_hex(copy) == digest_hex(machine)
    for ours, theirs in zip(copy.world.databases, machine.world.databases, strict=True):
        assert ours.expires_sum == theirs.expires_sum
        assert set(ours.scan(0, 1 << 30)[1]) == set(theirs.items)
        assert sorted(ours.due(1 << 62, 100)) == sorted(theirs.due(1 << 62, 100))


KEYS = st.sampled_from(["a", "b", "c"])
COMMANDS = st.one_of(
    st.builds("SET {} {}".format, KEYS, st.integers(0, 9)),
    st.builds("SET {} {} PX {}".format, KEYS, st.integers(0, 9), st.integers(1, 5000)),
    st.builds("EXSET {} v FLAGS {}".format, KEYS, st.integers(0, 3)),
    st.builds("INCR {}".format, KEYS),
    st.builds("DEL {}".format, KEYS),
    st.builds("PERSIST {}".format, KEYS),
    st.builds("MOVE {} {}".format, KEYS, st.integers(0, 5)),
    st.builds("SWAPDB {} {}".format, st.integers(0, 3), st.integers(0, 3)),
    st.just("FLUSHDB"),
)
HISTORIES = st.lists(st.builds("@in {} {}".format, st.integers(1, 3), COMMANDS) | COMMANDS, max_size=25)


@given(HISTORIES, HISTORIES)
@settings(max_examples=150)
def test_any_history_and_what_follows(history: list[str], rest: list[str]) -> None:
    machine = apply(new_machine(), *history)
    copy = copied(machine)
    assert digest_hex(copy) == digest_hex(machine)
    assert digest_hex(apply(copy, *rest)) == digest_hex(apply(machine, *rest))


def test_a_second_dump_is_the_same_bytes() -> None:
    """A snapshot made again at the same sequence may replace the first at any moment."""
    machine = apply(new_machine(), *(text for script in SCRIPTS.values() for text in script))
    copy = copied(machine)
    assert [msgpack.packb(obj) for _, obj in image.dump(copy)] == [msgpack.packb(obj) for _, obj in image.dump(machine)]


# Chunks.


def sizes(machine: StateMachine, kind: int) -> list[int]:
    return [len(obj[1]) for k, obj in image.dump(machine) if k == kind]


def test_chunks_of_many_small_keys() -> None:
    machine = apply(new_machine(), *(f"EXSET key:{n} v FLAGS 1 EX 100" for n in range(2 * image.CHUNK_KEYS + 1)))
    for kind in (ITEMS, EXPIRES, FLAGS):
        assert sizes(machine, kind) == [image.CHUNK_KEYS, image.CHUNK_KEYS, 1]
    assert digest_hex(copied(machine)) == digest_hex(machine)


@pytest.mark.parametrize("long_name", [True, False])
def test_chunks_of_large_keys_or_values(long_name: bool) -> None:
    """A snapshot must be possible whatever names a client gives its keys."""
    machine = new_machine()
    machine.begin_batch(START_MS, 7)
    for n in range(20):
        long = b"%d" % n + b"x" * (image.CHUNK_BYTES // 4)
        key, value = (long, b"v") if long_name else (b"%d" % n, long)
        machine.apply_all([[b"EXSET", key, value, b"FLAGS", b"1", b"EX", b"100"]])
    for kind in (ITEMS, EXPIRES, FLAGS) if long_name else (ITEMS,):
        assert sizes(machine, kind) == [4] * 5
    largest = max(len(msgpack.packb(obj)) for _, obj in image.dump(machine))
    assert largest < 2 * image.CHUNK_BYTES
    assert digest_hex(copied(machine)) == digest_hex(machine)


def test_a_single_large_value_is_a_chunk_of_its_own() -> None:
    machine = new_machine()
    machine.begin_batch(START_MS, 7)
    machine.apply_all([[b"SET", b"a", b"x" * (3 * image.CHUNK_BYTES)], [b"SET", b"b", b"1"]])
    assert sizes(machine, ITEMS) == [1, 1]


# Databases.


def test_the_first_object_says_what_is_needed() -> None:
    machine = apply(new_machine(6), "SET a 1")
    kind, obj = next(image.dump(machine))
    assert kind == META and obj == [1, START_MS, 1, 0, 6]


@pytest.mark.parametrize("databases", [4, 5, 16])
def test_there_are_as_many_databases_as_in_the_original(databases: int) -> None:
    """How many there are decides what MOVE does, so it is a part of what is copied."""
    copy = copied(apply(new_machine(4), "SET a 1"), databases)
    world = copy.world
    assert len(world.databases) == len(world.views) == len(world.transactions) == 4
    copy.begin_batch(START_MS, 0)
    assert "out of range" in str(copy.apply([b"MOVE", b"a", b"4"]))
    copy.resize(databases + 1)
    assert copy.apply([b"MOVE", b"a", b"%d" % databases]) == 1
    assert [view.db for view in world.views] == [tx.db for tx in world.transactions] == world.databases
    assert [view.index for view in world.views] == list(range(databases + 1))


def test_too_few_databases() -> None:
    machine = apply(new_machine(5), "SET a 1")
    smaller = new_machine(3)
    with pytest.raises(TooFewDatabases, match="the data has 5 databases, `databases` allows 3") as refused:
        image.load(smaller, *next(image.dump(machine)))
    assert (refused.value.needed, refused.value.allowed) == (5, 3)
    assert smaller.applied == 0


def test_databases_that_hold_keys_do_not_go() -> None:
    machine = apply(new_machine(4), "@in 3 SET a 1")
    with pytest.raises(AssertionError):
        machine.resize(3)
    assert len(machine.world.databases) == 4
