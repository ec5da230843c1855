"""A block asks for a large value again and again: what does not fit is left out, and all of it has been executed."""

from random import Random

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands import block_replies
from vaylix_resp.commands.block_replies import LEFT_OUT, BlockReplies
from vaylix_resp.commands.operations import transaction
from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK, Verbatim
from vaylix_resp.state.machine import StateMachine


@pytest.fixture
def room(monkeypatch):
    """For 100 bytes of replies."""
    monkeypatch.setattr(block_replies, "REPLY_BYTES_MAX", 100)


@pytest.mark.parametrize("reply", [
    b"x" * 60, "x" * 60, [b"x" * 52], [b"x" * 20, b"y" * 24], [[b"x" * 44]], {b"x" * 22: b"y" * 22}, [1] * 8,
    Verbatim(b"x" * 60),
])  # fmt: skip
def test_what_is_large(room, reply):
    block = BlockReplies()
    for one in (reply, OK, reply, 7, None, CommandError("ERR no"), b"y" * 30):
        block.add(one)
    assert block.kept[:2] == [reply, OK] and block.kept[2] is LEFT_OUT
    assert block.kept[3:5] == [7, None] and block.kept[5].text == "ERR no" and block.kept[6] == b"y" * 30


def test_a_block_in_the_log_is_executed_as_a_whole(room):
    machine, value = StateMachine(apply_table(), 1, rng=Random(1), accounts=new_accounts()), b"x" * 60
    reply = machine.apply(transaction([], [
        (0, (b"SET", b"a", value)), (0, (b"GET", b"a")), (0, (b"SET", b"a", b"new", b"GET")), (0, (b"GET", b"a")),
    ]))  # fmt: skip
    assert reply == [OK, value, LEFT_OUT, b"new"]
    assert machine.world.views[0].string(b"a") == b"new"


def test_a_block_that_only_reads(room):
    stage = Stage()
    client = stage.connect("SET a " + "x" * 60)
    client.send("MULTI", "GET a", "GET a", "PING", "EXEC")
    assert client.heard()[-1] == f"[{'x' * 60} -{LEFT_OUT.text} +PONG]"
    stage.close()
