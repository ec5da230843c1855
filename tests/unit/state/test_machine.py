"""`apply` counts every entry, whatever becomes of it."""

from random import Random

import pytest

from tests.unit.unheard import Reader
from vaylix_resp.commands.registry import new_accounts
from vaylix_resp.errors import CommandError, Halt
from vaylix_resp.state.machine import StateMachine


def refuse(tx, argv):
    raise CommandError("ERR no")


def fail(tx, argv):
    raise ZeroDivisionError


def out_of_memory(tx, argv):
    raise MemoryError


def put(tx, argv):
    tx.put(argv[1], argv[2])
    return tx.now, tx.world.sequence, tx.world.seed


TABLE = {b"PUT": put, b"REFUSE": refuse, b"FAIL": fail, b"MEMORY": out_of_memory}


@pytest.fixture
def machine():
    return StateMachine(TABLE, 3, rng=Random(1), accounts=new_accounts())


def test_replies_that_nobody_waits_for_are_not_kept():
    """A row may ask for a large value many times."""
    reader = Reader()
    reader.machine.apply_unheard([[b"READ"]] * 5)
    assert max(reader.most) <= 1 and reader.machine.applied == 5
    assert len(reader.machine.apply_row([[b"READ"]] * 5)) == 5 and max(reader.most) >= 4, "the measure works"


def test_time_and_seed_are_the_batch_s(machine):
    machine.begin_batch(500, 77)
    assert machine.apply([b"PUT", b"k", b"v"]) == (500, 1, 77)
    assert machine.apply([b"PUT", b"k", b"v"]) == (500, 2, 77)
    machine.begin_batch(500, 78)
    assert machine.apply([b"PUT", b"k", b"v"]) == (500, 3, 78)
    assert machine.applied == 3


def test_time_never_falls(machine):
    machine.begin_batch(500, 0)
    with pytest.raises(AssertionError):
        machine.begin_batch(499, 0)


def test_a_refused_entry_counts_and_its_answer_is_the_error(machine):
    reply = machine.apply([b"REFUSE"])
    assert isinstance(reply, CommandError) and reply.text == "ERR no"
    assert machine.applied == 1


def test_our_own_bug_is_an_error_for_the_client_and_is_reported(machine):
    bugs = []
    machine.on_bug = lambda name, bug: bugs.append((name, type(bug)))
    reply = machine.apply([b"FAIL"])
    assert isinstance(reply, CommandError) and reply.code == "ERR"
    assert bugs == [(b"FAIL", ZeroDivisionError)]
    assert machine.apply([b"PUT", b"k", b"v"])[1] == 2


def test_lack_of_memory_is_not_hidden(machine):
    """Another replica may have enough: going on would make the two differ."""
    with pytest.raises(Halt, match="out of memory while applying entry 1"):
        machine.apply([b"MEMORY"])


@pytest.mark.parametrize("clock, seen", [(400, 500), (500, 500), (501, 501)])
def test_reads_are_never_before_the_log(machine, clock, seen):
    machine.begin_batch(500, 0)
    machine.read_at(clock)
    assert machine.world.views[0].now == seen


def test_the_next_batch_s_time_replaces_that_of_reads(machine):
    machine.begin_batch(500, 0)
    machine.read_at(900)
    machine.begin_batch(600, 0)
    assert machine.apply([b"PUT", b"k", b"v"])[0] == 600


def test_seek_goes_on_behind_a_snapshot(machine):
    machine.seek(41, 700)
    assert machine.world.views[0].now == 700
    machine.begin_batch(700, 5)
    assert machine.apply([b"PUT", b"k", b"v"]) == (700, 42, 5)
    assert machine.world.views[0].version(b"k") == 42
    with pytest.raises(AssertionError):
        machine.begin_batch(699, 0)


def test_as_many_databases_as_asked_for(machine):
    assert len(machine.world.databases) == len(machine.world.views) == len(machine.world.transactions) == 3
    assert [view.db for view in machine.world.views] == machine.world.databases
