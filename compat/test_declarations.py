"""Our declarations beside those of a real redis-server: COMMAND INFO and COMMAND DOCS, command by command.

What clients decide by (arity, flags, keys, categories, tips) must be the same; texts for people are our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hiredis
import pytest

from bench.processes import Program, running
from compat.__main__ import PEER_COMMAND
from compat.clients import patient
from compat.redis_commands import NEW_IN_7_2, REDIS_7_2
from tests.e2e.tools import require
from vaylix_resp.commands.introspection import arguments_of, describe
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.commands.spec import CommandSpec
from vaylix_resp.commands.syntax import render
from vaylix_resp.resp.writer import encode

INFO_FIELDS = ("name", "arity", "flags", "first key", "last key", "step", "categories", "tips", "key specifications")
# What we have and redis-server 7.0.15 has not.
GIVEN_WORDS = {
    "set": " | IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest | IF VERSION version",
}
# Redis 7.2 prints these lines otherwise than 7.0.
NEWER_LINES = {"bitop", "lcs", "client|kill", "client|setinfo"}


def ours() -> list[CommandSpec]:
    found = [one for spec in COMMANDS.values() for one in (spec, *spec.subcommands.values())]
    return [spec for spec in found if spec.name in REDIS_7_2 and spec.name not in NEW_IN_7_2]


@pytest.fixture(scope="module")
def peer() -> Iterator[dict[str, tuple[list[Any], dict[str, Any]]]]:
    """name -> (COMMAND INFO, COMMAND DOCS) of the real server, for every command and subcommand that we have."""
    require("redis-server")
    names = [spec.name for spec in ours()]
    with running(Program("redis", PEER_COMMAND)) as server, patient(port=server.port, protocol=2) as client:
        connection = client.connection_pool.get_connection()
        found = []
        for word in ("INFO", "DOCS"):
            connection.send_command("COMMAND", word, *names)
            found.append(connection.read_response())
        client.connection_pool.release(connection)
    information, pairs = found
    documents = dict(zip(map(text, pairs[::2]), pairs[1::2], strict=True))
    return {name: (info, as_map(documents[name])) for name, info in zip(names, information, strict=True)}


def text(word: bytes) -> str:
    return word.decode()


def as_map(pairs: list[Any]) -> dict[str, Any]:
    return dict(zip(map(text, pairs[::2]), pairs[1::2], strict=True))


def through_the_wire(reply: Any) -> Any:
    reader = hiredis.Reader()
    reader.feed(encode(reply, 2))
    return reader.gets()


def without_notes(specifications: list[list[Any]]) -> list[list[Any]]:
    """Notes are for people."""
    return [row[2:] if row[0] == b"notes" else row for row in specifications]


@pytest.mark.parametrize("spec", ours(), ids=lambda spec: spec.name)
def test_command_info(spec: CommandSpec, peer: dict[str, tuple[list[Any], dict[str, Any]]]) -> None:
    theirs, mine = peer[spec.name][0], through_the_wire(describe(spec))
    for field, left, right in zip(INFO_FIELDS, theirs, mine, strict=False):
        if field == "key specifications":
            left, right = without_notes(left), without_notes(right)
        assert left == right, field
    assert {row[0] for row in theirs[9]} >= {row[0] for row in mine[9]} - OWN_SUBCOMMANDS


OWN_SUBCOMMANDS = {
    one.name.encode()
    for spec in COMMANDS.values()
    for one in spec.subcommands.values()
    if one.name not in REDIS_7_2 or one.name in NEW_IN_7_2
}


@pytest.mark.parametrize("spec", ours(), ids=lambda spec: spec.name)
def test_command_docs(spec: CommandSpec, peer: dict[str, tuple[list[Any], dict[str, Any]]]) -> None:
    theirs = peer[spec.name][1]
    assert (theirs["since"], theirs["group"]) == (spec.since.encode(), spec.group.encode())
    if spec.name not in NEWER_LINES:
        line = " ".join(map(argument, theirs.get("arguments", [])))
        assert render(arguments_of(spec)).replace(GIVEN_WORDS.get(spec.name, "\0"), "") == line


def argument(pairs: list[Any]) -> str:
    """The real server's argument map as redis-cli prints it."""
    one = as_map(pairs)
    flags = one.get("flags", [])
    children = list(map(argument, one.get("arguments", [])))
    match text(one["type"]):
        case "pure-token":
            plain = ""
        case "block":
            plain = " ".join(children)
        case "oneof":
            plain = " | ".join(children)
            if b"optional" not in flags or "token" in one:
                plain = f"<{plain}>"
        case _:
            plain = text(one["name"])
    full = f"{text(one['token'])} {plain}".strip() if "token" in one else plain
    if b"multiple" in flags:
        full = f"{full} [{full if b'multiple_token' in flags else plain} ...]"
    return f"[{full}]" if b"optional" in flags else full
