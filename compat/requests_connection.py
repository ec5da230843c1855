"""Random requests about the connection, transactions and the server whose replies do not depend on the
machine."""

from __future__ import annotations

from compat.material import Material
from compat.requests_strings import Builder, Words

UNKNOWN = (
    [b"NOSUCH"], [b"nosuch", b"a", b"b c", b"\r\n"], [b""], [b"GETT", b"k1"], [b"get ", b"k1"],
    [b"x" * 300, b"y" * 300],
    [b"COMMAND", b"NOSUCH"], [b"OBJECT", b"NOSUCH", b"k1"], [b"CONFIG", b"NOSUCH"], [b"CLIENT", b"nosuch", b"x"],
    [b"PUBSUB", b"NOSUCH"], [b"MEMORY", b"NOSUCH"], [b"SLOWLOG", b"NOSUCH"], [b"LATENCY", b"NOSUCH"],
    [b"OBJECT"], [b"CLIENT"], [b"CONFIG"], [b"PUBSUB"], [b"GET"], [b"SET", b"k1"], [b"DEL"], [b"MGET"],
    [b"MSET", b"a"],
    [b"OBJECT", b"ENCODING"], [b"OBJECT", b"FREQ", b"a", b"b"], [b"CLIENT", b"ID", b"x"], [b"EXEC", b"now"],
    [b"SET", b"k1", b"v", b"EX"], [b"SET", b"k1", b"v", b"EX", b"10", b"PX", b"10"], [b"SET", b"k1", b"v", b"NOSUCH"],
    [b"LCS", b"k1"], [b"BITOP", b"NOT", b"k1"], [b"BITFIELD", b"k1", b"GET"], [b"BITFIELD", b"k1", b"NOSUCH", b"u8"],
    [b"GETEX", b"k1", b"EX"], [b"GETEX", b"k1", b"PERSIST", b"EX", b"5"], [b"COPY", b"k1"], [b"SORT"],
    [b"WAIT", b"0"],
    [b"EXPIRE", b"k1"], [b"EXPIRE", b"k1", b"1000000", b"NOSUCH"], [b"SUBSCRIBE"], [b"PUBLISH", b"a"], [b"ECHO"],
)  # fmt: skip


def ping(m: Material) -> Words:
    return [b"PING", *m.some([m.value()], share=0.4)] if m.chance(0.7) else [b"ECHO", m.value()]


def unknown(m: Material) -> Words:
    return list(m.rng.choice(UNKNOWN))


def client(m: Material) -> Words:
    shapes: tuple[Words, ...] = (
        [b"CLIENT", b"GETNAME"], [b"CLIENT", b"SETNAME", m.pick((b"me", b"", b"a b", b"worker-1", b"\xff"))],
        [b"CLIENT", b"ID"], [b"CLIENT", b"GETREDIR"], [b"CLIENT", b"NO-EVICT", m.pick((b"ON", b"off", b"maybe"))],
        [b"CLIENT", b"UNPAUSE"], [b"CLIENT", b"REPLY", m.pick((b"ON", b"maybe"))], [b"CLIENT", b"TRACKINGINFO"],
        [b"CLIENT", b"KILL", b"ID", b"99999999"], [b"CLIENT", b"KILL", b"1.2.3.4:5"],
        [b"CLIENT", b"KILL", b"ID", b"x"],
        [b"CLIENT", b"KILL", b"TYPE", b"nosuch"], [b"CLIENT", b"KILL", b"ADDR"],
        [b"CLIENT", b"KILL", b"USER", b"nosuch"],
        [b"CLIENT", b"UNBLOCK", b"99999999"], [b"CLIENT", b"UNBLOCK", b"99999999", b"NOSUCH"],
        [b"CLIENT", b"CACHING", m.pick((b"YES", b"no", b"maybe"))], [b"CLIENT", b"INFO"], [b"CLIENT", b"LIST"],
        [b"CLIENT", b"LIST", b"TYPE", m.pick((b"normal", b"pubsub", b"master", b"nosuch"))],
        [b"CLIENT", b"LIST", b"ID", b"99999999"], [b"CLIENT", b"LIST", b"ID", b"x"], [b"CLIENT", b"PAUSE", b"x"],
        [b"CLIENT", b"TRACKING", b"maybe"], [b"CLIENT", b"TRACKING", b"on", b"NOSUCH"],
        [b"CLIENT", b"TRACKING", b"off"],
        [b"CLIENT", b"TRACKING", b"on", b"PREFIX", b"a"], [b"CLIENT", b"TRACKING", b"on", b"OPTIN", b"OPTOUT"],
        [b"CLIENT", b"TRACKING", b"on", b"REDIRECT", b"99999999"], [b"CLIENT", b"PAUSE", b"0", b"NOSUCH"],
        [b"CLIENT", b"SETINFO", m.pick((b"LIB-NAME", b"lib-ver", b"LIB-NOSUCH")), m.pick((b"x", b"a b", b"1.2"))],
        [b"CLIENT", b"NO-TOUCH", m.pick((b"on", b"OFF"))],
    )  # fmt: skip
    return m.rng.choice(shapes)


def server(m: Material) -> Words:
    shapes: tuple[Words, ...] = (
        [b"TIME"], [b"LASTSAVE"], [b"ROLE"], [b"WAIT", b"0", b"0"], [b"WAIT", b"0", b"10"], [b"HELLO"],
        [b"HELLO", b"4"], [b"HELLO", b"x"], [b"HELLO", b"2", b"NOSUCH"], [b"HELLO", b"2", b"AUTH", b"a"],
        [b"HELLO", b"2", b"SETNAME"], [b"AUTH", b"secret"], [b"AUTH", b"default", b"x"], [b"AUTH", b"u", b"p", b"x"],
        [b"AUTH", b"nosuch", b"p"], [b"CONFIG", b"GET", b"databases"], [b"CONFIG", b"GET", b"nosuch"],
        [b"CONFIG", b"SET", b"nosuch", b"1"], [b"CONFIG", b"SET", b"databases"],
        [b"CONFIG", b"SET", b"maxclients", b"x"],
        [b"CONFIG", b"GET", b"maxmemory-policy", b"timeout", b"maxclients"], [b"CONFIG", b"GET", b"notify-keyspace*"],
        [b"CONFIG", b"SET", b"timeout", m.pick((b"0", b"x", b"-1"))], [b"CONFIG", b"RESETSTAT"],
        [b"CONFIG", b"SET", b"notify-keyspace-events", m.pick((b"", b"KEA", b"Kg$", b"Ex", b"KEn", b"Em", b"q"))],
        [b"COMMAND", b"GETKEYS", *command_example(m)], [b"COMMAND", b"GETKEYSANDFLAGS", *command_example(m)],
        [b"COMMAND", b"GETKEYS"], [b"COMMAND", b"INFO", b"nosuch"], [b"COMMAND", b"DOCS", b"nosuch"],
        [b"COMMAND", b"COUNT"], [b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", b"nosuch*"],
        [b"COMMAND", b"LIST", b"FILTERBY", m.pick((b"ACLCAT", b"MODULE", b"NOSUCH")), b"nosuch"],
        [b"SLOWLOG", b"RESET"], [b"SLOWLOG", b"GET", b"-2"], [b"SLOWLOG", b"GET", b"x"],
        [b"LATENCY", b"RESET", b"nosuch"],
        [b"LATENCY", b"HISTORY", b"nosuch"], [b"LATENCY", b"LATEST"], [b"MEMORY", b"USAGE", m.key()],
        [b"MEMORY", b"USAGE", m.key(), b"SAMPLES", m.pick((b"0", b"5", b"-1", b"x"))],
        [b"LOLWUT", b"VERSION", b"5", b"1"],
        [b"PUBSUB", b"CHANNELS"], [b"PUBSUB", b"NUMPAT"], [b"PUBSUB", b"NUMSUB", b"a", b"b"], [b"PUBSUB", b"NUMSUB"],
        [b"PUBSUB", b"SHARDCHANNELS"], [b"PUBSUB", b"SHARDNUMSUB", b"a"], [b"PUBLISH", m.key(), m.value()],
        [b"SPUBLISH", m.key(), m.value()],  [b"UNSUBSCRIBE", b"a"],
        [b"PUNSUBSCRIBE", b"a*"], [b"SUNSUBSCRIBE", b"a"], [b"DEBUG", b"NOSUCH"], [b"REPLICAOF", b"NO"],
    )  # fmt: skip
    return m.rng.choice(shapes)


def command_example(m: Material) -> Words:
    """A request for COMMAND GETKEYS to look into."""
    shapes: tuple[Words, ...] = (
        [b"GET", b"a"], [b"MSET", b"a", b"1", b"b", b"2"], [b"SET", b"a", b"b", b"GET"],
        [b"BITOP", b"AND", b"d", b"a", b"b"],
        [b"COPY", b"a", b"b"], [b"SORT", b"a", b"STORE", b"b"], [b"SORT", b"a", b"BY", b"b*"],
        [b"DEL", b"a", b"b", b"c"],
        [b"PING"], [b"NOSUCH", b"a"], [b"GET"], [b"LCS", b"a", b"b"], [b"OBJECT", b"ENCODING", b"a"],
        [b"RENAME", b"a", b"b"],
        [b"MEMORY", b"USAGE", b"a"], [b"GETEX", b"a"], [b"BITFIELD", b"a", b"GET", b"u8", b"0"],
        [b"RESTORE", b"a", b"0", b"x"],
        [b"SETEX", b"a", b"1", b"b"], [b"MGET", b"a", b"b"], [b"WATCH", b"a", b"b"], [b"EXPIRE", b"a", b"1"],
    )  # fmt: skip
    return m.rng.choice(shapes)


def watch(m: Material) -> Words:
    return [b"WATCH", *m.keys(3)] if m.chance(0.85) else [b"UNWATCH"]


def transaction(m: Material) -> Words:
    return [m.pick((b"MULTI", b"MULTI", b"MULTI", b"EXEC", b"DISCARD"))]


CONNECTION: tuple[tuple[int, Builder], ...] = (
    (4, ping), (5, unknown), (4, client), (5, server), (5, watch), (5, transaction),
)  # fmt: skip
