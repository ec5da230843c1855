"""Compare-and-set by version: TairString's replies, and versions that never come back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.commands.arguments import INT64_MAX
from vaylix_resp.errors import SYNTAX
from vaylix_resp.resp.reply import OK, Simple

STALE = "ERR update version is stale"
OVERFLOW = "ERR increment or decrement would overflow"
NOT_INT, NOT_FLOAT = "ERR value is not an integer", "ERR value is not a float"
BAD_BOUNDS = "ERR min or max is specified, but not valid"


def version(box: Any, key: bytes = b"k") -> int:
    found = box.db().version(key)
    assert isinstance(found, int)
    return found


def test_exset_and_exget(box: Any) -> None:
    assert box("EXGET", "k") is None
    assert box("EXSET", "k", "a") == OK
    assert box("EXGET", "k") == [b"a", version(box)]
    assert box("EXSET", "k", "b", "FLAGS", "7", "WITHVERSION") == version(box)
    assert box("EXGET", "k", "withflags") == [b"b", version(box), 7]
    assert box("EXSET", "k", "c", "FLAGS", str((1 << 32) - 1)) == OK
    assert box("EXGET", "k", "WITHFLAGS") == [b"c", version(box), (1 << 32) - 1]
    assert box("EXSET", "k", "d") == OK  # flags stay unless they are named
    assert box("EXGET", "k", "WITHFLAGS") == [b"d", version(box), (1 << 32) - 1]
    assert box("SET", "k", "e") == OK
    assert box("EXGET", "k", "WITHFLAGS") == [b"e", version(box), 0]


def test_exset_checks_the_version(box: Any) -> None:
    assert box("EXSET", "k", "a", "VER", "5") == OK  # of a key that is not there every version is right
    seen = version(box)
    assert box("EXSET", "k", "b", "VER", str(seen)) == OK
    assert box("EXSET", "k", "c", "VER", str(seen)) == STALE
    assert box("EXSET", "k", "c", "VER", "0") == OK  # 0: no check
    assert box("GET", "k") == b"c"


def test_exset_conditions(box: Any) -> None:
    assert box("EXSET", "k", "a", "XX") is None
    assert box("EXSET", "k", "a", "NX") == OK
    assert box("EXSET", "k", "b", "NX", "VER", "99999") is None
    assert box("EXSET", "k", "b", "XX", "VER", "99999") == STALE
    assert box("GET", "k") == b"a"


# What a request does to an expiry of 10 s.
@pytest.mark.parametrize(
    "line, left_ms",
    [
        ("EXSET k 1", None), ("EXSET k 1 KEEPTTL", 10_000), ("EXSET k 1 EX 3", 3_000), ("EXSET k 1 PX 3", 3),
        ("EXINCRBY k 1", None), ("EXINCRBY k 1 KEEPTTL", 10_000), ("EXINCRBYFLOAT k 1", None),
        ("EXINCRBYFLOAT k 1 KEEPTTL", 10_000), ("EXINCRBY k 1 EX 3", 3_000), ("EXAPPEND k 1", 10_000),
        ("EXPREPEND k 1", 10_000), ("EXGAE k EX 3", 3_000), ("CAS k 1 2", None),
        ("CAS k 1 2 KEEPTTL", 10_000), ("CAS k 1 2 PX 3", 3), ("CAS k 9 2 PX 3", 10_000),
    ],
)  # fmt: skip
def test_expiry(box: Any, line: str, left_ms: int | None) -> None:
    box("SET", "k", "1", "EX", "10")
    box(*line.split())
    assert box.db().expiry(b"k") == (None if left_ms is None else box.now + left_ms)


def test_an_expiry_in_the_past_hides_the_key_and_still_tells_its_version(box: Any) -> None:
    assert box("EXSET", "k", "a", "EXAT", "1", "WITHVERSION") == box.machine.applied
    assert box("EXGET", "k") is None


def test_excas(box: Any) -> None:
    assert box("EXCAS", "k", "b", "1") == -1
    box("SET", "k", "a")
    seen = version(box)
    reply = box("EXCAS", "k", "b", str(seen), "EX", "5")
    assert reply == [OK, Simple(""), version(box)]
    assert box("EXCAS", "k", "c", str(seen)) == [Simple(STALE), b"b", version(box)]
    assert box("EXCAS", "k", "c", "0") == [Simple(STALE), b"b", version(box)]
    assert box("GET", "k") == b"b"


def test_excad(box: Any) -> None:
    assert box("EXCAD", "k", "1") == -1
    box("SET", "k", "a")
    box.listen()
    assert box("EXCAD", "k", str(version(box) + 1)) == 0
    assert box("EXCAD", "k", str(version(box))) == 1
    assert box.events == ["g del k"]
    assert not box.db().exists(b"k")


def test_cas_and_cad(box: Any) -> None:
    assert [box("CAS", "k", "a", "b"), box("CAD", "k", "a")] == [-1, -1]
    box("SET", "k", "a")
    assert [box("CAS", "k", "x", "b"), box("CAD", "k", "x")] == [0, 0]
    assert [box("CAS", "k", "a", "b"), box("GET", "k")] == [1, b"b"]
    assert [box("CAD", "k", "b"), box("GET", "k")] == [1, None]


@pytest.mark.parametrize(
    "before, line, reply",
    [
        (None, "EXINCRBY k 5", 5),
        ("10", "EXINCRBY k -3", 7),
        (None, "EXINCRBY k 5 DEF 100", 100),
        ("10", "EXINCRBY k 5 DEF 100", 15),
        (None, "EXINCRBY k 5 XX", None),
        ("10", "EXINCRBY k 5 NX", None),
        ("10", "EXINCRBY k 5 MAX 14", OVERFLOW),
        ("10", "EXINCRBY k 5 MAX 15 MIN 15", 15),
        ("10", "EXINCRBY k -5 MIN 6", OVERFLOW),
        ("10", "EXINCRBY k -50 NONEGATIVE", 0),
        (None, "EXINCRBY k 5 DEF -3 NONEGATIVE", 0),
        (str(INT64_MAX), "EXINCRBY k 1", OVERFLOW),
        ("x", "EXINCRBY k 1", NOT_INT),
        ("10", "EXINCRBY k x", NOT_INT),
        ("10", "EXINCRBY k 1 DEF x", NOT_INT),
        ("10", "EXINCRBY k 1 MIN x", BAD_BOUNDS),
        ("10", "EXINCRBY k 1 MIN 5 MAX 4", BAD_BOUNDS),
        ("10", "EXINCRBY k 1 VER 99999", STALE),
        (None, "EXINCRBYFLOAT k 1.5", b"1.5"),
        ("0.1", "EXINCRBYFLOAT k 0.2", b"0.3"),
        ("1", "EXINCRBYFLOAT k 1 MAX 1.9", OVERFLOW),
        ("1", "EXINCRBYFLOAT k 1 MIN 2 MAX 2", b"2"),
        ("1", "EXINCRBYFLOAT k -1 MIN 0.5", OVERFLOW),
        ("1", "EXINCRBYFLOAT k inf", OVERFLOW),
        ("x", "EXINCRBYFLOAT k 1", NOT_FLOAT),
        ("1", "EXINCRBYFLOAT k x", NOT_FLOAT),
        ("1", "EXINCRBYFLOAT k 1 MIN 2 MAX 1.5", BAD_BOUNDS),
        ("1", "EXINCRBYFLOAT k 1 MIN x", BAD_BOUNDS),
        ("1", "EXINCRBYFLOAT k 1 NX", None),
        ("1", "EXINCRBYFLOAT k 1 VER 99999", STALE),
        ("1", "EXINCRBYFLOAT k 1 DEF 1", SYNTAX),
    ],
)
def test_increments(box: Any, before: str | None, line: str, reply: Any) -> None:
    if before is not None:
        box("SET", "k", before)
    assert box(*line.split()) == reply
    if reply is None or isinstance(reply, str):
        assert box("GET", "k") == (None if before is None else before.encode())
    else:
        assert box("GET", "k") == (reply if isinstance(reply, bytes) else b"%d" % reply)


def test_exincrby_with_version(box: Any) -> None:
    assert box("EXINCRBY", "k", "5", "WITHVERSION") == [5, version(box)]
    assert box("EXINCRBY", "k", "5", "VER", str(version(box)), "WITHVERSION") == [10, version(box)]


def test_exappend_and_exprepend(box: Any) -> None:
    assert box("EXAPPEND", "k", "b", "XX") is None
    assert box("EXAPPEND", "k", "b") == version(box)
    assert box("EXAPPEND", "k", "c", "VER", str(version(box))) == version(box)
    assert box("EXPREPEND", "k", "a") == version(box)
    assert box("EXPREPEND", "k", "x", "VER", "99999") == STALE
    assert box("EXPREPEND", "k", "x", "NX") is None
    assert box("GET", "k") == b"abc"


def test_exgae_moves_the_expiry_and_not_the_version(box: Any) -> None:
    assert box("EXGAE", "k", "EX", "5") is None
    box("EXSET", "k", "a", "FLAGS", "3")
    seen = version(box)
    box.listen()
    assert box("EXGAE", "k", "EX", "5") == [b"a", seen, 3]
    assert (version(box), box.db().expiry(b"k")) == (seen, box.now + 5_000)
    assert box.events == ["g expire k"]


@pytest.mark.parametrize(
    "line, text",
    [
        ("EXSET k v ABS 5", "ERR ABS is not supported"), ("EXINCRBY k 1 ABS 5", "ERR ABS is not supported"),
        ("EXAPPEND k v ABS 5", "ERR ABS is not supported"), ("EXSETVER k 5", "ERR EXSETVER is not supported"),
        ("EXSET k v VER 1 ABS 5", SYNTAX), ("EXSET k v VER x", SYNTAX), ("EXSET k v VER -1", SYNTAX),
        ("EXSET k v VER", SYNTAX), ("EXSET k v NX XX", SYNTAX), ("EXSET k v EX 1 EX 1", SYNTAX),
        ("EXSET k v EX 1 KEEPTTL", SYNTAX), ("EXSET k v EX 0", SYNTAX), ("EXSET k v EX x", SYNTAX),
        ("EXSET k v FLAGS -1", SYNTAX), (f"EXSET k v FLAGS {1 << 32}", SYNTAX),
        ("EXSET k v FLAGS 1 FLAGS 1", SYNTAX), ("EXSET k v DEF 1", SYNTAX), ("EXSET k v FOO", SYNTAX),
        ("EXAPPEND k v EX 1", SYNTAX),
        (f"EXSET k v EX {INT64_MAX // 1000}", "ERR invalid expire time in 'exset' command"),
        ("EXGET k FOO", SYNTAX), ("EXGET k WITHFLAGS x", "ERR wrong number of arguments for 'exget' command"),
        ("EXCAS k v x", "ERR version should be integer"), ("EXCAS k v -1", SYNTAX),
        ("EXCAS k v 1 NX", SYNTAX), ("EXCAD k x", SYNTAX), ("EXGAE k KEEPTTL x", SYNTAX),
        ("EXGAE k EX", "ERR wrong number of arguments for 'exgae'"), ("CAS k a b NX", SYNTAX),
        ("CAS k a b EX 0", SYNTAX),
    ],
)  # fmt: skip
def test_refusals(box: Any, line: str, text: str) -> None:
    box("SET", "k", "1")
    reply = box(*line.split())
    assert isinstance(reply, str)
    assert reply.startswith(text)
    if "wrong number" not in reply and not line.startswith("EXGET"):
        assert box.refused is (str(INT64_MAX // 1000) not in line)


def test_a_time_that_no_clock_could_make_fit_is_refused_before_the_log(box: Any) -> None:
    box("EXSET", "k", "v", "EX", str(INT64_MAX // 1000 + 1))
    assert box.refused


def test_words_without_an_operand_may_be_repeated(box: Any) -> None:
    repeated = ("NX", "KEEPTTL", "WITHVERSION") * 2
    assert box("EXSET", "k", "v", *repeated) == version(box)


def test_events(box: Any) -> None:
    box.listen()
    lines = "EXSET k 1 EX 5, EXINCRBY k 1, EXINCRBYFLOAT k 1, EXAPPEND k 1, EXPREPEND k 1, CAS k 131 x"
    for line in lines.split(", "):
        box(*line.split())
    assert box.events == [
        "n new k", "$ set k", "g expire k", "$ incrby k", "$ incrbyfloat k", "$ append k", "$ prepend k",
        "$ set k",
    ]  # fmt: skip


WRITES = st.sampled_from(
    [
        "SET k 1", "SET k 1 KEEPTTL", "EXSET k 1", "EXSET k 1 EXAT 1", "DEL k", "GETDEL k", "EXINCRBY k 1",
        "INCR k", "EXAPPEND k 1", "MSET k 1 k 2", "EXPIRE k 100", "PERSIST k", "SETBIT k 1 1", "RENAME k j",
        "RENAME j k", "FLUSHALL", "SWAPDB 0 1", "COPY k j", "MOVE k 1",
    ]
)  # fmt: skip


@given(st.lists(st.tuples(WRITES, st.integers(0, 1)), max_size=30))
def test_no_version_comes_back(new_box: Any, steps: list[tuple[str, int]]) -> None:
    """Once the value or existence of a key has changed, the version it had is never its version again."""
    box = new_box(databases=2)
    gone: dict[tuple[int, bytes], int] = {}
    seen: dict[tuple[int, bytes], int] = {}
    for line, db in steps:
        before = box.contents()
        box(*line.split(), db=db)
        after = box.contents()
        for place in before.keys() | after.keys():
            old, new = before.get(place), after.get(place)
            if old is not None and (new is None or new[0][8:] != old[0][8:]):
                gone[place] = max(gone.get(place, 0), int.from_bytes(old[0][:8], "big"))
            if new is not None:
                now = int.from_bytes(new[0][:8], "big")
                assert now > gone.get(place, 0), (line, place)
                assert now >= seen.get(place, 0), (line, place)
                seen[place] = now
