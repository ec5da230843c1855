"""Strings: read them, write them, a part of them.

GET and plain SET are the hot path: they make one call into the state and look at nothing else.
Limits: no value grows beyond VALUE_BYTES_MAX, the same on every replica whatever its configuration says, and
the check comes before the memory. A value is one immutable object: changing a part copies the whole.
Not here: conditions and expiry words (`conditional`), numbers (`counters`), bits (`bits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..errors import SYNTAX, CommandError, wrong_arity
from ..limits import REPLY_BYTES_MAX, VALUE_BYTES_MAX
from ..resp.reply import OK
from ..state.values import VERSION_BYTES
from ..state.views import ReadView, WriteTx
from .arguments import integer
from .conditional import GETEX_WORDS, SET_WORDS, deadline, holds, parse_options, remove, store
from .lcs import Match, common_subsequence, subsequence_length
from .spec import FIRST_KEY_RW, READ_KEY, Argv, KeySpec, Kind, command

TOO_LARGE: Final = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
REPLY_TOO_LARGE: Final = f"ERR the values take more than {REPLY_BYTES_MAX} bytes: ask for fewer keys at a time"
_ALWAYS_FIT: Final = REPLY_BYTES_MAX // VALUE_BYTES_MAX  # values into one reply, however large they are
_INSERT: Final = KeySpec("OW insert")
_OVERWRITE: Final = KeySpec("OW update")


def ensure_size(length: int) -> None:
    """Refuse a value that would become too large, before any memory is taken for it."""
    if length > VALUE_BYTES_MAX:
        raise CommandError(TOO_LARGE)


def get_row(view: ReadView, row: Sequence[Argv]) -> list[bytes] | None:
    return view.strings([argv[1] for argv in row])


@command(
    "GET", arity=2, kind=Kind.READ, flags="readonly fast", group="string", keys=READ_KEY, syntax="key", row=get_row
)
def get(view: ReadView, argv: Argv) -> Any:
    """Return the string at a key."""
    return view.string(argv[1])


def _set_flags(argv: Argv) -> str:
    """With GET it also tells what was there. Whether GET is an option or an operand is not looked at, as in Redis."""
    return "RW access update" if any(word.upper() == b"GET" for word in argv[3:]) else "OW update"


def set_row(tx: WriteTx, row: Sequence[Argv]) -> list[Any] | None:
    return [OK] * len(row) if max(map(len, row)) == 3 and tx.put_row(row) else None


def _check_set(argv: Argv) -> None:
    options = parse_options(argv, 3, SET_WORDS)
    deadline(options.expiry, options.amount, 0, "set")


@command(
    "SET", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="string",
    keys=KeySpec(
        "RW access update variable_flags", varying=_set_flags,
        notes="RW and ACCESS due to the optional `GET` argument",
    ),
    check=_check_set, plain=3, row=set_row,
    syntax="key value [NX | XX | IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | "
    "IFDNE ifdne-digest | IF VERSION version] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
    "PXAT unix-time-milliseconds | KEEPTTL]",
    history=(
        ("2.6.12", "Added the `EX`, `PX`, `NX` and `XX` options."),
        ("6.0.0", "Added the `KEEPTTL` option."),
        ("6.2.0", "Added the `GET`, `EXAT` and `PXAT` option."),
        ("7.0.0", "Allowed the `NX` and `GET` options to be used together."),
        ("8.4.0", "Added the `IFEQ`, `IFNE`, `IFDEQ` and `IFDNE` options."),
    ),
)  # fmt: skip
def set_(tx: WriteTx, argv: Argv) -> Any:
    """Make a key this string, whatever it held before; with options, only on a condition or for a time."""
    if len(argv) == 3:
        key = argv[1]
        tx.put(key, argv[2])
        if tx.world.events is not None:
            tx.event("$", "set", key)
        return OK
    return _set_with_options(tx, argv)


def _set_with_options(tx: WriteTx, argv: Argv) -> Any:
    options = parse_options(argv, 3, SET_WORDS)
    at_ms = deadline(options.expiry, options.amount, tx.now, "set")
    key = argv[1]
    old = tx.string(key) if options.get else None
    if not holds(options.condition, options.operand, tx.item(key)):
        return old
    store(tx, key, argv[2], keep_ttl=options.keeps_ttl, at_ms=at_ms)
    return old if options.get else OK


@command(
    "SETNX", arity=3, kind=Kind.WRITE, flags="write denyoom fast", group="string", keys=_INSERT,
    syntax="key value",
)  # fmt: skip
def setnx(tx: WriteTx, argv: Argv) -> Any:
    """Make a key this string if it does not exist."""
    if tx.item(argv[1]) is not None:
        return 0
    store(tx, argv[1], argv[2], keep_ttl=False, at_ms=None)
    return 1


def _check_setex(argv: Argv) -> None:
    deadline(b"EX", argv[2], 0, "setex")


@command(
    "SETEX", arity=4, kind=Kind.WRITE, flags="write denyoom", group="string", since="2.0.0", keys=_OVERWRITE,
    check=_check_setex, syntax="key seconds value",
)  # fmt: skip
def setex(tx: WriteTx, argv: Argv) -> Any:
    """Make a key this string for so many seconds."""
    at_ms = deadline(b"EX", argv[2], tx.now, "setex")
    store(tx, argv[1], argv[3], keep_ttl=False, at_ms=at_ms)
    return OK


def _check_psetex(argv: Argv) -> None:
    deadline(b"PX", argv[2], 0, "psetex")


@command(
    "PSETEX", arity=4, kind=Kind.WRITE, flags="write denyoom", group="string", since="2.6.0", keys=_OVERWRITE,
    check=_check_psetex, syntax="key milliseconds value",
)  # fmt: skip
def psetex(tx: WriteTx, argv: Argv) -> Any:
    """Make a key this string for so many milliseconds."""
    at_ms = deadline(b"PX", argv[2], tx.now, "psetex")
    store(tx, argv[1], argv[3], keep_ttl=False, at_ms=at_ms)
    return OK


@command(
    "GETSET", arity=3, kind=Kind.WRITE, flags="write denyoom fast", group="string", keys=FIRST_KEY_RW,
    syntax="key value", doc_flags=("deprecated",), deprecated_since="6.2.0",
    replaced_by="`SET` with the `!GET` argument",
)  # fmt: skip
def getset(tx: WriteTx, argv: Argv) -> Any:
    """Make a key this string and return what it held."""
    old = tx.string(argv[1])
    store(tx, argv[1], argv[2], keep_ttl=False, at_ms=None)
    return old


@command(
    "GETDEL", arity=2, kind=Kind.WRITE, flags="write fast", group="string", since="6.2.0",
    keys=KeySpec("RW access delete"), syntax="key",
)  # fmt: skip
def getdel(tx: WriteTx, argv: Argv) -> Any:
    """Return the string at a key and delete the key."""
    old = tx.string(argv[1])
    if old is not None:
        remove(tx, argv[1])
    return old


def _check_getex(argv: Argv) -> None:
    parse_options(argv, 2, GETEX_WORDS)  # the time itself is looked at only when there is a key, as in Redis


@command(
    "GETEX", arity=-2, kind=Kind.WRITE, flags="write fast", group="string", since="6.2.0",
    keys=KeySpec("RW access update", notes="RW and UPDATE because it changes the TTL"),
    check=_check_getex, plain=2,
    syntax="key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | "
    "PERSIST]",
)  # fmt: skip
def getex(tx: WriteTx, argv: Argv) -> Any:
    """Return the string at a key and set or remove its expiry."""
    options = parse_options(argv, 2, GETEX_WORDS)
    key = argv[1]
    value = tx.string(key)
    if value is None:
        return None
    at_ms = deadline(options.expiry, options.amount, tx.now, "getex")
    if at_ms is not None:
        if at_ms <= tx.now:
            remove(tx, key)
        else:
            tx.set_expiry(key, at_ms)
            tx.event("g", "expire", key)
    elif options.expiry and tx.expiry(key) is not None:
        tx.set_expiry(key, None)
        tx.event("g", "persist", key)
    return value


@command(
    "MGET", arity=-2, kind=Kind.READ, flags="readonly fast", group="string",
    keys=KeySpec("RO access", last=-1), tips=("request_policy:multi_shard",),
    complexity="O(N) where N is the number of keys to retrieve.", syntax="key [key ...]",
)  # fmt: skip
def mget(view: ReadView, argv: Argv) -> Any:
    """Return the strings at several keys, a null for each that does not exist."""
    string, keys = view.string, argv[1:]
    if len(keys) <= _ALWAYS_FIT:
        return [string(key) for key in keys]
    values: list[bytes | None] = []
    left = REPLY_BYTES_MAX
    for at in range(0, len(keys), _ALWAYS_FIT):
        some = [string(key) for key in keys[at : at + _ALWAYS_FIT]]
        left -= sum(map(len, filter(None, some)))
        if left < 0:
            for key in keys[at + _ALWAYS_FIT :]:
                view.item(key)  # an entry removes what has expired, whatever it answers
            raise CommandError(REPLY_TOO_LARGE)
        values += some
    return values


def _check_mset(argv: Argv) -> None:
    if len(argv) % 2 == 0:
        raise wrong_arity("mset")


@command(
    "MSET", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="string", since="1.0.1",
    keys=KeySpec("OW update", last=-1, step=2),
    tips=("request_policy:multi_shard", "response_policy:all_succeeded"), check=_check_mset,
    complexity="O(N) where N is the number of keys to set.", syntax="key value [key value ...]",
)  # fmt: skip
def mset(tx: WriteTx, argv: Argv) -> Any:
    """Make several keys these strings, all at once."""
    _check_mset(argv)
    for key, value in zip(argv[1::2], argv[2::2], strict=True):
        tx.put(key, value)
        tx.event("$", "set", key)
    return OK


def _check_msetnx(argv: Argv) -> None:
    if len(argv) % 2 == 0:
        raise wrong_arity("msetnx")


@command(
    "MSETNX", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="string", since="1.0.1",
    keys=KeySpec("OW insert", last=-1, step=2),
    tips=("request_policy:multi_shard", "response_policy:agg_min"), check=_check_msetnx,
    complexity="O(N) where N is the number of keys to set.", syntax="key value [key value ...]",
)  # fmt: skip
def msetnx(tx: WriteTx, argv: Argv) -> Any:
    """Make several keys these strings, if none of them exists."""
    _check_msetnx(argv)
    found = [key for key in argv[1::2] if tx.item(key) is not None]  # every key is looked at, as in Redis
    if found:
        return 0
    for key, value in zip(argv[1::2], argv[2::2], strict=True):
        tx.put(key, value)
        tx.event("$", "set", key)
    return 1


@command(
    "APPEND", arity=3, kind=Kind.WRITE, flags="write denyoom fast", group="string", since="2.0.0",
    keys=KeySpec("RW insert"), complexity="O(N) where N is the length of the string, which is copied.",
    syntax="key value",
)  # fmt: skip
def append(tx: WriteTx, argv: Argv) -> Any:
    """Add to the end of a string; a key that does not exist counts as empty."""
    key, value = argv[1], argv[2]
    item = tx.item(key)
    if item is not None:
        ensure_size(len(item) - VERSION_BYTES + len(value))
        value = item[VERSION_BYTES:] + value
    tx.update(key, value)
    tx.event("$", "append", key)
    return len(value)


@command(
    "STRLEN", arity=2, kind=Kind.READ, flags="readonly fast", group="string", since="2.2.0",
    keys=KeySpec("RO"), syntax="key",
)  # fmt: skip
def strlen(view: ReadView, argv: Argv) -> Any:
    """Return the length of a string in bytes, 0 if there is none."""
    item = view.lookup(argv[1])
    return 0 if item is None else len(item) - VERSION_BYTES


_RANGE_COST: Final = (
    "O(N) where N is the length of the returned string. The complexity is ultimately determined by the "
    "returned length, but because creating a substring from an existing string is very cheap, it can be "
    "considered O(1) for small strings."
)


@command(
    "GETRANGE", arity=4, kind=Kind.READ, flags="readonly", group="string", since="2.4.0", keys=READ_KEY,
    complexity=_RANGE_COST, syntax="key start end",
)  # fmt: skip
def getrange(view: ReadView, argv: Argv) -> Any:
    """Return part of a string: from one offset to another, both included; below 0 they count from its end."""
    start, end = integer(argv[2]), integer(argv[3])
    item = view.lookup(argv[1])
    if item is None or (start < 0 and end < 0 and start > end):
        return b""
    size = len(item) - VERSION_BYTES
    first = max(start + size, 0) if start < 0 else start
    last = max(end + size, 0) if end < 0 else end
    return item[VERSION_BYTES + first : VERSION_BYTES + last + 1]


command(
    "SUBSTR", arity=4, kind=Kind.READ, flags="readonly", group="string", keys=READ_KEY,
    complexity=_RANGE_COST, syntax="key start end", summary="The same as GETRANGE, by its old name.",
    doc_flags=("deprecated",), deprecated_since="2.0.0", replaced_by="`GETRANGE`",
)(getrange)  # fmt: skip


def _setrange_offset(argv: Argv) -> int:
    offset = integer(argv[2])
    if offset < 0:
        raise CommandError("ERR offset is out of range")
    return offset


@command(
    "SETRANGE", arity=4, kind=Kind.WRITE, flags="write denyoom", group="string", since="2.2.0",
    keys=KeySpec("RW update"), check=_setrange_offset, syntax="key offset value",
    complexity="O(N) where N is the length of the resulting string, which is copied.",
)  # fmt: skip
def setrange(tx: WriteTx, argv: Argv) -> Any:
    """Write over part of a string from an offset on; a gap is filled with zero bytes."""
    offset, patch, key = _setrange_offset(argv), argv[3], argv[1]
    item = tx.item(key)
    size = 0 if item is None else len(item) - VERSION_BYTES
    if not patch:
        return size
    end = offset + len(patch)
    ensure_size(end)
    old = memoryview(b"" if item is None else item)[VERSION_BYTES:]
    tx.update(key, b"".join((old[:offset], bytes(max(offset - size, 0)), patch, old[end:])))
    tx.event("$", "setrange", key)
    return max(size, end)


@command(
    "LCS", arity=-3, kind=Kind.READ, flags="readonly", group="string", since="7.0.0",
    keys=KeySpec("RO access", last=1),
    complexity="O(N*M) where N and M are the lengths of s1 and s2, respectively",
    syntax="key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
)  # fmt: skip
def lcs(view: ReadView, argv: Argv) -> Any:
    """Return the longest common subsequence of two strings."""
    first, second = view.string(argv[1]) or b"", view.string(argv[2]) or b""
    words: set[bytes] = set()
    shortest, at = 0, 3
    while at < len(argv):
        word = argv[at].upper()
        if word == b"MINMATCHLEN" and at + 1 < len(argv):
            shortest = integer(argv[at + 1])
            at += 1
        elif word not in (b"LEN", b"IDX", b"WITHMATCHLEN"):
            raise CommandError(SYNTAX)
        words.add(word)
        at += 1
    if {b"LEN", b"IDX"} <= words:
        raise CommandError("ERR If you want both the length and indexes, please just use IDX.")
    if b"LEN" in words:
        return subsequence_length(first, second)
    text, matches = common_subsequence(first, second)
    if b"IDX" not in words:
        return text
    listed = [_match(m, b"WITHMATCHLEN" in words) for m in matches if m.length >= shortest]
    return {b"matches": listed, b"len": len(text)}


def _match(match: Match, with_length: bool) -> list[Any]:
    length = match.length
    ranges: list[Any] = [[at, at + length - 1] for at in (match.first, match.second)]
    return [*ranges, length] if with_length else ranges
