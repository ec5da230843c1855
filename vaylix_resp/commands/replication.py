"""Who leads, in the words of Redis's replication: ROLE, REPLICAOF, FAILOVER, READONLY and what is not offered.

The leader is the master, every other node a replica of it. Who leads is decided by election and by hand-over; no
command makes a node follow another one.
Promise: a node calls itself master only while a majority is behind it.
Not here: WAIT and WAITAOF (`waiting`), the membership (`cluster_members`), INFO replication (`server.info_cluster`).
Source: redis-server 7.0.15; Raft thesis section 3.10 (leadership transfer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..errors import SYNTAX, CommandError, error
from ..resp.reply import OK, Reply, Simple
from .arguments import integer, matches, parse_int
from .cluster import DISABLED
from .cluster_facts import Facts, emulates, facts_for, show
from .cluster_view import Address
from .ports import Client
from .spec import Argv, Kind, command

ALREADY: Final = Simple("OK Already connected to specified master")
NO_REPLICATION: Final = (
    "ERR replication of single servers is not offered; nodes become a cluster with raft-port and CLUSTER JOIN"
)
FOLLOWS: Final = (
    "ERR this node follows the leader of a Raft cluster: to change who leads, send FAILOVER TO host port to "
)


@command(
    "ROLE", arity=1, kind=Kind.SESSION, flags="noscript loading stale fast", group="server", since="2.8.12",
    categories="admin dangerous",
)  # fmt: skip
def role(client: Client, argv: Argv) -> Reply:
    """What part this node plays: master with its replicas, or slave with its master and how far it is."""
    if client.sentinel:
        return [b"sentinel", [client.server.settings.sentinel_master_name.encode("utf-8", "surrogateescape")]]
    facts = facts_for(client)
    if not facts.leads:
        return _follower(client, facts)
    replicas = [
        [member.client.host.encode(), b"%d" % member.client.port, b"%d" % (member.match or 0)]
        for member in facts.others
        if member.client is not None and not member.down
    ]
    return [b"master", facts.last, replicas]


def _follower(client: Client, facts: Facts) -> list[Any]:
    """Without a known leader there is no master to name, and the link is being made."""
    leader = facts.leader
    if leader is None:
        return [b"slave", b"", 0, b"connect", facts.applied]
    where = leader.client or Address("", 0)
    view = client.server.cluster
    link = b"sync" if view is not None and view.staleness_s is None else b"connected"
    return [b"slave", where.host.encode(), where.port, link, facts.applied]


# Following.


def _become_replica(client: Client, argv: Argv) -> Reply:
    settings = client.server.settings
    if emulates(settings):
        raise error(f"{argv[0].decode('ascii').upper()} not allowed in cluster mode.")
    facts = facts_for(client)
    if matches(argv[1], b"NO") and matches(argv[2], b"ONE"):
        if facts.leads:
            return OK  # what it is already
        raise CommandError(FOLLOWS + _leader_of(facts))
    port = parse_int(argv[2])
    if port is None or not 0 <= port <= 65535:
        raise error("Invalid master port")
    if client.server.cluster is None:
        raise CommandError(NO_REPLICATION)
    leader = facts.leader
    if not facts.leads and leader is not None and leader.client == Address(argv[1].decode("utf-8", "replace"), port):
        return ALREADY
    raise CommandError(FOLLOWS + _leader_of(facts))


def _leader_of(facts: Facts) -> str:
    address = show(facts.leader.client) if facts.leader is not None else ""
    return address or "the leader"


_REPLICA_FLAGS: Final = "admin noscript stale no_async_loading"
_REPLICA_SYNTAX: Final = "<host port | NO ONE>"


@command(
    "REPLICAOF", arity=3, kind=Kind.SESSION, flags=_REPLICA_FLAGS, group="server", since="5.0.0",
    syntax=_REPLICA_SYNTAX,
)  # fmt: skip
def replicaof(client: Client, argv: Argv) -> Reply:
    """Refused unless it asks for what is so already: in a cluster an election decides."""
    return _become_replica(client, argv)


@command(
    "SLAVEOF", arity=3, kind=Kind.SESSION, flags=_REPLICA_FLAGS, group="server", syntax=_REPLICA_SYNTAX,
    doc_flags=("deprecated",), deprecated_since="5.0.0", replaced_by="`REPLICAOF`",
)  # fmt: skip
def slaveof(client: Client, argv: Argv) -> Reply:
    """The old name of REPLICAOF."""
    return _become_replica(client, argv)


_SYNC_FLAGS: Final = "admin noscript no_async_loading no_multi"


@command("SYNC", arity=1, kind=Kind.SESSION, flags=_SYNC_FLAGS, group="server", complexity="")
def sync(client: Client, argv: Argv) -> Reply:
    """Refused: data does not leave this server as an RDB stream."""
    raise error(
        "SYNC is not offered: no RDB stream leaves this server; 'vaylix export --rdb FILE' on its machine writes such "
        "a file, and SCAN with DUMP copies the keys from anywhere"
    )


@command(
    "PSYNC", arity=-3, kind=Kind.SESSION, flags=_SYNC_FLAGS, group="server", since="2.8.0", complexity="",
    syntax="replicationid offset",
)  # fmt: skip
def psync(client: Client, argv: Argv) -> Reply:
    """Refused: a Redis replica cannot follow this server."""
    raise error(
        "PSYNC is not offered: a Redis replica cannot follow this server; 'vaylix export --rdb FILE' on its machine "
        "writes a file that redis-server loads"
    )


# Handing over.


@dataclass(slots=True)
class _Failover:
    """What FAILOVER asks for."""

    to: Address | None = None
    abort: bool = False
    force: bool = False
    timeout_ms: int = 0


def _failover_options(argv: Argv) -> _Failover:
    asked, at, seen = _Failover(), 1, set()
    while at < len(argv):
        word, left = argv[at].upper(), len(argv) - at - 1
        taken = {b"TO": 2, b"TIMEOUT": 1, b"FORCE": 0}.get(word)
        if taken is None or taken > left or word in seen:
            raise CommandError(SYNTAX)
        if word == b"TIMEOUT":
            asked.timeout_ms = integer(argv[at + 1])
            if asked.timeout_ms <= 0:
                raise error("FAILOVER timeout must be greater than 0")
        elif word == b"TO":
            asked.to = Address(argv[at + 1].decode("utf-8", "replace"), integer(argv[at + 2]))
        else:
            asked.force = True
        seen.add(word)
        at += 1 + taken
    return asked


@command(
    "FAILOVER", arity=-1, kind=Kind.SESSION, flags="admin noscript stale", group="server", since="6.2.0",
    syntax="[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
)  # fmt: skip
def failover(client: Client, argv: Argv) -> Reply:
    """Begin to hand the leadership over; INFO replication tells whether it is still going on."""
    view = client.server.cluster
    if len(argv) == 2 and matches(argv[1], b"ABORT"):
        if view is None or not view.abort_transfer():
            raise error("No failover in progress.")
        return OK
    asked = _failover_options(argv)
    facts = facts_for(client)
    if not facts.leads:
        raise error("FAILOVER is not valid when server is a replica.")
    if view is None or not any(member.voter for member in facts.others):
        raise error("FAILOVER requires connected replicas.")
    if view.transferring:
        raise error("FAILOVER already in progress.")
    if asked.force:
        raise error("FAILOVER FORCE is not offered: a node that lacks acknowledged writes must not lead")
    target = None
    if asked.to is not None:
        target = next((member for member in facts.others if member.voter and member.client == asked.to), None)
        if target is None:
            raise error("FAILOVER target HOST and PORT is not a replica.")
    begun = view.transfer(target.id if target is not None else None, asked.timeout_ms / 1000)
    if begun.done and isinstance(begun.reply, CommandError):
        raise begun.reply
    return OK


# What a connection takes.


def _cluster_word(client: Client) -> None:
    """READONLY and its like make sense in a cluster, and only there."""
    if emulates(client.server.settings):
        client.follows_moved = True
    elif client.server.cluster is None:
        raise CommandError(DISABLED)


@command("READONLY", arity=1, kind=Kind.SESSION, flags="loading stale fast", group="cluster", since="3.0.0",
         categories="connection")  # fmt: skip
def readonly(client: Client, argv: Argv) -> Reply:
    """Let a follower answer this client's reads from what it has, if that is not older than replica-max-staleness."""
    _cluster_word(client)
    client.readonly = True
    return OK


@command("READWRITE", arity=1, kind=Kind.SESSION, flags="loading stale fast", group="cluster", since="3.0.0",
         categories="connection")  # fmt: skip
def readwrite(client: Client, argv: Argv) -> Reply:
    """Take back READONLY: each read sees all that was acknowledged before it, on every node."""
    _cluster_word(client)
    client.readonly = False
    return OK


@command("ASKING", arity=1, kind=Kind.SESSION, flags="fast", group="cluster", since="3.0.0", categories="connection")
def asking(client: Client, argv: Argv) -> Reply:
    """What cluster clients send behind -ASK, which this server does not give."""
    if not emulates(client.server.settings):
        raise CommandError(DISABLED)
    client.follows_moved = True
    return OK
