"""The table of commands as access control sees it: a bit for each, masks of categories, what a request touches.

Everything derives from the declarations (`spec`), so a new command is covered by every rule as soon as it is declared.
Bits are of this process only; what is stored are the words of rules.
Promise: a request whose keys cannot be told (a key count that is no number) is refused by the command itself, before
it touches anything; it passes here as it does in Redis.
Not here: what rules mean (`security.acl`), who may do what (`security.access`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Final

from ..errors import CommandError
from ..security.access import Channel, Databases, Key, Request
from ..security.acl import READ, WRITE, CommandBits
from .arguments import parse_int
from .spec import CATEGORIES, Argv, CommandSpec, KeySpec, Kind

_WRITES: Final = ("insert", "update", "delete")
# Where pub/sub commands name channels: the first word, one past the last (None: to the end), whether patterns.
_CHANNELS: Final[dict[str, tuple[int, int | None, bool]]] = {
    "publish": (1, 2, False),
    "spublish": (1, 2, False),
    "subscribe": (1, None, False),
    "ssubscribe": (1, None, False),
    "psubscribe": (1, None, True),
}


class Catalog:
    """Implements `security.acl.Commands` for a table of declarations."""

    def __init__(self, commands: Mapping[str, CommandSpec]) -> None:
        self._specs = dict(commands)
        self._bits: dict[str, CommandBits] = {}
        self._categories = dict.fromkeys(CATEGORIES, 0)
        self._names: dict[str, list[str]] = {name: [] for name in CATEGORIES}
        number = 0
        for spec in commands.values():
            subs: dict[str, int] = {}
            for sub in spec.subcommands.values():
                number += 1
                subs[sub.name] = 1 << number
                self._bits[sub.name] = CommandBits(1 << number, 1 << number, False, True)
            number += 1
            mask = 1 << number
            for bit in subs.values():
                mask |= bit
            self._bits[spec.name] = CommandBits(1 << number, mask, bool(subs), False)
        for one in self.all():
            for category in one.categories:
                # A container's category reaches all its subcommands, whatever their own are: as in Redis.
                self._categories[category] |= self._bits[one.name].mask
                self._names[category].append(one.name)
        self.everything = (1 << (number + 1)) - 1

    def all(self) -> Iterable[CommandSpec]:
        for spec in self._specs.values():
            yield spec
            yield from spec.subcommands.values()

    def command(self, name: str) -> CommandBits | None:
        return self._bits.get(name)

    def category(self, name: str) -> int | None:
        return self._categories.get(name)

    def names_in(self, category: str) -> list[str] | None:
        """ACL CAT: full names of the commands of a category, subcommands too."""
        return self._names.get(category)

    def find(self, argv: Argv) -> CommandSpec | None:
        """The command or subcommand that a request means."""
        spec = self._specs.get(argv[0].decode("utf-8", "replace").lower())
        if spec is None or not spec.subcommands or len(argv) == 1:
            return spec
        return spec.subcommands.get(argv[1].decode("utf-8", "replace").lower())

    def request(self, spec: CommandSpec, argv: Argv, database: int) -> Request:
        """What this request of a session in this database needs."""
        return Request(
            self._bits[spec.name].bit,
            "no_auth" in spec.flags,
            argv[1] if len(argv) > 1 else None,
            keys_of(spec, argv),
            channels_of(spec, argv),
            databases_of(spec, argv, database),
        )

    def one_key(self, spec: CommandSpec) -> int | None:
        """For `Grants.allows_one_key`: rights that suffice for the key in argv[1]; None if there may be more to ask."""
        if len(spec.keys) != 1 or spec.name in _CHANNELS or spec.name in _NAMED_DATABASES or spec.name in _SORTS:
            return None
        (keys,) = spec.keys
        if type(keys) is not KeySpec or "not_key" in keys.flags or keys.unknown or keys.keyword:
            return None
        if keys.keynum is not None or (keys.begin, keys.last) != (1, 0):
            return None
        return READ | WRITE if keys.varying is not None else _rights(keys.flags)

    def probe(self, name: str) -> Request:
        """The request for a command as such, whatever its arguments: may this user run it at all?"""
        return Request(self._bits[name].bit, False, None)


def keys_of(spec: CommandSpec, argv: Argv) -> list[Key]:
    """Keys with the rights that the declaration asks for. Of a wrong key count: none."""
    found: list[Key] = []
    for keys in spec.keys:
        if "not_key" in keys.flags:
            continue  # a shard channel, which only routing counts as a key
        try:
            positions = keys.positions(argv)
        except CommandError:
            continue
        if positions:
            rights = _rights(keys.flags_of(argv))
            found += [Key(argv[at], rights, at) for at in positions]
    return found


@cache
def _rights(flags: str) -> int:
    words = flags.split()
    return (READ if "access" in words else 0) | (WRITE if any(word in words for word in _WRITES) else 0)


def channels_of(spec: CommandSpec, argv: Argv) -> list[Channel]:
    place = _CHANNELS.get(spec.name)
    if place is None:
        return []
    first, end, is_pattern = place
    return [Channel(name, is_pattern, at) for at, name in enumerate(argv[first:end], first)]


def databases_of(spec: CommandSpec, argv: Argv, current: int) -> list[Databases]:
    """The databases whose keys this request can touch, or whose choice it asks for."""
    named = _NAMED_DATABASES.get(spec.name)
    found = named(argv) if named is not None else []
    if spec.name in _THE_CURRENT or (
        spec.name not in _NOT_THE_CURRENT and (spec.kind is not Kind.SESSION or spec.keys)
    ):
        found.append(Databases(frozenset((current,)), argv[0]))
    return found


def _at(*places: int) -> Callable[[Argv], list[Databases]]:
    def find(argv: Argv) -> list[Databases]:
        numbers = [(argv[at], parse_int(argv[at])) for at in places if at < len(argv)]
        return [Databases(frozenset((number,)), word) for word, number in numbers if number is not None]

    return find


def _behind_db(argv: Argv) -> list[Databases]:
    """COPY's `DB n`: of several the last one counts, so all must be allowed."""
    places = [at + 1 for at in range(3, len(argv) - 1) if argv[at].upper() == b"DB"]
    return _at(*places)(argv)


def _every(argv: Argv) -> list[Databases]:
    return [Databases(None, argv[0])]


_NAMED_DATABASES: Final[dict[str, Callable[[Argv], list[Databases]]]] = {
    "select": _at(1),
    "move": _at(2),
    "copy": _behind_db,
    "swapdb": _at(1, 2),
    "flushall": _every,
    "backup|restore": _every,
}
_NOT_THE_CURRENT: Final = ("swapdb", "flushall")
_THE_CURRENT: Final = ("flashback|restore",)  # names no key, and changes keys all the same

_SORTS: Final = ("sort", "sort_ro")
_SORT_WORDS: Final = {b"LIMIT": 2, b"BY": 1, b"GET": 1, b"STORE": 1}  # of each option that takes any


def made_up_keys(spec: CommandSpec, argv: Argv) -> str:
    """The option, BY or GET, by which a SORT would read keys that it does not name; empty if there is none."""
    if spec.name not in _SORTS:
        return ""
    at = 2
    while at < len(argv) - 1:
        word = argv[at].upper()
        if word == b"GET" or (word == b"BY" and b"*" in argv[at + 1]):
            return word.decode()
        at += 1 + _SORT_WORDS.get(word, 0)
    return ""
