"""SAVE and its relatives: all of them write a snapshot, one at a time."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.ports import Later
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK, Simple

BUSY = "ERR Background save already in progress"
SAVING = Simple("Background saving started")


@pytest.fixture
def client():
    return FakeAdmin().connect()


@pytest.mark.parametrize("outcome", [OK, CommandError("ERR snapshot failed: no space")])
def test_save_answers_when_the_snapshot_has_ended(client, outcome):
    reply = client.call("SAVE")
    assert isinstance(reply, Later) and not reply.done
    client.server.checkpoint.end(outcome)
    assert reply.reply == outcome


@pytest.mark.parametrize(
    "words, reply",
    [
        (("BGSAVE",), SAVING),
        (("BGSAVE", "SCHEDULE"), SAVING),
        (("BGSAVE", "foo"), "ERR syntax error"),
        (("BGSAVE", "SCHEDULE", "x"), "ERR syntax error"),
        (("BGREWRITEAOF",), Simple("Background append only file rewriting started")),
    ],
)
def test_the_others_answer_at_once(client, words, reply):
    assert client.call(*words) == reply
    assert client.server.checkpoint.running == isinstance(reply, Simple)


@pytest.mark.parametrize(
    "words, reply",
    [
        (("SAVE",), BUSY),
        (("BGSAVE",), BUSY),
        (("BGSAVE", "SCHEDULE"), BUSY),
        (("BGREWRITEAOF",), "ERR Background append only file rewriting already in progress"),
    ],
)
def test_one_at_a_time(client, words, reply):
    client.call("BGSAVE")
    assert client.call(*words) == reply


@pytest.mark.parametrize("word", ["SAVE", "BGSAVE", "BGREWRITEAOF"])
def test_why_none_can_be_made_is_said(client, word):
    client.server.checkpoint.refusal = CommandError("MISCONF no snapshot while the log is stopped: EIO")
    assert client.call(word) == "MISCONF no snapshot while the log is stopped: EIO"


def test_lastsave(client):
    assert client.call("LASTSAVE") == 1000
