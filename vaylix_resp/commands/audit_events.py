"""What the audit says of a command: which are always recorded, as what event, with what details.

Details are made of words that are known before they are looked at: names of users, roles, directives and subcommands
that exist, numbers, words of a grammar. Whatever else a request holds is shown as a word in brackets, because a
password may stand in any place where somebody has mistyped it.
Promise: no value, password or key comes into a detail. A command of the category `admin` is in ALWAYS or in QUIET.
Not here: log-ins and refusals, which have no handler to look at (`server.audit`); records (`security.audit`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from ..config_values import Integer, KeyspaceEvents, Memory, OneOf, YesNo
from ..directives import ALIASES, DIRECTIVES
from ..security.acl import text_of
from .cluster_facts import facts_for, member_among
from .points import parse_point
from .ports import Client
from .spec import CATEGORIES, Argv

UNKNOWN: Final = "(unknown)"
ITEMS_MAX: Final = 32  # names or rules in one record
_NAME: Final = re.compile(rb"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_PLAIN: Final = re.compile(r"[0-9,]{1,64}", re.ASCII)
_SHOWN_KINDS: Final = (Integer, KeyspaceEvents, Memory, OneOf, YesNo)  # what they take cannot be a secret

# client, request, whether it went well (asked before it runs unless `late`)
Details = Callable[[Client, Argv, bool], Mapping[str, Any]]


def _nothing(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Action:
    """What the audit does with a command.

    `security`: its record is durable before its reply, and it is refused while none can be written. `late`: details
    are looked up when it is done. `keeps`: it goes on when its client leaves. `silent`: it has no reply. `question`:
    with this as its third word it only asks, and is not recorded.
    """

    event: str
    security: bool = False
    details: Details = _nothing
    late: bool = False
    keeps: bool = False
    silent: bool = False
    question: bytes = b""

    def asks(self, argv: Argv) -> bool:
        return bool(self.question) and len(argv) > 2 and argv[2].upper() == self.question


def _limited(names: Iterable[str]) -> list[str]:
    found = list(names)
    return found[:ITEMS_MAX] + ([f"(and {len(found) - ITEMS_MAX} more)"] if len(found) > ITEMS_MAX else [])


def _user(client: Client, raw: bytes) -> str:
    name = text_of(raw)
    return name if name in client.server.accounts.users else UNKNOWN


def _role(client: Client, raw: bytes) -> str:
    name = text_of(raw)
    return name if name in client.server.accounts.roles else UNKNOWN


def _setuser(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    return {"target": _user(client, argv[2]), "rules": _rules(client, argv[3:])}


def _setrole(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    return {"target_role": _role(client, argv[2]), "rules": _rules(client, argv[3:])}


def _deluser(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    return {"targets": _limited(_user(client, raw) for raw in argv[2:])}


def _delrole(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    return {"target_roles": _limited(_role(client, raw) for raw in argv[2:])}


def _own(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    return {"target": client.user}


def _rules(client: Client, rules: Argv) -> list[str]:
    return _limited(rule_shown(client, rule) for rule in rules)


_WHOLE_RULES: Final = frozenset(
    """
    on off nopass resetpass reset resetkeys resetchannels resetdbs resetroles allkeys allchannels alldbs allcommands
    nocommands clearselectors sanitize-payload skip-sanitize-payload expireat persist
    """.split()
)
_KINDS_OF_RULES: Final = {
    b">": ">(password)", b"<": "<(password)", b"#": "#(hash)", b"!": "!(hash)", b"~": "~(keys)", b"%": "%(keys)",
    b"&": "&(channels)", b"(": "(selector)",
}  # fmt: skip


def rule_shown(client: Client, rule: bytes) -> str:
    """A rule of ACL SETUSER without what only its owner should know."""
    text = text_of(rule)
    low = text.lower()
    if low in _WHOLE_RULES:
        return low
    if rule[:1] in (b"+", b"-"):
        name = low[1:]
        known = name[1:] in (*CATEGORIES, "all") if name[:1] == "@" else client.server.catalog.command(name) is not None
        return low if known else low[0] + UNKNOWN
    head, equals, value = low.partition("=")
    if equals and head in ("db", "expireat") and _PLAIN.fullmatch(value):
        return low
    if equals and head == "role":
        names = text.partition("=")[2].split(",")
        return "role=" + ",".join(_limited(_role(client, name.encode("utf-8", "surrogateescape")) for name in names))
    return _KINDS_OF_RULES.get(rule[:1], "(rule)")


def _unlock(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    kind = _word(argv, 2, "USER", "ADDR", "ALL")
    if len(argv) < 4:
        return {"kind": kind}
    if kind == "USER":
        return {"kind": kind, "target": _user(client, argv[3])}
    try:
        return {"kind": kind, "target": str(ip_address(argv[3].decode("ascii", "replace").partition("/")[0]))}
    except ValueError:
        return {"kind": kind, "target": UNKNOWN}


def _config_set(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    """Names, and values in force of kinds that hold no text. Nothing of a value that was refused."""
    found: dict[str, str] = {}
    for raw in argv[2::2]:
        given = text_of(raw).lower()
        directive = DIRECTIVES.get(ALIASES.get(given, given))
        if directive is None:
            found[UNKNOWN] = ""
            continue
        shown = ok and not directive.spec.secret and isinstance(directive.spec.kind, _SHOWN_KINDS)
        found[directive.name] = client.server.settings.rendered(directive.name) if shown else "(not shown)"
    return {"set": dict(list(found.items())[:ITEMS_MAX])}


def _word(argv: Argv, at: int, *words: str) -> str:
    given = text_of(argv[at]).upper() if len(argv) > at else ""
    return given if given in words else UNKNOWN if given else ""


def _words(*words: str) -> Details:
    """Those of the request's words, from the second on, that are in this grammar."""

    def find(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
        given = [text_of(raw).upper() for raw in argv[1:]]
        return {"words": _limited(word for word in given if word in words)} if given else {}

    return find


def _backup(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    """The name of a file; one that could not be a name is not shown."""
    if len(argv) < 3:
        return {}
    name = argv[2].decode("ascii") if ok and _NAME.fullmatch(argv[2]) else UNKNOWN
    return {"backup": name} | ({"plain": True} if len(argv) > 3 else {})


def _flashback(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    point = text_of(argv[3]) if len(argv) > 3 else ""
    known = parse_point(point, client.server.clock.wall_ms()) is not None
    return {"database": client.db, "point": point if known else UNKNOWN} | ({"dryrun": True} if len(argv) > 4 else {})


def _database(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    return {"database": client.db}


def _reset_only(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    return {"words": [_word(argv, 2, "RESET")]} if len(argv) > 2 else {}


def _node(at: int) -> Details:
    """The node that is named there, if there is one."""

    def find(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
        if len(argv) <= at:
            return {}
        member = member_among(facts_for(client), argv[at])
        return {"node": member.name or member.hex_id if member is not None else UNKNOWN}

    return find


def _addresses(at: int) -> Details:
    """Those of new nodes, from there on; only what cannot be anything else is shown."""

    def find(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
        return {"addresses": _limited(_address(raw) for raw in argv[at:])}

    return find


def _address(raw: bytes) -> str:
    host, _, port = raw.decode("ascii", "replace").rpartition(":")
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return UNKNOWN
    return f"{address} {port}" if _PLAIN.fullmatch(port) else UNKNOWN


def _raft_server(client: Client, argv: Argv, ok: bool) -> Mapping[str, Any]:
    word = _word(argv, 2, "LIST", "ADD", "REMOVE", "PROMOTE", "DEMOTE")
    more = _addresses(3) if word == "ADD" else _node(3) if word in ("REMOVE", "PROMOTE", "DEMOTE") else _nothing
    return {"words": [word], **more(client, argv, ok)}


_DEBUG: Final = (
    "DIGEST", "DIGEST-VALUE", "ERROR", "HELP", "LOADAOF", "OBJECT", "POPULATE", "PROTOCOL", "RELOAD",
    "SET-ACTIVE-EXPIRE", "SET-SKIP-CHECKSUM-VALIDATION", "SLEEP",
)  # fmt: skip
_KILL: Final = ("ID", "ADDR", "LADDR", "TYPE", "USER", "SKIPME", "MAXAGE")

ALWAYS: Final[dict[str, Action]] = {
    "acl|setuser": Action("acl", security=True, details=_setuser, late=True, keeps=True),
    "acl|deluser": Action("acl", security=True, details=_deluser, keeps=True),
    "acl|setrole": Action("acl", security=True, details=_setrole, late=True, keeps=True),
    "acl|delrole": Action("acl", security=True, details=_delrole, keeps=True),
    "acl|setpass": Action("acl", security=True, details=_own, keeps=True),
    "acl|load": Action("acl", security=True, keeps=True),
    "acl|save": Action("acl", security=True, keeps=True),
    "acl|unlock": Action("unlock", security=True, details=_unlock),
    "acl|log": Action("acl", details=_reset_only),
    "config|set": Action("config", security=True, details=_config_set, late=True, keeps=True),
    "config|rewrite": Action("config", security=True),
    "config|resetstat": Action("config"),
    "maintenance|on": Action("maintenance", security=True, keeps=True),
    "maintenance|off": Action("maintenance", security=True, keeps=True),
    "backup|to": Action("backup", details=_backup, late=True),
    "backup|verify": Action("backup", details=_backup, late=True),
    "backup|check": Action("backup", details=_backup, late=True),
    "backup|restore": Action("restore", security=True, details=_backup, late=True),
    "backup|start": Action("backup"),
    "backup|seal": Action("backup"),
    "backup|abort": Action("backup"),
    "backup|cleanup": Action("backup"),
    "save": Action("backup"),
    "bgsave": Action("backup"),
    "bgrewriteaof": Action("backup"),
    "flashback|get": Action("flashback", details=_flashback),
    "flashback|restore": Action("flashback", security=True, details=_flashback),
    "keyring|rotate": Action("keyring", security=True, keeps=True),
    "flushall": Action("flush", security=True),
    "flushdb": Action("flush", security=True, details=_database),
    "swapdb": Action("flush", security=True),
    "shutdown": Action("shutdown", details=_words("NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"), silent=True),
    "debug": Action("debug", security=True, details=_words(*_DEBUG)),
    "monitor": Action("watch"),
    "client|kill": Action("client", details=_words(*_KILL)),
    "client|pause": Action("client", details=_words("ALL", "WRITE")),
    "client|unpause": Action("client"),
    "slowlog|reset": Action("watch"),
    "commandlog|reset": Action("watch"),
    "trace|reset": Action("watch"),
    "latency|reset": Action("watch"),
    "audit|tail": Action("watch"),
    "audit|verify": Action("watch"),
    # A change of the membership waits for its record; a hand-over does not: it is what a node with a bad disk needs.
    "replicaof": Action("membership"),
    "slaveof": Action("membership"),
    "failover": Action("membership"),
    "cluster|failover": Action("membership"),
    "cluster|forget": Action("membership"),
    "cluster|join": Action("membership", security=True, details=_addresses(2), keeps=True),
    "cluster|meet": Action("membership"),
    "cluster|promote": Action("membership", security=True, details=_node(2), keeps=True),
    "cluster|remove": Action("membership", security=True, details=_node(2), keeps=True),
    "raft|server": Action("membership", security=True, details=_raft_server, keeps=True, question=b"LIST"),
    "raft|transfer": Action("membership", details=_node(2), keeps=True),
    "raft.cluster|init": Action("membership"),
    "raft.cluster|join": Action("membership", security=True, details=_addresses(2), keeps=True),
    "raft.node|add": Action("membership", security=True, details=_addresses(3), keeps=True),
    "raft.node|remove": Action("membership", security=True, details=_node(2), keeps=True),
    "raft.transfer_leader": Action("membership", details=_node(1), keeps=True),
    "sentinel|failover": Action("membership", keeps=True),
    "sentinel|monitor": Action("membership"),
    "sentinel|remove": Action("membership"),
    "sentinel|set": Action("membership"),
}

# Questions, and what concerns one connection only: recorded where audit-log-categories asks for it.
QUIET: Final = frozenset(
    """
    acl|dryrun acl|getrole acl|getuser acl|list acl|roles acl|users audit|head backup|list backup|status client|list
    client|no-evict client|unblock cluster|replicas cluster|slaves config|get keyring|status lastsave latency|doctor
    latency|graph latency|histogram latency|history latency|latest maintenance|status module|list psync role
    sentinel|ckquorum sentinel|config sentinel|flushconfig sentinel|get-master-addr-by-name
    sentinel|is-master-down-by-addr sentinel|master sentinel|masters sentinel|myid sentinel|pending-scripts
    sentinel|replicas sentinel|reset sentinel|sentinels sentinel|slaves slowlog|get slowlog|len commandlog|get
    commandlog|len trace|get trace|len sync
    """.split()
)
COMMAND: Final = Action("command")  # by category
BY_THEMSELVES: Final = frozenset({"auth", "hello"})  # a log-in is recorded where it is decided
EVERY: Final = "all"  # in audit-log-categories: every command


def action_of(name: str, categories: Iterable[str], wanted: Iterable[str]) -> Action | None:
    """What the audit does with a command; `wanted` is audit-log-categories."""
    always = ALWAYS.get(name)
    if always is not None or name in BY_THEMSELVES:
        return always
    chosen = set(wanted)
    return COMMAND if EVERY in chosen or not chosen.isdisjoint(categories) else None
