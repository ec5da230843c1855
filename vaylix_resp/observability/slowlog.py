"""SLOWLOG and COMMANDLOG: the requests of late that were slow, or large, or had a large reply; each kind in its log.

Promise: an entry holds at most 32 words of at most 128 bytes and a note, however long the request was.
Units: what a log measures is microseconds of execution alone (without waiting for the log, reading or sending), or
bytes as they are on the wire.
Not here: secrets; whoever notes a request has redacted it (`commands.redaction`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

WORDS_MAX: Final = 32  # the last of them a note when there were more, as in Redis
WORD_BYTES_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Entry:
    """One request; `addr` and `name` are the client's."""

    id: int
    unix_s: int
    value: int
    argv: tuple[bytes, ...]
    addr: str
    name: bytes


class RequestLog:
    """A ring of entries, newest first. Identifiers rise for the server's life, also across RESET.

    `threshold` and `length` are the names of the settings, read at each use, so CONFIG SET works at once."""

    def __init__(self, settings: Any, threshold: str, length: str) -> None:
        self._settings, self._threshold, self._length = settings, threshold, length
        self._entries: deque[Entry] = deque()
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    def wants(self, value: int) -> bool:
        """Whether such a request is kept: asked first, because redacting costs something."""
        threshold: int = getattr(self._settings, self._threshold)
        return 0 <= threshold <= value

    def note(self, argv: Sequence[bytes], value: int, unix_s: int, addr: str, name: bytes) -> None:
        """Keep the request if it is wanted. The caller leaves out commands flagged `skip_slowlog`."""
        if not self.wants(value):
            return
        self._entries.appendleft(Entry(self._next, unix_s, value, shorten(argv), addr, name))
        self._next += 1
        while len(self._entries) > getattr(self._settings, self._length):
            self._entries.pop()

    def newest(self, count: int) -> list[Entry]:
        """At most `count` entries, newest first; -1 means all."""
        return list(self._entries if count < 0 else islice(self._entries, count))

    def reset(self) -> None:
        self._entries.clear()


def slow(settings: Any) -> RequestLog:
    return RequestLog(settings, "slowlog_log_slower_than", "slowlog_max_len")


def large_requests(settings: Any) -> RequestLog:
    return RequestLog(settings, "commandlog_request_larger_than", "commandlog_large_request_max_len")


def large_replies(settings: Any) -> RequestLog:
    return RequestLog(settings, "commandlog_reply_larger_than", "commandlog_large_reply_max_len")


def shorten(argv: Sequence[bytes]) -> tuple[bytes, ...]:
    """At most WORDS_MAX words of at most WORD_BYTES_MAX bytes, with a note of what is missing."""
    words = argv[:WORDS_MAX] if len(argv) <= WORDS_MAX else argv[: WORDS_MAX - 1]
    short = [_shorten_word(word) for word in words]
    if len(argv) > WORDS_MAX:
        short.append(b"... (%d more arguments)" % (len(argv) - WORDS_MAX + 1))
    return tuple(short)


def _shorten_word(word: bytes) -> bytes:
    if len(word) <= WORD_BYTES_MAX:
        return bytes(word)
    return bytes(word[:WORD_BYTES_MAX]) + b"... (%d more bytes)" % (len(word) - WORD_BYTES_MAX)
