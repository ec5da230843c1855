"""SORT and SORT_RO: their whole grammar; what they can sort does not exist in this release.

Lists, sets and sorted sets are to come. Until then a key that exists is a string, hence WRONGTYPE, and a missing
key sorts to nothing, which STORE takes literally: the destination is removed.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import SYNTAX, WRONG_TYPE, CommandError
from ..state.views import ReadView, WriteTx
from .arguments import integer
from .spec import Argv, KeySpec, Kind, command

_COMPLEXITY: Final = (
    "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned "
    "elements. When the elements are not sorted, complexity is O(N)."
)
_SYNTAX: Final = "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]"
_WORDS_BEHIND: Final = {b"LIMIT": 2, b"BY": 1, b"GET": 1, b"STORE": 1}  # of each option that takes any


class _StoreKey(KeySpec):
    """The word behind the last STORE that is an option itself and not the argument of another one."""

    def positions(self, argv: Argv) -> list[int]:
        at, found = 2, 0
        while at < len(argv):
            word = argv[at].upper()
            if word == b"STORE" and at + 1 < len(argv):
                found = at + 1
            at += 1 + _WORDS_BEHIND.get(word, 0)
        return [found] if found else []


_KEY: Final = KeySpec("RO access")
_BY_GET: Final = KeySpec(
    "RO access", unknown=True,
    notes="For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of "
    "the key we sort",
)  # fmt: skip
_STORE: Final = _StoreKey(
    "OW update", unknown=True,
    notes="For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the "
    "argument array",
)  # fmt: skip


def _destination(argv: Argv, *, may_store: bool) -> bytes | None:
    """Read all options; the key behind STORE."""
    destination = None
    at = 2
    while at < len(argv):
        word = argv[at].upper()
        behind = _WORDS_BEHIND.get(word, 0)
        known = behind or word in (b"ASC", b"DESC", b"ALPHA")
        if not known or at + behind >= len(argv) or (word == b"STORE" and not may_store):
            raise CommandError(SYNTAX)
        if word == b"LIMIT":
            integer(argv[at + 1])
            integer(argv[at + 2])
        elif word == b"STORE":
            destination = argv[at + 1]
        at += 1 + behind
    return destination


def _check_sort(argv: Argv) -> None:
    _destination(argv, may_store=True)


@command(
    "SORT", arity=-2, kind=Kind.WRITE, flags="write denyoom movablekeys", group="generic",
    keys=(_KEY, _BY_GET, _STORE), categories="set sortedset list dangerous -keyspace", check=_check_sort, plain=2,
    complexity=_COMPLEXITY, syntax=_SYNTAX + " [STORE destination]",
)  # fmt: skip
def sort(tx: WriteTx, argv: Argv) -> Any:
    """Return or store the sorted elements of a list, a set or a sorted set."""
    destination = _destination(argv, may_store=True)
    if tx.lookup(argv[1]) is not None:
        raise CommandError(WRONG_TYPE)
    if destination is None:
        return []
    if tx.delete(destination):
        tx.event("g", "del", destination)
    return 0


@command(
    "SORT_RO", arity=-2, kind=Kind.READ, flags="readonly movablekeys", group="generic", since="7.0.0",
    keys=(_KEY, _BY_GET), categories="set sortedset list dangerous -keyspace", complexity=_COMPLEXITY, syntax=_SYNTAX,
)  # fmt: skip
def sort_ro(view: ReadView, argv: Argv) -> Any:
    """Return the sorted elements of a list, a set or a sorted set."""
    _destination(argv, may_store=False)
    if view.lookup(argv[1]) is not None:
        raise CommandError(WRONG_TYPE)
    return []
