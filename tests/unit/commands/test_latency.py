"""LATENCY: replies in Redis's shape; the drawing column by column."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.commands.latency import graph
from vaylix_resp.observability.latency import Series
from vaylix_resp.observability.metrics import record


@pytest.fixture
def client():
    server = FakeAdmin(latency_monitor_threshold=10)
    for unix_s, ms in ((997, 50), (998, 1200), (1000, 11)):
        server.lateness.latency.note("command", ms, unix_s)
    server.lateness.latency.note("fsync", 30, 999)
    return server.connect()


@pytest.mark.parametrize(
    "words, reply",
    [
        (("LATEST",), [["command", 1000, 11, 1200], ["fsync", 999, 30, 30]]),
        (("HISTORY", "command"), [[997, 50], [998, 1200], [1000, 11]]),
        (("HISTORY", "nosuch"), []),
        (("GRAPH", "nosuch"), "ERR No samples available for event 'nosuch'"),
        (("RESET", "nosuch"), 0),
        (("RESET", "command", "nosuch"), 1),
        (("RESET",), 2),
        (("HISTOGRAM",), {}),
        (("HISTOGRAM", "nosuch", "config|nosuch"), {}),
    ],
)
def test_answers(client, words, reply):
    assert client.call("LATENCY", *words) == reply


def test_histograms_of_commands_and_of_containers(client):
    stats = client.server.stats
    record(stats.command("get"), 3, 15e-6)
    record(stats.command("config|get"), 1, 100e-6)
    record(stats.command("config|set"), 1, 100e-6)
    stats.command("set").rejected_calls = 1
    get = {"calls": 3, "histogram_usec": {8: 3}}
    config = {"calls": 1, "histogram_usec": {132: 1}}
    assert client.call("LATENCY", "HISTOGRAM") == {"get": get, "config|get": config, "config|set": config}
    assert client.call("LATENCY", "HISTOGRAM", "GET", "set", "get") == {"get": get}
    assert client.call("LATENCY", "HISTOGRAM", "config") == {"config|get": config, "config|set": config}
    assert client.call("LATENCY", "HISTOGRAM", "config|set") == {"config|set": config}


def series(*samples):
    made = Series()
    for unix_s, ms in samples:
        made.add(unix_s, ms)
    return made


def test_the_drawing():
    text = graph("command", series((997, 50), (998, 1200), (1000, 11)), 1000)
    assert text.splitlines() == [
        "command - high 1200 ms, low 11 ms (all time high 1200 ms)",
        "-" * 80,
        " #",
        " |",
        " |",
        "_|_",
        "",
        "320",
        "sss",
    ]


@pytest.mark.parametrize("age, labels", [(59, "5 9 s"), (60, "1 m"), (7200, "2 h"), (86400 * 3, "3 d"), (-5, "0 s")])
def test_ages_are_written_downwards(age, labels):
    lines = graph("x", series((1000, 5)), 1000 + age).splitlines()
    assert " ".join(lines[7:]) == labels


def test_no_more_columns_than_a_terminal_has():
    many = series(*((unix_s, 10 + unix_s % 7) for unix_s in range(150)))
    assert max(map(len, graph("x", many, 200).splitlines())) == 80


@pytest.mark.parametrize(
    "threshold, spikes, says",
    [
        (0, (), "latency-monitor-threshold is 0"),
        (10, (), "Nothing was late"),
        (10, (50, 1200, 11), "1. command: 3 latency spikes (average 420ms, mean deviation 519ms, period"),
    ],
)
def test_the_doctor(threshold, spikes, says):
    server = FakeAdmin(latency_monitor_threshold=threshold)
    for number, ms in enumerate(spikes):
        server.lateness.latency.note("command", ms, 990 + number)
    assert says in server.connect().call("LATENCY", "DOCTOR").text.decode()
