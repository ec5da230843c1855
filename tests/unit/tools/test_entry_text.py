"""Entries in words: the right keys for each kind of entry, bounded and printable whatever a client has stored."""

import pytest

from vaylix_resp.commands.operations import NOOP, expiry, in_database, publish, stage, transaction
from vaylix_resp.tools.entry_text import KEYS_MAX, WORD_CHARS_MAX, entry_of, shown_word

CASES = [
    # (operation, database, name, keys)
    ((b"SET", b"a", b"1"), 0, "SET", [(0, b"a")]),
    (in_database(3, [b"SET", b"a", b"1"]), 3, "SET", [(3, b"a")]),
    ((b"MSET", b"a", b"1", b"b", b"2"), 0, "MSET", [(0, b"a"), (0, b"b")]),
    ((b"DEL", b"a", b"b"), 0, "DEL", [(0, b"a"), (0, b"b")]),
    ((b"FLUSHALL",), 0, "FLUSHALL", []),
    (expiry(2, [b"x", b"y"]), 2, "(expired)", [(2, b"x"), (2, b"y")]),
    ((NOOP, b"1", b"16"), 0, "(noop)", []),
    (stage(b"id", 1, [(b"k", b"v", None, 0), (b"l", b"w", 5, 0)]), 1, "(stage)", [(1, b"k"), (1, b"l")]),
    (publish(b"id", "merge"), 0, "(publish)", []),
    (
        transaction([(0, b"w", 4)], [(1, (b"SET", b"a", b"1")), (1, (b"DEL", b"a", b"b")), (2, (b"INCR", b"c"))]),
        1, "MULTI SET,DEL,INCR", [(1, b"a"), (1, b"b"), (2, b"c")],
    ),
    ((b"NOSUCH", b"a"), 0, "NOSUCH", []),
]  # fmt: skip


@pytest.mark.parametrize("operation, database, name, keys", CASES)
def test_an_entry_is_described_by_its_kind(operation, database, name, keys):
    entry = entry_of(7, operation)
    assert (entry.database, entry.name, list(entry.keys)) == (database, name, keys)
    assert entry.bytes == sum(map(len, operation))
    assert entry.as_dict(values=True)["key_count"] == len(keys)


WORDS = [
    (b"plain", "plain"), (b"", '""'), (b"a b", "a\\x20b"), (b"\x1b[31m\r\n", "\\x1b[31m\\x0d\\x0a"), (b"\\", "\\x5c"),
    (b"\xff", "\\xff"),
]  # fmt: skip


@pytest.mark.parametrize("word, text", WORDS)
def test_no_byte_of_a_client_reaches_a_terminal_as_it_is(word, text):
    assert shown_word(word) == text


def test_long_words_and_many_keys_are_bounded():
    text = shown_word(b"x" * 1000)
    assert text == "x" * WORD_CHARS_MAX + "...(1000 bytes)"
    entry = entry_of(1, (b"DEL", *[b"k%d" % n for n in range(100)]))
    line = entry.line(values=True)
    assert f"and {100 - KEYS_MAX} more" in line and "k99" not in line
    assert len(entry.as_dict(values=False)["keys"]) == KEYS_MAX


def test_values_are_shown_only_when_asked_for():
    entry = entry_of(1, (b"SET", b"key", b"secret"))
    assert "secret" not in entry.line(values=False) and "secret" in entry.line(values=True)
    assert "secret" not in str(entry.as_dict(values=False)) and "secret" in str(entry.as_dict(values=True))
