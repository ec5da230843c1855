"""Who is who, said the same way for a cluster and for a server that stands alone, which is its own only member.

Promise: `leader` is None unless a quorum has been heard within one election timeout.
Not here: replies made of it (`cluster`, `sentinel`, `raft`, `replication`), how it is known (`engine.replication`).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final

from ..config import Settings
from ..config_cluster import host_and_port, host_of, split_address
from ..config_values import BadValue
from ..errors import CommandError, error, printable
from .cluster_view import Address, ClusterView, Member, Role
from .ports import Client, Server

EMULATE: Final = "emulate"
NO_CLUSTER: Final = "NOCLUSTER No Raft Cluster: this server was started without raft-port and cluster-peers"
NO_LEADER: Final = "CLUSTERDOWN No raft leader: this node has not heard from a majority lately; ask another one"
_HEX: Final = re.compile(r"[0-9a-fA-F]{40}", re.ASCII)
_DECIMAL: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_NOWHERE: Final = Address("", 0)
SILENCE_S_MIN: Final = 2.0  # peers say something to each other more often than that


@dataclass(frozen=True, slots=True)
class Facts:
    """As this node sees them now."""

    id: int
    name: str
    cluster_id: str  # 32 hex digits
    role: Role
    term: int
    leader: Member | None
    members: tuple[Member, ...]
    last: int
    committed: int
    applied: int

    @property
    def hex_id(self) -> str:
        return f"{self.id:040x}"

    @property
    def leads(self) -> bool:
        """And a majority agrees."""
        return self.leader is not None and self.leader.id == self.id

    @property
    def me(self) -> Member | None:
        """None: this node has been removed from the cluster, or has just joined it and does not know more yet."""
        return next((member for member in self.members if member.id == self.id), None)

    @property
    def others(self) -> tuple[Member, ...]:
        """All but this node."""
        return tuple(member for member in self.members if member.id != self.id)

    @property
    def followers(self) -> tuple[Member, ...]:
        """All but the leader; without a known leader, all."""
        leader = self.leader
        return tuple(member for member in self.members if leader is None or member.id != leader.id)

    @property
    def voters(self) -> int:
        return sum(member.voter for member in self.members)

    @property
    def quorum(self) -> int:
        return self.voters // 2 + 1


def facts_for(client: Client) -> Facts:
    """What this client may be told; it matters who asks because a server alone is where the client has found it."""
    server = client.server
    view = server.cluster
    if view is None:
        return _alone(server, client.laddr)
    return Facts(
        view.id, view.name, view.cluster_id, view.role, view.term, view.leader, members_of(server),
        view.last, view.committed, view.applied,
    )  # fmt: skip


def members_of(server: Server) -> tuple[Member, ...]:
    """Of the cluster; one that has not been heard for long is unreachable, whoever feeds it."""
    assert server.cluster is not None
    long_s = max(SILENCE_S_MIN, 2 * server.settings.election_timeout / 1000)
    return tuple(
        replace(member, state="unreachable") if (member.last_contact_s or 0.0) > long_s else member
        for member in server.cluster.members
    )


def _alone(server: Server, laddr: str) -> Facts:
    node, settings = server.node, server.settings
    mine = advertised(settings)
    if mine is None:
        host = laddr.rpartition(":")[0].strip("[]")
        mine = Address("" if host.startswith("/") or host == "?" else host, settings.port or settings.tls_port)
    # Nobody shares its log, so an id that lasts until the next start will do.
    last, understands = node.last_sequence, server.machine.world.understands
    me = Member(int(server.run_id, 16), settings.node_id, mine, _NOWHERE, True, "leader", last, 0, 0.0, understands)
    return Facts(
        me.id, me.name, "0" * 32, "leader", node.term, me, (me,), node.last_sequence, node.committed, node.applied
    )


def advertised(settings: Settings) -> Address | None:
    """`advertise-addr`, with this server's port where it names none."""
    given = settings.advertise_addr
    if not given:
        return None
    try:
        return Address(*split_address(given))
    except BadValue:
        return Address(host_of(given), settings.port or settings.tls_port)


def emulates(settings: Settings) -> bool:
    """Whether cluster clients find a cluster here."""
    return settings.cluster_enabled == EMULATE


def mode(settings: Settings) -> str:
    """As HELLO and INFO name it."""
    return "cluster" if emulates(settings) else "standalone"


def leads(server: Server) -> bool:
    """Whether this node is what Redis calls the master."""
    view = server.cluster
    if view is None:
        return True
    leader = view.leader
    return leader is not None and leader.id == view.id


def show(address: Address | None) -> str:
    """host:port for people; "" when it is not known."""
    return host_and_port(address.host, address.port) if address is not None else ""


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def clustered(server: Server) -> ClusterView:
    """The view, or the error for a server that stands alone."""
    if server.cluster is None:
        raise CommandError(NO_CLUSTER)
    return server.cluster


def member_among(facts: Facts, word: bytes) -> Member | None:
    """By name, by id in decimal, or by the forty hex digits of CLUSTER NODES; None: there is no such node."""
    text = word.decode("utf-8", "replace")
    named = next((member for member in facts.members if text == member.name), None)
    if named is not None:
        return named
    number = int(text, 16) if _HEX.fullmatch(text) else int(text) if _DECIMAL.fullmatch(text) else 0
    return next((member for member in facts.members if number == member.id), None)


def member_named(facts: Facts, word: bytes) -> Member:
    """Raises CommandError for what is none."""
    member = member_among(facts, word)
    if member is None:
        raise error(f"Unknown node {printable(word)}")
    return member


def address_of(word: bytes) -> Address:
    """host:port, as a client has typed it."""
    try:
        return Address(*split_address(word.decode("ascii")))
    except (BadValue, UnicodeDecodeError):
        raise error(f"Invalid address '{printable(word)}': it has to be host:port, [::1]:port for IPv6") from None
