"""What counts as flat, and what does not."""

from dataclasses import replace

import pytest

from tests.soak.verdict import SAMPLES_MIN, judge
from tests.soak.watch import Sample

MIB = 1 << 20
QUIET = Sample(0, 100 * MIB, 80 * MIB, 70, 10, 200 * MIB, 48, 0.6, 1.2, 20.0)
LENGTH = 120  # samples


def run(**changes):
    """A soak; a change is the value of a column at a share of the way."""
    return [
        replace(QUIET, at_s=5.0 * at, **{name: value(at / LENGTH) for name, value in changes.items()})
        for at in range(LENGTH)
    ]


def grows(samples):
    return [finding.column for finding in judge(samples) if not finding.flat]


@pytest.mark.parametrize(
    "changes, found",
    [
        ({}, []),
        ({"rss": lambda way: int((100 + 30 * way) * MIB)}, ["rss"]),
        ({"rss": lambda way: int(min(100, 40 + 400 * way) * MIB)}, []),  # it fills, and is full
        ({"rss": lambda way: (100 + 64 * (int(way * LENGTH) % 3 == 0)) * MIB}, []),  # passwords are hashed
        ({"used": lambda way: int((80 + 64 * (int(way * LENGTH) % 3 == 0) + 30 * way) * MIB)}, ["used"]),
        ({"descriptors": lambda way: int(70 + 40 * way)}, ["descriptors"]),
        ({"threads": lambda way: int(10 + 12 * way)}, ["threads"]),
        ({"clients": lambda way: int(48 + 60 * way), "descriptors": lambda way: int(70 + 60 * way)}, ["descriptors", "clients"]),
        ({"set_ms": lambda way: 1.0 + 9 * way}, ["set_ms"]),
        ({"get_ms": lambda way: 0.6 + 0.2 * way}, []),
    ],
)  # fmt: skip
def test_what_grows(changes, found):
    assert grows(run(**changes)) == found


def test_a_run_that_is_too_short_says_nothing():
    with pytest.raises(ValueError, match="too few"):
        judge(run()[: SAMPLES_MIN + 2])
