"""CLUSTER's replies, as cluster clients read them: one shard with all slots, its master the leader.

Promise: a master is named only while a majority is behind it. Not here: who may ask (`cluster`).
Source: redis-server 7.0.15 in cluster mode; `slots`, `shards` and `nodes` have its shapes.
"""

from __future__ import annotations

from typing import Any, Final

from ..config import Settings
from .cluster_facts import Facts, is_ip
from .cluster_view import Address, Member
from .redirection import SLOTS

LAST_SLOT: Final = SLOTS - 1
_UNKNOWN: Final = Address("", 0)


def slots(facts: Facts) -> list[Any]:
    """One range: the leader first, then whoever can serve reads. `facts.leader` is known."""
    assert facts.leader is not None
    nodes = [facts.leader, *(member for member in facts.followers if member.client is not None and _serves(member))]
    return [[0, LAST_SLOT, *map(_slots_node, nodes)]]


def _slots_node(member: Member) -> list[Any]:
    where = member.client or _UNKNOWN
    return [where.host.encode(), where.port, member.hex_id.encode(), {}]


def _serves(member: Member) -> bool:
    return not member.down and member.state != "snapshot"


def shards(facts: Facts, settings: Settings) -> list[Any]:
    """`facts.leader` is known."""
    assert facts.leader is not None
    port = b"port" if settings.port else b"tls-port"
    nodes = [facts.leader, *(member for member in facts.followers if member.client is not None)]
    return [{b"slots": [0, LAST_SLOT], b"nodes": [_shards_node(facts, member, port) for member in nodes]}]


def _shards_node(facts: Facts, member: Member, port: bytes) -> dict[bytes, Any]:
    where = member.client or _UNKNOWN
    found: dict[bytes, Any] = {
        b"id": member.hex_id.encode(),
        port: where.port,
        b"ip": where.host.encode() if is_ip(where.host) else b"",
        b"endpoint": where.host.encode(),
    }
    if where.host and not is_ip(where.host):
        found[b"hostname"] = where.host.encode()
    found[b"role"] = b"master" if facts.leader is not None and member.id == facts.leader.id else b"replica"
    found[b"replication-offset"] = _offset(facts, member)
    found[b"health"] = b"fail" if member.down else b"loading" if member.state == "snapshot" else b"online"
    return found


def _offset(facts: Facts, member: Member) -> int:
    if member.id == facts.id:
        return facts.applied
    return member.match if member.match is not None else 0


def nodes(facts: Facts, members: tuple[Member, ...], now_ms: int) -> bytes:
    """A line for each of `members`."""
    return "".join(node_line(facts, member, now_ms) + "\n" for member in members).encode()


def node_line(facts: Facts, member: Member, now_ms: int) -> str:
    leader = facts.leader
    master = leader is not None and member.id == leader.id
    flags = ["myself"] if member.id == facts.id else []
    flags.append("master" if master else "slave")
    if member.down:
        flags.append("fail")
    if member.client is None:
        flags.append("noaddr")
    where = member.client or _UNKNOWN
    of = leader.hex_id if leader is not None and not master else "-"
    silent = member.last_contact_s
    heard = 0 if silent is None or member.id == facts.id else now_ms - round(silent * 1000)
    link = "disconnected" if member.state == "unreachable" else "connected"
    name = "" if not where.host or is_ip(where.host) else f",{where.host}"
    line = f"{member.hex_id} {where.host}:{where.port}@{member.raft.port}{name} {','.join(flags)} {of} 0 {heard}"
    return f"{line} {facts.term} {link}" + (f" 0-{LAST_SLOT}" if master else "")


def info(facts: Facts) -> bytes:
    """`fail` when nobody is known to lead: nothing can be written through this node then."""
    served = SLOTS if facts.leader is not None else 0
    fields = {
        "cluster_state": "ok" if served else "fail",
        "cluster_slots_assigned": SLOTS,
        "cluster_slots_ok": served,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": SLOTS - served,
        "cluster_known_nodes": len(facts.members),
        "cluster_size": 1,
        "cluster_current_epoch": facts.term,
        "cluster_my_epoch": facts.term,
        "cluster_stats_messages_sent": 0,
        "cluster_stats_messages_received": 0,
        "total_cluster_links_buffer_limit_exceeded": 0,
    }
    return "".join(f"{name}:{value}\r\n" for name, value in fields.items()).encode()
