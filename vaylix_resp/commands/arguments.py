"""Reading arguments, with Redis's grammar and Redis's error texts.

Redis's `string2ll` is stricter than Python's int(): no plus sign, no underscores, no blanks, no leading zeros.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from ..errors import NOT_A_FLOAT, NOT_AN_INTEGER, CommandError, printable
from ..resp.reply import Simple

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1
_INTEGER: Final = re.compile(rb"(?:0|-?[1-9][0-9]{0,18})\Z")


def parse_int(raw: bytes) -> int | None:
    """A signed 64-bit integer in canonical form, or None."""
    if _INTEGER.match(raw):
        value = int(raw)
        if INT64_MIN <= value <= INT64_MAX:
            return value
    return None


def integer(raw: bytes, message: str = NOT_AN_INTEGER) -> int:
    value = parse_int(raw)
    if value is None:
        raise CommandError(message)
    return value


def bounded(raw: bytes, low: int, high: int, message: str = NOT_AN_INTEGER) -> int:
    value = integer(raw, message)
    if not low <= value <= high:
        raise CommandError(message)
    return value


def decimal(raw: bytes, message: str = NOT_A_FLOAT) -> Decimal:
    """A finite or infinite decimal number; nan, blanks and underscores are refused."""
    text = raw.decode("ascii", "replace")
    if not text or text[0].isspace() or text[-1].isspace() or "_" in text:
        raise CommandError(message)
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise CommandError(message) from None
    if value.is_nan():
        raise CommandError(message)
    return value


def matches(word: bytes, name: bytes) -> bool:
    """Option names are compared without regard to case; `name` is upper case."""
    return word.upper() == name


def help_reply(name: str, *lines: str) -> list[Simple]:
    """A container's HELP: `lines` are a subcommand's form and, indented by four blanks, what it does."""
    head = f"{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    return [Simple(line) for line in (head, *lines, "HELP", "    Prints this help.")]


def subcommand_syntax(argv: Sequence[bytes]) -> CommandError:
    """A subcommand whose number of words fits its arity and still is none that it takes."""
    return CommandError(
        f"ERR unknown subcommand or wrong number of arguments for '{printable(argv[1])}'. "
        f"Try {printable(argv[0]).upper()} HELP."
    )


_ATTRIBUTE: Final = re.compile(rb"[!-~]*\Z")
ATTRIBUTE_BYTES_MAX: Final = 4096  # of a client's name or library: CLIENT LIST prints it for every client


def check_attribute(raw: bytes, what: str) -> bytes:
    """A name that CLIENT LIST can print as one word: printable ASCII without blanks. `what` begins the error."""
    if len(raw) > ATTRIBUTE_BYTES_MAX:
        raise CommandError(f"ERR {what} cannot be longer than {ATTRIBUTE_BYTES_MAX} bytes")
    if not _ATTRIBUTE.match(raw):
        raise CommandError(f"ERR {what} cannot contain spaces, newlines or special characters.")
    return raw
