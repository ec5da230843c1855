"""What grows with the number of keys: memory per key, start-up, and how much a snapshot disturbs writers.

Workload: 1 M keys of 16 bytes with 64-byte values, written through the front door. Each server in turn:
load, restart from the log alone, measure SET with and without a snapshot running, then restart from a
snapshot. redis-server's snapshot for a restart is its rewritten AOF (an RDB base), since with appendonly
it never reads dump.rdb; the one that disturbs writers is BGSAVE, for both. Timings of a second server
never overlap the first's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.loader import Load, fill, run_load
from bench.processes import Program, Server, ask, info_field, running, wait_until

VALUE_BYTES = 64
START_SECONDS_MAX = 180.0
SNAPSHOT_SECONDS_MAX = 180.0
DISTURB_CLIENTS = 50
SETTLE_SECONDS = 1.0  # lets allocators and background threads come to rest before RSS is read


class ScaleFailed(Exception):
    """A server lost keys over a restart or did not take a snapshot: there is nothing to report."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Figures of one server with `keys` keys; latencies in ms."""

    keys: int
    bytes_per_key: float
    load_seconds: float
    start_log_seconds: float
    start_snapshot_seconds: float
    snapshot_seconds: float
    set_p99_quiet_ms: float
    set_p99_snapshot_ms: float
    set_rps_quiet: float
    set_rps_snapshot: float
    set_max_snapshot_ms: float

    @property
    def keys_per_second_log(self) -> float:
        return self.keys / self.start_log_seconds

    @property
    def keys_per_second_snapshot(self) -> float:
        return self.keys / self.start_snapshot_seconds


def measure_scale(program: Program, extra: tuple[str, ...], keys: int, quiet_seconds: float) -> Scale:
    with running(program, *extra) as server:
        rss_before = server.rss_bytes()
        began = time.perf_counter()
        fill(server.port, keys, VALUE_BYTES)
        load_seconds = time.perf_counter() - began
        time.sleep(SETTLE_SECONDS)
        bytes_per_key = (server.rss_bytes() - rss_before) / keys

        start_log = restart(server, keys)
        quiet = set_load(server, keys, lambda _batches, elapsed: elapsed < quiet_seconds)
        busy, snapshot_seconds = load_during_snapshot(server, keys)
        snapshot(server, "BGREWRITEAOF" if program.name == "redis" else "BGSAVE")
        start_snapshot = restart(server, keys)
        server.stop()
    return Scale(
        keys, bytes_per_key, load_seconds, start_log, start_snapshot, snapshot_seconds,
        quiet.percentile_ms(0.99), busy.percentile_ms(0.99), quiet.rps, busy.rps, busy.latencies_ms[-1],
    )  # fmt: skip


def restart(server: Server, keys: int) -> float:
    """Clean stop, start, and proof that everything is there; returns the seconds until PING answered."""
    server.stop()
    seconds = server.start(START_SECONDS_MAX)
    found = ask(server.port, "DBSIZE").strip()
    if found != b":%d" % keys:
        raise ScaleFailed(f"{server.program.name} has {found!r} keys after a restart, not {keys}")
    return seconds


def set_load(server: Server, keys: int, go_on: Callable[[int, float], bool]) -> Load:
    return run_load(server.port, DISTURB_CLIENTS, 1, VALUE_BYTES, keys, 1.0, go_on)


def in_progress(server: Server) -> bool:
    section = "persistence"
    fields = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled")
    return any(info_field(server.port, section, name) == "1" for name in fields)


def load_during_snapshot(server: Server, keys: int) -> tuple[Load, float]:
    """SET from BGSAVE until the snapshot is done; returns the load and the seconds the snapshot took."""
    next_look = 0.0
    going = True

    def go_on(_batches: int, elapsed: float) -> bool:
        nonlocal next_look, going
        if elapsed >= next_look:  # INFO costs the server time too: ten looks a second
            next_look = elapsed + 0.1
            going = in_progress(server)
        return going and elapsed < SNAPSHOT_SECONDS_MAX

    reply = ask(server.port, "BGSAVE")
    if not reply.startswith(b"+"):
        raise ScaleFailed(f"{server.program.name} answered BGSAVE with {reply!r}")
    load = set_load(server, keys, go_on)
    return load, load.seconds


def snapshot(server: Server, verb: str) -> None:
    """One snapshot to its end."""
    reply = ask(server.port, verb)
    if not reply.startswith(b"+"):
        raise ScaleFailed(f"{server.program.name} answered {verb} with {reply!r}")
    wait_until(lambda: not in_progress(server), SNAPSHOT_SECONDS_MAX, verb)
    status = info_field(server.port, "persistence", "rdb_last_bgsave_status")
    if status != "ok":
        raise ScaleFailed(f"{server.program.name}: last snapshot is {status!r}")
