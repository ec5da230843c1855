"""Maintenance mode as a part of the state: since when it is on, and what clients are told.

Promise: `dump` and `digest_input` are empty while it is off, as they were before there was such a mode.
Units: milliseconds since the epoch, by the time of entries. Not here: which requests it refuses (`server.gate`).
"""

from __future__ import annotations

from typing import Any


class Maintenance:
    """Changed by entries only."""

    __slots__ = ("message", "on", "since_ms")

    def __init__(self) -> None:
        self.on = False
        self.since_ms = 0
        self.message = b""

    def begin(self, now_ms: int, message: bytes) -> None:
        """Again is a new message: it has been on since the first time."""
        if not self.on:
            self.on, self.since_ms = True, now_ms
        self.message = message

    def end(self) -> None:
        self.on, self.since_ms, self.message = False, 0, b""

    def dump(self) -> list[Any]:
        return [self.since_ms, self.message] if self.on else []

    def load(self, dumped: list[Any]) -> None:
        self.since_ms, self.message = dumped
        self.on = True

    def digest_input(self) -> bytes:
        """What a digest of the state has to cover."""
        return b"maintenance" + self.since_ms.to_bytes(8, "big") + self.message if self.on else b""
