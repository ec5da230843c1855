"""SUBSCRIBE and its relatives, PUBLISH, PUBSUB. The hub (`server.pubsub`) keeps the subscriptions.

Confirmations are messages, one for each name, so these handlers push them and reply nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ..resp.reply import NO_REPLY, Push, Reply
from .arguments import help_reply, subcommand_syntax
from .ports import Client
from .spec import Argv, KeySpec, Kind, command, container

Count = Callable[[Client], int]

_FLAGS: Final = "pubsub noscript loading stale"
_ASK: Final = "pubsub loading stale"
_SHARDS: Final = KeySpec("not_key", last=-1)
_SHARD: Final = KeySpec("not_key")


def _ordinary(client: Client) -> int:
    return len(client.channels) + len(client.patterns)


def _shard_channels(client: Client) -> int:
    return len(client.shard_channels)


def _subscribe(client: Client, topics: Any, word: bytes, names: Argv, count: Count) -> Reply:
    client.server.pubsub.admit(client, names)
    for name in topics.add(client, names):
        client.push(Push([word, name, count(client)]))
    return NO_REPLY


def _unsubscribe(client: Client, topics: Any, word: bytes, names: Argv, count: Count) -> Reply:
    """Without names: everything of this kind, and one confirmation even when there was nothing."""
    wanted: Iterable[bytes | None] = names or list(topics.of(client)) or [None]
    for name in wanted:
        if name is not None:
            topics.remove(client, name)
        client.push(Push([word, name, count(client)]))
    return NO_REPLY


@command(
    "SUBSCRIBE", arity=-2, kind=Kind.SESSION, flags=_FLAGS, group="pubsub", since="2.0.0",
    syntax="channel [channel ...]", complexity="O(N) where N is the number of channels to subscribe to.",
)  # fmt: skip
def subscribe(client: Client, argv: Argv) -> Reply:
    """Listens for messages published to channels."""
    return _subscribe(client, client.server.pubsub.channels, b"subscribe", argv[1:], _ordinary)


@command(
    "UNSUBSCRIBE", arity=-1, kind=Kind.SESSION, flags=_FLAGS, group="pubsub", since="2.0.0",
    syntax="[channel [channel ...]]",
    complexity="O(N) where N is the number of clients already subscribed to a channel.",
)  # fmt: skip
def unsubscribe(client: Client, argv: Argv) -> Reply:
    """Stops listening to messages posted to channels."""
    return _unsubscribe(client, client.server.pubsub.channels, b"unsubscribe", argv[1:], _ordinary)


@command(
    "PSUBSCRIBE", arity=-2, kind=Kind.SESSION, flags=_FLAGS, group="pubsub", since="2.0.0",
    syntax="pattern [pattern ...]",
    complexity="O(N) where N is the number of patterns the client is already subscribed to.",
)  # fmt: skip
def psubscribe(client: Client, argv: Argv) -> Reply:
    """Listens for messages published to channels that match one or more patterns."""
    client.server.pubsub.patterns.check(argv[1:])
    return _subscribe(client, client.server.pubsub.patterns, b"psubscribe", argv[1:], _ordinary)


@command(
    "PUNSUBSCRIBE", arity=-1, kind=Kind.SESSION, flags=_FLAGS, group="pubsub", since="2.0.0",
    syntax="[pattern [pattern ...]]",
    complexity="O(N+M) where N is the number of patterns the client is already subscribed and M is the "
    "number of total patterns subscribed in the system (by any client).",
)  # fmt: skip
def punsubscribe(client: Client, argv: Argv) -> Reply:
    """Stops listening to messages published to channels that match one or more patterns."""
    return _unsubscribe(client, client.server.pubsub.patterns, b"punsubscribe", argv[1:], _ordinary)


@command(
    "SSUBSCRIBE", arity=-2, kind=Kind.SESSION, flags=_FLAGS, group="pubsub", since="7.0.0", keys=_SHARDS,
    syntax="shardchannel [shardchannel ...]",
    complexity="O(N) where N is the number of shard channels to subscribe to.",
)  # fmt: skip
def ssubscribe(client: Client, argv: Argv) -> Reply:
    """Listens for messages published to shard channels."""
    return _subscribe(client, client.server.pubsub.shards, b"ssubscribe", argv[1:], _shard_channels)


@command(
    "SUNSUBSCRIBE", arity=-1, kind=Kind.SESSION, flags=_FLAGS, group="pubsub", since="7.0.0", keys=_SHARDS,
    syntax="[shardchannel [shardchannel ...]]",
    complexity="O(N) where N is the number of clients already subscribed to a shard channel.",
)  # fmt: skip
def sunsubscribe(client: Client, argv: Argv) -> Reply:
    """Stops listening to messages posted to shard channels."""
    return _unsubscribe(client, client.server.pubsub.shards, b"sunsubscribe", argv[1:], _shard_channels)


@command(
    "PUBLISH", arity=3, kind=Kind.SESSION, flags="pubsub loading stale fast", group="pubsub", since="2.0.0",
    syntax="channel message",
    complexity="O(N+M) where N is the number of clients subscribed to the receiving channel and M is the "
    "total number of subscribed patterns (by any client).",
)  # fmt: skip
def publish(client: Client, argv: Argv) -> Reply:
    """Posts a message to a channel."""
    client.server.pubsub.tell_others(False, argv[1], argv[2])
    return client.server.pubsub.publish(argv[1], argv[2])


@command(
    "SPUBLISH", arity=3, kind=Kind.SESSION, flags="pubsub loading stale fast", group="pubsub", since="7.0.0",
    keys=_SHARD, syntax="shardchannel message",
    complexity="O(N) where N is the number of clients subscribed to the receiving shard channel.",
)  # fmt: skip
def spublish(client: Client, argv: Argv) -> Reply:
    """Posts a message to a shard channel."""
    client.server.pubsub.tell_others(True, argv[1], argv[2])
    return client.server.pubsub.publish_shard(argv[1], argv[2])


container(
    "PUBSUB", group="pubsub", since="2.8.0", categories="-pubsub", summary="A container for Pub/Sub commands."
)


@command(
    "PUBSUB|CHANNELS", arity=-2, kind=Kind.SESSION, flags=_ASK, group="pubsub", since="2.8.0",
    syntax="[pattern]",
    complexity="O(N) where N is the number of active channels, and assuming constant time pattern "
    "matching (relatively short channels and patterns)",
)  # fmt: skip
def pubsub_channels(client: Client, argv: Argv) -> Reply:
    """Returns the active channels."""
    return _names(client.server.pubsub.channels, argv)


@command(
    "PUBSUB|SHARDCHANNELS", arity=-2, kind=Kind.SESSION, flags=_ASK, group="pubsub", since="7.0.0",
    syntax="[pattern]",
    complexity="O(N) where N is the number of active shard channels, and assuming constant time pattern "
    "matching (relatively short shard channels).",
)  # fmt: skip
def pubsub_shardchannels(client: Client, argv: Argv) -> Reply:
    """Returns the active shard channels."""
    return _names(client.server.pubsub.shards, argv)


def _names(topics: Any, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise subcommand_syntax(argv)
    return topics.matching(argv[2] if len(argv) == 3 else None)


@command(
    "PUBSUB|NUMSUB", arity=-2, kind=Kind.SESSION, flags=_ASK, group="pubsub", since="2.8.0",
    syntax="[channel [channel ...]]",
    complexity="O(N) for the NUMSUB subcommand, where N is the number of requested channels",
)  # fmt: skip
def pubsub_numsub(client: Client, argv: Argv) -> Reply:
    """Returns a count of subscribers to channels."""
    return _counts(client.server.pubsub.channels, argv[2:])


@command(
    "PUBSUB|SHARDNUMSUB", arity=-2, kind=Kind.SESSION, flags=_ASK, group="pubsub", since="7.0.0",
    syntax="[shardchannel [shardchannel ...]]",
    complexity="O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
)  # fmt: skip
def pubsub_shardnumsub(client: Client, argv: Argv) -> Reply:
    """Returns the count of subscribers of shard channels."""
    return _counts(client.server.pubsub.shards, argv[2:])


def _counts(topics: Any, names: Argv) -> Reply:
    """A flat list of name and number, in RESP3 too: a name may be asked for twice."""
    return [part for name in names for part in (name, topics.count(name))]


@command("PUBSUB|NUMPAT", arity=2, kind=Kind.SESSION, flags=_ASK, group="pubsub", since="2.8.0")
def pubsub_numpat(client: Client, argv: Argv) -> Reply:
    """Returns a count of unique pattern subscriptions."""
    return len(client.server.pubsub.patterns)


@command(
    "PUBSUB|HELP", arity=2, kind=Kind.SESSION, flags="loading stale", group="pubsub", since="6.2.0",
    categories="-pubsub",
)  # fmt: skip
def pubsub_help(client: Client, argv: Argv) -> Reply:
    """Returns helpful text about the different subcommands."""
    return help_reply(
        "PUBSUB",
        "CHANNELS [<pattern>]",
        "    Return the currently active channels matching a <pattern> (default: '*').",
        "NUMPAT",
        "    Return number of subscriptions to patterns.",
        "NUMSUB [<channel> ...]",
        "    Return the number of subscribers for the specified channels, excluding",
        "    pattern subscriptions(default: no channels).",
        "SHARDCHANNELS [<pattern>]",
        "    Return the currently active shard level channels matching a <pattern> (default: '*').",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of subscribers for the specified shard level channel(s)",
    )
