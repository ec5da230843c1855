"""An RDB file as a source: counted first, then written, then compared.

Promise: the same file is known again after the import was killed, another one is refused (length, checksum at its end).
Units: bytes. Not here: the format (`interchange.rdb_reader`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import BinaryIO, Final

from ...errors import EX_DATA, Refused
from ...interchange.rdb_reader import Key, RdbReader, Record
from ...limits import KIB
from .applying import Survey
from .meaning import OWN

CHUNK_BYTES: Final = 256 * KIB
STDIN: Final = "-"


class Changed(Refused):
    exit_code = EX_DATA


def identity(path: str) -> str:
    """What tells this file from others: its length and its last bytes, which are the checksum."""
    if path == STDIN:
        return "standard input"
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        return f"{size} bytes, checksum {file.read().hex()}"


def chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def records(path: str) -> Iterator[Record]:
    """All of a file but what an import has left in it. RdbError if it is damaged or does not end."""
    if path == STDIN:
        yield from _records(sys.stdin.buffer, "standard input")
        return
    with open(path, "rb") as file:
        yield from _records(file, path)


def _records(file: BinaryIO, name: str) -> Iterator[Record]:
    reader = RdbReader(name)
    for chunk in chunks(file):
        for record in reader.feed(chunk):
            if not (isinstance(record, Key) and record.name in OWN):
                yield record
        if reader.rest:
            break
    reader.close(alone=True)


def survey(path: str) -> Survey:
    found = Survey()
    for record in records(path):
        found.record(record)
    return found
