"""CLUSTER JOIN, PROMOTE, REMOVE: changes of the membership, and what they share with RAFT SERVER and RAFT.NODE.

Each is one entry of the log and is answered when that is committed; one at a time, on the leader (a new node's JOIN
excepted). A node comes in as a learner, which has no vote, and becomes a voter when it has caught up.
Promise: an error means that the membership is what it was, unless it begins with INDETERMINATE.
Not here: why a change is refused (`raft.leader`); how a node learns of the cluster (`engine.replication`).
Source: Raft thesis, chapter 4 (single-server changes, 4.2.1 catching up new servers).
"""

from __future__ import annotations

from typing import Final

from ..errors import SYNTAX, CommandError, error, printable
from ..resp.reply import Reply
from .arguments import matches
from .cluster_facts import address_of, clustered, facts_for, member_named
from .cluster_view import Address
from .ports import Client, Later
from .spec import Argv, Kind, command

_FLAGS: Final = "admin noscript no_async_loading no_multi"


def join(client: Client, words: Argv) -> Later:
    """Bring together what these addresses name and this node: the one that has data takes in the one that has none.

    A member of a group of several takes the others in; so does a node alone that has keys. An empty node joins them.
    """
    view = clustered(client.server)
    addresses = [address_of(word) for word in words]
    if len(view.members) > 1 or any(len(db.items) for db in client.server.machine.world.databases):
        if len(addresses) > 1:
            raise error("one node at a time: each has to be taken in before the next one is asked")
        return view.add_learner(addresses[0])
    return view.join(addresses)


def add(client: Client, address: Address) -> Later:
    return clustered(client.server).add_learner(address)


def promote(client: Client, word: bytes) -> Later:
    view = clustered(client.server)
    member = member_named(facts_for(client), word)
    if member.voter:
        raise error(f"{member.name or printable(word)} has a vote already")
    return view.promote(member.id)


def demote(client: Client, word: bytes) -> Later:
    """A voter goes on as a learner: it has the data, and no vote."""
    view = clustered(client.server)
    member = member_named(facts_for(client), word)
    if not member.voter:
        raise error(f"{member.name or printable(word)} has no vote")
    return view.demote(member.id)


def remove(client: Client, word: bytes, *, force: bool = False) -> Later:
    view = clustered(client.server)
    member = member_named(facts_for(client), word)
    return view.remove(member.id, force=force)


def hand_over(client: Client, word: bytes | None) -> Later:
    """OK when another node leads; None: whichever is furthest."""
    view = clustered(client.server)
    member = None if word is None else member_named(facts_for(client), word)
    if member is not None and member.id == view.id:
        raise error("a node cannot hand over to itself")
    return view.transfer(None if member is None else member.id)


@command(
    "CLUSTER|JOIN", arity=-3, kind=Kind.SESSION, flags=_FLAGS, group="cluster", since="7.2.0",
    syntax="host:port [host:port ...]",
)  # fmt: skip
def cluster_join(client: Client, argv: Argv) -> Reply:
    """Join the cluster that one of these raft ports belongs to, or take the node at one into this cluster."""
    return join(client, argv[2:])


@command("CLUSTER|PROMOTE", arity=3, kind=Kind.SESSION, flags=_FLAGS, group="cluster", since="7.2.0", syntax="node-id")
def cluster_promote(client: Client, argv: Argv) -> Reply:
    """Make a learner that has caught up a voter."""
    return promote(client, argv[2])


@command(
    "CLUSTER|REMOVE", arity=-3, kind=Kind.SESSION, flags=_FLAGS, group="cluster", since="7.2.0",
    syntax="node-id [FORCE cluster-id]",
)  # fmt: skip
def cluster_remove(client: Client, argv: Argv) -> Reply:
    """Remove a node for good: its id is never used again."""
    force = len(argv) > 3
    if force:
        if len(argv) != 5 or not matches(argv[3], b"FORCE"):
            raise CommandError(SYNTAX)
        given = argv[4].decode("ascii", "replace").lower()
        if given != clustered(client.server).cluster_id:
            raise error("FORCE wants the id of this cluster (RAFT INFO, raft_cluster_id): this is another one")
    return remove(client, argv[2], force=force)
