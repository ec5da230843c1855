"""DUMP and RESTORE: a value in the form in which redis-server exchanges it.

The order of RESTORE's questions is Redis's: its options, then whether the key is there, then the time to live, then
the payload. An end in the past is no error: the key is then simply gone.
Not here: the form itself (`interchange.dump_payload`).
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import SYNTAX, CommandError, error
from ..interchange.dump_payload import deserialize, serialize
from ..resp.reply import OK
from ..state.values import VERSION_BYTES
from ..state.views import ReadView, WriteTx
from .arguments import INT64_MAX, integer
from .keys import place
from .spec import READ_KEY, Argv, KeySpec, Kind, command

BUSY_KEY: Final = CommandError("BUSYKEY Target key name already exists.")
FREQ_MAX: Final = 255


@command(
    "DUMP", arity=2, kind=Kind.READ, flags="readonly", group="generic", since="2.6.0", keys=READ_KEY, syntax="key",
    tips=("nondeterministic_output",), complexity="O(N) where N is the length of the value.",
)  # fmt: skip
def dump(view: ReadView, argv: Argv) -> Any:
    """Return the value of a key in the form that RESTORE takes."""
    item = view.lookup(argv[1])
    return None if item is None else serialize(item[VERSION_BYTES:])


def _options(argv: Argv) -> tuple[bool, bool]:
    """REPLACE and ABSTTL; IDLETIME and FREQ are read and mean nothing here, as neither is part of the state."""
    replace = absolute = idle = frequent = False
    at = 4
    while at < len(argv):
        word, more = argv[at].upper(), at + 1 < len(argv)
        if word == b"REPLACE":
            replace = True
        elif word == b"ABSTTL":
            absolute = True
        elif word == b"IDLETIME" and more and not frequent:
            at, idle = at + 1, True
            if integer(argv[at]) < 0:
                raise error("Invalid IDLETIME value, must be >= 0")
        elif word == b"FREQ" and more and not idle:
            at, frequent = at + 1, True
            if not 0 <= integer(argv[at]) <= FREQ_MAX:
                raise error(f"Invalid FREQ value, must be >= 0 and <= {FREQ_MAX}")
        else:
            raise CommandError(SYNTAX)
        at += 1
    return replace, absolute


def _end(tx: WriteTx, raw: bytes, absolute: bool) -> int | None:
    """When the key is to expire; None: never."""
    ttl = integer(raw)
    if ttl < 0:
        raise error("Invalid TTL value, must be >= 0")
    if ttl == 0:
        return None
    at_ms = ttl if absolute else tx.now + ttl
    if at_ms > INT64_MAX:  # Redis lets the sum overflow, says OK and keeps nothing
        raise error("invalid expire time in 'restore' command")
    return at_ms


def _check(argv: Argv) -> None:
    _options(argv)


@command(
    "RESTORE", arity=-4, kind=Kind.WRITE, flags="write denyoom", group="generic", since="2.6.0",
    keys=KeySpec("OW update"), categories="dangerous", check=_check, plain=4,
    syntax="key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    complexity="O(N) where N is the length of the value.",
    history=(
        ("3.0.0", "Added the `REPLACE` modifier."),
        ("5.0.0", "Added the `ABSTTL` modifier."),
        ("5.0.0", "Added the `IDLETIME` and `FREQ` options."),
    ),
)  # fmt: skip
def restore(tx: WriteTx, argv: Argv) -> Any:
    """Make a key what DUMP has written, here or on a redis-server."""
    replace, absolute = _options(argv)
    key = argv[1]
    if not replace and tx.exists(key):
        raise BUSY_KEY
    at_ms = _end(tx, argv[2], absolute)
    value = deserialize(argv[3])
    if at_ms is not None and at_ms <= tx.now:
        if tx.delete(key):
            tx.event("g", "del", key)
        return OK
    place(tx, key, value, at_ms, 0)
    tx.event("g", "restore", key)
    return OK
