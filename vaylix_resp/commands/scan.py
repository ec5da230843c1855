"""Finding keys: KEYS walks through all of them, SCAN in steps.

SCAN keeps Redis's promise: a key that is there from the first call to the last is returned. A cursor is a place in
the scan order of this process; after a restart or on another node it leads to other keys, so a scan begins anew.
Not here: the order itself (`state.keyspace`), patterns (`glob`).
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..errors import SYNTAX, CommandError
from ..glob import Matcher, matcher
from ..state.views import ReadView
from .arguments import integer
from .spec import Argv, Kind, command

DEFAULT_COUNT: Final = 10
UINT64: Final = 1 << 64
INVALID_CURSOR: Final = "ERR invalid cursor"
_CURSOR: Final = re.compile(rb"([+-]?)([0-9]+)\Z")


def _filter(pattern: bytes) -> Matcher | None:
    """None where everything matches: a lone star, here also for the empty key."""
    return None if pattern == b"*" else matcher(pattern)


@command(
    "KEYS", arity=2, kind=Kind.READ, flags="readonly", group="generic", categories="dangerous", syntax="pattern",
    tips=("request_policy:all_shards", "nondeterministic_output_order"),
    complexity="O(N) where N is the number of keys in the database.",
)  # fmt: skip
def keys(view: ReadView, argv: Argv) -> Any:
    """Return every key that matches a pattern."""
    wanted = _filter(argv[1])
    return list(view.keys() if wanted is None else filter(wanted, view.keys()))


def cursor(raw: bytes) -> int:
    """As C's strtoul reads it: a sign is allowed and a negative number wraps around; what follows a NUL is unread."""
    text = raw.partition(b"\0")[0]
    if not text:
        return 0
    found = _CURSOR.match(text)
    if found is None:
        raise CommandError(INVALID_CURSOR)
    # A number of more than 20 significant digits is out of range; int() need not see megabytes of them.
    digits = found[2].lstrip(b"0")
    if len(digits) > 20 or int(digits or b"0") >= UINT64:
        raise CommandError(INVALID_CURSOR)
    number = int(digits or b"0")
    return -number % UINT64 if found[1] == b"-" else number


def _options(argv: Argv) -> tuple[int, Matcher | None, bytes | None]:
    """COUNT, the test of MATCH, the name behind TYPE."""
    count, pattern, kind = DEFAULT_COUNT, b"*", None
    at = 2
    while at < len(argv):
        word = argv[at].upper()
        if at + 1 >= len(argv):
            raise CommandError(SYNTAX)
        value = argv[at + 1]
        if word == b"COUNT":
            count = integer(value)
            if count < 1:
                raise CommandError(SYNTAX)
        elif word == b"MATCH":
            pattern = value
        elif word == b"TYPE":
            kind = value
        else:
            raise CommandError(SYNTAX)
        at += 2
    return count, _filter(pattern), kind


@command(
    "SCAN", arity=-2, kind=Kind.READ, flags="readonly", group="generic", since="2.8.0",
    tips=("nondeterministic_output", "request_policy:special"),
    syntax="cursor [MATCH pattern] [COUNT count] [TYPE type]",
    complexity="O(1) for every call, O(N) for a complete iteration, where N is the number of keys.",
    history=(("6.0.0", "Added the `TYPE` subcommand."),),
)  # fmt: skip
def scan(view: ReadView, argv: Argv) -> Any:
    """Return some keys and the cursor for the next call; cursor 0 begins and ends."""
    start = cursor(argv[1])
    count, wanted, kind = _options(argv)
    after, found = view.scan(start, count)
    if kind is not None and kind.lower() != b"string":
        found = []
    elif wanted is not None:
        found = [key for key in found if wanted(key)]
    return [b"%d" % after, found]
