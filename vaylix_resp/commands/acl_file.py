"""Lines that define users and roles: ACL files, `user` and `role` lines of a configuration, ACL LIST.

    role <name> <rule>*
    user <name> <rule>*

Words stand between single blanks; blank lines and lines that begin with # are skipped. Roles count before users,
wherever they stand. All errors are collected, in Redis's words, because whoever edits a file wants to see them at once.
Promise: if anything is wrong nothing is returned.
Not here: reading and writing the file (the server's port), applying what it holds (`acl_operations`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from ..security.acl import UNKNOWN, Commands, RuleError, merge_words, text_of
from ..state.account import Account, Role, role_name_fault

UNCHANGED: Final = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"


class Line(NamedTuple):
    """One definition; `where` begins an error's text."""

    kind: str  # "user" or "role"
    name: str
    rules: list[bytes]
    where: str
    number: int

    def text(self) -> bytes:
        return b" ".join((self.kind.encode(), self.name.encode("utf-8", "surrogateescape"), *self.rules))


class Content(NamedTuple):
    roles: dict[str, Role]
    users: dict[str, Account]


class FileError(RuleError):
    """Everything that is wrong with the lines."""


def read_lines(lines: Iterable[bytes], table: Commands, prefix: str) -> Content:
    """Users and roles of lines whose passwords are stored forms. `prefix` and the line's number name a place."""
    return build(split_lines(lines, prefix), table)


def split_lines(lines: Iterable[bytes], prefix: str) -> list[Line]:
    found: list[Line] = []
    errors: list[str] = []
    for number, raw in enumerate(lines, 1):
        line = raw.strip(b" \t\r\n")
        if not line or line.startswith(b"#"):
            continue
        where = f"{prefix}{number}"
        words = line.split(b" ")
        kind = text_of(words[0])
        if kind == "role" and len(words) < 2:
            errors.append(f"{where}: role requires a role name. ")
        elif kind not in ("user", "role") or len(words) < 2 or not words[1]:
            errors.append(f"{where} should start with user keyword followed by the username. ")
        else:
            try:
                rules = merge_words([word.strip(b"\t\r\n") for word in words[2:]])
            except RuleError:
                errors.append(f"{where}: Unmatched parenthesis in selector definition.")
                continue
            found.append(Line(kind, text_of(words[1]), [rule for rule in rules if rule], where, number))
    _refuse(errors)
    return found


def build(lines: Sequence[Line], table: Commands) -> Content:
    """What the lines define; nothing is taken from users that exist already."""
    content, errors = Content({}, {}), list[str]()
    for line in sorted(lines, key=lambda line: line.kind != "role"):  # stable: otherwise in the order given
        made: Role | Account
        known: dict[str, Role] | dict[str, Account]
        known = content.roles if line.kind == "role" else content.users
        if line.name in known:
            errors.append(f"WARNING: Duplicate {line.kind} '{line.name}' found on line {line.number}. ")
            continue
        if line.kind == "role":
            made = content.roles[line.name] = Role(line.name)
            if fault := role_name_fault(line.name):
                errors.append(f"{line.where}: {fault}. ")
        else:
            made = content.users[line.name] = Account(line.name, 0)
        errors += _apply(made, line, table, content.roles)
    _refuse(errors)
    return content


def _apply(made: Role | Account, line: Line, table: Commands, roles: dict[str, Role]) -> list[str]:
    """Unknown commands are all reported; of other faults the first, as others may follow from it."""
    errors: list[str] = []
    reported = False
    for rule in line.rules:
        try:
            if isinstance(made, Role):
                made.apply(rule, table)
            else:
                made.apply(rule, table, roles)
        except RuleError as fault:
            if str(fault) == UNKNOWN:
                errors.append(f"{line.where}: Error in applying operation '{text_of(rule)}': {fault}. ")
            elif not reported:
                errors.append(f"{line.where}: {fault}. ")
                reported = True
    return errors


def _refuse(errors: list[str]) -> None:
    if errors:
        raise FileError("".join(errors) + UNCHANGED)


def with_plain_hashes(lines: Sequence[Line]) -> list[Line]:
    """For a trial before the slow work: passwords in clear as Redis would store them. Never written anywhere."""
    return [line._replace(rules=[*map(_plain, line.rules)]) for line in lines]


def _plain(rule: bytes) -> bytes:
    sign = {b">": b"#", b"<": b"!"}.get(rule[:1])
    return rule if sign is None else sign + sha256(rule[1:]).hexdigest().encode()
