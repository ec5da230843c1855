"""`vaylix top` and `vaylix bench` on a real server: as a person at a terminal, and as a program. About three seconds."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from bench.processes import Server
from compat.clients import patient
from tests.e2e.tools import vaylix
from tests.patience import PATIENCE_S
from vaylix_resp.tools.bench_load import PREFIX
from vaylix_resp.tools.terminal import ENTER, LEAVE

PASSWORD = "correct horse"  # noqa: S105
CHEAP = ("--password-hash-memory", "8mb", "--password-hash-iterations", "1")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with vaylix("--requirepass", PASSWORD, *CHEAP) as running:
        yield running


def program(server: Server, *words: str) -> list[str]:
    return [sys.executable, "-m", "vaylix_resp", *words, "--port", str(server.port)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "REDISCLI_AUTH": PASSWORD, **more}


def tool(server: Server, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program(server, *words), capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment(**more)
    )


def test_a_screen_is_drawn_keys_are_heard_and_the_terminal_is_given_back(server: Server) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    before = termios.tcgetattr(theirs)
    size = {"LINES": "30", "COLUMNS": "100"}
    process = subprocess.Popen(
        program(server, "top", "--interval", "0.2"), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**size)
    )
    screen = Screen(ours)
    try:
        screen.until(r"requests +[\d.,]+/s.*metrics .*CLIENT ")
        os.write(ours, b"s")
        screen.until(r"\(by calls\)")
        process.send_signal(signal.SIGTSTP)  # Ctrl-Z, and fg
        screen.until(re.escape(LEAVE))
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1]) and termios.tcgetattr(theirs) == before
        process.send_signal(signal.SIGCONT)
        screen.until(re.escape(ENTER) + ".*CLIENT ")
        os.write(ours, b" ")
        screen.until("PAUSED")
        os.write(ours, b"q")
        assert process.wait(PATIENCE_S) == 0
        screen.until(re.escape(LEAVE))
        assert screen.text.startswith(ENTER) and termios.tcgetattr(theirs) == before
        assert PASSWORD not in screen.text
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


class Screen:
    """What has come to a terminal."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.text = ""
        self._from = 0

    def until(self, pattern: str) -> None:
        """Wait for something that comes behind what was waited for before."""
        while not (found := re.compile(pattern, re.S).search(self.text, self._from)):
            assert select.select([self._number], [], [], PATIENCE_S)[0], (pattern, self.text[self._from :])
            self.text += os.read(self._number, 65536).decode()
        self._from = found.end()


def test_one_frame_as_text_and_as_json(server: Server) -> None:
    done = tool(server, "top", "--once", "--interval", "0.2")
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(r"^fsync|^writes +fsync p50", done.stdout, re.M) and "\x1b" not in done.stdout
    found = json.loads(tool(server, "top", "--once", "--interval", "0.2", "--json").stdout)
    (node,) = found["nodes"]
    assert node["problem"] is None and node["figures"]["requests_s"] > 0 and node["figures"]["memory"] > 1 << 20
    assert {one["name"] for one in node["figures"]["commands"]} >= {"metrics", "raft|status", "client|list"}


@pytest.mark.parametrize("words", [("top", "--once"), ("bench", "--seconds", "2")], ids=lambda words: words[0])
def test_a_wrong_password_is_one_line(server: Server, words: tuple[str, ...]) -> None:
    done = tool(server, *words, REDISCLI_AUTH="wrong")
    assert done.returncode != 0 and done.stdout == ""
    assert re.fullmatch(r"vaylix: .*WRONGPASS.*\n", done.stderr), done.stderr


def test_bench_measures_and_leaves_nothing_behind(server: Server, tmp_path: os.PathLike[str]) -> None:
    with patient(port=server.port, password=PASSWORD) as client:
        client.set("mine", "1")
        refused = tool(server, "bench", "--seconds", "2")
        assert refused.returncode == 64 and "--yes" in refused.stderr
        done = tool(server, "bench", "--seconds", "2", "--yes", "--json", "--dir", os.fspath(tmp_path))
        assert done.returncode == 0, done.stderr
        assert (client.dbsize(), client.get("mine"), client.exists(PREFIX + b"0")) == (1, b"1", 0)
    found = json.loads(done.stdout)
    assert found["disk"]["appends"] > 0 and found["disk"]["fdatasync_us"]["p50"] > 0
    assert len(found["results"]) == 8 and all(one["requests_per_second"] > 0 for one in found["results"])
    assert all(one["latency_us"]["p50"] <= one["latency_us"]["p99"] <= one["latency_us"]["max"] for one in found["results"])
    assert any("durable writes" in note for note in found["notes"])
