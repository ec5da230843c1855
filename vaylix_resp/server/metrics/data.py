"""Metrics of the data in memory: keys, expiries, hits, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .table import Metric, Read, Scrape, counter, gauge

DATABASES_MAX: Final = 64  # shown one by one; the rest of those in use together
OTHER: Final = "other"
NUMBERS: Final = "numbers of databases in use, at most 64, and other"


def _by_database(read: Callable[[Any], int]) -> Read:
    def values(at: Scrape) -> dict[str, int]:
        found: dict[str, int] = {}
        for number, db in enumerate(at.server.machine.world.databases):
            if db.items:
                name = str(number) if len(found) < DATABASES_MAX else OTHER
                found[name] = found.get(name, 0) + read(db)
        return found or {"0": 0}

    return values


DATA: Final[tuple[Metric, ...]] = (
    gauge("keys", "Keys, those that have expired and are not removed yet among them.",
          _by_database(lambda db: len(db.items)), ("database",), NUMBERS),
    gauge("keys_expiring", "Keys with an expiry.", _by_database(lambda db: len(db.expires)), ("database",), NUMBERS),
    counter("keyspace_hits_total", "Reads that found their key.", lambda at: at.server.machine.world.hits),
    counter("keyspace_misses_total", "Reads that did not.", lambda at: at.server.machine.world.misses),
    counter("keys_expired_total", "Keys removed because they had expired.", lambda at: at.server.machine.world.expired),
    counter("keys_evicted_total", "Keys removed because of maxmemory.", lambda at: at.server.machine.world.evicted),
    gauge("memory_limit_bytes", "The directive maxmemory; 0: none.", lambda at: at.server.settings.maxmemory),
    counter("memory_exceeded_seconds_total", "Time during which writes waited or were refused because of maxmemory.",
            lambda at: at.server.memory.exceeded_ms[0] / 1000),
    gauge("memory_counted_bytes", "Memory of the keys, which is compared with maxmemory; 0 while there is no limit.",
          lambda at: at.server.memory.used),
    gauge("keys_to_free", "Keys of flushed databases whose memory is still to be given back.",
          lambda at: sum(len(db.items) for db in at.server.machine.world.trash)),
)  # fmt: skip
