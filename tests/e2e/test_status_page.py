"""/status in a real browser: Chromium opens it on a real server with some traffic, and finds nothing to complain about.

The pictures are kept: in ARTIFACTS if that names a directory, else where pytest puts temporary files. Costs about five
seconds of CPU, nearly all of it Chromium's, and a wait for the first points of the charts.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.processes import Server, free_port, wait_until
from compat.clients import patient
from tests.e2e.tools import require, vaylix
from tests.patience import PATIENCE_S

BROWSER = "chromium"
WIDE, NARROW = (1280, 1500), (500, 2600)
DARK = "--blink-settings=preferredColorScheme=0"
EVIL = "<script>document.title = 'broken in'</script>"


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """The address of a page with slow requests on it and points in its charts."""
    require(BROWSER)
    port = free_port()
    with vaylix("--http-port", str(port), "--http-status-slowlog", "yes", "--slowlog-log-slower-than", "0") as server:
        address = f"http://127.0.0.1:{port}/status"
        # Two looks apart: a single point would be a dot, and no line.
        wait_until(lambda: points(traffic(server, address)) >= 2, PATIENCE_S, "points in the charts", pause=0.5)
        yield address


def traffic(server: Server, address: str) -> str:
    with patient(port=server.port) as client:
        for number in range(50):
            client.set(f"key:{number}", "value", ex=1000)
            client.get(f"key:{number}")
        client.set(EVIL, EVIL)
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def points(text: str) -> int:
    """Of the chart that has the fewest."""
    return min(int(found) for found in re.findall(r'data-points="(\d+)"', text))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("ARTIFACTS")
    if not named:
        return tmp_path_factory.mktemp("status")
    Path(named).mkdir(parents=True, exist_ok=True)
    return Path(named)


def browse(*words: str, profile: Path) -> subprocess.CompletedProcess[str]:
    """Without its sandbox: a test may run as root in a container, and the page is ours."""
    return subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--no-first-run", "--disable-extensions", f"--user-data-dir={profile}", "--enable-logging=stderr", *words],
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip


class Dom(HTMLParser):
    """The browser's own account of the page: elements with their attributes, text, text of elements with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_browser_has_no_complaints_and_finds_what_is_there(page: str, tmp_path: Path) -> None:
    done = browse("--dump-dom", f"{page}?refresh=off", profile=tmp_path)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    dom = Dom(done.stdout)
    assert not dom.named("script") and EVIL in dom.text
    drawn = [path["d"] for path in dom.named("path") if "line " in (path.get("class") or "")]
    assert len(drawn) == 8 and all(re.fullmatch(r"M\d+ \d+(L\d+ \d+){2,}", line or "") for line in drawn)
    for said in ("ready", "single node", "appendfsync always", "healthy", "stands alone", "AES-256-GCM"):
        assert said in dom.text, said
    assert re.search(r"\d+ since the start, the slowest", dom.text) and "value" in dom.text
    assert [figure["data-points"] for figure in dom.named("figure") if int(figure["data-points"] or 0) < 2] == []


@pytest.mark.parametrize("name, size, options", [("light", WIDE, ()), ("dark-narrow", NARROW, (DARK,))])
def test_a_picture_is_kept(
    page: str, artifacts: Path, tmp_path: Path, name: str, size: tuple[int, int], options: tuple[str, ...]
) -> None:
    kept = artifacts / f"status-{name}.png"
    browse(f"--screenshot={kept}", f"--window-size={size[0]},{size[1]}", *options, page, profile=tmp_path)
    picture = kept.read_bytes()
    assert picture.startswith(b"\x89PNG") and struct.unpack(">II", picture[16:24]) == size
    assert len(picture) > 20_000  # an empty page of this size has some 5,000 bytes
