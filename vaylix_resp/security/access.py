"""May this request run? Every right that it needs has to come from one selector.

Pure. The answer for a user who may use all keys, channels and databases is one bit (`Grants.free`); one with patterns
has a quick way for requests of one key; everything else is worked out from the request, which `commands.catalog`
takes apart.
Promise: a request is allowed only if a single selector allows the command, every key with the rights that it needs,
every channel and every database.
Not here: what rules mean (`acl`), who the user is (`state.accounts`), what a refusal looks like (`server.gate`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from .acl import READ, Selector, text_of

COMMAND: Final = "command"
KEY: Final = "key"
CHANNEL: Final = "channel"
DATABASE: Final = "database"
_RANK: Final = {DATABASE: 0, COMMAND: 1, KEY: 2, CHANNEL: 3}  # the refusal that came furthest is the one to report


class Denied(NamedTuple):
    """Why not. `object` is the key, the channel or the database's argument; empty for a command."""

    reason: str  # as ACL LOG says it
    object: bytes = b""


class Key(NamedTuple):
    name: bytes
    rights: int  # 0: known to exist or not, no more (EXISTS, TYPE); any pattern that fits will do
    at: int  # the place in the request


class Channel(NamedTuple):
    name: bytes
    is_pattern: bool
    at: int


class Databases(NamedTuple):
    """Numbers, or all; `object` is the word of the request that says so."""

    numbers: frozenset[int] | None
    object: bytes


class Request(NamedTuple):
    """What a request would touch, worked out from its declaration before anybody asks about rights."""

    bit: int
    always: bool  # AUTH, HELLO, QUIT, RESET: who may not even do these could never log in
    first: bytes | None  # the word after the command's name
    keys: Sequence[Key] = ()
    channels: Sequence[Channel] = ()
    databases: Sequence[Databases] = ()


class Grants:
    """What a user may do by its own selectors and those of its roles. Made anew whenever one of them changes."""

    __slots__ = ("free", "selectors")

    def __init__(self, selectors: Iterable[Selector]) -> None:
        self.selectors = tuple(selectors)
        self.free = 0  # commands that need no further question whatever their arguments
        for one in self.selectors:
            if one.all_keys and one.all_channels and one.all_databases:
                self.free |= one.commands

    def check(self, request: Request) -> Denied | None:
        """None if one selector allows all of it; otherwise the reason that came closest to allowing it."""
        closest, furthest = Denied(COMMAND), (-1, 0)
        for selector in self.selectors:
            denied, at = _check(selector, request)
            if denied is None:
                return None
            if (_RANK[denied.reason], at) > furthest:
                closest, furthest = denied, (_RANK[denied.reason], at)
        return closest

    def allows_one_key(self, bit: int, key: bytes, rights: int) -> bool:
        """`check` in a hurry, for a request that names one key and nothing else: False may still mean yes."""
        for one in self.selectors:  # noqa: SIM110 - a loop, not any(): it is asked for every request of such a user
            if one.commands & bit and one.all_databases and allows_key(one, key, rights):
                return True
        return False

    def roams(self, request: Request) -> bool:
        """Whether a selector that allows the request also reads every key: SORT BY and GET make up names of keys."""
        return any(_check(one, request)[0] is None and _reads_every_key(one) for one in self.selectors)

    def keeps(self, channels: Iterable[bytes], patterns: Iterable[bytes]) -> bool:
        """Whether these subscriptions may go on. As in Redis the selectors count together."""
        if any(one.all_channels for one in self.selectors):
            return True
        return all(any(allows_channel(one, name, False) for one in self.selectors) for name in channels) and all(
            any(allows_channel(one, name, True) for one in self.selectors) for name in patterns
        )


def _check(selector: Selector, request: Request) -> tuple[Denied | None, int]:
    if not selector.all_databases:
        for number, needed in enumerate(request.databases):
            if needed.numbers is None or not needed.numbers <= selector.databases:
                return Denied(DATABASE, needed.object), number
    if not request.always and not allows_command(selector, request.bit, request.first):
        return Denied(COMMAND), 0
    if not selector.all_keys:
        for key in request.keys:
            if not allows_key(selector, key.name, key.rights):
                return Denied(KEY, key.name), key.at
    if not selector.all_channels:
        for channel in request.channels:
            if not allows_channel(selector, channel.name, channel.is_pattern):
                return Denied(CHANNEL, channel.name), channel.at
    return None, 0


def allows_command(selector: Selector, bit: int, first: bytes | None) -> bool:
    if selector.commands & bit:
        return True
    words = selector.first_args.get(bit)
    return words is not None and first is not None and first.lower() in words


def allows_key(selector: Selector, key: bytes, rights: int) -> bool:
    """All of `rights` by one pattern, as in Redis: two patterns do not add up."""
    if selector.all_keys:
        return True
    for known in selector.keys.values():  # noqa: SIM110 - as above
        if known.rights & rights == rights and known.fits(key):
            return True
    return False


def allows_channel(selector: Selector, name: bytes, is_pattern: bool) -> bool:
    """A pattern to subscribe to has to be one of the allowed patterns, to the letter."""
    if selector.all_channels:
        return True
    if is_pattern:
        return name in selector.channels
    return any(known.fits(name) for known in selector.channels.values())


def _reads_every_key(selector: Selector) -> bool:
    everything = selector.keys.get(b"*")
    return selector.all_keys or (everything is not None and bool(everything.rights & READ))


def refusal_text(user: str, command: str, denied: Denied, *, named: bool) -> str:
    """What a refusal says; `named`: with the key or channel (for ACL DRYRUN, whose user may see the rules anyway)."""
    if denied.reason == COMMAND:
        return f"User {user} has no permissions to run the '{command}' command"
    if denied.reason == DATABASE:
        return f"User {user} has no permissions to access database {text_of(denied.object)}" if named else _NO_DATABASE
    if named:
        return f"User {user} has no permissions to access the '{text_of(denied.object)}' {denied.reason}"
    return f"No permissions to access a {denied.reason}"


_NO_DATABASE: Final = "No permissions to access database"
