"""Keys under names: what goes with a value when it moves, and what observers hear."""

import pytest

from vaylix_resp.commands.keys import HELP, encoding_of
from vaylix_resp.errors import NO_SUCH_KEY, SYNTAX
from vaylix_resp.resp.reply import OK, Simple

SAME = "ERR source and destination objects are the same"
NO_DB = "ERR DB index is out of range"
NOT_INT = "ERR value is not an integer or out of range"
NOT_INT32 = "ERR value is out of range, value must between -2147483648 and 2147483647"


def fill(box, **values):
    for key, value in values.items():
        box("SET", key, value)


@pytest.mark.parametrize(
    "request_, reply",
    [
        (("DEL", "a"), 1),
        (("DEL", "a", "b", "none"), 2),
        (("DEL", "a", "a"), 1),
        (("UNLINK", "a", "none"), 1),
        (("EXISTS", "a"), 1),
        (("EXISTS", "a", "a", "none"), 2),
        (("TOUCH", "a", "b", "none"), 2),
        (("TYPE", "a"), Simple("string")),
        (("TYPE", "none"), Simple("none")),
        (("RENAME", "a", "new"), OK),
        (("RENAME", "a", "a"), OK),
        (("RENAME", "none", "new"), NO_SUCH_KEY),
        (("RENAME", "none", "none"), NO_SUCH_KEY),
        (("RENAMENX", "a", "new"), 1),
        (("RENAMENX", "a", "b"), 0),
        (("RENAMENX", "a", "a"), 0),
        (("RENAMENX", "none", "a"), NO_SUCH_KEY),
        (("COPY", "a", "new"), 1),
        (("COPY", "a", "b"), 0),
        (("COPY", "a", "b", "replace"), 1),
        (("COPY", "a", "a", "DB", "1"), 1),
        (("COPY", "a", "a", "DB", "0"), SAME),
        (("COPY", "a", "a"), SAME),
        (("COPY", "none", "none"), SAME),
        (("COPY", "none", "b", "REPLACE"), 0),
        (("COPY", "a", "b", "DB"), SYNTAX),
        (("COPY", "a", "b", "nonsense"), SYNTAX),
        (("COPY", "a", "b", "DB", "x"), NOT_INT),
        (("COPY", "a", "b", "DB", "16"), NO_DB),
        (("COPY", "a", "b", "DB", "-1", "nonsense"), NO_DB),
        (("COPY", "a", "b", "DB", "99999999999"), NOT_INT32),
        (("COPY", "a", "new", "DB", "16", "DB", "1"), NO_DB),
        (("COPY", "a", "new", "DB", "1", "DB", "2", "REPLACE", "REPLACE"), 1),
    ],
)
def test_replies(box, request_, reply):
    fill(box, a="1", b="2")
    assert box(*request_) == reply


@pytest.mark.parametrize(
    "request_, events",
    [
        (("DEL", "a", "none", "b"), ["g del a", "g del b"]),
        (("RENAME", "a", "new"), ["n new new", "g rename_from a", "g rename_to new"]),
        (("RENAME", "a", "b"), ["n new b", "g rename_from a", "g rename_to b"]),
        (("RENAME", "a", "a"), []),
        (("RENAMENX", "a", "b"), []),
        (("COPY", "a", "b"), []),
        (("COPY", "a", "b", "REPLACE"), ["n new b", "g copy_to b"]),
        (("COPY", "a", "b", "DB", "3"), ["n new b db3", "g copy_to b db3"]),
        (("COPY", "none", "b"), ["m keymiss none"]),
    ],
)
def test_events(box, request_, events):
    fill(box, a="1", b="2")
    box.listen()
    box(*request_)
    assert box.events == events


MOVES = {
    "rename": (("RENAME", "a", "b"), 0, "b"),
    "renamenx": (("RENAMENX", "a", "c"), 0, "c"),
    "copy": (("COPY", "a", "b", "REPLACE"), 0, "b"),
    "copy to another database": (("COPY", "a", "a", "DB", "1"), 1, "a"),
    "move": (("MOVE", "a", "1"), 1, "a"),
}


@pytest.mark.parametrize("expires", [True, False])
@pytest.mark.parametrize("request_, db, key", MOVES.values(), ids=MOVES)
def test_value_expiry_and_flags_go_with_a_key_and_nothing_of_the_old_one_stays(box, request_, db, key, expires):
    box("EXSET", "a", "value", "FLAGS", "77", *(["PX", "5000"] if expires else []))
    box("EXSET", "b", "old", "FLAGS", "1", "PX", "100")
    old = box("OBJECT", "VERSION", "a")
    assert box(*request_) in (OK, 1)
    view = box.db(db)
    key = key.encode()
    assert view.string(key) == b"value"
    assert view.expiry(key) == (box.now + 5000 if expires else None)
    assert view.flags(key) == 77
    assert view.version(key) > old
    assert box("EXISTS", "a") == (1 if request_[0] == "COPY" else 0)


@pytest.mark.parametrize(
    "request_",
    [("RENAME", "gone", "x"), ("RENAMENX", "gone", "x"), ("MOVE", "gone", "1"), ("COPY", "gone", "x"), ("DEL", "gone")],
)
def test_an_expired_key_is_no_key(box, request_):
    box("SET", "gone", "1", "PX", "100")
    box.now += 100
    assert box(*request_) in (0, NO_SUCH_KEY)
    assert box("EXISTS", "gone", "x") == 0


def test_an_expired_destination_is_free(box):
    fill(box, a="1", c="3")
    box("SET", "gone", "1", "PX", "100")
    box.now += 100
    assert box("RENAMENX", "a", "gone") == 1
    assert box("COPY", "gone", "other") == 1
    box("SET", "gone2", "1", "PX", "100")
    box.now += 100
    assert box("COPY", "c", "gone2") == 1
    assert box("PTTL", "gone2") == -1


def test_copy_into_a_database_that_has_expired_keys(box):
    fill(box, a="1")
    box("SET", "a", "1", "PX", "100", db=4)
    box.now += 100
    assert box("COPY", "a", "a", "DB", "4") == 1
    assert box("GET", "a", db=4) == b"1"
    assert box("PTTL", "a", db=4) == -1


def test_randomkey(box):
    assert box("RANDOMKEY") is None
    fill(box, a="1", b="2", c="3")
    assert {box("RANDOMKEY") for _ in range(100)} == {b"a", b"b", b"c"}


def test_reads_count_hits_and_misses(box):
    fill(box, a="1")
    world = box.machine.world
    for request_ in ("EXISTS", "a", "none"), ("TOUCH", "a", "none"), ("TYPE", "a"), ("TYPE", "none"):
        box(*request_)
    assert (world.hits, world.misses) == (3, 3)
    box("OBJECT", "ENCODING", "a")
    assert (world.hits, world.misses) == (3, 3)


@pytest.mark.parametrize(
    "value, encoding, refcount",
    [
        (b"0", "int", 2147483647),
        (b"9999", "int", 2147483647),
        (b"10000", "int", 1),
        (b"-1", "int", 1),
        (b"9223372036854775807", "int", 1),
        (b"-9223372036854775808", "int", 1),
        (b"9223372036854775808", "embstr", 1),
        (b"007", "embstr", 1),
        (b"1.5", "embstr", 1),
        (b"", "embstr", 1),
        (b"x" * 44, "embstr", 1),
        (b"x" * 45, "raw", 1),
        (b"1" * 45, "raw", 1),
    ],
)
def test_object(box, value, encoding, refcount):
    """As redis-server 7.0 answers for a value that was SET."""
    box("SET", "k", value)
    assert encoding_of(value) == encoding
    assert box("OBJECT", "ENCODING", "k") == encoding.encode()
    assert box("OBJECT", "REFCOUNT", "k") == refcount


@pytest.mark.parametrize("sub", ["ENCODING", "FREQ", "IDLETIME", "REFCOUNT", "VERSION", "encoding"])
def test_object_of_no_key_is_null(box, sub):
    assert box("OBJECT", sub, "none") is None


def test_object_refuses_what_is_not_tracked(box):
    fill(box, a="1")
    assert box("OBJECT", "FREQ", "a").startswith("ERR An LFU maxmemory policy is not selected")
    assert box("OBJECT", "IDLETIME", "a").startswith("ERR An LRU maxmemory policy is not selected")


def test_object_version_rises_with_every_write(box):
    seen = [0]
    for request_ in (
        ("SET", "k", "1"), ("INCR", "k"), ("EXPIRE", "k", "100"), ("PERSIST", "k"), ("APPEND", "k", "x"),
        ("SET", "k", "1"), ("RENAME", "k", "other"), ("RENAME", "other", "k"), ("MOVE", "k", "1"), ("SWAPDB", "0", "1"),
    ):  # fmt: skip
        box(*request_)
        version = box("OBJECT", "VERSION", "k")
        if version is not None:
            assert version > seen[-1]
            seen.append(version)
    assert len(seen) == 9  # two of the steps take the key away


def test_help_names_every_subcommand(box):
    words = {line.text.split()[0] for line in HELP}
    assert {"ENCODING", "FREQ", "IDLETIME", "REFCOUNT", "VERSION", "HELP"} <= words
