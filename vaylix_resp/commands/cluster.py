"""CLUSTER: with `cluster-enabled emulate` cluster clients find one shard with all slots; without it they are refused,
in Redis's words. Changes of the membership are always there: see `cluster_members`.

Promise: a leader is named only while a majority is behind it. While there is none, who asks where the slots are waits
for one, as a write does (`no-leader-timeout`): an election is shorter than that, and client libraries give up when the
last of the nodes has refused. Then it is -CLUSTERDOWN, so that the client asks another.
Not here: what the replies look like (`cluster_text`), -MOVED (`redirection`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import CommandError, error, printable
from ..resp.reply import Reply, Verbatim
from .arguments import help_reply, integer
from .cluster_facts import NO_LEADER, Facts, emulates, facts_for, member_named
from .cluster_text import info, node_line, nodes, shards, slots
from .ports import Client, Later
from .redirection import SLOTS, slot_of
from .spec import Argv, Kind, command, container

DISABLED: Final = "ERR This instance has cluster support disabled"
Answer = Callable[[Facts], Reply]
LOOK_S: Final = 0.02  # between two looks at whether there is a leader
KEYS_PER_TURN: Final = 2000  # looked at in one go: about a millisecond

container("CLUSTER", group="cluster", since="3.0.0", summary="A container for Redis Cluster commands.")

_ASK: Final = "stale"
_TIPS: Final = ("nondeterministic_output",)


def _enabled(client: Client) -> Facts:
    if not emulates(client.server.settings):
        raise CommandError(DISABLED)
    return facts_for(client)


def _mapped(client: Client) -> Facts:
    """For whoever asks where the slots are: it will follow -MOVED."""
    facts = _enabled(client)
    client.follows_moved = True
    return facts


def _led(facts: Facts) -> bool:
    return facts.leader is not None and facts.leader.client is not None


def _nowhere(facts: Facts) -> Reply:
    return CommandError(NO_LEADER)


class _LeaderWait:
    """Resolves `later` with `answer` when a leader is known, else with `otherwise` when the time is over."""

    def __init__(self, client: Client, answer: Answer, otherwise: Answer) -> None:
        self._client, self._answer, self._otherwise = client, answer, otherwise
        self._deadline = client.server.clock.now() + client.server.settings.no_leader_timeout / 1000
        self.later = Later(on_cancel=self._stop)
        self._look()

    def _look(self) -> None:
        facts, server = _mapped(self._client), self._client.server
        self.later.timeout_reply = self._otherwise(facts)  # a transaction does not wait
        if _led(facts):
            self.later.resolve(self._answer(facts))
        elif server.clock.now() >= self._deadline:
            self.later.resolve(self.later.timeout_reply)
        else:
            self._timer = server.call_later(LOOK_S, self._look)

    def _stop(self) -> None:
        self._timer.cancel()


def _when_led(client: Client, answer: Answer, otherwise: Answer = _nowhere) -> Reply:
    facts = _mapped(client)
    return answer(facts) if _led(facts) else _LeaderWait(client, answer, otherwise).later


@command(
    "CLUSTER|SLOTS", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="3.0.0", tips=_TIPS,
    complexity="O(N) where N is the total number of Cluster nodes", doc_flags=("deprecated",),
    deprecated_since="7.0.0", replaced_by="`CLUSTER SHARDS`",
    history=(
        ("4.0.0", "Added node IDs."),
        ("7.0.0", "Added additional networking metadata field."),
    ),
)  # fmt: skip
def cluster_slots(client: Client, argv: Argv) -> Reply:
    """One range of all slots: the leader, then the other nodes."""
    return _when_led(client, slots)


@command(
    "CLUSTER|SHARDS", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="7.0.0", tips=_TIPS,
    complexity="O(N) where N is the total number of cluster nodes",
)  # fmt: skip
def cluster_shards(client: Client, argv: Argv) -> Reply:
    """The one shard with its nodes, in words."""
    return _when_led(client, lambda facts: shards(facts, client.server.settings))


@command(
    "CLUSTER|NODES", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="3.0.0", tips=_TIPS,
    complexity="O(N) where N is the total number of Cluster nodes",
)  # fmt: skip
def cluster_nodes(client: Client, argv: Argv) -> Reply:
    """A line for each node; nobody is a master while no leader is known."""

    def lines(facts: Facts) -> Reply:
        return Verbatim(nodes(facts, facts.members, client.server.clock.wall_ms()))

    return _when_led(client, lines, lines)


def _replicas(client: Client, argv: Argv) -> Reply:
    facts = _enabled(client)
    master = member_named(facts, argv[2])
    if facts.leader is None or master.id != facts.leader.id:
        raise error("The specified node is not a master")
    now_ms = client.server.clock.wall_ms()
    return [node_line(facts, member, now_ms).encode() for member in facts.followers]


@command(
    "CLUSTER|REPLICAS", arity=3, kind=Kind.SESSION, flags="admin stale", group="cluster", since="5.0.0", tips=_TIPS,
    syntax="node-id",
)  # fmt: skip
def cluster_replicas(client: Client, argv: Argv) -> Reply:
    """The followers of the leader."""
    return _replicas(client, argv)


@command(
    "CLUSTER|SLAVES", arity=3, kind=Kind.SESSION, flags="admin stale", group="cluster", since="3.0.0", tips=_TIPS,
    syntax="node-id", doc_flags=("deprecated",), deprecated_since="5.0.0", replaced_by="`CLUSTER REPLICAS`",
)  # fmt: skip
def cluster_slaves(client: Client, argv: Argv) -> Reply:
    """The old name of CLUSTER REPLICAS."""
    return _replicas(client, argv)


@command("CLUSTER|INFO", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="3.0.0", tips=_TIPS)
def cluster_info(client: Client, argv: Argv) -> Reply:
    """The state of the cluster in lines."""
    return Verbatim(info(_enabled(client)))


@command("CLUSTER|MYID", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="3.0.0")
def cluster_myid(client: Client, argv: Argv) -> Reply:
    """This node's id."""
    return _enabled(client).hex_id.encode()


@command("CLUSTER|MYSHARDID", arity=2, kind=Kind.SESSION, flags=_ASK, group="cluster", since="7.2.0", tips=_TIPS)
def cluster_myshardid(client: Client, argv: Argv) -> Reply:
    """The id of the one shard."""
    return _enabled(client).cluster_id.rjust(40, "0").encode()


# Keys and slots.


@command(
    "CLUSTER|KEYSLOT", arity=3, kind=Kind.SESSION, flags=_ASK, group="cluster", since="3.0.0", syntax="key",
    complexity="O(N) where N is the number of bytes in the key",
)  # fmt: skip
def cluster_keyslot(client: Client, argv: Argv) -> Reply:
    """The slot of a key."""
    _enabled(client)
    return slot_of(argv[2])


@command(
    "CLUSTER|COUNTKEYSINSLOT", arity=3, kind=Kind.SESSION, flags=_ASK, group="cluster", since="3.0.0",
    syntax="slot", complexity="O(N) where N is the number of keys",
)  # fmt: skip
def cluster_countkeysinslot(client: Client, argv: Argv) -> Reply:
    """How many keys of this database are in a slot."""
    _enabled(client)
    slot = integer(argv[2])
    if not 0 <= slot < SLOTS:
        raise error("Invalid slot")
    return _SlotScan(client, slot, None).later


@command(
    "CLUSTER|GETKEYSINSLOT", arity=4, kind=Kind.SESSION, flags=_ASK, group="cluster", since="3.0.0",
    tips=_TIPS, syntax="slot count", complexity="O(N) where N is the number of keys",
)  # fmt: skip
def cluster_getkeysinslot(client: Client, argv: Argv) -> Reply:
    """Some keys of a slot."""
    _enabled(client)
    slot, most = integer(argv[2]), integer(argv[3])
    if not 0 <= slot < SLOTS or most < 0:
        raise error("Invalid slot or number of keys")
    return _SlotScan(client, slot, most).later


class _SlotScan:
    """Walks through the database as SCAN does, a little at a time: no index by slot is kept, and nobody else waits.

    With `most` the answer is as many keys, without it their number.
    """

    def __init__(self, client: Client, slot: int, most: int | None) -> None:
        self._client, self._slot, self._most = client, slot, most
        self._cursor = 0
        self._found: dict[bytes, None] = {}  # a scan may show a key twice
        empty: Reply = 0 if most is None else []
        self.later = Later(on_cancel=self._stop, timeout_reply=empty)
        self._timer = client.server.call_later(0, self._turn)

    def _turn(self) -> None:
        client = self._client
        self._cursor, keys = client.server.view(client.db).scan(self._cursor, KEYS_PER_TURN)
        self._found.update((key, None) for key in keys if slot_of(key) == self._slot)
        found, most = self._found, self._most
        if self._cursor and (most is None or len(found) < most):
            self._timer = client.server.call_later(0, self._turn)
        else:
            self.later.resolve(len(found) if most is None else list(found)[:most])

    def _stop(self) -> None:
        self._timer.cancel()


# What would take the one shard apart.


@command(
    "CLUSTER|MEET", arity=-4, kind=Kind.SESSION, flags="admin stale no_async_loading", group="cluster",
    since="3.0.0", syntax="ip port [cluster_bus_port]",
    history=(("4.0.0", "Added the optional `cluster_bus_port` argument."),),
)  # fmt: skip
def cluster_meet(client: Client, argv: Argv) -> Reply:
    """Refused: nodes come in by consensus."""
    raise error("CLUSTER MEET is not offered: send CLUSTER JOIN host:raft-port to the new node")


@command(
    "CLUSTER|FORGET", arity=3, kind=Kind.SESSION, flags="admin stale no_async_loading", group="cluster",
    since="3.0.0", syntax="node-id",
)  # fmt: skip
def cluster_forget(client: Client, argv: Argv) -> Reply:
    """Refused: nodes leave by consensus."""
    raise error(f"CLUSTER FORGET is not offered: send CLUSTER REMOVE {printable(argv[2])} to the leader")


@command(
    "CLUSTER|FAILOVER", arity=-2, kind=Kind.SESSION, flags="admin stale no_async_loading", group="cluster",
    since="3.0.0", syntax="[FORCE | TAKEOVER]",
)  # fmt: skip
def cluster_failover(client: Client, argv: Argv) -> Reply:
    """Refused: the leader hands over, nobody takes it from it."""
    raise error("CLUSTER FAILOVER is not offered: send FAILOVER TO host port to the leader")


@command("CLUSTER|HELP", arity=2, kind=Kind.SESSION, flags="loading stale", group="cluster", since="5.0.0")
def cluster_help(client: Client, argv: Argv) -> Reply:
    """The forms of CLUSTER."""
    return help_reply("CLUSTER", *HELP)


HELP: Final = (
    "COUNTKEYSINSLOT <slot>",
    "    Return the number of keys in <slot>.",
    "GETKEYSINSLOT <slot> <count>",
    "    Return key names of a slot.",
    "INFO",
    "    Return information about the cluster.",
    "JOIN <host:raft-port> [<host:raft-port> ...]",
    "    On an empty node: join the cluster that one of these belongs to. On a member: take these nodes in.",
    "KEYSLOT <key>",
    "    Return the hash slot for <key>.",
    "MYID",
    "    Return the node id.",
    "MYSHARDID",
    "    Return the id of the one shard.",
    "NODES",
    "    Return the nodes as this one sees them. Output format:",
    "    <id> <ip:port@raft-port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
    "PROMOTE <node>",
    "    Make a learner, named by id or name, a voter.",
    "REMOVE <node> [FORCE <cluster-id>]",
    "    Remove a node from the cluster for good; FORCE even if too few of the others can be reached.",
    "REPLICAS <node-id>",
    "    Return the followers of the leader.",
    "SHARDS",
    "    Return the one shard and its nodes.",
    "SLOTS",
    "    Return the one range of slots: the leader, then the other nodes, with addresses, ports and ids.",
)
