"""The one table of directives: name, kind, default, unit and what it means.

Each is a typed field of `Table`; its name is the field's with dashes. Settings, CONFIG, `--help` and the tests derive
from it. A directive explains itself by what can be lost or refused.
Not here: reading sources (`config`); kinds of values (`config_values`); each directive at length (conf/vaylix.conf).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from vaylix_resp.config_values import (
    INT64_MAX,
    Addresses,
    BadValue,
    Directory,
    FileCommand,
    Integer,
    KeyspaceEvents,
    Kind,
    Memory,
    OneOf,
    OutputLimit,
    OutputLimits,
    OutputLimitsKind,
    Percentiles,
    Permissions,
    PlainName,
    SavePoints,
    Text,
    YesNo,
)
from vaylix_resp.config_values import SavePoint as SavePoint  # users of Settings.save need the type
from vaylix_resp.limits import GIB, KIB, MIB, VALUE_BYTES_MAX

T = TypeVar("T")

WORDS_SHOWN_MAX = 128  # characters of a refused value in an error line


@dataclass(frozen=True, slots=True)
class Spec:
    """What the table says of one directive beside its name and default."""

    kind: Kind[Any]
    group: str
    help: str
    unit: str = ""
    locked: str = ""  # "": CONFIG SET may change it; otherwise "immutable" or "protected", as Redis calls it
    secret: bool = False
    aliases: tuple[str, ...] = ()
    only: str = ""  # not empty: the default is the only value, and this says why and what to do instead
    inert: str = ""  # not empty: any value is accepted with a warning and changes nothing; this says what is true


@dataclass(frozen=True, slots=True)
class Directive:
    """One row of the table."""

    name: str
    attribute: str
    default: Any
    spec: Spec

    def parse(self, words: tuple[str, ...], base: Any, again: bool) -> Any:
        """The value of `words`; raises BadValue with Redis's text. `base` and `again` as in Kind.parse."""
        spec = self.spec
        if not words:
            raise BadValue("wrong number of arguments")
        if spec.inert:
            return self.default
        if spec.kind.many and len(words) == 1:
            words = tuple(words[0].split()) or ("",)
        value = spec.kind.parse(words, base, again)
        if spec.only and value != self.default:
            raise BadValue(spec.only)
        return value

    def show(self, words: tuple[str, ...]) -> str:
        """The words for an error line: bounded, on one line, never a secret."""
        if self.spec.secret:
            return "(secret)"
        text = " ".join(words)[:WORDS_SHOWN_MAX]
        return '"' + "".join(c if c.isprintable() else "?" for c in text) + '"'


def setting(kind: Kind[T], default: T, group: str, text: str, **more: Any) -> T:
    """A row of the table; `more` are fields of Spec. The type checker sees the default."""
    row: T = field(default=default, metadata={"spec": Spec(kind, group, text, **more)})
    return row


NETWORK, CLIENTS, DURABILITY, SNAPSHOTS = "network", "clients", "durability", "snapshots"
ENCRYPTION, RESTORE = "encryption at rest", "time travel and backup"
DATA, SECURITY, LOGS, PROCESS = "data", "security", "logs and measures", "process"
GROUPS = (NETWORK, CLIENTS, DURABILITY, ENCRYPTION, SNAPSHOTS, RESTORE, DATA, SECURITY, LOGS, PROCESS)

_POLICIES = ("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
             "allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction")  # fmt: skip
_OUTPUT_LIMITS = OutputLimits(
    normal=OutputLimit(128 * MIB, 64 * MIB, 60),
    replica=OutputLimit(256 * MIB, 64 * MIB, 60),
    pubsub=OutputLimit(32 * MIB, 8 * MIB, 60),
)
_AT_START = {"locked": "immutable"}


@dataclass(slots=True, repr=False, eq=False)
class Table:
    """Every directive with its default; see Settings for what can be done with them."""

    bind: tuple[str, ...] = setting(
        Addresses(), ("127.0.0.1",), NETWORK, "addresses to listen on; * is every IPv4, :: every IPv6", **_AT_START
    )
    port: int = setting(Integer(0, 65535), 6379, NETWORK, "TCP port; 0 listens on no TCP port", **_AT_START)
    unixsocket: str = setting(Text("a path"), "", NETWORK, "path of a Unix socket to listen on as well", **_AT_START)
    unixsocketperm: int = setting(
        Permissions(), 0, NETWORK, "file mode of the Unix socket, octal; 0 leaves it to the umask", **_AT_START
    )
    tls_port: int = setting(
        Integer(0, 65535), 0, NETWORK, "TCP port for TLS; only 0 in this version", **_AT_START,
        only="TLS is not in this version; listen on loopback, or put a TLS proxy in front",
    )  # fmt: skip
    tcp_backlog: int = setting(Integer(0), 511, NETWORK, "connections the kernel may hold for accept", **_AT_START)
    tcp_keepalive: int = setting(Integer(0), 300, NETWORK, "probe silent connections; 0 = never", unit="seconds")
    timeout: int = setting(Integer(0), 0, NETWORK, "close a client that is idle this long; 0 = never", unit="seconds")

    maxclients: int = setting(
        Integer(1, (1 << 32) - 1), 10000, CLIENTS, "connections at once; further ones get an error and are closed"
    )
    client_query_buffer_limit: int = setting(
        Memory(MIB), 128 * MIB, CLIENTS, "what one client may send without it being a whole request", unit="bytes"
    )
    client_output_buffer_limit: OutputLimits = setting(
        OutputLimitsKind(), _OUTPUT_LIMITS, CLIENTS, "what may wait for a client that does not read",
        unit="bytes, seconds",
    )  # fmt: skip
    maxmemory_clients: int = setting(
        Memory(MIB, zero=True), 512 * MIB, CLIENTS,
        "buffers of all clients together; above it the largest is closed; 0 = off", unit="bytes",
    )  # fmt: skip
    proto_max_bulk_len: int = setting(
        Memory(MIB, VALUE_BYTES_MAX), VALUE_BYTES_MAX, CLIENTS, "longest argument, hence longest value", unit="bytes"
    )
    tracking_table_max_keys: int = setting(
        Integer(0, INT64_MAX), 1_000_000, CLIENTS, "keys remembered for client-side caching; 0 = no limit", unit="keys"
    )

    dir: str = setting(
        Directory(), "./default.vaylix", DURABILITY, "the data directory; one server at a time may use it",
        locked="protected", aliases=("data-dir",),
    )  # fmt: skip
    appendonly: bool = setting(
        YesNo(), True, DURABILITY, "the write-ahead log; always yes",
        inert="the log cannot be switched off; 'appendfsync no' is the weakest setting",
    )  # fmt: skip
    appendfsync: str = setting(
        OneOf(("everysec", "always", "no")), "always", DURABILITY,
        "always: a power cut loses no acknowledged write; everysec: up to a second; no: what the kernel still holds",
    )  # fmt: skip
    wal_segment_size: int = setting(
        Memory(64 * KIB, GIB), 64 * MIB, DURABILITY, "size at which a log segment is sealed", unit="bytes"
    )
    on_io_error: str = setting(
        OneOf(("readonly", "exit")), "readonly", DURABILITY, "after a failed write or fsync: serve reads, or exit (74)"
    )
    min_replicas_to_write: int = setting(
        Integer(0), 0, DURABILITY, "replicas a write needs; only 0 in this version", aliases=("min-slaves-to-write",),
        only="replication is not in this version, so no number of replicas can be asked for",
    )  # fmt: skip

    encryption: bool = setting(
        YesNo(), True, ENCRYPTION, "seal log, snapshots and backups with AES-256-GCM; no: for disks sealed below us",
        **_AT_START,
    )  # fmt: skip
    master_key_file: str = setting(
        Text("a path"), "", ENCRYPTION, "file with the master key; empty = master.key in the data directory",
        **_AT_START,
    )  # fmt: skip
    master_key_command: str = setting(
        Text("a command"), "", ENCRYPTION, "program that prints the master key, run by a shell at the start",
        **_AT_START,
    )  # fmt: skip
    master_key: str = setting(
        Text("32 bytes in hex or base64"), "", ENCRYPTION, "the master key itself; from the environment only",
        secret=True, **_AT_START,
    )  # fmt: skip

    save: tuple[SavePoint, ...] = setting(
        SavePoints(), (), SNAPSHOTS,
        "snapshot when so many seconds passed and so many keys changed; the log keeps writes safe meanwhile",
    )  # fmt: skip
    snapshot_log_size: int = setting(
        Memory(64 * KIB, zero=True), 256 * MIB, SNAPSHOTS,
        "snapshot when the log since the last one passes this; 0 = off", unit="bytes",
    )  # fmt: skip
    snapshot_interval: int = setting(
        Integer(0), 3600, SNAPSHOTS, "snapshot when the last one is this old and anything changed; 0 = off",
        unit="seconds",
    )  # fmt: skip
    snapshot_throttle: int = setting(
        Memory(64 * KIB, zero=True), 64 * MIB, SNAPSHOTS,
        "I/O of a snapshot per second, so that fsync stays fast; 0 = unlimited", unit="bytes per second",
    )  # fmt: skip
    stop_writes_on_bgsave_error: bool = setting(
        YesNo(), False, SNAPSHOTS, "always no", inert="a failed snapshot loses nothing: the log has every write"
    )
    dbfilename: str = setting(
        Text(), "", SNAPSHOTS, "always empty: there is no RDB file", inert="snapshots have their own names", **_AT_START
    )

    pitr_window: int = setting(
        Integer(0), 3600, RESTORE, "how far back any moment can be restored; 0 = only what is left by chance",
        unit="seconds",
    )  # fmt: skip
    pitr_size_max: int = setting(
        Memory(MIB, zero=True), 4 * GIB, RESTORE,
        "log and snapshots kept for pitr-window alone; the window gets shorter instead; 0 = no limit", unit="bytes",
    )  # fmt: skip
    backup_dir: str = setting(
        Text("a path"), "", RESTORE, "where backups go; empty = backups in the data directory", locked="protected"
    )
    backupdirname: str = setting(
        PlainName(), "online", RESTORE, "directory of BACKUP START inside backup-dir", locked="protected"
    )
    backup_sealed_ttl: int = setting(
        Integer(0), 0, RESTORE, "remove a sealed online backup after so long; 0 = never", unit="seconds"
    )
    archive_command: str = setting(
        FileCommand(), "", RESTORE,
        "run by a shell for each sealed segment and snapshot: %p is its path, %f its name; kept until it succeeds",
        locked="protected",
    )  # fmt: skip
    archive_timeout: int = setting(
        Integer(0), 60, RESTORE, "seal a segment for the archive after so long at the latest; 0 = only when it is full",
        unit="seconds",
    )  # fmt: skip

    databases: int = setting(Integer(1, 65536), 16, DATA, "numbered databases for SELECT", **_AT_START)
    maxmemory: int = setting(
        Memory(0), 0, DATA, "answered to tools, not enforced: no key is ever evicted", unit="bytes"
    )
    maxmemory_policy: str = setting(
        OneOf(_POLICIES), "noeviction", DATA, "always noeviction",
        only="keys are never evicted; use noeviction, and give keys an expiry",
    )  # fmt: skip
    notify_keyspace_events: str = setting(KeyspaceEvents(), "", DATA, "which key events are published; empty = none")

    requirepass: str = setting(
        Text("a password"), "", SECURITY, "password of the default user; empty = none needed", secret=True
    )
    protected_mode: bool = setting(
        YesNo(), True, SECURITY, "without a password, refuse clients that come from another machine"
    )
    enable_debug_command: str = setting(
        OneOf(("no", "yes", "local")), "no", SECURITY, "allow DEBUG; local = from this machine only", **_AT_START
    )
    aclfile: str = setting(
        Text("a path"), "", SECURITY, "users of Redis ACL; only empty in this version", **_AT_START,
        only="ACL users are not in this version; use requirepass",
    )  # fmt: skip

    loglevel: str = setting(
        OneOf(("debug", "verbose", "notice", "warning")), "notice", LOGS, "the least important message that is logged"
    )
    logfile: str = setting(Text("a path"), "", LOGS, "file for messages; empty = standard error", **_AT_START)
    log_format: str = setting(
        OneOf(("plain", "json")), "plain", LOGS, "lines for people, or one JSON object each", **_AT_START
    )
    slowlog_log_slower_than: int = setting(
        Integer(-1, INT64_MAX), 10000, LOGS, "commands slower than this enter SLOWLOG; -1 = none", unit="microseconds"
    )
    slowlog_max_len: int = setting(Integer(0, INT64_MAX), 128, LOGS, "entries that SLOWLOG keeps", unit="entries")
    latency_monitor_threshold: int = setting(
        Integer(0, INT64_MAX), 0, LOGS, "events slower than this enter LATENCY; 0 = none", unit="milliseconds"
    )
    latency_tracking: bool = setting(YesNo(), True, LOGS, "measure the latency of each command")
    latency_tracking_info_percentiles: tuple[float, ...] = setting(
        Percentiles(), (50.0, 99.0, 99.9), LOGS, "percentiles shown by INFO latencystats"
    )

    shutdown_timeout: int = setting(
        Integer(0), 10, PROCESS, "how long a stopping server waits for what is under way", unit="seconds"
    )
    pidfile: str = setting(Text("a path"), "", PROCESS, "file that holds the process id while running", **_AT_START)
    hz: int = setting(Integer(1, 500, clamp=True), 10, PROCESS, "housekeeping rounds", unit="per second")
    daemonize: bool = setting(
        YesNo(), False, PROCESS, "always no", **_AT_START,
        only="the server stays in the foreground; let systemd, a container or '&' run it in the background",
    )  # fmt: skip
    supervised: str = setting(
        OneOf(("upstart", "systemd", "auto", "no")), "no", PROCESS, "always no", **_AT_START,
        only="readiness is not signalled; use 'Type=exec' in the systemd unit and 'vaylix healthcheck'",
    )  # fmt: skip
    cluster_enabled: bool = setting(
        YesNo(), False, PROCESS, "always no in this version", **_AT_START, only="clusters are not in this version"
    )
    io_threads: int = setting(
        Integer(1, 128), 1, PROCESS, "always 1", inert="one thread serves all clients", **_AT_START
    )
    always_show_logo: bool = setting(YesNo(), False, PROCESS, "always no", inert="there is no logo", **_AT_START)
    set_proc_title: bool = setting(YesNo(), False, PROCESS, "always no", inert="the title is not changed", **_AT_START)


DIRECTIVES: Mapping[str, Directive] = {
    name: Directive(name, row.name, row.default, row.metadata["spec"])
    for row in fields(Table)
    for name in [row.name.replace("_", "-")]
}
ALIASES: Mapping[str, str] = {alias: d.name for d in DIRECTIVES.values() for alias in d.spec.aliases}

# Tuning of Redis's own internals. A stock redis.conf names them; they change nothing here and promise nothing, so
# they are accepted with a warning. CONFIG does not know them.
IGNORED = frozenset(
    """
    acl-pubsub-default acllog-max-len active-defrag-cycle-max active-defrag-cycle-min active-defrag-ignore-bytes
    active-defrag-max-scan-fields active-defrag-threshold-lower active-defrag-threshold-upper active-expire-effort
    activedefrag activerehashing aof-load-truncated aof-rewrite-incremental-fsync aof-timestamp-enabled
    aof-use-rdb-preamble appenddirname appendfilename auto-aof-rewrite-min-size auto-aof-rewrite-percentage
    busy-reply-threshold crash-log-enabled crash-memcheck-enabled disable-thp dynamic-hz enable-module-command
    enable-protected-configs hash-max-listpack-entries hash-max-listpack-value hash-max-ziplist-entries
    hash-max-ziplist-value hll-sparse-max-bytes ignore-warnings io-threads-do-reads jemalloc-bg-thread
    lazyfree-lazy-eviction lazyfree-lazy-expire lazyfree-lazy-server-del lazyfree-lazy-user-del
    lazyfree-lazy-user-flush lfu-decay-time lfu-log-factor list-compress-depth list-max-listpack-size
    list-max-ziplist-size locale-collate lua-time-limit maxmemory-eviction-tenacity maxmemory-samples
    no-appendfsync-on-rewrite oom-score-adj oom-score-adj-values proc-title-template rdb-del-sync-files
    rdb-save-incremental-fsync rdbchecksum rdbcompression repl-backlog-size repl-backlog-ttl
    repl-disable-tcp-nodelay repl-diskless-load repl-diskless-sync repl-diskless-sync-delay
    repl-diskless-sync-max-replicas repl-diskless-sync-period replica-lazy-flush replica-priority replica-read-only
    replica-serve-stale-data sanitize-dump-payload set-max-intset-entries set-max-listpack-entries
    set-max-listpack-value slave-lazy-flush slave-priority slave-read-only slave-serve-stale-data
    stream-node-max-bytes stream-node-max-entries zset-max-listpack-entries zset-max-listpack-value
    zset-max-ziplist-entries zset-max-ziplist-value
    """.split()
)

# Redis directives that promise something this server does not do: refused, with the way out.
REFUSED: Mapping[str, str] = {
    "loadmodule": "modules cannot be loaded; remove the line",
    "masterauth": "replication is not in this version; remove the line",
    "rename-command": "commands cannot be renamed; remove the line and protect the port with requirepass",
    "replicaof": "replication is not in this version; remove the line",
    "slaveof": "replication is not in this version; remove the line",
    "user": "ACL users are not in this version; use requirepass",
}
