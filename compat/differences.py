"""Every way in which we are known to answer otherwise than Redis: the one list, for people and for
machines.

compat/COMMANDS.md is written from it, and each rule of the differential run (rules.py) names the entry
that allows it. What is not here must be the same to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    TOLERANCE = "compared with a tolerance"  # the reply depends on time, chance or the machine; we mean the same
    PEER = "peer is older"  # redis-server 7.0.15 is the peer, Redis 7.2 the target
    DIFFERENT = "different"  # we answer otherwise, on purpose


@dataclass(frozen=True, slots=True)
class Difference:
    """`commands` are lower-case names, subcommands as container|sub; the text says how, for the table."""

    kind: Kind
    commands: tuple[str, ...]
    text: str


DIFFERENCES: dict[str, Difference] = {
    "time-left": Difference(
        Kind.TOLERANCE,
        ("ttl", "pttl", "expiretime", "pexpiretime"),
        "times may differ by 2 seconds: the two servers read the request at different moments",
    ),
    "key-order": Difference(Kind.TOLERANCE, ("keys", "scan"), "the order of keys is free; the set must agree"),
    "config-order": Difference(Kind.TOLERANCE, ("config|get",), "the order of the directives is free"),
    "pattern-order": Difference(
        Kind.TOLERANCE,
        ("psubscribe",),
        "a message that matches several patterns arrives once for each, in any order",
    ),
    "random-key": Difference(Kind.TOLERANCE, ("randomkey",), "each server must name a key that exists there"),
    "clock": Difference(Kind.TOLERANCE, ("time", "lastsave"), "the shape is compared, not the time"),
    "idle-time": Difference(
        Kind.DIFFERENT, ("object|idletime",), "an error: no time of the last access is kept for each key"
    ),
    "encoding": Difference(
        Kind.DIFFERENT,
        ("object|encoding",),
        "int, embstr or raw follows from the value alone; in Redis also from how it came about, as by APPEND",
    ),
    "immutable-directives": Difference(
        Kind.DIFFERENT, ("config|set",), "some directives that Redis changes at run time are fixed at start here"
    ),
    "refcount": Difference(
        Kind.TOLERANCE,
        ("object|refcount",),
        "an integer; how often a value is shared inside is nobody's business",
    ),
    "client-identity": Difference(
        Kind.TOLERANCE,
        ("client|id", "client|info", "client|list"),
        "ids, addresses and sizes are our own; every field of Redis must be there",
    ),
    "hello": Difference(
        Kind.TOLERANCE, ("hello",), "the fields are compared; id is our own, version is that of the server"
    ),
    "lolwut": Difference(Kind.DIFFERENT, ("lolwut",), "text of our own"),
    "memory": Difference(
        Kind.DIFFERENT,
        ("memory|usage", "memory|stats", "memory|doctor", "memory|malloc-stats"),
        "figures of our own memory, of the same meaning",
    ),
    "dump-format": Difference(
        Kind.DIFFERENT,
        ("dump",),
        "a payload of RDB version 11, possibly less compressed; RESTORE accepts Redis's payloads",
    ),
    "command-table": Difference(
        Kind.DIFFERENT,
        ("command|count", "command|list", "command|docs", "command"),
        "the commands that we have",
    ),
    "role-offset": Difference(Kind.DIFFERENT, ("role",), "the offset counts log entries, not bytes"),
    "new-in-7.2": Difference(
        Kind.PEER,
        ("client|setinfo", "client|no-touch", "waitaof", "cluster|myshardid"),
        "new in Redis 7.2; redis-server 7.0.15 does not know it, so it is tested apart",
    ),
}


def of_command(name: str) -> list[Difference]:
    return [difference for difference in DIFFERENCES.values() if name in difference.commands]
