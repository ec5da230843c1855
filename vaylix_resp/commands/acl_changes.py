"""ACL: changes of users and roles. They are entries of the log, so their replies come when those have been applied.

A password is replaced by its stored form before anything is proposed; that is slow and happens in a pool, so such a
request waits twice.
Promise: no password reaches the log, and no error repeats one.
Not here: questions (`acl`), what the entries do (`acl_operations`), passwords (`security.passwords`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import WRONG_PASS, CommandError, error, printable
from ..resp.reply import Reply
from ..security.acl import RuleError, bytes_of, merge_words, text_of
from ..security.lockout import address_of
from ..security.passwords import Policy, needs_sealing
from . import acl_operations as entries
from .acl import ADMIN, OVER_USERS, accounts_of, refused_in_transaction
from .acl_file import Line, build, split_lines, with_plain_hashes
from .arguments import matches, subcommand_syntax
from .ports import Client, Later, then
from .spec import Argv, Kind, command

NO_FILE: Final = (
    "This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER "
    "command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store "
    "users in the Redis configuration."
)
SAME_PASSWORD: Final = "ERR The new password is the current one"  # noqa: S105 - a text
GONE: Final = "This user does not exist any more"
_ALL_NODES: Final = ("request_policy:all_nodes", "response_policy:all_succeeded")


def _seal(client: Client, name: str, rules: Sequence[bytes]) -> Later:
    """These rules for this user, existing or not, with stored forms in the place of passwords."""
    server, settings = client.server, client.server.settings
    account = accounts_of(client).users.get(name)
    forms, history = (account.passwords, account.history) if account is not None else ([], [])
    policy = Policy(settings.password_min_length, settings.password_classes, settings.password_history)
    later = Later()
    ticket = server.passwords.seal(rules, [*forms], [*history], policy, later.resolve)
    if isinstance(ticket, CommandError):
        raise ticket
    later.on_cancel = ticket.cancel
    return later


def _tried(change: Callable[..., Any], *arguments: Any) -> Any:
    """A change that is thrown away: RuleErrors as replies."""
    try:
        return change(*arguments)
    except RuleError as refused:
        raise entries.refusal(refused) from None


@command(
    "ACL|SETUSER", arity=-3, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0",
    syntax="username [rule [rule ...]]", complexity="O(N). Where N is the number of rules provided.",
    forbidden=refused_in_transaction,
    history=(
        ("6.2.0", "Added Pub/Sub channel patterns."), ("7.0.0", "Added selectors and key based permissions."),
    ),
)  # fmt: skip
def acl_setuser(client: Client, argv: Argv) -> Reply:
    """Create a user or change its rules: all of them, or none."""
    name = text_of(argv[2])
    rules = _tried(merge_words, argv[3:])
    accounts, server = accounts_of(client), client.server

    def propose(sealed: Sequence[bytes]) -> Reply:
        _tried(accounts.tried_user, name, sealed)
        return server.propose(entries.set_user(name, sealed))

    if not needs_sealing(rules):
        return propose(rules)
    _tried(accounts.tried_user, name, [rule for rule in rules if not needs_sealing([rule])])  # before the slow work
    return then(_seal(client, name, rules), propose)


@command(
    "ACL|DELUSER", arity=-3, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0",
    syntax="username [username ...]", complexity="O(1) amortized time considering the typical user.",
    forbidden=refused_in_transaction,
)  # fmt: skip
def acl_deluser(client: Client, argv: Argv) -> Reply:
    """Remove users and close their connections."""
    return client.server.propose(entries.delete_users([*map(text_of, argv[2:])]))


@command(
    "ACL|SETROLE", arity=-3, kind=Kind.SESSION, flags=ADMIN, group="server", since="9.2.0",
    syntax="rolename [rule [rule ...]]", forbidden=refused_in_transaction,
    complexity="O(N+M*C). Where N is the number of rules provided, M the number of users in the role and C the number "
    "of connected clients.",
)  # fmt: skip
def acl_setrole(client: Client, argv: Argv) -> Reply:
    """Create a role or change its rules: all of them, or none."""
    name = text_of(argv[2])
    rules = _tried(merge_words, argv[3:])
    _tried(accounts_of(client).tried_role, name, rules)  # a password in it must not get into the log
    return client.server.propose(entries.set_role(name, rules))


@command(
    "ACL|DELROLE", arity=-3, kind=Kind.SESSION, flags=ADMIN, group="server", since="9.2.0",
    syntax="rolename [rolename ...]", complexity="O(N). Where N is the number of roles to delete.",
    forbidden=refused_in_transaction,
)  # fmt: skip
def acl_delrole(client: Client, argv: Argv) -> Reply:
    """Remove roles that no user holds: all of them, or none."""
    return client.server.propose(entries.delete_roles([*map(text_of, argv[2:])]))


@command(
    "ACL|SETPASS", arity=4, kind=Kind.SESSION, flags="noscript loading stale", group="server", since="6.0.0",
    syntax="current-password new-password", forbidden=refused_in_transaction,
    complexity="O(N) where N is the number of passwords of the user",
)  # fmt: skip
def acl_setpass(client: Client, argv: Argv) -> Reply:
    """Change the password of one's own user; its other passwords stay."""
    accounts, server, name = accounts_of(client), client.server, client.user
    current, new = argv[2], argv[3]
    account = accounts.users.get(name)
    if account is None:
        raise error(GONE)
    born, open_to_all = account.born, account.nopass

    def change(sealed: Sequence[bytes]) -> Reply:
        now = accounts.users.get(name)
        if now is None or now.born != born:  # removed meanwhile: setting a password must not bring it back
            raise error(GONE)
        if open_to_all and not now.nopass:  # closed meanwhile, to whoever proved nothing
            raise CommandError(WRONG_PASS)
        _tried(accounts.tried_user, name, sealed)
        return server.propose(entries.set_user(name, sealed))

    if open_to_all:
        return then(_seal(client, name, [b">" + new]), change)
    if current == new:
        raise CommandError(SAME_PASSWORD)

    def proven(reply: Reply) -> Reply:
        # The order matters: a user is never without a password on the way.
        return then(_seal(client, name, [b">" + new, b"<" + current]), change)

    return then(server.prove(client, current), proven)


@command(
    "ACL|LOAD", arity=2, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0", complexity=OVER_USERS,
    forbidden=refused_in_transaction,
)  # fmt: skip
def acl_load(client: Client, argv: Argv) -> Reply:
    """Replace all users and roles by those of the ACL file."""
    server, file = client.server, client.server.acl_file
    if not file.path:
        raise error(NO_FILE)

    def parsed(content: bytes) -> Reply:
        lines = _tried(split_lines, content.split(b"\n"), f"{file.path}:")
        _tried(build, with_plain_hashes(lines), accounts_of(client).table)
        return _Sealing(client, lines, lambda done: server.propose(entries.load(line.text() for line in done))).go_on()

    return then(file.read(), parsed)


class _Sealing:
    """Lines whose passwords become stored forms, one user after the other; then `finish`, whose reply is the answer.

    A loop, not a chain of `then`: a file may have more users than calls can be nested.
    """

    def __init__(self, client: Client, lines: list[Line], finish: Callable[[list[Line]], Later]) -> None:
        self.answer = Later(on_cancel=self._cancel)
        self._client, self._lines, self._finish = client, lines, finish
        self._at = 0
        self._current: Later | None = None

    def go_on(self) -> Later:
        """Until a password has to be waited for, or all is done."""
        try:
            while self._at < len(self._lines) and not self.answer.done:
                line = self._lines[self._at]
                if line.kind == "user" and needs_sealing(line.rules):
                    sealed = _seal(self._client, line.name, line.rules)
                    if not sealed.done:
                        self._current = sealed
                        sealed.listen(self._resumed)
                        return self.answer
                    self._put(sealed.reply)
                self._at += 1
            if not self.answer.done:
                self._finish(self._lines).listen(self.answer.resolve)
        except CommandError as refused:
            self.answer.resolve(refused.with_traceback(None))
        return self.answer

    def _resumed(self, reply: Reply) -> None:
        self._put(reply)
        self._at += 1
        self.go_on()

    def _put(self, reply: Any) -> None:
        if isinstance(reply, CommandError):
            self.answer.resolve(reply)
        else:
            self._lines[self._at] = self._lines[self._at]._replace(rules=reply)

    def _cancel(self) -> None:
        if self._current is not None:
            self._current.cancel()


@command(
    "ACL|SAVE", arity=2, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0", complexity=OVER_USERS,
    forbidden=refused_in_transaction,
)  # fmt: skip
def acl_save(client: Client, argv: Argv) -> Reply:
    """Write all users and roles to the ACL file."""
    file = client.server.acl_file
    if not file.path:
        raise error(NO_FILE)
    reply: Reply = file.write(b"".join(bytes_of(line) + b"\n" for line in accounts_of(client).lines()))
    return reply


@command(
    "ACL|UNLOCK", arity=-3, kind=Kind.SESSION, flags=ADMIN, group="server", since="6.0.0",
    syntax="<USER username | ADDR ip | ALL>", tips=_ALL_NODES,
)  # fmt: skip
def acl_unlock(client: Client, argv: Argv) -> Reply:
    """Forget failed log-ins of a user, of an address or of all; how many were locked out."""
    lockout, now = client.server.lockout, client.server.clock.now()
    if len(argv) == 3 and matches(argv[2], b"ALL"):
        return lockout.unlock_all(now)
    if len(argv) != 4:
        raise subcommand_syntax(argv)
    if matches(argv[2], b"USER"):
        return int(lockout.unlock_user(text_of(argv[3]), now))
    if matches(argv[2], b"ADDR"):
        return int(lockout.unlock_address(address_of(text_of(argv[3])), now))
    raise error(f"Unknown kind of lock '{printable(argv[2])}': USER, ADDR or ALL")
