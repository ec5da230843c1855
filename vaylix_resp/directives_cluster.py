"""The directives of replication: who the nodes are, how they trust each other, what a write waits for.

The rows are part of the one table (`directives.Table`). A node that has neither `raft-port` nor `cluster-peers` is a
group of one that no other node can reach.
Units: milliseconds, as the timers of Raft have them; bytes.
Not here: kinds of values (`config_cluster`), how the directives have to fit together (`directives_cluster_rules`), what
is done with them (`peers`, `engine`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vaylix_resp.config_cluster import AddressList, Advertised, ClusterMode, NodeName, PeerAddress, PeerList
from vaylix_resp.config_values import Integer, Memory, OneOf, Text, YesNo
from vaylix_resp.config_words import Addresses
from vaylix_resp.directive import setting
from vaylix_resp.limits import GIB, MIB

CLUSTER: Final = "cluster"
_AT_START = {"locked": "immutable"}


@dataclass(slots=True, repr=False, eq=False)
class ClusterTable:
    """The rows, with their defaults."""

    node_id: str = setting(
        NodeName(), "", CLUSTER, "what this node is called; has to stand in cluster-peers", **_AT_START
    )
    raft_port: int = setting(
        Integer(0, 65535), 0, CLUSTER,
        "TCP port for other nodes; 0 = that of our own entry in cluster-peers, or none without one", **_AT_START,
    )  # fmt: skip
    raft_bind: tuple[str, ...] = setting(
        Addresses(), (), CLUSTER, "addresses to listen on for other nodes; empty = those of bind", **_AT_START
    )
    cluster_peers: tuple[PeerAddress, ...] = setting(
        PeerList(), (), CLUSTER,
        "all nodes of a new cluster, the same on each; it is founded when each has found every other", **_AT_START,
    )  # fmt: skip
    cluster_join: tuple[str, ...] = setting(
        AddressList(), (), CLUSTER,
        "raft ports of members: an empty node joins their cluster at its first start; later ones do not look at it",
        **_AT_START,
    )  # fmt: skip
    advertise_addr: str = setting(
        Advertised(), "", CLUSTER, "where clients find this node (MOVED, SENTINEL, CLUSTER); empty = bind and port",
        **_AT_START,
    )  # fmt: skip
    cluster_secret: str = setting(
        Text("a secret"), "", CLUSTER,
        "what nodes prove to each other that they know; without TLS it also keeps frames from being forged",
        secret=True, **_AT_START,
    )  # fmt: skip
    cluster_insecure: bool = setting(
        YesNo(), False, CLUSTER, "let everybody who reaches the raft port replace all data", **_AT_START
    )
    tls_cluster: bool = setting(
        YesNo(), False, CLUSTER, "mutual TLS between nodes; a certificate has to name its node", **_AT_START
    )
    tls_cluster_cert_file: str = setting(
        Text("a path"), "", CLUSTER, "the node's certificate, PEM; empty = tls-cert-file", **_AT_START,
        aliases=("tls-cluster-cert",),
    )  # fmt: skip
    tls_cluster_key_file: str = setting(
        Text("a path"), "", CLUSTER, "its key, PEM; empty = tls-key-file, or in the certificate's file", **_AT_START,
        aliases=("tls-cluster-key",),
    )  # fmt: skip
    tls_cluster_key_file_pass: str = setting(
        Text("a passphrase"), "", CLUSTER, "passphrase of an encrypted key", secret=True, **_AT_START
    )
    tls_cluster_ca_cert_file: str = setting(
        Text("a path"), "", CLUSTER, "CAs that sign nodes and nobody else, PEM; empty = tls-ca-cert-file", **_AT_START,
        aliases=("tls-cluster-ca", "tls-cluster-ca-cert"),
    )  # fmt: skip

    heartbeat_interval: int = setting(
        Integer(50, 10_000), 100, CLUSTER, "how often a leader is heard of", unit="milliseconds", **_AT_START
    )
    election_timeout: int = setting(
        Integer(250, 60_000), 1000, CLUSTER, "silence of the leader after which (up to twice as long) others vote",
        unit="milliseconds", **_AT_START,
    )  # fmt: skip
    write_ack_mode: str = setting(
        OneOf(("majority", "all", "local")), "majority", CLUSTER,
        "disks that have a write when it is acknowledged: of most voters, of all; local means majority",
    )  # fmt: skip
    follower_log_max: int = setting(
        Memory(MIB), GIB, CLUSTER,
        "log kept for a node that is away or slow; past it that node gets a snapshot instead", unit="bytes",
    )  # fmt: skip
    commit_timeout: int = setting(
        Integer(100, 3_600_000), 5000, CLUSTER, "a write that is not committed by then is answered INDETERMINATE",
        unit="milliseconds",
    )  # fmt: skip
    no_leader_timeout: int = setting(
        Integer(0, 60_000), 2000, CLUSTER, "how long a request waits for a leader to be there before it is refused",
        unit="milliseconds",
    )  # fmt: skip
    read_mode: str = setting(
        OneOf(("quorum", "lease")), "quorum", CLUSTER,
        "how a leader knows that it still is one; lease: faster, and wrong when a clock or process stops",
    )  # fmt: skip
    follower_writes: str = setting(
        OneOf(("forward", "redirect")), "forward", CLUSTER, "what a follower does with a write"
    )
    replica_max_staleness: int = setting(
        Integer(0, 3_600_000), 5000, CLUSTER, "oldest data that a follower shows to READONLY clients; 0 = none",
        unit="milliseconds",
    )  # fmt: skip
    cluster_version_max: int = setting(
        Integer(0, 1_000_000), 0, CLUSTER,
        "highest cluster version to come into force: holds new kinds of entries back; 0 = all that this one has",
    )  # fmt: skip
    digest_interval: int = setting(
        Integer(0, 86_400_000), 5000, CLUSTER,
        "time between two comparisons of a slice of the nodes' states; 0 = none", unit="milliseconds",
    )  # fmt: skip
    cluster_enabled: str = setting(
        ClusterMode(), "no", CLUSTER, "emulate: cluster clients find one shard with all slots, and are sent MOVED",
        **_AT_START,
    )  # fmt: skip
    sentinel_master_name: str = setting(
        Text("a name"), "mymaster", CLUSTER, "what Sentinel clients call this cluster", **_AT_START
    )
    sentinel_port: int = setting(
        Integer(0, 65535), 0, CLUSTER, "a further port for clients that look for Sentinels; 0 = none", **_AT_START
    )
