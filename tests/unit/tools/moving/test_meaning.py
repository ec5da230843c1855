"""What commands of a stream become at the target: a table."""

import pytest

from vaylix_resp.interchange.dump_payload import serialize
from vaylix_resp.tools.moving import meaning
from vaylix_resp.tools.moving.meaning import PART_KEY, SHIFT_MS, Meaning, deadline, set_pieces, shifted

NOW = 1_000_000


def words_of(text):
    return tuple(word.encode() for word in text.split())


def at(ms):
    return str(ms + SHIFT_MS)


@pytest.mark.parametrize(
    "text, becomes",
    [
        ("INCR n", ["INCR n"]),
        ("mset a 1 b 2", ["mset a 1 b 2"]),
        ("SET k v", ["SET k v"]),
        ("SET k v KEEPTTL", ["SET k v KEEPTTL"]),
        ("SET k v PXAT 5000", [f"SET k v PXAT {at(5000)}"]),
        ("SET k v NX EXAT 5", [f"SET k v NX PXAT {at(5000)}"]),
        ("SET k v px 500", [f"SET k v PXAT {at(NOW + 500)}"]),
        ("SET k v EX 5", [f"SET k v PXAT {at(NOW + 5000)}"]),
        ("SETEX k 5 v", [f"SET k v PXAT {at(NOW + 5000)}"]),
        ("PSETEX k 5 v", [f"SET k v PXAT {at(NOW + 5)}"]),
        ("GETEX k PXAT 5", [f"GETEX k PXAT {at(5)}"]),
        ("GETEX k PERSIST", ["GETEX k PERSIST"]),
        ("PEXPIREAT k 5000 GT", [f"PEXPIREAT k {at(5000)} GT"]),
        ("EXPIREAT k 5", [f"PEXPIREAT k {at(5000)}"]),
        ("EXPIRE k 5 NX", [f"PEXPIREAT k {at(NOW + 5000)} NX"]),
        ("PEXPIRE k -5", [f"PEXPIREAT k {at(NOW - 5)}"]),
        ("PING", []),
        ("PUBLISH c m", []),
        ("REPLCONF GETACK *", []),
        ("MULTI", []),
        ("EXEC", []),
        ("SELECT 3", []),
        ("SWAPDB 0 1", ["SWAPDB 0 1", "DEL {vaylix:import}", "DEL {vaylix:import}"]),
        ("FLUSHALL ASYNC", ["FLUSHALL ASYNC"]),
    ],
)
def test_commands(text, becomes):
    act = Meaning(now_ms=NOW).of(words_of(text))
    assert [b" ".join(words).decode() for _, words in act.operations] == becomes and act.unknown is None
    assert (act.begins, act.ends, act.wants_ack) == (text == "MULTI", text == "EXEC", "GETACK" in text)


@pytest.mark.parametrize(
    "text, kind, key, instead",
    [
        ("LPUSH l a", "command LPUSH", b"l", []),
        ("FUNCTION LOAD code", "command FUNCTION", b"LOAD", []),
        ("SINTERSTORE d a b", "command SINTERSTORE", b"d", [b"DEL d"]),
        ("SORT l BY x store d", "command SORT", b"d", [b"DEL d"]),
        ("EVAL code 0", "command EVAL", b"code", []),
        ("PFADD h a", "command PFADD", b"h", [b"DEL h"]),
    ],
)
def test_what_is_unknown_says_so(text, kind, key, instead):
    """What a string is no more, because something unknown overwrote it, is deleted."""
    unknown = Meaning().of(words_of(text)).unknown
    assert (unknown.kind, unknown.key) == (kind, key)
    assert [b" ".join(words) for _, words in unknown.instead] == instead


def test_restore():
    payload = serialize(b"value")
    for words, end in (
        ((b"RESTORE", b"k", b"0", payload), ()),
        ((b"RESTORE", b"k", b"7", payload, b"REPLACE", b"ABSTTL"), (b"PXAT", at(7).encode())),
        ((b"RESTORE-ASKING", b"k", b"7", payload), (b"PXAT", at(NOW + 7).encode())),
    ):
        ((_, done),) = Meaning(now_ms=NOW).of(words).operations
        assert done == (b"SET", b"k", b"value", *end)
    for damaged in (payload[:-1] + b"x", b"\x01" + payload):
        assert Meaning().of((b"RESTORE", b"k", b"0", damaged)).unknown.instead == ((0, (b"DEL", b"k")),)


def test_databases():
    stream = Meaning(skip=True)
    stream.of(words_of("SELECT 3"))
    assert stream.of(words_of("INCR n")).operations == ((3, (b"INCR", b"n")),)
    # A list is copied over a string: the list is not here, and the string has to go.
    assert stream.of(words_of("RENAME a b")).operations == ((3, (b"DEL", b"b")), (3, (b"RENAME", b"a", b"b")))
    assert stream.of(words_of("COPY a b DB 5 REPLACE")).operations[0] == (5, (b"DEL", b"b"))
    assert len(stream.of(words_of("COPY a b DB 5")).operations) == 1
    assert len(stream.of(words_of("RENAME a a")).operations) == 1
    assert [db for db, _ in stream.of(words_of("SWAPDB 1 2")).operations] == [3, 1, 2]


def applied(operations):
    """What the few commands that pieces are made of leave."""
    held = {}
    for _, words in operations:
        match [*words]:
            case [b"SET", name, value, *_]:
                held[name] = value
            case [b"APPEND", name, value]:
                held[name] = held.get(name, b"") + value
            case [b"SETRANGE", name, start, value]:
                old = held.get(name, b"").ljust(int(start), b"\0")
                held[name] = old[: int(start)] + value + old[int(start) + len(value) :]
            case [b"RENAME", name, new]:
                held[new] = held.pop(name)
    return held


@pytest.mark.parametrize(
    "words, value",
    [
        ((b"SET", b"k", b"0123456789"), b"0123456789"),
        ((b"SET", b"k", b"0123456789", b"KEEPTTL"), b"0123456789"),
        ((b"SET", b"k", b"0123456789", b"PXAT", b"5"), b"0123456789"),
        ((b"SETEX", b"k", b"5", b"0123456789"), b"0123456789"),
        ((b"SETNX", b"k", b"0123456789"), b"0123456789"),
        ((b"GETSET", b"k", b"0123456789"), b"0123456789"),
        ((b"APPEND", b"k", b"0123456789"), b"0123456789"),
        ((b"SETRANGE", b"k", b"2", b"0123456789"), b"\0\0" + b"0123456789"),
        ((b"RESTORE", b"k", b"0", serialize(b"0123456789")), b"0123456789"),
    ],
)
def test_large_values_come_in_pieces(monkeypatch, words, value):
    monkeypatch.setattr(meaning, "PIECE_BYTES", 4)
    operations = Meaning(now_ms=NOW).of(words).operations
    assert applied(operations) == {b"k": value}
    assert len(operations) >= 3 and all(b"01234" not in word for operation in operations for word in operation.words)
    ends = b"PXAT" in words or words[0] == b"SETEX"
    assert any(b"PXAT" in operation.words for operation in operations) == ends


def test_a_large_value_does_not_replace_what_may_stay(monkeypatch):
    monkeypatch.setattr(meaning, "PIECE_BYTES", 4)
    names = [operation.words[0] for operation in set_pieces(0, b"k", b"012345", (b"NX", b"PXAT", b"5"))]
    assert names == [b"SET", b"APPEND", b"RENAMENX", b"DEL"]
    first, *_, last = set_pieces(0, b"k", b"012345", (b"NX", b"PXAT", b"5"))
    assert first.words == (b"SET", PART_KEY, b"0123", b"PXAT", b"5") and last.words == (b"DEL", PART_KEY)


@pytest.mark.parametrize("ms", [0, 1, 4_000_000_000_000])
def test_a_deadline_is_found_again(ms):
    assert deadline(shifted(ms)) == ms == deadline(ms)
    assert shifted(ms) > NOW + 1_000 * 365 * 86_400_000  # nobody waits for it


def test_a_key_that_ends_at_the_end_of_time_is_taken():
    """9223372036854775807 is what some clients give a key that is to stay; no later time can be written."""
    last = (1 << 63) - 1
    for ms in (last, last - 1, last - SHIFT_MS + 1):
        assert shifted(ms) == ms
    assert shifted(last - SHIFT_MS) == last
