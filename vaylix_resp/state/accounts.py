"""Users and roles: part of the state, changed only by entries of the log.

Pure. A change is made on a copy and takes the original's place as a whole, or RuleError says why not.
Promise: there is always a user who can log in and run ACL SETUSER; equal states dump equally, and `load` of a dump
makes an equal state.
Units: `expires_at_s` in seconds since the epoch, 0 for never.
Not here: what a rule about commands, keys or channels means (`security.acl`); how passwords are stored and compared:
here they are words that `#` adds and `!` removes (`security.passwords` makes them before the entry is written).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice, repeat
from typing import Any, Final

from ..security.access import Grants, Request
from ..security.acl import Commands, RuleError, bytes_of, has_spaces, merge_words, text_of
from .account import HISTORY_MAX, Account, Role, role_name_fault

DEFAULT: Final = "default"
BAD_USER_NAME: Final = "Usernames can't contain spaces or null characters"
NO_ADMINISTRATOR: Final = (
    "This would leave no user who can log in and run ACL SETUSER; give another user that right and a password first"
)
KEEP_DEFAULT: Final = "The 'default' user cannot be removed"


class Accounts:
    """All users and roles. `administration` is the request that somebody has to stay able to make."""

    def __init__(self, table: Commands, administration: Request) -> None:
        self.table = table
        self.administration = administration
        self.version = 0  # of the last change; sessions compare it to know when to ask again
        self.roles: dict[str, Role] = {}
        self.users: dict[str, Account] = {DEFAULT: self._new_default(0)}
        self._grants: dict[str, Grants] = {}

    def _new_default(self, born: int) -> Account:
        """As in Redis: whoever may connect may do everything, until told otherwise."""
        account = Account(DEFAULT, born)
        for rule in (b"on", b"nopass", b"~*", b"&*", b"+@all"):
            account.apply(rule, self.table)
        return account

    # Questions.

    def grants(self, name: str) -> Grants | None:
        """What a user may do, its roles included; None if there is no such user. Whether it is enabled is no matter."""
        found = self._grants.get(name)
        if found is None and (account := self.users.get(name)) is not None:
            found = self._grants[name] = self._grants_of(account)
        return found

    def _grants_of(self, account: Account) -> Grants:
        selectors = [*account.selectors]
        for role in account.roles:
            selectors += self.roles[role].selectors
        return Grants(selectors)

    @property
    def open(self) -> bool:
        """Whether whoever connects is `default` at once, without a password."""
        default = self.users[DEFAULT]
        return default.enabled and default.nopass

    def holders(self, role: str) -> list[str]:
        return [name for name, account in _sorted(self.users) if role in account.roles]

    def lines(self) -> list[str]:
        """ACL LIST, and what an ACL file holds: roles first, as users name them."""
        return [f"role {name} {role.describe()}" for name, role in _sorted(self.roles)] + [
            f"user {name} {account.describe()}" for name, account in _sorted(self.users)
        ]

    # Changes. Each is everything or nothing.

    def set_user(self, name: str, words: Sequence[bytes]) -> None:
        """ACL SETUSER: rules on top of what a user has; a new user begins with nothing."""
        changed = self.tried_user(name, words)
        self._commit({**self.users, name: changed}, self.roles)

    def tried_user(self, name: str, words: Sequence[bytes]) -> Account:
        """The user as these rules would make it."""
        if has_spaces(bytes_of(name)) or not name:
            raise RuleError(BAD_USER_NAME)
        known = self.users.get(name)
        changed = known.copy() if known is not None else Account(name, self.version + 1)
        for rule in merge_words(words):
            try:
                changed.apply(rule, self.table, self.roles)
            except RuleError as fault:
                raise ModifierError("SETUSER", rule, str(fault)) from None
        return changed

    def delete_users(self, names: Iterable[str]) -> int:
        if DEFAULT in names:
            raise RuleError(KEEP_DEFAULT)
        gone = {name for name in names if name in self.users}
        if gone:
            self._commit({name: one for name, one in self.users.items() if name not in gone}, self.roles)
        return len(gone)

    def set_role(self, name: str, words: Sequence[bytes]) -> None:
        """ACL SETROLE: rules on top of what a role has."""
        self._commit(self.users, {**self.roles, name: self.tried_role(name, words)})

    def tried_role(self, name: str, words: Sequence[bytes]) -> Role:
        fault = role_name_fault(name)
        if fault:
            raise RuleError(fault)
        known = self.roles.get(name)
        changed = known.copy() if known is not None else Role(name)
        for rule in merge_words(words):
            try:
                changed.apply(rule, self.table)
            except RuleError as fault_of_rule:
                raise ModifierError("SETROLE", rule, str(fault_of_rule)) from None
        return changed

    def delete_roles(self, names: Iterable[str]) -> int:
        gone = {name for name in names if name in self.roles}
        for name in sorted(gone):
            if self.holders(name):
                raise RuleError(f"Role '{name}' is assigned to one or more users. Remove it from them first.")
        if gone:
            self._commit(self.users, {name: role for name, role in self.roles.items() if name not in gone})
        return len(gone)

    def replace(self, roles: dict[str, Role], users: dict[str, Account]) -> None:
        """ACL LOAD: these in place of all there are; a user of the same name as before keeps its connections."""
        kept = {DEFAULT: self._new_default(self.users[DEFAULT].born)}
        for name, account in users.items():
            kept[name] = twin = account.copy()
            known = self.users.get(name)
            twin.born = self.version + 1
            if known is not None:
                twin.born, twin.history = known.born, _history(known, twin)
        self._commit(kept, dict(roles))

    def _commit(self, users: dict[str, Account], roles: dict[str, Role]) -> None:
        """The only place where users and roles change."""
        before = self.users, self.roles
        self.users, self.roles = users, roles
        if not any(self._administers(account) for account in users.values()):
            self.users, self.roles = before
            raise RuleError(NO_ADMINISTRATOR)
        self.version += 1
        self._grants = {}

    def _administers(self, account: Account) -> bool:
        if not account.enabled or account.expires_at_s or not (account.nopass or account.passwords):
            return False
        return self._grants_of(account).check(self.administration) is None

    # The state as plain objects.

    def dump(self) -> list[Any]:
        """The same for equal states, whatever the order in which they came about."""
        return [
            self.version,
            [[bytes_of(name), role.words()] for name, role in _sorted(self.roles)],
            [[bytes_of(name), one.words(), one.born, [*one.history]] for name, one in _sorted(self.users)],
        ]

    def load(self, dumped: list[Any]) -> None:
        """RuleError if a rule names what this version does not know."""
        version, roles, users = dumped
        self.roles, self.users, self._grants = {}, {}, {}
        for raw, words in roles:
            role = self.roles[text_of(raw)] = Role(text_of(raw))
            for rule in words:
                role.apply(rule, self.table)
        for raw, words, born, history in users:
            account = self.users[text_of(raw)] = Account(text_of(raw), born)
            for rule in words:
                account.apply(rule, self.table, self.roles)
            account.history = list(history)
        self.version = version

    def digest_input(self) -> bytes:
        """What a digest of the state has to cover; nothing until the first change, as before there were users."""
        return _flat(self.dump()) if self.version else b""

    def names(self, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
        """Roles and users from place `at` on, as `part_input` takes them; where to go on (0: that was the end)."""
        total = len(self.roles) + len(self.users)
        everybody = chain(zip(repeat(b"r"), self.roles), zip(repeat(b"u"), self.users))
        names = tuple(kind + bytes_of(name) for kind, name in islice(everybody, at, at + count))
        return names, at + count if at + count < total else 0

    def part_input(self, names: Sequence[bytes]) -> bytes:
        """What a digest of some roles and users has to cover, whether they are there or not."""
        return _flat([[name, self._part(name[:1], text_of(name[1:]))] for name in names])

    def _part(self, kind: bytes, name: str) -> list[Any]:
        if kind == b"r":
            return [self.roles[name].words()] if name in self.roles else []
        one = self.users.get(name)
        return [one.words(), one.born, [*one.history]] if one is not None else []


def _flat(value: Any) -> bytes:
    """Plain objects as bytes: equal ones alone have equal bytes."""
    if isinstance(value, list):
        return b"[%d:" % len(value) + b"".join(map(_flat, value))
    if isinstance(value, int):
        return b"i%d;" % value
    raw = bytes_of(value) if isinstance(value, str) else value
    return b"%d:" % len(raw) + raw


def _without_secret(rule: bytes) -> str:
    """For an error's text; of a selector what comes before a word that looks like a password."""
    shown: list[str] = []
    for word in rule.split(b" ") if rule.startswith(b"(") else [rule]:
        bare = word.lstrip(b"(")
        if bare[:1] in (b">", b"<", b"#", b"!"):
            return " ".join([*shown, text_of(word[: len(word) - len(bare) + 1]) + "(redacted)"])
        shown.append(text_of(word))
    return " ".join(shown)


class ModifierError(RuleError):
    """Which rule cannot be applied. A secret that stands in it is not repeated."""

    def __init__(self, verb: str, rule: bytes, fault: str) -> None:
        super().__init__(f"Error in ACL {verb} modifier '{_without_secret(rule)}': {fault}")


def _history(before: Account, after: Account) -> list[str]:
    """The passwords that a user has had, once it has these."""
    gone = [stored for stored in before.passwords if stored not in after.passwords]
    return ([stored for stored in before.history if stored not in gone] + gone)[-HISTORY_MAX:]


def _sorted(named: dict[str, Any]) -> list[tuple[str, Any]]:
    """By the bytes of the name, as Redis lists them."""
    return sorted(named.items(), key=lambda item: bytes_of(item[0]))
