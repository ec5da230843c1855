"""What the directives of replication say together, and what no one of them can see alone.

Promise: a combination that would let strangers into the log is refused at the start, with the way out.
Not here: the rows (`directives_cluster`), who calls this (`config`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from vaylix_resp.config_cluster import PeerAddress, is_loopback
from vaylix_resp.directives import Table

SECRET_CHARS_MIN: Final = 16  # whoever hears a handshake can try secrets at leisure
HEARTBEATS_PER_ELECTION: Final = 5  # four lost heartbeats are not an election
# A reply needs the write applied, and only what is committed is applied: so nothing can be answered before a majority.
ACK_MODE_WARNINGS: Final[Mapping[str, str]] = {
    "local": "write-ack-mode local means majority here: nothing is acknowledged that a failover could lose",
    "all": "write-ack-mode is all: while one voter is away, writes are answered INDETERMINATE after commit-timeout",
}


def own_peer(table: Table) -> PeerAddress | None:
    """Our entry in cluster-peers."""
    return next((peer for peer in table.cluster_peers if peer.name == table.node_id), None)


def raft_port(table: Table) -> int:
    """The port to listen on for other nodes; 0: none."""
    mine = own_peer(table)
    return table.raft_port or (mine.port if mine is not None else 0)


def raft_hosts(table: Table) -> tuple[str, ...]:
    return table.raft_bind or table.bind


def faults(table: Table) -> Iterator[str]:
    """What is wrong with these directives together, a line each with the way out."""
    if table.cluster_peers and not table.node_id:
        yield "cluster-peers needs node-id: which of the nodes is this one?"
    elif table.cluster_peers and own_peer(table) is None:
        names = ", ".join(peer.name for peer in table.cluster_peers)
        yield f"node-id {table.node_id} is not in cluster-peers ({names}); the list has every node, this one too"
    port = raft_port(table)
    if table.cluster_join and not port:
        yield "cluster-join needs raft-port: where do the other nodes find this one?"
    ports = [("port", table.port), ("tls-port", table.tls_port), ("sentinel-port", table.sentinel_port)]
    ports.append(("raft-port", port))
    for at, (name, number) in enumerate(ports):
        for other, taken in ports[:at]:
            if number and number == taken and (other, name) != ("port", "tls-port"):  # those are checked on their own
                yield f"{other} and {name} are both {number}; give each a port of its own"
    if table.election_timeout < HEARTBEATS_PER_ELECTION * table.heartbeat_interval:
        yield (
            f"election-timeout {table.election_timeout} is less than {HEARTBEATS_PER_ELECTION} times "
            f"heartbeat-interval {table.heartbeat_interval}: a lost heartbeat would be an election"
        )
    yield from _faults_of_trust(table, port)


def _faults_of_trust(table: Table, port: int) -> Iterator[str]:
    secret = table.cluster_secret
    if secret and len(secret) < SECRET_CHARS_MIN:
        yield f"cluster-secret is shorter than {SECRET_CHARS_MIN} characters; make one: openssl rand -hex 32"
    if table.tls_cluster:
        if not (table.tls_cluster_cert_file or table.tls_cert_file):
            yield "tls-cluster needs tls-cluster-cert-file (or tls-cert-file)"
        if not (table.tls_cluster_ca_cert_file or table.tls_ca_cert_file):
            yield "tls-cluster needs tls-cluster-ca-cert-file (or tls-ca-cert-file): who signs the nodes?"
    elif port and not secret and not table.cluster_insecure:
        if not all(map(is_loopback, raft_hosts(table))):
            yield (
                "nodes would listen to strangers, who could replace all data: set cluster-secret (openssl rand -hex 32)"
                " or tls-cluster yes, or raft-bind 127.0.0.1, or cluster-insecure yes"
            )


def warnings(table: Table) -> Iterator[str]:
    """What is allowed and costs something."""
    if table.cluster_insecure and not table.cluster_secret and not table.tls_cluster and raft_port(table):
        yield "cluster-insecure is yes: whoever reaches the raft port can replace all data"
    if table.write_ack_mode in ACK_MODE_WARNINGS:
        yield ACK_MODE_WARNINGS[table.write_ack_mode]
