"""The one table of directives: name, kind, default, unit and what it means.

Each is a typed field of `Table`; its name is the field's with dashes. Settings, CONFIG, `--help` and the tests derive
from it. A directive explains itself by what can be lost or refused.
Not here: reading sources (`config`); a row and its words (`directive`); kinds of values (`config_values` and others);
rows of limits (`directives_limits`), of the audit (`directives_audit`), of logs and measures (`directives_logs`) and of
replication (`directives_cluster`); Redis directives that are passed over or refused (`directives_redis`); each
directive at length (conf/vaylix.conf).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from vaylix_resp.config_lines import Lines
from vaylix_resp.config_values import (
    INT64_MAX,
    Directory,
    FileCommand,
    Integer,
    KeyspaceEvents,
    Memory,
    OneOf,
    Permissions,
    PlainName,
    Text,
    YesNo,
)
from vaylix_resp.config_words import Addresses, OutputLimit, OutputLimits, OutputLimitsKind, SavePoints
from vaylix_resp.config_words import SavePoint as SavePoint  # users of Settings.save need the type
from vaylix_resp.directive import Directive, setting
from vaylix_resp.directives_audit import AUDIT
from vaylix_resp.directives_cluster import CLUSTER
from vaylix_resp.directives_limits import LIMITS
from vaylix_resp.directives_logs import LOGS, LogsTable
from vaylix_resp.limits import GIB, KIB, MIB, VALUE_BYTES_MAX

NETWORK, TLS, CLIENTS, DURABILITY, SNAPSHOTS = "network", "TLS", "clients", "durability", "snapshots"
ENCRYPTION, RESTORE = "encryption at rest", "time travel and backup"
DATA, SECURITY, PROCESS = "data", "security", "process"
GROUPS = (
    NETWORK, TLS, CLIENTS, LIMITS, DURABILITY, ENCRYPTION, SNAPSHOTS, RESTORE, DATA, CLUSTER, SECURITY, AUDIT, LOGS,
    PROCESS,
)  # fmt: skip

_POLICIES = ("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
             "allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction")  # fmt: skip
_OUTPUT_LIMITS = OutputLimits(
    normal=OutputLimit(128 * MIB, 64 * MIB, 60),
    replica=OutputLimit(256 * MIB, 64 * MIB, 60),
    pubsub=OutputLimit(32 * MIB, 8 * MIB, 60),
)
_AT_START = {"locked": "immutable"}


@dataclass(slots=True, repr=False, eq=False)
class Table(LogsTable):
    """Every directive with its default; see Settings for what can be done with them."""

    bind: tuple[str, ...] = setting(
        Addresses(), ("127.0.0.1",), NETWORK, "addresses to listen on; * is every IPv4, :: every IPv6", **_AT_START
    )
    port: int = setting(Integer(0, 65535), 6379, NETWORK, "TCP port; 0 listens on no TCP port", **_AT_START)
    unixsocket: str = setting(Text("a path"), "", NETWORK, "path of a Unix socket to listen on as well", **_AT_START)
    unixsocketperm: int = setting(
        Permissions(), 0, NETWORK, "file mode of the Unix socket, octal; 0 leaves it to the umask", **_AT_START
    )
    tcp_backlog: int = setting(Integer(0), 511, NETWORK, "connections the kernel may hold for accept", **_AT_START)
    tcp_keepalive: int = setting(Integer(0), 300, NETWORK, "probe silent connections; 0 = never", unit="seconds")
    timeout: int = setting(Integer(0), 0, NETWORK, "close a client that is idle this long; 0 = never", unit="seconds")

    tls_port: int = setting(
        Integer(0, 65535), 0, TLS, "TCP port for TLS, beside `port` or (port 0) instead of it; 0 = none", **_AT_START
    )
    tls_cert_file: str = setting(Text("a path"), "", TLS, "the server's certificate and what leads to its CA, PEM")
    tls_key_file: str = setting(Text("a path"), "", TLS, "its key, PEM; empty = in tls-cert-file")
    tls_key_file_pass: str = setting(Text("a passphrase"), "", TLS, "passphrase of an encrypted key", secret=True)
    tls_ca_cert_file: str = setting(Text("a path"), "", TLS, "CAs whose certificates clients may show, PEM")
    tls_ca_cert_dir: str = setting(Text("a path"), "", TLS, "a directory of them, prepared by `openssl rehash`")
    tls_auth_clients: str = setting(
        OneOf(("no", "yes", "optional")), "yes", TLS, "must a client show a certificate (mutual TLS)?"
    )
    tls_auth_clients_user: str = setting(
        OneOf(("off", "CN", "URI", "DNS")), "off", TLS,
        "field of a client's certificate that names its user, who then needs no password",
    )  # fmt: skip
    tls_protocols: str = setting(
        Text("versions between spaces"), "", TLS, "TLSv1.2, TLSv1.3 or both; empty = both. Older ones can be broken"
    )
    tls_ciphers: str = setting(Text("an OpenSSL cipher list"), "", TLS, "ciphers of TLS 1.2; empty = OpenSSL's choice")
    tls_ciphersuites: str = setting(
        Text("names between colons"), "", TLS, "cipher suites of TLS 1.3; empty = OpenSSL's choice"
    )
    tls_prefer_server_ciphers: bool = setting(YesNo(), False, TLS, "choose by our order of ciphers, not the client's")
    tls_session_caching: bool = setting(YesNo(), True, TLS, "let clients resume a session without a whole handshake")
    tls_session_cache_size: int = setting(
        Integer(0), 20480, TLS, "sessions of TLS 1.2 that are kept; 0 = about a million", unit="sessions"
    )
    tls_session_cache_timeout: int = setting(Integer(1), 300, TLS, "how long one can be resumed", unit="seconds")
    tls_auto_reload_interval: int = setting(
        Integer(0), 5, TLS, "look for changed certificate files this often; 0 = only SIGHUP and CONFIG SET",
        unit="seconds",
    )  # fmt: skip
    tls_handshake_timeout: int = setting(
        Integer(1, 3600), 10, TLS, "a client whose handshake takes longer is closed", unit="seconds"
    )
    tls_handshakes_max: int = setting(
        Integer(1, 65536), 256, TLS, "clients in a handshake at once; others wait in the kernel's queue"
    )

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
        Integer(0), 0, DURABILITY, "always 0: in a cluster a write needs a majority", aliases=("min-slaves-to-write",),
        only="a write is acknowledged when a majority of the cluster has it; see cluster-peers and write-ack-mode",
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
        sensitive=True, **_AT_START,
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
        locked="protected", sensitive=True,
    )  # fmt: skip
    archive_timeout: int = setting(
        Integer(0), 60, RESTORE, "seal a segment for the archive after so long at the latest; 0 = only when it is full",
        unit="seconds",
    )  # fmt: skip

    databases: int = setting(Integer(1, 65536), 16, DATA, "numbered databases for SELECT", **_AT_START)
    maxmemory: int = setting(
        Memory(0), 0, DATA, "what the keys may take; then writes are refused or keys evicted; 0 = none", unit="bytes"
    )
    maxmemory_policy: str = setting(
        OneOf(_POLICIES), "noeviction", DATA,
        "noeviction refuses writes at maxmemory; every other policy deletes acknowledged data to make room",
    )  # fmt: skip
    maxmemory_samples: int = setting(
        Integer(1), 5, DATA, "keys that are drawn for each one that is evicted: more choose better, and take longer",
        unit="keys",
    )  # fmt: skip
    lfu_log_factor: int = setting(
        Integer(0), 10, DATA, "lfu policies: the larger, the more uses until a key's counter is full (255)"
    )
    lfu_decay_time: int = setting(
        Integer(0), 1, DATA, "lfu policies: an unused key's counter falls by one this often; 0 = never", unit="minutes"
    )
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
    password_min_length: int = setting(
        Integer(0, 1024), 0, SECURITY, "of new passwords; hashes cannot be checked; 0 = any", unit="characters"
    )
    password_classes: int = setting(
        Integer(0, 4), 0, SECURITY, "of lower case, upper case, digits and others, how many a new password must have"
    )
    password_history: int = setting(
        Integer(0, 24), 0, SECURITY, "former passwords of a user that may not come back", unit="passwords"
    )
    # The largest memory times the most iterations is the most that a stored password may ask for anyway.
    password_hash_memory: int = setting(
        Memory(128 * KIB, 256 * MIB), 64 * MIB, SECURITY,
        "Argon2id of new passwords: what each guess costs, and each of two verifications here", unit="bytes",
    )  # fmt: skip
    password_hash_iterations: int = setting(Integer(1, 16), 3, SECURITY, "Argon2id of new passwords: passes")
    password_hash_lanes: int = setting(
        Integer(1, 16), 1, SECURITY, "Argon2id of new passwords: parallel parts; above 1 only one is verified at a time"
    )
    login_user_limit: int = setting(
        Integer(0, 100), 10, SECURITY, "failed log-ins within login-window that lock a user; 0 = never"
    )
    login_user_lock_max: int = setting(
        Integer(1), 300, SECURITY, "longest lock of a user; anybody can cause it, so keep it short", unit="seconds"
    )
    login_address_limit: int = setting(
        Integer(0, 100), 20, SECURITY, "failed log-ins within login-window that lock an address; 0 = never"
    )
    login_address_lock_max: int = setting(Integer(1), 3600, SECURITY, "longest lock of an address", unit="seconds")
    login_window: int = setting(Integer(1), 60, SECURITY, "how long a failed log-in counts", unit="seconds")
    login_lock_time: int = setting(
        Integer(1), 30, SECURITY, "first lock; each further one takes twice as long, up to the longest", unit="seconds"
    )
    aclfile: str = setting(
        Text("a path"), "", SECURITY, "users of a new data directory; what ACL LOAD and SAVE use", **_AT_START
    )
    user: tuple[str, ...] = setting(
        Lines("a name and its rules, as in ACL LIST"), (), SECURITY, "a user of a new data directory", secret=True,
        **_AT_START,
    )  # fmt: skip
    role: tuple[str, ...] = setting(
        Lines("a name and its rules, as in ACL LIST"), (), SECURITY, "a role of a new data directory", secret=True,
        **_AT_START,
    )  # fmt: skip
    acllog_max_len: int = setting(Integer(0, INT64_MAX), 128, SECURITY, "entries that ACL LOG keeps", unit="entries")

    shutdown_timeout: int = setting(
        Integer(0), 10, PROCESS, "always 10", unit="seconds",
        inert="a stop waits for what is under way; how long is the supervisor's to say (TimeoutStopSec)",
    )
    pidfile: str = setting(Text("a path"), "", PROCESS, "file that holds the process id while running", **_AT_START)
    hz: int = setting(
        Integer(1, 500, clamp=True), 10, PROCESS, "answered to tools; housekeeping runs ten times a second",
        unit="per second",
    )  # fmt: skip
    daemonize: bool = setting(
        YesNo(), False, PROCESS, "always no", **_AT_START,
        only="the server stays in the foreground; let systemd, a container or '&' run it in the background",
    )  # fmt: skip
    supervised: str = setting(
        OneOf(("no", "systemd", "auto")), "auto", PROCESS, "tell systemd (NOTIFY_SOCKET) when clients are let in",
        **_AT_START,
    )  # fmt: skip
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
