"""TRACE: single reads from clients, followed from their arrival to the last byte of their answer.

Stages, in microseconds, which add up to the total:

    parse      bytes to requests
    held       waited for what the client itself or an operator had asked for (a blocking command, a pause), because the
               client does not read, or because the batch was full
    queue      checked, put into the open batch, and waited until that was handed to the log or to the group
    fsync      writing the batch to this node's log, and the fsync if one is waited for
    replicate  until it was committed: the majority of the others; alone, until the loop came back from the fsync
    apply      applied (in its turn behind other clients of the batch), and the replies made
    reply      handing the replies to the system

A read that nothing has to be waited for has parse, apply and reply alone.
Promise: bounded by `trace-max-len` entries, each as short as one of SLOWLOG.
Not here: what is followed, and how (`server.tracing`); secrets, which the caller has redacted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

STAGES: Final = ("parse", "held", "queue", "fsync", "replicate", "apply", "reply")


class TraceSettings(Protocol):
    """What is read of the settings, at each use, so CONFIG SET works at once."""

    trace_slower_than: int
    trace_max_len: int


@dataclass(frozen=True, slots=True)
class Trace:
    """One read: the first of its requests, how many there were, and where the time went."""

    id: int
    unix_s: int
    total_us: int
    argv: tuple[bytes, ...]
    requests: int
    addr: str
    name: bytes
    outcome: str  # "ok", or the code with which its batch was refused
    stages: tuple[int, ...]  # microseconds, as STAGES


class Traces:
    """A ring of entries, newest first. Identifiers rise for the server's life, also across RESET."""

    def __init__(self, settings: TraceSettings) -> None:
        self._settings = settings
        self._entries: deque[Trace] = deque()
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    def wants(self, total_us: int) -> bool:
        """Asked first, because redacting costs something."""
        return total_us >= self._settings.trace_slower_than

    def note(
        self, argv: tuple[bytes, ...], stages: tuple[int, ...], *, unix_s: int, requests: int, addr: str, name: bytes,
        outcome: str,
    ) -> None:  # fmt: skip
        trace = Trace(self._next, unix_s, sum(stages), argv, requests, addr, name, outcome, stages)
        self._entries.appendleft(trace)
        self._next += 1
        while len(self._entries) > self._settings.trace_max_len:
            self._entries.pop()

    def newest(self, count: int) -> list[Trace]:
        """At most `count` entries, newest first; -1 means all."""
        return list(self._entries if count < 0 else islice(self._entries, count))

    def reset(self) -> None:
        self._entries.clear()
