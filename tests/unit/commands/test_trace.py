"""TRACE: what was kept, as maps."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.resp.reply import OK


@pytest.fixture
def client():
    server = FakeAdmin()
    for number in range(12):
        server.lateness.traces.note(
            (b"SET", b"%d" % number), (1, 0, 20, 300, 4000, 5, 6), unix_s=1_700_000_000, requests=16, addr="1.2.3.4:5",
            name=b"me", outcome="ok",
        )  # fmt: skip
    return server.connect()


def test_an_entry(client):
    assert client.call("TRACE", "GET", "1") == [
        {
            b"id": 11, b"time": 1_700_000_000, b"total-us": 4332, b"command": [b"SET", b"11"], b"requests": 16,
            b"client": "1.2.3.4:5", b"name": b"me", b"outcome": "ok", b"parse-us": 1, b"held-us": 0, b"queue-us": 20,
            b"fsync-us": 300, b"replicate-us": 4000, b"apply-us": 5, b"reply-us": 6,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("words, count", [((), 10), (("-1",), 12), (("0",), 0), (("3",), 3)])
def test_how_many(client, words, count):
    assert len(client.call("TRACE", "GET", *words)) == count


@pytest.mark.parametrize(
    "words, reply",
    [
        (("LEN",), 12),
        (("GET", "x"), "ERR count should be greater than or equal to -1"),
        (("GET", "1", "2"), "ERR unknown subcommand or wrong number of arguments for 'GET'. Try TRACE HELP."),
    ],
)
def test_answers(client, words, reply):
    assert client.call("TRACE", *words) == reply


def test_reset(client):
    assert client.call("TRACE", "RESET") == OK
    assert client.call("TRACE", "LEN") == 0
