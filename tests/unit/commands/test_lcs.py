"""The longest common subsequence: against the textbook table, walked as Redis walks it; both orientations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.commands import lcs
from vaylix_resp.commands.lcs import Match, common_subsequence, subsequence_length
from vaylix_resp.errors import CommandError


def textbook(first: bytes, second: bytes) -> tuple[bytes, list[Match]]:
    """One cell at a time, one step at a time."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first, 1):
        for j, b in enumerate(second, 1):
            longer = max(table[i - 1][j], table[i][j - 1])
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else longer
    i, j = len(first), len(second)
    text, matches = bytearray(), list[Match]()
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            text.append(first[i])
            if matches and (matches[-1].first, matches[-1].second) == (i + 1, j + 1):
                matches[-1] = Match(i, j, matches[-1].length + 1)
            else:
                matches.append(Match(i, j, 1))
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return bytes(reversed(text)), matches


FEW_LETTERS = st.text("abc", max_size=24).map(str.encode)


@given(FEW_LETTERS, FEW_LETTERS)
def test_equals_the_textbook(first: bytes, second: bytes) -> None:
    expected = textbook(first, second)
    assert common_subsequence(first, second) == expected
    assert subsequence_length(first, second) == len(expected[0])


@given(st.binary(max_size=8), st.binary(max_size=40), st.binary(max_size=8))
def test_equals_the_textbook_inside_a_longer_string(head: bytes, middle: bytes, tail: bytes) -> None:
    longer = head + middle + tail
    assert common_subsequence(middle, longer) == textbook(middle, longer)
    assert common_subsequence(longer, middle) == textbook(longer, middle)


@pytest.mark.parametrize(
    "first, second, text, matches",
    [
        (b"", b"abc", b"", []),
        (b"abc", b"abc", b"abc", [Match(0, 0, 3)]),
        (b"ohmytext", b"mynewtext", b"mytext", [Match(4, 5, 4), Match(2, 0, 2)]),
        (b"a", b"aaa", b"a", [Match(0, 2, 1)]),
        (b"aaa", b"a", b"a", [Match(2, 0, 1)]),
        (b"\x00\xff", b"\xff\x00", b"\xff", [Match(1, 0, 1)]),
    ],
)
def test_known(first: bytes, second: bytes, text: bytes, matches: list[Match]) -> None:
    assert common_subsequence(first, second) == (text, matches)


def test_a_table_too_large_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lcs, "CELLS_MAX", 6 * 5)
    assert common_subsequence(b"abcde", b"abcd")[0] == b"abcd"
    for measure in (common_subsequence, subsequence_length):
        with pytest.raises(CommandError, match="transient memory for LCS exceeds proto-max-bulk-len"):
            measure(b"abcde", b"abcde")


def test_a_short_and_a_very_long_string() -> None:
    many = b"x" * 1_000_000 + b"abc" + b"y" * 1_000_000
    assert common_subsequence(b"abc", many) == (b"abc", [Match(0, 1_000_000, 3)])
    assert common_subsequence(many, b"abc") == (b"abc", [Match(1_000_000, 0, 3)])
