"""SLOWLOG: replies in Redis's shape."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.resp.reply import OK

COUNT = "ERR count should be greater than or equal to -1"
MISUSE = "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."


@pytest.fixture
def client():
    server = FakeAdmin()
    for number in range(12):
        server.slowlog.note([b"GET", b"%d" % number], 0.02, 1_700_000_000 + number, "1.2.3.4:5", b"me")
    return server.connect()


def test_an_entry(client):
    assert client.call("SLOWLOG", "GET", "1") == [[11, 1_700_000_011, 20_000, [b"GET", b"11"], "1.2.3.4:5", b"me"]]


@pytest.mark.parametrize("words, ids", [((), range(11, 1, -1)), (("-1",), range(11, -1, -1)), (("0",), []),
                                        (("100",), range(11, -1, -1)), (("3",), [11, 10, 9])])  # fmt: skip
def test_how_many(client, words, ids):
    assert [entry[0] for entry in client.call("SLOWLOG", "GET", *words)] == list(ids)


@pytest.mark.parametrize(
    "words, reply",
    [(("GET", "-2"), COUNT), (("GET", "a"), COUNT), (("GET", "1", "2"), MISUSE), (("LEN",), 12)],
)
def test_answers(client, words, reply):
    assert client.call("SLOWLOG", *words) == reply


def test_reset(client):
    assert client.call("SLOWLOG", "RESET") == OK
    assert client.call("SLOWLOG", "LEN") == 0
    assert client.call("SLOWLOG", "GET") == []
