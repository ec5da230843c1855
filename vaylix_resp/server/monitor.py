"""MONITOR: every executed request, shown to those who watch.

Promises: secrets are shown as (redacted); administrative requests are not shown, as in Redis; a line is
bounded.
Not here: when to feed (the dispatcher: a request that was executed, as the client wrote it).
"""

from __future__ import annotations

import re
from typing import Final

from ..commands.ports import Client
from ..commands.redaction import redacted
from ..commands.spec import Argv, CommandSpec, Kind
from ..errors import CommandError
from ..limits import MONITOR_LINE_BYTES_MAX

_SKIPPED: Final = frozenset({"admin", "skip_monitor"})
_SPECIAL: Final = re.compile(rb'[^\x20-\x7e]|["\\]')
_NAMED: Final = {
    b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t", b"\a": b"\\a", b"\b": b"\\b",
}  # fmt: skip
WORD_BYTES_MAX: Final = 128 * 1024  # shown of one word before escaping
_ESCAPES: Final = {bytes([c]): _NAMED.get(bytes([c]), b"\\x%02x" % c) for c in range(256)}


class Monitors:
    """The clients that said MONITOR, in the order in which they did."""

    def __init__(self) -> None:
        self._watching: dict[Client, None] = {}

    def __len__(self) -> int:
        return len(self._watching)

    @property
    def active(self) -> bool:
        return bool(self._watching)

    def add(self, client: Client) -> bool:
        """False if it watches already."""
        if client.monitor:
            return False
        client.monitor = True
        self._watching[client] = None
        return True

    def drop(self, client: Client) -> None:
        """Safe to call twice."""
        client.monitor = False
        self._watching.pop(client, None)

    def feed(self, spec: CommandSpec, argv: Argv, db: int, addr: str, wall_us: int) -> None:
        """Show one executed request: `db` is the database it ran in, `wall_us` since the epoch."""
        if not self._watching or spec.flags & _SKIPPED:
            return
        wire = b"+" + line(redacted(spec, argv), db, addr, wall_us) + b"\r\n"
        for client in tuple(self._watching):
            client.push_wire(wire)


def line(argv: Argv, db: int, addr: str, wall_us: int) -> bytes:
    """`1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`; words beyond the limit are only counted."""
    where = f"unix:{addr.rpartition(':')[0]}" if addr.startswith("/") else addr
    head = b"%d.%06d [%d %b]" % (wall_us // 1_000_000, wall_us % 1_000_000, db, where.encode())
    parts = [head]
    size = len(head)
    for at, word in enumerate(argv):
        if size > MONITOR_LINE_BYTES_MAX:
            parts.append(b'"... (%d more arguments)"' % (len(argv) - at))
            break
        shown = quoted(word)
        parts.append(shown)
        size += len(shown) + 1
    return b" ".join(parts)


def quoted(word: bytes) -> bytes:
    """In double quotes, with what is not printable ASCII escaped as Redis does."""
    more = len(word) - WORD_BYTES_MAX
    if more > 0:
        word = word[:WORD_BYTES_MAX]
    if _SPECIAL.search(word):
        word = _SPECIAL.sub(lambda found: _ESCAPES[found[0]], word)
    return b'"%b... (%d more bytes)"' % (word, more) if more > 0 else b'"%b"' % word


def refused_while_monitoring(client: Client, spec: CommandSpec) -> CommandError | None:
    """Redis treats a monitor as a kind of replica, which may not touch keys on its connection."""
    if client.monitor and spec.kind is not Kind.SESSION:
        return CommandError("ERR Replica can't interact with the keyspace")
    return None
