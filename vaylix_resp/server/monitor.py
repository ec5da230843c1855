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
WORD_BYTES_MAX: Final = 128 * 1024  # shown of one word before escaping
_BACKSLASH: Final = "\0"  # stands for an escaped one, which must not be taken for the beginning of another escape


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
        word = _escaped(word)
    return b'"%b... (%d more bytes)"' % (word, more) if more > 0 else b'"%b"' % word


def _escaped(word: bytes) -> bytes:
    """By Python's own notation, which is Redis's but for quotes and two names: a loop over binary values would take a
    hundred times as long, and everybody would wait for what one monitor is shown."""
    text = repr(b'"' + word)[3:-1].replace("\\\\", _BACKSLASH)  # the quote decides which quotes repr escapes
    text = text.replace("\\'", "'").replace('"', '\\"').replace("\\x07", "\\a").replace("\\x08", "\\b")
    return text.replace(_BACKSLASH, "\\\\").encode()


def refused_while_monitoring(client: Client, spec: CommandSpec) -> CommandError | None:
    """Redis treats a monitor as a kind of replica, which may not touch keys on its connection."""
    if client.monitor and spec.kind is not Kind.SESSION:
        return CommandError("ERR Replica can't interact with the keyspace")
    return None
