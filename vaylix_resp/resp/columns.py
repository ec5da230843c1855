"""A pipeline of requests that all have the same number of words, read column by column.

Promise: what comes out is what the grammar says, for any bytes; None for anything but such a pipeline, whole from
the chunk's first byte to its last. The chunk is cut at its line ends, at C speed; then every header is compared with
the length of the word behind it. If they are equal, the cuts are at the real line ends: a word that holds a line end
of its own makes some header differ. Measured against hiredis with its checks: two thirds of the time.
Not here: every other chunk (`reader`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_WIDTHS: Final = {b"*%d" % n: n for n in range(1, 10)}
_HEADERS: Final = [b"$%d" % n for n in range(1025)]  # longer words are rare, and cutting them pays less


def read_columns(data: bytes) -> list[Sequence[bytes]] | None:
    """The requests of such a chunk."""
    parts = data.split(b"\r\n")
    count_header = parts[0]
    width = _WIDTHS.get(count_header)
    if width is None:
        return None
    stride = 2 * width + 1
    requests, rest = divmod(len(parts) - 1, stride)
    if rest or parts.pop() or parts[::stride].count(count_header) != requests:
        return None
    columns = []
    try:
        for at in range(1, stride, 2):
            words = parts[at + 1 :: stride]
            if parts[at::stride] != [*map(_HEADERS.__getitem__, map(len, words))]:
                return None
            columns.append(words)
    except IndexError:
        return None
    return list(zip(*columns, strict=True))
