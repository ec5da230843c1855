"""What commands that make many bytes of a few will have made: by cases, and against what really comes of it."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands.growth import STRETCH, Forecast, Outlook
from vaylix_resp.errors import CommandError
from vaylix_resp.interchange.dump_payload import serialize
from vaylix_resp.limits import MIB, VALUE_BYTES_MAX
from vaylix_resp.state.values import VERSION_BYTES

BIG = MIB
FRESH = 7


def words(line):
    line = line.split() if type(line) is str else line
    return [word if type(word) is bytes else word.encode() for word in line]


def foresee(stage, lines, earlier=(), fresh=0, db=0):
    ahead = Outlook(stage.node.machine.world.views, earlier, fresh)
    for line in lines:
        argv = words(line)
        if argv[0] == b"SELECT":
            db = int(argv[1])
        stretch = STRETCH.get(argv[0].decode().lower())
        if stretch is not None:
            try:
                stretch(ahead, db, argv)
            except CommandError:
                continue
    return ahead.made


@pytest.fixture(scope="module")
def stage():
    stage = Stage()
    stage.connect().ask(f"SETRANGE big {BIG - 1} x", "SET small 12345", "SELECT 1", "SET far 123")
    yield stage
    stage.close()


# `big` has 1 MiB, `small` 5 bytes; FRESH bytes have been sent and are not applied.
CASES = {
    "a new value": (["SETRANGE k 99 x"], 100),
    "a longer one": (["SETRANGE small 99 x"], 95),
    "a shorter one": (["SETRANGE big 99 x"], 0),
    "twice the same": (["SETRANGE k 99 x", "SETRANGE k 49 x", "SETRANGE k 149 x"], 150),
    "nothing to write": ([("SETRANGE", "k", "99", "")], 0),
    "a bit": (["SETBIT k 7999 1"], 1000),
    "the same bits": (["SETBIT k 7999 1"] * 100, 1000),
    "a field": (["BITFIELD k SET u8 #99 1", "BITFIELD k GET u8 #999"], 100),
    "a name taken away": (["RENAME big k", f"SETRANGE big {BIG - 1} x"], BIG),
    "and back again": (["RENAME big k", "RENAME k big", "SETRANGE big 0 x"], 1),
    "perhaps taken away": (["RENAMENX big k", "SETRANGE big 9 x"], 10),
    "taken elsewhere": (["MOVE big 1", "SETRANGE big 9 x"], 10),
    "databases exchanged": (["SWAPDB 0 1", "SETRANGE big 9 x", "SETRANGE small 9 x"], 20),
    "exchanged with itself": (["SWAPDB 1 1", "SETRANGE big 9 x"], 0),
    "another database": (["SELECT 1", "SETRANGE far 9 x", "SETRANGE big 9 x"], 7 + 10),
    "a copy": (["COPY big k"], BIG + FRESH),
    "over another": (["COPY big small REPLACE"], BIG + FRESH - 5),
    "to another database": (["COPY big far DB 1", "SELECT 1", "SETRANGE far 9 x"], BIG + FRESH - 3),
    "copies of a copy": (["COPY big k", "COPY k l", "COPY l m"], 3 * BIG + 6 * FRESH),
    "a copy of what has gone somewhere": (["RENAME big k", "COPY k l"], BIG + FRESH),
    "a copy of who knows what": (["SWAPDB 0 1", "COPY a b"], VALUE_BYTES_MAX),
    "of the longest": (["BITOP OR k small big none"], BIG + FRESH),
    "a float": (["INCRBYFLOAT k 1e4000", "INCRBYFLOAT k 1"], 5119),
    "unpacked": ([("RESTORE", "k", "0", serialize(b"x" * 5000))], 5000),
    "as it is": ([("RESTORE", "k", "0", serialize(b"xyz"))], 3),
    "a number": ([("RESTORE", "k", "0", serialize(b"-12345"))], 11),
    "no payload": ([("RESTORE", "k", "0", b""), ("RESTORE", "k", "0", b"\0\xff")], 0),
    "wrong words": (["SETRANGE k x y", "SETBIT k 1 2", "COPY big k DB 99", "SWAPDB 0 99", "SETRANGE k 1 x"], 2),
    "more than a value may be": ([f"SETRANGE k {VALUE_BYTES_MAX} x"], 0),
    "what is no longer than its bytes": (["SET k 1", "APPEND k 2", "DEL big", "GETDEL big"], 0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_requests_make(stage, case):
    lines, grows = CASES[case]
    assert foresee(stage, lines, fresh=FRESH).grows == grows


@pytest.mark.parametrize("case", [case for case in CASES if not any("SELECT" in line for line in CASES[case][0])])
def test_requests_of_earlier_batches_count_like_those_of_this_one(stage, case):
    """Each in a batch of its own, or all before the last in one."""
    lines, grows = CASES[case]
    each: list[Forecast] = []
    together = Forecast()
    for line in lines:
        made = foresee(stage, [line], [together], FRESH)
        assert foresee(stage, [line], each, FRESH).grows == made.grows
        each.append(made)
        together.add(made)
    assert together.grows == sum(one.grows for one in each) == grows


def lengths(stage):
    return sum(len(item) - VERSION_BYTES for db in stage.node.machine.world.databases for item in db.items.values())


def some_request(random):
    (one, two, other), db = random.choices("abc", k=3), random.randrange(2)
    size = random.choice((1, 50, 300, 2000))
    return random.choice((
        f"SETRANGE {one} {size} x", f"SETBIT {one} {8 * size} 1", f"BITFIELD {one} SET u8 #{size} 1",
        f"COPY {one} {two} REPLACE", f"COPY {one} {two} DB {db}", f"BITOP XOR {one} {two} {other}", f"RENAME {one} {two}",
        f"RENAMENX {one} {two}", f"MOVE {one} {db}", "SWAPDB 0 1", f"DEL {one}", f"SET {one} {'x' * random.randrange(60)}y",
        f"APPEND {one} {'x' * random.randrange(1, 60)}", f"GETDEL {one}", f"INCRBYFLOAT {one} 1e300", f"SELECT {db}",
    ))  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_never_more_comes_of_it_than_was_foreseen(seed):
    """At no moment, whatever of it fails: forty requests of which none is applied yet. A second of CPU in all."""
    random = Random(seed)
    stage = Stage()
    for _ in range(10):
        client = stage.connect("FLUSHALL", *[some_request(random) for _ in range(10)])
        before, sent, db, earlier = lengths(stage), 0, client.session.db, []
        foreseen = []
        lines = [some_request(random) for _ in range(40)]
        for line in lines:
            sent += len(line)
            made = foresee(stage, [line], earlier, sent, db)
            db = int(line.split()[1]) if line.startswith("SELECT") else db
            earlier.append(made)
            foreseen.append(sum(one.grows for one in earlier) + sent)
        for line, most in zip(lines, foreseen, strict=True):
            client.ask(line)
            assert lengths(stage) - before <= most, (line, lines)
    stage.close()
