"""The users that a server begins with: roles worth having, those of the configuration, the password of `default`.

Only a state whose users nobody has ever changed is founded; from then on the state counts, and the configuration's
users and roles are history. The password of `default` is put in place whenever that user has none: adding
`requirepass` to the configuration of an open server must close it.
Promise: what is founded is in the log before anybody can connect.
Not here: reading the file (`app`), changes while the server runs (`commands.acl_changes`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..commands import acl_operations
from ..commands.acl_file import Line, build, split_lines, with_plain_hashes
from ..commands.acl_roles import PREDEFINED, install
from ..errors import EX_CONFIG, CommandError, Refused
from ..security.acl import RuleError
from ..security.passwords import Cost, PasswordRefused, Policy, digest_of, matching, needs_sealing, seal
from ..state.accounts import DEFAULT, Accounts
from .node import Node, Run

Entry = tuple[bytes, ...]


class BadUsers(Refused):
    """The configuration's users cannot be used; nothing has been changed."""

    exit_code = EX_CONFIG


def found(
    node: Node, lines: Iterable[bytes], where: str, password: str, *, policy: Policy, cost: Cost
) -> str:
    """Bring users into the log that this start asks for; what the operator should know, or nothing.

    `lines` are those of the ACL file or of the configuration, named by `where` in errors. Raises BadUsers, and
    DiskFull or WalFailed as `boot.open_term`.
    """
    accounts: Accounts = node.machine.world.accounts
    given, notice = list(lines), ""
    try:
        if accounts.version == 0:
            _commit(node, _first_users(accounts, given, where, policy, cost))
        elif given:
            notice = "the users of the configuration are not read: the data directory has its own (ACL LIST)"
        secret = password.encode("utf-8", "surrogateescape")
        default = accounts.users[DEFAULT]
        if password and default.nopass:
            rules = seal([b"resetpass", b">" + secret], default.passwords, default.history, policy=policy, cost=cost)
            _commit(node, acl_operations.set_user(DEFAULT, rules))
        elif password and matching(default.passwords, digest_of(secret)) is None:
            notice = "requirepass is not the password of default: the data has another one, which counts (CONFIG SET)"
    except (RuleError, PasswordRefused, CommandError) as fault:
        text = fault.text.removeprefix("ERR ") if isinstance(fault, CommandError) else str(fault)
        raise BadUsers(text) from None
    return notice


def _first_users(accounts: Accounts, given: list[bytes], where: str, policy: Policy, cost: Cost) -> Entry:
    lines = split_lines(given, where)
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
