"""Compare-and-set by version: TairString's EX* family and CAS, CAD, over ordinary string keys.

Replies and error texts are TairString's. Ours differ in what a version is: every write of any command moves
it, it is max(previous + 1, sequence of the entry) and never falls, not even when a key is deleted and made
again. So a stale version never passes; it does not start at 1, and ABS and EXSETVER, which could lower it,
are refused.
Not here: SET's IF VERSION (`conditional`), OBJECT VERSION (`keys`).
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import SYNTAX, CommandError, wrong_arity
from ..resp.reply import OK, Simple
from ..state.values import VERSION_BYTES, Item, version_of
from ..state.views import ReadView, WriteTx
from . import long_double
from .arguments import INT64_MAX, INT64_MIN, parse_int
from .conditional import TIMES, remove, store
from .counters import WOULD_OVERFLOW, number_in
from .long_double import LongDouble
from .spec import FIRST_KEY_RW, READ_KEY, Argv, KeySpec, Kind, command
from .strings import ensure_size
from .version_options import STALE, VersionOptions

NOT_INT: Final = "ERR value is not an integer"
NOT_FLOAT: Final = "ERR value is not a float"
BAD_BOUNDS: Final = "ERR min or max is specified, but not valid"
VERSION_NOT_INT: Final = "ERR version should be integer"
SETVER_REFUSED: Final = "ERR EXSETVER is not supported: versions only grow, so that a stale one never passes"
_EMPTY: Final = Simple("")

_EXPIRY: Final = TIMES | {b"KEEPTTL"}
_APPEND_WORDS: Final = frozenset({b"NX", b"XX", b"VER", b"ABS"})
_SET_WORDS: Final = _APPEND_WORDS | _EXPIRY | {b"FLAGS", b"WITHVERSION"}
_FLOAT_WORDS: Final = _APPEND_WORDS | _EXPIRY | {b"MIN", b"MAX"}
_INCR_WORDS: Final = _FLOAT_WORDS | {b"DEF", b"NONEGATIVE", b"WITHVERSION"}
_EXPIRY_SYNTAX: Final = (
    "[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"
)


def _exset_options(argv: Argv) -> VersionOptions:
    return VersionOptions(argv, 3, _SET_WORDS, "exset")


@command(
    "EXSET", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="string", check=_exset_options, plain=3,
    keys=KeySpec("OW update"),
    syntax=f"key value {_EXPIRY_SYNTAX} [NX | XX] [VER version] [FLAGS flags] [WITHVERSION]",
)  # fmt: skip
def exset(tx: WriteTx, argv: Argv) -> Any:
    """Set a string if its version is the one given."""
    options, key = _exset_options(argv), argv[1]
    at_ms = options.at_ms(tx.now)
    item = tx.item(key)
    if options.excluded(item):
        return None
    options.ensure_fresh(item)
    version = options.write(tx, key, argv[2], at_ms, "set")
    return version if options.has("withversion") else OK


@command(
    "EXGET", arity=-2, kind=Kind.READ, flags="readonly fast", group="string", keys=READ_KEY,
    syntax="key [WITHFLAGS]",
)  # fmt: skip
def exget(view: ReadView, argv: Argv) -> Any:
    """Return a string and its version, and its flags if asked."""
    if len(argv) > 3:
        raise wrong_arity("exget")
    if len(argv) == 3 and argv[2].upper() != b"WITHFLAGS":
        raise CommandError(SYNTAX)
    item = view.lookup(argv[1])
    if item is None:
        return None
    found = [item[VERSION_BYTES:], version_of(item)]
    return found if len(argv) == 2 else [*found, view.flags(argv[1])]


def _excas_arguments(argv: Argv) -> tuple[VersionOptions, int]:
    options = VersionOptions(argv, 4, _EXPIRY, "excas")
    version = parse_int(argv[3])
    if version is None:
        raise CommandError(VERSION_NOT_INT)
    if version < 0:
        raise CommandError(SYNTAX)
    return options, version


@command(
    "EXCAS", arity=-4, kind=Kind.WRITE, flags="write denyoom", group="string", keys=FIRST_KEY_RW,
    check=_excas_arguments, syntax=f"key new-value version {_EXPIRY_SYNTAX}",
)  # fmt: skip
def excas(tx: WriteTx, argv: Argv) -> Any:
    """Set a string if its version is the one given, else return what it is."""
    (options, version), key = _excas_arguments(argv), argv[1]
    at_ms = options.at_ms(tx.now)
    item = tx.item(key)
    if item is None:
        return -1
    if version != version_of(item):  # a status, no error, so that clients can read the rest
        return [Simple(STALE), item[VERSION_BYTES:], version_of(item)]
    return [OK, _EMPTY, options.write(tx, key, argv[2], at_ms, "set")]


def _excad_version(argv: Argv) -> int:
    version = parse_int(argv[2])
    if version is None:
        raise CommandError(SYNTAX)
    return version


@command(
    "EXCAD", arity=3, kind=Kind.WRITE, flags="write fast", group="string", keys=KeySpec("RM delete"),
    check=_excad_version, syntax="key version",
)  # fmt: skip
def excad(tx: WriteTx, argv: Argv) -> Any:
    """Delete a key if its version is the one given."""
    version, item = _excad_version(argv), tx.item(argv[1])
    if item is None:
        return -1
    if version != version_of(item):
        return 0
    remove(tx, argv[1])
    return 1


def _integer_option(options: VersionOptions, group: str, message: str) -> int | None:
    raw = options.operand(group)
    number = None if raw is None else parse_int(raw)
    if raw is not None and number is None:
        raise CommandError(message)
    return number


class _IncrArguments:
    """EXINCRBY's: the increment, and what to do at the edges."""

    def __init__(self, argv: Argv) -> None:
        options = self.options = VersionOptions(argv, 3, _INCR_WORDS, "exincrby")
        increment = parse_int(argv[2])
        if increment is None:
            raise CommandError(NOT_INT)
        self.increment = increment
        self.default = _integer_option(options, "default", NOT_INT)
        low, high = (_integer_option(options, group, BAD_BOUNDS) for group in ("min", "max"))
        if low is not None and high is not None and high < low:
            raise CommandError(BAD_BOUNDS)
        self.low = INT64_MIN if low is None else low
        self.high = INT64_MAX if high is None else high

    def result(self, item: Item | None, number: int) -> int:
        if item is None and self.default is not None:
            total = self.default  # instead of the sum, and not bounded, as in TairString
        else:
            total = number + self.increment
            if not self.low <= total <= self.high:
                raise CommandError(WOULD_OVERFLOW)
        return max(total, 0) if self.options.has("nonegative") else total


@command(
    "EXINCRBY", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="string", keys=FIRST_KEY_RW,
    check=_IncrArguments,
    syntax=f"key increment {_EXPIRY_SYNTAX} [NX | XX] [VER version] [MIN min] [MAX max] [NONEGATIVE] "
    "[DEF default] [WITHVERSION]",
)  # fmt: skip
def exincrby(tx: WriteTx, argv: Argv) -> Any:
    """Add to the integer at a key if its version is the one given and the sum is within bounds."""
    arguments, key = _IncrArguments(argv), argv[1]
    options = arguments.options
    at_ms = options.at_ms(tx.now)
    item = tx.item(key)
    if options.excluded(item):
        return None
    number = number_in(item, NOT_INT)
    options.ensure_fresh(item)
    total = arguments.result(item, number)
    version = options.write(tx, key, b"%d" % total, at_ms, "incrby")
    return [total, version] if options.has("withversion") else total


class _FloatArguments:
    """EXINCRBYFLOAT's: the increment and the bounds of the sum."""

    def __init__(self, argv: Argv) -> None:
        increment = long_double.parse(argv[2])
        if increment is None and not long_double.is_infinite(argv[2]):
            raise CommandError(NOT_FLOAT)
        self.increment = increment
        self.options = VersionOptions(argv, 3, _FLOAT_WORDS, "exincrbyfloat")
        self.low, self.high = self._bound("min"), self._bound("max")
        if self.low is not None and self.high is not None and long_double.compare(self.high, self.low) < 0:
            raise CommandError(BAD_BOUNDS)

    def _bound(self, group: str) -> LongDouble | None:
        raw = self.options.operand(group)
        bound = None if raw is None else long_double.parse(raw)
        if raw is not None and bound is None:
            raise CommandError(BAD_BOUNDS)
        return bound

    def result(self, number: LongDouble | None) -> LongDouble:
        infinite = number is None or self.increment is None
        total = None if number is None or self.increment is None else long_double.add(number, self.increment)
        if (
            infinite
            or total is None
            or (self.low is not None and long_double.compare(total, self.low) < 0)
            or (self.high is not None and long_double.compare(total, self.high) > 0)
        ):
            raise CommandError(WOULD_OVERFLOW)
        return total


@command(
    "EXINCRBYFLOAT", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="string", keys=FIRST_KEY_RW,
    check=_FloatArguments,
    syntax=f"key increment {_EXPIRY_SYNTAX} [NX | XX] [VER version] [MIN min] [MAX max]",
)  # fmt: skip
def exincrbyfloat(tx: WriteTx, argv: Argv) -> Any:
    """Add to the decimal number at a key if its version is the one given and the sum is within bounds."""
    arguments, key = _FloatArguments(argv), argv[1]
    options = arguments.options
    at_ms = options.at_ms(tx.now)
    item = tx.item(key)
    if options.excluded(item):
        return None
    text = b"0" if item is None else item[VERSION_BYTES:]
    number = long_double.parse(text)
    if number is None and not long_double.is_infinite(text):
        raise CommandError(NOT_FLOAT)
    options.ensure_fresh(item)
    total = long_double.text_of(arguments.result(number))
    options.write(tx, key, total, at_ms, "incrbyfloat")
    return total


def _exappend_options(argv: Argv) -> VersionOptions:
    return VersionOptions(argv, 3, _APPEND_WORDS, "exappend")


def _extend(tx: WriteTx, argv: Argv, *, in_front: bool) -> Any:
    options, key, more = _exappend_options(argv), argv[1], argv[2]
    item = tx.item(key)
    if options.excluded(item):
        return None
    options.ensure_fresh(item)
    if item is not None:
        ensure_size(len(item) - VERSION_BYTES + len(more))
        value = item[VERSION_BYTES:]
        more = more + value if in_front else value + more
    tx.update(key, more)
    tx.event("$", "prepend" if in_front else "append", key)
    return tx.version(key)


@command(
    "EXAPPEND", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="string", keys=KeySpec("RW insert"),
    check=_exappend_options, plain=3, syntax="key value [NX | XX] [VER version]",
)  # fmt: skip
def exappend(tx: WriteTx, argv: Argv) -> Any:
    """Add to the end of a string if its version is the one given."""
    return _extend(tx, argv, in_front=False)


@command(
    "EXPREPEND", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="string", keys=KeySpec("RW insert"),
    check=_exappend_options, plain=3, syntax="key value [NX | XX] [VER version]",
)  # fmt: skip
def exprepend(tx: WriteTx, argv: Argv) -> Any:
    """Add to the front of a string if its version is the one given."""
    return _extend(tx, argv, in_front=True)


def _exgae_options(argv: Argv) -> VersionOptions:
    return VersionOptions(argv, 2, TIMES, "exgae")


@command(
    "EXGAE", arity=-4, kind=Kind.WRITE, flags="write fast", group="string", keys=FIRST_KEY_RW,
    check=_exgae_options,
    syntax="key <EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds>",
)  # fmt: skip
def exgae(tx: WriteTx, argv: Argv) -> Any:
    """Return a string, its version and flags, and set its expiry; the version stays."""
    options, key = _exgae_options(argv), argv[1]
    at_ms = options.at_ms(tx.now)
    item = tx.lookup(key)
    if item is None:
        return None
    flags = tx.flags(key)
    tx.set_expiry(key, at_ms, moves_version=False)
    tx.event("g", "expire", key)
    return [item[VERSION_BYTES:], version_of(item), flags]


def _refuse_setver(argv: Argv) -> None:
    raise CommandError(SETVER_REFUSED)


@command(
    "EXSETVER", arity=3, kind=Kind.WRITE, flags="write", group="string", keys=FIRST_KEY_RW,
    check=_refuse_setver, syntax="key version",
)  # fmt: skip
def exsetver(tx: WriteTx, argv: Argv) -> Any:
    """Refused: a version is never set, it only grows."""
    _refuse_setver(argv)


def _cas_options(argv: Argv) -> VersionOptions:
    return VersionOptions(argv, 4, _EXPIRY, "cas")


@command(
    "CAS", arity=-4, kind=Kind.WRITE, flags="write denyoom", group="string", keys=FIRST_KEY_RW,
    check=_cas_options, complexity="O(N) where N is the length of the value.",
    syntax=f"key old-value new-value {_EXPIRY_SYNTAX}",
)  # fmt: skip
def cas(tx: WriteTx, argv: Argv) -> Any:
    """Set a string if it holds exactly the old value."""
    options, key = _cas_options(argv), argv[1]
    at_ms = options.at_ms(tx.now)
    item = tx.item(key)
    if item is None:
        return -1
    if item[VERSION_BYTES:] != argv[2]:
        return 0
    store(tx, key, argv[3], keep_ttl=options.has("expiry") and at_ms is None, at_ms=at_ms)
    return 1


@command(
    "CAD", arity=3, kind=Kind.WRITE, flags="write fast", group="string", keys=KeySpec("RM delete"),
    complexity="O(N) where N is the length of the value.", syntax="key value",
)  # fmt: skip
def cad(tx: WriteTx, argv: Argv) -> Any:
    """Delete a key if it holds exactly this value."""
    item = tx.item(argv[1])
    if item is None:
        return -1
    if item[VERSION_BYTES:] != argv[2]:
        return 0
    remove(tx, argv[1])
    return 1
