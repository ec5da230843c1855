"""Which keys are chosen to make room. All chance is seeded."""

from __future__ import annotations

from collections import Counter, OrderedDict
from random import Random

import pytest

from vaylix_resp.commands.registry import apply_table, new_accounts, row_table
from vaylix_resp.state.candidates import BYTES_MAX, KEYS_MAX, Candidates, Policy
from vaylix_resp.state.footprint import data_bytes
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.usage import Frequency, Recency

EACH = 400  # bytes of a key with an expiry, or a little less


def machine(keys=0, options=(), databases=1):
    made = StateMachine(apply_table(), databases, rng=Random(1), accounts=new_accounts(), rows=row_table())
    made.world.index()
    made.world.weigh(wanted=True)
    made.begin_batch(1_700_000_000_000, 7)
    made.apply_all([(b"SET", b"key:%d" % n, b"x" * 64, *options) for n in range(keys)])
    return made


def chosen(found):
    return [key for part in found for key, _ in part.keys]


@pytest.mark.parametrize("name, expected", [
    ("noeviction", None), ("allkeys-lru", ("allkeys", "lru")), ("volatile-ttl", ("volatile", "ttl")),
])  # fmt: skip
def test_names(name, expected):
    assert Policy.named(name) == expected


ALL = [f"{among}-{by}" for among in ("allkeys", "volatile") for by in ("lru", "lfu", "random")] + ["volatile-ttl"]


@pytest.mark.parametrize("name", ALL)
def test_of_nothing_nothing(name):
    made, policy = machine(), Policy.named(name)
    assert not policy.has_candidates(made.world)
    assert Candidates(made.world, Random(1)).choose(policy, 5, 1000) == []
    made = machine(10)
    assert policy.has_candidates(made.world) == name.startswith("allkeys")
    assert bool(Candidates(made.world, Random(1)).choose(policy, 5, 1000)) == name.startswith("allkeys")


@pytest.mark.parametrize("name", ALL)
def test_as_much_as_is_needed_and_no_more_than_one_go_takes(name):
    made, policy = machine(3000, (b"PX", b"100000")), Policy.named(name)
    made.world.usage = Recency(0) if "lru" in name else Frequency(0, Random(1)) if "lfu" in name else None
    candidates = Candidates(made.world, Random(1))
    for needed, least, most in ((1, 1, 1), (10 * EACH, 10, 16), (1 << 40, KEYS_MAX // 2, KEYS_MAX)):
        keys = chosen(candidates.choose(policy, 5, needed))
        assert least <= len(keys) <= most and len(set(keys)) == len(keys)


def test_long_names_come_a_few_at_a_time():
    made = machine()
    made.apply_all([(b"SET", b"%d" % n * (BYTES_MAX // 2), b"x") for n in range(8)])
    assert 1 <= len(chosen(Candidates(made.world, Random(1)).choose(Policy.named("allkeys-random"), 5, 1 << 40))) <= 3


def test_versions_go_along():
    made = machine(5)
    made.apply((b"SET", b"key:3", b"new"))
    versions = dict(Candidates(made.world, Random(1)).choose(Policy.named("allkeys-random"), 5, 1 << 40)[0].keys)
    assert versions and all(made.world.views[0].version(key) == version for key, version in versions.items())


def test_by_chance_every_key_may_go():
    """Under a volatile policy every second is as likely: keys that share theirs with many have fewer chances."""
    made = machine(100, (b"PX", b"100000"))
    made.apply_all([(b"EXPIRE", b"key:%d" % n, b"%d" % (1000 + n)) for n in range(0, 100, 2)])
    candidates = Candidates(made.world, Random(1))
    seen = Counter(key for _ in range(2000) for key in chosen(candidates.choose(Policy.named("allkeys-random"), 5, 1)))
    assert len(seen) == 100 and max(seen.values()) < 60
    seen = Counter(key for _ in range(2000) for key in chosen(candidates.choose(Policy.named("volatile-random"), 5, 1)))
    assert len(seen) > 60 and {int(key[4:]) % 2 for key in seen} == {0, 1}


def test_databases_by_their_share():
    made = machine(900, databases=3)
    made.apply_all([(b"@in", b"2", b"SET", b"key:%d" % n, b"x" * 64) for n in range(300)])
    candidates = Candidates(made.world, Random(1))
    found = [part.database for _ in range(400) for part in candidates.choose(Policy.named("allkeys-random"), 5, 1)]
    assert 60 < found.count(2) < 140 and found.count(0) + found.count(2) == 400


def test_keys_that_wait_for_their_place_in_the_order_are_found():
    """Right after a start nearly all keys do."""
    made = machine(1000)
    made.world.index(later=True)
    made.world.index()
    candidates = Candidates(made.world, Random(1))
    assert not made.world.databases[0].order.settled
    for _ in range(10):
        for part in candidates.choose(Policy.named("allkeys-random"), 5, 20 * EACH):
            made.apply((b"DEL", *[key for key, _ in part.keys]))
    assert len(made.world.databases[0].items) < 900


@pytest.mark.parametrize("measure, least, most", [("lru", 0.95, 1.01), ("lfu", 1.0, 1.2), ("random", 0.5, 0.97)])
@pytest.mark.parametrize("among", ["allkeys", "volatile"])
def test_under_a_zipf_pattern_uses_find_their_keys(among, measure, least, most):
    """Room for a tenth of the keys, whose uses follow Zipf's law: the share of uses that find their key, compared with a
    cache that always drops the least recently used of as many keys. Chance does worse, and frequency better."""
    made = machine()
    policy = Policy.named(f"{among}-{measure}")
    made.world.usage = usage = Recency(0) if measure == "lru" else Frequency(0, Random(2)) if measure == "lfu" else None
    candidates, rng = Candidates(made.world, Random(3)), Random(4)
    options = (b"PX", b"10000000") if among == "volatile" else ()
    ranks = rng.choices(range(5000), weights=[1 / (rank + 1) for rank in range(5000)], k=8_000)
    view, limit, hits = made.world.views[0], 500 * EACH, 0
    for at, rank in enumerate(ranks):
        if usage is not None and at % 50 == 0:
            usage.tick(at / 50)
        key = b"key:%d" % rank
        if view.string(key) is not None:
            hits += 1
            continue
        made.apply((b"SET", key, b"x" * 64, *options))
        if (over := data_bytes(made.world) - limit) > 0:
            for part in candidates.choose(policy, 5, over):
                made.apply((b"DEL", *[each for each, _ in part.keys]))
    exact = exact_lru(ranks, len(made.world.databases[0].items))
    assert least < hits / exact < most


def exact_lru(ranks, room):
    """The hits of a cache that knows the order of all uses."""
    kept, hits = OrderedDict(), 0
    for rank in ranks:
        if rank in kept:
            hits += 1
            kept.move_to_end(rank)
            continue
        kept[rank] = None
        if len(kept) > room:
            kept.popitem(last=False)
    return hits


def test_the_scan_order_gives_as_many_as_there_are_wherever_it_begins():
    made = machine(30)
    order, rng = made.world.databases[0].order, Random(1)
    assert all(len(set(order.some(rng, 30))) == 30 for _ in range(50))
    assert {len(order.some(rng, 7)) for _ in range(50)} == {7}
