"""A metric is one row: its family, and a function that reads its value from the server.

    counter("login_failures_total", "Wrong passwords and users.", lambda at: at.server.lockout.failures)

What several rows need and what costs something to find is found once per scrape (`Scrape`).
Promise: reading changes nothing. No label ever holds what a client chooses (names of users, keys, addresses).
Not here: the rows (`process`, `traffic`, `commands`, `data`, `durability`, `security`, `cluster`), text (`exposition`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ...engine.history.retention import Plan
from ...observability.exposition import COUNTER, GAUGE, HISTOGRAM, Family, Measured, Values
from ...observability.process import Memory, Process
from ...storage.copies.archive import Item
from ..clients import is_blocked

if TYPE_CHECKING:
    from ..shared import Shared


class Connections(NamedTuple):
    """All clients in one look; sizes in bytes."""

    types: dict[str, int]
    blocked: int
    watching: int
    input: int
    input_largest: int
    output: int
    output_largest: int


class Scrape:
    """One look at a server. `phase`: why it does not serve clients, "" if it does."""

    def __init__(self, server: Shared, phase: str = "") -> None:
        self.server, self.phase = server, phase

    @property
    def process(self) -> Process:
        return self.server.process

    @cached_property
    def memory(self) -> Memory:
        return self.process.memory()

    @cached_property
    def now(self) -> float:
        return self.server.clock.now()

    @cached_property
    def now_ms(self) -> int:
        return self.server.clock.wall_ms()

    @cached_property
    def retention(self) -> Plan:
        return self.server.checkpoint.retention()

    @cached_property
    def archive_pending(self) -> list[Item]:
        return self.server.archive.pending()

    @cached_property
    def audit(self) -> dict[str, Any]:
        return self.server.audit.info()

    @cached_property
    def connections(self) -> Connections:
        """Of ten thousand clients: so nothing is called for each that a look at an attribute can spare."""
        clients = self.server.clients
        pubsub = monitor = blocked = watching = 0
        inputs: list[int] = []
        for client in clients:
            if client.monitor:
                monitor += 1
            elif client.channels or client.patterns or client.shard_channels:
                pubsub += 1
            if client.waiting is not None and is_blocked(client):
                blocked += 1
            if client.watched:
                watching += 1
            if waiting := client.input_bytes:
                inputs.append(waiting)
        outputs = [client.output_bytes for client in self.server.buffering]
        types = {"normal": len(clients) - pubsub - monitor, "pubsub": pubsub, "monitor": monitor}
        return Connections(
            types, blocked, watching, sum(inputs), max(inputs, default=0), sum(outputs), max(outputs, default=0)
        )


Read = Callable[[Scrape], Values]


class Metric(NamedTuple):
    family: Family
    read: Read


def counter(name: str, text: str, read: Read, labels: tuple[str, ...] = (), bound: str = "") -> Metric:
    return Metric(Family(name, COUNTER, text, labels, bound), read)


def gauge(name: str, text: str, read: Read, labels: tuple[str, ...] = (), bound: str = "") -> Metric:
    return Metric(Family(name, GAUGE, text, labels, bound), read)


def histogram(name: str, text: str, read: Read, labels: tuple[str, ...] = (), bound: str = "") -> Metric:
    return Metric(Family(name, HISTOGRAM, text, labels, bound), read)


def measured(metrics: Iterable[Metric], scrape: Scrape) -> Iterable[Measured]:
    """Each family with its values as of now."""
    return [(family, read(scrape)) for family, read in metrics]
