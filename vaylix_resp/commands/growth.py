"""How long a value will be after a write that makes it longer than any of its words is.

`GROWTH` is for the limit of a value's size, which is asked before the log. APPEND is answered from applied state: what
is in flight is not seen, so a value may pass the limit by what one batch appends to it.
`STRETCH` is for the limit of memory: by how much the data grows at most, of commands for which a few bytes make many.
Not here: the limits (`server.sizes`, `server.memory`); the bound that holds whatever the configuration says (`strings`,
`bits`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..limits import VALUE_BYTES_MAX
from ..state.values import VERSION_BYTES
from ..state.views import ReadView
from .arguments import parse_int
from .bits import bitfield_reach, setbit_reach
from .spec import Argv
from .strings import strlen


def _append(view: ReadView, argv: Argv) -> int:
    return int(strlen(view, argv[:2])) + len(argv[2])


def _setrange(view: ReadView, argv: Argv) -> int:
    return (parse_int(argv[2]) or 0) + len(argv[3]) if argv[3] else 0


UNPACKED_MAX: Final = 88  # bytes that one of LZF data makes at most: a reference of three stands for 264

# Each may raise the CommandError that the command itself would answer.
GROWTH: Final[Mapping[str, Callable[[ReadView, Argv], int]]] = {
    "append": _append,
    "setrange": _setrange,
    "setbit": lambda view, argv: setbit_reach(argv),
    "bitfield": lambda view, argv: bitfield_reach(argv),
}


def _length(view: ReadView, key: bytes) -> int:
    """Without it being a use of the key."""
    item = view.item(key)
    return 0 if item is None else len(item) - VERSION_BYTES


def _reaching(name: str) -> Callable[[ReadView, Argv, int], int]:
    grown = GROWTH[name]
    return lambda view, argv, unseen: max(0, grown(view, argv) - _length(view, argv[1]))


def _of(view: ReadView, keys: Argv, unseen: int) -> int:
    """As long as the longest of these keys may be by then."""
    return min(max(_length(view, key) for key in keys) + unseen, VALUE_BYTES_MAX)


# `unseen`: by how much a value may have grown that is not applied yet.
STRETCH: Final[Mapping[str, Callable[[ReadView, Argv, int], int]]] = {
    "setrange": _reaching("setrange"),
    "setbit": _reaching("setbit"),
    "bitfield": _reaching("bitfield"),
    "copy": lambda view, argv, unseen: _of(view, argv[1:2], unseen),
    "bitop": lambda view, argv, unseen: _of(view, argv[3:], unseen),
    "restore": lambda view, argv, unseen: min(UNPACKED_MAX * len(argv[3]), VALUE_BYTES_MAX),
}
