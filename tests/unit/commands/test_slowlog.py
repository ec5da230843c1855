"""SLOWLOG in Redis's shape, COMMANDLOG in Valkey's."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.resp.reply import OK

COUNT = "ERR count should be greater than or equal to -1"
MISUSE = "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."


@pytest.fixture
def client():
    server = FakeAdmin()
    for number in range(12):
        server.lateness.slowlog.note([b"GET", b"%d" % number], 20_000, 1_700_000_000 + number, "1.2.3.4:5", b"me")
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


# COMMANDLOG.

WRONG_TYPE = "ERR type should be one of the following: slow, large-request, large-reply"


@pytest.fixture
def logs():
    server = FakeAdmin()
    lateness = server.lateness
    for log, value in ((lateness.slowlog, 20_000), (lateness.large_requests, 2 << 20), (lateness.large_replies, 3 << 20)):
        log.note([b"GET", b"a"], value, 1_700_000_000, "1.2.3.4:5", b"me")
    return server.connect()


@pytest.mark.parametrize("kind, value", [("slow", 20_000), ("LARGE-request", 2 << 20), ("large-reply", 3 << 20)])
def test_each_kind_by_its_name(logs, kind, value):
    entry = [0, 1_700_000_000, value, [b"GET", b"a"], "1.2.3.4:5", b"me"]
    assert logs.call("COMMANDLOG", "GET", "-1", kind) == [entry]
    assert logs.call("COMMANDLOG", "GET", "0", kind) == []
    assert logs.call("COMMANDLOG", "LEN", kind) == 1
    assert logs.call("COMMANDLOG", "RESET", kind) == OK
    assert logs.call("COMMANDLOG", "LEN", kind) == 0
    assert sum(logs.call("COMMANDLOG", "LEN", other) for other in ("slow", "large-request", "large-reply")) == 2


def test_the_slow_ones_are_those_of_slowlog(logs):
    assert logs.call("COMMANDLOG", "GET", "-1", "slow") == logs.call("SLOWLOG", "GET")
    logs.call("SLOWLOG", "RESET")
    assert logs.call("COMMANDLOG", "LEN", "slow") == 0


@pytest.mark.parametrize(
    "words, reply",
    [(("GET", "-2", "slow"), COUNT), (("GET", "x", "slow"), COUNT), (("GET", "1", "fast"), WRONG_TYPE),
     (("LEN", "fast"), WRONG_TYPE), (("RESET", ""), WRONG_TYPE), (("GET", "1"), "arity of commandlog|get")],
)  # fmt: skip
def test_what_commandlog_refuses(logs, words, reply):
    assert logs.call("COMMANDLOG", *words) == reply


def test_valkeys_names_of_the_settings(logs):
    settings = logs.server.settings
    settings.set_many([("commandlog-execution-slower-than", "5"), ("commandlog-slow-execution-max-len", "7")])
    assert (settings.slowlog_log_slower_than, settings.slowlog_max_len) == (5, 7)
    assert settings.rendered("commandlog-execution-slower-than") == "5"
