"""SLOWLOG: the slowest requests of late, shortened.

Promise: an entry holds at most 32 words of at most 128 bytes and a note, however long the request was.
The time is that of execution alone, without waiting for the log, reading or sending.
Not here: secrets; whoever notes a request has redacted it (`commands.redaction`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

WORDS_MAX: Final = 32  # the last of them a note when there were more, as in Redis
WORD_BYTES_MAX: Final = 128


class SlowLogSettings(Protocol):
    """What is read of the settings, at each use, so CONFIG SET works at once."""

    slowlog_log_slower_than: int
    slowlog_max_len: int


@dataclass(frozen=True, slots=True)
class SlowEntry:
    """One slow request; `addr` and `name` are the client's."""

    id: int
    unix_s: int
    usec: int
    argv: tuple[bytes, ...]
    addr: str
    name: bytes


class SlowLog:
    """A ring of entries, newest first. Identifiers rise for the server's life, also across RESET."""

    def __init__(self, settings: SlowLogSettings) -> None:
        self._settings = settings
        self._entries: deque[SlowEntry] = deque()
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    def wants(self, seconds: float) -> bool:
        """Whether a request that took so long is kept: asked first, because redacting costs something."""
        threshold = self._settings.slowlog_log_slower_than
        return 0 <= threshold <= int(seconds * 1e6)

    def note(self, argv: Sequence[bytes], seconds: float, unix_s: int, addr: str, name: bytes) -> None:
        """Keep the request if it was slow enough. The caller leaves out commands flagged `skip_slowlog`."""
        if not self.wants(seconds):
            return
        self._entries.appendleft(SlowEntry(self._next, unix_s, int(seconds * 1e6), shorten(argv), addr, name))
        self._next += 1
        while len(self._entries) > self._settings.slowlog_max_len:
            self._entries.pop()

    def newest(self, count: int) -> list[SlowEntry]:
        """At most `count` entries, newest first; -1 means all."""
        return list(self._entries if count < 0 else islice(self._entries, count))

    def reset(self) -> None:
        self._entries.clear()


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
