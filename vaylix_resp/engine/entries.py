"""Operations to the body of a batch, and back.

A body is the operations as RESP arrays, one behind the other, without any frame of their own: the batch around
them has the length and the checksum. Not here: what an operation means (`commands.operations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import hiredis

from ..limits import READ_CHUNK_BYTES

_pack: Callable[..., bytes] = hiredis.pack_command  # its own annotation says a tuple of one word


def encode(operations: Iterable[Sequence[bytes]]) -> bytes:
    return b"".join([_pack(tuple(operation)) for operation in operations])


def decode(body: bytes) -> Iterator[list[bytes]]:
    """The operations of a body whose checksum has been verified; hiredis gets it in pieces, as it is quadratic else."""
    reader = hiredis.Reader(notEnoughData=False)
    for at in range(0, len(body), READ_CHUNK_BYTES):
        reader.feed(body, at, min(READ_CHUNK_BYTES, len(body) - at))
        yield from iter(reader.gets, False)
