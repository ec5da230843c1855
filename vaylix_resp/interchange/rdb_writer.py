"""An RDB file that redis-server loads, made in pieces: keys in, bytes out.

    writer = RdbWriter()
    parts = [writer.begin({"ctime": ...}), writer.select(0, 2, 1), writer.key(b"a", b"1"), ..., writer.end()]

Promise: what it returns, joined, is a whole file with a right checksum; keys are of the database selected last.
Units: ends of keys in ms since the epoch.
Not here: which keys, and where the bytes go.
Source: `rdbSaveRio` of Redis 7.2, src/rdb.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import EX_USAGE, Refused
from .rdb_reader import AUX, EOF, EXPIRE_MS, RESIZE_DB, SELECT_DB, crc64
from .rdb_shapes import STRING_TYPE
from .rdb_strings import write_length, write_string

VERSION_DEFAULT: Final = 10  # Redis 7.0 and later load it, and every Valkey
# The oldest that has all that is written (Redis 3.2), the newest whose loaders are known: strings are the same in all.
VERSION_MIN, VERSION_MAX = 7, 12

_EXPIRE_MARK: Final = bytes((EXPIRE_MS,))
_STRING_MARK: Final = bytes((STRING_TYPE,))


class BadVersion(Refused):
    exit_code = EX_USAGE


class RdbWriter:
    def __init__(self, version: int = VERSION_DEFAULT) -> None:
        if not VERSION_MIN <= version <= VERSION_MAX:
            raise BadVersion(f"RDB version {version}: expected {VERSION_MIN} to {VERSION_MAX}")
        self._version = version
        self._crc = 0

    def begin(self, facts: Mapping[str, str | int]) -> bytes:
        """The head, and what is said about the file; loaders ignore facts that they do not know."""
        parts = [b"REDIS%04d" % self._version]
        for name, value in facts.items():
            parts += (bytes((AUX,)), write_string(name.encode()), write_string(str(value).encode()))
        return self._counted(b"".join(parts))

    def select(self, db: int, keys: int, expiring: int) -> bytes:
        """What follows is in this database: so many keys, of which so many expire."""
        counts = write_length(keys) + write_length(expiring)
        return self._counted(b"".join((bytes((SELECT_DB,)), write_length(db), bytes((RESIZE_DB,)), counts)))

    def key(self, name: bytes, value: bytes, expire_at_ms: int | None = None) -> bytes:
        end = b"" if expire_at_ms is None else _EXPIRE_MARK + expire_at_ms.to_bytes(8, "little", signed=True)
        return self._counted(b"".join((end, _STRING_MARK, write_string(name), write_string(value))))

    def end(self) -> bytes:
        mark = self._counted(bytes((EOF,)))
        return mark + self._crc.to_bytes(8, "little")

    def _counted(self, data: bytes) -> bytes:
        self._crc = crc64(data, self._crc)
        return data
