"""The dispatch table of one server: declarations bound to this server's counters.

Promise: finding a command costs one dictionary look-up for the usual spellings (all upper or all lower case).
Not here: what may run when (`gate`), how it runs (`execution`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from enum import IntEnum
from typing import Any, Final

from ..commands.audit_events import Action
from ..commands.registry import CATALOG, unknown_subcommand
from ..commands.spec import Check, CommandSpec, Kind
from ..errors import CommandError, printable
from ..observability.metrics import CommandStats, Stats

WORDS_MAX: Final = 1 << 31
UNKNOWN_TEXT_MAX: Final = 128


class Route(IntEnum):
    """How `execution` treats a request of a session in its plain state."""

    READ = 0  # constant cost: executed in stretches of the same command, timed together
    WRITE = 1
    SINGLE = 2  # everything else: one at a time, through the gate


class Bound:
    """A command with what dispatch needs of it, flat, because attributes of attributes cost time."""

    __slots__ = (
        "audit", "bit", "check", "early", "handler", "high", "kind", "low", "name", "one_key", "plain", "plain_route",
        "route", "row", "spec", "stats", "spelling", "subcommands", "timed",
    )  # fmt: skip

    def __init__(self, spec: CommandSpec, stats: Stats) -> None:
        self.spec = spec
        self.name = spec.name
        self.spelling = spec.name.partition("|")[0].upper().encode()  # argv[0] in the log
        self.kind = spec.kind
        self.handler: Callable[..., Any] = spec.handler or _no_handler
        self.low = abs(spec.arity)
        self.high = spec.arity if spec.arity >= 0 else WORDS_MAX
        self.check: Check | None = spec.check
        self.plain = spec.plain
        self.row = spec.row
        self.early = "early" in spec.flags
        self.timed = not spec.complexity.startswith("O(1)")
        self.stats: CommandStats = stats.command(spec.name)
        bits = CATALOG.command(spec.name)
        assert bits is not None, spec.name
        self.bit = bits.bit  # for access control, as the next
        self.one_key = CATALOG.one_key(spec)
        self.subcommands = {
            spelling: Bound(sub, stats) for name, sub in spec.subcommands.items() for spelling in _spellings(name)
        }
        self.route = self.plain_route = self._route()
        self.audit: Action | None = None  # what the audit does with it, if anything: then its route is SINGLE

    def _route(self) -> Route:
        if self.subcommands or self.kind is Kind.SESSION:
            return Route.SINGLE
        if self.kind is Kind.WRITE:
            return Route.WRITE
        return Route.SINGLE if self.timed else Route.READ


class CommandTable:
    """All commands of one server."""

    def __init__(self, commands: Mapping[str, CommandSpec], stats: Stats) -> None:
        self.by_name = {
            spelling: Bound(spec, stats) for spec in commands.values() for spelling in _spellings(spec.name)
        }
        for name, bound in self.by_name.items():
            assert bound.stats is stats.command(bound.name), name

    def only(self, names: Collection[str]) -> CommandTable:
        """A table with these alone, and the very same rows: what is counted or marked in one is so in both."""
        part = copy(self)
        part.by_name = {spelling: bound for spelling, bound in self.by_name.items() if bound.name in names}
        return part

    def find(self, argv: Sequence[bytes]) -> Bound:
        """The command or subcommand that a request names; CommandError with Redis's text if there is none."""
        name = argv[0]
        bound = self.by_name.get(name) or self.by_name.get(name.lower())
        if bound is None:
            raise unknown_command(argv)
        if bound.subcommands and len(argv) > 1:
            sub = bound.subcommands.get(argv[1]) or bound.subcommands.get(argv[1].lower())
            if sub is not None:
                return sub
            raise unknown_subcommand(bound.spec, argv)  # also where the container does something alone, as COMMAND
        return bound


def _spellings(name: str) -> tuple[bytes, bytes]:
    return name.upper().encode(), name.encode()


def _no_handler(*_: Any) -> Any:
    raise AssertionError("a container has no handler: arity is checked before")


def unknown_command(argv: Sequence[bytes]) -> CommandError:
    """Redis's text: the name and the first arguments, shortened."""
    shown = ""
    for word in argv[1:]:
        if len(shown) >= UNKNOWN_TEXT_MAX:
            break
        shown += f"'{printable(word, UNKNOWN_TEXT_MAX - len(shown))}' "
    return CommandError(f"ERR unknown command '{printable(argv[0])}', with args beginning with: {shown}")
