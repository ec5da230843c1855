"""Redis directives that are not in our table: those that are passed over, and those that are refused.

Not here: what becomes of them (`config`); directives that this server has (`directives`).
"""

from __future__ import annotations

from collections.abc import Mapping

# Tuning of Redis's own internals. A stock redis.conf names them; they change nothing here and promise nothing, so
# they are accepted with a warning. CONFIG does not know them.
IGNORED = frozenset(
    """
    acl-pubsub-default active-defrag-cycle-max active-defrag-cycle-min active-defrag-ignore-bytes
    active-defrag-max-scan-fields active-defrag-threshold-lower active-defrag-threshold-upper active-expire-effort
    activedefrag activerehashing aof-load-truncated aof-rewrite-incremental-fsync aof-timestamp-enabled
    aof-use-rdb-preamble appenddirname appendfilename auto-aof-rewrite-min-size auto-aof-rewrite-percentage
    busy-reply-threshold crash-log-enabled crash-memcheck-enabled disable-thp dynamic-hz enable-module-command
    enable-protected-configs hash-max-listpack-entries hash-max-listpack-value hash-max-ziplist-entries
    hash-max-ziplist-value hll-sparse-max-bytes ignore-warnings io-threads-do-reads jemalloc-bg-thread
    lazyfree-lazy-eviction lazyfree-lazy-expire lazyfree-lazy-server-del lazyfree-lazy-user-del
    lazyfree-lazy-user-flush list-compress-depth list-max-listpack-size
    list-max-ziplist-size locale-collate lua-time-limit maxmemory-eviction-tenacity
    no-appendfsync-on-rewrite oom-score-adj oom-score-adj-values proc-title-template rdb-del-sync-files
    rdb-save-incremental-fsync rdbchecksum rdbcompression repl-backlog-size repl-backlog-ttl
    repl-disable-tcp-nodelay repl-diskless-load repl-diskless-sync repl-diskless-sync-delay
    repl-diskless-sync-max-replicas repl-diskless-sync-period replica-lazy-flush replica-priority replica-read-only
    replica-serve-stale-data sanitize-dump-payload set-max-intset-entries set-max-listpack-entries
    set-max-listpack-value slave-lazy-flush slave-priority slave-read-only slave-serve-stale-data
    stream-node-max-bytes stream-node-max-entries tls-dh-params-file zset-max-listpack-entries zset-max-listpack-value
    zset-max-ziplist-entries zset-max-ziplist-value
    """.split()
)

# Redis directives that promise something this server does not do: refused, with the way out.
_REPLICAOF = "nodes with the same data are a cluster, see cluster-peers; 'vaylix import --from' copies a redis-server"
REFUSED: Mapping[str, str] = {
    "loadmodule": "modules cannot be loaded; remove the line",
    "masterauth": "nodes of a cluster know each other by cluster-secret or tls-cluster; remove the line",
    "rename-command": "commands cannot be renamed; remove the line and protect the port with requirepass",
    "replicaof": _REPLICAOF,
    "slaveof": _REPLICAOF,
    "tls-client-cert-file": "nodes of a cluster show each other tls-cluster-cert-file; remove the line",
    "tls-client-key-file": "nodes of a cluster show each other tls-cluster-cert-file; remove the line",
    "tls-replication": "TLS between the nodes of a cluster is tls-cluster; remove the line",
}
