"""What a version may do, what expiry hides, and what observers are told."""

from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from vaylix_resp.commands.registry import new_accounts
from vaylix_resp.state import image, views
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import TRASH_MAX, StateMachine
from vaylix_resp.state.values import value_of, version_of

DBS = 2


def new_machine():
    """Operations are lists of (method name, arguments); one list is one entry, as a MULTI block is."""

    def run(tx, argv):
        for db, name, *words in argv[1]:
            ACTIONS[name](tx.other(db), *words)

    machine = StateMachine({b"run": run}, DBS, rng=Random(1), accounts=new_accounts())
    machine.begin_batch(1_000_000, 0)
    return machine


def put(tx, key):
    tx.put(key, b"v")


def update(tx, key):
    tx.item(key)
    tx.update(key, b"w")


def delete(tx, key):
    tx.delete(key)


def expiry(tx, key):
    if tx.exists(key):
        tx.set_expiry(key, 2_000_000)


def rename(tx, key, new):
    item = tx.item(key)
    if item is not None and key != new:
        tx.delete(new)
        tx.put(new, value_of(item))
        tx.delete(key)


def move(tx, key):
    item, target = tx.item(key), tx.other(1 - tx.index)
    if item is not None and not target.exists(key):
        target.put(key, value_of(item))
        tx.delete(key)


def flush(tx):
    tx.flush()


def swap(tx):
    tx.swap(1 - tx.index)


ACTIONS = {f.__name__: f for f in (put, update, delete, expiry, rename, move, flush, swap)}
KEYS = st.sampled_from([b"a", b"b", b"c"])
ACTION = st.one_of(
    st.tuples(st.integers(0, 1), st.sampled_from(["put", "update", "delete", "expiry", "move"]), KEYS),
    st.tuples(st.integers(0, 1), st.just("rename"), KEYS, KEYS),
    st.tuples(st.integers(0, 1), st.sampled_from(["flush", "swap"])),
)
PLACES = [(db, key) for db in range(DBS) for key in (b"a", b"b", b"c")]


def versions(machine):
    return {(db, key): machine.world.views[db].version(key) for db, key in PLACES}


def written(machine, action):
    """The places that an action writes or may write, by what is there before it."""
    db, name, *words = action
    there = {place for place, version in versions(machine).items() if version}
    if name in ("put", "update"):
        return {(db, words[0])}
    if name in ("delete", "expiry"):
        return {(db, words[0])} & there
    if name == "rename":
        return {(db, words[0]), (db, words[1])} if (db, words[0]) in there and words[0] != words[1] else set()
    if name == "move":
        goes = (db, words[0]) in there and (1 - db, words[0]) not in there
        return {(db, words[0]), (1 - db, words[0])} if goes else set()
    if name == "flush":
        return {place for place in there if place[0] == db}
    return {(n, key) for n, key in PLACES if (n, key) in there or (1 - n, key) in there}


@settings(max_examples=300)
@given(entries=st.lists(st.lists(ACTION, min_size=1, max_size=5), max_size=12))
def test_a_version_never_comes_back(entries):
    """Not for any place, whatever happens in between, also several times within one entry."""
    machine = new_machine()
    ever = dict.fromkeys(PLACES, 0)  # the highest version each place has had

    def watched(tx, argv):
        for action in argv[1]:
            before, places = versions(machine), written(machine, action)
            ACTIONS[action[1]](tx.other(action[0]), *action[2:])
            for place, version in versions(machine).items():
                if place in places:
                    assert version == 0 or (version > ever[place] and version >= machine.applied)
                    ever[place] = max(ever[place], version)
                else:
                    assert version == before[place]

    machine.table = {b"run": watched}
    machine.on_bug = raise_bug
    for entry in entries:
        machine.apply([b"run", entry])


def raise_bug(_name, bug):
    raise bug


@pytest.mark.parametrize(
    "entries, expected",
    [
        ([["put"]], 1),
        ([["put"], ["put"]], 2),
        ([["put", "put", "put"]], 3),  # previous + 1 within one entry
        ([["put", "put", "put"], ["put"]], 4),  # and the next entry goes on behind it
        ([["put", "delete", "put"]], 2),
        ([["put"], ["delete"], [], [], ["put"]], 5),
        ([["put"], ["flush"], ["put"]], 3),
        ([["put", "flush", "put"]], 2),
        ([["put"], ["expiry"]], 2),
        ([["put"], ["swap"], ["swap"]], 3),  # the value is the first, its version not
        ([["put", "swap", "swap"]], 3),
        ([["put", "swap", "swap", "put"]], 4),
        ([["put", "swap", "swap", "delete", "put"]], 4),
        ([["swap", "put"]], 2),  # a new key, above the floor of the swap
        ([["delete"]], 0),
    ],
)
def test_version_is_the_sequence_or_one_more(entries, expected):
    machine = new_machine()
    for names in entries:
        words = [(0, name) if name in ("flush", "swap") else (0, name, b"a") for name in names]
        machine.apply([b"run", words])
    view = machine.world.views[0]
    assert view.version(b"a") == expected
    item = view.item(b"a")
    assert (0 if item is None else version_of(item)) == expected


@settings(max_examples=300)
@given(
    before=st.lists(st.lists(ACTION, min_size=1, max_size=4), max_size=8),
    after=st.lists(st.lists(ACTION, min_size=1, max_size=4), max_size=4),
)
def test_a_loaded_snapshot_goes_on_as_the_original(before, after):
    original, loaded = new_machine(), new_machine()
    for entry in before:
        original.apply([b"run", entry])
    for kind, obj in image.dump(original):
        image.load(loaded, kind, obj)
    assert digest_hex(loaded) == digest_hex(original)
    for entry in after:
        for machine in (original, loaded):
            machine.apply([b"run", entry])
        assert versions(loaded) == versions(original)
        assert digest_hex(loaded) == digest_hex(original)


def one_key(at_ms=None):
    """A machine at 1,000,000 ms with one key, and its first database as readers and writers see it."""
    machine = new_machine()
    world = machine.world
    world.sequence = machine.applied = 1
    world.version = (1).to_bytes(8, "big")
    view, tx = world.views[0], world.transactions[0]
    tx.put(b"k", b"v")
    if at_ms is not None:
        tx.set_expiry(b"k", at_ms)
    tx.set_flags(b"k", 5)
    return machine, view, tx


@pytest.mark.parametrize("now, there", [(1_000_000, True), (1_000_099, True), (1_000_100, False), (9_000_000, False)])
def test_a_read_hides_what_has_expired_and_leaves_it(now, there):
    machine, view, _ = one_key(at_ms=1_000_100)
    machine.read_at(now)
    assert view.exists(b"k") is there
    assert view.string(b"k") == (b"v" if there else None)
    assert (view.lookup(b"k") is not None) is there
    assert bool(view.version(b"k")) is there
    assert list(view.keys()) == ([b"k"] if there else [])
    assert view.scan(0, 10) == (0, [b"k"] if there else [])
    assert view.random_key() == (b"k" if there else None)
    assert view.size() == 1
    assert machine.world.expired == 0


@pytest.mark.parametrize("way", ["item", "string", "lookup", "exists", "delete", "put"])
def test_a_write_removes_what_has_expired_on_its_way(way):
    machine, view, tx = one_key(at_ms=1_000_100)
    version = view.version(b"k")
    machine.world.events = []
    machine.begin_batch(1_000_100, 0)
    if way == "put":
        tx.put(b"k", b"new")
        assert view.string(b"k") == b"new"
        assert view.version(b"k") > version
    else:
        assert not getattr(tx, way)(b"k")
        assert b"k" not in tx.db.items
    assert tx.expiry(b"k") is None and tx.flags(b"k") == 0
    assert machine.world.expired == 1
    assert ("x", "expired", b"k", 0) in machine.world.events


def test_put_takes_expiry_and_flags_away_and_update_keeps_them():
    _, view, tx = one_key(at_ms=1_000_100)
    tx.update(b"k", b"w")
    assert (view.string(b"k"), view.expiry(b"k"), view.flags(b"k")) == (b"w", 1_000_100, 5)
    tx.put(b"k", b"x")
    assert (view.string(b"k"), view.expiry(b"k"), view.flags(b"k")) == (b"x", None, 0)


def test_set_expiry_may_leave_the_version():
    _, view, tx = one_key()
    version = view.version(b"k")
    tx.set_expiry(b"k", 1_000_100, moves_version=False)
    assert view.version(b"k") == version
    tx.set_expiry(b"k", 1_000_200)
    assert view.version(b"k") > version


def test_hits_and_misses():
    machine, view, _ = one_key()
    machine.world.events = []
    view.string(b"k")
    view.lookup(b"k")
    view.string(b"none")
    view.lookup(b"none")
    view.item(b"none")
    view.exists(b"none")
    assert (machine.world.hits, machine.world.misses) == (2, 2)
    assert machine.world.events == [("m", "keymiss", b"none", 0)] * 2


def test_observers_are_told_what_changed():
    machine, _, tx = one_key(at_ms=2_000_000)
    machine.world.touched = touched = []
    machine.world.events = events = []
    tx.put(b"new", b"v")
    tx.put(b"new", b"v")
    tx.set_expiry(b"new", 2_000_000)
    tx.delete(b"new")
    tx.delete(b"none")
    tx.other(1).put(b"k", b"v")
    assert touched == [(0, b"new")] * 4 + [(1, b"k")]
    assert events == [("n", "new", b"new", 0), ("n", "new", b"k", 1)]
    touched.clear()
    tx.swap(1)
    assert touched == [(0, None), (1, None)]
    touched.clear()
    tx.flush()
    assert touched == [(0, None)]


def test_flush_of_few_keys_leaves_nothing():
    machine, view, tx = one_key(at_ms=2_000_000)
    assert tx.flush() == 1
    assert tx.flush() == 0
    assert view.size() == 0 and view.expiry(b"k") is None and view.flags(b"k") == 0
    assert view.scan(0, 10) == (0, [])
    assert machine.world.trash == []


def test_flush_of_many_keys_puts_them_aside_up_to_a_bound():
    machine, view, tx = one_key()
    for _ in range(TRASH_MAX + 2):
        for n in range(views.EMPTY_KEYS_MAX + 1):
            tx.update(b"key:%d" % n, b"")
        assert tx.flush() > views.EMPTY_KEYS_MAX
        assert view.size() == 0 and view.scan(0, 10) == (0, [])
    assert len(machine.world.trash) == TRASH_MAX
    assert b"k" not in machine.world.trash[0].items, "the oldest went first"


def test_swap_exchanges_everything_but_the_numbers():
    machine, view, tx = one_key(at_ms=2_000_000)
    other = machine.world.views[1]
    tx.swap(1)
    assert not view.exists(b"k") and view.index == 0
    assert (other.string(b"k"), other.expiry(b"k"), other.flags(b"k")) == (b"v", 2_000_000, 5)


def test_random_key_gives_up_among_expired_ones():
    machine, view, tx = one_key(at_ms=1_000_100)
    machine.read_at(1_000_100)
    assert view.random_key() is None
    tx.put(b"live", b"v")
    assert view.random_key() == b"live"
