"""The longest common subsequence of two byte strings, bit-parallel.

The textbook table L[i][j] (length of the LCS of the first i bytes of one and the first j of the other) grows
by 0 or 1 from a column to the next, so a row is one integer: bit j is 0 where it grows behind column j. A row
follows from the row before by one addition and a few logical operations (Hyyrö 2004), thirty columns at a
time in C.
Promise: of several subsequences of that length, and of several alignments, the one that Redis walks to.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..errors import CommandError

# Redis refuses a table that would pass its proto-max-bulk-len (512 MiB by default) with 4 bytes a cell. So do
# we, although ours takes a bit a cell: it bounds the time that other clients wait.
CELLS_MAX: Final = (512 << 20) // 4
TOO_LARGE: Final = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"


class Match(NamedTuple):
    """`length` equal bytes, from these offsets on."""

    first: int
    second: int
    length: int


def subsequence_length(first: bytes, second: bytes) -> int:
    _ensure_size(first, second)
    outer, inner = (first, second) if len(first) <= len(second) else (second, first)
    return len(inner) - _rows(outer, inner)[-1].bit_count()


def common_subsequence(first: bytes, second: bytes) -> tuple[bytes, list[Match]]:
    """The subsequence, and the runs of bytes it consists of, last run first."""
    _ensure_size(first, second)
    steps = _walk_rows(first, second) if len(first) <= len(second) else _walk_columns(first, second)
    matches: list[Match] = []
    for i, j in steps:
        if matches and (matches[-1].first, matches[-1].second) == (i + 1, j + 1):
            matches[-1] = Match(i, j, matches[-1].length + 1)
        else:
            matches.append(Match(i, j, 1))
    return b"".join(first[m.first : m.first + m.length] for m in reversed(matches)), matches


def _ensure_size(first: bytes, second: bytes) -> None:
    if (len(first) + 1) * (len(second) + 1) > CELLS_MAX:
        raise CommandError(TOO_LARGE)


def _rows(outer: bytes, inner: bytes) -> list[int]:
    """Row i of the table, for i bytes of `outer`; bit j stands for inner[j]. `outer` is the shorter one."""
    everything = (1 << len(inner)) - 1
    places = {}
    backwards = inner[::-1]
    for byte in set(outer):
        places[byte] = int(backwards.translate(_marking(byte)) or b"0", 2)
    row, rows = everything, [everything]
    for byte in outer:
        hits = row & places[byte]
        row = ((row + hits) | (row - hits)) & everything
        rows.append(row)
    return rows


def _marking(byte: int) -> bytes:
    """A translation of `byte` to the digit 1 and everything else to 0."""
    return b"0" * byte + b"1" + b"0" * (255 - byte)


# Redis walks from the table's end: over a match diagonally; else up if that keeps more than going left, else
# left. Both walks below take the same way, but where Redis takes many steps along the long string they jump.


def _walk_rows(first: bytes, second: bytes) -> list[tuple[int, int]]:
    """The matching pairs on the way, last pair first; rows stand for bytes of `first`."""
    rows = _rows(first, second)
    i, j, pairs = len(first), len(second), []
    while i and j:
        # Going left gives up nothing until behind the next column where this row grows, or until a match.
        grows = (~rows[i] & ((1 << j) - 1)).bit_length()
        j = max(grows, second.rfind(first[i - 1], 0, j) + 1)
        if j and first[i - 1] == second[j - 1]:
            j -= 1
            pairs.append((i - 1, j))
        i -= 1
    return pairs


def _walk_columns(first: bytes, second: bytes) -> list[tuple[int, int]]:
    """The same with rows for bytes of `second`."""
    rows = _rows(second, first)
    i, j, pairs = len(first), len(second), []
    while i and j:
        byte = second[j - 1]
        if first[i - 1] != byte:
            columns = (1 << i) - 1
            if (rows[j] & columns).bit_count() == (rows[j - 1] & columns).bit_count():
                j -= 1  # this byte of `second` adds nothing here
                continue
            i = first.rfind(byte, 0, i) + 1  # it adds one, and only a match further left can be why
            assert i > 0, "a row grows over the one before only at a match"
        i -= 1
        j -= 1
        pairs.append((i, j))
    return pairs
