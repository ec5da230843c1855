"""COMMAND INFO here and on redis-server: arity, flags, keys, categories and subcommands of every command we share.

Clients route by it, ACLs are written in its categories, and redis-py's cluster client finds keys with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bench.processes import Program, running, us_program
from compat.__main__ import PEER_COMMAND
from compat.frames import Value, Wire, read_value
from compat.redis_commands import REDIS_7_0
from compat.table import our_commands
from tests.e2e.tools import require


@dataclass(frozen=True)
class Row:
    """One row of COMMAND INFO, order taken out where Redis has none."""

    arity: int
    flags: frozenset[bytes]
    first_key: int
    last_key: int
    step: int
    categories: frozenset[bytes]
    key_specs: tuple[Any, ...]


def plain(value: Value) -> Any:
    """A value as nested tuples; flags of a key specification as a set."""
    if isinstance(value.items, list):
        items = [plain(item) for item in value.items]
        return tuple(sorted(map(str, items))) if value.kind == "~" else tuple(items)
    return value.items


def spec_without_order(spec: Any) -> tuple[tuple[bytes, str], ...]:
    """Fields of one key specification, flags sorted."""
    fields = dict(zip(spec[0::2], spec[1::2], strict=True))
    if isinstance(fields.get(b"flags"), tuple):
        fields[b"flags"] = tuple(sorted(map(str, fields[b"flags"])))
    fields.pop(b"notes", None)  # prose
    return tuple(sorted((name, str(value)) for name, value in fields.items()))


def rows(info: Value) -> Iterator[tuple[str, Row]]:
    """Every command and subcommand in a COMMAND INFO reply, by container|sub."""
    for item in info.items:
        if item.is_null:
            continue
        name, arity, flags, first, last, step, categories, _tips, specs, subcommands = item.items
        yield (
            name.items.decode().lower(),
            Row(
                int(arity.items),
                frozenset(flag.items for flag in flags.items),
                int(first.items),
                int(last.items),
                int(step.items),
                frozenset(category.items for category in categories.items),
                tuple(sorted(spec_without_order(plain(spec)) for spec in specs.items)),
            ),
        )
        yield from rows(subcommands)


@pytest.fixture(scope="module")
def tables() -> tuple[dict[str, Row], dict[str, Row]]:
    """(redis-server's, ours) for the commands both have."""
    require("redis-server")
    names = sorted({name.partition("|")[0] for name in set(REDIS_7_0) & set(our_commands())})
    found = []
    for program in (Program("redis", PEER_COMMAND), us_program()):
        with running(program) as server:
            reply = Wire(server.port).ask(b"COMMAND", b"INFO", *(name.encode() for name in names))
            found.append(dict(rows(read_value(reply))))
    return found[0], found[1]


@pytest.mark.parametrize("field", list(Row.__dataclass_fields__))
def test_the_tables_agree(tables: tuple[dict[str, Row], dict[str, Row]], field: str) -> None:
    redis, ours = tables
    shared = sorted(redis.keys() & ours.keys())
    assert len(shared) > 100
    wrong = [
        f"{name}: redis {getattr(redis[name], field)}, us {getattr(ours[name], field)}"
        for name in shared
        if getattr(redis[name], field) != getattr(ours[name], field)
    ]
    assert not wrong, f"{len(wrong)} commands\n" + "\n".join(wrong)
