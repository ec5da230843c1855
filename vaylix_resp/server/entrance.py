"""Who comes in: log-ins, changes of users as the server meets them, the ACL file.

Promise: nothing here waits: passwords are worked out in the pool, files are read elsewhere.
Not here: the order of questions at a log-in (`engine.log_in`), the commands (`commands.connection`, `commands.acl*`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..commands import acl_operations
from ..commands.ports import Client, Later, then
from ..engine.log_in import BUSY, RIGHT, LogIn, Result
from ..engine.password_pool import PasswordPool, Ticket, Workers
from ..errors import CommandError, error
from ..limits import KIB
from ..observability.logs import get_log
from ..resp.reply import OK, Reply
from ..security.acl import text_of
from ..security.acl_log import MULTI, TOP_LEVEL, AclLog
from ..security.lockout import USER, Lockout, Rule
from ..security.passwords import Cost, Policy, expired
from ..state.account import Account
from ..state.accounts import DEFAULT, Accounts
from ..storage.disk import RealDisk
from . import rights

if TYPE_CHECKING:
    from .shared import Shared

log = get_log("security")

FILE_BYTES_MAX: Final = 16 * 1024 * KIB
NOT_SAVED: Final = "There was an error trying to save the ACLs. Please check the server logs for more information"
_COSTS: Final = ("password-hash-memory", "password-hash-iterations", "password-hash-lanes")
_LOCKS: Final = (
    "login-user-limit", "login-user-lock-max", "login-address-limit", "login-address-lock-max", "login-window",
    "login-lock-time",
)  # fmt: skip


class Entrance:
    """Of one server."""

    def __init__(self, shared: Shared, accounts: Accounts, workers: Workers) -> None:
        settings = shared.settings
        self._shared = shared
        self._workers = workers
        self._accounts = accounts
        self._version = accounts.version
        self._names = set(accounts.users)
        self._decoys: tuple[int, list[list[str]]] = (-1, [])
        self.acl_log = AclLog()
        self.passwords = PasswordPool(workers, self._forms)
        self.lockout = Lockout()
        self._log_in = LogIn(self._find, self.passwords, self.lockout, shared.clock)
        self.file = AccountFile(settings.aclfile)
        self._wanted: str | None = None  # the password of a CONFIG SET that has not been taken as a whole yet
        self._changes: deque[tuple[str, Later]] = deque()  # passwords of `default`; the first is being worked out
        self._requirepass = settings.requirepass  # without those
        settings.subscribe("requirepass", self._password_set)
        for names, follow in ((_COSTS, self._set_cost), (_LOCKS, self._set_rules)):
            follow()
            for name in names:
                settings.subscribe(name, follow)

    def close(self) -> None:
        """Nobody is let in any more; waits for a password that is being worked out."""
        self._workers.close()

    # Log-ins.

    def verify(self, session: Client, user: bytes, password: bytes, asked_by: bytes) -> Later:
        """Is this the password of that user? OK or the error; a failure counts, even if the client is gone by then."""
        later = Later()

        def done(result: Result) -> None:
            self._ended(session, user, asked_by, result)
            later.resolve(OK if result.outcome == RIGHT else result.refusal)

        begun = self._log_in.begin(user, password, session.addr, done)
        if isinstance(begun, Ticket):
            if not later.done:
                later.on_cancel = begun.cancel
        else:
            done(begun)
        return later

    def _find(self, name: str) -> Account | None:
        return self._accounts.users.get(name)  # looked up each time: a change replaces the table

    def _ended(self, session: Client, user: bytes, asked_by: bytes, result: Result) -> None:
        name = text_of(user)
        known = name in self._accounts.users
        for lock in result.locks:
            locked = lock.name if known or lock.kind != USER else "that does not exist"  # it may be a password
            log.warning(
                f"locked after failed log-ins: {lock.kind} {locked}; ACL LOG says who tried, ACL UNLOCK ends it",
                strikes=lock.strikes,
            )
        self._shared.audit.login(session, name, known, asked_by, result)
        if result.outcome in (RIGHT, BUSY):
            return
        self._shared.stats.acl_access_denied_auth += 1
        context = MULTI if session.multi is not None or session.in_block else TOP_LEVEL
        rights.note(session, "auth", asked_by, user, context)

    def user_of_certificate(self, names: Sequence[bytes]) -> str | None:
        """The first of the names in a client's certificate that is a user who may log in."""
        now_ms = self._shared.clock.wall_ms()
        for name in map(text_of, names):
            account = self._accounts.users.get(name)
            if account is not None and account.enabled and not expired(account.expires_at_s, now_ms):
                return name
        return None

    def _forms(self) -> list[list[str]]:
        """The passwords of all users who have any: what guesses at others are compared with."""
        version, found = self._decoys
        if version != self._accounts.version:
            found = [one.passwords for one in self._accounts.users.values() if one.passwords]
            self._decoys = self._accounts.version, found
        return found

    # Changes.

    def changed(self) -> None:
        """Entries have been applied: if users or roles are among what they changed, every session is looked at."""
        accounts = self._accounts
        if accounts.version == self._version:
            return
        self._version = accounts.version
        names = set(accounts.users)
        if gone := self._names - names:
            self.lockout.forget_users(gone)
        self._names = names
        for session in list(self._shared.clients):
            rights.renew(session)
        if self._shared.settings.user_limit:
            self._shared.quotas.changed()

    def _password_set(self, password: str) -> None:
        """CONFIG SET requirepass: the password of `default`, which is part of the state. ValueError refuses it."""
        self._wanted = None
        if self._shared.settings.restoring:
            return  # nothing has been done
        if self._shared.node.refusal is not None:
            raise ValueError(self._shared.node.refusal.text)
        if password:
            policy_of(self._shared.settings).check(_bytes(password))
        self._wanted = password

    def change_password(self) -> Later | None:
        """Begin what the CONFIG SET that has just been taken asks for, if it does.

        One after the other, so that of two changes the later one counts, however long each takes.
        """
        password, self._wanted = self._wanted, None
        if password is None:
            return None
        answer = Later(timeout_reply=OK)  # who asked may go away: the change goes on
        self._changes.append((password, answer))
        if len(self._changes) == 1:
            self._next_change()
        return answer

    def _next_change(self) -> None:
        password, answer = self._changes[0]

        def done(reply: Reply) -> None:
            self._changes.popleft()
            if not isinstance(reply, CommandError):
                self._requirepass = password
            else:
                log.warning(  # who asked may have gone
                    f"CONFIG SET requirepass has failed: {reply.text}; the old password is in force: set it again"
                )
                if not self._changes:
                    self._shared.settings.requirepass = self._requirepass
            if self._changes:  # first: whoever hears the answer may at once ask for another change
                self._next_change()
            answer.resolve(reply)

        self._changed_password(password).listen(done)

    def _changed_password(self, password: str) -> Later:
        rules = [b"resetpass", b">" + _bytes(password)] if password else [b"nopass"]
        account, policy = self._accounts.users[DEFAULT], policy_of(self._shared.settings)
        sealed = Later()
        ticket = self.passwords.seal(rules, [*account.passwords], [*account.history], policy, sealed.resolve)
        if isinstance(ticket, CommandError):
            sealed.resolve(ticket)
        return then(sealed, lambda done: self._shared.propose(acl_operations.set_user(DEFAULT, done)))

    def _set_cost(self, _: object = None) -> None:
        self.passwords.cost = cost_of(self._shared.settings)

    def _set_rules(self, _: object = None) -> None:
        settings, lockout = self._shared.settings, self.lockout
        window, lock_s = settings.login_window, settings.login_lock_time
        lockout.user_rule = Rule(settings.login_user_limit, window, lock_s, settings.login_user_lock_max)
        lockout.address_rule = Rule(settings.login_address_limit, window, lock_s, settings.login_address_lock_max)


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogateescape")


def cost_of(settings: Any) -> Cost:
    """What new passwords are derived with."""
    return Cost(
        settings.password_hash_memory // KIB, settings.password_hash_iterations, settings.password_hash_lanes
    )


def policy_of(settings: Any) -> Policy:
    return Policy(settings.password_min_length, settings.password_classes, settings.password_history)


class AccountFile:
    """`aclfile`, for ACL LOAD and SAVE; read and written off the loop."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._writer = ThreadPoolExecutor(1, "aclfile")  # one after the other: the file is what was saved last

    def read(self) -> Later:
        """Its bytes, or the error."""
        return _elsewhere(partial(self._read, os.path.abspath(self.path)))

    def _read(self, path: str) -> bytes | CommandError:
        try:
            return read_file(path)
        except OSError as problem:
            return error(f"Error loading ACLs, opening file '{self.path}': {problem.strerror or problem}")

    def write(self, content: bytes) -> Later:
        return _elsewhere(partial(_write, os.path.abspath(self.path), content), self._writer)


def read_file(path: str) -> bytes:
    if stat.S_ISFIFO(os.stat(path).st_mode):
        raise OSError("it is a pipe, which may never end")
    with open(path, "rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise OSError(f"the file is larger than {FILE_BYTES_MAX} bytes")
    return content


def _write(path: str, content: bytes) -> Reply:
    try:
        RealDisk().replace_private_file(path, content)
    except OSError as problem:
        log.warning(
            f"the ACL file could not be written: {problem.strerror or problem}; see to its directory, ACL SAVE again",
            path=path,
        )
        return error(NOT_SAVED)
    return OK


def _elsewhere(work: Callable[[], Any], where: Executor | None = None) -> Later:
    later = Later()
    future = asyncio.get_running_loop().run_in_executor(where, work)

    def done(ended: asyncio.Future[Any]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            later.resolve(ended.result())

    future.add_done_callback(done)
    return later
