"""A running hash over the batches, the same on every node whatever keys its disk is sealed with.

It proves that two logs that agree on (index, term) hold the same bytes; a difference means that a disk, a memory or a
program has changed data, and the node that sees it stops.
Promise: depends on the log alone. The chain begins anew at each batch of kind NOOP or MEMBERS, so a node that has only
a part of the log (a restart, a snapshot) knows it again from the next such batch on, and until then takes over its
leader's; b"" stands for "not known" and is never compared.
Not here: protection against somebody who wants to deceive; that is the transport's (`peers`).
"""

from __future__ import annotations

import struct

from xxhash import xxh3_128

from .types import Entry, EntryKind

CHAIN_BYTES = 16
UNKNOWN = b""

_FIELDS = struct.Struct("<BQQQQQ")


def link(before: bytes, entry: Entry) -> bytes:
    """The chain at `entry`, given the one at the batch before it."""
    if entry.kind is not EntryKind.NORMAL:
        before = bytes(CHAIN_BYTES)
    elif not before:
        return UNKNOWN
    digest = xxh3_128(before)
    digest.update(_FIELDS.pack(entry.kind, entry.first, entry.count, entry.term, entry.timestamp_ms & MASK, entry.seed))
    digest.update(entry.body)
    return digest.digest()


MASK = (1 << 64) - 1  # a clock before 1970 is no reason to fail here
