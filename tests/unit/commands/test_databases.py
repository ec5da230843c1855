"""Whole databases: none sees another's keys, and emptying one is a matter of a moment."""

from types import SimpleNamespace

import pytest

from vaylix_resp.commands.databases import select
from vaylix_resp.errors import SYNTAX, CommandError
from vaylix_resp.resp.reply import OK

NO_DB = "ERR DB index is out of range"
NOT_INT = "ERR value is not an integer or out of range"
NOT_INT32 = "ERR value is out of range, value must between -2147483648 and 2147483647"
SAME = "ERR source and destination objects are the same"


@pytest.fixture
def client(box):
    return SimpleNamespace(db=0, server=SimpleNamespace(machine=box.machine))


@pytest.mark.parametrize("raw, db", [(b"0", 0), (b"1", 1), (b"15", 15)])
def test_select(client, raw, db):
    assert select(client, [b"SELECT", raw]) == OK
    assert client.db == db


@pytest.mark.parametrize(
    "raw, error",
    [
        (b"16", NO_DB), (b"-1", NO_DB), (b"abc", NOT_INT), (b"", NOT_INT), (b"+1", NOT_INT), (b"007", NOT_INT),
        (b"99999999999", NOT_INT32), (b"99999999999999999999", NOT_INT),
    ],
)  # fmt: skip
def test_select_of_no_database(client, raw, error):
    client.db = 3
    with pytest.raises(CommandError) as refused:
        select(client, [b"SELECT", raw])
    assert refused.value.text == error
    assert client.db == 3


@pytest.mark.parametrize(
    "request_, reply",
    [
        (("MOVE", "k", "1"), 1),
        (("MOVE", "k", "2"), 0),
        (("MOVE", "none", "1"), 0),
        (("MOVE", "k", "0"), SAME),
        (("MOVE", "none", "0"), SAME),
        (("MOVE", "k", "16"), NO_DB),
        (("MOVE", "k", "-1"), NO_DB),
        (("MOVE", "k", "x"), NOT_INT),
        (("MOVE", "none", "99999999999"), NOT_INT32),
        (("SWAPDB", "0", "1"), OK),
        (("SWAPDB", "3", "3"), OK),
        (("SWAPDB", "x", "y"), "ERR invalid first DB index"),
        (("SWAPDB", "99999999999", "y"), "ERR invalid first DB index"),
        (("SWAPDB", "16", "y"), "ERR invalid second DB index"),
        (("SWAPDB", "16", "0"), NO_DB),
        (("SWAPDB", "0", "-1"), NO_DB),
        (("FLUSHDB",), OK),
        (("FLUSHDB", "ASYNC"), OK),
        (("FLUSHALL", "sync"), OK),
        (("FLUSHALL", "NOW"), SYNTAX),
        (("FLUSHALL", "ASYNC", "SYNC"), SYNTAX),
        (("FLUSHDB", ""), SYNTAX),
        (("DBSIZE",), 1),
    ],
)
def test_replies(box, request_, reply):
    box("SET", "k", "v")
    box("SET", "k", "v", db=2)
    assert box(*request_) == reply


def test_move_and_its_events(box):
    box("SET", "k", "v", "PX", "500")
    box.listen()
    assert box("MOVE", "k", "1") == 1
    assert box.events == ["n new k db1", "g move_from k", "g move_to k db1"]
    assert (box("GET", "k"), box("GET", "k", db=1), box("PTTL", "k", db=1)) == (None, b"v", 500)
    assert (box("DBSIZE"), box("DBSIZE", db=1)) == (0, 1)


def test_move_onto_an_expired_key(box):
    box("SET", "k", "v")
    box("SET", "k", "old", "PX", "1", db=1)
    box.now += 1
    assert box("MOVE", "k", "1") == 1
    assert box("GET", "k", db=1) == b"v"


def test_flushdb_empties_one_flushall_all(box):
    for db in (0, 1, 5):
        box("MSET", "a", "1", "b", "2", db=db)
    box("FLUSHDB", db=1)
    assert [box("DBSIZE", db=db) for db in (0, 1, 5)] == [2, 0, 2]
    box("FLUSHALL", db=1)
    assert [box("DBSIZE", db=db) for db in (0, 1, 5)] == [0, 0, 0]
    assert box("SCAN", "0") == [b"0", []]


def test_flushing_many_keys_does_not_wait_for_their_memory(box):
    box("MSET", *(word for n in range(1500) for word in (f"key:{n}", "v")))
    assert box("FLUSHALL") == OK
    assert box("DBSIZE") == 0
    assert sum(len(db.items) for db in box.machine.world.trash) == 1500


def test_a_new_key_after_a_flush_has_a_higher_version(box):
    box("SET", "k", "v")
    old = box("OBJECT", "VERSION", "k")
    box("FLUSHALL")
    box("SET", "k", "v")
    assert box("OBJECT", "VERSION", "k") > old


def test_swapdb_exchanges_keys_and_expiries(box):
    box("SET", "a", "zero", "PX", "500")
    box("SET", "b", "three", db=3)
    assert box("SWAPDB", "0", "3", db=7) == OK
    assert (box("GET", "b"), box("GET", "a")) == (b"three", None)
    assert (box("GET", "a", db=3), box("PTTL", "a", db=3)) == (b"zero", 500)
    box.now += 500
    assert box("GET", "a", db=3) is None


def test_swapping_twice_does_not_bring_a_version_back(box):
    box("SET", "k", "v")
    seen = [box("OBJECT", "VERSION", "k")]
    for _ in range(2):
        box("SWAPDB", "0", "1")
        box("SWAPDB", "1", "0")
        seen.append(box("OBJECT", "VERSION", "k"))
    assert seen == sorted(set(seen))
    assert box("SET", "k", "stale", "IF", "VERSION", str(seen[0])) is None
    assert box("SET", "k", "new", "IF", "VERSION", str(seen[-1])) == OK


def test_dbsize_counts_what_has_not_been_removed_yet(box):
    """As redis-server does until its expiry cycle comes by."""
    box("SET", "k", "v", "PX", "1")
    box.now += 1
    assert box("DBSIZE") == 1
