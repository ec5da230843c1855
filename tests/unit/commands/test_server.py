"""TIME, SHUTDOWN, MODULE, LOLWUT."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.server import ART_COLUMNS, ART_ROWS, rule_30

SYNTAX = "ERR syntax error"
NOT_INT = "ERR value is not an integer or out of range"


@pytest.fixture
def client():
    return FakeAdmin().connect()


@pytest.mark.parametrize(
    "line, reply",
    [
        ("MODULE LIST", []),
        ("SHUTDOWN foo", SYNTAX),
        ("SHUTDOWN SAVE NOSAVE", SYNTAX),
        ("SHUTDOWN ABORT", "ERR No shutdown in progress."),
        ("SHUTDOWN ABORT NOW", SYNTAX),
        ("LOLWUT VERSION a", NOT_INT),
    ],
)
def test_answers(client, line, reply):
    assert client.call(*line.split()) == reply


def test_time_counts_microseconds(client):
    client.server.clock.seconds = 1234.567891
    assert client.call("TIME") == [b"1234", b"567891"]


@pytest.mark.parametrize(
    "line, how",
    [
        ("SHUTDOWN", {"save": None, "now": False, "force": False}),
        ("SHUTDOWN NOSAVE", {"save": False, "now": False, "force": False}),
        ("SHUTDOWN save NOW force", {"save": True, "now": True, "force": True}),
    ],
)
def test_shutdown_passes_on_what_was_asked(client, line, how):
    client.call(*line.split())
    assert client.server.stopped_with == how


def test_rule_30():
    """The first rows from a single cell, as Wolfram printed them."""
    rows = rule_30(1 << (ART_COLUMNS // 2))
    middle = ART_COLUMNS // 2 - 1
    assert [row.ljust(ART_COLUMNS)[middle - 3 : middle + 4] for row in rows[:4]] == [
        "   #   ",
        "  ###  ",
        " ##  # ",
        "## ####",
    ]
    assert len(rows) == ART_ROWS


def test_lolwut_names_the_version(client):
    text = client.call("LOLWUT", "VERSION", "5").text.decode()
    assert text.endswith("as Redis ver. 7.2.4\n") and "#" in text
