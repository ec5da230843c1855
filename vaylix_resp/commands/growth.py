"""How long a value will be after a write that makes it longer than any of its words is.

For the limit of a value's size, which is asked before the log. APPEND is answered from applied state: what is in flight
is not seen, so a value may pass the limit by what one batch appends to it.
Not here: the limit (`server.sizes`); the bound that holds whatever the configuration says (`strings`, `bits`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..state.views import ReadView
from .arguments import parse_int
from .bits import bitfield_reach, setbit_reach
from .spec import Argv
from .strings import strlen


def _append(view: ReadView, argv: Argv) -> int:
    return int(strlen(view, argv[:2])) + len(argv[2])


def _setrange(view: ReadView, argv: Argv) -> int:
    return (parse_int(argv[2]) or 0) + len(argv[3]) if argv[3] else 0


# Each may raise the CommandError that the command itself would answer.
GROWTH: Final[Mapping[str, Callable[[ReadView, Argv], int]]] = {
    "append": _append,
    "setrange": _setrange,
    "setbit": lambda view, argv: setbit_reach(argv),
    "bitfield": lambda view, argv: bitfield_reach(argv),
}
