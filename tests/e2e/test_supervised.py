"""A supervisor's view of a real process: what it hears, in which order, and that READY is not too early."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from bench.processes import Server, ask, us_program
from tests.e2e.tools import SERVER_IS_REDIS, missing, require
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(SERVER_IS_REDIS, reason="what redis-server tells its supervisor is not asked here")

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "conf" / "systemd" / "vaylix.service"
EXPOSURE_MAX = 15  # of 100, by systemd's own count: what is left is mostly the network, which is its trade


def test_a_supervisor_hears_of_start_reload_and_stop(tmp_path):
    place = str(tmp_path / "notify")
    pidfile = tmp_path / "pid"
    options = ("--pidfile", str(pidfile))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor, Server(us_program(), options) as server:
        supervisor.bind(place)
        supervisor.settimeout(PATIENCE_S)
        server.environment = {"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "300000"}
        server.spawn()

        def until(line):
            """What is heard up to `line`, signs of life apart."""
            heard = []
            while line not in heard:
                heard += [more for more in supervisor.recv(4096).decode().split("\n") if not more.startswith("WATCHDOG")]
            return heard

        assert until("READY=1") == ["STATUS=starting: recovery, then the group if there is one", "STATUS=ready", "READY=1"]
        assert ask(server.port, "PING") == b"+PONG\r\n", "whoever is started after it finds it open"
        assert pidfile.read_text() == f"{server.pid}\n"
        assert b"process_supervised:systemd\r\n" in ask(server.port, "INFO", "server")
        while supervisor.recv(4096) != b"WATCHDOG=1":
            pass
        server.process.send_signal(signal.SIGHUP)
        words = [line.split("=")[0] for line in until("READY=1")]
        assert words == ["RELOADING", "MONOTONIC_USEC", "READY"]
        assert server.stop() == 0
        assert not pidfile.exists()
        assert until("STOPPING=1") == ["STATUS=stopping", "STOPPING=1"]


def analyze(*words):
    require("systemd-analyze")
    return subprocess.run(["systemd-analyze", *words], check=False, capture_output=True, text=True)


def unit_for_here(tmp_path):
    """The unit with a program that is there: whether /usr/bin/vaylix is installed is not asked."""
    text = UNIT.read_text()
    assert text.count("/usr/bin/vaylix") == 1
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("/usr/bin/vaylix", "/bin/true"))
    return str(copy)


def test_systemd_takes_the_unit_without_a_word(tmp_path):
    verdict = analyze("verify", "--man=no", unit_for_here(tmp_path))
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


def test_the_unit_leaves_little_to_somebody_who_breaks_in(tmp_path):
    verdict = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", unit_for_here(tmp_path))
    if "Unknown" in verdict.stderr or "unrecognized" in verdict.stderr:
        missing("systemd 250 or newer, for security --offline")
    assert verdict.returncode == 0, verdict.stdout[-2000:] + verdict.stderr
