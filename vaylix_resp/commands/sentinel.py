"""SENTINEL: every node answers like a Sentinel that watches this cluster, under the name `sentinel-master-name`.

Promise: the master is named only while a majority is behind it. A node that does not know says so: no address, and the
flags s_down and o_down, upon which clients ask the next one. (Real Sentinels go on naming the old master.)
Not here: the door that answers nothing else (`server.sentinel_door`), +switch-master (`server.switching`).
Source: Redis's Sentinel client specification; replies of redis-server 7.0.15 in Sentinel mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import CommandError, error
from ..glob import matcher
from ..resp.reply import NULL_ARRAY, OK, Reply, Simple
from .arguments import help_reply, integer, matches
from .cluster_facts import Facts, facts_for
from .cluster_members import hand_over
from .cluster_view import Address, Member
from .ports import Client
from .spec import Argv, Kind, command, container

NO_SUCH_MASTER: Final = "ERR No such master with that name"
NOT_CONFIGURED: Final = "this is no Sentinel whose watch could be changed: its master is the leader of the cluster"
_FLAGS: Final = "admin"
_NOWHERE: Final = Address("", 0)
DOWN_AFTER_MS: Final = 30_000  # Sentinel's default; clients only show it
FAILOVER_TIMEOUT_MS: Final = 180_000
_CONFIG: Final[Mapping[str, str]] = {
    "resolve-hostnames": "yes", "announce-hostnames": "yes", "announce-ip": "", "announce-port": "0",
    "sentinel-user": "", "sentinel-pass": "",
}  # fmt: skip

container("SENTINEL", group="sentinel", since="2.8.4", summary="A container for Sentinel commands.", flags="admin")


def master_name(client: Client) -> bytes:
    return client.server.settings.sentinel_master_name.encode("utf-8", "surrogateescape")


def _watched(client: Client, argv: Argv) -> Facts:
    if argv[2] != master_name(client):
        raise CommandError(NO_SUCH_MASTER)
    return facts_for(client)


def _common(name: bytes, where: Address, run_id: str, flags: str, contact_s: float | None) -> dict[bytes, bytes]:
    """The fields that every kind of instance begins with; all values are text, as Sentinel's are."""
    since = b"%d" % round((contact_s or 0.0) * 1000)
    found = {
        b"name": name, b"ip": where.host.encode(), b"port": b"%d" % where.port, b"runid": run_id.encode(),
        b"flags": flags.encode(), b"link-pending-commands": b"0", b"link-refcount": b"1", b"last-ping-sent": b"0",
        b"last-ok-ping-reply": since, b"last-ping-reply": since,
    }  # fmt: skip
    if "s_down" in flags:
        found[b"s-down-time"] = since
    if "o_down" in flags:
        found[b"o-down-time"] = since
    found[b"down-after-milliseconds"] = b"%d" % DOWN_AFTER_MS
    return found


def _master(client: Client, facts: Facts) -> dict[bytes, bytes]:
    leader = facts.leader if facts.leader is not None and facts.leader.client is not None else None
    where = leader.client if leader is not None and leader.client is not None else _NOWHERE
    flags = "master" if leader is not None else "s_down,o_down,master,disconnected"
    contact = leader.last_contact_s if leader is not None else None
    found = _common(master_name(client), where, leader.hex_id if leader is not None else "", flags, contact)
    return found | {
        b"info-refresh": b"0", b"role-reported": b"master", b"role-reported-time": b"0",
        b"config-epoch": b"%d" % facts.term,
        b"num-slaves": b"%d" % (len(facts.members) - 1),
        b"num-other-sentinels": b"%d" % len(facts.others),
        b"quorum": b"%d" % facts.quorum,
        b"failover-timeout": b"%d" % FAILOVER_TIMEOUT_MS,
        b"parallel-syncs": b"1",
    }  # fmt: skip


def _replica(facts: Facts, member: Member) -> dict[bytes, bytes]:
    """One that nobody can reach now, or whose leader nobody knows, is down: clients look elsewhere for reads."""
    leader = facts.leader
    up = leader is not None and not member.down
    where, of = member.client or _NOWHERE, (leader.client if leader is not None else None) or _NOWHERE
    name = f"{where.host}:{where.port}".encode()
    found = _common(name, where, member.hex_id, "slave" if up else "s_down,slave,disconnected", member.last_contact_s)
    offset = facts.applied if member.id == facts.id else member.match or 0
    return found | {
        b"info-refresh": b"0", b"role-reported": b"slave", b"role-reported-time": b"0",
        b"master-link-down-time": b"0", b"master-link-status": b"ok" if up else b"err",
        b"master-host": of.host.encode() if leader is not None else b"?", b"master-port": b"%d" % of.port,
        b"slave-priority": b"100" if member.voter else b"0",  # 0: never promoted
        b"slave-repl-offset": b"%d" % offset, b"replica-announced": b"1",
    }  # fmt: skip


def _replicas(client: Client, argv: Argv) -> Reply:
    facts = _watched(client, argv)
    return [_replica(facts, member) for member in facts.followers if member.client is not None]


@command("SENTINEL|MASTERS", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4",
         complexity="O(N) where N is the number of masters")  # fmt: skip
def sentinel_masters(client: Client, argv: Argv) -> Reply:
    """The one master that is watched: the leader."""
    return [_master(client, facts_for(client))]


@command("SENTINEL|MASTER", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4",
         syntax="master-name")  # fmt: skip
def sentinel_master(client: Client, argv: Argv) -> Reply:
    """The leader, in fields."""
    return _master(client, _watched(client, argv))


@command("SENTINEL|REPLICAS", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="5.0.0",
         syntax="master-name", complexity="O(N) where N is the number of replicas")  # fmt: skip
def sentinel_replicas(client: Client, argv: Argv) -> Reply:
    """The other nodes, in fields."""
    return _replicas(client, argv)


@command("SENTINEL|SLAVES", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.0",
         syntax="master-name", complexity="O(N) where N is the number of slaves", doc_flags=("deprecated",),
         deprecated_since="5.0.0", replaced_by="`SENTINEL REPLICAS`")  # fmt: skip
def sentinel_slaves(client: Client, argv: Argv) -> Reply:
    """The old name of SENTINEL REPLICAS."""
    return _replicas(client, argv)


@command("SENTINEL|SENTINELS", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4",
         syntax="master-name", complexity="O(N) where N is the number of Sentinels")  # fmt: skip
def sentinel_sentinels(client: Client, argv: Argv) -> Reply:
    """The other nodes as Sentinels: each answers SENTINEL where clients find it."""
    facts = _watched(client, argv)
    found = []
    for member in facts.others:
        if member.client is not None:
            flags = "s_down,sentinel,disconnected" if member.state == "unreachable" else "sentinel"
            common = _common(member.hex_id.encode(), member.client, member.hex_id, flags, member.last_contact_s)
            last = {b"last-hello-message": b"0", b"voted-leader": b"?", b"voted-leader-epoch": b"0"}
            found.append(common | last)
    return found


@command("SENTINEL|GET-MASTER-ADDR-BY-NAME", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="sentinel",
         since="2.8.4", syntax="master-name")  # fmt: skip
def sentinel_get_master_addr_by_name(client: Client, argv: Argv) -> Reply:
    """Host and port of the leader; nothing for another name, and while no majority is behind a leader."""
    leader = facts_for(client).leader if argv[2] == master_name(client) else None
    if leader is None or leader.client is None:
        return NULL_ARRAY
    return [leader.client.host.encode(), b"%d" % leader.client.port]


@command("SENTINEL|CKQUORUM", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4",
         syntax="master-name")  # fmt: skip
def sentinel_ckquorum(client: Client, argv: Argv) -> Reply:
    """Whether a majority could elect a new leader, as far as this node knows."""
    facts = _watched(client, argv)
    if facts.leader is None:
        raise CommandError(
            "NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the majority and authorize a failover"
        )
    # A follower cannot see the others; a leader with a majority behind it has told it that there is one.
    seen = sum(member.voter and not member.down for member in facts.members)
    usable = max(seen, facts.quorum) if facts.leads else facts.quorum
    return Simple(f"OK {usable} usable Sentinels. Quorum and failover authorization can be reached")


@command("SENTINEL|MYID", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="6.2.0")
def sentinel_myid(client: Client, argv: Argv) -> Reply:
    """This node's id."""
    return facts_for(client).hex_id.encode()


@command("SENTINEL|IS-MASTER-DOWN-BY-ADDR", arity=6, kind=Kind.SESSION, flags=_FLAGS, group="sentinel",
         since="2.8.4", syntax="ip port current-epoch runid")  # fmt: skip
def sentinel_is_master_down_by_addr(client: Client, argv: Argv) -> Reply:
    """Whether what is at this address is not the leader; no vote is given to real Sentinels."""
    port, _ = integer(argv[3]), integer(argv[4])
    leader = facts_for(client).leader
    here = leader is not None and leader.client == Address(argv[2].decode("utf-8", "replace"), port)
    return [0 if here else 1, b"*", 0]


@command("SENTINEL|FAILOVER", arity=-3, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4",
         syntax="master-name [COORDINATED]")  # fmt: skip
def sentinel_failover(client: Client, argv: Argv) -> Reply:
    """Let the leader, if it is this node, hand over to whichever node is furthest; always coordinated."""
    if len(argv) > 4 or (len(argv) == 4 and not matches(argv[3], b"COORDINATED")):
        raise CommandError("ERR syntax error")
    facts = _watched(client, argv)
    if not any(member.voter for member in facts.others):
        raise CommandError("NOGOODSLAVE No suitable replica to promote")
    return hand_over(client, None)


@command("SENTINEL|RESET", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4",
         syntax="pattern")  # fmt: skip
def sentinel_reset(client: Client, argv: Argv) -> Reply:
    """How many masters' names match: nothing is kept that could be forgotten."""
    return 1 if matcher(argv[2])(master_name(client)) else 0


@command("SENTINEL|PENDING-SCRIPTS", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4")
def sentinel_pending_scripts(client: Client, argv: Argv) -> Reply:
    """None: no scripts are run."""
    return []


@command("SENTINEL|FLUSHCONFIG", arity=2, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4")
def sentinel_flushconfig(client: Client, argv: Argv) -> Reply:
    """Nothing to do: what is known of the cluster is in its log."""
    return OK


@command("SENTINEL|CONFIG", arity=-4, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="6.2.0",
         syntax="<SET parameter value | GET parameter>")  # fmt: skip
def sentinel_config(client: Client, argv: Argv) -> Reply:
    """What Sentinels have as global parameters; they cannot be set."""
    if matches(argv[2], b"GET") and len(argv) == 4:
        fits = matcher(argv[3].lower())
        found: dict[bytes, Any] = {
            name.encode(): value.encode() for name, value in _CONFIG.items() if fits(name.encode())
        }
        return found
    if matches(argv[2], b"SET") and len(argv) == 5:
        raise error(NOT_CONFIGURED)
    raise error("Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.")


def _fixed(client: Client, argv: Argv) -> Reply:
    raise error(NOT_CONFIGURED)


for _name, _arity, _syntax in (
    ("MONITOR", 6, "name ip port quorum"),
    ("REMOVE", 3, "master-name"),
    ("SET", -5, "master-name option value [option value ...]"),
):
    command(
        f"SENTINEL|{_name}", arity=_arity, kind=Kind.SESSION, flags=_FLAGS, group="sentinel", since="2.8.4",
        syntax=_syntax, summary="Refused: what is watched is this cluster.",
    )(_fixed)  # fmt: skip


@command("SENTINEL|HELP", arity=2, kind=Kind.SESSION, flags="loading stale", group="sentinel", since="6.2.0")
def sentinel_help(client: Client, argv: Argv) -> Reply:
    """The forms of SENTINEL."""
    return help_reply("SENTINEL", *HELP)


HELP: Final = (
    "CKQUORUM <master-name>",
    "    Check if a majority could elect a new leader.",
    "CONFIG GET <param>",
    "    Get global Sentinel configuration parameter.",
    "GET-MASTER-ADDR-BY-NAME <master-name>",
    "    Return the ip and port number of the leader.",
    "FAILOVER <master-name> [COORDINATED]",
    "    Let the leader hand over; to be sent to the leader.",
    "IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
    "    Check if what is at ip:port is not the leader.",
    "MASTER <master-name>",
    "    Show the state and info of the leader.",
    "MASTERS",
    "    Show a list with the leader.",
    "MYID",
    "    Return the ID of this node.",
    "REPLICAS <master-name>",
    "    Show a list of the other nodes and their state.",
    "SENTINELS <master-name>",
    "    Show a list of the other nodes, each of which answers as a Sentinel.",
)
