"""How long values will be after writes that make them longer than any of their words is.

`GROWTH` is for the limit of a value's size, which is asked before the log. APPEND is answered from applied state: what
is in flight is not seen, so a value may pass the limit by what one batch appends to it.
`STRETCH` is for the limit of memory: by how much the data grows at most, of commands for which a few bytes make many.
They are asked in the order of the log, on an `Outlook`: what those before them leave, applied or not. So of the parts
of a transaction, as of the requests of a batch, the second SETRANGE of a key makes nothing, unless a RENAME in
between has taken the value away. Bytes that clients have sent (SET, APPEND) are not followed, only added where a value
is copied; what shrinks a value is not believed until it is applied.
Not here: the limits (`server.sizes`, `server.memory`); the bound that holds whatever the configuration says (`strings`,
`bits`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ..interchange.dump_payload import stated_size
from ..limits import VALUE_BYTES_MAX
from ..state.values import VERSION_BYTES
from ..state.views import ReadView
from .arguments import parse_int
from .bits import bitfield_reach, setbit_reach
from .databases import swapped_databases
from .keys import parse_copy
from .long_double import TEXT_MAX
from .spec import Argv
from .strings import strlen


def _setrange_reach(argv: Argv) -> int:
    return (parse_int(argv[2]) or 0) + len(argv[3]) if argv[3] else 0


# Each may raise the CommandError that the command itself would answer.
GROWTH: Final[Mapping[str, Callable[[ReadView, Argv], int]]] = {
    "append": lambda view, argv: int(strlen(view, argv[:2])) + len(argv[2]),
    "setrange": lambda view, argv: _setrange_reach(argv),
    "setbit": lambda view, argv: setbit_reach(argv),
    "bitfield": lambda view, argv: bitfield_reach(argv),
}


class Forecast:
    """What some requests make, as far as they are not applied: `grows` bytes in all.

    `lengths`: of the values that they make longer or take away, by database and name. `loose`: bytes that have another
    name by then, and nobody can say which. `blind`: whole databases have changed places, so nothing older counts.
    """

    __slots__ = ("blind", "grows", "lengths", "loose")

    def __init__(self) -> None:
        self.grows = self.loose = 0
        self.lengths: dict[tuple[int, bytes], int] = {}
        self.blind = False

    @property
    def plain(self) -> bool:
        """It has nothing to say to those who come after."""
        return not (self.lengths or self.loose or self.blind)

    def add(self, later: Forecast) -> None:
        self.grows += later.grows
        self.loose += later.loose
        if later.blind:
            self.blind, self.lengths = True, {}
        self.lengths.update(later.lengths)


class Outlook:
    """The data behind what is under way (`earlier`, oldest first); `made` is what is being asked about, so far.

    `fresh`: bytes that clients have sent and that are not applied; any value may be longer by as many.
    Promise: however the requests end, the data grows by no more than `made.grows` and the bytes of the requests.
    """

    __slots__ = ("_earlier", "_fresh", "_views", "blind", "loose", "made")

    def __init__(self, views: Sequence[ReadView], earlier: Sequence[Forecast], fresh: int) -> None:
        self._views, self._fresh = views, fresh
        self.made = Forecast()
        self._earlier: list[Forecast] = []  # newest first
        for one in reversed(earlier):
            self._earlier.append(one)
            if one.blind:
                break
        self.blind = any(one.blind for one in self._earlier)
        self.loose = sum(one.loose for one in self._earlier)

    def _length(self, db: int, key: bytes) -> int:
        """That the data is known to hold under this name, or has been counted for it."""
        place = (db, key)
        for one in (self.made, *self._earlier):
            known = one.lengths.get(place)
            if known is not None:
                return known
        item = None if self.blind else self._views[db].item(key)  # which is no use of the key
        return 0 if item is None else len(item) - VERSION_BYTES

    def longest(self, db: int, keys: Argv) -> int:
        """Of these values, at most."""
        return min(max(self._length(db, key) for key in keys) + self.loose + self._fresh, VALUE_BYTES_MAX)

    def reaches(self, db: int, key: bytes, size: int) -> None:
        """The value becomes as long as this, if it is shorter."""
        if size > VALUE_BYTES_MAX:  # the command will say so
            return
        before = self._length(db, key)
        if size > before:
            self.made.grows += size - before
            self.made.lengths[db, key] = size

    def leaves(self, db: int, key: bytes) -> None:
        """The value goes to another name, or stays where it is."""
        size = self._length(db, key)
        if size:
            self.made.lengths[db, key] = 0
            self.made.loose += size
            self.loose += size

    def swapped(self) -> None:
        """Any value may be under any name."""
        self._earlier, self.made.lengths = [], {}
        self.blind = self.made.blind = True
        self.loose = self.made.loose = VALUE_BYTES_MAX

    def copied(self, db: int, argv: Argv) -> None:
        target, _ = parse_copy(argv, db, len(self._views))
        self.reaches(target, argv[2], self.longest(db, argv[1:2]))

    def exchanged(self, argv: Argv) -> None:
        first, second = swapped_databases(argv, len(self._views))
        if first != second:
            self.swapped()


# Each may raise the CommandError that the command itself would answer; then it makes nothing.
STRETCH: Final[Mapping[str, Callable[[Outlook, int, Argv], None]]] = {
    "setrange": lambda ahead, db, argv: ahead.reaches(db, argv[1], _setrange_reach(argv)),
    "setbit": lambda ahead, db, argv: ahead.reaches(db, argv[1], setbit_reach(argv)),
    "bitfield": lambda ahead, db, argv: ahead.reaches(db, argv[1], bitfield_reach(argv)),
    "incrbyfloat": lambda ahead, db, argv: ahead.reaches(db, argv[1], TEXT_MAX),  # 1e4000 has 4001 digits
    "exincrbyfloat": lambda ahead, db, argv: ahead.reaches(db, argv[1], TEXT_MAX),
    "bitop": lambda ahead, db, argv: ahead.reaches(db, argv[2], ahead.longest(db, argv[3:])),
    "restore": lambda ahead, db, argv: ahead.reaches(db, argv[1], stated_size(argv[3])),
    "copy": lambda ahead, db, argv: ahead.copied(db, argv),
    "rename": lambda ahead, db, argv: ahead.leaves(db, argv[1]),
    "renamenx": lambda ahead, db, argv: ahead.leaves(db, argv[1]),
    "move": lambda ahead, db, argv: ahead.leaves(db, argv[1]),
    "swapdb": lambda ahead, db, argv: ahead.exchanged(argv),
}
