"""The table, every combination; and the facts it is asked about, from bytes."""

from __future__ import annotations

from itertools import product
from zlib import crc32

import pytest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.storage.batch import HEADER_BYTES, SECTOR, encode, store_salt
from vaylix_resp.storage.damage import Behind, Body, Do, Facts, Head, decide, gather
from vaylix_resp.storage.sealing import Cipher
from vaylix_resp.storage.segment import READ_BYTES, Reader

SALT = store_salt(b"s" * 16)
CIPHER = Cipher(b"k" * 32)
BOTH = pytest.mark.parametrize("cipher", [CIPHER, None], ids=["sealed", "clear"])


def by_words(facts: Facts) -> Do:
    """The rules one after the other, without a table."""
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


def frame(first: int, durable: int, body: bytes = b"*" * 1500, cipher: Cipher | None = None) -> bytes:
    return encode(SALT, bytes(16), durable, first, 1, 1, 1, 0, 0, body, cipher, first if cipher else 0)[0]


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]


def zeroed(raw: bytes, start: int, end: int) -> bytes:
    return raw[:start] + bytes(end - start) + raw[end:]


ROOM = bytes(4 * SECTOR)
FAR = bytes(2 * READ_BYTES)

Row = tuple[bytes, tuple[Head, Body, bool, Behind], Do]


def rows(cipher: Cipher | None) -> list[Row]:
    this, following = frame(5, 4, cipher=cipher), frame(6, 5, cipher=cipher)
    relaxed, later = frame(6, 4, cipher=cipher), frame(9, 8, cipher=cipher)
    short = frame(5, 4, b"*", cipher)
    return [
        (this + ROOM, (Head.OK, Body.OK, False, Behind.NOTHING), Do.KEEP),
        (b"", (Head.ZERO, Body.UNKNOWN, True, Behind.NOTHING), Do.END),
        (ROOM, (Head.ZERO, Body.UNKNOWN, True, Behind.NOTHING), Do.END),
        (bytes(100), (Head.ZERO, Body.UNKNOWN, True, Behind.NOTHING), Do.END),
        (ROOM + b"x", (Head.ZERO, Body.UNKNOWN, True, Behind.REST), Do.CUT),
        (FAR + b"x", (Head.ZERO, Body.UNKNOWN, True, Behind.REST), Do.CUT),
        (flipped(this, 900) + ROOM, (Head.OK, Body.BAD, False, Behind.NOTHING), Do.REFUSE),
        (flipped(this, len(this) - 1) + ROOM, (Head.OK, Body.BAD, False, Behind.NOTHING), Do.REFUSE),
        (flipped(this, 20) + ROOM, (Head.BAD, Body.UNKNOWN, False, Behind.REST), Do.REFUSE),
        (flipped(short, 20) + ROOM, (Head.BAD, Body.UNKNOWN, False, Behind.NOTHING), Do.REFUSE),
        (this[:-1] + bytes(1) + ROOM, (Head.OK, Body.BAD, True, Behind.NOTHING), Do.CUT),
        (zeroed(this, 512, 1024) + ROOM, (Head.OK, Body.BAD, True, Behind.NOTHING), Do.CUT),
        (zeroed(this, 513, 1025) + ROOM, (Head.OK, Body.BAD, False, Behind.NOTHING), Do.REFUSE),
        (zeroed(this, 0, 512) + ROOM, (Head.ZERO, Body.UNKNOWN, True, Behind.REST), Do.CUT),
        (zeroed(this, 60, len(this)) + ROOM, (Head.BAD, Body.UNKNOWN, True, Behind.NOTHING), Do.CUT),
        (zeroed(this, 60, HEADER_BYTES) + ROOM, (Head.BAD, Body.UNKNOWN, False, Behind.REST), Do.REFUSE),
        (zeroed(this, 0, HEADER_BYTES) + ROOM, (Head.BAD, Body.UNKNOWN, False, Behind.REST), Do.REFUSE),
        (this[:50], (Head.SHORT, Body.UNKNOWN, True, Behind.NOTHING), Do.CUT),
        (flipped(this, 3)[:300], (Head.SHORT, Body.UNKNOWN, True, Behind.NOTHING), Do.CUT),
        (this[:-1], (Head.OK, Body.SHORT, True, Behind.NOTHING), Do.CUT),
        # A later batch that was written after the fsync of this one: torn or not, something acknowledged is gone.
        (flipped(this, 900) + following, (Head.OK, Body.BAD, False, Behind.SYNCED), Do.REFUSE),
        (zeroed(this, 512, 1024) + following, (Head.OK, Body.BAD, True, Behind.SYNCED), Do.REFUSE),
        (zeroed(this, 0, 512) + following, (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
        (bytes(len(this)) + following, (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
        (bytes(len(this)) + following[:600], (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
        (FAR + following, (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
        # With a relaxed appendfsync the later one says that this one was not synced.
        (zeroed(this, 512, 1024) + relaxed, (Head.OK, Body.BAD, True, Behind.UNSYNCED), Do.CUT),
        (zeroed(this, 0, 512) + relaxed, (Head.ZERO, Body.UNKNOWN, True, Behind.UNSYNCED), Do.CUT),
        (flipped(this, 900) + relaxed, (Head.OK, Body.BAD, False, Behind.UNSYNCED), Do.REFUSE),
        (zeroed(this, 0, 512) + relaxed + later, (Head.ZERO, Body.UNKNOWN, True, Behind.SYNCED), Do.REFUSE),
    ]


@BOTH
def test_facts_from_bytes(cipher: Cipher | None) -> None:
    for number, (content, facts, do) in enumerate(rows(cipher)):
        disk = SimDisk()
        disk.put("a", b"H" * SECTOR + content)
        found, end = gather(Reader(disk.open("a")), SECTOR, 5, SALT, cipher)
        assert found == Facts(*facts), number
        assert decide(found) is do, number
        if do is Do.CUT:  # all that is not zero is copied to quarantine
            assert SECTOR < end <= SECTOR + len(content) and not any(content[end - SECTOR :])


@BOTH
def test_a_value_that_looks_like_a_later_batch_is_none(cipher: Cipher | None) -> None:
    """A client stores a whole frame, made for another store id, at the start of a sector."""
    foreign = encode(store_salt(b"t" * 16), bytes(16), 8, 9, 1, 1, 1, 0, 0, b"*x")[0]
    carrier = frame(5, 4, b"*" * (SECTOR - HEADER_BYTES) + foreign, cipher)
    disk = SimDisk()
    disk.put("a", zeroed(carrier, 0, SECTOR) + ROOM)
    found, _ = gather(Reader(disk.open("a")), 0, 5, SALT, cipher)
    assert found.behind is Behind.REST and decide(found) is Do.CUT


@BOTH
def test_written_to_the_end_with_a_changed_tag_is_refused(cipher: Cipher | None) -> None:
    """The header's checksum made right again: nothing of it looks torn."""
    raw = bytearray(frame(5, 4, cipher=cipher))
    raw[110] ^= 1
    raw[124:128] = crc32(bytes(raw[:124]), SALT).to_bytes(4, "little")
    disk = SimDisk()
    disk.put("a", bytes(raw) + ROOM)
    found, _ = gather(Reader(disk.open("a")), 0, 5, SALT, cipher)
    assert found == Facts(Head.OK, Body.BAD, False, Behind.NOTHING) and decide(found) is Do.REFUSE
