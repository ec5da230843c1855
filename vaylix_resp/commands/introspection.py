"""COMMAND: what commands there are, how they are called and where their keys stand.

Everything derives from the declarations (`spec`); the shapes of the replies are those of Redis, in both protocols.
Declarations never change, so each command's part of a reply is encoded once, when somebody first asks: redis-cli asks
for all of them at each start, and 20 ms would be felt by everybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

from .. import glob
from ..errors import SYNTAX, CommandError, error
from ..resp.reply import Reply, SetOf, Simple, Wire
from ..resp.writer import encode
from . import syntax
from .arguments import help_reply, matches
from .ports import Client
from .spec import CATEGORIES, PUBLIC_FLAGS, Argv, CommandSpec, KeySpec, Kind, command

KEY_FLAGS: Final = (
    "RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags",
)  # fmt: skip
_PLAIN: Final = "loading stale"
_UNORDERED: Final = ("nondeterministic_output_order",)
_OVER_ALL: Final = "O(N) where N is the total number of Redis commands"
_OVER_NAMED: Final = "O(N) where N is the number of commands to look up"


# What a declaration looks like in COMMAND INFO.


def _states(names: Iterable[str]) -> SetOf:
    return SetOf(Simple(name) for name in names)


def _ordered(order: tuple[str, ...], present: Iterable[str]) -> list[str]:
    chosen = set(present)
    return [name for name in order if name in chosen]


def legacy_range(spec: CommandSpec) -> tuple[int, int, int]:
    """First key, last key and step as clients older than key specifications read them; 0s where there is none."""
    first = last = step = 0
    for keys in spec.keys:
        if keys.unknown or keys.keyword or keys.keynum is not None:
            continue
        until = keys.begin + keys.last if keys.last >= 0 else keys.last
        if not first:
            first, last, step = keys.begin, until, keys.step
        else:
            first = min(first, keys.begin)
            last = until if until < 0 or last < 0 else max(last, until)
    return first, last, step


def describe_keys(keys: KeySpec) -> dict[str, Any]:
    """One key specification as a map."""
    begin: dict[str, Any] = {"type": "index", "spec": {"index": keys.begin}}
    find: dict[str, Any] = {
        "type": "range",
        "spec": {"lastkey": keys.last, "keystep": keys.step, "limit": keys.limit},
    }
    if keys.unknown:
        begin = find = {"type": "unknown", "spec": {}}
    elif keys.keyword:
        begin = {"type": "keyword", "spec": {"keyword": keys.keyword, "startfrom": keys.begin}}
    if keys.keynum is not None:
        find = {
            "type": "keynum",
            "spec": {"keynumidx": keys.keynum, "firstkey": keys.first, "keystep": keys.step},
        }
    notes = {"notes": keys.notes} if keys.notes else {}
    flags = _states(_ordered(KEY_FLAGS, keys.flags.split()))
    return {**notes, "flags": flags, "begin_search": begin, "find_keys": find}


def describe(spec: CommandSpec) -> list[Any]:
    """The ten elements of COMMAND INFO; the last holds the subcommands."""
    subcommands = [describe(sub) for sub in spec.subcommands.values()]
    return [
        spec.name,
        spec.arity,
        _states(_ordered(PUBLIC_FLAGS, spec.flags)),
        *legacy_range(spec),
        _states(f"@{name}" for name in _ordered(CATEGORIES, spec.categories)),
        SetOf(spec.tips),
        SetOf(describe_keys(keys) for keys in spec.keys),
        subcommands or SetOf(),
    ]


# ... and in COMMAND DOCS.


def _key_index(spec: CommandSpec) -> syntax.KeyIndex | None:
    """Which specification covers a key argument, or None for a command that has no keys."""
    count = len(spec.keys)
    if not count or all("not_key" in keys.flags for keys in spec.keys):
        return None

    def index(number: int, token: str | None) -> int:
        if token is not None:
            for at, keys in enumerate(spec.keys):
                if keys.keyword == token or (keys.unknown and at == count - 1):
                    return at
        return min(number, count - 1)

    return index


def describe_argument(one: syntax.Argument) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "type": one.type}
    if one.text and one.type != "pure-token":
        found["display_text"] = one.text
    if one.key_spec_index is not None:
        found["key_spec_index"] = one.key_spec_index
    if one.token is not None:
        found["token"] = "" if one.token == '""' else one.token
    flags = [name for name in ("optional", "multiple", "multiple_token") if getattr(one, name)]
    if flags:
        found["flags"] = _states(flags)
    if one.children:
        found["arguments"] = [describe_argument(child) for child in one.children]
    return found


def arguments_of(spec: CommandSpec) -> tuple[syntax.Argument, ...]:
    return syntax.parse(spec.syntax, floating="float" in spec.name, key_index=_key_index(spec))


def document(spec: CommandSpec) -> dict[str, Any]:
    """One entry of COMMAND DOCS."""
    found: dict[str, Any] = {"summary": spec.summary, "since": spec.since, "group": spec.group}
    if spec.complexity:
        found["complexity"] = spec.complexity
    if spec.doc_flags:
        found["doc_flags"] = _states(spec.doc_flags)
    if spec.deprecated_since:
        found["deprecated_since"] = spec.deprecated_since
    if spec.replaced_by:
        found["replaced_by"] = spec.replaced_by
    if spec.history:
        found["history"] = SetOf([version, text] for version, text in spec.history)
    arguments = arguments_of(spec)
    if arguments:
        found["arguments"] = [describe_argument(one) for one in arguments]
    if spec.subcommands:
        found["subcommands"] = {sub.name: document(sub) for sub in spec.subcommands.values()}
    return found


@cache
def _described(spec: CommandSpec) -> Wire:
    return _wire(describe(spec))


@cache
def _documented(spec: CommandSpec) -> Wire:
    return _wire(document(spec))


def _wire(reply: Reply) -> Wire:
    return Wire(encode(reply, 2), encode(reply, 3))


# Finding.


def _find(client: Client, name: bytes) -> CommandSpec | None:
    """By full name in any case; `config|get` finds a subcommand."""
    parent, bar, child = name.decode("utf-8", "replace").lower().partition("|")
    spec = client.server.commands.get(parent)
    return spec.subcommands.get(child) if spec is not None and bar else spec


def _of_request(client: Client, request: Argv) -> CommandSpec | None:
    """The command or subcommand that a whole request names."""
    spec = client.server.commands.get(request[0].decode("utf-8", "replace").lower())
    if spec is None or not spec.subcommands or len(request) == 1:
        return spec
    return spec.subcommands.get(request[1].decode("utf-8", "replace").lower())


def _all(client: Client) -> Iterable[CommandSpec]:
    """Every command, each followed by its subcommands."""
    for spec in client.server.commands.values():
        yield spec
        yield from spec.subcommands.values()


def _keys(client: Client, request: Argv) -> list[tuple[bytes, str]]:
    """The keys of a request with their flags. Errors are Redis's."""
    spec = _of_request(client, request)
    if spec is None:
        raise error("Invalid command specified")
    if not any("not_key" not in keys.flags for keys in spec.keys):
        raise error("The command has no key arguments")
    if not spec.arity_ok(len(request)):
        raise error("Invalid number of arguments specified for command")
    try:
        found = spec.keys_of(request)
    except CommandError:
        found = []
    if not found and "no_mandatory_keys" not in spec.flags:
        raise error("Invalid arguments specified for command")
    return found


# The commands.


@command(
    "COMMAND", arity=-1, kind=Kind.SESSION, flags=f"{_PLAIN} early", group="server", since="2.8.13",
    categories="connection", tips=_UNORDERED, complexity=_OVER_ALL,
)  # fmt: skip
def command_(client: Client, argv: Argv) -> Reply:
    """All commands: arity, flags, keys, categories."""
    return _describe_all(client)


def _describe_all(client: Client) -> Reply:
    return [_described(spec) for spec in client.server.commands.values()]


def _subcommand(name: str, arity: int, **more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a subcommand of COMMAND."""
    more.setdefault("since", "2.8.13")
    return command(
        f"COMMAND|{name}", arity=arity, kind=Kind.SESSION, flags=f"{_PLAIN} early", group="server",
        categories="connection", **more,
    )  # fmt: skip


@_subcommand("COUNT", 2)
def command_count(client: Client, argv: Argv) -> Reply:
    """How many commands there are, subcommands not counted."""
    return len(client.server.commands)


@_subcommand(
    "INFO", -2, syntax="[command-name [command-name ...]]", tips=_UNORDERED, complexity=_OVER_NAMED,
    history=(("7.0.0", "Allowed to be called with no argument to get info on all commands."),),
)  # fmt: skip
def command_info(client: Client, argv: Argv) -> Reply:
    """The named commands, or all: arity, flags, keys, categories."""
    if len(argv) == 2:
        return _describe_all(client)
    specs = [_find(client, name) for name in argv[2:]]
    return [_described(spec) if spec is not None else None for spec in specs]


@_subcommand(
    "DOCS", -2, since="7.0.0", syntax="[command-name [command-name ...]]", tips=_UNORDERED, complexity=_OVER_NAMED
)
def command_docs(client: Client, argv: Argv) -> Reply:
    """Documentation of the named commands, or of all."""
    if len(argv) == 2:
        return {spec.name: _documented(spec) for spec in client.server.commands.values()}
    specs = [_find(client, name) for name in argv[2:]]
    return {spec.name: _documented(spec) for spec in specs if spec is not None}


@_subcommand(
    "LIST", -2, since="7.0.0", syntax="[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
    tips=_UNORDERED, complexity=_OVER_ALL,
)  # fmt: skip
def command_list(client: Client, argv: Argv) -> Reply:
    """Names of all commands and subcommands, or of those that pass a filter."""
    if len(argv) == 2:
        return [spec.name for spec in _all(client)]
    if len(argv) != 5 or not matches(argv[2], b"FILTERBY"):
        raise CommandError(SYNTAX)
    by, wanted = argv[3].upper(), argv[4]
    if by == b"MODULE":
        return []
    if by == b"ACLCAT":
        category = wanted.decode("utf-8", "replace").lower()
        return [spec.name for spec in _all(client) if category in spec.categories]
    if by == b"PATTERN":
        fits = glob.matcher(wanted, nocase=True)
        return [spec.name for spec in _all(client) if fits(spec.name.encode())]
    raise CommandError(SYNTAX)


_OVER_ARGUMENTS: Final = "O(N) where N is the number of arguments to the command"


@_subcommand("GETKEYS", -4, complexity=_OVER_ARGUMENTS)
def command_getkeys(client: Client, argv: Argv) -> Reply:
    """The keys in a request."""
    return [key for key, _ in _keys(client, argv[2:])]


@_subcommand("GETKEYSANDFLAGS", -4, since="7.0.0", complexity=_OVER_ARGUMENTS)
def command_getkeysandflags(client: Client, argv: Argv) -> Reply:
    """The keys in a request, and what the command does with each."""
    return [[key, _states(_ordered(KEY_FLAGS, flags.split()))] for key, flags in _keys(client, argv[2:])]


@_subcommand("HELP", 2, since="5.0.0")
def command_help(client: Client, argv: Argv) -> Reply:
    """The forms of COMMAND."""
    return help_reply(
        "COMMAND",
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full Redis command.",
    )
