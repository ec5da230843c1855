"""Operations to the body of a batch, and back.

A body is the operations as RESP arrays, one behind the other, without any frame of their own: the batch around
them has the length and the checksum. Not here: what an operation means (`commands.operations`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import hiredis

from ..limits import READ_CHUNK_BYTES


def encode(operations: Iterable[Sequence[bytes]]) -> bytes:
    return b"".join(map(hiredis.pack_command, map(tuple, operations)))


def decode(body: bytes) -> Iterator[list[bytes]]:
    """The operations of a body whose checksum has been verified; hiredis gets it in pieces, as it is quadratic else."""
    reader = hiredis.Reader(notEnoughData=False)
    for at in range(0, len(body), READ_CHUNK_BYTES):
        reader.feed(body, at, min(READ_CHUNK_BYTES, len(body) - at))
        yield from iter(reader.gets, False)
