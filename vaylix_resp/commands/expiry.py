"""How long keys live: give, ask for and take away an expiry.

Times are kept as milliseconds since the epoch. A relative time counts from the entry's timestamp, so every replica
computes the same end; an end that has come already removes the key at once.
Not here: the expiry words of SET and GETEX (`conditional`), who removes what has expired (`operations`).
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import error, printable
from ..state.views import ReadView, WriteTx
from .arguments import INT64_MAX, INT64_MIN, integer
from .spec import READ_KEY, Argv, Check, KeySpec, Kind, command

_KEY: Final = KeySpec("RW update")
_CONDITIONS: Final = frozenset((b"NX", b"XX", b"GT", b"LT"))
_NX_ALONE: Final = error("NX and XX, GT or LT options at the same time are not compatible")
_GT_OR_LT: Final = error("GT and LT options at the same time are not compatible")
_OPTIONS_HISTORY: Final = (("7.0.0", "Added options: `NX`, `XX`, `GT` and `LT`."),)
_OPTIONS_SYNTAX: Final = "[NX | XX | GT | LT]"


def _conditions(argv: Argv) -> set[bytes]:
    found: set[bytes] = set()
    for word in argv[3:]:
        if word.upper() not in _CONDITIONS:
            raise error(f"Unsupported option {printable(word)}")
        found.add(word.upper())
    if b"NX" in found and len(found) > 1:
        raise _NX_ALONE
    if found >= {b"GT", b"LT"}:
        raise _GT_OR_LT
    return found


def _end(name: str, raw: bytes, unit_ms: int, since_ms: int) -> int:
    """The time that `raw` units after `since_ms` is; within what 64 bits hold."""
    amount = integer(raw) * unit_ms
    if not INT64_MIN <= amount <= INT64_MAX - since_ms:
        raise error(f"invalid expire time in '{name}' command")
    return amount + since_ms


def _wanted(conditions: set[bytes], at_ms: int, old: int | None) -> bool:
    """Do the conditions allow this expiry? None counts as later than any time."""
    if b"NX" in conditions and old is not None:
        return False
    if b"XX" in conditions and old is None:
        return False
    if b"GT" in conditions and (old is None or at_ms <= old):
        return False
    return not (b"LT" in conditions and old is not None and at_ms >= old)


def _expire(tx: WriteTx, argv: Argv, name: str, unit_ms: int, since_ms: int) -> int:
    conditions = _conditions(argv)
    at_ms = _end(name, argv[2], unit_ms, since_ms)
    key = argv[1]
    if not tx.exists(key) or not _wanted(conditions, at_ms, tx.expiry(key)):
        return 0
    if at_ms <= tx.now:
        tx.delete(key)
        tx.event("g", "del", key)
    else:
        tx.set_expiry(key, at_ms)
        tx.event("g", "expire", key)
    return 1


def _check(name: str, unit_ms: int) -> Check:
    """What an expiry's words must be whatever the time is; the exact bound depends on the entry's time."""

    def check(argv: Argv) -> None:
        _conditions(argv)
        _end(name, argv[2], unit_ms, 0)

    return check


@command(
    "EXPIRE", arity=-3, kind=Kind.WRITE, flags="write fast", group="generic", keys=_KEY, check=_check("expire", 1000),
    syntax=f"key seconds {_OPTIONS_SYNTAX}", history=_OPTIONS_HISTORY,
)  # fmt: skip
def expire(tx: WriteTx, argv: Argv) -> Any:
    """Let a key expire after so many seconds."""
    return _expire(tx, argv, "expire", 1000, tx.now)


@command(
    "PEXPIRE", arity=-3, kind=Kind.WRITE, flags="write fast", group="generic", since="2.6.0", keys=_KEY,
    check=_check("pexpire", 1), syntax=f"key milliseconds {_OPTIONS_SYNTAX}", history=_OPTIONS_HISTORY,
)  # fmt: skip
def pexpire(tx: WriteTx, argv: Argv) -> Any:
    """Let a key expire after so many milliseconds."""
    return _expire(tx, argv, "pexpire", 1, tx.now)


@command(
    "EXPIREAT", arity=-3, kind=Kind.WRITE, flags="write fast", group="generic", since="1.2.0", keys=_KEY,
    check=_check("expireat", 1000), syntax=f"key unix-time-seconds {_OPTIONS_SYNTAX}", history=_OPTIONS_HISTORY,
)  # fmt: skip
def expireat(tx: WriteTx, argv: Argv) -> Any:
    """Let a key expire at a time in seconds since the epoch."""
    return _expire(tx, argv, "expireat", 1000, 0)


@command(
    "PEXPIREAT", arity=-3, kind=Kind.WRITE, flags="write fast", group="generic", since="2.6.0", keys=_KEY,
    check=_check("pexpireat", 1), syntax=f"key unix-time-milliseconds {_OPTIONS_SYNTAX}", history=_OPTIONS_HISTORY,
)  # fmt: skip
def pexpireat(tx: WriteTx, argv: Argv) -> Any:
    """Let a key expire at a time in milliseconds since the epoch."""
    return _expire(tx, argv, "pexpireat", 1, 0)


NO_KEY: Final = -2
NO_EXPIRY: Final = -1


def _end_of(view: ReadView, key: bytes) -> int:
    """When the key expires, or why there is no such time."""
    if view.lookup(key, uses=False) is None:
        return NO_KEY
    at_ms = view.expiry(key)
    return NO_EXPIRY if at_ms is None else at_ms


def _left(view: ReadView, key: bytes) -> int:
    at_ms = _end_of(view, key)
    return at_ms if at_ms < 0 else max(0, at_ms - view.now)


def _seconds(ms: int) -> int:
    """Rounded to the nearest, as Redis does; the negative answers are no times."""
    return ms if ms < 0 else (ms + 500) // 1000


_NONDETERMINISTIC: Final = ("nondeterministic_output",)
_TTL_HISTORY: Final = (("2.8.0", "Added the -2 reply."),)


@command(
    "TTL", arity=2, kind=Kind.READ, flags="readonly fast", group="generic", keys=READ_KEY, syntax="key",
    tips=_NONDETERMINISTIC, history=_TTL_HISTORY,
)  # fmt: skip
def ttl(view: ReadView, argv: Argv) -> Any:
    """Return the seconds a key has left; -1 without an expiry, -2 without a key."""
    return _seconds(_left(view, argv[1]))


@command(
    "PTTL", arity=2, kind=Kind.READ, flags="readonly fast", group="generic", since="2.6.0", keys=READ_KEY,
    syntax="key", tips=_NONDETERMINISTIC, history=_TTL_HISTORY,
)  # fmt: skip
def pttl(view: ReadView, argv: Argv) -> Any:
    """Return the milliseconds a key has left; -1 without an expiry, -2 without a key."""
    return _left(view, argv[1])


@command(
    "EXPIRETIME", arity=2, kind=Kind.READ, flags="readonly fast", group="generic", since="7.0.0", keys=READ_KEY,
    syntax="key",
)  # fmt: skip
def expiretime(view: ReadView, argv: Argv) -> Any:
    """Return when a key expires, in seconds since the epoch; -1 without an expiry, -2 without a key."""
    return _seconds(_end_of(view, argv[1]))


@command(
    "PEXPIRETIME", arity=2, kind=Kind.READ, flags="readonly fast", group="generic", since="7.0.0", keys=READ_KEY,
    syntax="key",
)  # fmt: skip
def pexpiretime(view: ReadView, argv: Argv) -> Any:
    """Return when a key expires, in milliseconds since the epoch; -1 without an expiry, -2 without a key."""
    return _end_of(view, argv[1])


@command(
    "PERSIST", arity=2, kind=Kind.WRITE, flags="write fast", group="generic", since="2.2.0", keys=_KEY, syntax="key",
)  # fmt: skip
def persist(tx: WriteTx, argv: Argv) -> Any:
    """Take a key's expiry away; 1 if it had one."""
    key = argv[1]
    if not tx.exists(key) or tx.expiry(key) is None:
        return 0
    tx.set_expiry(key, None)
    tx.event("g", "persist", key)
    return 1
