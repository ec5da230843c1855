"""What a supervisor hears, on a socket of our own; a whole server that tells it is in tests/e2e/test_supervised.py."""

import asyncio
import os
import socket
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from vaylix_resp import app_notify as module
from vaylix_resp.app_notify import notifier, standing
from vaylix_resp.server.readiness import Check

PID = 4711


class Clock:
    def now(self):
        return 12.5


class Supervisor:
    """A socket that datagrams are sent to; `place` is its address as in NOTIFY_SOCKET."""

    def __init__(self, place):
        self.place = place
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind("\0" + place[1:] if place.startswith("@") else place)

    def heard(self):
        """Each datagram so far, its lines joined by a space."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode().replace("\n", " "))
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, tmp_path):
    place = str(tmp_path / "notify") if request.param == "path" else f"@vaylix-test-{os.getpid()}"
    supervisor = Supervisor(place)
    yield supervisor
    supervisor.socket.close()


def told(supervisor, mode="auto", **more):
    return notifier(mode, {"NOTIFY_SOCKET": supervisor.place} | more, PID, Clock())


def test_a_life(supervisor):
    server = told(supervisor)
    server.status("starting")
    server.status("starting")
    server.reloading()  # before clients are let in: neither this nor what ends it
    server.reloaded()
    server.ready("ready")
    server.reloading()
    server.reloaded()
    server.status("log\nfailed")
    server.stopping()
    server.reloaded()
    assert supervisor.heard() == [
        "STATUS=starting", "STATUS=ready", "READY=1", "RELOADING=1 MONOTONIC_USEC=12500000", "READY=1",
        "STATUS=log?failed", "STATUS=stopping", "STOPPING=1",
    ]  # fmt: skip


def test_a_server_that_starts_over_is_no_hang_and_no_stop(supervisor):
    server = told(supervisor, WATCHDOG_USEC="3000000", WATCHDOG_PID=str(PID))
    server.ready("ready")
    server.stopping(again=True)
    assert supervisor.heard() == [
        "STATUS=ready", "READY=1 WATCHDOG_USEC=3000000", "STATUS=starting over", "WATCHDOG_USEC=0",
    ]  # fmt: skip
    told(supervisor).stopping(again=True)
    assert supervisor.heard() == ["STATUS=starting over"], "without a watchdog there is none to end"


@pytest.mark.parametrize(
    "mode, environment, active, signs, warned",
    [
        ("no", {"NOTIFY_SOCKET": "/run/x"}, False, False, ""),
        ("auto", {}, False, False, ""),
        ("systemd", {}, False, False, "NOTIFY_SOCKET is not set"),
        ("auto", {"NOTIFY_SOCKET": "vsock:2:1234"}, False, False, "neither a path nor abstract"),
        ("auto", {"NOTIFY_SOCKET": "/run/x"}, True, False, ""),
        ("systemd", {"NOTIFY_SOCKET": "@x"}, True, False, ""),
        ("auto", {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "6000000"}, True, True, ""),
        ("auto", {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "6000000", "WATCHDOG_PID": str(PID)}, True, True, ""),
        ("auto", {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "1"}, True, False, ""),
        ("auto", {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, True, False, ""),
        ("auto", {"WATCHDOG_USEC": "6000000"}, False, False, ""),
    ],
)
def test_who_is_told(mode, environment, active, signs, warned, monkeypatch):
    warnings = []
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=warnings.append))
    found = notifier(mode, environment, PID, Clock())
    assert (found.active, found._watchdog) == (active, 6.0 if signs else 0.0)
    assert warned in "".join(warnings) and bool(warned) == bool(warnings)


async def test_signs_of_life_and_what_had_not_been_taken(tmp_path, monkeypatch):
    """READY is said again until somebody hears it; a supervisor that is away is complained about once."""
    warnings = []
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=warnings.append))
    place = str(tmp_path / "notify")
    server = notifier("auto", {"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "3000"}, PID, Clock())
    server.ready("ready")
    assert len(warnings) == 1 and "No such file" in warnings[0]
    supervisor, heard, states = Supervisor(place), [], iter(["ready", "ready", "no leader"])
    task = asyncio.create_task(server.run(lambda: next(states, "no leader")))
    while "STATUS=no leader" not in heard:
        await asyncio.sleep(0.001)
        heard += supervisor.heard()
    task.cancel()
    assert heard[:3] == ["READY=1 WATCHDOG_USEC=3000", "WATCHDOG=1", "STATUS=ready"]
    assert heard.count("READY=1 WATCHDOG_USEC=3000") == 1 and len(warnings) == 1


async def test_a_supervisor_that_stopped_listening_is_waited_for_once(monkeypatch):
    """What it has not taken is offered again, but clients do not wait each time."""
    server, waits = notifier("auto", {"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": "3000"}, PID, Clock()), []
    monkeypatch.setattr(server, "_send", lambda lines, wait: waits.append(wait))
    server.ready("ready")
    assert waits == [0, module.SEND_SECONDS_MAX], "once it is worth waiting for"
    task = asyncio.create_task(server.run(lambda: "ready"))
    while len(waits) < 9:
        await asyncio.sleep(0.001)
    task.cancel()
    assert not any(waits[2:])


@dataclass
class View:
    leader: object
    name: str = "node-1"
    id: int = 1


@pytest.mark.parametrize(
    "wrong, view, line",
    [
        ((), None, "ready"),
        ((), View(SimpleNamespace(id=1, name="node-1")), "ready: node-1 leads"),
        ((), View(SimpleNamespace(id=2, name="node-2")), "ready: node-1 follows node-2"),
        (("the log has failed", "no leader"), View(None), "not ready: the log has failed; no leader"),
    ],
)
def test_how_it_stands(wrong, view, line, monkeypatch):
    """What is wrong is in the words of server.readiness, which /readyz has, too."""
    monkeypatch.setattr(module, "checks_of", lambda _: [Check("fine", True), *(Check("x", False, text) for text in wrong)])
    assert standing(SimpleNamespace(cluster=view)) == line
