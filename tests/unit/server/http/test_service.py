"""Pages are made at a pace that leaves the loop to the clients of the server."""

import h11
import pytest

from tests.unit.server.http.wires import HttpStage
from vaylix_resp.config import Settings
from vaylix_resp.server.http import routes
from vaylix_resp.server.http.pages import Site, text
from vaylix_resp.server.http.service import PACE

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
PROBE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def stage(monkeypatch):
    """Each page takes 0.1 s."""
    stage = HttpStage(Site(Settings()))

    def answer(site, request):
        stage.seconds += 0.1
        stage.made.append(stage.seconds)
        return text(200, "ok")

    stage.made = []
    monkeypatch.setattr(routes, "answer", answer)
    return stage


def test_whoever_asks_without_end_gets_a_tenth_of_the_time(stage):
    clients = [stage.connect().send(GET * 5) for _ in range(4)]
    while len(stage.made) < 20:
        stage.wait(0.01)
    assert stage.seconds >= 19 * 0.1 * PACE
    assert all(len(client.answers(*["GET"] * 5)) == 5 for client in clients)


def test_reading_what_asks_takes_time_as_well(monkeypatch):
    """A thousand headers take longer than the answer that there is no such page."""
    stage, read, heard = HttpStage(Site(Settings())), h11.Connection.next_event, []

    def slowly(connection):
        event = read(connection)
        if isinstance(event, h11.Request):
            stage.seconds += 0.1
            heard.append(event)
        return event

    monkeypatch.setattr(h11.Connection, "next_event", slowly)
    clients = [stage.connect().send(GET * 5) for _ in range(4)]
    while len(heard) < 20:
        stage.wait(0.01)
    assert stage.seconds >= 15 * 0.1 * (PACE - 1)
    assert clients


def test_first_come_first_served_and_everybody_gets_a_turn(stage):
    greedy, modest = stage.connect().send(GET * 5), stage.connect()
    modest.send(GET)
    while not modest.taken:
        stage.wait(0.01)
    assert len(stage.made) <= 3  # the greedy one's second request may have been in the queue already
    assert len(greedy.answers(*["GET"] * (len(stage.made) - 1))) < 5


def test_nobody_waits_after_a_pause(stage):
    client = stage.connect().send(GET)
    stage.wait(0.1 * PACE)
    client.send(GET)
    assert len(client.answers("GET", "GET")) == 2


def test_the_end(stage):
    clients = [stage.connect(), stage.connect().send(GET), stage.connect().send(GET)]
    stage.service.close()
    assert all(client.aborted for client in clients)
    stage.wait(100)
    assert len(stage.made) == 1


def test_a_probe_does_not_wait_for_pages(stage):
    """Or a supervisor would restart a server because too many look at it."""
    clients = [stage.connect().send(GET * 5) for _ in range(4)]
    made = len(stage.made)
    probe = stage.connect().send(PROBE)
    assert len(probe.answers("GET")) == 1 and len(stage.made) == made + 1
    probe.send(PROBE * 3)
    while len(stage.made) < 20:
        stage.wait(0.01)
    assert len(probe.answers("GET", "GET", "GET")) == 3
    assert stage.seconds >= 10 * 0.1 * PACE, "nor is a probe made without end"
    assert clients


def test_nothing_is_kept_of_those_who_left(stage):
    stage.connect().send(GET)
    for _ in range(1000):
        stage.connect().send(GET).vanish()
    waiting = stage.connect().send(GET)
    assert list(stage.service.pages.asking) == [waiting.connection]
    stage.wait(0.1 * PACE)
    assert len(waiting.answers("GET")) == 1 and len(stage.made) == 2
