"""The database against the obvious: a few dictionaries, sorted when asked."""

from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from vaylix_resp.state import keyspace
from vaylix_resp.state.keyspace import WHEEL_MS, Database
from vaylix_resp.state.values import make_item

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
        self.constants = keyspace.SCAN_BUCKETS, keyspace.SLOT_LIST_MAX
        keyspace.SCAN_BUCKETS, keyspace.SLOT_LIST_MAX = 8, 2
        self.dbs = [Database(), Database()]
        self.twins = [({}, {}, {}), ({}, {}, {})]  # items, expires, flags
        self.under_way = []

    def teardown(self):
        keyspace.SCAN_BUCKETS, keyspace.SLOT_LIST_MAX = self.constants

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
        if any(at_ms // WHEEL_MS < now // WHEEL_MS for at_ms in expires.values()):
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
        for _ in range(keyspace.SCAN_BUCKETS + 1):
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
            assert sorted(db.scan(0, len(items) + 1)[1]) == sorted(items)


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


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


@pytest.mark.parametrize("cursor", [keyspace.SCAN_BUCKETS, keyspace.SCAN_BUCKETS + 1, 1 << 40, (1 << 64) - 1])
def test_a_cursor_beyond_the_end_is_the_end(cursor):
    assert filled(10).scan(cursor, 5) == (0, [])
    assert Database().scan(cursor, 5) == (0, [])


def test_an_expiry_that_moves_back_and_forth_leaves_nothing_behind():
    db = filled(1)
    for n in range(1000):
        db.set_expiry(b"key:0", 10**12 + n * WHEEL_MS)
    assert len(db._wheel) == len(db._slots) == 1
    for _ in range(1000):
        db.set_expiry(b"key:0", None)
        db.set_expiry(b"key:0", 10**12)
    assert len(db._wheel) == len(db._slots) == 1
    db.set_expiry(b"key:0", None)
    assert not db._wheel and not db._slots and db.expires_sum == 0


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


@pytest.mark.parametrize("count", [10, keyspace.UNIFORM_SAMPLE_MAX + 1000])
def test_every_key_has_the_same_chance(count):
    """Chi-squared over sixteen groups of keys; the generator is seeded, so this cannot fail by chance."""
    db, rng, groups, draws = filled(count), Random(4), [0] * min(16, count), 6000
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
    assert not old.expires and not old.flags and not old._wheel and not old._slots
    assert not db.items and not db.expires and db.expires_sum == 0


def test_release_gives_memory_back_in_the_order_in_which_it_was_taken():
    """Else the allocator could give it back to the system only at the end, all at once."""
    old = filled(100).clear()
    while len(old.items) == 100:
        old.release(10)
    assert list(old.items) == [b"key:%d" % n for n in range(90)]
    assert not old._buckets
