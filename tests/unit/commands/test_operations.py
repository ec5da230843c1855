"""The `@` entries: how they are written, and what they do when they are applied."""

from random import Random

import pytest

from vaylix_resp.commands.operations import (
    EXPIRE,
    IN,
    NOOP,
    OPERATIONS,
    UnknownOperation,
    expiry,
    in_database,
    publish,
    stage,
    transaction,
    unstage,
)  # fmt: skip
from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.engine import entries
from vaylix_resp.errors import CommandError, Halt
from vaylix_resp.resp.reply import NULL_ARRAY, OK
from vaylix_resp.state.machine import StateMachine

NOW = 1_700_000_000_000


@pytest.fixture
def machine():
    machine = StateMachine(apply_table(), 16, rng=Random(1), accounts=new_accounts())

    def on_bug(name, bug):
        raise bug

    machine.on_bug = on_bug
    machine.begin_batch(NOW, 1)
    return machine


def apply(machine, *words):
    """One entry, by way of the log's encoding."""
    (operation,) = entries.decode(entries.encode([words]))
    return machine.apply(operation)


def text(reply):
    return [text(one) for one in reply] if isinstance(reply, list) else getattr(reply, "text", reply)


def contents(machine):
    return {(n, key): item[8:] for n, db in enumerate(machine.world.databases) for key, item in db.items.items()}


def version(machine, key, db=0):
    return machine.world.views[db].version(key)


# Writing.


def test_in_database():
    request = [b"SET", b"a", b"1"]
    assert in_database(0, request) == (b"SET", b"a", b"1")
    assert in_database(15, request) == (IN, b"15", b"SET", b"a", b"1")


def test_transaction():
    assert transaction([], []) == (b"@exec", b"0")
    assert transaction([(2, b"w", 7)], [(0, [b"GET", b"a"]), (1, (b"DEL", b"b", b"c"))]) == (
        b"@exec", b"1", b"2", b"w", b"7", b"0", b"2", b"GET", b"a", b"1", b"3", b"DEL", b"b", b"c"
    )  # fmt: skip


def test_expiry():
    assert expiry(3, [b"a", b"b"]) == (EXPIRE, b"3", b"a", b"b")


def test_staging():
    rows = [(b"a", b"1", None, 0), (b"b", b"2", NOW, 7)]
    assert stage(b"id", 3, rows) == (b"@stage", b"id", b"3", b"a", b"1", b"", b"", b"b", b"2", b"%d" % NOW, b"7")
    assert publish(b"id", "merge") == (b"@publish", b"id", b"merge")
    assert unstage(b"id") == (b"@unstage", b"id")


def test_no_client_can_name_an_operation():
    for name in OPERATIONS:
        assert name.startswith(b"@") and name.decode() not in apply_table()


# Applying.


def test_in(machine):
    assert apply(machine, *in_database(3, (b"SET", b"a", b"1"))) is OK
    assert contents(machine) == {(3, b"a"): b"1"}
    refused = apply(machine, *in_database(3, (b"INCRBY", b"a", b"x")))
    assert isinstance(refused, CommandError)
    assert machine.applied == 2


def test_a_block_is_executed_in_order_each_request_in_its_database(machine):
    reply = apply(machine, *transaction([], [
        (0, (b"SET", b"a", b"1")), (1, (b"SET", b"a", b"9")), (0, (b"INCR", b"a")), (1, (b"GET", b"a")),
        (0, (b"MGET", b"a", b"b")),
    ]))  # fmt: skip
    assert reply == [OK, OK, 2, b"9", [b"2", None]]
    assert contents(machine) == {(0, b"a"): b"2", (1, b"a"): b"9"}
    assert machine.applied == 1, "one entry"


def test_what_is_refused_inside_stops_nothing(machine):
    reply = apply(machine, *transaction([], [
        (0, (b"SET", b"a", b"x")), (0, (b"INCR", b"a")), (0, (b"SET", b"b", b"1", b"NOSUCH")),
        (0, (b"SET", b"c", b"1")),
    ]))  # fmt: skip
    assert text(reply) == ["OK", "ERR value is not an integer or out of range", "ERR syntax error", "OK"]
    assert set(contents(machine)) == {(0, b"a"), (0, b"c")}
    assert all(one.__traceback__ is None for one in reply if isinstance(one, CommandError))


class Broken:
    """A machine one of whose handlers has a bug; what it was told of it."""

    def __init__(self, failure):
        def fail(tx, argv):
            tx.put(b"half", b"done")
            raise failure

        self.machine = StateMachine(apply_table() | {b"GETDEL": fail}, 16, rng=Random(1), accounts=new_accounts())
        self.told = []
        self.machine.on_bug = lambda name, bug: self.told.append((name, bug))
        self.machine.begin_batch(NOW, 1)


@pytest.mark.parametrize("failure", [ZeroDivisionError(), KeyError(b"GETDEL"), KeyError(b"unheard"), Exception()], ids=repr)
def test_a_bug_inside_a_block_is_that_request_s_alone(failure):
    """The others are executed, as they would be one by one: every replica does the same."""
    broken = Broken(failure)
    block = [(0, (b"SET", b"a", b"1")), (3, (b"GETDEL", b"a")), (0, (b"INCR", b"a")), (0, (b"GETDEL", b"a"))]
    reply = apply(broken.machine, *transaction([], block))
    assert [reply[0], reply[2]] == [OK, 2] and len(reply) == 4
    assert all(one.code == "ERR" and "internal error" in one.text for one in (reply[1], reply[3]))
    assert broken.told == [(b"GETDEL", failure)] * 2
    assert contents(broken.machine) == {(0, b"a"): b"2", (0, b"half"): b"done", (3, b"half"): b"done"}
    alone = apply(broken.machine, b"GETDEL", b"a")
    assert alone.text == reply[1].text


@pytest.mark.parametrize("words", [in_database(1, (b"GETDEL", b"a")), transaction([], [(1, (b"GETDEL", b"a"))])])
def test_lack_of_memory_inside_is_not_hidden(words):
    with pytest.raises(Halt, match="out of memory"):
        apply(Broken(MemoryError()).machine, *words)


@pytest.mark.parametrize(
    "words", [in_database(1, (b"NOSUCH", b"a")), transaction([], [(0, (b"SET", b"a", b"1")), (1, (b"NOSUCH",))])]
)
def test_a_request_that_this_version_does_not_know_is_told_by_its_name(words):
    """Not as a bug of the handler: recovery refuses the one and goes on after the other."""
    machine = StateMachine(apply_table(), 16, rng=Random(1), accounts=new_accounts())
    told = []
    machine.on_bug = lambda name, bug: told.append(bug)
    apply(machine, *words)
    (unknown,) = told
    assert isinstance(unknown, UnknownOperation) and unknown.name == b"NOSUCH"


def test_an_empty_block(machine):
    assert apply(machine, *transaction([], [])) == []


@pytest.mark.parametrize(
    "change, executed",
    [((b"SET", b"other", b"1"), True), ((b"SET", b"w", b"1"), False), ((b"DEL", b"w"), False),
     (in_database(1, (b"SET", b"w", b"2")), True), ((b"SWAPDB", b"0", b"1"), False), ((b"FLUSHALL",), False),
     ((b"EXPIRE", b"w", b"100"), False), ((b"GETEX", b"w"), True)],
)  # fmt: skip
def test_watched_versions(machine, change, executed):
    apply(machine, b"SET", b"w", b"1")
    watched = [(0, b"w", version(machine, b"w")), (0, b"none", 0)]
    apply(machine, *change)
    reply = apply(machine, *transaction(watched, [(0, (b"SET", b"x", b"1"))]))
    assert reply == [OK] if executed else reply is NULL_ARRAY
    assert ((0, b"x") in contents(machine)) == executed


def test_a_watched_key_that_came_into_being(machine):
    apply(machine, b"SET", b"w", b"1")
    assert apply(machine, *transaction([(0, b"w", 0)], [(0, (b"SET", b"x", b"1"))])) is NULL_ARRAY


def test_a_watched_key_whose_time_has_come(machine):
    apply(machine, b"SET", b"w", b"1", b"PX", b"50")
    seen = version(machine, b"w")
    machine.begin_batch(NOW + 49, 1)
    assert apply(machine, *transaction([(0, b"w", seen)], [(0, (b"TOUCH", b"w"))])) == [1]
    machine.begin_batch(NOW + 50, 1)
    assert apply(machine, *transaction([(0, b"w", seen)], [(0, (b"SET", b"x", b"1"))])) is NULL_ARRAY
    assert apply(machine, *transaction([(0, b"w", 0)], [(0, (b"SET", b"x", b"1"))])) == [OK]


def test_the_order_of_watched_and_written_words_survives_any_bytes(machine):
    strange = b"\r\n$3\r\n*0\r\n\x00\xff"
    apply(machine, b"SET", strange, strange)
    seen = version(machine, strange)
    reply = apply(machine, *transaction([(0, strange, seen), (0, b"", 0)], [(0, (b"APPEND", strange, b"")),
                                                                            (0, (b"SET", b"", b""))]))  # fmt: skip
    assert reply == [len(strange), OK] and contents(machine) == {(0, strange): strange, (0, b""): b""}


def test_expire_removes_what_is_due_and_nothing_else(machine):
    for key, options in ((b"due", (b"PX", b"50")), (b"later", (b"PX", b"500")), (b"never", ())):
        apply(machine, b"SET", key, b"1", *options)
    machine.begin_batch(NOW + 100, 1)
    assert apply(machine, *expiry(0, [b"due", b"later", b"never", b"none"])) is OK
    assert set(contents(machine)) == {(0, b"later"), (0, b"never")} and machine.world.expired == 1


def test_expire_in_its_database(machine):
    apply(machine, *in_database(2, (b"SET", b"a", b"1", b"PX", b"50")))
    machine.begin_batch(NOW + 100, 1)
    apply(machine, *expiry(1, [b"a"]))
    assert (2, b"a") in contents(machine)
    apply(machine, *expiry(2, [b"a"]))
    assert contents(machine) == {}


def test_staged_keys_become_live_by_one_entry(machine):
    apply(machine, *stage(b"id", 1, [(b"a", b"", None, 0), (b"\r\n", b"\x00", NOW + 9, 4_294_967_295)]))
    apply(machine, *stage(b"id", 2, [(b"a", b"2", NOW + 50, 1)]))
    assert contents(machine) == {} and machine.applied == 2
    assert apply(machine, *publish(b"id", "merge")) == 3
    assert contents(machine) == {(1, b"a"): b"", (1, b"\r\n"): b"\x00", (2, b"a"): b"2"}
    first, second = machine.world.views[1], machine.world.views[2]
    assert (first.expiry(b"a"), first.flags(b"a")) == (None, 0)
    assert (first.expiry(b"\r\n"), first.flags(b"\r\n")) == (NOW + 9, 4_294_967_295)
    assert (second.expiry(b"a"), second.flags(b"a")) == (NOW + 50, 1)
    assert {version(machine, b"a", 1), version(machine, b"\r\n", 1), version(machine, b"a", 2)} == {3}


def test_staged_keys_may_be_all_there_is(machine):
    apply(machine, b"SET", b"a", b"1")
    apply(machine, *stage(b"id", 1, [(b"b", b"2", None, 0)]))
    assert apply(machine, *publish(b"id", "replace")) == 1 and contents(machine) == {(1, b"b"): b"2"}


def test_staged_keys_can_be_thrown_away(machine):
    apply(machine, *stage(b"id", 1, [(b"b", b"2", None, 0)]))
    for _ in range(2):
        assert apply(machine, *unstage(b"id")) is OK
    assert apply(machine, *publish(b"id", "merge")) == 0 and contents(machine) == {}


def test_noop(machine):
    assert apply(machine, NOOP, b"1", b"16") is OK and machine.applied == 1 and contents(machine) == {}


def test_a_read_between_entries_does_not_move_their_time(machine):
    apply(machine, b"SET", b"a", b"1", b"EX", b"10")
    machine.read_at(NOW + 5000)
    apply(machine, b"SET", b"b", b"1", b"EX", b"10")
    expires = machine.world.databases[0].expires
    assert expires[b"a"] == expires[b"b"] == NOW + 10_000
