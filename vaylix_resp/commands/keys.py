"""Keys whatever they hold: whether they exist, their type and representation, new names, copies.

A key that changes its place keeps its value, expiry and EX flags; its version follows the rule of every write, so
what was read under the old name proves nothing about the new one.
Not here: expiry (`expiry`), finding keys (`scan`), whole databases and MOVE (`databases`).
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import NO_SUCH_KEY, SYNTAX, CommandError, error
from ..resp.reply import OK, Simple
from ..state.usage import Frequency, Recency
from ..state.values import VERSION_BYTES, Item
from ..state.views import ReadView, WriteTx
from .arguments import INT64_MAX, help_reply, integer, parse_int
from .spec import Argv, KeySpec, Kind, command, container

OUT_OF_RANGE_DB: Final = "ERR DB index is out of range"
SAME_OBJECT: Final = "ERR source and destination objects are the same"
EMBEDDED_BYTES_MAX: Final = 44  # up to here Redis allocates a string together with its header: `embstr`
INTEGER_DIGITS_MAX: Final = 20
SHARED_INTEGERS: Final = 10_000  # Redis keeps one object for each of 0..9999 ...
SHARED_REFCOUNT: Final = (1 << 31) - 1  # ... and says so with this count
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1

STRING: Final = Simple("string")
NONE: Final = Simple("none")
_ALL_READ: Final = KeySpec("RO", last=-1)
_ALL_DELETED: Final = KeySpec("RM delete", last=-1)
_READ: Final = KeySpec("RO")
_SUM: Final = ("request_policy:multi_shard", "response_policy:agg_sum")
_NO_FREQ: Final = error(
    "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
    "between policies at runtime LRU and LFU data will take some time to adjust."
)
_NO_IDLETIME_LFU: Final = error(
    "An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching "
    "between policies at runtime LRU and LFU data will take some time to adjust."
)
_NO_IDLETIME: Final = error("An LRU maxmemory policy is not selected, idle time not tracked.")


@command(
    "DEL", arity=-2, kind=Kind.WRITE, flags="write", group="generic", keys=_ALL_DELETED, tips=_SUM,
    complexity="O(N) where N is the number of keys that will be removed.", syntax="key [key ...]",
)  # fmt: skip
def del_(tx: WriteTx, argv: Argv) -> Any:
    """Remove keys and return how many there were."""
    removed = 0
    for key in argv[1:]:
        if tx.delete(key):
            tx.event("g", "del", key)
            removed += 1
    return removed


@command(
    "UNLINK", arity=-2, kind=Kind.WRITE, flags="write fast", group="generic", since="4.0.0", keys=_ALL_DELETED,
    tips=_SUM, complexity="O(1) for each key removed.", syntax="key [key ...]",
)  # fmt: skip
def unlink(tx: WriteTx, argv: Argv) -> Any:
    """Remove keys and return how many there were; the same as DEL."""
    return del_(tx, argv)


@command(
    "EXISTS", arity=-2, kind=Kind.READ, flags="readonly fast", group="generic", keys=_ALL_READ, tips=_SUM,
    complexity="O(N) where N is the number of keys to check.", syntax="key [key ...]",
    history=(("3.0.3", "Accepts multiple `key` arguments."),),
)  # fmt: skip
def exists(view: ReadView, argv: Argv) -> Any:
    """Return how many of the keys exist; a key named twice counts twice."""
    return sum(view.lookup(key, uses=False) is not None for key in argv[1:])


@command(
    "TOUCH", arity=-2, kind=Kind.READ, flags="readonly fast", group="generic", since="3.2.1", keys=_ALL_READ,
    tips=_SUM, complexity="O(N) where N is the number of keys that will be touched.", syntax="key [key ...]",
)  # fmt: skip
def touch(view: ReadView, argv: Argv) -> Any:
    """Return how many of the keys exist, and count that as a use of each."""
    return sum(view.lookup(key) is not None for key in argv[1:])


@command("TYPE", arity=2, kind=Kind.READ, flags="readonly fast", group="generic", keys=_READ, syntax="key")
def type_(view: ReadView, argv: Argv) -> Any:
    """Return the type of the value at a key, `none` if there is none."""
    return NONE if view.lookup(argv[1], uses=False) is None else STRING


@command(
    "RANDOMKEY", arity=1, kind=Kind.READ, flags="readonly", group="generic",
    tips=("request_policy:all_shards", "nondeterministic_output"),
)  # fmt: skip
def randomkey(view: ReadView, argv: Argv) -> Any:
    """Return a key taken at random."""
    return view.random_key()


def place(tx: WriteTx, key: bytes, value: bytes, expiry: int | None, flags: int) -> None:
    """Make `key` all of this, as a new key: whatever it was is gone first, as in Redis."""
    tx.delete(key)
    tx.put(key, value)
    if expiry is not None:
        tx.set_expiry(key, expiry, moves_version=False)
    tx.set_flags(key, flags)


def copy_item(source: WriteTx, key: bytes, item: Item, target: WriteTx, new_key: bytes) -> None:
    """Give `target` under `new_key` what `source` holds at `key`."""
    place(target, new_key, item[VERSION_BYTES:], source.expiry(key), source.flags(key))


def _rename(tx: WriteTx, argv: Argv, only_new: bool) -> bool:
    key, new_key = argv[1], argv[2]
    item = tx.item(key)
    if item is None:
        raise CommandError(NO_SUCH_KEY)
    if key == new_key:
        return False
    if only_new and tx.exists(new_key):
        return False
    copy_item(tx, key, item, tx, new_key)
    tx.delete(key)
    tx.event("g", "rename_from", key)
    tx.event("g", "rename_to", new_key)
    return True


@command(
    "RENAME", arity=3, kind=Kind.WRITE, flags="write", group="generic",
    keys=(KeySpec("RW access delete"), KeySpec("OW update", begin=2)), syntax="key newkey",
)  # fmt: skip
def rename(tx: WriteTx, argv: Argv) -> Any:
    """Give a key another name; what had that name is gone."""
    _rename(tx, argv, only_new=False)
    return OK


@command(
    "RENAMENX", arity=3, kind=Kind.WRITE, flags="write fast", group="generic",
    keys=(KeySpec("RW access delete"), KeySpec("OW insert", begin=2)), syntax="key newkey",
    history=(("3.2.0", "The command no longer returns an error when source and destination names are the same."),),
)  # fmt: skip
def renamenx(tx: WriteTx, argv: Argv) -> Any:
    """Give a key another name unless that one is taken."""
    return int(_rename(tx, argv, only_new=True))


def database(raw: bytes) -> int:
    """A database number as far as its form goes; whether there is such a one, `in_range` tells."""
    number = integer(raw)
    if not INT32_MIN <= number <= INT32_MAX:
        raise error(f"value is out of range, value must between {INT32_MIN} and {INT32_MAX}")
    return number


def in_range(number: int, databases: int) -> int:
    if not 0 <= number < databases:
        raise CommandError(OUT_OF_RANGE_DB)
    return number


def parse_copy(argv: Argv, here: int, databases: int) -> tuple[int, bool]:
    """The target's number and whether it is to be replaced."""
    target, replace, at = here, False, 3
    while at < len(argv):
        word = argv[at].upper()
        if word == b"REPLACE":
            replace = True
        elif word == b"DB" and at + 1 < len(argv):
            at += 1
            target = in_range(database(argv[at]), databases)
        else:
            raise CommandError(SYNTAX)
        at += 1
    return target, replace


@command(
    "COPY", arity=-3, kind=Kind.WRITE, flags="write denyoom", group="generic", since="6.2.0",
    keys=(KeySpec("RO access"), KeySpec("OW update", begin=2)), complexity="O(N) where N is the length of the value.",
    syntax="source destination [DB destination-db] [REPLACE]",
)  # fmt: skip
def copy(tx: WriteTx, argv: Argv) -> Any:
    """Copy the value of a key to another key, in this database or in another one."""
    number, replace = parse_copy(argv, tx.index, len(tx.world.databases))
    key, new_key, target = argv[1], argv[2], tx.other(number)
    if number == tx.index and key == new_key:
        raise CommandError(SAME_OBJECT)
    item = tx.lookup(key)
    if item is None or (target.exists(new_key) and not replace):
        return 0
    copy_item(tx, key, item, target, new_key)
    target.event("g", "copy_to", new_key)
    return 1


container(
    "OBJECT", group="generic", since="2.2.3", summary="Ask about the representation of a value.",
)  # fmt: skip
_NONDETERMINISTIC: Final = ("nondeterministic_output",)
_OBJECT_KEY: Final = KeySpec("RO", begin=2)


def encoding_of(value: bytes) -> str:
    """The name of the representation that Redis gives to a string that was SET."""
    if len(value) <= INTEGER_DIGITS_MAX and parse_int(value) is not None:
        return "int"
    return "embstr" if len(value) <= EMBEDDED_BYTES_MAX else "raw"


@command(
    "OBJECT|ENCODING", arity=3, kind=Kind.READ, flags="readonly", group="generic", since="2.2.3", keys=_OBJECT_KEY,
    tips=_NONDETERMINISTIC, syntax="key",
)  # fmt: skip
def object_encoding(view: ReadView, argv: Argv) -> Any:
    """Return the name of the internal representation: int, embstr or raw."""
    item = view.item(argv[2])
    return None if item is None else encoding_of(item[VERSION_BYTES:]).encode()


@command(
    "OBJECT|FREQ", arity=3, kind=Kind.READ, flags="readonly", group="generic", since="4.0.0", keys=_OBJECT_KEY,
    tips=_NONDETERMINISTIC, syntax="key",
)  # fmt: skip
def object_freq(view: ReadView, argv: Argv) -> Any:
    """Return how often a key is used, as a logarithmic counter; an error without an LFU policy."""
    usage, key = view.world.usage, argv[2]
    if view.item(key) is None:
        return None
    return usage.rank(view.db.uses, key) if isinstance(usage, Frequency) else _NO_FREQ


@command(
    "OBJECT|IDLETIME", arity=3, kind=Kind.READ, flags="readonly", group="generic", since="2.2.3", keys=_OBJECT_KEY,
    tips=_NONDETERMINISTIC, syntax="key",
)  # fmt: skip
def object_idletime(view: ReadView, argv: Argv) -> Any:
    """Return the seconds since the last use; an error without an LRU policy: a made-up 0 would mislead."""
    usage, key = view.world.usage, argv[2]
    if view.item(key) is None:
        return None
    if isinstance(usage, Recency):
        return usage.idle_s(view.db.uses, key)
    return _NO_IDLETIME if usage is None else _NO_IDLETIME_LFU


@command(
    "OBJECT|REFCOUNT", arity=3, kind=Kind.READ, flags="readonly", group="generic", since="2.2.3", keys=_OBJECT_KEY,
    tips=_NONDETERMINISTIC, syntax="key",
)  # fmt: skip
def object_refcount(view: ReadView, argv: Argv) -> Any:
    """Return the number of references to a value, as Redis would count them."""
    item = view.item(argv[2])
    if item is None:
        return None
    number = parse_int(item[VERSION_BYTES:])
    return SHARED_REFCOUNT if number is not None and 0 <= number < SHARED_INTEGERS else 1


@command(
    "OBJECT|VERSION", arity=3, kind=Kind.READ, flags="readonly", group="generic", since="7.2.0", keys=_OBJECT_KEY,
    tips=_NONDETERMINISTIC, syntax="key",
)  # fmt: skip
def object_version(view: ReadView, argv: Argv) -> Any:
    """Return the version of a key, which every write to it raises; null if there is no such key."""
    version = view.version(argv[2])
    assert version <= INT64_MAX, "a version fits an integer reply"
    return version or None


HELP: Final = help_reply(
    "OBJECT",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "VERSION <key>",
    "    Return the version of the <key>, which every write to it raises.",
)


@command(
    "OBJECT|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="generic", since="6.2.0",
)  # fmt: skip
def object_help(client: Any, argv: Argv) -> Any:
    """List the subcommands."""
    return HELP
