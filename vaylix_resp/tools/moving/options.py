"""The options of `vaylix import`, and what of them the parts ask for.

Not here: what they do (`importing`).
"""

from __future__ import annotations

import argparse
from typing import Final, Protocol

from .channel import options as channel_options
from .patience import RETRY_S

PAUSE_MS: Final = 60_000
TO_PASSWORD: Final = "REDISCLI_AUTH"  # noqa: S105 - the variable that redis-cli reads
FROM_PASSWORD: Final = "REDISCLI_AUTH_FROM"  # noqa: S105 - the same for the source
URL: Final = "redis://[user[:password]@]host:port, rediss:// for TLS"


class Options(Protocol):
    """Of the command line, for a source that is a running server."""

    skip_unsupported: bool
    follow: bool
    pause_source: bool
    pause_ms: int
    verify: str
    retry_for: float


def add(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    _add_places(parser)
    option = parser.add_argument
    option("--on-conflict", choices=("fail", "replace", "skip"), default="fail",
           help="keys that the target has; fail (default): a target with any key is refused. With --aof and psync the "
                "target has to be empty")  # fmt: skip
    option("--skip-unsupported", action="store_true", help="leave out what this server cannot keep (lists, ...)")
    option("--truncated", choices=("refuse", "ok"), default="refuse",
           help="an append only file that ends in the middle of a command (default: refuse)")  # fmt: skip
    option("--follow", action="store_true", help="go on with what is written to the source until Ctrl-C")
    option("--pause-source", action="store_true",
           help="pause the writers of the source at the cut-over, so that nothing is missed")  # fmt: skip
    option("--pause-ms", type=int, default=PAUSE_MS, metavar="MS",
           help=f"for how long, from the end of the import on (default: {PAUSE_MS})")  # fmt: skip
    option("--verify", choices=("full", "sample", "none"), default="full",
           help="compare all keys, or one in a hundred, or none (default: full)")  # fmt: skip
    option("--state", metavar="DIR",
           help="where psync keeps what has come and is not written yet (default: ~/.local/state/vaylix/import/...)")
    option("--restart", action="store_true",
           help="forget an unfinished import into this target; one that --aof or psync had begun to fill is emptied "
                "first: all of its keys are deleted")  # fmt: skip
    option("--retry-for", type=float, default=RETRY_S, metavar="SECONDS",
           help=f"how long to try again what is refused for now (default: {RETRY_S:g})")  # fmt: skip
    option("--json", action="store_true", help="print the result as JSON")
    channel_options(parser)


def _add_places(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--rdb", metavar="FILE", help="an RDB file; - is standard input")
    source.add_argument("--aof", metavar="PATH", help="an append only file, or the appendonlydir of Redis 7")
    source.add_argument("--from", dest="source", metavar="URL",
                        help=f"a running server, as {URL}; the password may come from {FROM_PASSWORD}")  # fmt: skip
    parser.add_argument("--to", required=True, metavar="URL",
                        help=f"the server that gets the data; the password may come from {TO_PASSWORD}")  # fmt: skip
    parser.add_argument("--method", choices=("auto", "psync", "scan"), default="auto",
                        help="how a running server is read: as its replica, or by SCAN, which misses what changes "
                             "meanwhile (default: psync if the source allows it)")  # fmt: skip
