"""`box`: a state machine with the commands on data, as a client would use it; no server, no log, no clock.

    box("SET", "k", "v")          one request, in database 0; the reply, an error as its text (a str)
    box("GET", "k", db=1)
    box.now += 1000               time passes
    box.db(1)                     a view of what is there
    box.listen(); box.events      keyspace events since the last look
    box.refused                   whether `check` has kept the last request out of the log

Every write goes through the machine as an entry. On the way the box checks what every handler promises: what
`check` refuses the handler refuses with the same words, and a request that was refused has changed nothing.
"""

from __future__ import annotations

from importlib import import_module
from random import Random
from typing import Any

import pytest

from vaylix_resp.commands.operations import OPERATIONS, in_database
from vaylix_resp.commands.registry import new_accounts
from vaylix_resp.commands.spec import DECLARED, CommandSpec, Kind
from vaylix_resp.errors import CommandError, wrong_arity
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.views import ReadView

# Not the registry, which imports every family: these tests are about commands on data.
FAMILIES = (
    "strings", "counters", "bits", "conditional", "versioned", "keys", "expiry", "scan", "sort", "dump",
    "databases",
)  # fmt: skip
START_MS = 1_700_000_000_000
Contents = dict[tuple[int, bytes], tuple[bytes, int | None, int]]


class Box:
    def __init__(self, databases: int = 16, seed: int = 1) -> None:
        for family in FAMILIES:
            import_module(f"vaylix_resp.commands.{family}")
        table: dict[bytes, Any] = dict(OPERATIONS)
        for name, spec in DECLARED.items():
            if spec.kind is not Kind.SESSION and spec.handler is not None:
                parent = name.partition("|")[0].upper().encode()
                table[parent] = _by_subcommand if "|" in name else spec.handler
        self.machine = StateMachine(table, databases, rng=Random(seed), accounts=new_accounts())
        self.machine.on_bug = _raise
        self.now = START_MS
        self.refused = False
        self.seed = seed

    def __call__(self, *words: bytes | str, db: int = 0) -> Any:
        """Execute one request; a subcommand is the second word of its container."""
        argv = tuple(w.encode() if isinstance(w, str) else w for w in words)
        name = argv[0].decode().lower()
        if name not in DECLARED or DECLARED[name].handler is None:
            name = f"{name}|{argv[1].decode().lower()}"
        spec = DECLARED[name]
        assert spec.kind is not Kind.SESSION, f"{name} needs a session"
        if not spec.arity_ok(len(argv)):
            return wrong_arity(name).text
        reply = self._read(spec, argv, db) if spec.kind is Kind.READ else self._write(spec, argv, db)
        return reply.text if isinstance(reply, CommandError) else reply

    def _read(self, spec: CommandSpec, argv: tuple[bytes, ...], db: int) -> Any:
        assert spec.handler is not None
        try:
            return spec.handler(self.db(db), argv)
        except CommandError as refused:
            return refused

    def _write(self, spec: CommandSpec, argv: tuple[bytes, ...], db: int) -> Any:
        refusal: CommandError | None = None
        if spec.check is not None and len(argv) > spec.plain:
            try:
                spec.check(argv)
            except CommandError as refused:
                refusal = refused
        self.refused = refusal is not None
        before = self.contents()
        self.machine.begin_batch(self.now, self.seed)
        reply = self.machine.apply(in_database(db, (argv[0].upper(), *argv[1:])))
        if isinstance(reply, CommandError):
            assert self.contents() == before, f"{argv[:4]} was refused and changed something"
        if refusal is not None:
            assert isinstance(reply, CommandError), f"{argv[:4]}: check refuses it, the handler does not"
            assert reply.text == refusal.text
        return reply

    def db(self, index: int = 0) -> ReadView:
        """What a reader sees now."""
        self.machine.read_at(self.now)
        return self.machine.world.views[index]

    def listen(self) -> None:
        self.machine.world.events = []

    @property
    def events(self) -> list[str]:
        """Keyspace events since the last look: "$ set key", and "db1" behind it if not in database 0."""
        seen = self.machine.world.events
        assert seen is not None, "listen() first"
        self.machine.world.events = []
        return [f"{kind} {name} {key.decode()}" + (f" db{db}" if db else "") for kind, name, key, db in seen]

    def contents(self) -> Contents:
        """Everything alive: (database, key) -> (item with version, expiry, flags)."""
        found: Contents = {}
        for index in range(len(self.machine.world.databases)):
            view = self.db(index)
            for key in list(view.keys()):
                item = view.item(key)
                assert item is not None
                found[index, key] = (item, view.expiry(key), view.flags(key))
        return found


def _by_subcommand(view: Any, argv: Any) -> Any:
    handler = DECLARED[f"{argv[0].decode().lower()}|{argv[1].decode().lower()}"].handler
    assert handler is not None
    return handler(view, argv)


def _raise(name: bytes, bug: Exception) -> None:
    raise bug


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture(scope="session")
def new_box() -> type[Box]:
    """To make boxes inside a test, one for each example of a property."""
    return Box
