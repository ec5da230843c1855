"""The users that a server begins with: roles worth having, those of the configuration, the password of `default`.

Only a state whose users nobody has ever changed is founded; from then on the state counts, and the configuration's
users and roles are history. The password of `default` is put in place whenever that user has none: adding
`requirepass` to the configuration of an open server must close it.
Promises: what is founded is in the log before anybody can connect; `try_out` refuses what `found` would.
Not here: changes while the server runs (`commands.acl_changes`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, Final

from ..commands import acl_operations
from ..commands.acl_file import Line, build, split_lines, with_plain_hashes
from ..commands.acl_roles import PREDEFINED, install
from ..config import Settings
from ..errors import EX_CONFIG, CommandError, Refused
from ..security.acl import RuleError, bytes_of
from ..security.passwords import Cost, PasswordRefused, Policy, digest_of, matching, needs_sealing, seal
from ..state.accounts import DEFAULT, Accounts
from .boot import new_machine
from .node import Node, Run

Entry = tuple[bytes, ...]
Source = tuple[str, Iterable[bytes]]  # how the place of a line begins in errors, and the lines
Steps = Generator[Entry, None, str]
CHEAP: Final = Cost(8, 1, 1)


class BadUsers(Refused):
    """The configuration's users cannot be used; nothing has been changed."""

    exit_code = EX_CONFIG


def sources_of(settings: Settings, read: Callable[[str], bytes]) -> list[Source]:
    """Where the configuration has its users: in the ACL file, which `read` reads, or in lines. Raises BadUsers."""
    if not settings.aclfile:
        return [
            (f"the configuration's {kind} line ", [bytes_of(f"{kind} {line}") for line in lines])
            for kind, lines in (("role", settings.role), ("user", settings.user))
        ]
    try:
        return [(f"{settings.aclfile}:", read(settings.aclfile).split(b"\n"))]
    except OSError as problem:
        text = f"{settings.aclfile}: {problem.strerror or problem}; create the file, or remove aclfile"
        raise BadUsers(text) from problem


def found(node: Node, sources: Iterable[Source], password: str, *, policy: Policy, cost: Cost) -> str:
    """Bring users into the log that this start asks for; what the operator should know, or nothing.

    `password` is that of `default`. Raises BadUsers, and DiskFull or WalFailed as `boot.open_term`.
    """
    accounts: Accounts = node.machine.world.accounts
    return commit_all(node, steps(accounts, sources, password, policy=policy, cost=cost))


def commit_all(node: Node, steps: Steps) -> str:
    """Log the entries of `steps` one after the other; what it has to say at its end."""
    return _each(steps, lambda entry: _commit(node, entry))


def try_out(sources: Iterable[Source], password: str, policy: Policy) -> None:
    """Found them in a state that nobody keeps. Raises BadUsers."""
    machine = new_machine(1)

    def commit(entry: Entry) -> None:
        reply = machine.apply(entry)
        if isinstance(reply, CommandError):
            raise reply

    _each(steps(machine.world.accounts, sources, password, policy=policy, cost=CHEAP), commit)


def _each(steps: Steps, commit: Callable[[Entry], None]) -> str:
    while True:
        try:
            commit(next(steps))
        except StopIteration as end:
            return str(end.value)
        except CommandError as fault:
            raise bad_users(fault) from None


def steps(accounts: Accounts, sources: Iterable[Source], password: str, *, policy: Policy, cost: Cost) -> Steps:
    """The entries to log, each to be applied before the next is asked for; ends with what the operator should know.

    Raises BadUsers.
    """
    given, notice = [(where, [*lines]) for where, lines in sources], ""
    try:
        if accounts.version == 0:
            lines = [line for where, raw in given for line in split_lines(raw, where)]
            yield _first_users(accounts, lines, policy, cost)
        elif any(lines for _, lines in given):
            notice = "the users of the configuration are not read: the data directory has its own (ACL LIST)"
        secret = bytes_of(password)
        default = accounts.users[DEFAULT]
        if password and default.nopass:
            rules = seal([b"resetpass", b">" + secret], default.passwords, default.history, policy=policy, cost=cost)
            yield acl_operations.set_user(DEFAULT, rules)
        elif password and matching(default.passwords, digest_of(secret)) is None:
            notice = "requirepass is not the password of default: the data has another one, which counts (CONFIG SET)"
    except (RuleError, PasswordRefused, CommandError) as fault:
        raise bad_users(fault) from None
    return notice


def bad_users(fault: Exception) -> BadUsers:
    return BadUsers(fault.text.removeprefix("ERR ") if isinstance(fault, CommandError) else str(fault))


def _first_users(accounts: Accounts, lines: list[Line], policy: Policy, cost: Cost) -> Entry:
    named = {line.name for line in lines if line.kind == "role"}
    build(with_plain_hashes([*_predefined(accounts, named), *lines]), accounts.table)  # before the slow work
    sealed = [_sealed(line, policy, cost) for line in lines]
    return acl_operations.load(line.text() for line in (*_predefined(accounts, named), *sealed))


def _predefined(accounts: Accounts, named: set[str]) -> list[Line]:
    """Roles worth having, but for those that the configuration defines itself."""
    return [
        Line("role", name, list(rules), f"the predefined role {name}", 0)
        for name, (_, _, _, *rules) in zip(PREDEFINED, install(accounts.table), strict=True)
        if name not in named
    ]


def _sealed(line: Line, policy: Policy, cost: Cost) -> Line:
    if line.kind != "user" or not needs_sealing(line.rules):
        return line
    return line._replace(rules=seal(line.rules, [], [], policy=policy, cost=cost))


class _Owner:
    """Of the founding entry; nobody is there who could be answered."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.reply: Any = None

    def complete(self, run: Run) -> None:
        (self.reply,) = self._node.machine.apply_all(run.items)

    def fail(self, run: Run, refusal: Exception) -> None:
        raise AssertionError("a founding entry is persisted on its own, and its failure is raised")


def _commit(node: Node, entry: Entry) -> None:
    owner = _Owner(node)
    node.propose(owner, entry)
    batch = node.seal()
    assert batch is not None
    node.persist(batch)
    node.sync()
    node.persisted(batch)
    if isinstance(owner.reply, CommandError):
        raise owner.reply
