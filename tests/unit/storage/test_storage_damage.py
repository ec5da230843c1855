"""The table, every combination; and the facts it is asked about, from bytes."""

from __future__ import annotations

from itertools import product

import pytest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.storage.batch import HEADER_BYTES, SECTOR, encode, store_salt
from vaylix_resp.storage.damage import Behind, Body, Do, Facts, Head, decide, gather
from vaylix_resp.storage.segment import READ_BYTES, Reader

SALT = store_salt(b"s" * 16)


def by_words(facts: Facts) -> Do:
    """The rules of RAFT.md one after the other, without a table."""
    if facts.head is Head.OK and facts.body is Body.OK:
        return Do.KEEP
    if facts.behind is Behind.SYNCED:
        return Do.REFUSE
    if facts.head is Head.ZERO and facts.behind is Behind.NOTHING:
        return Do.END
    return Do.CUT if facts.torn else Do.REFUSE


@pytest.mark.parametrize("head, body, torn, behind", list(product(Head, Body, (False, True), Behind)))
def test_every_combination(head: Head, body: Body, torn: bool, behind: Behind) -> None:
    facts = Facts(head, body, torn, behind)
    assert decide(facts) is by_words(facts)


@pytest.mark.parametrize("head, body, behind", list(product(Head, Body, Behind)))
def test_nothing_is_cut_without_evidence(head: Head, body: Body, behind: Behind) -> None:
    assert decide(Facts(head, body, False, behind)) is not Do.CUT


def frame(first: int, durable: int, body: bytes = b"*" * 1500) -> bytes:
    return encode(SALT, bytes(16), durable, first, 1, 1, 1, 0, 0, body)[0]


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]


def zeroed(raw: bytes, start: int, end: int) -> bytes:
    return raw[:start] + bytes(end - start) + raw[end:]


THIS = frame(5, 4)
NEXT = frame(6, 5)
NEXT_RELAXED = frame(6, 4)
ROOM = bytes(4 * SECTOR)
FAR = bytes(2 * READ_BYTES)
SHORT = frame(5, 4, b"*")


@pytest.mark.parametrize(
    "content, facts, do",
    [
        (THIS + ROOM, (Head.OK, Body.OK, False, Behind.NOTHING), Do.KEEP),
        (b"", (Head.ZERO, Body.UNKNOWN, True, Behind.NOTHING), Do.END),
        (ROOM, (Head.ZERO, Body.UNKNOWN, True, Behind.NOTHING), Do.END),
        (bytes(100), (Head.ZERO, Body.UNKNOWN, True, Behind.NOTHING), Do.END),
        (ROOM + b"x", (Head.ZERO, Body.UNKNOWN, True, Behind.REST), Do.CUT),
        (FAR + b"x", (Head.ZERO, Body.UNKNOWN, True, Behind.REST), Do.CUT),
        (flipped(THIS, 900) + ROOM, (Head.OK, Body.BAD, False, Behind.NOTHING), Do.REFUSE),
        (flipped(THIS, len(THIS) - 1) + ROOM, (Head.OK, Body.BAD, False, Behind.NOTHING), Do.REFUSE),
        (flipped(THIS, 20) + ROOM, (Head.BAD, Body.UNKNOWN, False, Behind.REST), Do.REFUSE),
        (flipped(SHORT, 20) + ROOM, (Head.BAD, Body.UNKNOWN, False, Behind.NOTHING), Do.REFUSE),
        (THIS[:-1] + bytes(1) + ROOM, (Head.OK, Body.BAD, True, Behind.NOTHING), Do.CUT),
        (zeroed(THIS, 512, 1024) + ROOM, (Head.OK, Body.BAD, True, Behind.NOTHING), Do.CUT),
        (zeroed(THIS, 513, 1025) + ROOM, (Head.OK, Body.BAD, False, Behind.NOTHING), Do.REFUSE),
        (zeroed(THIS, 0, 512) + ROOM, (Head.ZERO, Body.UNKNOWN, True, Behind.REST), Do.CUT),
        (zeroed(THIS, 60, len(THIS)) + ROOM, (Head.BAD, Body.UNKNOWN, True, Behind.NOTHING), Do.CUT),
        (zeroed(THIS, 60, HEADER_BYTES) + ROOM, (Head.BAD, Body.UNKNOWN, False, Behind.REST), Do.REFUSE),
        (zeroed(THIS, 0, HEADER_BYTES) + ROOM, (Head.BAD, Body.UNKNOWN, False, Behind.REST), Do.REFUSE),
        (THIS[:50], (Head.SHORT, Body.UNKNOWN, True, Behind.NOTHING), Do.CUT),
        (flipped(THIS, 3)[:300], (Head.SHORT, Body.UNKNOWN, True, Behind.NOTHING), Do.CUT),
        (THIS[:-1], (Head.OK, Body.SHORT, True, Behind.NOTHING), Do.CUT),
        # A later batch that was written after the fsync of this one: torn or not, something acknowledged is gone.
        (flipped(THIS, 900) + NEXT, (Head.OK, Body.BAD, False, Behind.SYNCED), Do.REFUSE),
        (zeroed(THIS, 512, 1024) + NEXT, (Head.OK, Body.BAD, True, Behind.SYNCED), Do.REFUSE),
        (zeroed(THIS, 0, 512) + NEXT, (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
        (bytes(len(THIS)) + NEXT, (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
        (bytes(len(THIS)) + NEXT[:600], (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
        (FAR + NEXT, (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
        # With a relaxed appendfsync the later one says that this one was not synced.
        (zeroed(THIS, 512, 1024) + NEXT_RELAXED, (Head.OK, Body.BAD, True, Behind.UNSYNCED), Do.CUT),
        (zeroed(THIS, 0, 512) + NEXT_RELAXED, (Head.ZERO, Body.UNKNOWN, True, Behind.UNSYNCED), Do.CUT),
        (flipped(THIS, 900) + NEXT_RELAXED, (Head.OK, Body.BAD, False, Behind.UNSYNCED), Do.REFUSE),
        (zeroed(THIS, 0, 512) + NEXT_RELAXED + frame(9, 8), (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
    ],
)
def test_facts_from_bytes(content: bytes, facts: tuple[Head, Body, bool, Behind], do: Do) -> None:
    disk = SimDisk()
    disk.put("a", b"H" * SECTOR + content)
    found, end = gather(Reader(disk.open("a")), SECTOR, 5, SALT)
    assert found == Facts(*facts)
    assert decide(found) is do
    if do is Do.CUT:  # all that is not zero is copied to quarantine
        assert SECTOR < end <= SECTOR + len(content) and not any(content[end - SECTOR :])


def test_a_value_that_looks_like_a_later_batch_is_none() -> None:
    """A client stores a whole frame, made for another store id, at the start of a sector."""
    foreign = encode(store_salt(b"t" * 16), bytes(16), 8, 9, 1, 1, 1, 0, 0, b"*x")[0]
    carrier = frame(5, 4, b"*" * (SECTOR - HEADER_BYTES) + foreign)
    disk = SimDisk()
    disk.put("a", zeroed(carrier, 0, SECTOR) + ROOM)
    found, _ = gather(Reader(disk.open("a")), 0, 5, SALT)
    assert found.behind is Behind.REST and decide(found) is Do.CUT
