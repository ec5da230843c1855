"""What subcommands that read the past share: which directory or archive, with which key, as of when.

Promise: what is named is only read, whether a server runs on it or not.
Not here: the state at a point (`engine.history.restore`), options of the master key (`keys`).
"""

from __future__ import annotations

import argparse

from ..commands.points import Point, parse_iso, parse_point
from ..engine.copies.archive_keys import archive_keys
from ..errors import WrongUsage
from ..storage.copies.archive import ArchiveDirectory
from ..storage.disk import Disk
from ..storage.history import DataDirectory, History, Source
from ..storage.sealing import Keys
from .directory import named
from .keys import add_key_options, open_keys, source_of


def add_source_options(parser: argparse.ArgumentParser, option: str) -> None:
    """For `open_history`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(option, dest="source_dir", metavar="D", help="a data directory; a server may be running on it")
    source.add_argument("--archive-dir", metavar="A", help="a directory that archive-command has filled")
    add_key_options(parser)
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def open_history(arguments: argparse.Namespace, disk: Disk) -> History:
    if arguments.source_dir:
        root = named(arguments.source_dir, disk)
        source: Source = DataDirectory(disk, root)
        source.manifest()  # before the keyring: a wrong directory is the likelier mistake
        return History(disk, source, open_keys(arguments, disk, root))
    root = named(arguments.archive_dir, disk, what="a directory that archive-command has filled")
    archive = ArchiveDirectory(disk, root)
    return History(disk, archive, _archive_keys(arguments, disk, archive))


def _archive_keys(arguments: argparse.Namespace, disk: Disk, archive: ArchiveDirectory) -> Keys:
    archive.manifest()
    copies = archive.keyrings()
    return archive_keys(copies, source_of(arguments, archive.root).read(disk) if copies else None)


def add_point_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """For `point_of`."""
    point = parser.add_mutually_exclusive_group(required=required)
    point.add_argument("--to-sequence", metavar="N", help="the state after this entry of the log")
    point.add_argument("--to-timestamp-ms", metavar="MS", help="the state at this time, in Unix milliseconds")
    point.add_argument("--to-time", metavar="TIME", help="the same in ISO 8601, UTC without a zone; or 'latest'")


def point_of(arguments: argparse.Namespace, now_ms: int) -> Point | None:
    """None: nobody has named one."""
    for value, prefix in ((arguments.to_sequence, "seq:"), (arguments.to_timestamp_ms, "ms:")):
        if value is not None:
            point = parse_point(prefix + value, now_ms)
            if point is None:
                raise WrongUsage(f"{value}: expected a number of decimal digits")
            return point
    if arguments.to_time is None:
        return None
    if arguments.to_time == "latest":
        return Point(timestamp_ms=now_ms)
    at_ms = parse_iso(arguments.to_time)
    if at_ms is None:
        raise WrongUsage(f"{arguments.to_time}: expected a time like 2026-11-22T10:15:00Z, or 'latest'")
    return Point(timestamp_ms=at_ms)
