"""MAINTENANCE: its arguments, what is proposed for it, and what the entry does."""

from random import Random

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.maintenance import MESSAGE_BYTES_MAX, turn_off, turn_on
from vaylix_resp.commands.registry import apply_table, new_accounts
from vaylix_resp.resp.reply import OK
from vaylix_resp.state.machine import StateMachine

NOW_MS = 1_700_000_000_000


class FakeMode:
    """Keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    def turn_on(self, message):
        self.asked.append(("on", message))
        return OK

    def turn_off(self):
        self.asked.append(("off",))
        return OK


@pytest.fixture
def machine():
    machine = StateMachine(apply_table(), 1, rng=Random(1), accounts=new_accounts())
    machine.begin_batch(NOW_MS, 7)
    return machine


@pytest.fixture
def client(machine):
    server = FakeAdmin()
    server.maintenance, server.machine = FakeMode(), machine
    return server.connect()


@pytest.mark.parametrize(
    "words, asked",
    [
        (["ON"], ("on", b"")),
        (["on", ""], ("on", b"")),
        (["ON", "new disk until 14:00"], ("on", b"new disk until 14:00")),
        (["ON", "ö".encode()], ("on", "ö".encode())),
        (["ON", "x" * MESSAGE_BYTES_MAX], ("on", b"x" * MESSAGE_BYTES_MAX)),
        (["OFF"], ("off",)),
    ],
)
def test_what_is_asked_for(client, words, asked):
    assert client.call("MAINTENANCE", *words) == OK
    assert client.server.maintenance.asked == [asked]


@pytest.mark.parametrize(
    "words, text",
    [
        (["ON", "a", "b"], "ERR wrong number of arguments for 'maintenance|on' command"),
        (["ON", "x" * (MESSAGE_BYTES_MAX + 1)], "ERR the message may have 256 bytes at most"),
        (["ON", "a\r\nb"], "ERR the message must be one line of printable characters"),
        (["ON", b"\x00"], "ERR the message must be one line of printable characters"),
        (["OFF", "now"], "arity of maintenance|off"),
        (["STATUS", "x"], "arity of maintenance|status"),
    ],
)
def test_what_is_refused(client, words, text):
    assert client.call("MAINTENANCE", *words) == text
    assert client.server.maintenance.asked == []


def test_status_is_the_state(client, machine):
    off = {b"mode": b"off", b"since-ms": None, b"message": None}
    assert client.call("MAINTENANCE", "STATUS") == off
    assert machine.apply(turn_on(b"disk")) == OK
    assert client.call("MAINTENANCE", "STATUS") == {b"mode": b"on", b"since-ms": NOW_MS, b"message": b"disk"}
    assert machine.apply(turn_off()) == OK
    assert client.call("MAINTENANCE", "STATUS") == off


def test_it_has_help(client):
    text = "\n".join(line.text for line in client.call("MAINTENANCE", "HELP"))
    assert "ON [<message>]" in text and "OFF" in text and "STATUS" in text
