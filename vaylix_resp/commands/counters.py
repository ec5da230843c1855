"""Strings that are numbers.

Integers are signed 64-bit in canonical form (no blanks, no plus, no leading zeros); a result outside is
refused.
INCRBYFLOAT computes in `long_double`, whose results do not depend on the machine. Expiry and flags stay.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import NOT_A_FLOAT, NOT_AN_INTEGER, CommandError
from ..state.values import VERSION_BYTES, Item
from ..state.views import WriteTx
from . import long_double
from .arguments import INT64_MAX, INT64_MIN, integer, parse_int
from .long_double import LongDouble
from .spec import FIRST_KEY_RW, Argv, Kind, command

WOULD_OVERFLOW: Final = "ERR increment or decrement would overflow"
DECREMENT_OVERFLOW: Final = "ERR decrement would overflow"
NOT_FINITE: Final = "ERR increment would produce NaN or Infinity"
INT64_DIGITS: Final = 19  # of the largest signed 64-bit integer: what has fewer is in range


def number_in(item: Item | None, message: str = NOT_AN_INTEGER) -> int:
    """The integer a string holds, 0 for no key; an error with this message for any other text."""
    if item is None:
        return 0
    text = item[VERSION_BYTES:]
    if text.isdigit() and len(text) < INT64_DIGITS and (text[0] != 48 or len(text) == 1):
        return int(text)  # the usual case, without a regular expression
    number = parse_int(text)
    if number is None:
        raise CommandError(message)
    return number


def _add(tx: WriteTx, key: bytes, amount: int) -> int:
    total = number_in(tx.item(key)) + amount
    if not INT64_MIN <= total <= INT64_MAX:
        raise CommandError(WOULD_OVERFLOW)
    tx.update(key, str(total).encode())  # a third faster than b"%d" % total
    if tx.world.events is not None:
        tx.event("$", "incrby", key)
    return total


@command(
    "INCR", arity=2, kind=Kind.WRITE, flags="write denyoom fast", group="string", keys=FIRST_KEY_RW,
    syntax="key",
)  # fmt: skip
def incr(tx: WriteTx, argv: Argv) -> Any:
    """Add one to the integer at a key; a key that does not exist counts as 0."""
    return _add(tx, argv[1], 1)


@command(
    "DECR", arity=2, kind=Kind.WRITE, flags="write denyoom fast", group="string", keys=FIRST_KEY_RW,
    syntax="key",
)  # fmt: skip
def decr(tx: WriteTx, argv: Argv) -> Any:
    """Subtract one from the integer at a key; a key that does not exist counts as 0."""
    return _add(tx, argv[1], -1)


def _check_incrby(argv: Argv) -> None:
    integer(argv[2])


@command(
    "INCRBY", arity=3, kind=Kind.WRITE, flags="write denyoom fast", group="string", keys=FIRST_KEY_RW,
    check=_check_incrby, syntax="key increment",
)  # fmt: skip
def incrby(tx: WriteTx, argv: Argv) -> Any:
    """Add to the integer at a key; a key that does not exist counts as 0."""
    return _add(tx, argv[1], integer(argv[2]))


def _decrement(argv: Argv) -> int:
    amount = integer(argv[2])
    if amount == INT64_MIN:  # its opposite is no 64-bit integer
        raise CommandError(DECREMENT_OVERFLOW)
    return amount


@command(
    "DECRBY", arity=3, kind=Kind.WRITE, flags="write denyoom fast", group="string", keys=FIRST_KEY_RW,
    check=_decrement, syntax="key decrement",
)  # fmt: skip
def decrby(tx: WriteTx, argv: Argv) -> Any:
    """Subtract from the integer at a key; a key that does not exist counts as 0."""
    return _add(tx, argv[1], -_decrement(argv))


def float_sum(item: Item | None, increment: bytes) -> LongDouble:
    """What a string holds (0 for no key) plus an increment; NOT_A_FLOAT if either is no number."""
    texts = (b"0" if item is None else item[VERSION_BYTES:], increment)
    numbers = [long_double.parse(text) for text in texts]
    if any(n is None and not long_double.is_infinite(t) for n, t in zip(numbers, texts, strict=True)):
        raise CommandError(NOT_A_FLOAT)
    left, right = numbers
    total = None if left is None or right is None else long_double.add(left, right)
    if total is None:
        raise CommandError(NOT_FINITE)
    return total


def _check_incrbyfloat(argv: Argv) -> None:
    if long_double.parse(argv[2]) is None and not long_double.is_infinite(argv[2]):
        raise CommandError(NOT_A_FLOAT)


@command(
    "INCRBYFLOAT", arity=3, kind=Kind.WRITE, flags="write denyoom fast", group="string", since="2.6.0",
    keys=FIRST_KEY_RW, check=_check_incrbyfloat, syntax="key increment",
)  # fmt: skip
def incrbyfloat(tx: WriteTx, argv: Argv) -> Any:
    """Add to the decimal number at a key; a key that does not exist counts as 0."""
    key = argv[1]
    text = long_double.text_of(float_sum(tx.item(key), argv[2]))
    tx.update(key, text)
    tx.event("$", "incrbyfloat", key)
    return text
