"""Append only files as a source: one `appendonly.aof`, with or without an RDB file at its beginning, or a directory of
Redis 7 with its manifest.

Read twice: first to see that all of it can be read and taken, then to write. Expiries are shifted until the last
command (`meaning`).
Promises: what is torn at the end of the last file is found before anything is written, and left out only if that was
asked for; damage anywhere else is refused with file and offset.
Not here: what commands mean (`meaning`), the forms (`interchange.command_stream`, `interchange.aof_manifest`).
Source: `loadAppendOnlyFiles` of Redis 7.0, `redis-check-aof`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ...errors import EX_DATA, Refused
from ...interchange.aof_manifest import read_manifest
from ...interchange.command_stream import Command, CommandReader
from ...interchange.rdb_reader import RdbReader, Record
from .applying import Applier, Survey
from .from_rdb import Changed, chunks
from .meaning import Meaning

MANIFEST_SUFFIX: Final = ".manifest"
MAGIC: Final = (b"REDIS", b"VALKE")


class Torn(Refused):
    """The last file ends in the middle of a command or of a transaction."""

    exit_code = EX_DATA


@dataclass(frozen=True, slots=True)
class Log:
    """The files in order, and where the whole commands of the last one end."""

    paths: tuple[str, ...]
    end: int
    survey: Survey

    @property
    def identity(self) -> str:
        return f"{', '.join(map(os.path.basename, self.paths))}; {self.end} bytes of the last"


def paths_of(path: str) -> tuple[str, ...]:
    """The file itself, or those that the manifest in a directory names."""
    if os.path.isfile(path) and not path.endswith(MANIFEST_SUFFIX):
        return (path,)
    manifest = path
    if os.path.isdir(path):
        found = [name for name in sorted(os.listdir(path)) if name.endswith(MANIFEST_SUFFIX)]
        if len(found) != 1:
            raise Changed(f"{path}: expected one manifest in it (appendonly.aof.manifest), found {len(found)}")
        manifest = os.path.join(path, found[0])
    with open(manifest, encoding="utf-8", errors="surrogateescape") as file:
        names = read_manifest(manifest, file.read())
    return tuple(os.path.join(os.path.dirname(manifest), name) for name in names)


def survey(path: str, *, truncated: bool, now_ms: int) -> Log:
    """Read all of it. Torn, or an error of its form; nothing has been written."""
    paths = paths_of(path)
    found, meaning, end = Survey(), Meaning(now_ms=now_ms), 0
    for place, one in enumerate(paths):
        meaning.db, inside, end = 0, False, 0  # each file begins with database 0
        whole = end
        reader = Reader(one)
        for item in reader.items():
            if not isinstance(item, Command):
                found.record(item)
                continue
            act = found.command(meaning, item)
            inside = act.begins or (inside and not act.ends)
            if not inside:
                whole = item.end
        end = max(whole, reader.rdb_end)
        if reader.size > end and not (place == len(paths) - 1 and reader.torn(inside)):
            raise Torn(f"{one}: offset {end}: a command that does not end, and more files behind it")
        if reader.size > end and not truncated:
            raise Torn(f"{one}: its last {reader.size - end} bytes, from offset {end} on, are a command or transaction"
                       " that does not end, as a crash leaves it; --truncated ok imports what is before")  # fmt: skip
    return Log(paths, end, found)


class Reader:
    """One file: records of the RDB file that it may begin with, then commands up to `end`."""

    def __init__(self, path: str, offset: int = 0, end: int | None = None) -> None:
        self._path, self._offset, self._end = path, offset, end
        self.size = os.path.getsize(path)
        self.rdb_end = 0  # where its RDB file ended
        self._unfinished = 0

    def torn(self, inside: bool) -> bool:
        """Whether what is behind the last whole command is what a crash leaves."""
        return inside or self._unfinished > 0

    def items(self) -> Iterator[Record | Command]:
        with open(self._path, "rb") as file:
            magic = file.read(len(MAGIC[0]))
            file.seek(self._offset)
            data = b""
            if not self._offset and magic in MAGIC:
                rdb = RdbReader(self._path)
                for chunk in chunks(file):
                    yield from rdb.feed(chunk)
                    if rdb.done:
                        break
                rdb.close()
                self.rdb_end, data = rdb.position, rdb.rest
            reader = CommandReader(self._path, self._offset or self.rdb_end, notes=True)
            yield from self._until_end(reader.feed(data))
            for chunk in chunks(file):
                yield from self._until_end(reader.feed(chunk))
            self._unfinished = reader.unfinished

    def _until_end(self, commands: list[Command]) -> Iterator[Command]:
        return (command for command in commands if self._end is None or command.end <= self._end)


def write(log: Log, applier: Applier, said: Callable[[int], None]) -> None:
    """All of it that the mark has not got yet."""
    mark = applier.mark
    while mark.file < len(log.paths):
        last = mark.file == len(log.paths) - 1
        applier.begin_file()
        applier.meaning.db = mark.db
        for item in Reader(log.paths[mark.file], mark.offset, log.end if last else None).items():
            if isinstance(item, Command):
                applier.command(item)
            else:
                applier.record(item)
            said(mark.done)
        mark.file, mark.keys, mark.offset, mark.db = mark.file + 1, 0, 0, 0
