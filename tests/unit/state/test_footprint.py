"""Shares of memory: plausible in size, and independent of how many keys there are."""

import subprocess
import sys
from pathlib import Path

import pytest

from vaylix_resp.state.footprint import allocated, index_bytes, key_bytes
from vaylix_resp.state.keyspace import Database

ROOT = Path(__file__).parents[3]


def database(keys, size=64, at_ms=None, apart_ms=1):
    db = Database()
    for number in range(keys):
        key = b"key:%012d" % number
        db.items[key] = b"\0" * 8 + b"x" * size
        db.index((key,))
        if at_ms is not None:
            db.set_expiry(key, at_ms + number * apart_ms)
    return db


@pytest.mark.parametrize(
    "size, taken", [(1, 16), (16, 16), (17, 32), (512, 512), (513, 528), (1000, 1008), (1001, 1024)]
)
def test_allocators_round_up(size, taken):
    assert allocated(size) == taken


# Measured per key, as the growth of the process's anonymous memory: 317 and 292 bytes.
@pytest.mark.parametrize("keys, measured", [(20_000, 317), (100_000, 292)])
def test_near_the_truth(keys, measured):
    assert key_bytes(database(keys), b"key:%012d" % 5) == pytest.approx(measured, rel=0.1)


def test_an_expiry_costs():
    """Measured with 300 thousand keys: 150 bytes more than without."""
    plain, mortal = database(10_000), database(10_000, at_ms=1_800_000_000_000)
    more = key_bytes(mortal, b"key:%012d" % 5) - key_bytes(plain, b"key:%012d" % 5)
    assert 60 < more < 250


# Measured per key with 200 thousand keys: slots of one key, of ten and 33 (lists, then a set), and of a thousand.
@pytest.mark.parametrize("apart_ms, measured", [(1000, 544), (100, 399), (30, 443), (1, 413)])
def test_near_the_truth_with_an_expiry(apart_ms, measured):
    db = database(200_000, at_ms=1_800_000_000_000, apart_ms=apart_ms)
    assert key_bytes(db, b"key:%012d" % 5) == pytest.approx(measured, rel=0.1)
    assert len(db.wheel.slots) == 200_000 * apart_ms // 1000


def test_flags_cost():
    db = database(10)
    before = key_bytes(db, b"key:%012d" % 5)
    db.flags[b"key:%012d" % 5] = 7
    assert before + 32 < key_bytes(db, b"key:%012d" % 5) < before + 150


def test_the_first_key_does_not_pay_for_the_tables():
    assert key_bytes(database(1), b"key:%012d" % 0) < 450


def test_tables():
    assert index_bytes(Database()) == (0, 0)
    main, expires = index_bytes(database(10_000))
    assert 50 < main / 10_000 < 200 and expires == 0
    main, expires = index_bytes(database(10_000, at_ms=1_800_000_000_000))
    assert 50 < expires / 10_000 < 200


# Each in a process of its own, measured there and then: half a second of CPU each.
@pytest.mark.parametrize(
    "keys, size, words",
    [(40_000, 104, ""), (1_500, 10 << 10, ""), (40, 1 << 20, ""), (30_000, 104, "PXAT"), (30_000, 104, "FLAGS")],
)
def test_all_keys_together_are_near_the_truth(keys, size, words):
    command = [sys.executable, "-m", "tests.unit.state.growth", str(keys), str(size), *words.split()]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    measured, told, counted = map(int, out.split())
    assert told == pytest.approx(measured, rel=0.1)
    assert counted == pytest.approx(measured, rel=0.15)
