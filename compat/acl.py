"""`python -m compat.acl`: random users, and what they may do, here and on a real redis-server.

    python -m compat.acl --cases 20000 --seed 7

A case is a list of rules for a new user. Compared: the error, or flags, passwords, keys, channels and selectors as
ACL GETUSER tells them; the ACL LIST line; and for some requests the decision and its reason (ACL DRYRUN). Redis 7.0
works its rules of commands out from a bitmap while 7.2 and we remember them, so these are compared through the mirror:
our description, given to redis-server as rules of a second user, has to make what the given rules made.
Our side runs in this process: what is tested is the decision, not the way to it.
Exit 0: no difference. Exit 1: the differences, each with its rules.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import hiredis

from bench.processes import Program, ServerFailed, running, turn_sigterm_into_interrupt
from compat.__main__ import PEER_COMMAND
from compat.redis_commands import NEW_IN_7_2, REDIS_7_0
from vaylix_resp.commands.catalog import Catalog
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.commands.spec import CATEGORIES, CommandSpec
from vaylix_resp.security.access import refusal_text
from vaylix_resp.security.acl import RuleError
from vaylix_resp.state.account import Account
from vaylix_resp.state.accounts import Accounts

Argv = tuple[bytes, ...]

CATALOG = Catalog(COMMANDS)
SHARED: list[CommandSpec] = [
    spec for spec in CATALOG.all() if spec.name in REDIS_7_0 and spec.name not in NEW_IN_7_2 and spec.name != "debug"
]
NAMES = [spec.name for spec in SHARED]
BATCH_CASES = 50
REQUESTS_A_CASE = 4
PATTERNS = (b"a", b"a*", b"*", b"ab", b"b?", b"[a-c]", b"foo:*", b"f\\*", b"", b"\xff*", b"{x}", b"~", b"%R~a")
KEYS = (b"a", b"ab", b"b", b"b1", b"c", b"foo:1", b"f*", b"", b"\xff\xfe", b"x", b"*", b"a*")
WORDS = (b"GET", b"STORE", b"DB", b"1", b"0", b"AND", b"BY", b"LIMIT", b"NX", b"INCRBY", b"u8", b"OVERFLOW", b"XX")
WHOLESALE = (
    b"allkeys resetkeys allchannels resetchannels allcommands nocommands +@all -@all ~* &* ResetKeys AllKeys".split()
)
STRANGE = (b"~a b", b"&a\tb", b"nonsense", b"+", b"-", b"~", b"&", b"%", b"@all", b"", b"+@", b"x" * 40, b"()")
BROAD = (b"~*", b"&*", b"+@all", b"+@all", b"+@all", b"(~* &* +@read)", b"%R~*", b"%W~*", b"~a*", b"&a*")
PASSWORDS = (b"one", b"two", b"three", b"")


class Oracle:
    """A redis-server asked in pipelines; errors come back as `hiredis.ReplyError`."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def ask(self, requests: Sequence[Sequence[bytes]]) -> list[Any]:
        self._socket.sendall(b"".join(hiredis.pack_command(tuple(words)) for words in requests))
        reader = hiredis.Reader()
        replies: list[Any] = []
        while len(replies) < len(requests):
            reply = reader.gets()
            if reply is False:
                piece = self._socket.recv(1 << 16)
                if not piece:
                    raise ServerFailed("redis-server closed the connection")
                reader.feed(piece)
            else:
                replies.append(reply)
        return replies

    def close(self) -> None:
        self._socket.close()


@dataclass
class Case:
    rules: list[bytes]
    requests: list[Argv]


@dataclass
class Report:
    cases: int = 0
    decisions: int = 0
    refused_rules: int = 0
    allowed: int = 0
    differences: list[str] = field(default_factory=list)

    def note(self, what: str, case: Case, redis: object, us: object) -> None:
        self.differences.append(f"{what}\n  rules: {case.rules!r}\n  redis: {redis!r}\n  us:    {us!r}")


# What is asked.


def random_case(rng: random.Random) -> Case:
    rules = [random_rule(rng) for _ in range(rng.randint(0, 9))]
    for _ in range(rng.choice((0, 1, 2, 3))):
        rules.insert(rng.randint(0, len(rules)), rng.choice(BROAD))
    if rng.random() < 0.8:
        rules = acceptable(rules)
    return Case(rules, [random_request(rng) for _ in range(REQUESTS_A_CASE)])


def acceptable(rules: Sequence[bytes]) -> list[bytes]:
    """Those that we would take: users that come about are more telling than refusals."""
    account, taken = Account("u", 1), []
    for rule in rules:
        try:
            account.apply(plain_secrets([rule])[0], CATALOG)
        except RuleError:
            continue
        taken.append(rule)
    return taken


def random_rule(rng: random.Random, *, within: bool = False) -> bytes:
    kind = rng.randrange(15 if within else 20)
    if kind <= 5:
        return command_rule(rng)
    if kind <= 9:
        prefix = rng.choice((b"~", b"~", b"%R~", b"%W~", b"%RW~", b"%rW~", b"%wr~", b"%X~", b"%RR~", b"%~"))
        return prefix + rng.choice(PATTERNS)
    if kind <= 11:
        return b"&" + rng.choice(PATTERNS)
    if kind <= 13:
        return rng.choice(WHOLESALE)
    if kind == 14:
        return rng.choice(STRANGE)
    if kind <= 16:
        return rng.choice((b"on", b"off", b"ON", b"clearselectors", b"reset", b"skip-sanitize-payload", b"on"))
    if kind == 17:
        return password_rule(rng)
    words = [random_rule(rng, within=True) for _ in range(rng.randint(0, 3))]
    # Quotes inside parentheses are Redis's own undocumented way; spaces there separate rules.
    return b"(" + b" ".join(words) + b")"


def command_rule(rng: random.Random) -> bytes:
    sign = rng.choice((b"+", b"+", b"-"))
    kind = rng.randrange(10)
    name = rng.choice(NAMES).encode()
    if kind <= 3:
        return sign + (name.upper() if rng.random() < 0.2 else name)
    if kind <= 6:
        return sign + b"@" + rng.choice((*CATEGORIES, "all")).encode()
    if kind == 7:
        return sign + rng.choice((b"select", b"get", b"set", b"ping", b"echo")) + b"|" + rng.choice(KEYS[:5])
    if kind == 8:
        return sign + name + b"|" + rng.choice((b"get", b"0", b"", b"help", b"nosuch"))
    return sign + rng.choice((b"nosuch", b"@nosuch", b"config|nosuch", b"nosuch|get", b"config|get|x", b"select|0|1"))


def password_rule(rng: random.Random) -> bytes:
    word = rng.choice(PASSWORDS)
    digest = sha256(word).hexdigest().encode()
    bad = rng.choice((b"#", b"!")) + rng.choice((b"", digest[:-1], digest.upper(), b"g" * 64, digest + b"0"))
    return rng.choice((b">" + word, b"<" + word, b"#" + digest, b"!" + digest, b"nopass", b"resetpass", bad))


def random_request(rng: random.Random) -> Argv:
    spec = rng.choice(SHARED)
    words = [word.encode() for word in spec.name.split("|")]
    if rng.random() < 0.3:
        words[0] = words[0].upper()
    length = abs(spec.arity) + (rng.choice((0, 0, 1, 2, 4)) if spec.arity < 0 else 0)
    if rng.random() < 0.02:
        length = rng.randint(len(words), 6)
    while len(words) < length:
        words.append(rng.choice(KEYS) if rng.random() < 0.75 else rng.choice(WORDS))
    return tuple(words)


# What is answered.


def plain_secrets(rules: Sequence[bytes]) -> list[bytes]:
    """Passwords as Redis stores them."""
    stored = {b">": b"#", b"<": b"!"}
    return [
        stored[rule[:1]] + sha256(rule[1:]).hexdigest().encode() if rule[:1] in stored else rule for rule in rules
    ]


def our_user(rules: Sequence[bytes]) -> Accounts | str:
    accounts = Accounts(CATALOG, CATALOG.probe("config|set"))
    try:
        accounts.set_user("u", plain_secrets(rules))
    except RuleError as fault:
        return f"ERR {fault}".encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # as hiredis reads errors
    return accounts


def our_decision(accounts: Accounts, argv: Argv) -> str:
    spec = CATALOG.find(argv)
    if spec is None:
        return f"ERR Command '{text(argv[0])}' not found"
    if not spec.arity_ok(len(argv)):
        return f"ERR wrong number of arguments for '{spec.name}' command"
    grants = accounts.grants("u")
    assert grants is not None
    denied = grants.check(CATALOG.request(spec, argv, 0))
    if denied is None:
        return "OK"
    return refusal_text("u", spec.name, denied, named=True).replace("User u has", "This user has")


def our_fields(accounts: Accounts) -> tuple[Any, ...]:
    """What ACL GETUSER tells in the same words here and there."""
    account = accounts.users["u"]
    root, *others = account.selectors
    return (
        [flag for flag in account.flags if flag != "sanitize-payload"],  # 7.2 always names it, 7.0 only if told to
        account.passwords,
        (as_redis_prints(root.keys_text), root.channels_text),
        [(as_redis_prints(one.keys_text), one.channels_text) for one in others],
    )


def as_redis_prints(keys: str) -> str:
    """`%RW~*` is not allkeys; Redis prints it as if it were, and cannot read its own line again."""
    return " ".join("~*" if word == "%RW~*" else word for word in keys.split(" "))


def their_fields(reply: list[Any]) -> tuple[Any, ...]:
    fields = as_map(reply)
    return (
        [flag for flag in map(text, fields["flags"]) if flag != "sanitize-payload"],
        [text(word) for word in fields["passwords"]],
        (text(fields["keys"]), text(fields["channels"])),
        [(text(one["keys"]), text(one["channels"])) for one in map(as_map, fields["selectors"])],
    )


def text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def as_map(pairs: list[Any]) -> dict[str, Any]:
    return dict(zip(map(text, pairs[::2]), pairs[1::2], strict=True))


def as_said(reply: Any) -> str:
    return str(reply) if isinstance(reply, hiredis.ReplyError) else text(reply)


def redact(error: str, rules: Sequence[bytes]) -> str:
    """Redis repeats secrets in errors, we do not; a password has been replaced by its hash before."""
    for rule in rules:
        if rule[:1] in (b">", b"<", b"#", b"!"):
            shown = {b">": "#", b"<": "!"}.get(rule[:1], rule[:1].decode())
            error = error.replace(f"'{text(rule)}'", f"'{shown}(redacted)'")
    return error


# The comparison.


def compare(oracle: Oracle, cases: Sequence[Case], report: Report) -> None:
    """All cases of a batch in one round trip, and their mirrors in a second one."""
    asked: list[Sequence[bytes]] = []
    for case in cases:
        asked += user_requests(case.rules)
        asked += [(b"ACL", b"DRYRUN", b"u", *argv) for argv in case.requests]
    replies = iter(oracle.ask(asked))
    mirrors: list[tuple[Case, Accounts, list[Any], str]] = []
    for case in cases:
        made, fields, line = their_user(replies)
        decisions = [as_said(next(replies)) for _ in case.requests]
        report.cases += 1
        ours = our_user(case.rules)
        if isinstance(ours, str) or isinstance(made, hiredis.ReplyError):
            report.refused_rules += 1
            if (theirs := redact(as_said(made), case.rules)) != ours:
                report.note("SETUSER", case, theirs, ours)
            continue
        if their_fields(fields) != our_fields(ours):
            report.note("GETUSER", case, their_fields(fields), our_fields(ours))
        if list_line(line, fields) != our_list_line(ours):
            report.note("LIST", case, list_line(line, fields), our_list_line(ours))
        for argv, theirs in zip(case.requests, decisions, strict=True):
            report.decisions += 1
            report.allowed += theirs == "OK"
            if (mine := our_decision(ours, argv)) != theirs:
                report.note(f"DRYRUN {argv!r}", case, theirs, mine)
        mirrors.append((case, ours, fields, line))
    compare_mirrors(oracle, mirrors, report)


def compare_mirrors(oracle: Oracle, mirrors: Sequence[tuple[Case, Accounts, list[Any], str]], report: Report) -> None:
    """Our description of a user makes the same user on redis-server, as it tells itself, and here."""
    asked: list[Sequence[bytes]] = []
    for _, ours, _, _ in mirrors:
        asked += user_requests(ours.users["u"].words())
    replies = iter(oracle.ask(asked))
    for case, ours, fields, line in mirrors:
        made, mirrored, seen = their_user(replies)
        if isinstance(made, hiredis.ReplyError):
            report.note("mirror refused", case, made, ours.users["u"].describe())
            continue
        if command_rules(mirrored) != command_rules(fields) or list_line(seen, mirrored) != list_line(line, fields):
            report.note("mirror", case, line, seen)
        again = Accounts(CATALOG, CATALOG.probe("config|set"))
        again.load(ours.dump())
        if again.dump() != ours.dump() or again.lines() != ours.lines():
            report.note("dump", case, ours.lines(), again.lines())


def user_requests(rules: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [
        (b"ACL", b"DELUSER", b"u"), (b"ACL", b"SETUSER", b"u", *rules), (b"ACL", b"GETUSER", b"u"), (b"ACL", b"LIST")
    ]  # fmt: skip


def their_user(replies: Iterator[Any]) -> tuple[Any, list[Any], str]:
    """(reply of SETUSER, of GETUSER, line of LIST) of `user_requests`."""
    next(replies)
    made, fields, lines = next(replies), next(replies), next(replies)
    return made, fields, next((line for line in map(text, lines) if line.startswith("user u ")), "")


def command_rules(reply: list[Any]) -> list[list[bytes]]:
    """Of each selector, sorted: redis-server finds them in the order of a hash table."""
    fields = as_map(reply)
    return [sorted(one["commands"].split()) for one in (fields, *map(as_map, fields["selectors"]))]


def list_line(line: str, reply: list[Any]) -> str:
    """A line of LIST without the rules of commands, which only their description may change."""
    fields = as_map(reply)
    for one in (fields, *map(as_map, fields["selectors"])):
        line = line.replace(" " + text(one["commands"]), " ...", 1)
    return line.replace(" sanitize-payload ", " ")


def our_list_line(accounts: Accounts) -> str:
    (line,) = (line for line in accounts.lines() if line.startswith("user u "))
    for one in accounts.users["u"].selectors:
        line = line.replace(" " + one.commands_text, " ...", 1).replace(one.keys_text, as_redis_prints(one.keys_text))
    return line.replace(" sanitize-payload ", " ")


def run(port: int, cases: int, seed: int) -> Report:
    rng = random.Random(seed)
    report = Report()
    oracle = Oracle(port)
    while report.cases < cases and len(report.differences) < 20:
        compare(oracle, [random_case(rng) for _ in range(min(BATCH_CASES, cases - report.cases))], report)
    oracle.close()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m compat.acl", description="Compare users with redis-server's.")
    parser.add_argument("--cases", type=int, default=20_000, help="users to make (default 20000)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the clock")
    arguments = parser.parse_args()
    turn_sigterm_into_interrupt()
    try:
        with running(Program("redis", PEER_COMMAND)) as server:
            report = run(server.port, arguments.cases, arguments.seed)
    except ServerFailed as failure:
        print(failure, file=sys.stderr)
        return 2
    for difference in report.differences:
        print(difference)
    print(
        f"seed {arguments.seed}: {report.cases} users, {report.refused_rules} refused; {report.decisions} decisions,"
        f" {report.allowed} of them yes; {len(report.differences)} differences"
    )
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
