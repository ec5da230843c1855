"""RDB files made by hand: a value of every type in its smallest form, as the servers that had the type wrote it.

`OF_REDIS` are those that redis-server 7.0 loads too (tests/e2e/test_rdb.py has it do so), so they are not only what we
believe; the others are of later releases.
"""

from __future__ import annotations

import anycrc

from vaylix_resp.interchange.rdb_strings import write_length, write_string

crc64 = anycrc.Model("CRC64-REDIS").calc

ZIP_LIST = bytes((15, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0xF2, 2, 0xF3, 0xFF))  # 1, 2
ZIP_MAP = b"\x01\x01a\x01\x00b\xff"
INT_SET = b"\x02\0\0\0\x02\0\0\0\x01\0\x02\0"
LIST_PACK = bytes((11, 0, 0, 0, 2, 0, 1, 1, 2, 1, 0xFF))  # 1, 2
MODULE_ID = int.from_bytes(b"\x12\x34\x56\x78\x9a\xbc\xde\xf1", "big")


def text(value: bytes) -> bytes:
    return write_string(value)


def numbers(*values: int) -> bytes:
    return b"".join(map(write_length, values))


def stream(version: int) -> bytes:
    """Without entries, with a group that has a consumer; behind 7.2 both have something pending."""
    end = b"\x11" * 8
    facts = numbers(0, 5, 1) + (numbers(0, 0, 0, 0, 7) if version >= 2 else b"")
    pending = 1 if version >= 3 else 0
    entry = b"\x22" * 16
    group = text(b"group") + numbers(0, 0) + (numbers(3) if version >= 2 else b"")
    group += numbers(pending) + (entry + end + numbers(1)) * pending
    consumer = text(b"consumer") + end + (end if version >= 3 else b"") + numbers(pending) + entry * pending
    return numbers(0) + facts + numbers(1) + group + numbers(1) + consumer


MODULE = numbers(MODULE_ID, 1, 7, 2, 8, 5) + text(b"part") + numbers(4) + b"\0" * 8 + numbers(3) + b"\0" * 4 + numbers(0)

OF_REDIS = {  # type: kind, value
    1: ("list", numbers(2) + text(b"a") + text(b"12345")),
    2: ("set", numbers(2) + text(b"a") + text(b"b" * 100)),
    3: ("zset", numbers(3) + text(b"a") + b"\x031.5" + text(b"b") + b"\xfe" + text(b"c") + b"\xff"),
    4: ("hash", numbers(1) + text(b"f") + text(b"v")),
    5: ("zset", numbers(1) + text(b"a") + b"\0" * 8),
    9: ("hash", text(ZIP_MAP)),
    10: ("list", text(ZIP_LIST)),
    11: ("set", text(INT_SET)),
    12: ("zset", text(ZIP_LIST)),
    13: ("hash", text(ZIP_LIST)),
    14: ("list", numbers(2) + text(ZIP_LIST) + text(ZIP_LIST)),
    15: ("stream", stream(1)),
    16: ("hash", text(LIST_PACK)),
    17: ("zset", text(LIST_PACK)),
    18: ("list", numbers(2, 2) + text(LIST_PACK) + numbers(1) + text(b"plain")),
    19: ("stream", stream(2)),
}
LATER = {
    7: ("module EjRWeJq83", MODULE),
    20: ("set", text(LIST_PACK)),
    21: ("stream", stream(3)),
    22: ("hash", numbers(1, 0) + text(b"f") + text(b"v")),
    23: ("hash", text(LIST_PACK)),
    24: ("hash", b"\x33" * 8 + numbers(2, 0) + text(b"f") + text(b"v") + numbers(70000) + text(b"g") + text(b"w")),
    25: ("hash", b"\x33" * 8 + text(LIST_PACK)),
}
OF_VALKEY = {22: ("hash", numbers(1) + text(b"f") + text(b"v") + b"\xff" * 8)}


def keys_of(values: dict[int, tuple[str, bytes]]) -> bytes:
    """A key `type-N` for each."""
    return b"".join(bytes((number,)) + text(b"type-%d" % number) + value for number, (_, value) in values.items())


def whole(body: bytes, head: bytes = b"REDIS0012", *, checksum: bool = True) -> bytes:
    """With head, end and checksum."""
    data = head + body + b"\xff"
    return data + (crc64(data) if checksum else 0).to_bytes(8, "little")
