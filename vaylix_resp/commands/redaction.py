"""Which words of a request are secrets: MONITOR, SLOWLOG and logs show `redacted` requests only.

Promise: a malformed request gives away no more than a proper one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..directive import Directive
from ..directives import ALIASES, DIRECTIVES
from .spec import Argv, CommandSpec

REDACTED: Final = b"(redacted)"
_HELLO_OPTIONS: Final = {b"auth": 3, b"setname": 2}  # so many words each


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
    """The two words after every AUTH: where SETNAME lacks its name, it is AUTH that has been taken for one. And all
    from the first word on that is in the place of a version or an option and is none: it may be a mistyped AUTH."""
    secret = {place for at, word in enumerate(argv) if word.lower() == b"auth" for place in (at + 1, at + 2)}
    at = 2 if len(argv) > 1 and argv[1].isdigit() else 1
    while at < len(argv) and (taken := _HELLO_OPTIONS.get(argv[at].lower(), 0)):
        at += taken
    return secret | set(range(at, len(argv)))


def _config_set(argv: Argv) -> set[int]:
    """Values that are or may hold a secret, and those of unknown directives; if anything is malformed, all that stands
    behind the first."""
    places = range(2, len(argv))
    secret = [at for at in places if _is_hidden(argv[at])]
    unknown = [at for at in places[::2] if _directive_of(argv[at]) is None]
    if unknown or len(argv) % 2:
        return set(range(min(secret + unknown, default=len(argv)) + 1, len(argv)))
    return {at + 1 for at in secret if not at % 2}


def _directive_of(name: bytes) -> Directive | None:
    text = name.decode("utf-8", "replace").lower()
    return DIRECTIVES.get(ALIASES.get(text, text))


def is_secret(name: bytes) -> bool:
    """Whether the directive of this name holds a secret; False if there is none."""
    directive = _directive_of(name)
    return directive is not None and directive.spec.secret


def _is_hidden(name: bytes) -> bool:
    """Whether its value may not be recorded: it is a secret, or may have one in it."""
    directive = _directive_of(name)
    return directive is not None and (directive.spec.secret or directive.spec.sensitive)


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
    "acl|dryrun": _behind(4),  # they may be the arguments of AUTH
    "command|getkeys": _behind(3),  # these too
    "command|getkeysandflags": _behind(3),
    "sentinel|set": _behind(3),  # refused here, but meant for a Sentinel, which takes passwords so
    "sentinel|config": _behind(4),
}
