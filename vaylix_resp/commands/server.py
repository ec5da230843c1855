"""Commands about the server as a whole: time, role, acknowledgement, stopping, and what replication would be.

Not here: INFO (`info`), snapshots (`persistence`), diagnostics (`latency`, `memory`, `slowlog`, `debug`).
"""

from __future__ import annotations

from typing import Final

from ..errors import SYNTAX, CommandError, error
from ..identity import REDIS_VERSION, VAYLIX_VERSION
from ..resp.reply import OK, Reply, Verbatim
from .arguments import INT64_MAX, bounded, help_reply, integer, matches, parse_int
from .ports import Client, Later
from .spec import Argv, Kind, command, container

DURABLE_POLL_S: Final = 0.01  # how often WAITAOF looks; with everysec the log is synced once a second
_NO_REPLICATION: Final = "ERR replication is not offered by this version; this server stays a master of its own data"


@command(
    "TIME", arity=1, kind=Kind.SESSION, flags="loading stale fast", group="server", since="2.6.0",
    tips=("nondeterministic_output",),
)  # fmt: skip
def time(client: Client, argv: Argv) -> Reply:
    """The server's clock: seconds since the epoch, and microseconds within the second."""
    seconds, micros = divmod(client.server.clock.wall_us(), 1_000_000)
    return [b"%d" % seconds, b"%d" % micros]


@command(
    "ROLE", arity=1, kind=Kind.SESSION, flags="noscript loading stale fast", group="server", since="2.8.12",
    categories="admin dangerous",
)  # fmt: skip
def role(client: Client, argv: Argv) -> Reply:
    """What part this server plays: a master, the sequence of its last entry, and no replicas."""
    return [b"master", client.server.node.last_sequence, []]


# Acknowledgement.


def _timeout_ms(raw: bytes) -> int:
    timeout = integer(raw, "ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise error("timeout is negative")
    return timeout


def _wait_in_vain(client: Client, timeout_ms: int, reply: Reply) -> Reply:
    """`reply` after the time the client is willing to wait; for ever with 0. (A transaction does not wait.)"""
    later = Later(blocking=True, timeout_reply=reply)
    if timeout_ms:
        timer = client.server.call_later(timeout_ms / 1000, lambda: later.resolve(reply))
        later.on_cancel = timer.cancel
    return later


@command(
    "WAIT", arity=3, kind=Kind.SESSION, flags="noscript", group="generic", since="3.0.0",
    categories="connection -keyspace", syntax="numreplicas timeout",
    tips=("request_policy:all_shards", "response_policy:agg_min"),
)  # fmt: skip
def wait(client: Client, argv: Argv) -> Reply:
    """How many replicas have this client's writes: none, as there are none; more are waited for in vain."""
    wanted, timeout_ms = integer(argv[1]), _timeout_ms(argv[2])
    return 0 if wanted <= 0 else _wait_in_vain(client, timeout_ms, 0)


@command(
    "WAITAOF", arity=4, kind=Kind.SESSION, flags="noscript", group="generic", since="7.2.0",
    categories="connection -keyspace", syntax="numlocal numreplicas timeout",
    tips=("request_policy:all_shards", "response_policy:agg_min"),
)  # fmt: skip
def waitaof(client: Client, argv: Argv) -> Reply:
    """Whether this client's writes are on disk: here (1 or 0), and on how many replicas (none)."""
    local = bounded(argv[1], 0, 1, "ERR value is out of range, value must between 0 and 1")
    replicas = bounded(argv[2], 0, INT64_MAX, "ERR value is out of range, must be positive")
    timeout_ms = _timeout_ms(argv[3])
    sequence = client.server.node.applied  # this runs behind the session's own writes, so they are in it
    if replicas == 0 and (not local or _durable(client, sequence)):
        return [_durable(client, sequence), 0]
    deadline = client.server.clock.now() + timeout_ms / 1000 if timeout_ms else None
    return _DiskWait(client, sequence, deadline, enough=replicas == 0).later


def _durable(client: Client, sequence: int) -> int:
    return int(client.server.node.wal.durable >= sequence)


class _DiskWait:
    """Looks every DURABLE_POLL_S whether `sequence` is on disk; answers [1, 0] then, if that is `enough`.

    Otherwise, or when `deadline` (monotonic seconds) comes first, the answer is what holds at that moment.
    """

    def __init__(self, client: Client, sequence: int, deadline: float | None, *, enough: bool) -> None:
        self._client, self._sequence, self._deadline, self._enough = client, sequence, deadline, enough
        self.later = Later(on_cancel=self._stop, blocking=True)
        self._look()

    def _look(self) -> None:
        server = self._client.server
        local = _durable(self._client, self._sequence)
        self.later.timeout_reply = [local, 0]
        if (local and self._enough) or (self._deadline is not None and server.clock.now() >= self._deadline):
            self.later.resolve([local, 0])
        elif not self.later.done:
            self._timer = server.call_later(DURABLE_POLL_S, self._look)

    def _stop(self) -> None:
        self._timer.cancel()


# Stopping.


@command(
    "SHUTDOWN", arity=-1, kind=Kind.SESSION, flags="admin noscript loading stale no_multi allow_busy",
    group="server", syntax="[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
    complexity="O(N) when saving, where N is the total number of keys in all databases, otherwise O(1)",
    history=(("7.0.0", "Added the `NOW`, `FORCE` and `ABORT` modifiers."),),
)  # fmt: skip
def shutdown(client: Client, argv: Argv) -> Reply:
    """Stop in order: what is acknowledged is durable already, so saving means one more snapshot."""
    words = [word.upper() for word in argv[1:]]
    known = {b"SAVE", b"NOSAVE", b"NOW", b"FORCE", b"ABORT"}
    if not set(words) <= known or {b"SAVE", b"NOSAVE"} <= set(words):
        raise CommandError(SYNTAX)
    if b"ABORT" in words:
        if set(words) != {b"ABORT"}:
            raise CommandError(SYNTAX)
        raise error("No shutdown in progress.")
    save = True if b"SAVE" in words else False if b"NOSAVE" in words else None
    return client.server.shutdown(save=save, now=b"NOW" in words, force=b"FORCE" in words)


# What Redis's replication would be.


def _become_replica(client: Client, argv: Argv) -> Reply:
    if matches(argv[1], b"NO") and matches(argv[2], b"ONE"):
        return OK  # what it is already
    port = parse_int(argv[2])
    if port is None or not 0 <= port <= 65535:
        raise error("Invalid master port")
    raise CommandError(_NO_REPLICATION)


_REPLICA_FLAGS: Final = "admin noscript stale no_async_loading"
_REPLICA_SYNTAX: Final = "<host port | NO ONE>"


@command(
    "REPLICAOF", arity=3, kind=Kind.SESSION, flags=_REPLICA_FLAGS, group="server", since="5.0.0",
    syntax=_REPLICA_SYNTAX,
)  # fmt: skip
def replicaof(client: Client, argv: Argv) -> Reply:
    """Refused, as this server replicates from nobody; NO ONE is what it is."""
    return _become_replica(client, argv)


@command(
    "SLAVEOF", arity=3, kind=Kind.SESSION, flags=_REPLICA_FLAGS, group="server", syntax=_REPLICA_SYNTAX,
    doc_flags=("deprecated",), deprecated_since="5.0.0", replaced_by="`REPLICAOF`",
)  # fmt: skip
def slaveof(client: Client, argv: Argv) -> Reply:
    """The old name of REPLICAOF."""
    return _become_replica(client, argv)


_SYNC_FLAGS: Final = "admin noscript no_async_loading no_multi"


@command("SYNC", arity=1, kind=Kind.SESSION, flags=_SYNC_FLAGS, group="server", complexity="")
def sync(client: Client, argv: Argv) -> Reply:
    """Refused: data does not leave this server as an RDB stream."""
    raise error("SYNC is not offered: there is no RDB stream; copy the data with SCAN and DUMP")


@command(
    "PSYNC", arity=-3, kind=Kind.SESSION, flags=_SYNC_FLAGS, group="server", since="2.8.0", complexity="",
    syntax="replicationid offset",
)  # fmt: skip
def psync(client: Client, argv: Argv) -> Reply:
    """Refused: a Redis replica cannot follow this server."""
    raise error("PSYNC is not offered: a Redis replica cannot follow this server")


@command(
    "FAILOVER", arity=-1, kind=Kind.SESSION, flags="admin noscript stale", group="server", since="6.2.0",
    syntax="[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
)  # fmt: skip
def failover(client: Client, argv: Argv) -> Reply:
    """Refused: there is no replica to hand over to."""
    if len(argv) == 2 and matches(argv[1], b"ABORT"):
        raise error("No failover in progress.")
    at, seen = 1, set()
    while at < len(argv):
        word, left = argv[at].upper(), len(argv) - at - 1
        taken = {b"TO": 2, b"TIMEOUT": 1, b"FORCE": 0}.get(word)
        if taken is None or taken > left or word in seen:
            raise CommandError(SYNTAX)
        if word == b"TIMEOUT" and integer(argv[at + 1]) <= 0:
            raise error("FAILOVER timeout must be greater than 0")
        if word == b"TO":
            integer(argv[at + 2])
        seen.add(word)
        at += 1 + taken
    raise error("FAILOVER requires connected replicas.")


# Modules and art.

container("MODULE", group="server", since="4.0.0", summary="Modules, of which there are none.")


@command(
    "MODULE|LIST", arity=2, kind=Kind.SESSION, flags="admin noscript", group="server", since="4.0.0",
    complexity="O(N) where N is the number of loaded modules.", tips=("nondeterministic_output_order",),
)  # fmt: skip
def module_list(client: Client, argv: Argv) -> Reply:
    """The modules that are loaded: none, and none can be."""
    return []


@command("MODULE|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server", since="5.0.0")
def module_help(client: Client, argv: Argv) -> Reply:
    """The forms of MODULE."""
    return help_reply("MODULE", "LIST", "    Return a list of loaded modules.")


ART_COLUMNS, ART_ROWS = 64, 24


def rule_30(seed: int) -> list[str]:
    """Wolfram's automaton from a row of 64 cells: every cell becomes left XOR (itself OR right)."""
    ones = (1 << ART_COLUMNS) - 1
    row, rows = seed & ones or 1, []
    for _ in range(ART_ROWS):
        rows.append(f"{row:0{ART_COLUMNS}b}".replace("0", " ").replace("1", "#").rstrip())
        left = (row >> 1 | row << (ART_COLUMNS - 1)) & ones
        right = (row << 1 | row >> (ART_COLUMNS - 1)) & ones
        row = left ^ (row | right)
    return rows


@command(
    "LOLWUT", arity=-1, kind=Kind.SESSION, flags="readonly fast", group="server", since="5.0.0", complexity="",
    syntax="[VERSION version]",
)  # fmt: skip
def lolwut(client: Client, argv: Argv) -> Reply:
    """A picture grown from the length of the log, and the version."""
    if len(argv) >= 3 and matches(argv[1], b"VERSION"):
        integer(argv[2])
    rows = rule_30(client.server.node.last_sequence * 0x9E3779B97F4A7C15 | 1 << (ART_COLUMNS // 2))
    text = "\n".join([*rows, "", f"Vaylix RESP ver. {VAYLIX_VERSION}, as Redis ver. {REDIS_VERSION}", ""])
    return Verbatim(text.encode())
