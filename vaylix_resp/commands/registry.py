"""The table of all commands, checked when it is made.

Importing the families below fills `spec.DECLARED`; here containers get their subcommands, and the state machine
its table of operations. No other module holds a list of command names.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from ..errors import CommandError, printable
from ..state.accounts import Accounts
from .catalog import Catalog
from .gating import gate
from .spec import DECLARED, Argv, CommandSpec, Kind

FAMILIES: Final = (
    "strings", "counters", "bits", "conditional", "versioned", "keys", "expiry", "scan", "sort", "dump", "databases",
    "transactions", "pubsub", "connection", "client", "tracking", "monitor", "server", "waiting", "info", "config",
    "introspection", "metrics", "latency", "slowlog", "trace", "memory", "debug", "persistence", "keyring", "backup",
    "flashback", "acl", "acl_changes", "maintenance", "audit", "cluster", "cluster_members", "replication", "sentinel",
    "raft",
)  # fmt: skip


def _assemble() -> dict[str, CommandSpec]:
    package = __name__.rpartition(".")[0]
    for family in FAMILIES:
        import_module(f"{package}.{family}")
    table = {name: spec for name, spec in DECLARED.items() if "|" not in name}
    for name, spec in DECLARED.items():
        if "|" in name:
            parent, _, child = name.partition("|")
            assert parent in table, f"{name} has no container"
            table[parent].subcommands[child] = spec
    for spec in table.values():
        assert spec.handler or spec.subcommands, f"{spec.name} does nothing"
    gate(DECLARED.values())
    return table


COMMANDS: Final[dict[str, CommandSpec]] = _assemble()
CATALOG: Final = Catalog(COMMANDS)


def find(name: str) -> CommandSpec | None:
    """By name in any case; `client|kill` finds a subcommand."""
    parent, _, child = name.lower().partition("|")
    spec = COMMANDS.get(parent)
    return spec.subcommands.get(child) if spec is not None and child else spec


def unknown_subcommand(spec: CommandSpec, argv: Argv) -> CommandError:
    return CommandError(
        f"ERR unknown subcommand '{printable(argv[1])}'. Try {spec.name.upper()} HELP."
    )


def apply_table() -> dict[bytes, Callable[..., Any]]:
    """The state machine's handlers by operation name: every command on data, and our own `@` operations."""
    from . import acl_operations, audit_operations, cluster_operations, digest_operations, maintenance, operations

    table: dict[bytes, Callable[..., Any]] = {
        **operations.OPERATIONS, **acl_operations.OPERATIONS, **maintenance.OPERATIONS, **audit_operations.OPERATIONS,
        **cluster_operations.OPERATIONS, **digest_operations.OPERATIONS,
    }  # fmt: skip
    for spec in COMMANDS.values():
        handler = spec.handler
        if spec.subcommands and spec.handler is None:
            handler = _router(spec)
        elif spec.kind is Kind.SESSION:
            continue
        if handler is not None:
            table[spec.name.upper().encode()] = table[spec.name.encode()] = handler
    return table


def new_accounts() -> Accounts:
    """Nobody but `default`, who may do everything: what a state begins with."""
    return Accounts(CATALOG, CATALOG.probe("acl|setuser"))


def row_table() -> dict[bytes, Callable[..., Any]]:
    """The state machine's row handlers, by the names that `apply_table` has for the same commands."""
    return {
        name: spec.row
        for spec in COMMANDS.values()
        if spec.kind is Kind.WRITE and spec.row is not None
        for name in (spec.name.upper().encode(), spec.name.encode())
    }


def _router(spec: CommandSpec) -> Callable[..., Any] | None:
    """A container's subcommands on data, behind one name."""
    on_data = {
        name.encode(): sub.handler
        for name, sub in spec.subcommands.items()
        if sub.kind is not Kind.SESSION and sub.handler
    }
    if not on_data:
        return None

    def route(view: Any, argv: Argv) -> Any:
        return on_data[argv[1].lower()](view, argv)

    return route
