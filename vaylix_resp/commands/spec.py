"""The declaration of a command, from which dispatch, COMMAND, ACL categories, key extraction and help derive.

    @command("GETEX", arity=-2, kind=Kind.WRITE, flags="write fast", keys=FIRST_KEY_RW, group="string",
             syntax="key [EX seconds | PX milliseconds | PERSIST]", since="6.2.0", complexity="O(1)")
    def getex(tx, argv): "Return the string at a key after moving its expiry."

A subcommand is declared as "CLIENT|KILL"; its container with `container(...)`. Not here: the table (`registry`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from ..errors import SYNTAX, CommandError

Argv = Sequence[bytes]
Check = Callable[[Argv], Any]
Row = Callable[[Any, Sequence[Argv]], list[Any] | None]


class Kind(IntEnum):
    """Who executes it, and with what as the handler's first argument."""

    READ = 0  # a ReadView, at once or behind the session's own writes
    WRITE = 1  # a WriteTx, when its entry has been committed
    SESSION = 2  # the client (`commands.ports.Client`), outside the log


# The flags of COMMAND INFO, in the order in which Redis prints them. `early` is ours: the command touches its own
# session only, so it may run ahead of the session's writes in flight (its reply still waits for its turn).
PUBLIC_FLAGS: Final = (
    "write", "readonly", "denyoom", "admin", "pubsub", "noscript", "blocking", "loading", "stale",
    "skip_monitor", "skip_slowlog", "asking", "fast", "no_auth", "no_mandatory_keys",
    "no_async_loading", "no_multi", "movablekeys", "allow_busy",
)  # fmt: skip
OWN_FLAGS: Final = ("early",)

CATEGORIES: Final = (
    "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
    "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
)  # fmt: skip


COUNT_DIGITS_MAX: Final = 10  # a count of keys with more is wrong, and Python refuses to read thousands


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Where keys stand in a request, as in Redis 7's key specifications.

    The search begins at word `begin` (or behind the word `keyword`, looked for from word `begin`; negative:
    backwards). From there either a range: `last` relative to the first key (-1: the last word, -2: ...),
    every `step` words, `limit` a divisor of the remaining words as in Redis; or, with `keynum`, a count at that
    offset from the begin, keys starting at `first`.
    """

    flags: str  # RO, RW, OW or RM, then access, update, insert, delete, not_key, incomplete, variable_flags
    begin: int = 1
    last: int = 0
    step: int = 1
    limit: int = 0
    keyword: str = ""
    keynum: int | None = None
    first: int = 1
    unknown: bool = False  # COMMAND INFO cannot say where; a subclass may still find them
    notes: str = ""
    varying: Callable[[Argv], str] | None = None  # with variable_flags: what a request really does with the key

    def flags_of(self, argv: Argv) -> str:
        return self.flags if self.varying is None else self.varying(argv)

    def positions(self, argv: Argv) -> list[int]:
        """Indexes into argv; SYNTAX if a key count is no number or too large."""
        if self.unknown:
            return []
        start = self.begin
        if self.keyword:
            words = [w.upper() for w in argv]
            try:
                start = words.index(self.keyword.encode(), self.begin) + 1
            except ValueError:
                return []
        if self.keynum is not None:
            return self._counted(argv, start)
        if self.last >= 0:
            end = start + self.last
        elif self.limit > 1:
            end = start + (len(argv) - start) // self.limit + self.last
        else:
            end = len(argv) + self.last
        return list(range(start, min(end, len(argv) - 1) + 1, self.step))

    def _counted(self, argv: Argv, start: int) -> list[int]:
        assert self.keynum is not None
        at = start + self.keynum
        if at >= len(argv) or not argv[at].isdigit() or len(argv[at]) > COUNT_DIGITS_MAX:
            raise CommandError(SYNTAX)
        count = int(argv[at])
        first = start + self.first
        if count < 1 or first + (count - 1) * self.step >= len(argv):
            raise CommandError(SYNTAX)
        return list(range(first, first + count * self.step, self.step))


@dataclass(slots=True, eq=False)
class CommandSpec:
    """One command or subcommand. `arity` counts the name; negative: at least that many words."""

    name: str  # lower case; "client|kill" for a subcommand
    arity: int
    kind: Kind
    handler: Callable[..., Any] | None  # None for a container
    flags: frozenset[str]
    keys: tuple[KeySpec, ...]
    categories: frozenset[str]
    group: str
    since: str
    complexity: str
    summary: str
    syntax: str
    tips: tuple[str, ...] = ()
    check: Check | None = None  # raises CommandError for what needs no state; called before a write is logged
    plain: int = 0  # requests of at most this many words need no `check`
    forbidden: Callable[[Any], CommandError | None] | None = None  # asked with the client before queueing or running
    row: Row | None = None  # the handler for many requests at once; returns None where it cannot be used just now
    subcommands: dict[str, CommandSpec] = field(default_factory=dict)
    doc_flags: tuple[str, ...] = ()
    deprecated_since: str = ""
    replaced_by: str = ""
    history: tuple[tuple[str, str], ...] = ()

    def arity_ok(self, words: int) -> bool:
        return words == self.arity if self.arity >= 0 else words >= -self.arity

    def keys_of(self, argv: Argv) -> list[tuple[bytes, str]]:
        """(key, what this request does with it) for each key in the request, in order."""
        return [(argv[at], spec.flags_of(argv)) for spec in self.keys for at in spec.positions(argv)]


DECLARED: dict[str, CommandSpec] = {}


def command(
    name: str,
    *,
    arity: int,
    kind: Kind,
    flags: str,
    group: str,
    keys: KeySpec | tuple[KeySpec, ...] = (),
    categories: str = "",
    syntax: str = "",
    since: str = "1.0.0",
    complexity: str = "O(1)",
    tips: tuple[str, ...] = (),
    check: Check | None = None,
    plain: int = 0,
    summary: str = "",
    **docs: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a command; the first line of the handler's docstring is its summary.

    `categories` names ACL categories beyond those that follow from the flags (read, write, fast or slow, admin
    and dangerous, pubsub, blocking) and from the group, as in Redis.
    """

    def register(handler: Callable[..., Any]) -> Callable[..., Any]:
        text = summary or (handler.__doc__ or "").strip().splitlines()[0]
        _declare(
            name, arity, kind, handler, flags, keys, categories, group, since, complexity, text, syntax,
            tips=tips, check=check, plain=plain, **docs,
        )  # fmt: skip
        return handler

    return register


def container(name: str, *, group: str, since: str, summary: str, categories: str = "", flags: str = "") -> None:
    """Declare a command that exists only through its subcommands."""
    _declare(
        name, -2, Kind.SESSION, None, flags, (), categories, group, since, "Depends on subcommand.", summary, ""
    )


def _declare(
    name: str,
    arity: int,
    kind: Kind,
    handler: Callable[..., Any] | None,
    flags: str,
    keys: KeySpec | tuple[KeySpec, ...],
    categories: str,
    group: str,
    since: str,
    complexity: str,
    summary: str,
    syntax: str,
    **rest: Any,
) -> None:
    flag_set = frozenset(flags.split())
    unknown = flag_set - set(PUBLIC_FLAGS) - set(OWN_FLAGS)
    assert not unknown, f"{name}: unknown flags {unknown}"
    assert (kind is Kind.WRITE) == ("write" in flag_set), f"{name}: the write flag and Kind.WRITE go together"
    low = name.lower()
    assert low not in DECLARED, f"{name} is declared twice"
    DECLARED[low] = CommandSpec(
        low, arity, kind, handler, flag_set, keys if isinstance(keys, tuple) else (keys,),
        _categories(flag_set, categories, group if handler else ""), group, since, complexity, summary, syntax, **rest,
    )  # fmt: skip


GROUP_CATEGORY: Final = {
    "string": "string", "bitmap": "bitmap", "pubsub": "pubsub", "transactions": "transaction",
    "connection": "connection", "generic": "keyspace",
}  # fmt: skip


def _categories(flags: frozenset[str], more: str, group: str) -> frozenset[str]:
    """The implicit rules of Redis (`setImplicitACLCategories`) on top of what is declared; `-name` takes one away."""
    declared = more.split()
    found = {name for name in declared if name[0] != "-"}
    if group in GROUP_CATEGORY and "-" + GROUP_CATEGORY[group] not in declared:
        found.add(GROUP_CATEGORY[group])
    if "write" in flags:
        found.add("write")
    if "readonly" in flags and "scripting" not in found:
        found.add("read")
    if "admin" in flags:
        found |= {"admin", "dangerous"}
    if "pubsub" in flags:
        found.add("pubsub")
    found.add("fast" if "fast" in flags else "slow")
    if "blocking" in flags:
        found.add("blocking")
    assert found <= set(CATEGORIES), found - set(CATEGORIES)
    return frozenset(found)


READ_KEY: Final = KeySpec("RO access")
FIRST_KEY_RW: Final = KeySpec("RW access update")
