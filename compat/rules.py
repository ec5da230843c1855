"""When two replies that differ in bytes still agree: the declared tolerances, one row each.

A rule belongs to a command, names its entry in differences.py, and compares two values. No row, no
tolerance.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compat.differences import DIFFERENCES
from compat.frames import Value, read_value
from compat.steps import Argv

CONTAINERS = frozenset(
    {b"object", b"client", b"config", b"command", b"memory", b"pubsub", b"slowlog", b"latency", b"debug"}
)
Same = Callable[[Argv, Value, Value], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    command: str
    difference: str
    same: Same


def same_shape(_argv: Argv, redis: Value, us: Value) -> bool:
    """The same kind, and for aggregates the same kinds inside."""
    if redis.kind != us.kind or redis.is_null != us.is_null or redis.is_error:
        return False
    if not isinstance(redis.items, list):
        return True
    return len(redis.items) == len(us.items) and all(
        same_shape(_argv, left, right) for left, right in zip(redis.items, us.items, strict=True)
    )


def integers_within(bound: int, least: int = 0) -> Same:
    """Both integers above `least`, no further apart than the bound."""

    def same(_argv: Argv, redis: Value, us: Value) -> bool:
        if redis.kind != ":" or us.kind != ":":
            return False
        left, right = int(redis.items), int(us.items)
        return left >= least and right >= least and abs(left - right) <= bound

    return same


def same_set(_argv: Argv, redis: Value, us: Value) -> bool:
    """The same items in any order."""
    if redis.kind != us.kind or redis.kind not in "*~" or redis.is_null or us.is_null:
        return False
    return Counter(map(repr, redis.items)) == Counter(map(repr, us.items))


def same_pairs(_argv: Argv, redis: Value, us: Value) -> bool:
    """The same fields with the same values in any order."""
    if redis.kind != us.kind or redis.kind not in "*%" or len(redis.items) != len(us.items):
        return False
    left, right = (sorted(zip(map(repr, v.items[0::2]), map(repr, v.items[1::2]), strict=True)) for v in (redis, us))
    return left == right


def same_scan(argv: Argv, redis: Value, us: Value) -> bool:
    """From cursor 0 with room for all: cursor and set; with another cursor any part of the keys is right."""
    if redis.kind != "*" or us.kind != "*" or len(redis.items) != 2 or len(us.items) != 2:
        return False
    if argv[1] not in (b"0", b"-0", b"+0") or b"100000" not in argv:
        return same_shape(argv, redis.items[0], us.items[0])
    return bool(redis.items[0] == us.items[0]) and same_set(argv, redis.items[1], us.items[1])


def same_fields(_argv: Argv, redis: Value, us: Value) -> bool:
    """CLIENT INFO and LIST: every field name of Redis, in Redis's order; newer ones may stand between."""
    if redis.kind != us.kind or redis.is_null or us.is_null or redis.is_error:
        return False
    left, right = field_names(redis.items), iter(field_names(us.items))
    return all(name in right for name in left)


def field_names(text: bytes) -> list[bytes]:
    first = text.removeprefix(b"txt:").partition(b"\n")[0]
    return [word.partition(b"=")[0] for word in first.split()]


def same_hello(_argv: Argv, redis: Value, us: Value) -> bool:
    """The same field names in the same order; proto, mode and role the same."""
    if redis.kind != us.kind or redis.is_error or len(redis.items) != len(us.items):
        return False
    if redis.items[0::2] != us.items[0::2]:
        return False
    pairs = zip(redis.items[0::2], redis.items[1::2], us.items[1::2], strict=True)
    free = (b"id", b"version")
    return all(left == right or name.items in free for name, left, right in pairs)


def idle_time_untracked(_argv: Argv, redis: Value, us: Value) -> bool:
    return redis.kind == ":" and us.is_error and us.items.startswith(b"ERR An LRU maxmemory policy is not selected")


def password_unverified(_argv: Argv, redis: Value, us: Value) -> bool:
    return redis.is_error and us.is_error and us.items.startswith(b"ERR A transaction cannot wait")


def encoding_by_value(_argv: Argv, redis: Value, us: Value) -> bool:
    return (redis.items, us.items) in ((b"raw", b"int"), (b"raw", b"embstr"), (b"embstr", b"int"))


def newer_than_peer(_argv: Argv, redis: Value, us: Value) -> bool:
    """The peer does not know the request; we must."""
    return (
        redis.is_error
        and redis.items.startswith(b"ERR unknown")
        and not (us.is_error and us.items.startswith(b"ERR unknown"))
    )


RULES: tuple[Rule, ...] = (
    Rule("ttl", "time-left", integers_within(2, least=1)),
    Rule("pttl", "time-left", integers_within(2000, least=1)),
    Rule("expiretime", "time-left", integers_within(2, least=1)),
    Rule("pexpiretime", "time-left", integers_within(2000, least=1)),
    Rule("keys", "key-order", same_set),
    Rule("scan", "key-order", same_scan),
    Rule("config|get", "config-order", same_pairs),
    Rule("time", "clock", same_shape),
    Rule("lastsave", "clock", same_shape),
    Rule("object|idletime", "idle-time", idle_time_untracked),
    Rule("object|idletime", "idle-time", integers_within(10)),
    Rule("object|encoding", "encoding", encoding_by_value),
    Rule("object|refcount", "refcount", same_shape),
    Rule("client|id", "client-identity", same_shape),
    Rule("client|info", "client-identity", same_fields),
    Rule("client|list", "client-identity", same_fields),
    Rule("auth", "auth-in-transaction", password_unverified),
    Rule("hello", "hello", same_hello),
    Rule("lolwut", "lolwut", same_shape),
    Rule("memory|usage", "memory", same_shape),
    Rule("dump", "dump-format", same_shape),
    Rule("command|count", "command-table", same_shape),
    Rule("role", "role-offset", same_shape),
    Rule("client|setinfo", "new-in-7.2", newer_than_peer),
    Rule("client|no-touch", "new-in-7.2", newer_than_peer),
)
BY_COMMAND: dict[str, list[Rule]] = {}
for _rule in RULES:
    assert _rule.command in DIFFERENCES[_rule.difference].commands, _rule
    BY_COMMAND.setdefault(_rule.command, []).append(_rule)


def command_name(argv: Argv) -> str:
    """ "get", "object|encoding": the name under which a request is looked up."""
    name = argv[0].lower()
    if name in CONTAINERS and len(argv) > 1:
        name += b"|" + argv[1].lower()
    return name.decode("latin-1")


def cut_at_zero_byte(argv: Argv, redis: Value, us: Value) -> bool:
    """An error that quotes a word of the request (differences.py: zero-byte)."""
    if not (redis.is_error and us.is_error and any(b"\0" in word for word in argv)):
        return False
    return len(os.path.commonprefix([redis.items, us.items])) >= len(b"ERR unknown")


def values_agree(argv: Argv, redis: Value, us: Value) -> bool:
    """Equal, or by a rule of this command."""
    if redis == us or cut_at_zero_byte(argv, redis, us):
        return True
    return any(rule.same(argv, redis, us) for rule in BY_COMMAND.get(command_name(argv), ()))


def replies_agree(argv: Argv, redis: bytes, us: bytes) -> bool:
    """To the byte, or by a rule of this command."""
    return redis == us or values_agree(argv, read_value(redis), read_value(us))


def exec_difference(queued: Sequence[Argv], redis: bytes, us: bytes) -> tuple[Argv, object, object] | None:
    """The first reply inside EXEC that no rule of its own request allows; None if they agree."""
    if redis == us:
        return None
    left, right = read_value(redis), read_value(us)
    if not (has_replies(left, len(queued)) and has_replies(right, len(queued))):
        return ((b"EXEC",), redis, us)
    for argv, a, b in zip(queued, left.items, right.items, strict=True):
        if not values_agree(argv, a, b):
            return argv, a, b
    return None


def has_replies(value: Value, count: int) -> bool:
    return value.kind == "*" and not value.is_null and len(value.items) == count
