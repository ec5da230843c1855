"""Finding a command: any spelling, subcommands, and what is said when there is none."""

import pytest

from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.commands.spec import Kind
from vaylix_resp.errors import CommandError
from vaylix_resp.observability.metrics import Stats
from vaylix_resp.server.table import CommandTable, Route

STATS = Stats()
TABLE = CommandTable(COMMANDS, STATS)


@pytest.mark.parametrize(
    "words, name",
    [
        ("GET a", "get"), ("get", "get"), ("gEt a", "get"), ("CLIENT ID", "client|id"), ("client id", "client|id"),
        ("Client iD", "client|id"), ("CLIENT", "client"), ("CONFIG set a b", "config|set"), ("COMMAND", "command"),
        ("COMMAND docs", "command|docs"), ("EXEC", "exec"),
    ],
)  # fmt: skip
def test_find(words, name):
    bound = TABLE.find(words.encode().split())
    assert bound.name == name and bound.stats is STATS.command(name)


@pytest.mark.parametrize(
    "words, text",
    [
        ([b"NOSUCH"], "ERR unknown command 'NOSUCH', with args beginning with: "),
        ([b"nosuch", b"a", b"b"], "ERR unknown command 'nosuch', with args beginning with: 'a' 'b' "),
        ([b""], "ERR unknown command '', with args beginning with: "),
        ([b"x\r\ny", b"\n"], "ERR unknown command 'x  y', with args beginning with: ' ' "),
        ([b"x" * 200, b"y"], f"ERR unknown command '{'x' * 128}', with args beginning with: 'y' "),
        (
            [b"x", *[b"y"] * 40],
            "ERR unknown command 'x', with args beginning with: " + "'y' " * 32,
        ),
        ([b"x", b"y" * 200, b"z"], f"ERR unknown command 'x', with args beginning with: '{'y' * 128}' "),
        (
            [b"x", b"y" * 100, b"z" * 100],
            f"ERR unknown command 'x', with args beginning with: '{'y' * 100}' '{'z' * 25}' ",
        ),
        ([b"CLIENT", b"NOSUCH"], "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
        ([b"client", b"\xff"], "ERR unknown subcommand '\\xff'. Try CLIENT HELP."),
        ([b"CLIENT|ID"], "ERR unknown command 'CLIENT|ID', with args beginning with: "),
    ],
)
def test_not_found(words, text):
    with pytest.raises(CommandError) as refused:
        TABLE.find(words)
    assert refused.value.text == text


def test_every_command_is_there_in_both_spellings():
    for name in COMMANDS:
        assert TABLE.by_name[name.upper().encode()].spec is TABLE.by_name[name.encode()].spec is COMMANDS[name]


def test_routes():
    """Rows are for what has constant cost, or goes into the log; the rest is looked at one by one."""
    routes = {name.decode(): bound.route for name, bound in TABLE.by_name.items() if name.islower()}
    assert routes["get"] is routes["ttl"] is routes["strlen"] is Route.READ
    assert routes["set"] is routes["del"] is routes["incr"] is Route.WRITE
    assert routes["ping"] is routes["client"] is routes["keys"] is routes["lcs"] is Route.SINGLE
    for bound in TABLE.by_name.values():
        assert (bound.route is Route.WRITE) == (bound.kind is Kind.WRITE and not bound.subcommands)
        assert bound.route is not Route.READ or (bound.kind is Kind.READ and not bound.timed)


def test_bounds_of_words():
    bound = TABLE.by_name[b"GET"]
    assert (bound.low, bound.high) == (2, 2)
    bound = TABLE.by_name[b"DEL"]
    assert bound.low == 2 and bound.high > 1 << 30


def test_the_name_in_the_log():
    assert TABLE.find([b"gEtDeL", b"a"]).spelling == b"GETDEL"
    assert TABLE.find([b"object", b"freq", b"a"]).spelling == b"OBJECT"


def test_a_container_alone_has_no_handler():
    with pytest.raises(AssertionError):
        TABLE.by_name[b"CLIENT"].handler(None, [b"CLIENT"])
