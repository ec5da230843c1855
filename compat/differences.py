"""Every way in which we are known to answer otherwise than Redis: the one list, for people and for
machines.

compat/COMMANDS.md is written from it, and each rule of the differential run (rules.py) names the entry
that allows it. What is not here must be the same to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    TOLERANCE = "compared with a tolerance"  # the reply depends on time, chance or the machine; we mean the same
    PEER = "peer is older"  # redis-server 7.0.15 is the peer, Redis 7.2 the target
    MORE = "and more"  # everything of Redis is the same; the text says what comes on top
    DIFFERENT = "different"  # we answer otherwise, on purpose


@dataclass(frozen=True, slots=True)
class Difference:
    """`commands` are lower-case names, subcommands as container|sub, none for what is no command's own.

    The text says how, for the table.
    """

    kind: Kind
    commands: tuple[str, ...]
    text: str


DIFFERENCES: dict[str, Difference] = {
    "time-left": Difference(
        Kind.TOLERANCE,
        ("ttl", "pttl", "expiretime", "pexpiretime"),
        "times may differ by 2 seconds: the two servers read the request at different moments",
    ),
    "key-order": Difference(Kind.TOLERANCE, ("keys", "scan"), "the order of keys is free; the set must agree"),
    "config-order": Difference(Kind.TOLERANCE, ("config|get",), "the order of the directives is free"),
    "pattern-order": Difference(
        Kind.TOLERANCE,
        ("psubscribe",),
        "a message that matches several patterns arrives once for each, in any order",
    ),
    "random-key": Difference(Kind.TOLERANCE, ("randomkey",), "each server must name a key that exists there"),
    "clock": Difference(Kind.TOLERANCE, ("time", "lastsave"), "the shape is compared, not the time"),
    "idle-time": Difference(
        Kind.DIFFERENT, ("object|idletime",), "an error unless `maxmemory-policy` is an lru one: only then is it noted"
    ),
    "encoding": Difference(
        Kind.DIFFERENT,
        ("object|encoding",),
        "int, embstr or raw follows from the value alone; in Redis also from how it came about, as by APPEND",
    ),
    "immutable-directives": Difference(
        Kind.DIFFERENT, ("config|set",), "some directives that Redis changes at run time are fixed at start here"
    ),
    "config-secrets": Difference(
        Kind.DIFFERENT,
        ("config|get",),
        "(redacted) in place of a password or passphrase; else whoever may read settings could become another user",
    ),
    "refcount": Difference(
        Kind.TOLERANCE,
        ("object|refcount",),
        "an integer; how often a value is shared inside is nobody's business",
    ),
    "client-identity": Difference(
        Kind.TOLERANCE,
        ("client|id", "client|info", "client|list"),
        "ids, addresses and sizes are our own; every field of Redis must be there",
    ),
    "hello": Difference(
        Kind.TOLERANCE, ("hello",), "the fields are compared; id is our own, version is that of the server"
    ),
    "auth-in-transaction": Difference(
        Kind.DIFFERENT,
        ("auth",),
        "inside MULTI an error, unless these credentials have been verified before: verifying takes a while",
    ),
    "acl-getuser": Difference(
        Kind.MORE, ("acl|getuser",), "databases, roles and expire stand among the fields; passwords are Argon2id"
    ),
    "acl-setuser": Difference(
        Kind.MORE,
        ("acl|setuser",),
        "role=, resetroles, db=, expireat, persist; refused if nobody could change users any more, or inside MULTI",
    ),
    "acl-in-transaction": Difference(
        Kind.DIFFERENT, ("acl|deluser", "acl|load", "acl|save"), "an error inside MULTI: the reply has to be waited for"
    ),
    "lolwut": Difference(Kind.DIFFERENT, ("lolwut",), "text of our own"),
    "memory": Difference(
        Kind.DIFFERENT,
        ("memory|usage", "memory|stats", "memory|doctor", "memory|malloc-stats"),
        "figures of our own memory, of the same meaning",
    ),
    "dump-format": Difference(
        Kind.DIFFERENT,
        ("dump",),
        "a payload of RDB version 10, which Redis 7.0 and later take; a value of more than 4 MiB is not compressed",
    ),
    "command-table": Difference(
        Kind.DIFFERENT,
        ("command|count", "command|list", "command|docs", "command"),
        "the commands that we have",
    ),
    "role-offset": Difference(Kind.DIFFERENT, ("role",), "the offset counts log entries, not bytes"),
    "replication": Difference(
        Kind.DIFFERENT,
        ("replicaof", "slaveof", "sync", "psync", "failover"),
        "who leads is decided by election: FAILOVER hands over as in Redis, but never with FORCE; REPLICAOF succeeds"
        " where it asks for what is so, everything else is refused with a clear error",
    ),
    "acknowledgement": Difference(
        Kind.DIFFERENT,
        ("wait", "waitaof"),
        "in a cluster a reply has already meant a majority of disks, which is counted at once; for more than that a"
        " node that does not lead names the leader",
    ),
    "one-shard": Difference(
        Kind.DIFFERENT,
        (
            "cluster|slots",
            "cluster|shards",
            "cluster|nodes",
            "cluster|info",
            "cluster|replicas",
            "cluster|slaves",
            "cluster|myid",
            "cluster|myshardid",
            "cluster|keyslot",
            "cluster|countkeysinslot",
            "cluster|getkeysinslot",
        ),  # fmt: skip
        "with cluster-enabled emulate: one shard with all slots, its nodes those of the Raft group; -CLUSTERDOWN while"
        " no majority is behind a leader",
    ),
    "no-resharding": Difference(
        Kind.DIFFERENT,
        ("cluster|meet", "cluster|forget", "cluster|failover"),
        "refused, with the words that do it here: CLUSTER JOIN, CLUSTER REMOVE, FAILOVER",
    ),
    "cluster-help": Difference(Kind.DIFFERENT, ("cluster|help",), "names our own subcommands"),
    "stale-reads": Difference(
        Kind.DIFFERENT,
        ("readonly", "readwrite"),
        "in a cluster also without emulation: reads on a follower may be as old as replica-max-staleness, then they ask"
        " the leader again",
    ),
    "snapshots": Difference(
        Kind.DIFFERENT,
        ("save", "bgsave", "bgrewriteaof"),
        "the replies are Redis's; each writes a snapshot from the log in a child process, no RDB file and no fork",
    ),
    "shutdown": Difference(
        Kind.DIFFERENT, ("shutdown",), "nothing is lost with SAVE or NOSAVE: the log has every acknowledged write"
    ),
    "debug": Difference(
        Kind.DIFFERENT,
        ("debug",),
        "a part of the subcommands, named by DEBUG HELP; DIGEST is a digest of our own, OBJECT shows the version",
    ),
    "info": Difference(
        Kind.DIFFERENT, ("info",), "the fields that tools read, with our values, and fields of our own (vaylix_version)"
    ),
    "help-text": Difference(Kind.MORE, ("object|help", "client|help"), "also names our own subcommands"),
    "module-help": Difference(Kind.DIFFERENT, ("module|help",), "there are no modules to load"),
    "latency-text": Difference(Kind.DIFFERENT, ("latency|doctor", "latency|graph"), "text of our own"),
    "latency-events": Difference(
        Kind.DIFFERENT, ("latency|latest", "latency|history"),
        "events of this server: fsync, commit, apply, snapshot and loop beside command, fast-command, expire-cycle and"
        " eviction-cycle; nothing forks, and there is no append only file",
    ),
    "latency-figures": Difference(Kind.TOLERANCE, ("latency|histogram", "slowlog|get"), "times are our own"),
    "monitor": Difference(Kind.TOLERANCE, ("monitor",), "times and addresses are our own"),
    "conditional-set": Difference(
        Kind.MORE, ("set",), "also IFEQ, IFNE, IFDEQ, IFDNE as in Redis 8.4, and IF VERSION n"
    ),
    "bitfield-growth": Difference(
        Kind.DIFFERENT,
        ("bitfield",),
        "when OVERFLOW FAIL leaves nothing but zero bytes behind the string, that is a write for WATCH and for"
        " tracking clients; in Redis it goes unnoticed",
    ),
    "restore-types": Difference(
        Kind.DIFFERENT,
        ("restore",),
        "takes payloads of Redis up to 8.4 (RDB version 12) and of Valkey up to 9 (80); that of any other type"
        " than a string is refused with `ERR Bad data format: this is a list, ...`",
    ),
    "restore-overflow": Difference(
        Kind.DIFFERENT,
        ("restore",),
        "a time to live beyond the range of the clock is refused; in Redis it wraps around",
    ),
    "config-names": Difference(
        Kind.MORE, ("config|rewrite",), "also our own directives; what Redis has and we do not is not answered by GET"
    ),
    "event-classes": Difference(
        Kind.MORE,
        ("config|get", "config|rewrite"),
        "`notify-keyspace-events` keeps the n beside an A, which Redis enables and does not show",
    ),
    "hello-order": Difference(
        Kind.PEER,
        ("hello",),
        "all options are looked at before the password is, as in 7.2; redis-server 7.0.15 takes one after the other",
    ),
    "durability": Difference(
        Kind.DIFFERENT,
        (),
        "A write is answered after it is on disk (`appendfsync always`, the default). When that fails, the"
        " writers of the batch get `-INDETERMINATE`, and later writes `-MISCONF`; reads go on.",
    ),
    "eviction": Difference(
        Kind.DIFFERENT,
        (),
        "`maxmemory` is compared with the memory of the keys, not of the process. Evictions are entries of the log, so"
        " a little more than `maxmemory` may be in use until they are applied; `docs/memory.md`.",
    ),
    "limits": Difference(
        Kind.DIFFERENT,
        (),
        "Bounds that Redis leaves off or wide are on from the start: `client-query-buffer-limit`,"
        " `client-output-buffer-limit` for normal clients, `maxmemory-clients`.",
    ),
    "types": Difference(
        Kind.DIFFERENT,
        (),
        "Lists, hashes, sets, sorted sets, streams, scripts, functions and modules are not in this version; their"
        " commands are unknown.",
    ),
    "expiry": Difference(
        Kind.DIFFERENT,
        (),
        "An expired key is removed by an entry of the log, so every restart and copy agrees on it; until then"
        " reads already hide it.",
    ),
    "zero-byte": Difference(
        Kind.DIFFERENT,
        (),
        "An error that quotes a word of the request shows all of it; in Redis it ends at a zero byte.",
    ),
    "new-in-7.2": Difference(
        Kind.PEER,
        ("client|setinfo", "client|no-touch", "waitaof", "cluster|myshardid"),
        "new in Redis 7.2; redis-server 7.0.15 does not know it, so it is tested apart",
    ),
}


def of_command(name: str) -> list[Difference]:
    return [difference for difference in DIFFERENCES.values() if name in difference.commands]
