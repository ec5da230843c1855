"""The harness itself: what it would have to see is seen. Pure; no cost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from compat.frames import Value, read_value
from tests.faults.clients import Client, Connection, Lost, Refused
from tests.faults.faults import FAULTS
from tests.faults.history import History
from tests.faults.judge import judge
from tests.faults.schedule import ALL, ANY, FOLLOWER, LEADER, Schedule
from tests.sim.cluster.linear import NEVER, UNKNOWN

END = 100.0

# The schedule.


def test_the_same_seed_is_the_same_schedule() -> None:
    cards = [fault.card for fault in FAULTS.values()]
    one, same, other = (Schedule(seed, cards) for seed in (1, 1, 2))
    assert [one.round(40) for _ in range(3)] == [same.round(40) for _ in range(3)]
    assert one.round(40) != other.round(40)


def test_each_kind_comes_before_any_comes_again() -> None:
    cards = [fault.card for fault in FAULTS.values()]
    schedule = Schedule(3, cards)
    strikes = [strike for _ in range(40) for strike in schedule.round(40)]
    for at in range(0, len(strikes) - len(cards), len(cards)):
        assert {strike.kind for strike in strikes[at : at + len(cards)]} == set(FAULTS)
    for strike in strikes:
        card = FAULTS[strike.kind].card
        assert card.seconds[0] <= strike.seconds <= card.seconds[1] and strike.at + strike.seconds <= 40
        assert strike.target in card.targets and set(card.targets) <= {LEADER, FOLLOWER, ANY, ALL}
    assert any(after.at < before.at + before.seconds for before, after in zip(strikes, strikes[1:], strict=False)
               if after.at > before.at), "some overlap"  # fmt: skip


# The judgement.


def told(*calls: tuple[float, float, str, tuple[bytes | None, ...], object], key: bytes = b"k") -> History:
    history = History()
    for began, ended, kind, words, reply in calls:
        history.add("c", began, ended, kind, key, words, reply)
    return history


SHARED = {  # a history, the value at the end, a part of the complaint
    "fine": (told((0, 1, "set", (b"a",), "OK"), (2, 3, "get", (), b"a")), b"a", None),
    "lost write": (told((0, 1, "set", (b"a",), "OK")), None, "then nothing does"),
    "lost though read": (told((0, NEVER, "set", (b"a",), UNKNOWN), (2, 3, "get", (), b"a")), None, "then nothing does"),
    "unknown, not there": (told((0, NEVER, "set", (b"a",), UNKNOWN)), None, None),
    "unknown, there": (told((0, NEVER, "set", (b"a",), UNKNOWN)), b"a", None),
    "stale read": (
        told((0, 1, "set", (b"a",), "OK"), (2, 3, "set", (b"b",), "OK"), (4, 5, "get", (), b"a")), b"b", "then nothing does",
    ),
    "refused, and there": (told((0, 1, "get", (), None)), b"a", "then nothing does"),
    "both watched the same": (
        told((0, 1, "set", (b"a",), "OK"), (2, 9, "watched", (b"a", b"b"), 1), (2, 9, "exec", (b"a", b"c"), 1)),
        b"c", "then nothing does",
    ),
    "counted": (told((0, 1, "incr", (), 1), (2, NEVER, "incr", (), UNKNOWN)), b"2", None),
    "count lost": (told((0, 1, "incr", (), 1), (2, 3, "incr", (), 2)), b"1", "is 1; acknowledged increments 2, unknown 0"),
    "counted twice": (told((0, 1, "incr", (), 1), (2, NEVER, "incr", (), UNKNOWN)), b"3", "unknown 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_shared_keys(name: str) -> None:
    history, value, complaint = SHARED[name]
    found = judge(history, {b"k": value}, END)
    assert bool(found) == (complaint is not None) and (complaint or "") in "".join(found)


@pytest.mark.parametrize(
    ("group", "value", "wrong"),
    [("written", b"v", False), ("written", None, True), ("written", b"other", True), ("unsure", b"v", False),
     ("unsure", None, False), ("unsure", b"other", True), ("refused", None, False), ("refused", b"v", True)],
)  # fmt: skip
def test_keys_written_once(group: str, value: bytes | None, wrong: bool) -> None:
    history = History()
    getattr(history, group)[b"u"] = b"v"
    assert bool(judge(history, {b"u": value}, END)) == wrong
    assert history.keys == [b"u"] and len(history.lines()) == 1


@pytest.mark.parametrize(("count", "wrong"), [(b"2", False), (b"1", True), (b"3", True), (None, True)])
def test_tallies(count: bytes | None, wrong: bool) -> None:
    history = History(tallies={b"t": [b"m1", b"m2", b"m3"]})
    assert bool(judge(history, {b"t": count, b"m1": b"1", b"m2": None, b"m3": b"1"}, END)) == wrong


def test_the_longest_gap() -> None:
    history = History(acknowledged_at=[1.0, 2.0, 5.0, 5.5, 9.0])
    assert history.longest_gap(1.5, 7.0) == 3.0
    assert history.longest_gap(6.0, 8.0) == 2.0
    assert History().longest_gap(0.0, 4.0) == 4.0


# What a client makes of a reply.


class Told(Connection):
    """Answers whatever it is asked with the same; None: the connection breaks."""

    def __init__(self, reply: bytes | None) -> None:
        self._reply_bytes = reply

    async def ask(self, *requests: Sequence[bytes]) -> list[Value]:
        if self._reply_bytes is None:
            raise Lost("closed")
        return [read_value(self._reply_bytes)] * len(requests)


REPLIES = [  # kind, reply, what the history has of it, is there a finding
    ("set", b"+OK\r\n", "OK", False),
    ("incr", b":7\r\n", 7, False),
    ("get", b"$1\r\na\r\n", b"a", False),
    ("get", b"$-1\r\n", None, False),
    ("get", b"*2\r\n$1\r\na\r\n:4\r\n", b"a", False),
    ("exec", b"$-1\r\n", 0, False),
    ("exec", b"+OK\r\n", 1, False),
    ("watched", b"*-1\r\n", "nothing", False),
    ("watched", b"*1\r\n+OK\r\n", 1, False),
    ("set", b"-INDETERMINATE who knows\r\n", UNKNOWN, False),
    ("get", b"-INDETERMINATE of a read\r\n", "nothing", True),
    ("set", None, UNKNOWN, False),
    ("get", None, "nothing", False),
    ("set", b"-NOREPLICAS none\r\n", "nothing", False),
    ("get", b"-CLUSTERDOWN none\r\n", "nothing", False),
    ("set", b"-ERR of a bug\r\n", "nothing", True),
]


@pytest.mark.parametrize(("kind", "reply", "noted", "finding"), REPLIES)
async def test_replies(kind: str, reply: bytes | None, noted: object, finding: bool) -> None:
    history = History()
    client = Client("c", "1", 0, ["nowhere"], 0, history)
    refused = False
    try:
        await client._call(Told(reply), kind, b"k", (b"old", b"new"), (b"WHATEVER",))
    except (Lost, Refused):
        refused = True
    calls = [call.reply for call in history.calls.get(b"k", [])]
    assert calls == ([] if noted == "nothing" else [noted])
    assert bool(history.findings) == finding
    assert refused == (reply is None or (reply[:1] == b"-" and noted is not UNKNOWN))
    assert bool(history.acknowledged_at) == (kind != "get" and not refused and noted is not UNKNOWN)
