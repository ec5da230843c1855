"""The checker itself: histories that are fine, and some that are not."""

from __future__ import annotations

import pytest

from tests.sim.cluster.linear import NEVER, UNKNOWN, Call, violation


def call(began: float, ended: float, kind: str, *arguments: bytes, reply: object) -> Call:
    return Call("c", began, ended, kind, arguments, reply)


FINE = {
    "one after the other": [call(0, 1, "set", b"a", reply="OK"), call(2, 3, "get", reply=b"a")],
    "at the same time": [call(0, 9, "set", b"a", reply="OK"), call(1, 2, "get", reply=None), call(3, 4, "get", reply=b"a")],
    "unknown and seen": [call(0, NEVER, "set", b"a", reply=UNKNOWN), call(5, 6, "get", reply=b"a")],
    "unknown and late": [
        call(0, NEVER, "set", b"a", reply=UNKNOWN), call(5, 6, "get", reply=None), call(7, 8, "get", reply=b"a"),
    ],
    "unknown and never": [call(0, NEVER, "incr", reply=UNKNOWN), call(5, 6, "incr", reply=1)],
    "compare": [
        call(0, 1, "cas", b"a", b"b", reply=-1), call(2, 3, "set", b"a", reply="OK"),
        call(4, 9, "cas", b"a", b"b", reply=1), call(5, 8, "cas", b"a", b"c", reply=0),
    ],
}  # fmt: skip
WRONG = {
    "lost": [call(0, 1, "set", b"a", reply="OK"), call(2, 3, "get", reply=None)],
    "back in time": [
        call(0, 9, "set", b"a", reply="OK"), call(1, 2, "get", reply=b"a"), call(3, 4, "get", reply=None),
    ],
    "twice": [call(0, 1, "incr", reply=1), call(2, 3, "incr", reply=3)],
    "both won": [
        call(0, 1, "set", b"a", reply="OK"), call(2, 9, "cas", b"a", b"b", reply=1), call(2, 9, "cas", b"a", b"c", reply=1),
    ],
    "exchanged": [
        call(0, 1, "append", b"a", reply=1), call(2, 3, "append", b"b", reply=2), call(4, 5, "get", reply=b"ba"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_fine(name: str) -> None:
    assert violation(FINE[name]) is None


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str) -> None:
    text = violation(WRONG[name])
    assert text is not None and "then nothing does" in text
