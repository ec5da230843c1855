"""Random scenes of publish and subscribe: a listener, a publisher, and what the listener hears after each
request."""

from __future__ import annotations

import random

from compat.material import Material
from compat.steps import HELPER, LISTENER, Listening, Request

CHANNELS = (b"a", b"b", b"news", b"n\xff", b"")
CHANNEL_PATTERNS = (b"*", b"n*", b"[ab]", b"nothing")
# What a RESP2 listener may not do while subscribed, and what it may.
FORBIDDEN = ((b"GET", b"k1"), (b"SET", b"k1", b"v"), (b"MULTI",), (b"NOSUCH",), (b"CLIENT", b"ID"))


def random_listening(rng: random.Random, m: Material, protocol: int) -> Listening:
    requests: list[Request] = []
    for _ in range(rng.randint(3, 10)):
        requests.append(listener(rng, protocol) if rng.random() < 0.5 else publisher(rng, m))
    return Listening(tuple(requests))


def listener(rng: random.Random, protocol: int) -> Request:
    kind = rng.randrange(8)
    channels = tuple(rng.sample(CHANNELS, rng.randint(1, 3)))
    patterns = tuple(rng.sample(CHANNEL_PATTERNS, rng.randint(1, 2)))
    if kind <= 1:
        return Request(LISTENER, (b"SUBSCRIBE", *channels), len(channels))
    if kind == 2:
        return Request(LISTENER, (b"PSUBSCRIBE", *patterns), len(patterns))
    if kind == 3:
        return Request(LISTENER, (b"SSUBSCRIBE", *channels), len(channels))
    if kind == 4:
        return Request(LISTENER, (b"UNSUBSCRIBE", *channels), len(channels))
    if kind == 5:
        return Request(LISTENER, (b"PUNSUBSCRIBE", *patterns), len(patterns))
    if kind == 6:
        return Request(LISTENER, (b"SUNSUBSCRIBE", *channels), len(channels))
    if rng.random() < 0.5:
        return Request(LISTENER, (b"PING", b"hello") if rng.random() < 0.5 else (b"PING",))
    # In RESP3 a subscribed client may do everything; what changes state is left out there.
    return Request(LISTENER, rng.choice(FORBIDDEN) if protocol == 2 else (b"EXISTS", b"k1"))


def publisher(rng: random.Random, m: Material) -> Request:
    kind = rng.randrange(6)
    if kind <= 2:
        return Request(HELPER, (b"PUBLISH", rng.choice(CHANNELS), m.value()))
    if kind == 3:
        return Request(HELPER, (b"SPUBLISH", rng.choice(CHANNELS), m.value()))
    if kind == 4:
        return Request(HELPER, (b"PUBSUB", b"NUMSUB", *CHANNELS))
    return Request(
        HELPER,
        rng.choice(
            (
                (b"PUBSUB", b"NUMPAT"), (b"PUBSUB", b"CHANNELS"), (b"PUBSUB", b"CHANNELS", b"n*"),
                (b"PUBSUB", b"SHARDCHANNELS"), (b"PUBSUB", b"SHARDNUMSUB", *CHANNELS),
            )
        ),
    )  # fmt: skip
