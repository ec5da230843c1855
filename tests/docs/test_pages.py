"""Every page of the documentation is executed, and names nothing that does not exist.

How pages are written is in CONTRIBUTING.md ("Command lines in the documentation"); machine.py is where they run.
"""

from __future__ import annotations

import compileall
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.docs import words
from tests.docs.blocks import Block, blocks, commands, prose
from tests.docs.machine import ROOT
from tests.docs.pages import INDEX, anchors, links, name, pages
from tests.e2e.tools import SERVER_IS_REDIS, missing, require
from tests.patience import PATIENCE_S
from vaylix_resp.directives import DIRECTIVES
from vaylix_resp.directives_redis import IGNORED, REFUSED

UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--map-root-user")
NOT_RUN = 15  # blocks that are marked; whoever adds one changes this number, and can be asked why
PAGES = pages()
IDS = [name(page) for page in PAGES]
COMMAND = re.compile(r"^ {4,}(\$ |> )?(vaylix|redis-cli|python|docker|openssl|systemctl|kubectl|curl|sudo) ", re.M)
NAME = re.compile(r"`([a-z]+(?:-[a-z]+)+)(?: [^`]*)?`")  # `pitr-window`, `appendfsync-like value`
OTHER_NAMES = {  # in the prose, with a dash, and no directives of ours or of Redis
    "acl-pubsub-default", "allkeys-lfu", "allkeys-lru", "allkeys-random", "argv-mem", "caught-up", "clear-files",
    "cluster-version", "eviction-cycle", "read-only", "read-write", "redis-benchmark", "redis-check-aof", "redis-cli",
    "repl-backlog-size", "rotate-key", "systemd-analyze", "vaylix-peers", "volatile-lfu", "volatile-lru",
    "volatile-random", "volatile-ttl",
}  # fmt: skip
INLINE = re.compile(r"`(vaylix [^`\n]+)`")


def all_blocks() -> list[tuple[str, Block]]:
    return [(name(page), block) for page in PAGES for block in blocks(page.read_text())]


def runs(page) -> bool:
    return any(not block.not_run and block.language not in ("text", "json", "yaml") for block in blocks(page.read_text()))


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The machine's checkout is read-only, and a page starts `vaylix` often: it should not compile each time."""
    compileall.compile_dir(ROOT / "vaylix_resp", quiet=1)


def execute(page: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.docs.machine", name(page)],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=5 * PATIENCE_S,
    )  # fmt: skip


@pytest.fixture(scope="module")
def executed(request: pytest.FixtureRequest) -> Iterator[dict[Path, Future[subprocess.CompletedProcess[str]]]]:
    """Two pages at a time: half of what a page does is waiting (for elections, disks, the next second)."""
    require("unshare", "mount", "ip", "redis-cli", "openssl", "pgrep", "curl")
    if subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode != 0:
        missing("permission to make namespaces (unshare)")
    wanted = [item for item in request.session.items if getattr(item, "originalname", "") == "test_a_page_does_what_it_says"]
    asked = [item.callspec.params["page"] for item in wanted]
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {page: pool.submit(execute, page) for page in asked}
        pool.shutdown(cancel_futures=True)


@pytest.mark.skipif(SERVER_IS_REDIS, reason="the pages are about us")
@pytest.mark.parametrize("page", [page for page in PAGES if runs(page)], ids=name)
def test_a_page_does_what_it_says(page, executed):
    """All pages together take 95 s of processor time: starting `vaylix` some 150 times."""
    done = executed[page].result()
    assert done.returncode == 0, done.stdout + done.stderr


def test_blocks_that_are_not_run_are_few():
    marked = [f"{page}:{block.line}: {block.not_run}" for page, block in all_blocks() if block.not_run]
    assert len(marked) == NOT_RUN, "\n".join(marked)


def test_what_is_not_run_knows_its_options_all_the_same():
    asked = [
        (f"{page}:{command.line}", command.text)
        for page, block in all_blocks()
        if block.not_run and block.language in ("sh", "console")
        for command in commands(block)
    ]
    assert not [(place, word) for place, text in asked for word in words.unknown(text)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_in_the_prose_exist(page):
    text = prose(page.read_text())
    assert not COMMAND.search(text), "a command stands in a block with a language"
    assert not [(text, word) for text in INLINE.findall(text) for word in words.unknown(text)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_directives_in_the_prose_exist(page):
    named = set(NAME.findall(prose(page.read_text())))
    unknown = named - set(DIRECTIVES) - IGNORED - set(REFUSED) - OTHER_NAMES
    assert not unknown


def test_data_can_be_read():
    for page, block in all_blocks():
        text = "\n".join(block.lines)
        if block.language in ("json", "yaml"):
            assert json.loads(text) if block.language == "json" else list(yaml.safe_load_all(text)), f"{page}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    for target in links(prose(page.read_text())):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text()), target


def test_every_page_is_in_the_index():
    seen, todo = {ROOT / "README.md"}, [INDEX]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        todo += [(page.parent / target.partition("#")[0]).resolve() for target in links(prose(page.read_text())) if target[0] != "#"]
    unreachable = set(PAGES) - seen
    assert not unreachable
