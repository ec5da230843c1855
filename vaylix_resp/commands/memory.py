"""MEMORY: what keys and the process cost.

MEMORY USAGE computes a key's share of our own layout (`state.footprint`); the figures of the process are the operating
system's (`observability.process`). What other servers break down further (replication buffers, scripts) is 0 here.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import SYNTAX, CommandError
from ..resp.reply import OK, Reply, Verbatim
from ..state.candidates import NOEVICTION
from ..state.footprint import index_bytes, key_bytes
from ..state.views import ReadView
from .arguments import help_reply, integer, matches
from .ports import Client, Server
from .spec import Argv, KeySpec, Kind, command, container

container("MEMORY", group="server", since="4.0.0", summary="What keys and the server cost in memory.")

_REPORT_TIPS: Final = ("nondeterministic_output", "request_policy:all_shards", "response_policy:special")
SMALL_BYTES: Final = 16 << 20  # below this much data the doctor has nothing to say
PEAK_RATIO: Final = 1.5
NEAR_SHARE: Final = 0.9  # of maxmemory
KEY_BYTES_HIGH: Final = 64 << 10


def _options(argv: Argv) -> None:
    """[SAMPLES count]: understood and without effect, as no value here is nested."""
    at = 3
    while at < len(argv):
        if not matches(argv[at], b"SAMPLES") or at + 1 >= len(argv) or integer(argv[at + 1]) < 0:
            raise CommandError(SYNTAX)
        at += 2


@command(
    "MEMORY|USAGE", arity=-3, kind=Kind.READ, flags="readonly", keys=KeySpec("RO", begin=2), group="server",
    since="4.0.0", syntax="key [SAMPLES count]", complexity="O(1)",
)  # fmt: skip
def memory_usage(view: ReadView, argv: Argv) -> Reply:
    """The bytes that a key and its value take, their shares of the tables included; nil if there is no such key."""
    _options(argv)
    key = argv[2]
    return key_bytes(view.db, key) if view.exists(key) else None


def figures(server: Server) -> dict[str, Any]:
    """The map of MEMORY STATS; INFO shows some of it."""
    memory, startup = server.process.memory(), server.process.startup
    used = memory.used
    buffers = sum(one.input_bytes + one.output_bytes for one in server.clients)
    databases: dict[str, Any] = {}
    tables = keys = 0
    for number, db in enumerate(server.machine.world.databases):
        if db.items:
            main, expires = index_bytes(db)
            databases[f"db.{number}"] = {
                "overhead.hashtable.main": main,
                "overhead.hashtable.expires": expires,
                "overhead.hashtable.slot-to-keys": 0,
            }
            tables += main + expires
            keys += len(db.items)
    overhead = min(startup + buffers + tables, used)
    dataset, net = used - overhead, max(used - startup, 1)
    return {
        "peak.allocated": memory.peak,
        "total.allocated": used,
        "startup.allocated": startup,
        "replication.backlog": 0,
        "clients.slaves": 0,
        "clients.normal": buffers,
        "cluster.links": 0,
        "aof.buffer": server.node.open.size,
        "lua.caches": 0,
        "functions.caches": 0,
        **databases,
        "overhead.total": overhead,
        "keys.count": keys,
        "keys.bytes-per-key": (used - startup) // keys if keys and used > startup else 0,
        "dataset.bytes": dataset,
        "dataset.percentage": dataset * 100 / net,
        "peak.percentage": used * 100 / max(memory.peak, 1),
        "allocator.allocated": used,
        "allocator.active": used,
        "allocator.resident": memory.resident,
        "allocator-fragmentation.ratio": 1.0,
        "allocator-fragmentation.bytes": 0,
        "allocator-rss.ratio": memory.resident / max(used, 1),
        "allocator-rss.bytes": memory.resident - used,
        "rss-overhead.ratio": 1.0,
        "rss-overhead.bytes": 0,
        "fragmentation": memory.resident / max(used, 1),
        "fragmentation.bytes": memory.resident - used,
    }


@command("MEMORY|STATS", arity=2, kind=Kind.SESSION, flags="", group="server", since="4.0.0", tips=_REPORT_TIPS)
def memory_stats(client: Client, argv: Argv) -> Reply:
    """Where the process's memory goes, as far as an interpreter can tell."""
    return figures(client.server)


def _at_the_limit(server: Server) -> str:
    policy = server.settings.maxmemory_policy
    return "writes are refused" if policy == NOEVICTION else f"keys are deleted ({policy})"


@command("MEMORY|DOCTOR", arity=2, kind=Kind.SESSION, flags="", group="server", since="4.0.0", tips=_REPORT_TIPS)
def memory_doctor(client: Client, argv: Argv) -> Reply:
    """A report for people on how memory is used."""
    found = figures(client.server)
    if found["dataset.bytes"] < SMALL_BYTES:
        return Verbatim(b"There is too little data for a diagnosis.\n")
    lines = []
    if found["total.allocated"] * PEAK_RATIO < found["peak.allocated"]:
        lines.append(
            f"- peak: the process once used {found['peak.allocated']} bytes, now {found['total.allocated']}; "
            "MEMORY PURGE asks the allocator to return what is free."
        )
    if found["clients.normal"] * 4 > found["total.allocated"]:
        lines.append(f"- clients: their buffers hold {found['clients.normal']} bytes; see CLIENT LIST (qbuf, omem).")
    limit, counted = client.server.settings.maxmemory, client.server.memory.used
    if limit and counted > limit * NEAR_SHARE:
        lines.append(
            f"- maxmemory: the keys take {counted} of {limit} bytes; at the limit {_at_the_limit(client.server)}."
        )
    if found["keys.bytes-per-key"] > KEY_BYTES_HIGH:
        lines.append(f"- values: {found['keys.bytes-per-key']} bytes a key on average; redis-cli --memkeys names them.")
    report = ["Worth a look:", "", *lines] if lines else ["Nothing unusual."]
    return Verbatim("\n".join([*report, ""]).encode())


@command(
    "MEMORY|MALLOC-STATS", arity=2, kind=Kind.SESSION, flags="", group="server", since="4.0.0", tips=_REPORT_TIPS,
    complexity="Depends on how much memory is allocated, could be slow",
)  # fmt: skip
def memory_malloc_stats(client: Client, argv: Argv) -> Reply:
    """What the interpreter's allocator and collector tell."""
    return Verbatim(client.server.process.describe_allocator().encode())


@command(
    "MEMORY|PURGE", arity=2, kind=Kind.SESSION, flags="", group="server", since="4.0.0",
    complexity="Depends on how much memory is allocated, could be slow",
    tips=("request_policy:all_shards", "response_policy:all_succeeded"),
)  # fmt: skip
def memory_purge(client: Client, argv: Argv) -> Reply:
    """Ask the C library's allocator to return free pages to the system."""
    client.server.process.give_back()
    return OK


@command("MEMORY|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server", since="4.0.0")
def memory_help(client: Client, argv: Argv) -> Reply:
    """The forms of MEMORY."""
    return help_reply(
        "MEMORY",
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    )
