"""The points of the benchmark: which request, how many clients, how deep a pipeline, how large a value.

set, get and incr are redis-benchmark's own tests over 100,000 random 16-byte keys (20 bytes for incr).
mix is 90 GET to 10 SET in random order on every connection: a session store or a cart, where most requests
read and each write must be on disk before its answer leaves. redis-benchmark cannot mix, see loader.py.
"""

from __future__ import annotations

from dataclasses import dataclass

KEYS = 100_000  # enough that no cache line stays hot, few enough that filling them takes a second
WORKLOADS = ("set", "get", "incr", "mix")
CLIENTS = (1, 50, 200)
PIPELINES = (1, 16, 64)
VALUE_BYTES = (64, 1024)


@dataclass(frozen=True, slots=True, order=True)
class Point:
    workload: str
    clients: int
    pipeline: int
    value_bytes: int

    def __str__(self) -> str:
        return f"{self.workload}:{self.clients}:{self.pipeline}:{self.value_bytes}"


def parse_point(text: str) -> Point:
    """ "set:50:16:64" -> Point; ValueError says what is wrong."""
    parts = text.split(":")
    if len(parts) != 4 or parts[0] not in WORKLOADS:
        raise ValueError(f"{text!r} is not <{'|'.join(WORKLOADS)}>:<clients>:<pipeline>:<value bytes>")
    clients, pipeline, value_bytes = (int(part) for part in parts[1:])
    if not (1 <= clients <= 1000 and 1 <= pipeline <= 1000 and 1 <= value_bytes <= 1 << 20):
        raise ValueError(f"{text!r}: clients and pipeline 1 to 1000, value 1 byte to 1 MiB")
    return Point(parts[0], clients, pipeline, value_bytes)


def full_grid() -> list[Point]:
    """Everything; INCR has no value to size, so it appears once."""
    return [
        Point(workload, clients, pipeline, value_bytes)
        for workload in WORKLOADS
        for value_bytes in (VALUE_BYTES if workload != "incr" else VALUE_BYTES[:1])
        for clients in CLIENTS
        for pipeline in PIPELINES
    ]


def default_grid() -> list[Point]:
    """All points with 64-byte values; 1-KiB values at 50 clients only."""
    return [point for point in full_grid() if point.value_bytes == 64 or point.clients == 50]


def quick_grid() -> list[Point]:
    """A look, not a result: the corners that move first when the hot path changes."""
    shapes = ((1, 1), (50, 1), (50, 16), (200, 1))
    quick = [Point(workload, *shape, 64) for workload in ("set", "get") for shape in shapes]
    return [*quick, Point("incr", 50, 16, 64), Point("mix", 50, 1, 64), Point("set", 50, 16, 1024)]
