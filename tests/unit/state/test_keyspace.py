"""The database against the obvious: a few dictionaries, sorted when asked."""

from random import Random
from sys import getsizeof

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from vaylix_resp.state import keyspace, scan_order, wheel
from vaylix_resp.state.keyspace import Database
from vaylix_resp.state.scan_order import ScanOrder, Unindexed
from vaylix_resp.state.values import make_item
from vaylix_resp.state.wheel import WHEEL_MS

KEYS = st.sampled_from([b"", b"a", b"b", b"\x00\xff", *(b"k%d" % n for n in range(12))])
TIMES = st.integers(0, 6 * WHEEL_MS)


class Scan:
    """A scan under way: what it has returned, and what it still has to."""

    def __init__(self, keys):
        self.cursor, self.seen, self.due, self.began = 0, [], set(keys), False


class AgainstTwin(RuleBasedStateMachine):
    """Two databases, as swapping needs two; few buckets, so that keys share them."""

    scans = Bundle("scans")

    def __init__(self):
        super().__init__()
        self.constants = scan_order.SCAN_BUCKETS, scan_order.FEW, wheel.SLOT_LIST_MAX, keyspace.EXPIRIES_AT_ONCE_MAX
        self.set_constants(8, 1, 2, 1)
        self.dbs = [Database(), Database()]
        self.twins = [({}, {}, {}), ({}, {}, {})]  # items, expires, flags
        self.under_way = []

    def teardown(self):
        self.set_constants(*self.constants)

    def set_constants(self, *values):
        scan_order.SCAN_BUCKETS, scan_order.FEW, wheel.SLOT_LIST_MAX, keyspace.EXPIRIES_AT_ONCE_MAX = values

    @rule(n=st.integers(0, 1), key=KEYS, value=st.binary(max_size=3))
    def put(self, n, key, value):
        db = self.dbs[n]
        new = key not in db.items
        db.items[key] = self.twins[n][0][key] = make_item(7, value)
        if new:
            db.index((key,))

    @rule(n=st.integers(0, 1), key=KEYS)
    def remove(self, n, key):
        items, expires, flags = self.twins[n]
        if key not in items:
            with pytest.raises(KeyError):
                self.dbs[n].remove(key)
            return
        assert self.dbs[n].remove(key) == items.pop(key)
        expires.pop(key, None)
        flags.pop(key, None)
        for scan in self.scans_of(n):
            scan.due.discard(key)

    @rule(n=st.integers(0, 1), key=KEYS, at_ms=st.none() | TIMES)
    def set_expiry(self, n, key, at_ms):
        items, expires, _ = self.twins[n]
        if key not in items:
            return
        self.dbs[n].set_expiry(key, at_ms)
        expires.pop(key, None)
        if at_ms is not None:
            expires[key] = at_ms

    @rule(n=st.integers(0, 1), key=KEYS, flags=st.integers(1, 9))
    def set_flags(self, n, key, flags):
        if key in self.twins[n][0]:
            self.dbs[n].flags[key] = self.twins[n][2][key] = flags

    @rule(n=st.integers(0, 1), now=TIMES, limit=st.integers(1, 20))
    def due(self, n, now, limit):
        expires = self.twins[n][1]
        expected = {key for key, at_ms in expires.items() if at_ms <= now}
        found = self.dbs[n].due(now, limit)
        assert len(found) == len(set(found)) <= limit
        assert set(found) <= expected
        if limit >= len(expires):
            assert set(found) == expected
        whole = self.dbs[n].wheel.settled  # before, what has moved on may be in the way of others, for a while
        if whole and any(at_ms // WHEEL_MS < now // WHEEL_MS for at_ms in expires.values()):
            assert found, "a key whose second has passed is always found"

    @rule(target=scans, n=st.integers(0, 1))
    def begin_scan(self, n):
        scan = Scan(self.twins[n][0])
        self.under_way.append((n, scan))
        return scan

    @rule(scan=scans, count=st.integers(1, 4))
    def continue_scan(self, scan, count):
        self.step(scan, count)

    @rule(scan=consumes(scans), count=st.integers(1, 4))
    def finish_scan(self, scan, count):
        for _ in range(scan_order.SCAN_BUCKETS + 32):  # as many buckets, and keys that wait
            if self.step(scan, count):
                return
        raise AssertionError("a scan ends after as many steps as there are buckets")

    def step(self, scan, count):
        """One SCAN; is it over? Whoever was there all the time has been returned by then."""
        n = next((n for n, other in self.under_way if other is scan), None)
        if n is None or (scan.began and scan.cursor == 0):
            return True
        scan.cursor, found = self.dbs[n].scan(scan.cursor, count)
        scan.began = True
        assert set(found) <= set(self.twins[n][0])
        scan.seen += found
        if scan.cursor == 0:
            assert scan.due <= set(scan.seen)
        return scan.cursor == 0

    @rule()
    def swap(self):
        self.dbs[0].swap(self.dbs[1])
        self.twins.reverse()
        self.under_way = [(1 - n, scan) for n, scan in self.under_way]  # a scan follows its keys

    @rule(n=st.integers(0, 1), limit=st.integers(1, 5))
    def clear(self, n, limit):
        old = self.dbs[n].clear()
        assert dict(old.items) == self.twins[n][0]
        self.twins[n] = ({}, {}, {})
        self.under_way = [(m, scan) for m, scan in self.under_way if m != n]
        steps = 1
        while not old.release(limit):
            steps += 1
            assert steps < 100, "each step frees something"
        assert not old.items and not old.expires and not old.flags

    @rule(n=st.integers(0, 1))
    def empty(self, n):
        self.dbs[n].empty()
        self.twins[n] = ({}, {}, {})
        for scan in self.scans_of(n):
            scan.due.clear()

    @rule(
        n=st.integers(0, 1),
        rows=st.lists(st.tuples(KEYS, st.binary(max_size=3), st.none() | TIMES, st.integers(0, 1)), max_size=12),
        indexed=st.booleans(),
    )
    def absorb(self, n, rows, indexed):
        """Another database is taken in: its keys replace those of the same name, with all that belongs to them."""
        other, twin = Database(), self.twins[n]
        for key, value, at_ms, flags in rows:
            other.items[key] = twin[0][key] = make_item(9, value)
            other.set_expiry(key, at_ms)
            for mine, told in ((other.flags, flags), (twin[1], at_ms), (twin[2], flags)):
                mine.pop(key, None)
                if told:
                    mine[key] = told
            if at_ms == 0:
                twin[1][key] = 0
        if indexed:
            other.index(other.items)
        self.dbs[n].absorb(other)
        steps = 0
        while not other.release(3):
            steps += 1
            assert steps < 100

    @rule(n=st.integers(0, 1))
    def restart(self, n):
        """The keys have been found by a start, and no cursor of the life before counts."""
        self.dbs[n].order = ScanOrder(list(self.dbs[n].items))
        self.under_way = [(m, scan) for m, scan in self.under_way if m != n]

    @rule(n=st.integers(0, 1), limit=st.integers(1, 5))
    def settle(self, n, limit):
        self.dbs[n].settle(limit)

    @rule(n=st.integers(0, 1))
    def settle_all(self, n):
        """Afterwards every key stands in the indexes once."""
        db, steps = self.dbs[n], 0
        while not db.settle(2):
            steps += 1
            assert steps < 200, "each step brings the end nearer"
        in_slots = sorted((slot, key) for slot, keys in db.wheel.slots.items() for key in keys)
        assert in_slots == sorted((at_ms // WHEEL_MS, key) for key, at_ms in db.expires.items())
        in_buckets = [key for bucket in db.order._buckets if bucket for key in bucket]
        assert sorted(in_buckets) == sorted(db.items)

    @rule(n=st.integers(0, 1), seed=st.integers(0, 9))
    def random_key(self, n, seed):
        key = self.dbs[n].random_key(Random(seed))
        assert key in self.twins[n][0] if self.twins[n][0] else key is None

    def scans_of(self, n):
        return [scan for m, scan in self.under_way if m == n]

    @invariant()
    def equal(self):
        for db, (items, expires, flags) in zip(self.dbs, self.twins, strict=True):
            assert db.items == items
            assert db.expires == expires
            assert db.flags == flags
            assert db.expires_sum == sum(expires.values())
            assert sorted(db.keys()) == sorted(items)

    @rule(n=st.integers(0, 1))
    def scan_all(self, n):
        """Not an invariant, as it joins what has been taken in."""
        items = self.twins[n][0]
        db = self.dbs[n]
        cursor, found = db.scan(0, len(items) + 1)
        while cursor:
            cursor, more = db.scan(cursor, len(items) + 1)
            found += more
        assert sorted(set(found)) == sorted(items)
        if db.order.settled:
            assert len(found) == len(items)


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = settings(max_examples=200, stateful_step_count=40)


def filled(count):
    db = Database()
    for n in range(count):
        key = b"key:%d" % n
        db.items[key] = make_item(1, b"")
        db.index((key,))
    return db


def test_a_scan_returns_what_stays_while_thousands_come_and_go():
    db = filled(5000)
    cursor, seen, turn = 0, set(), 0
    while True:
        cursor, found = db.scan(cursor, 10)
        seen.update(found)
        for n in range(3 * turn, 3 * turn + 3):  # those with an odd number stay
            if n % 2 == 0 and b"key:%d" % n in db.items:
                db.remove(b"key:%d" % n)
            new = b"new:%d" % n
            db.items[new] = make_item(1, b"")
            db.index((new,))
        turn += 1
        if cursor == 0:
            break
    assert {b"key:%d" % n for n in range(1, 5000, 2)} <= seen


@pytest.mark.parametrize("cursor", [scan_order.SCAN_BUCKETS, scan_order.SCAN_BUCKETS + 1, 1 << 40, (1 << 64) - 1])
def test_a_cursor_beyond_the_end_is_the_end(cursor):
    assert filled(10).scan(cursor, 5) == (0, [])
    assert Database().scan(cursor, 5) == (0, [])


def test_keys_of_a_start_are_found_while_they_are_indexed():
    """A scan meets those that wait, then those in buckets; what moves from the one to the other is not missed."""
    db = filled(5000)
    db.order = ScanOrder(list(db.items))
    cursor, seen, steps = 0, [], 0
    while True:
        cursor, found = db.scan(cursor, 10)
        seen += found
        steps += 1
        assert len(found) < 30
        db.settle(7)
        if steps == 100:
            db.remove(b"key:0")
        if cursor == 0:
            break
    assert set(seen) >= {b"key:%d" % n for n in range(1, 5000)} and seen.count(b"key:0") <= 1
    while not db.settle(100):
        pass
    assert sorted(db.scan(0, 5000)[1]) == sorted(db.items)
    assert db.scan(scan_order.SCAN_BUCKETS + 9, 10)[1], "a cursor of that time still means that nothing was met yet"


def test_keys_that_wait_may_be_published_and_others_come_and_go():
    db, other = filled(3000), filled(2000)
    db.order = ScanOrder(list(db.items))
    db.absorb(other)
    db.items[b"new"] = make_item(1, b"")
    db.index((b"new",))
    for key in (b"new", b"key:1", b"key:2500"):
        db.remove(key)
    while not db.settle(100):
        pass
    assert sorted(db.scan(0, 5000)[1]) == sorted(db.items) and len(db.items) == 2998
    assert not db.order._gone and db.order.settled


def test_a_state_in_the_making_has_no_order():
    db = Database()
    db.order = Unindexed()
    for n in range(keyspace.UNIFORM_SAMPLE_MAX + 2):
        db.items[b"key:%d" % n] = make_item(1, b"")
        db.index((b"key:%d" % n,))
    db.remove(b"key:0")
    assert db.scan(0, 10) == (0, []) and db.random_key(Random(1)) is None
    assert isinstance(db.clear().order, Unindexed) and isinstance(db.order, Unindexed)


def test_an_expiry_that_moves_back_and_forth_leaves_nothing_behind():
    db = filled(1)
    for n in range(1000):
        db.set_expiry(b"key:0", 10**12 + n * WHEEL_MS)
    assert len(db.wheel.slots) == len(db.wheel._order) == 1
    for _ in range(1000):
        db.set_expiry(b"key:0", None)
        db.set_expiry(b"key:0", 10**12)
    assert len(db.wheel.slots) == len(db.wheel._order) == 1
    db.set_expiry(b"key:0", None)
    assert not db.wheel.slots and not db.wheel._order and db.expires_sum == 0


def expiring(at_ms, *keys):
    db = Database()
    for key in keys:
        db.items[key] = make_item(1, b"")
        db.set_expiry(key, at_ms)
    db.index(keys)
    return db


def test_expiries_that_were_replaced_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr(keyspace, "EXPIRIES_AT_ONCE_MAX", 0)
    db = expiring(5000, b"a", b"b", b"c")
    db.absorb(expiring(5500, b"a", b"b"))  # the same second
    assert sorted(db.due(6000, 9)) == [b"a", b"b", b"c"]
    while not db.settle(1):
        pass
    assert {slot: sorted(keys) for slot, keys in db.wheel.slots.items()} == {5: [b"a", b"b", b"c"]}
    assert list(db.wheel._order) == [5] and db.expires_sum == 16_000
    db.set_expiry(b"a", None)
    assert sorted(db.due(6000, 9)) == [b"b", b"c"]


def test_all_that_is_due_is_found_in_steps_oldest_second_first():
    db = filled(500)
    for n in range(500):
        db.set_expiry(b"key:%d" % n, n * 100)
    order = []
    while keys := db.due(40_999, 7):
        order += [db.expires[key] // WHEEL_MS for key in keys]
        for key in keys:
            db.remove(key)
    assert len(order) == 410  # 0, 100, ... 40,900
    assert order == sorted(order)


@pytest.mark.parametrize(
    "count, waiting", [(10, False), (keyspace.UNIFORM_SAMPLE_MAX + 1000, False), (keyspace.UNIFORM_SAMPLE_MAX + 1000, True)]
)
def test_every_key_has_the_same_chance(count, waiting):
    """Chi-squared over sixteen groups of keys; the generator is seeded, so this cannot fail by chance."""
    db, rng, groups, draws = filled(count), Random(4), [0] * min(16, count), 6000
    if waiting:
        db.order = ScanOrder(list(db.items))
        db.settle(count // 3)
        for n in range(0, count, 4):  # some are written anew, some of them while they wait
            db.items[b"key:%d" % n] = db.remove(b"key:%d" % n)
            db.index((b"key:%d" % n,))
        assert not db.order.settled
    for _ in range(draws):
        groups[int(db.random_key(rng)[4:]) % len(groups)] += 1
    sizes = [len(range(g, count, len(groups))) for g in range(len(groups))]
    expected = [draws * size / count for size in sizes]
    chi = sum((seen - want) ** 2 / want for seen, want in zip(groups, expected, strict=True))
    assert chi < 37.7  # 15 degrees of freedom, p = 0.001


def test_release_takes_steps_of_bounded_size():
    db = filled(1000)
    for n in range(1000):
        db.set_expiry(b"key:%d" % n, 5_000_000)
    old = db.clear()
    sizes = [1000]
    while not old.release(100):
        sizes.append(len(old.items))
    assert max(before - after for before, after in zip(sizes, sizes[1:], strict=False)) == 100
    assert len(sizes) < 70
    assert not old.expires and not old.flags and not old.wheel.slots and not old.wheel._order
    assert not db.items and not db.expires and db.expires_sum == 0


def test_release_gives_memory_back_in_the_order_in_which_it_was_taken():
    """Else the allocator could give it back to the system only at the end, all at once."""
    old = filled(100).clear()
    while len(old.items) == 100:
        old.release(10)
    assert list(old.items) == [b"key:%d" % n for n in range(90)]
    assert not old.order._buckets


def test_a_table_that_was_large_is_not_walked_for_the_few_keys_left():
    """Eviction by chance draws hundreds of keys in one go: each walk would take a millisecond and more."""
    db = filled(50_000)
    for n in range(49_900):
        db.remove(b"key:%d" % n)
    assert getsizeof(db.items) > keyspace.SPARSE_BYTES
    left = dict(db.items)
    assert db.random_key(Random(3)) in left and db.items == left
    assert getsizeof(db.items) < keyspace.SPARSE_BYTES // 16
    db.remove(next(iter(left)))
    assert db.random_key(Random(4)) in db.items and len(db.items) == 99
