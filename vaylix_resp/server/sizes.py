"""`key-size-max`, `value-size-max`, `command-keys-max`: what one request may bring.

Sizes are asked of writes only: what was written before a limit was lowered can still be read and deleted. They are
asked before the log, so replicas with other limits, recovery and restore apply what was once accepted.
`Shared.sizes` is None while none of the limits is set: that is all that requests see of them then.
Not here: the order of admission (`gate`); bounds that nobody can move (`limits`, `resp.reader`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from ..commands.growth import GROWTH
from ..commands.ports import Client
from ..commands.spec import Argv, Kind
from ..config import Settings
from ..errors import LIMIT_KEYS, LIMIT_SIZE, CommandError

if TYPE_CHECKING:
    from .table import Bound

DIRECTIVES: Final = ("key-size-max", "value-size-max", "command-keys-max")
_NO_LIMIT: Final = 1 << 62


class Sizes:
    """The limits in force."""

    __slots__ = ("_count", "_key", "_value", "_word")

    def __init__(self, settings: Settings) -> None:
        self._key = settings.key_size_max or _NO_LIMIT
        self._value = settings.value_size_max or _NO_LIMIT
        self._count = settings.command_keys_max or _NO_LIMIT
        self._word = min(self._key, self._value)

    def covers(self, bound: Bound, row: Sequence[Argv]) -> bool:
        """Whether all requests of a row are within the limits, as far as can be told quickly."""
        if max(map(len, row)) - 1 > self._count:
            return False
        if bound.kind is not Kind.WRITE:
            return True
        return bound.name not in GROWTH and max(map(len, chain.from_iterable(row))) <= self._word

    def refusal(self, session: Client, bound: Bound, argv: Argv) -> CommandError | None:
        """The error for a request that passes a limit, or None."""
        try:
            refused = self._refusal(session, bound, argv)
        except CommandError:  # its words are wrong: the command itself says so
            return None
        session.server.stats.limit_refused_sizes += refused is not None
        return refused

    def _refusal(self, session: Client, bound: Bound, argv: Argv) -> CommandError | None:
        keys = [(spec, at) for spec in bound.spec.keys if "not_key" not in spec.flags for at in spec.positions(argv)]
        if len(keys) > self._count:
            text = LIMIT_KEYS.format(count=len(keys), most=self._count, directive="command-keys-max")
            return CommandError(text)
        if bound.kind is not Kind.WRITE:
            return None
        made = [len(argv[at]) for spec, at in keys if _makes(spec.flags_of(argv))]
        if max(made, default=0) > self._key:
            return _too_large("key", max(made), self._key, "key-size-max")
        places = {at for _, at in keys}
        size = max((len(word) for at, word in enumerate(argv[1:], 1) if at not in places), default=0)
        grown = GROWTH.get(bound.name)
        if grown is not None and size <= self._value < _NO_LIMIT:
            db = session.db if session.multi is None else session.multi.db
            size = grown(session.server.view(db), argv)
        if size > self._value:
            return _too_large("value", size, self._value, "value-size-max")
        return None


def _makes(flags: str) -> bool:
    """Whether the key may be there afterwards because of this request; one that can only go may have any length."""
    return "update" in flags or "insert" in flags


def _too_large(what: str, size: int, most: int, directive: str) -> CommandError:
    return CommandError(LIMIT_SIZE.format(what=what, size=size, most=most, directive=directive))


def of_settings(settings: Settings) -> Sizes | None:
    """None if nothing is limited."""
    limited = settings.key_size_max or settings.value_size_max or settings.command_keys_max
    return Sizes(settings) if limited else None
