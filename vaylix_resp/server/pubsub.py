"""Channels: who listens to what, and getting each message to them in order.

Promises: subscribers of a channel get messages in the order published, a channel's own before those of
patterns; a message is encoded once per protocol, not once per subscriber; a client that vanishes while a
message goes round harms nobody. Messages are not kept: who is not there does not get them.
Not here: replies of SUBSCRIBE (`commands.pubsub`), output limits of slow readers (`connection`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..commands.ports import Client
from ..commands.spec import CommandSpec
from ..config_values import EVENTS_ALL
from ..errors import CommandError
from ..glob import Matcher, matcher
from ..limits import KIB, SUBSCRIPTION_BYTES_MAX
from ..resp.writer import bulk
from .clients import Clients, is_subscriber

ALLOWED_WHILE_SUBSCRIBED: Final = frozenset({
    "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe",
    "ping", "quit", "reset",
})  # fmt: skip

NAME_OVERHEAD_BYTES: Final = 200  # what a subscription costs besides its name

# Compiling a pattern takes about 100 us and 13 us for each byte, and one request is not interrupted: so many
# bytes of patterns, each counted as eight longer, keep it below half a second. `prefix*` needs no compiling.
COMPILED_BYTES_MAX: Final = 32 * KIB
COMPILED_OVERHEAD: Final = 8
_PREFIX: Final = re.compile(rb"[^*?\[\\]+\*\Z")


class Topics:
    """Subscriptions of one kind. `own` is the client's side of the same facts, in the order it subscribed."""

    def __init__(self, hub: Hub, own: str) -> None:
        self._hub = hub
        self._own = own
        self.subscribers: dict[bytes, dict[Client, None]] = {}

    def __len__(self) -> int:
        return len(self.subscribers)

    def of(self, client: Client) -> dict[bytes, None]:
        names: dict[bytes, None] = getattr(client, self._own)
        return names

    def count(self, name: bytes) -> int:
        return len(self.subscribers.get(name, ()))

    def add(self, client: Client, names: Iterable[bytes]) -> Iterable[bytes]:
        """Subscribe one name after the other, yielding each when it is done (or was done before)."""
        mine = self.of(client)
        for name in names:
            if not self._hub.is_live(client):
                return  # its confirmations overflowed its output: it is gone, and must leave nothing here
            if name not in mine:
                mine[name] = None
                self._listeners(name)[client] = None
                self._hub.held[client] = self._hub.held.get(client, 0) + len(name) + NAME_OVERHEAD_BYTES
            yield name

    def _listeners(self, name: bytes) -> dict[Client, None]:
        return self.subscribers.setdefault(name, {})

    def remove(self, client: Client, name: bytes) -> bool:
        mine = self.of(client)
        if name not in mine:
            return False
        del mine[name]
        listeners = self.subscribers[name]
        del listeners[client]
        if not listeners:
            del self.subscribers[name]
        self._hub.release(client, len(name) + NAME_OVERHEAD_BYTES)
        return True

    def remove_all(self, client: Client) -> None:
        for name in list(self.of(client)):
            self.remove(client, name)

    def matching(self, pattern: bytes | None) -> list[bytes]:
        """Names with subscribers; None: all of them."""
        if pattern is None:
            return list(self.subscribers)
        fits = matcher(pattern)
        return [name for name in self.subscribers if fits(name)]


class Patterns(Topics):
    """Topics whose names are patterns, each made ready to match when its first subscriber comes."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub, "patterns")
        self.tests: dict[bytes, Matcher] = {}

    def check(self, names: Sequence[bytes]) -> None:
        """CommandError when preparing these patterns would hold up everybody else, or one is no pattern."""
        costly = [name for name in names if name not in self.subscribers and not _PREFIX.match(name)]
        if sum(len(name) + COMPILED_OVERHEAD for name in costly) > COMPILED_BYTES_MAX:
            raise CommandError(f"ERR the patterns of one request are longer than {COMPILED_BYTES_MAX} bytes")
        for name in costly:
            matcher(name)

    def _listeners(self, name: bytes) -> dict[Client, None]:
        if name not in self.tests:
            self.tests[name] = _starts_with(name[:-1]) if _PREFIX.match(name) else matcher(name)
        return super()._listeners(name)

    def remove(self, client: Client, name: bytes) -> bool:
        removed = super().remove(client, name)
        if name not in self.subscribers:
            self.tests.pop(name, None)
        return removed


def _starts_with(prefix: bytes) -> Matcher:
    return lambda subject: subject.startswith(prefix)


class Hub:
    """Channels, patterns and shard channels, and the keyspace events that are published on channels."""

    def __init__(self, clients: Clients) -> None:
        self.on_publish: Callable[[bool, bytes, bytes], None] | None = None  # in a cluster: shard, channel, message
        self._clients = clients
        self.held: dict[Client, int] = {}  # bytes of names that a client has us remember
        self.channels = Topics(self, "channels")
        self.patterns = Patterns(self)
        self.shards = Topics(self, "shard_channels")
        self._classes: frozenset[str] = frozenset()
        self._on_keyspace = self._on_keyevent = False

    def tell_others(self, shard: bool, channel: bytes, message: bytes) -> None:
        """A client has published: the other nodes of the cluster have subscribers as well. Events are not told: every
        node has its own from the same entries."""
        if self.on_publish is not None:
            self.on_publish(shard, channel, message)

    def is_live(self, client: Client) -> bool:
        return self._clients.get(client.id) is client

    def admit(self, client: Client, names: Iterable[bytes]) -> None:
        """CommandError when these names are more than one client may have us remember."""
        wanted = sum(len(name) + NAME_OVERHEAD_BYTES for name in names)
        if self.held.get(client, 0) + wanted > SUBSCRIPTION_BYTES_MAX:
            raise CommandError(
                f"ERR too many subscriptions: their names would take more than {SUBSCRIPTION_BYTES_MAX} bytes"
            )

    def release(self, client: Client, size: int) -> None:
        left = self.held[client] - size
        if left:
            self.held[client] = left
        else:
            del self.held[client]

    def drop(self, client: Client) -> None:
        """Forget a client that is going (or was RESET); safe to call twice."""
        for topics in (self.channels, self.patterns, self.shards):
            topics.remove_all(client)

    def subscribed_clients(self) -> int:
        """Clients with any subscription (INFO)."""
        return len(self.held)

    # Publishing.

    def publish(self, channel: bytes, message: bytes) -> int:
        """Send to the channel's subscribers, then to those of matching patterns; how often it was sent."""
        sent = 0
        listeners = self.channels.subscribers.get(channel)
        if listeners:
            sent = _deliver(listeners, b"*3\r\n$7\r\nmessage\r\n" + bulk(channel) + bulk(message))
        for pattern in [pattern for pattern, fits in self.patterns.tests.items() if fits(channel)]:
            listeners = self.patterns.subscribers.get(pattern)
            if listeners:
                parts = (b"*4\r\n$8\r\npmessage\r\n", bulk(pattern), bulk(channel), bulk(message))
                sent += _deliver(listeners, b"".join(parts))
        return sent

    def publish_shard(self, channel: bytes, message: bytes) -> int:
        listeners = self.shards.subscribers.get(channel)
        if not listeners:
            return 0
        return _deliver(listeners, b"*3\r\n$8\r\nsmessage\r\n" + bulk(channel) + bulk(message))

    # Keyspace events.

    def configure_events(self, flags: str) -> None:
        """Publish what `notify-keyspace-events` says: letters, `A` for most classes."""
        letters = set(flags)
        self._on_keyspace, self._on_keyevent = "K" in letters, "E" in letters
        self._classes = frozenset((letters - set("AKE")) | (set(EVENTS_ALL) if "A" in letters else set()))

    @property
    def wants_events(self) -> bool:
        """Whether the state machine should collect events at all; changes with the setting only."""
        return bool(self._classes) and (self._on_keyspace or self._on_keyevent)

    def publish_event(self, kind: str, name: str, key: bytes, db: int) -> None:
        """One of the state machine's events: `kind` is its class's letter."""
        if kind not in self._classes or not (self.channels.subscribers or self.patterns.subscribers):
            return
        event = name.encode()
        if self._on_keyspace:
            self.publish(b"__keyspace@%d__:%b" % (db, key), event)
        if self._on_keyevent:
            self.publish(b"__keyevent@%d__:%b" % (db, event), key)


def _deliver(listeners: dict[Client, None], wire2: bytes) -> int:
    """Give one message, encoded for RESP2, to each; a push in RESP3 differs from it in the first byte."""
    wire3: bytes | None = None
    targets = tuple(listeners)  # a push may close a slow client, which takes it out of `listeners`
    for client in targets:
        if client.proto == 3:
            if wire3 is None:
                wire3 = b">" + wire2[1:]
            client.push_wire(wire3)
        else:
            client.push_wire(wire2)
    return len(targets)


def refused_in_subscriber_mode(client: Client, spec: CommandSpec) -> CommandError | None:
    """In RESP2 a connection with subscriptions carries messages: few commands may be answered there."""
    if client.proto != 2 or spec.name in ALLOWED_WHILE_SUBSCRIBED or not is_subscriber(client):
        return None
    return CommandError(
        f"ERR Can't execute '{spec.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
        "are allowed in this context"
    )
