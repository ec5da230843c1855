"""INFO's text: sections of `field:value` lines, named and ordered as in Redis 7.2, with ours beside them.

Promise: a field that Redis has and that means something here tells the truth; one that can only be 0 here is kept
where tools look for it. Layout: `# Section`, lines that end in CRLF, a blank line between sections.
Not here: what the log and snapshots say of themselves (`info_storage`), the group (`info_cluster`); counting
(`observability`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..commands.cluster_facts import mode
from ..commands.memory import figures
from ..identity import REDIS_VERSION, SERVER_NAME, VAYLIX_VERSION
from ..limits import HOUSEKEEPING_HZ
from .info_cluster import cluster, raft, replication, sentinel
from .info_storage import encryption, persistence

if TYPE_CHECKING:
    from .shared import Shared

Field = tuple[str, Any]
DAY_S: Final = 86_400
_LRU_BITS: Final = (1 << 24) - 1


def human(size: int) -> str:
    """Bytes for people, as Redis prints them: 895.23K."""
    if size < 1024:
        return f"{size}B"
    value = float(size)
    for unit in "KMGTP":
        value /= 1024
        if value < 1024 or unit == "P":
            break
    return f"{value:.2f}{unit}"


def _server(server: Shared) -> Iterable[Field]:
    settings, process = server.settings, server.process
    uptime = int(server.clock.now() - server.started)
    wall_us = server.clock.wall_us()
    yield "redis_version", REDIS_VERSION
    yield "server_name", SERVER_NAME
    yield "vaylix_version", VAYLIX_VERSION
    yield "redis_git_sha1", "00000000"
    yield "redis_git_dirty", 0
    yield "redis_build_id", f"vaylix-{VAYLIX_VERSION}"
    yield "redis_mode", mode(settings)
    yield "os", process.system
    yield "arch_bits", process.bits
    yield "monotonic_clock", "POSIX clock_gettime"
    yield "multiplexing_api", "epoll"
    yield "runtime", process.runtime
    yield "process_id", process.pid
    yield "process_supervised", process.supervised
    yield "run_id", server.run_id
    yield "tcp_port", settings.port or settings.tls_port
    yield "server_time_usec", wall_us
    yield "uptime_in_seconds", uptime
    yield "uptime_in_days", uptime // DAY_S
    yield "hz", HOUSEKEEPING_HZ
    yield "configured_hz", settings.hz
    yield "lru_clock", wall_us // 1_000_000 & _LRU_BITS
    yield "executable", process.executable
    yield "config_file", os.path.abspath(server.config_file) if server.config_file else ""
    yield "io_threads_active", 0
    yield "maintenance_mode", int(server.machine.world.maintenance.on)
    doors = [
        (name, address.lstrip("-"), port)
        for name, port in (("tcp", settings.port), ("tls", settings.tls_port))
        for address in settings.bind
        if port
    ]
    for number, (name, address, port) in enumerate(doors):
        yield f"listener{number}", f"name={name},bind={address},port={port}"


def _clients(server: Shared) -> Iterable[Field]:
    widest_in = widest_out = watching = 0
    for client in server.clients:
        widest_in = max(widest_in, client.input_bytes)
        widest_out = max(widest_out, client.output_bytes)
        watching += bool(client.watched)
    watched = {place for client in server.clients for place in client.watched}
    yield "connected_clients", len(server.clients)
    yield "cluster_connections", 0
    yield "maxclients", server.settings.maxclients
    yield "client_recent_max_input_buffer", widest_in
    yield "client_recent_max_output_buffer", widest_out
    yield "blocked_clients", server.clients.blocked()
    yield "tracking_clients", server.tracking.counts()["tracking_clients"]
    yield "pubsub_clients", server.pubsub.subscribed_clients()
    yield "watching_clients", watching
    yield "clients_in_timeout_table", 0
    yield "total_watched_keys", len(watched)
    yield "total_blocking_keys", 0
    yield "total_blocking_keys_on_nokey", 0


def _memory(server: Shared) -> Iterable[Field]:
    found = figures(server)
    used, resident, peak = found["total.allocated"], found["allocator.resident"], found["peak.allocated"]
    system, counted = server.process.system_memory(), server.memory.used
    yield "used_memory", used
    yield "used_memory_human", human(used)
    yield "used_memory_rss", resident
    yield "used_memory_rss_human", human(resident)
    yield "used_memory_peak", peak
    yield "used_memory_peak_human", human(peak)
    yield "used_memory_peak_perc", f"{found['peak.percentage']:.2f}%"
    yield "used_memory_overhead", found["overhead.total"]
    yield "used_memory_startup", found["startup.allocated"]
    yield "used_memory_dataset", found["dataset.bytes"]
    yield "used_memory_dataset_perc", f"{found['dataset.percentage']:.2f}%"
    yield "allocator_allocated", used
    yield "allocator_active", used
    yield "allocator_resident", resident
    yield "total_system_memory", system
    yield "total_system_memory_human", human(system)
    for name in ("used_memory_lua", "used_memory_vm_eval"):
        yield name, 0
    yield "used_memory_lua_human", human(0)
    for name in (
        "used_memory_scripts_eval", "number_of_cached_scripts", "number_of_functions", "number_of_libraries",
        "used_memory_vm_functions", "used_memory_vm_total", "used_memory_functions", "used_memory_scripts",
    ):  # fmt: skip
        yield name, 0
    yield "used_memory_scripts_human", human(0)
    yield "maxmemory", server.settings.maxmemory
    yield "maxmemory_human", human(server.settings.maxmemory)
    yield "maxmemory_policy", server.settings.maxmemory_policy
    yield "maxmemory_used", counted
    yield "allocator_frag_ratio", "1.00"
    yield "allocator_frag_bytes", 0
    yield "allocator_rss_ratio", f"{found['allocator-rss.ratio']:.2f}"
    yield "allocator_rss_bytes", found["allocator-rss.bytes"]
    yield "rss_overhead_ratio", "1.00"
    yield "rss_overhead_bytes", 0
    yield "mem_fragmentation_ratio", f"{found['fragmentation']:.2f}"
    yield "mem_fragmentation_bytes", found["fragmentation.bytes"]
    # As in Redis: used_memory less this is what is compared with maxmemory.
    yield "mem_not_counted_for_evict", max(used - counted, 0) if server.settings.maxmemory else 0
    for name in ("mem_replication_backlog", "mem_total_replication_buffers", "mem_clients_slaves"):
        yield name, 0
    yield "mem_clients_normal", found["clients.normal"]
    yield "mem_cluster_links", 0
    yield "mem_aof_buffer", found["aof.buffer"]
    yield "mem_allocator", server.process.allocator
    yield "active_defrag_running", 0
    yield "lazyfree_pending_objects", sum(len(db.items) for db in server.machine.world.trash)
    yield "lazyfreed_objects", 0


def _stats(server: Shared) -> Iterable[Field]:
    stats, world = server.stats, server.machine.world
    yield "total_connections_received", stats.total_connections_received
    yield "total_commands_processed", stats.total_commands_processed
    yield "instantaneous_ops_per_sec", round(stats.ops_rate.value)
    yield "total_net_input_bytes", stats.total_net_input_bytes
    yield "total_net_output_bytes", stats.total_net_output_bytes
    yield "total_net_repl_input_bytes", 0
    yield "total_net_repl_output_bytes", 0
    yield "instantaneous_input_kbps", f"{stats.input_rate.value / 1024:.2f}"
    yield "instantaneous_output_kbps", f"{stats.output_rate.value / 1024:.2f}"
    yield "instantaneous_input_repl_kbps", "0.00"
    yield "instantaneous_output_repl_kbps", "0.00"
    yield "rejected_connections", stats.rejected_connections + server.clients.rejected
    for name in ("sync_full", "sync_partial_ok", "sync_partial_err"):
        yield name, 0
    yield "expired_subkeys", 0
    yield "expired_keys", world.expired
    yield "expired_stale_perc", "0.00"
    yield "expired_time_cap_reached_count", 0
    yield "expire_cycle_cpu_milliseconds", 0
    yield "evicted_keys", world.evicted
    yield "evicted_clients", stats.evicted_clients
    yield "evicted_scripts", 0
    total, current = server.memory.exceeded_ms
    yield "total_eviction_exceeded_time", total
    yield "current_eviction_exceeded_time", current
    yield "keyspace_hits", world.hits
    yield "keyspace_misses", world.misses
    yield "pubsub_channels", len(server.pubsub.channels)
    yield "pubsub_patterns", len(server.pubsub.patterns)
    yield "pubsubshard_channels", len(server.pubsub.shards)
    yield "latest_fork_usec", 0
    yield "total_forks", 0
    yield "migrate_cached_sockets", 0
    yield "slave_expires_tracked_keys", 0
    for name in ("active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits", "active_defrag_key_misses",
                 "total_active_defrag_time", "current_active_defrag_time"):  # fmt: skip
        yield name, 0
    counts = server.tracking.counts()
    for name in ("tracking_total_keys", "tracking_total_items", "tracking_total_prefixes"):
        yield name, counts[name]
    yield "unexpected_error_replies", stats.unexpected_error_replies
    yield "total_error_replies", stats.total_error_replies
    yield "dump_payload_sanitizations", 0
    yield "total_reads_processed", stats.total_reads_processed
    yield "total_writes_processed", stats.total_writes_processed
    yield "io_threaded_reads_processed", 0
    yield "io_threaded_writes_processed", 0
    yield "client_query_buffer_limit_disconnections", stats.client_query_buffer_limit_disconnections
    yield "client_output_buffer_limit_disconnections", stats.client_output_buffer_limit_disconnections
    yield "reply_buffer_shrinks", 0
    yield "reply_buffer_expands", 0
    yield from _refusals(server)


def _refusals(server: Shared) -> Iterable[Field]:
    """The end of Stats: who was not let in, and what was too much."""
    stats = server.stats
    yield "acl_access_denied_auth", stats.acl_access_denied_auth
    yield "acl_access_denied_tls_cert", stats.acl_access_denied_tls_cert
    yield "acl_access_denied_cmd", stats.acl_access_denied_cmd
    yield "acl_access_denied_key", stats.acl_access_denied_key
    yield "acl_access_denied_channel", stats.acl_access_denied_channel
    yield "acl_access_denied_db", stats.acl_access_denied_db
    yield "limit_refused_requests", server.quotas.limits.refused
    yield "limit_refused_connections", server.quotas.limits.refused_connections
    yield "limit_refused_sizes", stats.limit_refused_sizes
    yield "limit_ended_transactions", stats.limit_ended_transactions
    yield "limit_ended_watches", stats.limit_ended_watches
    yield from server.lockout.info(server.clock.now()).items()
    yield from server.passwords.info().items()


def _cpu(server: Shared) -> Iterable[Field]:
    process = server.process
    for suffix, cpu in (
        ("", process.cpu()), ("_children", process.cpu_children()), ("_main_thread", process.cpu_main_thread()),
    ):  # fmt: skip
        yield f"used_cpu_sys{suffix}", f"{cpu.system:.6f}"
        yield f"used_cpu_user{suffix}", f"{cpu.user:.6f}"


def _commandstats(server: Shared) -> Iterable[Field]:
    for one in server.stats.used():
        per_call = one.total / 1000 / one.calls if one.calls else 0.0
        yield (
            f"cmdstat_{one.name}",
            f"calls={one.calls},usec={one.usec},usec_per_call={per_call:.2f},"
            f"rejected_calls={one.rejected_calls},failed_calls={one.failed_calls}",
        )


def _errorstats(server: Shared) -> Iterable[Field]:
    for code, count in sorted(server.stats.errors.items()):
        yield f"errorstat_{code}", f"count={count}"


def _latencystats(server: Shared) -> Iterable[Field]:
    if not server.settings.latency_tracking:
        return
    wanted = server.settings.latency_tracking_info_percentiles
    for one in server.stats.used():
        if one.calls:
            shown = ",".join(f"p{percentile:g}={one.percentile(percentile) / 1000:.3f}" for percentile in wanted)
            yield f"latency_percentiles_usec_{one.name}", shown


def _tls(server: Shared) -> Iterable[Field]:
    if server.tls is not None:
        yield from server.tls.info().items()
        return
    for kind in ("server", "client", "ca"):
        yield f"tls_{kind}_cert_serial", "none"
        yield f"tls_{kind}_cert_expires_in_seconds", 0


def _audit(server: Shared) -> Iterable[Field]:
    yield from server.audit.info().items()


def _modules(server: Shared) -> Iterable[Field]:
    return ()


def _keyspace(server: Shared) -> Iterable[Field]:
    now_ms = server.clock.wall_ms()
    for number, db in enumerate(server.machine.world.databases):
        if db.items:
            expires = len(db.expires)
            average = max(db.expires_sum // expires - now_ms, 0) if expires else 0
            yield f"db{number}", f"keys={len(db.items)},expires={expires},avg_ttl={average}"


SECTIONS: Final[dict[str, tuple[str, Callable[[Shared], Iterable[Field]]]]] = {
    "server": ("Server", _server),
    "clients": ("Clients", _clients),
    "memory": ("Memory", _memory),
    "persistence": ("Persistence", persistence),
    "encryption": ("Encryption", encryption),
    "stats": ("Stats", _stats),
    "replication": ("Replication", replication),
    "raft": ("Raft", raft),
    "cpu": ("CPU", _cpu),
    "tls": ("TLS", _tls),
    "audit": ("Audit", _audit),
    "modules": ("Modules", _modules),
    "commandstats": ("Commandstats", _commandstats),
    "errorstats": ("Errorstats", _errorstats),
    "latencystats": ("Latencystats", _latencystats),
    "cluster": ("Cluster", cluster),
    "keyspace": ("Keyspace", _keyspace),
}
EXTRA: Final = frozenset({"commandstats", "latencystats"})  # only when asked for, or with all
# Where somebody expects a Sentinel, and not in `all`: tools would take each node for one.
BY_NAME: Final[dict[str, tuple[str, Callable[[Shared], Iterable[Field]]]]] = {"sentinel": ("Sentinel", sentinel)}
GROUPS: Final = {
    "default": SECTIONS.keys() - EXTRA,
    "all": SECTIONS.keys() - {"modules"},
    "everything": SECTIONS.keys(),
}


def render(server: Shared, sections: Sequence[str]) -> str:
    """The sections asked for (none: the default ones) in Redis's order; unknown names are passed over."""
    wanted: set[str] = set()
    for name in sections or ("default",):
        wanted |= GROUPS.get(name, {name})
    chosen = [section for name, section in (SECTIONS | BY_NAME).items() if name in wanted]
    return "\r\n".join(_section(title, fields(server)) for title, fields in chosen)


def _section(title: str, fields: Iterable[Field]) -> str:
    return "".join([f"# {title}\r\n", *(f"{name}:{_value(value)}\r\n" for name, value in fields)])


def _value(value: Any) -> str:
    """On one line whatever it holds: a path may contain anything."""
    return str(value).replace("\r", " ").replace("\n", " ")
