"""One user, one role: flags, passwords, selectors, and the rules that change them.

Pure. Rules are applied to a copy; a RuleError leaves it in between.
Promise: `words` are rules that make an equal user or role from a new one.
Not here: several users and what must hold among them (`accounts`), rules of a selector (`security.acl`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ..security.acl import (
    EXPIRE,
    SYNTAX,
    Commands,
    RuleError,
    Selector,
    bytes_of,
    parse_selector,
    selectors_text,
    text_of,
)
from ..security.passwords import PasswordRefused, parse

NO_SUCH_PASSWORD: Final = "The password you are trying to remove from the user does not exist"  # noqa: S105 - a text
NO_SUCH_ROLE: Final = "The specified ACL role does not exist"
HISTORY_MAX: Final = 24  # stored passwords that a user no longer has, for the policy against using them again
PASSWORDS_MAX: Final = 16  # of one user: enough for any rotation, and every log-in looks at all
TOO_MANY_PASSWORDS: Final = f"A user can have at most {PASSWORDS_MAX} passwords"

_ROLE_NAME: Final = re.compile(r"[!-~]+\Z")
_NOT_IN_ROLE_NAMES: Final = frozenset(",\"'\\")
_EXPIRE_MAX: Final = 2**53


def role_name_fault(name: str) -> str:
    """Why this cannot be a role's name; empty if it can."""
    if _ROLE_NAME.match(name) and _NOT_IN_ROLE_NAMES.isdisjoint(name):
        return ""
    return "Role names can only contain printable ASCII characters except spaces, commas, quotes and backslashes"


class Role:
    """A named set of permissions."""

    __slots__ = ("name", "selectors")

    def __init__(self, name: str) -> None:
        self.name = name
        self.selectors = [Selector()]  # the first takes rules outside of parentheses

    def copy(self) -> Role:
        twin = Role(self.name)
        twin.selectors = [one.copy() for one in self.selectors]
        return twin

    def apply(self, rule: bytes, table: Commands) -> None:
        """What is only for users (`on`, passwords, `reset`, `role=`) is no rule here, so that roles cannot nest."""
        if not rule:
            return
        if rule.startswith(b"(") and rule.endswith(b")"):
            self.selectors.append(parse_selector(rule, table))
        elif rule.lower() == b"clearselectors":
            del self.selectors[1:]
        else:
            self.selectors[0].apply(rule, table)

    def words(self) -> list[bytes]:
        return _selector_words(self.selectors)

    def describe(self) -> str:
        return selectors_text(self.selectors)


class Account:
    """A user."""

    __slots__ = (
        "born", "enabled", "expires_at_s", "history", "name", "nopass", "passwords", "roles", "sanitize", "selectors",
    )  # fmt: skip

    def __init__(self, name: str, born: int) -> None:
        self.name = name
        self.born = born  # version of the accounts that made it: one of the same name that came later is another user
        self.enabled = self.nopass = False
        self.sanitize = True
        self.passwords: list[str] = []  # as stored, without the #
        self.history: list[str] = []  # those it has had; the newest last
        self.selectors = [Selector()]
        self.roles: tuple[str, ...] = ()
        self.expires_at_s = 0

    def copy(self) -> Account:
        twin = Account(self.name, self.born)
        for name in self.__slots__:
            value = getattr(self, name)
            setattr(twin, name, value.copy() if isinstance(value, list) else value)
        twin.selectors = [one.copy() for one in self.selectors]
        return twin

    # Rules.

    def apply(self, rule: bytes, table: Commands, roles: Mapping[str, Role] | None = None) -> None:
        """One rule; `roles` are those that `role=` may name."""
        match rule[:1], rule.lower():
            case b"", _:
                pass  # as in Redis
            case _, b"on" | b"off" as word:
                self.enabled = word == b"on"
            case _, b"sanitize-payload" | b"skip-sanitize-payload" as word:
                self.sanitize = word == b"sanitize-payload"
            case _, b"nopass":
                self._drop_passwords()
                self.nopass = True
            case _, b"resetpass":
                self._drop_passwords()
                self.nopass = False
            case b"#", _:
                self._add_password(_stored(rule))
            case b"!", _:
                self._remove_password(_stored(rule))
            case b"(", _ if rule.endswith(b")"):
                self.selectors.append(parse_selector(rule, table))
            case _, b"clearselectors":
                del self.selectors[1:]
            case _, b"reset":
                self._reset()
            case _, b"resetroles":
                self.roles = ()
            case b"r" | b"R", word if word.startswith(b"role="):
                self.roles = _role_list(text_of(rule[5:]), roles or {})
            case b"e" | b"E", word if word.startswith(EXPIRE + b" "):
                self.expires_at_s = _seconds(word[len(EXPIRE) + 1 :])
            case _, b"persist":
                self.expires_at_s = 0
            case _:
                self.selectors[0].apply(rule, table)

    def _reset(self) -> None:
        new = Account(self.name, self.born)
        self._drop_passwords()
        for name in ("enabled", "nopass", "sanitize", "selectors", "roles", "expires_at_s"):
            setattr(self, name, getattr(new, name))

    def _add_password(self, stored: str) -> None:
        if stored not in self.passwords:
            if len(self.passwords) >= PASSWORDS_MAX:
                raise RuleError(TOO_MANY_PASSWORDS)
            self.passwords.append(stored)
        self.nopass = False

    def _remove_password(self, stored: str) -> None:
        if stored not in self.passwords:
            raise RuleError(NO_SUCH_PASSWORD)
        self.passwords.remove(stored)
        self._remember([stored])

    def _drop_passwords(self) -> None:
        self._remember(self.passwords)
        self.passwords = []

    def _remember(self, stored: list[str]) -> None:
        kept = [one for one in self.history if one not in stored]
        self.history = (kept + stored)[-HISTORY_MAX:]

    # Descriptions.

    @property
    def flags(self) -> list[str]:
        """In Redis's order."""
        return [
            "on" if self.enabled else "off",
            *(["nopass"] if self.nopass else []),
            "sanitize-payload" if self.sanitize else "skip-sanitize-payload",
        ]

    def _head(self) -> list[str]:
        """The rules that are not of selectors."""
        return [
            *self.flags,
            *("#" + stored for stored in self.passwords),
            *([f"expireat {self.expires_at_s}"] if self.expires_at_s else []),
            *(["role=" + ",".join(self.roles)] if self.roles else []),
        ]

    def words(self) -> list[bytes]:
        return [bytes_of(word) for word in self._head()] + _selector_words(self.selectors)

    def describe(self) -> str:
        return " ".join((*self._head(), selectors_text(self.selectors)))


def _selector_words(selectors: list[Selector]) -> list[bytes]:
    root, *others = selectors
    return [*map(bytes_of, root.describe().split(" ")), *(bytes_of(f"({one.describe()})") for one in others)]


def _stored(rule: bytes) -> str:
    word = text_of(rule[1:])
    try:
        parse(word)
    except PasswordRefused as fault:
        raise RuleError(str(fault)) from None
    return word


def _role_list(names: str, roles: Mapping[str, Role]) -> tuple[str, ...]:
    """The roles of `role=a,b`: each once, in the order given."""
    words = names.split(",")
    if any(role_name_fault(word) for word in words):
        raise RuleError(SYNTAX)
    if any(word not in roles for word in words):
        raise RuleError(NO_SUCH_ROLE)
    return tuple(dict.fromkeys(words))


def _seconds(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 16 or not 0 < int(digits) <= _EXPIRE_MAX:
        raise RuleError(SYNTAX)
    return int(digits)
