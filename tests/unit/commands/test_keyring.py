"""KEYRING: what it asks of the server; the work itself is `engine.keyring`'s."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.ports import Later
from vaylix_resp.commands.registry import COMMANDS
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK


class FakeKeeper:
    def __init__(self):
        self.refusal = None
        self.later = Later()

    def rotate(self):
        if self.refusal:
            raise self.refusal
        return self.later

    status = rotate


@pytest.fixture
def client():
    server = FakeAdmin()
    server.keyring = FakeKeeper()
    return server.connect()


@pytest.mark.parametrize("word", ["ROTATE", "STATUS"])
def test_the_client_waits_for_the_work(client, word):
    reply = client.call("KEYRING", word)
    assert isinstance(reply, Later) and not reply.done
    client.server.keyring.later.resolve(OK)
    assert reply.reply == OK


def test_a_refusal_is_the_reply(client):
    client.server.keyring.refusal = CommandError("ERR encryption is off")
    assert client.call("KEYRING", "ROTATE") == "ERR encryption is off"


@pytest.mark.parametrize("words", [("ROTATE", "x"), ("STATUS", "x"), ("HELP", "x")])
def test_none_takes_arguments(client, words):
    assert client.call("KEYRING", *words).startswith("arity of keyring|")


def test_help_names_every_subcommand(client):
    text = "\n".join(line.text for line in client.call("KEYRING", "HELP"))
    for name in COMMANDS["keyring"].subcommands:
        assert f"\n{name.upper()}" in text


@pytest.mark.parametrize("name", ["rotate", "status"])
def test_they_are_for_administrators(name):
    spec = COMMANDS["keyring"].subcommands[name]
    assert {"admin", "dangerous", "slow"} <= spec.categories and "admin" in spec.flags
