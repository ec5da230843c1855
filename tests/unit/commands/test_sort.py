"""SORT's grammar; every key is a string or missing."""

import pytest

from vaylix_resp.commands.spec import DECLARED
from vaylix_resp.errors import NOT_AN_INTEGER, SYNTAX, WRONG_TYPE

ROWS = [  # options, reply of SORT for a missing key, of SORT_RO
    ((), [], []),
    (("ASC",), [], []),
    (("desc", "ALPHA"), [], []),
    (("LIMIT", "0", "-5", "BY", "w_*", "GET", "#", "GET", "x_*"), [], []),
    (("BY", "STORE", "GET", "LIMIT"), [], []),
    (("STORE", "dest"), 0, SYNTAX),
    (("STORE", "dest", "STORE", "other"), 0, SYNTAX),
    (("STORE",), SYNTAX, SYNTAX),
    (("LIMIT", "1"), SYNTAX, SYNTAX),
    (("LIMIT", "a", "1"), NOT_AN_INTEGER, NOT_AN_INTEGER),
    (("LIMIT", "1", "9223372036854775808"), NOT_AN_INTEGER, NOT_AN_INTEGER),
    (("BY",), SYNTAX, SYNTAX),
    (("GET",), SYNTAX, SYNTAX),
    (("NONSENSE",), SYNTAX, SYNTAX),
    (("ASC", "LIMIT", "x", "1", "NONSENSE"), NOT_AN_INTEGER, NOT_AN_INTEGER),
]


@pytest.mark.parametrize("options, sort, sort_ro", ROWS)
def test_replies(box, options, sort, sort_ro):
    assert box("SORT", "none", *options) == sort
    assert box("SORT_RO", "none", *options) == sort_ro
    box("SET", "text", "v")
    assert box("SORT", "text", *options) == (sort if isinstance(sort, str) else WRONG_TYPE)
    assert box("SORT_RO", "text", *options) == (sort_ro if isinstance(sort_ro, str) else WRONG_TYPE)


def test_store_of_nothing_removes_the_destination(box):
    box("SET", "dest", "v")
    box.listen()
    assert box("SORT", "none", "STORE", "dest") == 0
    assert box.events == ["m keymiss none", "g del dest"]
    assert box("EXISTS", "dest") == 0
    assert box("SORT", "none", "STORE", "dest") == 0
    assert "g del dest" not in box.events


def test_a_wrong_type_leaves_the_destination(box):
    box("SET", "text", "v")
    box("SET", "dest", "v")
    assert box("SORT", "text", "STORE", "dest") == WRONG_TYPE
    assert box("EXISTS", "dest") == 1


@pytest.mark.parametrize(
    "words, keys",
    [
        (("SORT", "k"), ["k"]),
        (("SORT", "k", "STORE", "d"), ["k", "d"]),
        (("SORT", "k", "STORE", "d", "STORE", "e"), ["k", "e"]),
        (("SORT", "k", "BY", "store", "GET", "x"), ["k"]),
        (("SORT", "k", "GET", "store", "store", "d"), ["k", "d"]),
        (("SORT", "k", "LIMIT", "store", "x", "DESC", "store", "d"), ["k", "d"]),
        (("SORT", "k", "STORE"), ["k"]),
    ],
)
def test_keys_of_a_request(words, keys):
    argv = [word.encode() for word in words]
    assert [key.decode() for key, _ in DECLARED["sort"].keys_of(argv)] == keys
