"""May this user with this password come in? The order in which lockout, memory and verification are asked.

locked? -> no password needed? -> verified before? -> verify -> still a password of this user? -> count the outcome.
A user who does not exist, is off or expired, and a wrong password, get one answer after the same time.
Promise: every try ends in exactly one Result, except one that is cancelled; a failure is counted before its answer.
Not here: what becomes of the connection (`commands.connection`), the audit and ACL LOG, which get the Result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from ..clock import Clock
from ..errors import WRONG_PASS, CommandError
from ..security.lockout import Lock, Lockout, Try, address_of
from ..security.passwords import digest_of, expired
from .password_pool import PasswordPool, Ticket

RIGHT: Final = "right"
WRONG: Final = "wrong"
STRANGER_CHARS_MAX: Final = 256  # of a name that no user has; failures are counted by it, and it may be 64 MiB long
LOCKED: Final = "locked"  # nobody has looked at the password
BUSY: Final = "busy"  # likewise; says nothing about the client


class User(Protocol):
    """What a log-in needs to know of `state.account.Account`."""

    enabled: bool
    nopass: bool
    passwords: list[str]  # forms
    expires_at_s: int


class Result(NamedTuple):
    """How a try ended. `locks`: those that it has set."""

    outcome: str
    refusal: CommandError | None = None
    locks: Sequence[Lock] = ()


class LogIn:
    """The way in. `find` looks a user up in the applied state."""

    def __init__(self, find: Callable[[str], User | None], pool: PasswordPool, lockout: Lockout, clock: Clock) -> None:
        self._find = find
        self._pool = pool
        self._lockout = lockout
        self._clock = clock

    def begin(self, user: bytes, password: bytes, endpoint: str, done: Callable[[Result], None]) -> Result | Ticket:
        """A Result if the answer is known at once; otherwise a ticket, and `done` later, or before this returns.

        `endpoint` is the client's addr. Proving one's own password on the way to a new one (ACL SETPASS) comes here
        as well: guessing there is guessing, too.
        """
        name = user.decode("utf-8", "surrogateescape")
        account = self._find(name)
        one = Try(name if account is not None else name[:STRANGER_CHARS_MAX], account is not None, address_of(endpoint))
        forms = tuple(account.passwords) if account is not None else ()
        digest = digest_of(password)
        remembered = self._pool.remembers(user, digest, forms)
        refused = self._refusal(one, verified=remembered is not None)
        if refused is not None:
            return Result(LOCKED, refused)
        if remembered is not None:
            return self._end(one, remembered)
        if account is not None and account.nopass and self._usable(account):
            return Result(RIGHT)
        ticket = self._pool.verify(
            user, digest, forms, one.address,
            admit=lambda: self._refusal(one, verified=False),
            done=lambda found: done(self._end(one, found)),
        )  # fmt: skip
        return self._end(one, ticket) if isinstance(ticket, CommandError) else ticket

    def _refusal(self, one: Try, *, verified: bool) -> CommandError | None:
        return self._lockout.refusal(one, self._clock.now(), verified=verified)

    def _end(self, one: Try, found: str | CommandError | None) -> Result:
        """The user is looked up again: while its password was being verified, it may have lost it."""
        if isinstance(found, CommandError):
            return Result(LOCKED if found.code == "LOCKED" else BUSY, found)
        account = self._find(one.user)
        if account is not None and found in account.passwords and self._usable(account):
            self._lockout.passed(one)
            return Result(RIGHT)
        return Result(WRONG, CommandError(WRONG_PASS), self._lockout.failed(one, self._clock.now()))

    def _usable(self, account: User) -> bool:
        return account.enabled and not expired(account.expires_at_s, self._clock.wall_ms())
