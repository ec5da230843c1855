"""Entries that change users and roles, and how they are written.

    @acl setuser name rule*       rules hold no passwords, only their stored forms
    @acl deluser name*
    @acl setrole name rule*
    @acl delrole name*
    @acl load line*               lines of ACL LIST; in place of all users and roles

What the proposer has tried is decided again here, because other entries may have come between.
Promise: an entry that cannot be applied as a whole changes nothing, and its reply says why.
Not here: who may propose (`server.gate`), making stored forms (`acl_changes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from ..errors import CommandError, error, printable
from ..resp.reply import OK
from ..security.acl import RuleError, bytes_of, text_of
from ..state.accounts import Accounts
from ..state.views import WriteTx
from .acl_file import read_lines
from .spec import Argv

ACL: Final = b"@acl"
ERROR_BYTES_MAX: Final = 4096


def set_user(name: str, rules: Sequence[bytes]) -> tuple[bytes, ...]:
    return (ACL, b"setuser", bytes_of(name), *rules)


def delete_users(names: Iterable[str]) -> tuple[bytes, ...]:
    return (ACL, b"deluser", *map(bytes_of, names))


def set_role(name: str, rules: Sequence[bytes]) -> tuple[bytes, ...]:
    return (ACL, b"setrole", bytes_of(name), *rules)


def delete_roles(names: Iterable[str]) -> tuple[bytes, ...]:
    return (ACL, b"delrole", *map(bytes_of, names))


def load(lines: Iterable[bytes]) -> tuple[bytes, ...]:
    return (ACL, b"load", *lines)


def _setuser(accounts: Accounts, words: Argv) -> Any:
    accounts.set_user(text_of(words[0]), words[1:])
    return OK


def _deluser(accounts: Accounts, words: Argv) -> Any:
    return accounts.delete_users([*map(text_of, words)])


def _setrole(accounts: Accounts, words: Argv) -> Any:
    accounts.set_role(text_of(words[0]), words[1:])
    return OK


def _delrole(accounts: Accounts, words: Argv) -> Any:
    return accounts.delete_roles([*map(text_of, words)])


def _load(accounts: Accounts, words: Argv) -> Any:
    content = read_lines(words, accounts.table, "line ")
    accounts.replace(content.roles, content.users)
    return OK


_VERBS: Final = {
    b"setuser": _setuser, b"deluser": _deluser, b"setrole": _setrole, b"delrole": _delrole, b"load": _load
}  # fmt: skip


def apply(tx: WriteTx, argv: Argv) -> Any:
    """The handler of `@acl`."""
    try:
        return _VERBS[argv[1]](tx.world.accounts, argv[2:])
    except RuleError as refused:
        raise refusal(refused) from None


def refusal(fault: RuleError) -> CommandError:
    """The error for a rule: on one line, whatever bytes the rule had."""
    return error(printable(bytes_of(str(fault)), ERROR_BYTES_MAX))


OPERATIONS: Final = {ACL: apply}
