"""RAFT: the cluster in its own words, and changes of it; with RedisRaft's dotted names beside uhaha's subcommands.

    RAFT STATUS | INFO [pattern] | LEADER | SERVER LIST        what this node knows
    RAFT DIGEST                                                whether the nodes' states agree, on the leader
    RAFT SERVER ADD host:port | REMOVE | PROMOTE | DEMOTE node the membership
    RAFT TRANSFER [node]                                       the leadership
    RAFT.CLUSTER JOIN, RAFT.NODE ADD | REMOVE, RAFT.TRANSFER_LEADER

Promise: a leader is named only while a majority is behind it.
Not here: what a change of the membership is (`cluster_members`), INFO raft (`server.info_cluster`).
Source: the commands of uhaha and of RedisRaft.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import CommandError, error, printable, wrong_arity
from ..glob import matcher
from ..resp.reply import Reply
from .arguments import help_reply, integer
from .cluster_facts import Facts, address_of, clustered, facts_for, show
from .cluster_members import add, demote, hand_over, join, promote, remove
from .cluster_view import Member
from .ports import Client, then
from .spec import Argv, Kind, command, container

_ASK: Final = "noscript loading stale"
_CHANGE: Final = "admin noscript no_async_loading no_multi"
_TIPS: Final = ("nondeterministic_output",)

container("RAFT", group="cluster", since="7.2.0", summary="The cluster's consensus: its state and its members.")


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _server(facts: Facts, member: Member) -> dict[bytes, Any]:
    """uhaha's three fields, then ours. What only the leader knows is null elsewhere."""
    leads = facts.leader is not None and member.id == facts.leader.id
    return {
        b"id": b"%d" % member.id,
        b"address": _text(show(member.client)),
        b"leader": b"true" if leads else b"false",
        b"name": _text(member.name),
        b"raft-address": _text(show(member.raft)),
        b"voter": b"true" if member.voter else b"false",
        b"state": _text(member.state),
        b"match": member.match,
        b"lag": member.lag,
        b"last-contact-ms": _milliseconds(member.last_contact_s),
        b"understands": member.understands,
    }


@command("RAFT|STATUS", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="7.2.0",
         categories="dangerous", tips=_TIPS)  # fmt: skip
def raft_status(client: Client, argv: Argv) -> Reply:
    """All that this node knows of itself and of the others; `vaylix cluster status` puts several of these together."""
    server, facts = client.server, facts_for(client)
    view, fsync = server.cluster, server.node.fsync
    return {
        b"id": b"%d" % facts.id,
        b"name": _text(facts.name),
        b"cluster-id": _text(facts.cluster_id),
        b"role": _text(facts.role),
        b"term": facts.term,
        b"leader": _text(facts.leader.name) if facts.leader is not None else None,
        b"leader-id": b"%d" % facts.leader.id if facts.leader is not None else None,
        b"leader-address": _text(show(facts.leader.client)) if facts.leader is not None else None,
        b"last": facts.last,
        b"committed": facts.committed,
        b"applied": facts.applied,
        b"durable": server.node.wal.durable,
        b"cluster-version": server.machine.world.cluster_version,
        b"understands": server.machine.world.understands,
        b"staleness-ms": 0 if view is None else _milliseconds(view.staleness_s),
        b"fsync-avg-us": fsync.total_us // max(fsync.count, 1),
        b"fsync-max-us": fsync.max_us,
        b"log": b"failed" if server.node.failure is not None else b"full" if server.node.full else b"ok",
        b"data": b"differs" if view is not None and view.stopped is not None else b"ok",
        b"members": [_server(facts, member) for member in facts.members],
    }


@command("RAFT|DIGEST", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="7.2.0",
         categories="dangerous", tips=_TIPS)  # fmt: skip
def raft_digest(client: Client, argv: Argv) -> Reply:
    """What came of the last comparison of the nodes' states, on the leader, which makes it."""
    view, facts = clustered(client.server), facts_for(client)
    found = view.comparison
    if found is None:
        leader = facts.leader
        where = f"ask {leader.name} at {show(leader.client)}" if leader is not None else "nobody is known to lead"
        raise CommandError(f"NOTLEADER the leader compares the nodes' states: {where}")
    nodes = []
    for member in facts.members:
        said = b"agrees" if member.id in found.agree else b"differs" if member.id in found.differ else b"unknown"
        since = found.differing.get(member.id)
        nodes.append({b"id": b"%d" % member.id, b"name": _text(member.name), b"last": said, b"differs-since": since})
    return {
        b"sequence": found.sequence or None,
        b"compared": _text(found.subject),
        b"age-ms": _milliseconds(found.age_s),
        b"comparisons": found.made,
        b"rounds": found.rounds,
        b"nodes": nodes,
    }


@command("RAFT|INFO", arity=-2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="7.2.0",
         categories="dangerous", syntax="[pattern]", tips=_TIPS)  # fmt: skip
def raft_info(client: Client, argv: Argv) -> Reply:
    """The fields of INFO raft whose names match."""
    if len(argv) > 3:
        raise wrong_arity("raft|info")
    fits = matcher(argv[2]) if len(argv) == 3 else None
    lines = [line.partition(":") for line in client.server.info(["raft"]).splitlines() if line[:1] not in ("", "#")]
    return {_text(name): _text(value) for name, _, value in lines if fits is None or fits(_text(name))}


@command("RAFT|LEADER", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="7.2.0", tips=_TIPS)
def raft_leader(client: Client, argv: Argv) -> Reply:
    """Where clients reach the leader; null while no majority is behind one."""
    leader = facts_for(client).leader
    return None if leader is None or leader.client is None else _text(show(leader.client))


@command("RAFT|SERVER", arity=-3, kind=Kind.SESSION, flags=_CHANGE + " loading stale", group="cluster", since="7.2.0",
         syntax="<LIST | ADD host:port | REMOVE node | PROMOTE node | DEMOTE node>", tips=_TIPS)  # fmt: skip
def raft_server(client: Client, argv: Argv) -> Reply:
    """The members, and their coming and going; a node is named by its name or id."""
    match argv[2].upper(), len(argv):
        case b"LIST", 3:
            facts = facts_for(client)
            return [_server(facts, member) for member in facts.members]
        case b"ADD", 4:
            return add(client, address_of(argv[3]))
        case b"REMOVE", 4:
            return remove(client, argv[3])
        case b"PROMOTE", 4:
            return promote(client, argv[3])
        case b"DEMOTE", 4:
            return demote(client, argv[3])
    raise error(f"unknown subcommand or wrong number of arguments for '{printable(argv[2])}'. Try RAFT HELP.")


@command("RAFT|TRANSFER", arity=-2, kind=Kind.SESSION, flags=_CHANGE, group="cluster", since="7.2.0",
         syntax="[node]")  # fmt: skip
def raft_transfer(client: Client, argv: Argv) -> Reply:
    """Hand the leadership over; answered when another node leads."""
    if len(argv) > 3:
        raise wrong_arity("raft|transfer")
    return hand_over(client, argv[2] if len(argv) == 3 else None)


@command("RAFT|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="cluster", since="7.2.0")
def raft_help(client: Client, argv: Argv) -> Reply:
    """The forms of RAFT."""
    return help_reply(
        "RAFT",
        "DIGEST",
        "    Return what came of the last comparison of the nodes' states. On the leader.",
        "INFO [<pattern>]",
        "    Return the fields of INFO raft.",
        "LEADER",
        "    Return where clients reach the leader.",
        "SERVER LIST",
        "    Return the members and their state.",
        "SERVER ADD <host:raft-port>",
        "    Have the node at this address, which is empty, join; it gets a vote when it has caught up.",
        "SERVER DEMOTE <node>",
        "    Take a voter's vote: it goes on as a learner.",
        "SERVER PROMOTE <node>",
        "    Make a learner, named by id or name, a voter.",
        "SERVER REMOVE <node>",
        "    Remove a node for good.",
        "STATUS",
        "    Return what this node knows of itself and of the others.",
        "TRANSFER [<node>]",
        "    Hand the leadership over.",
    )


# RedisRaft's names.

container("RAFT.CLUSTER", group="cluster", since="7.2.0", summary="As RedisRaft: founding and joining a cluster.")
container("RAFT.NODE", group="cluster", since="7.2.0", summary="As RedisRaft: members that come and go.")


@command("RAFT.CLUSTER|INIT", arity=-2, kind=Kind.SESSION, flags=_CHANGE, group="cluster", since="7.2.0",
         syntax="[id]")  # fmt: skip
def raft_cluster_init(client: Client, argv: Argv) -> Reply:
    """Refused: a server with a raft port has a cluster already."""
    clustered(client.server)
    raise error("Already cluster member")


@command("RAFT.CLUSTER|JOIN", arity=-3, kind=Kind.SESSION, flags=_CHANGE, group="cluster", since="7.2.0",
         syntax="host:port [host:port ...]")  # fmt: skip
def raft_cluster_join(client: Client, argv: Argv) -> Reply:
    """As CLUSTER JOIN."""
    return join(client, argv[2:])


@command("RAFT.NODE|ADD", arity=4, kind=Kind.SESSION, flags=_CHANGE, group="cluster", since="7.2.0",
         syntax="id host:port")  # fmt: skip
def raft_node_add(client: Client, argv: Argv) -> Reply:
    """Take the node at an address in as a learner; its id and that of the cluster. An id is not chosen: 0."""
    if integer(argv[2]) != 0:
        raise error("a node brings its own id: give 0")
    address = address_of(argv[3])

    def named(_: Reply) -> Reply:
        facts = facts_for(client)
        known = next((member.id for member in facts.members if member.raft == address), 0)
        return [b"%d" % known, _text(facts.cluster_id)]

    return then(add(client, address), named)


@command("RAFT.NODE|REMOVE", arity=3, kind=Kind.SESSION, flags=_CHANGE, group="cluster", since="7.2.0",
         syntax="id")  # fmt: skip
def raft_node_remove(client: Client, argv: Argv) -> Reply:
    """As RAFT SERVER REMOVE."""
    return remove(client, argv[2])


@command("RAFT.TRANSFER_LEADER", arity=-1, kind=Kind.SESSION, flags=_CHANGE, group="cluster", since="7.2.0",
         syntax="[id]")  # fmt: skip
def raft_transfer_leader(client: Client, argv: Argv) -> Reply:
    """As RAFT TRANSFER; id 0 and none mean any."""
    if len(argv) > 2:
        raise wrong_arity("raft.transfer_leader")
    return hand_over(client, argv[1] if len(argv) == 2 and argv[1] != b"0" else None)
