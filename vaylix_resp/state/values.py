"""How one key's value lies in memory.

An item is one bytes object: the key's version (8 bytes, big-endian), then the string. One object instead of
a tuple saves 70 bytes a key and keeps a million keys out of the garbage collector's sight. Expiry and EX
flags, which most keys lack, live in dictionaries of their own (`keyspace`).
"""

from __future__ import annotations

from typing import Final

Item = bytes
VERSION_BYTES: Final = 8


def version_of(item: Item) -> int:
    return int.from_bytes(item[:VERSION_BYTES], "big")


def value_of(item: Item) -> bytes:
    return item[VERSION_BYTES:]


def make_item(version: int, value: bytes) -> Item:
    return version.to_bytes(VERSION_BYTES, "big") + value
