"""Writes with a condition: the one grammar of SET's options, and the commands that consist of little else.

SET, GETEX, MSETEX and the CAS family read their options here, so a word means the same everywhere. Of one
group (conditions; ways to expire) a request may name one word; naming it twice is allowed and the last one
counts.
Promise: `parse_options` and `deadline` need no state: what they refuse at apply, `check` refuses before.
Not here: the EX* commands' own words VER, ABS, FLAGS, MIN, MAX, DEF (`versioned`).
"""

from __future__ import annotations

import re
from typing import Any, Final

import xxhash

from ..errors import SYNTAX, CommandError, wrong_arity
from ..state.values import VERSION_BYTES, Item, version_of
from ..state.views import ReadView, WriteTx
from .arguments import INT64_MAX, bounded, integer, parse_int
from .spec import READ_KEY, Argv, KeySpec, Kind, command

# word -> (the group in which it excludes the others, operands that follow it)
_CONDITION, _EXPIRY, _GET = "condition", "expiry", "get"
_WORDS: Final = {
    b"NX": (_CONDITION, 0),
    b"XX": (_CONDITION, 0),
    b"IFEQ": (_CONDITION, 1),
    b"IFNE": (_CONDITION, 1),
    b"IFDEQ": (_CONDITION, 1),
    b"IFDNE": (_CONDITION, 1),
    b"IF": (_CONDITION, 2),  # IF VERSION n
    b"EX": (_EXPIRY, 1),
    b"PX": (_EXPIRY, 1),
    b"EXAT": (_EXPIRY, 1),
    b"PXAT": (_EXPIRY, 1),
    b"KEEPTTL": (_EXPIRY, 0),
    b"PERSIST": (_EXPIRY, 0),
    b"GET": (_GET, 0),
}
COMPARISONS: Final = frozenset({b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"})
TIMES: Final = frozenset({b"EX", b"PX", b"EXAT", b"PXAT"})
SET_WORDS: Final = frozenset(_WORDS) - {b"PERSIST"}
GETEX_WORDS: Final = TIMES | {b"PERSIST"}
MSETEX_WORDS: Final = TIMES | {b"NX", b"XX", b"KEEPTTL"}

BAD_DIGEST: Final = "ERR must be exactly 16 hexadecimal characters"
BAD_CONDITION: Final = "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"
_DIGEST: Final = re.compile(rb"[0-9a-fA-F]{16}\Z")
NUMKEYS_MAX: Final = (1 << 31) - 1  # Redis's bound, before it looks at how many words there are


class Options:
    """What a request's option words say; `expiry` is the word that names how to expire, or empty."""

    __slots__ = ("amount", "condition", "expiry", "get", "operand")

    def __init__(self) -> None:
        self.condition = self.operand = b""
        self.expiry = self.amount = b""
        self.get = False

    @property
    def keeps_ttl(self) -> bool:
        return self.expiry == b"KEEPTTL"


def parse_options(argv: Argv, at: int, allowed: frozenset[bytes]) -> Options:
    """The option words from `argv[at]` on; SYNTAX if one is unknown, incomplete or excluded."""
    found = Options()
    while at < len(argv):
        word = argv[at].upper()
        if word not in allowed:
            raise CommandError(SYNTAX)
        group, operands = _WORDS[word]
        if at + operands >= len(argv):
            raise CommandError(SYNTAX)
        operand = argv[at + operands] if operands else b""
        if group is _CONDITION:
            if found.condition not in (b"", word) or (operands == 2 and argv[at + 1].upper() != b"VERSION"):
                raise CommandError(SYNTAX)
            found.condition, found.operand = word, operand
        elif group is _EXPIRY:
            if found.expiry not in (b"", word):
                raise CommandError(SYNTAX)
            found.expiry, found.amount = word, operand
        else:
            found.get = True
        at += operands + 1
    if found.condition == b"IF":
        bounded(found.operand, 0, INT64_MAX)
    return found


def deadline(word: bytes, amount: bytes, now_ms: int, name: str) -> int | None:
    """When a key is to expire, in ms since the epoch; None if `word` names no time."""
    if word not in TIMES:
        return None
    at_ms = integer(amount)
    if at_ms > 0:
        if word[0] == 69:  # E: seconds
            at_ms *= 1000
        if len(word) == 2:  # EX, PX: from now
            at_ms += now_ms
    if not 0 < at_ms <= INT64_MAX:
        raise invalid_expiry(name)
    return at_ms


def invalid_expiry(name: str) -> CommandError:
    return CommandError(f"ERR invalid expire time in '{name}' command")


def digest_of(value: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(value).encode()


def holds(condition: bytes, operand: bytes, item: Item | None) -> bool:
    """Is the condition true of this key now? As in Redis a digest's form matters only when it is compared."""
    if not condition:
        return True
    if condition == b"NX":
        return item is None
    if condition == b"XX":
        return item is not None
    if condition == b"IF":
        return int(operand) == (0 if item is None else version_of(item))
    if item is None:
        return condition in (b"IFNE", b"IFDNE")
    value = item[VERSION_BYTES:]
    if condition in (b"IFEQ", b"IFNE"):
        equal = value == operand
    else:
        if not _DIGEST.match(operand):
            raise CommandError(BAD_DIGEST)
        equal = digest_of(value) == operand.lower()
    return equal == (condition in (b"IFEQ", b"IFDEQ"))


def store(tx: WriteTx, key: bytes, value: bytes, *, keep_ttl: bool, at_ms: int | None) -> None:
    """Make `key` this string as SET does, with its events; the caller has looked at the key in this entry."""
    if keep_ttl:
        tx.update(key, value)
        tx.set_flags(key, 0)  # a new value by a plain command has none, as after `put`
    else:
        tx.put(key, value)
    tx.event("$", "set", key)
    if at_ms is not None:
        tx.set_expiry(key, at_ms, moves_version=False)  # the value's write has moved it
        tx.event("g", "expire", key)


def remove(tx: WriteTx, key: bytes) -> None:
    """Delete a key the caller has seen."""
    tx.delete(key)
    tx.event("g", "del", key)


def _check_delex(argv: Argv) -> None:
    if len(argv) not in (2, 4):
        raise wrong_arity("delex")
    if len(argv) == 4 and argv[2].upper() not in COMPARISONS:
        raise CommandError(BAD_CONDITION)


@command(
    "DELEX", arity=-2, kind=Kind.WRITE, flags="write fast", group="string", since="8.4.0",
    keys=KeySpec("RM delete"), check=_check_delex, plain=2,
    complexity="O(1) for IFEQ and IFNE, O(N) for IFDEQ and IFDNE where N is the length of the string value.",
    syntax="key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest]",
)  # fmt: skip
def delex(tx: WriteTx, argv: Argv) -> Any:
    """Delete a key if its value or the digest of its value meets the condition."""
    _check_delex(argv)
    item = tx.item(argv[1])
    if item is None or (len(argv) == 4 and not holds(argv[2].upper(), argv[3], item)):
        return 0
    remove(tx, argv[1])
    return 1


@command(
    "DELIFEQ", arity=3, kind=Kind.WRITE, flags="write fast", group="string", since="9.0.0",
    keys=KeySpec("RM delete"), complexity="O(N) where N is the length of the value.", syntax="key value",
)  # fmt: skip
def delifeq(tx: WriteTx, argv: Argv) -> Any:
    """Delete a key if it holds exactly this value."""
    item = tx.item(argv[1])
    if item is None or item[VERSION_BYTES:] != argv[2]:
        return 0
    remove(tx, argv[1])
    return 1


@command(
    "DIGEST", arity=2, kind=Kind.READ, flags="readonly fast", group="string", since="8.4.0", keys=READ_KEY,
    complexity="O(N) where N is the length of the string value.", syntax="key",
)  # fmt: skip
def digest(view: ReadView, argv: Argv) -> Any:
    """Return the XXH3-64 digest of a string in 16 hexadecimal digits."""
    value = view.string(argv[1])
    return None if value is None else digest_of(value)


def _pairs_end(argv: Argv) -> int:
    count = parse_int(argv[1])
    if count is None or not 0 < count <= NUMKEYS_MAX:
        raise CommandError("ERR invalid numkeys value")
    end = 2 + 2 * count
    if end > len(argv):
        raise CommandError("ERR wrong number of key-value pairs")
    return end


def _check_msetex(argv: Argv) -> None:
    options = parse_options(argv, _pairs_end(argv), MSETEX_WORDS)
    deadline(options.expiry, options.amount, 0, "msetex")


@command(
    "MSETEX", arity=-4, kind=Kind.WRITE, flags="write denyoom movablekeys", group="string", since="8.4.0",
    keys=KeySpec("OW update", keynum=0, step=2), check=_check_msetex,
    complexity="O(N) where N is the number of keys to set.",
    syntax="numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | "
    "EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
)  # fmt: skip
def msetex(tx: WriteTx, argv: Argv) -> Any:
    """Set several keys and their expiry, all of them or none."""
    end = _pairs_end(argv)
    options = parse_options(argv, end, MSETEX_WORDS)
    at_ms = deadline(options.expiry, options.amount, tx.now, "msetex")
    keys = argv[2:end:2]
    items = [tx.item(key) for key in keys]  # all of them, because KEEPTTL wants a key looked at before
    if not all(holds(options.condition, b"", item) for item in items):
        return 0
    for key, value in zip(keys, argv[3:end:2], strict=True):
        store(tx, key, value, keep_ttl=options.keeps_ttl, at_ms=at_ms)
    return 1
