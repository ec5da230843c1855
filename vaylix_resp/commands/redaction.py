"""Which words of a request are secrets: MONITOR, SLOWLOG and logs show `redacted` requests only.

Promise: a malformed request gives away no more than a proper one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..directives import ALIASES, DIRECTIVES
from .spec import Argv, CommandSpec

REDACTED: Final = b"(redacted)"


def redacted(spec: CommandSpec, argv: Argv) -> Argv:
    """The request with its secrets replaced; `spec` is the subcommand's for a container."""
    find = _SECRETS.get(spec.name)
    if find is None:
        return argv
    secret = find(argv)
    return [REDACTED if at in secret else word for at, word in enumerate(argv)]


def _auth(argv: Argv) -> set[int]:
    """User names, too: a password typed in their place is the commonest mistake."""
    return set(range(1, len(argv)))


def _hello(argv: Argv) -> set[int]:
    """The two words after AUTH, wherever it stands; a client's name may be `auth` itself."""
    found: set[int] = set()
    at = 1
    while at < len(argv):
        word = argv[at].lower()
        if word == b"auth":
            found |= {at + 1, at + 2}
            at += 2
        elif word == b"setname":
            at += 1
        at += 1
    return found


def _config_set(argv: Argv) -> set[int]:
    """Values of secret directives; with an odd number of words, whatever stands behind a secret's name."""
    return {at + 1 for at in range(2, len(argv)) if _is_secret(argv[at])}


def _is_secret(name: bytes) -> bool:
    text = name.decode("utf-8", "replace").lower()
    directive = DIRECTIVES.get(ALIASES.get(text, text))
    return directive is not None and directive.spec.secret


def _behind(first: int) -> Callable[[Argv], set[int]]:
    """Every word from this one on: a rule that is mistyped may be a password that lacks its sign."""
    return lambda argv: set(range(first, len(argv)))


_SECRETS: Final[dict[str, Callable[[Argv], set[int]]]] = {
    "auth": _auth,
    "hello": _hello,
    "config|set": _config_set,
    "acl|setuser": _behind(2),
    "acl|setpass": _behind(2),
    "acl|setrole": _behind(3),
    "acl|dryrun": _behind(5),  # it may hold the arguments of AUTH
}
